"""The times of the local cloud's model, from a report of `facectl bench -c 1 --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facectl.naming import RECOGNITION_FUNCTION
from facectl.plan.local import LocalTimes
from facectl.plan.times import DEFAULT, Duration, billed_seconds

# Of the stage `post`, the part before the handler starts; the rest is the sending of the two
# messages. Estimated: no clock separates them.
_BEFORE = 0.6
# Seconds from a message on the request queue to the handler, if no pause delays it: a low
# percentile of the measured waits.
_DISPATCH_RANK = 0.25
# CPU seconds of a frame outside its path, if they were not measured (docs/PERFORMANCE.md).
CLIENT = 0.013
PLATFORM = 0.007


def local_times(
    report: Mapping[str, Any], *, client: float = CLIENT, platform: float = PLATFORM
) -> LocalTimes:
    """The times of a run with one frame in flight, in which no frame waits for another.

    `client`, `platform`: CPU seconds of a frame in the client beside its encoding, and in
    the local cloud itself. Raises ValueError without such frames, KeyError for other data.
    """
    rows = [row for row in report["requests"] if row["status"] == "answered" and not row["cold"]]
    rows = [row for row in rows if {"detect", "embed"} <= row["stages_s"].keys()]
    if not rows:
        raise ValueError("the report has no warm frame with a face")
    stages = {
        name: Duration.of([float(row["stages_s"].get(name, 0.0)) for row in rows])
        for name in ("encode", "post", "detect", "request_queue", "embed", "poll")
    }
    detect, embed, post = stages["detect"], stages["embed"], stages["post"].mean
    posted = Duration.of([float(row["post_s"]) for row in rows]).mean
    waits = sorted(stages["request_queue"].samples)
    dispatch = waits[int(_DISPATCH_RANK * (len(waits) - 1))]
    respond = (1 - _BEFORE) * post
    billed = billed_seconds(report).get(RECOGNITION_FUNCTION, embed.mean + respond)
    return LocalTimes(
        encode=stages["encode"],
        request=_BEFORE * post,
        detect=detect,
        detect_end=max(0.0, posted - _BEFORE * post - detect.mean),
        dispatch=dispatch,
        embed=embed,
        further_face=DEFAULT.further_face,
        respond=respond,
        recognise_end=max(0.0, billed - embed.mean - respond - dispatch),
        receive=stages["poll"].mean,
        client=client,
        platform=platform,
    )
