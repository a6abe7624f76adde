"""The inputs of a plan: what is refused, and the curve of the day."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facectl.errors import InputError
from facectl.plan.inputs import CURVES, DayCurve, Load, Settings


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cameras": 0}, "--cameras 0: a plan takes 1 to 10,000,000 cameras"),
        ({"cameras": -5}, "--cameras -5"),
        ({"fps": -1.0}, "--fps -1"),
        ({"fps": 0.0}, "--fps 0"),
        ({"fps": math.nan}, "--fps nan"),
        ({"faces": -0.1}, "--faces -0.1"),
        ({"faces": 50.0}, "--faces 50"),
        ({"hours": 0.0}, "--hours 0"),
        ({"hours": 25.0}, "--hours 25: a plan takes 0.1 to 24 hours a day"),
        ({"frame_kb": 0.0}, "--frame-kb 0"),
    ],
)
def test_an_impossible_load_is_refused_with_the_next_command(
    changed: dict[str, float], told: str
) -> None:
    given = {"cameras": 10, "fps": 2.0, "faces": 1.0, "hours": 12.0, **changed}
    with pytest.raises(InputError) as caught:
        Load(**given)  # type: ignore[arg-type]
    assert told in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("facectl plan --cameras")


@pytest.mark.parametrize("changed", [{"memory": 128}, {"memory": 20_000}, {"concurrency_limit": 1}])
def test_impossible_settings_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**changed)  # type: ignore[arg-type]
    assert caught.value.hint is not None


@pytest.mark.parametrize("text", ["", "noon", "1", "0,0", "1,-1", "1,nan", "1,inf", "1;2"])
def test_a_curve_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a curve: it is flat, day, peaks"):
        DayCurve.parse(text)


@pytest.mark.parametrize("name", [*CURVES, "1,3,5,2", "0,1"])
def test_a_curve_has_a_mean_of_one(name: str) -> None:
    curve = DayCurve.parse(name)
    assert curve.at(np.linspace(0, 1, 100_001)).mean() == pytest.approx(1.0, abs=1e-4)
    assert curve.peak >= 1.0


def test_rates_and_frames_of_a_month() -> None:
    load = Load(10, 2.0, 1.0, 12.0, DayCurve.parse("0,1"))
    assert load.mean_rate == 20
    # From nothing to twice the mean.
    assert load.peak_rate == pytest.approx(40)
    assert load.frames_a_month == 20 * 12 * 3600 * 30


def test_faces_of_a_frame_are_poisson_distributed() -> None:
    load = Load(1, 1.0, 1.3, 1.0)
    assert load.with_face == pytest.approx(1 - math.exp(-1.3))
    assert load.with_face * load.faces_a_message == pytest.approx(1.3)
    assert Load(1, 1.0, 0.0, 1.0).faces_a_message == 0.0
