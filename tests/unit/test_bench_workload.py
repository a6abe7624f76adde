"""When frames of a workload are due, and which frames it has."""

from __future__ import annotations

import itertools

import pytest
from bench_fakes import Clip

from facectl.bench.workload import Repeated, Workload
from facectl.errors import InputError
from facectl.stream.frames import Frame


def dues(workload: Workload, frames: int) -> list[float]:
    schedule = workload.schedule()
    assert schedule is not None
    return [schedule(Frame(n, "", n / 10, file=b"")) for n in range(frames)]


def test_the_default_rate_is_one_frame_a_second() -> None:
    assert dues(Workload(), 4) == [0, 1, 2, 3]
    assert Workload().limit == 100


def test_schedules_of_a_rate_and_of_timestamps() -> None:
    assert dues(Workload(rate=4), 3) == [0, 0.25, 0.5]
    assert dues(Workload(realtime=True), 3) == [0, 0.1, 0.2]


def test_a_closed_loop_has_no_schedule() -> None:
    workload = Workload(concurrency=3)
    assert workload.schedule() is None
    assert workload.threads == 3
    assert workload.target_rate is None


def test_poisson_arrivals_have_the_rate_and_an_exponential_spread() -> None:
    times = dues(Workload(rate=5, arrivals="poisson", seed=3), 20_001)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert times[0] == 0
    assert mean == pytest.approx(1 / 5, rel=0.03)
    # An exponential distribution's standard deviation is its mean.
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)


def test_poisson_arrivals_are_the_same_for_the_same_seed() -> None:
    one, two, other = (
        dues(Workload(rate=5, arrivals="poisson", seed=seed), 9) for seed in (1, 1, 2)
    )
    assert one == two
    assert one != other


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 2, "rate": 1.0},
        {"concurrency": 2, "realtime": True},
        {"rate": 1.0, "realtime": True},
        {"concurrency": 2, "arrivals": "poisson"},
        {"realtime": True, "arrivals": "poisson"},
    ],
)
def test_contradicting_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Workload(**wrong)  # type: ignore[arg-type]


def test_a_short_source_is_repeated_with_continuing_numbers_and_times() -> None:
    frames = list(Repeated(Clip(3), Workload(frames=7), rate=10))
    assert [frame.index for frame in frames] == list(range(7))
    assert [frame.name[-8:-4] for frame in frames] == ["0000", "0001", "0002"] * 2 + ["0000"]
    assert [frame.timestamp for frame in frames] == pytest.approx([n / 10 for n in range(7)])


def test_a_camera_is_not_repeated_and_an_empty_source_ends() -> None:
    camera = Clip(3)
    camera.live = True  # type: ignore[misc]
    assert len(list(Repeated(camera, Workload(frames=7), rate=10))) == 3
    assert list(Repeated(Clip(0), Workload(frames=7), rate=10)) == []


def test_a_duration_ends_an_open_loop_by_its_schedule() -> None:
    frames = Repeated(Clip(3), Workload(rate=2, duration=4), rate=10)
    assert len(list(frames)) == 8


def test_a_duration_ends_a_closed_loop_by_the_clock() -> None:
    ticks = itertools.count()
    frames = Repeated(
        Clip(3), Workload(concurrency=1, duration=5), rate=10, clock=lambda: float(next(ticks))
    )
    assert 3 <= len(list(frames)) <= 5


def test_the_first_limit_ends_the_workload() -> None:
    assert len(list(Repeated(Clip(9), Workload(2, rate=1, duration=9), rate=10))) == 2
    assert len(list(Repeated(Clip(9), Workload(9, rate=1, duration=2), rate=10))) == 2


def test_the_workload_as_text() -> None:
    assert str(Workload(rate=2)) == "open loop, 2 per second"
    assert str(Workload(concurrency=4, warmup=5)) == ("closed loop, 4 in flight, 5 warm-up frames")
    assert str(Workload(arrivals="poisson", seed=9)).endswith("Poisson arrivals, seed 9")
