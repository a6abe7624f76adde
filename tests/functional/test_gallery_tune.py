"""What `gallery settings`, `calibrate` and `evaluate` print."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_data import FakeFaceEncoder, photo, unit
from typer.testing import CliRunner, Result

from facectl.cli.app import app
from facectl.gallery import people, reports
from facectl.gallery.changes import Reference
from facectl.gallery.enrollment import EnrollmentTask
from facectl.gallery.evaluate import evaluate
from facectl.gallery.store import Store

NAMES = (
    "rank-1", "rank-5", "FNIR at FPIR 0.01", "FNIR at FPIR 0.001", "TAR at FAR 0.1",
    "TAR at FAR 0.01", "TAR at FAR 0.001", "FNIR at the threshold", "FPIR at the threshold",
)  # fmt: skip


def facectl(*arguments: str) -> Result:
    deployment = ("--asu-id", "alice", "--target", "aws")
    return CliRunner().invoke(app, [*arguments, *deployment])


def enrolled(*, people: int, photographs: int, model: str = "casia-webface-facenet") -> None:
    with closing(Store.for_space("alice", "1/facenet", model=model)) as store:
        random = np.random.default_rng(2)
        with store.change("enroll") as change:
            for person in range(people):
                for _ in range(photographs):
                    vector = unit(person * 2) + 0.01 * random.standard_normal(512)
                    vector /= np.linalg.norm(vector)
                    change.add(f"p{person}", Reference(vector.astype(np.float32)))


def test_settings_say_where_the_default_threshold_is_from() -> None:
    enrolled(people=1, photographs=1)
    shown = facectl("gallery", "settings")
    assert shown.exit_code == 0, shown.output
    first, second = shown.stdout.splitlines()
    assert first == "threshold 1.09, euclidean distance, best matching"
    assert second.startswith("1.09 is the default for casia-webface: FAR 0.1 %, measured on ")
    assert second.endswith("; `facectl gallery calibrate` replaces it")
    facts = json.loads(facectl("gallery", "settings", "--json").stdout)
    assert facts["threshold"] == facts["default_threshold"]["threshold"] == 1.09
    assert facts["default_threshold"]["weights"] == "casia-webface"


def test_settings_say_that_a_default_was_not_measured() -> None:
    enrolled(people=1, photographs=1, model="vggface2-facenet")
    lines = facectl("gallery", "settings").stdout.splitlines()
    assert lines[1].startswith("1 is the default, not measured with these weights;")


def test_settings_say_nothing_about_a_threshold_that_was_set() -> None:
    enrolled(people=1, photographs=1)
    with closing(Store.open("alice")) as store:
        people.configure(store, threshold=0.8, metric=None, matching=None)
    assert len(facectl("gallery", "settings").stdout.splitlines()) == 1


def calibrate(tmp_path: Path, *more: str) -> Result:
    html = str(tmp_path / "calibration.html")
    return facectl("gallery", "calibrate", "--dry-run", "--html", html, *more)


def test_calibrate_prints_every_metric_and_the_fpir_of_its_far(tmp_path: Path) -> None:
    enrolled(people=8, photographs=3)
    found = calibrate(tmp_path, "--far", "0.01")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    rows = dict(line.split("  ", 1) for line in lines)
    assert set(NAMES) <= set(rows)
    assert rows["rank-1"].strip() == "1.000  (0.631 to 1.000)  24 mated searches, 8 people"
    expected = f"{1 - 0.99**8:.2%} for 8 people, as if comparisons were independent: "
    assert rows["FPIR of FAR 0.01"].strip() == expected + "1 - (1 - FAR)^N"
    assert "n too small: 24 non-mated searches resolve FPIR 0.042" in rows["FNIR at FPIR 0.01"]
    # 24 photographs and 7 other people each are 168 comparisons.
    assert "n too small" not in found.stderr
    finer = calibrate(tmp_path)
    assert "n too small: 168 impostor comparisons resolve FAR 0.006 and more" in finer.stderr


def test_calibrate_has_the_metrics_for_machines(tmp_path: Path) -> None:
    enrolled(people=8, photographs=3)
    facts = json.loads(calibrate(tmp_path, "--json").stdout)
    metric = facts["metrics"]["tar_at_far_0.1"]
    assert (metric["value"], metric["count"], metric["people"]) == (1, 24, 8)
    assert facts["metrics"]["tar_at_far_0.001"]["value"] is None
    assert facts["expected_fpir"]["people"] == 8


@pytest.mark.parametrize(
    ("gallery", "said"),
    [
        ({"people": 1, "photographs": 3}, "1 people are enrolled; calibration needs at least two"),
        ({"people": 3, "photographs": 1}, "0 of the people have more than one photograph"),
    ],
)
def test_a_gallery_too_small_to_calibrate(
    gallery: dict[str, int], said: str, tmp_path: Path
) -> None:
    enrolled(**gallery)
    found = calibrate(tmp_path)
    assert found.exit_code != 0
    assert said in " ".join(f"{found.output} {found.exception}".split())
    assert not (tmp_path / "calibration.html").exists()


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """`reports.evaluate` without a model."""

    def run(_deployment: Any, store: Store, tasks: list[EnrollmentTask], *_: Any) -> Any:
        return evaluate(store, tasks, FakeFaceEncoder())

    monkeypatch.setattr(reports, "evaluate", run)


@pytest.mark.usefixtures("evaluated")
def test_evaluate_prints_every_metric(tmp_path: Path) -> None:
    enrolled(people=2, photographs=2)
    photo(tmp_path / "p0" / "1.jpg", 0)
    photo(tmp_path / "Eve" / "1.jpg", 200)
    found = facectl("gallery", "evaluate", str(tmp_path))
    assert found.exit_code == 0, found.output
    rows = dict(line.split("  ", 1) for line in found.stdout.splitlines())
    assert set(NAMES) <= set(rows)
    assert rows["rank-1"].strip() == "1.000  (no interval)  1 mated searches, 1 people"
    facts = json.loads(facectl("gallery", "evaluate", str(tmp_path), "--json").stdout)
    assert facts["metrics"]["rank_1"]["value"] == 1
    assert facts["metrics"]["fpir_at_the_threshold"]["count"] == 2


@pytest.mark.usefixtures("evaluated")
def test_evaluate_says_what_it_leaves_out(tmp_path: Path) -> None:
    enrolled(people=2, photographs=2)
    folder = tmp_path / "people"
    photo(folder / "p0" / "1.jpg", 0)
    photo(folder / "loose.jpg", 0)
    found = facectl("gallery", "evaluate", str(folder))
    assert found.exit_code == 0, found.output
    assert "1 left out" in found.stderr
    assert "loose.jpg: it is not in a folder of a person" in " ".join(found.stderr.split())


@pytest.mark.usefixtures("evaluated")
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "contains no people"),
        (["loose.jpg"], "loose.jpg: it is not in a folder of a person"),
        (["bad,name/1.jpg"], "'bad,name' can't be a name"),
    ],
)
def test_a_folder_with_nothing_to_evaluate(files: list[str], said: str, tmp_path: Path) -> None:
    enrolled(people=2, photographs=2)
    folder = tmp_path / "people"
    folder.mkdir()
    for file in files:
        photo(folder / file, 0)
    found = facectl("gallery", "evaluate", str(folder))
    assert found.exit_code != 0
    assert said in " ".join(f"{found.output} {found.exception}".split())
