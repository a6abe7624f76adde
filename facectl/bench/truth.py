"""Accuracy of the answers, by a CSV file of labels (image, name)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from facectl.bench.recorder import FrameTiming
from facectl.errors import InputError

_COLUMNS = ("Image", "Results")


def load_labels(file: Path) -> dict[str, str]:
    """The expected answer by image name without suffix; raises InputError.

    CSV with a header that has the columns `Image` and `Results`.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            if missing := [name for name in _COLUMNS if name not in columns]:
                raise InputError(
                    f"{file} has no column {' and none '.join(missing)}: "
                    f"it has {', '.join(columns) or 'nothing'}",
                    hint="the first line must be: Image,Results",
                )
            labels = {
                stem((row["Image"] or "").strip()): (row["Results"] or "").strip()
                for row in reader
                if (row["Image"] or "").strip()
            }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} can't be read: {error}") from error
    if not labels:
        raise InputError(f"{file} has no labels")
    return labels


def stem(name: str) -> str:
    """The name of a file without folder and suffix, because labels may leave out the suffix."""
    return PurePath(name).stem if PurePath(name).suffix else PurePath(name).name


def check_labels(labels: Mapping[str, str], names: Iterable[str], file: Path) -> None:
    """Raise InputError if the labels name none of the frames."""
    seen = []
    for name in names:
        if stem(name) in labels:
            return
        seen.append(name)
    raise InputError(
        f"{file} names no frame of the source: it begins with {next(iter(labels))!r}, "
        f"the source with {seen[0] if seen else 'nothing'!r}",
        hint="labels name frames as they are sent: facectl send SOURCE --no-wait --json",
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """Answers compared with labels. `confusion`: number of frames by (label, result)."""

    correct: int
    wrong: int
    unlabelled: int
    confusion: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, samples: Sequence[FrameTiming], labels: Mapping[str, str]) -> Truth:
        """Compare the answered frames with the labels."""
        confusion: Counter[tuple[str, str]] = Counter()
        unlabelled = 0
        for sample in samples:
            if sample.result is None:
                continue
            label = labels.get(stem(sample.name))
            if label is None:
                unlabelled += 1
            else:
                confusion[label, sample.result] += 1
        correct = sum(count for (label, result), count in confusion.items() if label == result)
        return cls(correct, confusion.total() - correct, unlabelled, confusion)

    @property
    def accuracy(self) -> float | None:
        """Correct answers divided by labelled frames; None if no frame has a label."""
        compared = self.correct + self.wrong
        return self.correct / compared if compared else None

    def as_dict(self) -> dict[str, Any]:
        accuracy = self.accuracy
        return {
            "correct": self.correct,
            "wrong": self.wrong,
            "unlabelled": self.unlabelled,
            "accuracy": None if accuracy is None else round(accuracy, 6),
            "confusion": [
                {"label": label, "result": result, "frames": count}
                for (label, result), count in sorted(self.confusion.items())
            ],
        }
