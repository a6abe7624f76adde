"""Where a frame's time went, so that its stages add up to its end-to-end time.

    stage            from → to                                        whose clock
    wait             due → taken up by the client, and what an         client
                     attempt that got through was put off after
                     a 429 or a broken connection
    encode           taken up → POST begun                             client
    post             POST begun → answer on the queue, less what       client, SQS
                     the functions account for: the way in, the
                     Function URL, handing over to SQS
    detect           decode, detect, crop                              face-detection
    request_queue    on the request queue → handler begun              SQS, face-recognition
    embed            decode crops, embed, match                        face-recognition
    response_queue   on the response queue → given out                 SQS
    poll             given out → in hand                               SQS, client

`post` and `poll` are told apart by the estimated difference between our clock
and SQS's; their sum does not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facectl.bench.clocks import Offset, Readings
from facectl.bench.recorder import FrameTiming
from facectl.bench.statistics import Summary

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
    "wait": "waiting to be sent",
    "encode": "encode",
    "post": "POST, handing over",
    "detect": "detect",
    "request_queue": "request-queue wait",
    "embed": "embed and match",
    "response_queue": "response-queue wait",
    "poll": "poll",
}
# The functions' own words for what a stage is made of.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "detect": ("decode", "detect", "crop"),
    "request_queue": ("request_queue",),
    "embed": ("decode_crops", "embed", "match"),
}
FUNCTIONS = ("detect", "embed")


def stages_of(
    sample: FrameTiming, readings: Readings, offset: Offset | None
) -> dict[str, float] | None:
    """Seconds by stage, in order; None for a frame that has no answer with timings.

    A frame without a face has no `request_queue` and no `embed`. Without an
    `offset` there is no `poll`: it is part of `post` then.
    """
    if sample.answered is None or sample.post is None or sample.timings_ms is None:
        return None
    found = {
        "wait": sample.opened - sample.due,
        "encode": sample.post.began - sample.opened,
    }
    for stage, parts in _PARTS.items():
        measured = [sample.timings_ms[part] for part in parts if part in sample.timings_ms]
        if measured:
            found[stage] = sum(measured) / 1e3
    stamps = sample.stamps
    if stamps is not None and stamps.first_received_at is not None:
        found["response_queue"] = max(0.0, stamps.first_received_at - stamps.sent_at)
        if offset is not None:
            given_out = stamps.first_received_at + offset.seconds
            found["poll"] = readings.at(sample.answered) - given_out
    post = (sample.answered - sample.due) - sum(found.values())
    # An attempt that seemed to fail may be the one that was answered.
    retry_delay = min(sample.post.retry_delay, max(0.0, post))
    found["wait"] += retry_delay
    found["post"] = post - retry_delay
    return {stage: found[stage] for stage in STAGES if stage in found}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The stages of several frames.

    `each`: the summary of a stage over the frames that went through it.
    `shares`: mean seconds of a stage over all `frames`, 0 for one that was not
    gone through; they add up to the mean end to end.
    """

    frames: int
    each: Mapping[str, Summary]
    shares: Mapping[str, float]

    @classmethod
    def of(cls, frames: Sequence[Mapping[str, float]]) -> Breakdown:
        """Of frames by `stages_of`."""
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
