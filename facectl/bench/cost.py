"""Cost of frames, from the billed duration of the functions and a price table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facectl.naming import DETECTION_FUNCTION
from facectl.prices import Prices

# Size of a face's crop in base64: a 160x160 PNG of a photograph has 16 to 41 kB.
_CROP_KB = 56
# Send, receive and delete without batches; batches cost less.
_CALLS = 3
_MONTH_SECONDS = 30 * 24 * 3600
EXCLUDED = "without logs, storage, data transfer, polls of idle queues and the free tier"


@dataclass(frozen=True, slots=True)
class Billed:
    """Total billed duration of one function. `memory` in MB."""

    invocations: int
    seconds: float
    memory: int
    architecture: str

    @property
    def gb_seconds(self) -> float:
        return self.seconds * self.memory / 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of 1,000 frames by kind, and of a camera for 30 days.

    In the currency of the price table. `rate`: frames per second of the camera.
    """

    functions: Mapping[str, float]
    requests: float
    queues: float
    rate: float
    prices: Prices

    @property
    def parts(self) -> dict[str, float]:
        """The cost of 1,000 frames by kind."""
        return {**self.functions, "lambda requests": self.requests, "queues": self.queues}

    @property
    def thousand(self) -> float:
        """The cost of 1,000 frames."""
        return sum(self.parts.values())

    @property
    def camera_month(self) -> float:
        return self.thousand / 1000 * self.rate * _MONTH_SECONDS

    def as_dict(self) -> dict[str, Any]:
        return {
            "currency": self.prices.currency,
            "per_1000_frames": round(self.thousand, 6),
            "per_camera_month": round(self.camera_month, 4),
            "camera_frames_per_second": self.rate,
            "parts_per_1000_frames": {name: round(cost, 6) for name, cost in self.parts.items()},
            "excluded": EXCLUDED,
            "prices": asdict(self.prices),
        }


def cost_of(
    billed: Mapping[str, Billed],
    faces: Sequence[int],
    rate: float,
    prices: Prices,
    *,
    edge_frames: int | None = None,
) -> Cost | None:
    """The cost of frames; `faces` has the number of faces of each. None if nothing was billed.

    Each invocation of face-detection is one frame. The billed duration is divided
    by these invocations, not by the frames of the run, because the logs may hold a
    few frames more or less. `edge_frames`: the frames of a run that detected faces
    itself; one without a face then costs nothing.
    """
    frames = billed[DETECTION_FUNCTION].invocations if DETECTION_FUNCTION in billed else 0
    paid = faces
    if edge_frames is not None:
        frames, paid = edge_frames, [number for number in faces if number]
    if not frames or not faces:
        return None
    functions = {
        name: each.gb_seconds
        * prices.lambda_gb_second.get(each.architecture, max(prices.lambda_gb_second.values()))
        / frames
        * 1000
        for name, each in billed.items()
    }
    invocations = sum(each.invocations for each in billed.values())
    return Cost(
        functions=functions,
        requests=invocations / frames * 1000 * prices.lambda_million_requests / 1e6,
        queues=sum(_sqs_requests(n, prices) for n in paid)
        / len(faces)
        * 1000
        * prices.sqs_million_requests
        / 1e6,
        rate=rate,
        prices=prices,
    )


def _sqs_requests(faces: int, prices: Prices) -> float:
    """SQS requests of one frame; without a face it uses only the response queue.

    A delete has no payload and counts as one request, as each call for a short answer does.
    """
    answer = _CALLS
    if not faces:
        return answer
    chunks = math.ceil(faces * _CROP_KB / prices.sqs_request_kb)
    return answer + 2 * chunks + 1
