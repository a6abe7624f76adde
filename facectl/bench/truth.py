"""Whether the answers are right, by a file of labels like the course's."""

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
    """Image names, without their suffix, and what is to be answered; raises InputError.

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
        raise InputError(f"{file} has no labels in it")
    return labels


def stem(name: str) -> str:
    """A file's name without folder and suffix: labels name images with or without theirs."""
    return PurePath(name).stem if PurePath(name).suffix else PurePath(name).name


def check_labels(labels: Mapping[str, str], names: Iterable[str], file: Path) -> None:
    """Raise InputError where the labels name none of the frames."""
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
    """Answers against labels. `confusion`: how often (label, result); `unlabelled` frames apart."""

    correct: int
    wrong: int
    unlabelled: int
    confusion: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, samples: Sequence[FrameTiming], labels: Mapping[str, str]) -> Truth:
        """Of the frames that were answered."""
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
        """Correct of all that had a label; None where none had."""
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
