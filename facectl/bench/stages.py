"""A frame's latency by stage; the stages add up to the end-to-end latency.

    stage            from → to                                        whose clock
    wait             due → opened by the client, and the backoff       client
                     before the accepted attempt after a 429 or
                     a broken connection
    encode           opened → POST started                             client
    post             POST started → answer on the queue, without       client, SQS
                     the functions' timings: network, Function
                     URL, send to SQS
    detect           decode, detect, crop                              face-detection
    request_queue    on the request queue → handler started            SQS, face-recognition
    embed            decode crops, embed, match                        face-recognition
    response_queue   on the response queue → first receive             SQS
    poll             first receive → received by the client            SQS, client

The boundary of `post` and `poll` uses the estimated offset between the local
clock and SQS's; their sum does not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facectl.bench.clocks import Offset, Readings
from facectl.bench.recorder import FrameTiming
from facectl.summary import Summary

STAGES = (
    "wait",
    "encode",
    "post",
    "detect",
    "request_queue",
    "embed",
    "response_queue",
    "poll",
)
WORDS = {
    "wait": "wait to send",
    "encode": "encode",
    "post": "POST",
    "detect": "detect",
    "request_queue": "request-queue wait",
    "embed": "embed and match",
    "response_queue": "response-queue wait",
    "poll": "poll",
}
# The functions' timings that make up a stage.
PARTS: Mapping[str, tuple[str, ...]] = {
    "detect": ("decode", "detect", "crop"),
    "request_queue": ("request_queue",),
    "embed": ("decode_crops", "embed", "match"),
}
FUNCTIONS = ("detect", "embed")


def stages_of(
    sample: FrameTiming, readings: Readings, offset: Offset | None
) -> dict[str, float] | None:
    """Seconds by stage, in order; None for a frame without an answer with timings.

    A frame without a face has no `request_queue` and no `embed`. Without an
    `offset` `post` includes `poll`.
    """
    if sample.answered is None or sample.post is None or sample.timings_ms is None:
        return None
    found = {
        "wait": sample.opened - sample.due,
        "encode": sample.post.began - sample.opened,
    }
    for stage, parts in PARTS.items():
        measured = [sample.timings_ms[part] for part in parts if part in sample.timings_ms]
        if measured:
            found[stage] = sum(measured) / 1e3
    stamps = sample.stamps
    if stamps is not None and stamps.first_received_at is not None:
        found["response_queue"] = max(0.0, stamps.first_received_at - stamps.sent_at)
        if offset is not None:
            received = stamps.first_received_at + offset.seconds
            found["poll"] = readings.at(sample.answered) - received
    post = (sample.answered - sample.due) - sum(found.values())
    # An attempt that seemed to fail may be the one that was answered.
    retry_delay = min(sample.post.retry_delay, max(0.0, post))
    found["wait"] += retry_delay
    found["post"] = post - retry_delay
    return {stage: found[stage] for stage in STAGES if stage in found}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The stages of several frames.

    `each`: the summary of a stage over the frames that have it. `shares`: mean
    seconds of a stage over all `frames`, with 0 for a frame without it; they add up
    to the mean end to end.
    """

    frames: int
    each: Mapping[str, Summary]
    shares: Mapping[str, float]

    @classmethod
    def of(cls, frames: Sequence[Mapping[str, float]]) -> Breakdown:
        """Summarise results of `stages_of`."""
        each = {}
        shares = {}
        for stage in STAGES:
            seconds = [frame[stage] for frame in frames if stage in frame]
            if seconds:
                each[stage] = Summary.of(seconds)
                shares[stage] = sum(seconds) / len(frames)
        return cls(len(frames), each, shares)

    @property
    def in_functions(self) -> float | None:
        """Mean seconds in detect and embed, over all frames."""
        if not self.frames:
            return None
        return sum(self.shares.get(stage, 0.0) for stage in FUNCTIONS)

    def as_dict(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "each": {stage: summary.as_dict() for stage, summary in self.each.items()},
            "mean_of_all": {stage: round(share, 6) for stage, share in self.shares.items()},
        }
