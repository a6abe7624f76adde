"""What `gallery enroll` reports: the tables on stdout, and the page with the crops."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from gallery_data import FakeFaceEncoder, made, photo
from numpy.typing import NDArray
from PIL import Image
from test_deploy_command import FIRST, built, cloud, facectl

from facectl.errors import IncompleteError, InputError
from facectl.gallery import enrollment_page, photographs, reports
from facectl.gallery.enrollment import Enrollment, EnrollmentTask, tasks_below
from facectl.gallery.photographs import PhotographError
from facectl.gallery.store import Store
from facectl.reports.pictures import thumbnail
from lambda_src.vision.store import Model

__all__ = ["built", "cloud"]

NOW = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - shown, not compared


class Encoder(FakeFaceEncoder):
    """A face of one colour for every photograph that has one."""

    def __init__(self, _: Model | None = None) -> None:
        super().__init__()

    def face(self, photo: Path) -> NDArray[np.uint8]:
        if not photo.exists() or photo.read_text() in {"blank", "broken"}:
            raise PhotographError("no_face", "no face was found", 0)
        return np.full((160, 160, 3), 90, np.uint8)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Ada: a good, a small and blurred, and another face; Bob: like Ada, several faces, broken."""
    folder = tmp_path / "a long path to" / "people"
    photo(folder / "Ada" / "1.jpg", 0)
    photo(folder / "Ada" / "2.jpg", 0, 0.1, px=25, sharpness=4)
    photo(folder / "Ada" / "3.jpg", 9)
    photo(folder / "Bob {:d}" / "1.jpg", 0, 0.3)
    photo(folder / "Bob {:d}" / "2.jpg", 50, faces=3)
    photo(folder / "Cy" / "1.jpg", 100)
    (folder / "Bob {:d}" / "3.jpg").write_text("broken")
    (folder / "Dee").mkdir()
    return folder


@pytest.fixture
def deployed(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "PhotographEncoder", Encoder)
    result = facectl(*FIRST)
    assert result.exit_code == 0, result.output


def cells(text: str) -> list[list[str]]:
    """The cells of the printed rows, which two spaces separate."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]


@pytest.mark.usefixtures("deployed")
def test_problems_are_one_table_with_paths_below_the_folder(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The path of the folder is long, and a row has it.
    monkeypatch.setenv("COLUMNS", "500")
    result = facectl("gallery", "enroll", str(people))
    assert isinstance(result.exception, IncompleteError)
    rows = cells(result.stdout)
    assert rows[:7] == [
        ["Person", "Photograph", "What", "Figure"],
        ["Dee", "no photographs"],
        ["Ada", "Ada/2.jpg", "small face, blurred", "25 px, sharpness 4.0"],
        ["Ada", "Ada/3.jpg", "another face", "distance 1.41"],
        ["Bob {:d}", "Bob {:d}/1.jpg", "nearly the face of Ada", "distance 0.19"],
        ["Bob {:d}", "Bob {:d}/2.jpg", "not enrolled: several faces", "3"],
        [
            "Bob {:d}",
            "Bob {:d}/3.jpg",
            "not enrolled: can't be read: the image can't be decoded",
        ],
    ]
    assert rows[7:11] == [
        ["Person", "Enrolled", "Doubtful", "Not enrolled"],
        ["Ada", "3", "2"],
        ["Bob {:d}", "1", "1", "2"],
        ["Cy", "1"],
    ]
    [summary] = rows[11:]
    assert summary[0].split(". ") == [
        "Enrolled 3 people from 5 photographs, 3 of them doubtful, 2 not enrolled",
        "3 people in the gallery.",
    ]
    assert str(result.exception) == (
        "2 photographs were not enrolled, the first of them Bob {:d}/2.jpg: 3 faces were found"
    )
    assert "a long path to" not in result.output

    again = facectl("gallery", "enroll", str(people)).stdout
    assert "Enrolled nothing new, 2 not enrolled, 5 enrolled already." in again


@pytest.mark.usefixtures("deployed")
def test_a_narrow_terminal_shows_whole_paths(people: Path) -> None:
    shown = facectl("gallery", "enroll", str(people)).stdout
    assert max(map(len, shown.partition("\nEnrolled")[0].splitlines())) <= 80
    for path in ("Ada/2.jpg", "Ada/3.jpg", "Bob {:d}/1.jpg", "Bob {:d}/2.jpg"):
        assert f" {path} " in shown


@pytest.mark.usefixtures("deployed")
def test_one_photograph_without_problems_prints_one_line(tmp_path: Path) -> None:
    result = facectl("gallery", "enroll", "Ada", str(photo(tmp_path / "1.jpg", 0)))
    assert result.stdout == "Enrolled Ada from 1 photograph. 1 people in the gallery.\n"


@pytest.mark.usefixtures("deployed")
def test_the_page_is_written_only_when_asked_and_for_the_user_alone(
    people: Path, tmp_path: Path
) -> None:
    html = tmp_path / "enrolled.html"
    result = facectl("gallery", "enroll", str(people), "--html", str(html))
    assert f"{html} has pictures of the faces; only your user can read it" in result.stderr
    assert html.stat().st_mode & 0o777 == 0o600
    facts = json.loads(
        facectl("gallery", "enroll", str(people), "--json", "--html", str(html)).stdout
    )
    assert facts["html"] == str(html)
    before = set(tmp_path.iterdir())
    facectl("gallery", "enroll", str(people))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("deployed")
def test_a_page_that_cannot_be_written_is_an_error(people: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    html = tmp_path / "file" / "enrolled.html"
    result = facectl("gallery", "enroll", str(people), "--html", str(html))
    assert isinstance(result.exception, InputError)
    assert "can't be written" in str(result.exception)
    # The people are enrolled all the same, and the report says so.
    assert "Enrolled 3 people from 5 photographs" in result.stdout


def page_of(store: Store, people: Path) -> str:
    tasks, findings = tasks_below(people)
    enrolling = Enrollment(store, Encoder)
    enrolling.outcome.findings += findings
    run = enrollment_page.Run(tasks, enrolling.run(tasks), people)
    return enrollment_page.page(store, run, reports.crops(Encoder().face), NOW)


def test_the_page_shows_what_is_doubtful_beside_what_it_was_compared_with(people: Path) -> None:
    store = made()
    page = page_of(store, people)
    cards = page.partition("Not enrolled, or doubtful")[2].partition("Who looks like whom")[0]
    found = [
        re.findall(r"<b>(.*?)</b><br><span class=\"soft\">(.*?)</span>", card)
        for card in cards.split('class="card pair"')[1:]
    ]
    assert found == [
        [("Bob {:d}", "Bob {:d}/2.jpg")],
        [("Bob {:d}", "Bob {:d}/3.jpg")],
        [("Ada", "Ada/2.jpg")],
        [("Ada", "Ada/3.jpg"), ("Ada", "Ada/1.jpg")],
        [("Bob {:d}", "Bob {:d}/1.jpg"), ("Ada", "Ada/2.jpg")],
    ]
    assert cards.count("not enrolled</span>") == 2
    assert "only 25 pixels wide, at least 40 would be good; the face is blurred" in cards
    # The broken one and the one with several faces can't be decoded.
    assert cards.count("no picture") == 2
    assert str(people) not in page
    store.close()


def test_likenesses_are_of_the_nearest_other_person(people: Path) -> None:
    store = made()
    page = page_of(store, people)
    alike = enrollment_page.likenesses(store, ["Ada", "Bob {:d}", "Cy", "Nobody"])
    assert [(each.name, each.other) for each in alike[:2]] == [
        ("Ada", "Bob {:d}"),
        ("Bob {:d}", "Ada"),
    ]
    assert alike[0].cosine == pytest.approx(alike[1].cosine)
    assert alike[0].photo == people / "Ada" / "2.jpg"
    assert alike[0].distance == pytest.approx(np.sqrt(2 - 2 * alike[0].cosine), abs=1e-3)
    assert len(alike) == 3
    pairs = page.partition("Who looks like whom")[2].partition("Nearest other person")[0]
    # Ada and Bob are one pair, not two.
    assert pairs.count('class="card pair"') == 2
    assert pairs.count("within the threshold") == 1
    store.close()


def test_one_person_alone_looks_like_nobody(tmp_path: Path) -> None:
    store = made()
    photo(tmp_path / "people" / "Ada" / "1.jpg", 0)
    page = page_of(store, tmp_path / "people")
    assert enrollment_page.likenesses(store, ["Ada"]) == []
    assert "Nobody else is enrolled." in page
    assert "<p>None.</p>" in page
    store.close()


def test_the_page_escapes_names_and_loads_nothing(tmp_path: Path) -> None:
    store = made()
    for axis, name in enumerate(("<script>alert(1)<", '"><img src=x>')):
        photo(tmp_path / "people" / name / "1.jpg", axis * 10, px=20)
    page = page_of(store, tmp_path / "people")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert set(re.findall(r"<img[^>]* src=\"(.{5})", page)) == {"data:"}
    assert "href" not in page
    assert "url(" not in page
    store.close()


def test_a_page_of_many_photographs_has_a_limited_number_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
    for name, value in (("MAX_ENROLLED", 5), ("MAX_DOUBTFUL", 2), ("MAX_PAIRS", 1)):
        monkeypatch.setattr(enrollment_page, name, value)
    folder = tmp_path / "people"
    for number in range(8):
        photo(folder / f"p{number}" / "1.jpg", 10 * number, sharpness=1)
    page = page_of(store, folder)
    assert page.count('class="doubt"') == 5
    assert "And 3 more photographs." in page
    assert "And 6 more." in page
    assert page.count("data:image/jpeg") == 5 + 2 + 2
    store.close()


def test_a_removed_photograph_has_no_picture(people: Path) -> None:
    store = made()
    tasks = [EnrollmentTask("Ada", people / "Ada" / "1.jpg")]
    outcome = Enrollment(store, Encoder).run(tasks)
    tasks[0].photo.unlink()
    run = enrollment_page.Run(tasks, outcome)
    page = enrollment_page.page(store, run, reports.crops(Encoder().face), NOW)
    assert "data:image" not in page
    assert str(people / "Ada" / "1.jpg") in page
    store.close()


def test_a_thumbnail_is_cropped_or_whole() -> None:
    assert thumbnail(None) is None
    wide = Image.new("RGB", (400, 100))
    assert thumbnail(wide, 50) != thumbnail(wide, 50, whole=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(
    browser: Any, people: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    store = made()
    file = tmp_path / "page.html"
    file.write_text(page_of(store, people))
    store.close()
    page = opened(browser, file, width, scheme)
    sizes = page.evaluate(
        "[...document.querySelectorAll('.pair img, .faces img')].map(i => i.naturalWidth)"
    )
    page.close()
    assert len(sizes) == 3 + 2 + 4 + 5
    assert min(sizes) > 0
