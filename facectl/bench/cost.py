"""What frames cost, from what the functions were billed for and a table of prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facectl.naming import DETECTION_FUNCTION
from facectl.prices import Prices

# A face's crop in base64: a PNG of 160x160 pixels, measured on photographs 16 to 41 kB.
_CROP_KB = 56
# Sending, receiving and deleting, unbatched: batches only make it less.
_CALLS = 3
_MONTH_SECONDS = 30 * 24 * 3600
EXCLUDED = "without logs, storage, data transfer, polls of idle queues and the free tier"


@dataclass(frozen=True, slots=True)
class Billed:
    """What one function was billed for, in all. `memory` in MB."""

    invocations: int
    seconds: float
    memory: int
    architecture: str

    @property
    def gb_seconds(self) -> float:
        return self.seconds * self.memory / 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What 1,000 frames cost, by what is paid for, and a camera in a month of 30 days.

    In the price table's currency. `rate`: the camera's frames a second.
    """

    functions: Mapping[str, float]
    requests: float
    queues: float
    rate: float
    prices: Prices

    @property
    def thousand(self) -> float:
        return sum(self.functions.values()) + self.requests + self.queues

    @property
    def camera_month(self) -> float:
        return self.thousand / 1000 * self.rate * _MONTH_SECONDS

    def as_dict(self) -> dict[str, Any]:
        return {
            "currency": self.prices.currency,
            "per_1000_frames": round(self.thousand, 6),
            "per_camera_month": round(self.camera_month, 4),
            "camera_frames_per_second": self.rate,
            "parts_per_1000_frames": {
                **{name: round(cost, 6) for name, cost in self.functions.items()},
                "lambda requests": round(self.requests, 6),
                "queues": round(self.queues, 6),
            },
            "excluded": EXCLUDED,
            "prices": {**asdict(self.prices)},
        }


def cost_of(
    billed: Mapping[str, Billed], faces: Sequence[int], rate: float, prices: Prices
) -> Cost | None:
    """The cost of frames with so many `faces` each; None where nothing was billed.

    Each invocation of face-detection is a frame: what the functions were billed
    for is spread over these, so that a few frames more or less in the logs
    than in the run change nothing.
    """
    frames = billed[DETECTION_FUNCTION].invocations if DETECTION_FUNCTION in billed else 0
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
        queues=sum(_sqs_requests(n, prices) for n in faces)
        / len(faces)
        * 1000
        * prices.sqs_million_requests
        / 1e6,
        rate=rate,
        prices=prices,
    )


def _sqs_requests(faces: int, prices: Prices) -> float:
    """What SQS counts for one frame: its way through both queues; a faceless one skips the first.

    A delete has no payload and is one request; so is anything about a short answer.
    """
    answer = _CALLS
    if not faces:
        return answer
    chunks = math.ceil(faces * _CROP_KB / prices.sqs_request_kb)
    return answer + 2 * chunks + 1
