"""Answers compared with labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from facectl.bench.recorder import FrameTiming
from facectl.bench.truth import Truth, check_labels, load_labels
from facectl.errors import InputError


def answered(name: str, result: str | None) -> FrameTiming:
    return FrameTiming(0, name, "r", "answered" if result else "unanswered", 0, 0, result=result)


def labels(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    return file


def test_labels_match_with_or_without_a_file_suffix(tmp_path: Path) -> None:
    file = labels(tmp_path, "\ufeffImage,Results\ntest_00,Paul\ntest_01.jpg,Ann\n\n")
    assert load_labels(file) == {"test_00": "Paul", "test_01": "Ann"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Image,Name\na,b\n", "no column Results: it has Image, Name"),
        ("", "it has nothing"),
        ("Image,Results\n", "has no labels"),
    ],
)
def test_an_invalid_file_of_labels_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_labels(labels(tmp_path, text))


def test_a_missing_file_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        load_labels(tmp_path / "none.csv")


def test_correct_and_wrong_answers_and_confusions_are_counted() -> None:
    truth = Truth.of(
        [
            answered("a.jpg", "Ann"),
            answered("b.jpg", "Ann"),
            answered("c.jpg", "Bob"),
            answered("d.jpg", "Bob"),
            answered("e.jpg", None),
            answered("stranger.jpg", "Ann"),
        ],
        {"a": "Ann", "b": "Bob", "c": "Bob", "d": "Ann", "e": "Ann"},
    )
    assert (truth.correct, truth.wrong, truth.unlabelled) == (2, 2, 1)
    assert truth.accuracy == 0.5
    assert truth.confusion == {
        ("Ann", "Ann"): 1,
        ("Bob", "Ann"): 1,
        ("Bob", "Bob"): 1,
        ("Ann", "Bob"): 1,
    }


def test_labels_without_a_matching_frame_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    check_labels({"a": "Ann"}, ["x.jpg", "a.jpg"], file)
    with pytest.raises(InputError, match=r"names no frame .* begins with 'a', .* with 'x.jpg'"):
        check_labels({"a": "Ann"}, ["x.jpg"], file)
