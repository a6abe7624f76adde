"""The inputs of a plan: cameras, settings of the functions, and the curve of the day."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facectl.errors import InputError
from lambda_src.settings import MB_PER_VCPU

Architecture = Literal["x86_64", "arm64"]
Precision = Literal["fp32", "int8"]

DAYS = 30
SECONDS_PER_HOUR = 3600
_EXAMPLE = "facectl plan --cameras 1000 --fps 2 --faces 1.3 --hours 12"
# The largest plan: more frames a second than any AWS account is given executions for.
_MOST_CAMERAS = 10_000_000
_MOST_FPS = 240.0
# SQS takes a message of 1 MiB: about 18 crops.
_MOST_FACES = 18.0

# Relative rates at equal distances over the hours in which the cameras send.
CURVES: dict[str, tuple[float, ...]] = {
    "flat": (1.0, 1.0),
    "day": (0.2, 0.6, 1.1, 1.4, 1.5, 1.4, 1.3, 1.4, 1.3, 1.0, 0.6, 0.2),
    "peaks": (0.3, 1.6, 2.0, 1.0, 0.6, 0.7, 0.9, 0.7, 0.8, 1.7, 2.0, 0.6),
}


@dataclass(frozen=True, slots=True)
class DayCurve:
    """The rate over the hours of a day, relative to its mean: points joined by lines."""

    name: str
    points: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> DayCurve:
        """A named curve, or relative rates such as `1,3,5,2`; raises InputError."""
        if text in CURVES:
            return cls(text, _normalised(CURVES[text]))
        try:
            points = tuple(float(part) for part in text.split(","))
        except ValueError as error:
            raise _bad_curve(text) from error
        if len(points) < 2 or not all(0 <= each < math.inf for each in points) or not any(points):
            raise _bad_curve(text)
        return cls("own", _normalised(points))

    @property
    def peak(self) -> float:
        """The highest rate, as a multiple of the mean."""
        return max(self.points)

    def at(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """The relative rate after a share (0 to 1) of the hours."""
        places = np.linspace(0.0, 1.0, len(self.points))
        return np.interp(share, places, self.points)


def _normalised(points: Sequence[float]) -> tuple[float, ...]:
    """Points whose line has a mean of 1."""
    mean = sum((a + b) / 2 for a, b in itertools.pairwise(points))
    mean /= len(points) - 1
    return tuple(each / mean for each in points)


def _bad_curve(text: str) -> InputError:
    return InputError(
        f"--day-curve {text!r} is not a curve: it is {', '.join(CURVES)}, or at least two relative "
        "rates of 0 or more",
        hint=f"{_EXAMPLE} --day-curve 1,3,5,2",
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What the cameras send. `fps` and `faces` are means; `hours` a day, 30 days a month."""

    cameras: int
    fps: float
    faces: float
    hours: float
    curve: DayCurve = field(default_factory=lambda: DayCurve.parse("day"))
    frame_kb: float = 90.0

    def __post_init__(self) -> None:
        self._check("--cameras", self.cameras, 1, _MOST_CAMERAS, "cameras")
        self._check("--fps", self.fps, 0.001, _MOST_FPS, "frames a second of one camera")
        self._check("--faces", self.faces, 0.0, _MOST_FACES, "faces in a frame, on average")
        self._check("--hours", self.hours, 0.1, 24.0, "hours a day")
        self._check("--frame-kb", self.frame_kb, 1.0, 100_000.0, "kilobytes of a frame's JPEG")

    @staticmethod
    def _check(option: str, value: float, least: float, most: float, meaning: str) -> None:
        if not least <= value <= most:
            raise InputError(
                f"{option} {value:g}: a plan takes {least:g} to {most:,.0f} {meaning}",
                hint=_EXAMPLE,
            )

    @property
    def mean_rate(self) -> float:
        """Frames a second, averaged over the hours in which the cameras send."""
        return self.cameras * self.fps

    @property
    def peak_rate(self) -> float:
        """Frames a second at the top of the day's curve."""
        return self.mean_rate * self.curve.peak

    @property
    def seconds_a_month(self) -> float:
        return self.hours * SECONDS_PER_HOUR * DAYS

    @property
    def frames_a_month(self) -> float:
        return self.mean_rate * self.seconds_a_month

    @property
    def with_face(self) -> float:
        """The share of frames with a face, if the faces of a frame are Poisson distributed."""
        return 1.0 - math.exp(-self.faces)

    @property
    def faces_a_message(self) -> float:
        """The mean number of faces of a frame that has one."""
        return self.faces / self.with_face if self.faces > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the functions are deployed. `memory` in MB, times in seconds.

    `concurrency_limit`: the account's; None: as many as the plan asks for. `pollers`:
    least and most provisioned pollers; None: the event source mapping's own.
    """

    memory: int = MB_PER_VCPU
    architecture: Architecture = "x86_64"
    precision: Precision = "int8"
    batch_size: int = 10
    timeout: float = 60.0
    concurrency_limit: int | None = None
    pollers: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 512 <= self.memory <= 10_240:
            raise InputError(
                f"--memory {self.memory}: functions have 512 to 10240 MB",
                hint=f"{_EXAMPLE} --memory 1769",
            )
        if self.concurrency_limit is not None and self.concurrency_limit < 10:
            raise InputError(
                f"--concurrency-limit {self.concurrency_limit}: AWS gives an account at least 10",
                hint=f"{_EXAMPLE} --concurrency-limit 1000",
            )

    @property
    def visibility_timeout(self) -> float:
        """Of the request queue: six times the functions' timeout, as `facectl deploy` sets it."""
        return 6 * self.timeout
