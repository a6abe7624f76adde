"""Selects which frames of a source are sent."""

from __future__ import annotations

from dataclasses import dataclass

from facectl.errors import InputError


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every n-th frame, or at most `fps` frames per second, and at most `limit` in total."""

    every: int = 1
    fps: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.every > 1 and self.fps is not None:
            raise InputError(
                "--every and --fps both select frames", hint="give one of them, not both"
            )

    def expected(self, frames: int, rate: float) -> int:
        """The number of frames selected from `frames` frames at `rate` frames per second."""
        taken = -(-frames // self.every)
        if self.fps is not None and self.fps < rate:
            taken = min(frames, int((frames - 1) / rate * self.fps + 1e-6) + 1)
        return taken if self.limit is None else min(taken, self.limit)

    def rate(self, rate: float) -> float:
        """The selected frames per second of a source with `rate` frames per second."""
        return min(rate, self.fps) if self.fps is not None else rate / self.every


class FrameSampler:
    """Applies a sampling to the frames of one source in their order."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._next_due = 0.0
        self.taken = 0

    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._sampling.limit is not None and self.taken >= self._sampling.limit

    def takes(self, position: int, timestamp: float) -> bool:
        """Whether the frame at this position and timestamp (in seconds) is selected."""
        fps = self._sampling.fps
        if fps is not None:
            # Containers round timestamps, so a millisecond early counts as due.
            if timestamp + 0.001 < self._next_due:
                return False
            while self._next_due <= timestamp + 0.001:
                self._next_due += 1 / fps
        elif position % self._sampling.every:
            return False
        self.taken += 1
        return True
