"""Calibration and evaluation: the figures, and HTML that needs nothing but a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from gallery_data import FakeFaceEncoder, face, made, photo, put
from PIL import Image

from facectl.errors import GalleryError, InputError
from facectl.gallery import people, reports
from facectl.gallery.changes import Reference
from facectl.gallery.enrollment import EnrollmentTask
from facectl.gallery.evaluate import Evaluation, evaluate
from facectl.gallery.store import Store
from facectl.paths import write_text

NOW = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - shown, not compared


@pytest.fixture
def store() -> Iterator[Store]:
    store = made()
    yield store
    store.close()


def crowd(store: Store) -> None:
    random = np.random.default_rng(2)
    with store.change("enroll") as change:
        for person in range(12):
            for _ in range(3):
                vector = face(person) + 0.03 * random.standard_normal(512).astype(np.float32)
                change.add(f"<p{person}>", Reference(vector / np.linalg.norm(vector)))


def test_calibration_stores_the_threshold_and_draws_the_curves(
    store: Store, tmp_path: Path
) -> None:
    crowd(store)
    html = tmp_path / "curves.html"
    found = reports.calibrate(store, 0.001, html)
    assert reports.adopt(store, found)
    assert store.settings.threshold == found.chosen.threshold
    assert store.versions()[0].action == "calibrate"
    assert not reports.adopt(store, found)
    page = html.read_text()
    assert page.count("<svg") == 3
    assert f"threshold {found.chosen.threshold:.3f}" in page
    assert reports.facts(found, html)["eer"] == 0


def test_calibration_needs_two_people(store: Store, tmp_path: Path) -> None:
    put(store, Ada=3)
    with pytest.raises(GalleryError, match="calibration needs at least two"):
        reports.calibrate(store, 0.001, tmp_path / "c.html")


def labelled(store: Store, tmp_path: Path) -> Evaluation:
    """Ada and Bob are enrolled, Eve is not and looks like Bob."""
    with store.change("enroll") as change:
        for name, axis in (("Ada", 0), ("Bob", 50), ("Cy", 100)):
            own = photo(tmp_path / "enrolled" / f"{name}.jpg", axis)
            sample = FakeFaceEncoder().embed(own)
            change.add(name, Reference(sample.embedding, sample.sha256, str(own)))
    people.configure(store, threshold=0.5, metric=None, matching=None)
    broken = tmp_path / "broken.jpg"
    broken.write_text("broken")
    tasks = [
        EnrollmentTask("Ada", photo(tmp_path / "a1.jpg", 0, 0.2)),
        EnrollmentTask("Ada", photo(tmp_path / "a2.jpg", 0, 3.0)),
        EnrollmentTask("Ada", photo(tmp_path / "a3.jpg", 50, 0.1)),
        EnrollmentTask("Eve", photo(tmp_path / "e1.jpg", 50, 0.3)),
        EnrollmentTask("Eve", photo(tmp_path / "e2.jpg", 200)),
        EnrollmentTask("Bob", tmp_path / "enrolled" / "Bob.jpg"),
        EnrollmentTask("Bob", broken),
    ]
    return evaluate(store, tasks, FakeFaceEncoder())


def test_evaluation_counts_enrolled_people_and_strangers(store: Store, tmp_path: Path) -> None:
    found = labelled(store, tmp_path)
    facts = found.facts()
    assert (facts["photographs"], facts["known"], facts["strangers"]) == (5, 3, 2)
    assert (facts["unusable"], facts["enrolled_themselves"]) == (1, 1)
    assert facts["named_rightly"] == pytest.approx(1 / 3)
    assert facts["unknown_rate"] == pytest.approx(1 / 3)
    assert facts["misnamed"] == pytest.approx(1 / 3)
    assert facts["strangers_named"] == pytest.approx(1 / 2)
    metrics = reports.metric_facts(found.metrics())
    assert metrics["rank_1"]["value"] == pytest.approx(2 / 3)
    assert metrics["rank_5"]["value"] == 1
    assert (metrics["rank_1"]["count"], metrics["rank_1"]["people"]) == (3, 1)
    # Without Ada, a3 is still Bob's; Eve's e1 is Bob's: two of five searches name somebody.
    assert metrics["fpir_at_the_threshold"]["value"] == pytest.approx(2 / 5)
    assert metrics["fnir_at_the_threshold"]["value"] == pytest.approx(2 / 3)
    assert "n too small" in metrics["fnir_at_fpir_0.001"]["why"]


def test_evaluation_and_calibration_have_the_same_metrics(store: Store, tmp_path: Path) -> None:
    found = labelled(store, tmp_path)
    other = made("bob")
    crowd(other)
    calibrated = reports.calibrate(other, 0.001, tmp_path / "c.html")
    other.close()
    names = [metric.name for metric in found.metrics()]
    assert names == [metric.name for metric in calibrated.metrics]
    for page in (
        reports.evaluation_page(store, found, picture, NOW),
        (tmp_path / "c.html").read_text(),
    ):
        assert all(f">{name}<" in page for name in names)
    facts = reports.facts(calibrated, tmp_path)
    assert facts["expected_fpir"] == {
        "far": 0.001, "people": 12, "fpir": pytest.approx(1 - 0.999**12),
    }  # fmt: skip
    # 36 photographs and 11 other people each are 396 comparisons.
    assert (facts["impostor"], facts["far_resolved"]) == (396, False)
    assert "too few to measure a FAR that small" in (tmp_path / "c.html").read_text()


def test_people_who_are_not_enrolled_have_no_mated_searches(store: Store, tmp_path: Path) -> None:
    put(store, Ada=2, Bob=2)
    tasks = [EnrollmentTask(name, photo(tmp_path / f"{name}.jpg", axis))
             for name, axis in (("Eve", 3), ("Mallory", 9))]  # fmt: skip
    found = evaluate(store, tasks, FakeFaceEncoder())
    metrics = reports.metric_facts(found.metrics())
    assert metrics["rank_1"]["why"] == "not measured: no mated searches"
    assert metrics["fpir_at_the_threshold"]["value"] == 0
    assert metrics["fpir_at_the_threshold"]["count"] == 2
    assert "no mated searches" in reports.evaluation_page(store, found, picture, NOW)


def test_one_person_in_the_gallery_has_no_non_mated_searches_of_herself(
    store: Store, tmp_path: Path
) -> None:
    put(store, Ada=1)
    tasks = [EnrollmentTask("Ada", photo(tmp_path / "a.jpg", 0))]
    found = evaluate(store, tasks, FakeFaceEncoder())
    metrics = reports.metric_facts(found.metrics())
    assert metrics["rank_1"]["value"] == 1
    assert metrics["fpir_at_the_threshold"]["why"] == "not measured: no non-mated searches"
    assert reports.evaluation_page(store, found, picture, NOW)


def test_a_rank_counts_everybody_who_is_nearer(store: Store, tmp_path: Path) -> None:
    with store.change("enroll") as change:
        for person in range(9):
            lean = np.zeros(512, np.float32)
            lean[0], lean[person + 1] = 1, 0.1 * (person + 1)
            change.add(f"p{person}", Reference(lean / np.linalg.norm(lean)))
    found = evaluate(store, [EnrollmentTask("p6", photo(tmp_path / "p.jpg", 0))], FakeFaceEncoder())
    assert found.answers[0].rank == 7
    assert reports.metric_facts(found.metrics())["rank_5"]["value"] == 0


def test_nothing_to_evaluate_is_said_in_a_sentence(store: Store, tmp_path: Path) -> None:
    put(store, Ada=1)
    own = photo(tmp_path / "own.jpg", 0)
    sample = FakeFaceEncoder().embed(own)
    with store.change("enroll") as change:
        change.add("Bob", Reference(sample.embedding, sample.sha256, str(own)))
    broken = tmp_path / "broken.jpg"
    broken.write_text("broken")
    encoder = FakeFaceEncoder()
    with pytest.raises(InputError, match="all 1 photographs are enrolled themselves"):
        evaluate(store, [EnrollmentTask("Bob", own)], encoder)
    with pytest.raises(InputError, match=r"1 photographs can't be used; .*broken.jpg: can't be"):
        evaluate(store, [EnrollmentTask("Bob", broken)], encoder)
    both = [EnrollmentTask("Bob", own), EnrollmentTask("Bob", broken)]
    with pytest.raises(InputError, match="1 are enrolled themselves"):
        evaluate(store, both, encoder)
    with pytest.raises(InputError, match="no photographs"):
        evaluate(store, [], encoder)


def test_the_worst_confusions_come_first(store: Store, tmp_path: Path) -> None:
    worst = labelled(store, tmp_path).confusions(10)
    assert [(a.task.photo.name, a.other[0] if a.other else "") for a in worst] == [
        ("a3.jpg", "Bob"), ("e1.jpg", "Bob"),
    ]  # fmt: skip


def test_the_roc_curve_rises(store: Store, tmp_path: Path) -> None:
    false, true = labelled(store, tmp_path).roc()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(false) >= 0)
    assert np.all(np.diff(true) >= 0)
    assert Evaluation(1.0).roc()[0].size == 0
    assert Evaluation(1.0).facts()["named_rightly"] is None


def test_an_empty_gallery_cannot_be_evaluated(store: Store) -> None:
    with pytest.raises(GalleryError, match="nobody is enrolled"):
        evaluate(store, [], FakeFaceEncoder())


def test_a_new_metric_converts_the_threshold(store: Store) -> None:
    assert people.configure(store, threshold=None, metric="cosine", matching=None)
    assert store.settings.threshold == pytest.approx(0.5)
    assert people.configure(store, threshold=None, metric="euclidean", matching="centroid")
    assert store.settings.threshold == pytest.approx(1.0)
    assert not people.configure(store, threshold=None, metric=None, matching=None)


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="can't be written"):
        write_text(tmp_path / "file" / "report.html", "page")


def picture(file: Path) -> Image.Image | None:
    return Image.new("RGB", (160, 160), "teal") if file.name.startswith(("a", "e")) else None


def reports_of(store: Store, tmp_path: Path) -> dict[str, Path]:
    found = labelled(store, tmp_path)
    files = {name: tmp_path / f"{name}.html" for name in ("evaluation", "calibration")}
    write_text(files["evaluation"], reports.evaluation_page(store, found, picture, NOW))
    other = made("bob")
    crowd(other)
    reports.calibrate(other, 0.001, files["calibration"])
    other.close()
    return files


def test_the_reports_load_nothing_and_escape_names(store: Store, tmp_path: Path) -> None:
    put(store, **{"<script>alert(1)</script>": 1})
    for file in reports_of(store, tmp_path).values():
        page = file.read_text()
        assert not re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?!data:)[\w/.:]+""", page)
        assert "<script" not in page
        assert "prefers-color-scheme: dark" in page
    evaluation = (tmp_path / "evaluation.html").read_text()
    # Both photographs of each confusion, side by side, if they exist.
    assert evaluation.count('class="card pair"') == 2
    assert evaluation.count("data:image/jpeg;base64,") == 2
    assert evaluation.count("no picture") == 2


def test_the_reports_in_a_browser(browser: Any, store: Store, tmp_path: Path) -> None:
    files = reports_of(store, tmp_path)
    for file in files.values():
        papers = {scheme: _look(browser, file, scheme) for scheme in ("light", "dark")}
        assert papers["light"] != papers["dark"]


def _look(browser: Any, file: Path, scheme: str) -> str:
    """The page's background; asserts that the page fits a desktop and a phone."""
    page = opened(browser, file, 1200, scheme)
    for chart in page.locator("svg").all():
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150
        assert "NaN" not in chart.inner_html()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # In pixels of the screen, not in units of the drawing.
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 10
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.close()
    return str(paper)
