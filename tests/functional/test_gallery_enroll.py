"""Enrollment: repeated and interrupted runs, and findings with file and figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gallery_data import FakeFaceEncoder, made, photo

from facectl.errors import IncompleteError, InputError
from facectl.gallery.enrollment import (
    Enrollment,
    EnrollmentOutcome,
    EnrollmentTask,
    check,
    tasks_below,
    tasks_for,
)
from facectl.gallery.photographs import EncodedPhotograph
from facectl.gallery.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    store = made()
    yield store
    store.close()


def run(
    store: Store,
    tasks: list[EnrollmentTask],
    encoder: FakeFaceEncoder | None = None,
    **options: bool,
) -> EnrollmentOutcome:
    seen = encoder or FakeFaceEncoder()
    return Enrollment(store, lambda: seen, **options).run(tasks)  # type: ignore[arg-type]


def kinds(outcome: EnrollmentOutcome) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.refused) for finding in outcome.findings]


def test_a_tree_has_one_folder_per_person_of_any_depth(tmp_path: Path, store: Store) -> None:
    tmp_path = tmp_path / "people"
    photo(tmp_path / "Ada" / "1.jpg", 0)
    photo(tmp_path / "Ada" / "holiday" / "2024" / "2.PNG", 0, 0.1)
    photo(tmp_path / "Zoë 🦉" / "1.webp", 50)
    photo(tmp_path / "Ada" / ".hidden" / "3.jpg", 90)
    (tmp_path / "Ada" / "notes.txt").write_text("no picture")
    tasks, findings = tasks_below(tmp_path)
    assert findings == []
    outcome = run(store, tasks)
    assert outcome.enrolled == {"Ada": 2, "Zoë 🦉": 1}
    assert store.people() == {"Ada": 2, "Zoë 🦉": 1}
    assert store.version == 1


def test_unchanged_photographs_are_not_embedded_again(tmp_path: Path, store: Store) -> None:
    tasks = [EnrollmentTask("Ada", photo(tmp_path / f"{i}.jpg", 0, i / 10)) for i in range(3)]
    run(store, tasks)
    encoder = FakeFaceEncoder()
    # Photographs are identified by their bytes, not by their path.
    moved = tasks[0].photo.rename(tmp_path / "moved.jpg")
    new = photo(tmp_path / "new.jpg", 0, 0.05)
    outcome = run(
        store, [EnrollmentTask("Ada", moved), *tasks[1:], EnrollmentTask("Ada", new)], encoder
    )
    assert encoder.looked == [new]
    assert (outcome.unchanged, outcome.enrolled) == (3, {"Ada": 1})


def test_without_new_photographs_no_model_is_loaded_and_no_version_is_made(
    tmp_path: Path, store: Store
) -> None:
    tasks = [EnrollmentTask("Ada", photo(tmp_path / "1.jpg", 0))]
    run(store, tasks)

    def no_model() -> FakeFaceEncoder:
        raise AssertionError

    assert Enrollment(store, no_model).run(tasks).unchanged == 1
    assert store.version == 1


def test_an_interrupted_run_is_saved_and_resumed(tmp_path: Path, store: Store) -> None:
    tasks = [EnrollmentTask("Ada", photo(tmp_path / f"{i}.jpg", 0, i / 10)) for i in range(4)]

    class Impatient(FakeFaceEncoder):
        def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
            if len(self.looked) == 2:
                raise KeyboardInterrupt
            return super().embed(photo, take_largest=take_largest)

    with pytest.raises(KeyboardInterrupt):
        run(store, tasks, Impatient())
    assert store.people() == {"Ada": 2}
    encoder = FakeFaceEncoder()
    assert run(store, tasks, encoder).enrolled == {"Ada": 2}
    assert len(encoder.looked) == 2


def test_a_long_run_is_saved_every_few_seconds(tmp_path: Path, store: Store) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 2.0
        return now[0]

    saved: list[int] = []
    tasks = [EnrollmentTask("Ada", photo(tmp_path / f"{i}.jpg", 0, i / 10)) for i in range(6)]
    enrollment = Enrollment(store, FakeFaceEncoder, clock=clock)
    enrollment.run(tasks, lambda: saved.append(sum(store.people().values())))
    assert saved == [0, 0, 0, 3, 3, 3]
    assert store.people() == {"Ada": 6}
    assert store.version == 1


@pytest.mark.parametrize(
    ("fault", "kind", "text", "figure"),
    [
        ({"px": 31}, "small_face", "only 31 pixels wide", 31),
        ({"sharpness": 4}, "blurred", "sharpness 4", 4),
        ({"probability": 0.8}, "low_probability", "probability 0.80", 0.8),
    ],
)
def test_quality_findings_have_a_file_and_a_figure(
    tmp_path: Path, store: Store, fault: dict[str, float], kind: str, text: str, figure: float
) -> None:
    bad = photo(tmp_path / "bad.jpg", 0, **fault)  # type: ignore[arg-type]
    outcome = run(store, [EnrollmentTask("Ada", bad)])
    [finding] = outcome.findings
    assert (finding.kind, finding.photo, finding.figure) == (kind, bad, figure)
    assert text in finding.message
    assert store.people() == {"Ada": 1}
    check(outcome, strict=False)


@pytest.mark.parametrize("fault", [{"px": 31}, {"sharpness": 4}, {"probability": 0.8}])
def test_strict_refuses_photographs_with_findings(
    tmp_path: Path, store: Store, fault: dict[str, float]
) -> None:
    bad = photo(tmp_path / "bad.jpg", 0, **fault)  # type: ignore[arg-type]
    outcome = run(store, [EnrollmentTask("Ada", bad)], strict=True)
    assert store.people() == {}
    with pytest.raises(InputError, match="nobody was enrolled"):
        check(outcome, strict=True)


def test_a_photograph_with_several_faces_needs_the_option_largest(
    tmp_path: Path, store: Store
) -> None:
    group = photo(tmp_path / "group.jpg", 0, faces=6)
    outcome = run(store, [EnrollmentTask("Ada", group)])
    assert kinds(outcome) == [("several_faces", True)]
    with pytest.raises(InputError, match="6 faces were found") as caught:
        check(outcome, strict=False)
    assert "--largest" in (caught.value.hint or "")
    assert store.people() == {}
    assert kinds(run(store, [EnrollmentTask("Ada", group)], take_largest=True)) == [
        ("several_faces", False)
    ]
    assert store.people() == {"Ada": 1}


def test_two_names_with_nearly_the_same_face_are_reported(tmp_path: Path, store: Store) -> None:
    ada, eve = photo(tmp_path / "ada.jpg", 0), photo(tmp_path / "eve.jpg", 0, 0.2)
    outcome = run(store, [EnrollmentTask("Ada", ada), EnrollmentTask("Eve {:.2f}", eve)])
    [finding] = outcome.findings
    assert (finding.kind, finding.photo, finding.refused) == ("same_face", eve, False)
    assert finding.message == "nearly the same face as Ada (distance 0.20)"
    # The same compared with a face of an earlier run.
    again = photo(tmp_path / "again.jpg", 0, 0.1)
    assert kinds(run(store, [EnrollmentTask("Mallory", again)], strict=True)) == [
        ("same_face", True)
    ]


def test_one_name_with_two_different_faces_is_reported(tmp_path: Path, store: Store) -> None:
    one, two = photo(tmp_path / "1.jpg", 0), photo(tmp_path / "2.jpg", 9)
    outcome = run(store, [EnrollmentTask("Ada", one), EnrollmentTask("Ada", two)])
    [finding] = outcome.findings
    assert (finding.kind, finding.photo) == ("other_face", two)
    assert finding.figure == pytest.approx(1.4142, abs=1e-3)
    assert finding.limit == 1.0


def test_one_photograph_under_two_names_is_refused(tmp_path: Path, store: Store) -> None:
    one = photo(tmp_path / "1.jpg", 0)
    outcome = run(store, [EnrollmentTask("Ada", one), EnrollmentTask("Eve", one)])
    assert ("same_photograph", True) in kinds(outcome)
    assert store.people() == {"Ada": 1}
    with pytest.raises(IncompleteError, match="1 photograph"):
        check(outcome, strict=False)


def test_unreadable_photographs_are_reported_and_the_others_enrolled(
    tmp_path: Path, store: Store
) -> None:
    good = photo(tmp_path / "good.jpg", 0)
    blank, broken = tmp_path / "blank.jpg", tmp_path / "broken.jpg"
    blank.write_text("blank")
    broken.write_text("broken")
    gone = tmp_path / "gone.jpg"
    outcome = run(store, [EnrollmentTask("Ada", file) for file in (blank, broken, gone, good)])
    assert [(f.kind, f.photo) for f in outcome.findings] == [
        ("no_face", blank), ("unreadable", broken), ("unreadable", gone),
    ]  # fmt: skip
    assert store.people() == {"Ada": 1}
    with pytest.raises(IncompleteError, match=r"3 photograph.*blank\.jpg"):
        check(outcome, strict=False)


@pytest.mark.parametrize(("content", "error"), [("blank", InputError), ("broken", InputError)])
def test_a_run_in_which_nobody_is_enrolled_is_an_error(
    tmp_path: Path, store: Store, content: str, error: type[Exception]
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_text(content)
    with pytest.raises(error, match="nobody was enrolled"):
        check(run(store, [EnrollmentTask("Ada", file)]), strict=False)


def test_folders_with_names_that_are_not_allowed_are_reported(tmp_path: Path) -> None:
    tmp_path = tmp_path / "people"
    photo(tmp_path / "a,b" / "1.jpg", 0)
    photo(tmp_path / "Unknown" / "1.jpg", 5)
    photo(tmp_path / ("x" * 200) / "1.jpg", 7)
    stray = photo(tmp_path / "stray.jpg", 9)
    (tmp_path / "Empty").mkdir()
    tasks, findings = tasks_below(tmp_path)
    assert tasks == []
    assert sorted(finding.kind for finding in findings) == [
        "bad_name", "bad_name", "bad_name", "no_name", "no_photographs",
    ]  # fmt: skip
    assert [f.photo for f in findings if f.kind == "no_name"] == [stray]


@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: folder / "missing"])
def test_a_folder_without_people_is_an_error(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(InputError) as caught:
        tasks_below(make(tmp_path))
    assert "facectl gallery enroll NAME IMAGE" in (caught.value.hint or "")


def test_a_folder_as_argument_means_its_photographs(tmp_path: Path) -> None:
    one = photo(tmp_path / "ada" / "1.jpg", 0)
    two = photo(tmp_path / "2.jpg", 0)
    assert tasks_for("Ada", [tmp_path / "ada", two]) == [
        EnrollmentTask("Ada", one),
        EnrollmentTask("Ada", two),
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no photographs of Ada"):
        tasks_for("Ada", [tmp_path / "none"])
    with pytest.raises(InputError, match="can't be a name"):
        tasks_for("a,b", [two])


def test_a_reference_is_compared_with_hundreds_of_others(tmp_path: Path, store: Store) -> None:
    tasks = [EnrollmentTask(f"p{i}", photo(tmp_path / f"{i}.jpg", i)) for i in range(300)]
    assert run(store, tasks).findings == []
    assert len(store.people()) == 300
