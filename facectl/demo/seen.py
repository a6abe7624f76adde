"""Compares the answers to the demo's clip with what it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lambda_src.contract import NO_FACE


@dataclass(frozen=True, slots=True)
class Seen:
    """One person of the clip, or its frames without a face.

    `frames`: in how many frames; `right`: how many of them were answered with `answer`.
    """

    person: str | None
    answer: str
    frames: int
    right: int


def compare(
    people: Sequence[Sequence[str]], expected: Sequence[str], results: Mapping[int, str]
) -> list[Seen]:
    """The people of the clip in the order of their first frame, with the frames answered rightly.

    people: of each frame, left to right. expected: the right result of each frame.
    results: the results by frame. A frame with a face too few or too many in its
    result, or without one, counts as wrong for everyone in it.
    """
    frames: Counter[tuple[str | None, str]] = Counter()
    right: Counter[tuple[str | None, str]] = Counter()
    for index, (shown, answer) in enumerate(zip(people, expected, strict=True)):
        wanted = answer.split(",")
        got = results.get(index, "").split(",")
        complete = len(got) == len(wanted)
        for place, (person, name) in enumerate(zip(shown or (None,), wanted, strict=True)):
            frames[person, name] += 1
            right[person, name] += complete and got[place] == name
    ordered = sorted(frames, key=lambda key: key[1] == NO_FACE)
    return [Seen(*key, frames[key], right[key]) for key in ordered]


def wrong(expected: Sequence[str], results: Mapping[int, str]) -> list[int]:
    """The frames that were answered otherwise than expected, or not at all."""
    return [index for index, answer in enumerate(expected) if results.get(index) != answer]
