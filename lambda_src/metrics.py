"""CloudWatch metrics in the log lines, in the Embedded Metric Format: `facectl deploy --metrics`.

CloudWatch Logs extracts the metrics from the lines that `lambda_src/log.py` writes anyway, so no
call is made. This module is imported only where the deployment has metrics. Source: Amazon
CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lambda_src.contract import UNKNOWN

NAMESPACE = "facectl"
# Members of a line that name its metrics, the same for every line. Each pair of values has
# metrics of its own, and AWS charges for each: no dimension may have many values.
DIMENSIONS = ("function", "stage")
MILLISECONDS, COUNT = "Milliseconds", "Count"
# The metrics of a line by its stage, with their units. A frame's line in face-recognition has the
# durations of face-detection too, which are not counted again.
METRICS: Mapping[str, Mapping[str, str]] = {
    "init": {"duration_ms": MILLISECONDS},
    "detection": {
        "decode_ms": MILLISECONDS,
        "detect_ms": MILLISECONDS,
        "crop_ms": MILLISECONDS,
        "enqueue_ms": MILLISECONDS,
        "faces": COUNT,
        "no_face": COUNT,
    },
    "recognition": {
        "request_queue_ms": MILLISECONDS,
        "decode_crops_ms": MILLISECONDS,
        "embed_ms": MILLISECONDS,
        "match_ms": MILLISECONDS,
        "send_ms": MILLISECONDS,
        "named": COUNT,
        "unknown": COUNT,
        "error_results": COUNT,
    },
}


def members(stage: str, fields: Mapping[str, Any], at: int) -> dict[str, Any]:
    """The members that a line of this stage gets in addition; empty for one without metrics.

    `at`: the time of the line, in milliseconds of the epoch.
    """
    known = METRICS.get(stage)
    if known is None:
        return {}
    results = _results(stage, fields)
    present = {**fields, **results}
    metrics = [{"Name": name, "Unit": unit} for name, unit in known.items() if name in present]
    if not metrics:
        return {}
    directive = {"Namespace": NAMESPACE, "Dimensions": [DIMENSIONS], "Metrics": metrics}
    return {**results, "_aws": {"Timestamp": at, "CloudWatchMetrics": [directive]}}


def _results(stage: str, fields: Mapping[str, Any]) -> dict[str, int]:
    """How many results of each kind a line reports: numbers only, no names."""
    if stage == "detection":
        return {"no_face": int(fields["faces"] == 0)}
    if "matches" in fields:
        matches = fields["matches"]
        # Without names in the logs, a match says only whether it is of a known person.
        named = sum(each.get("known", each.get("name") != UNKNOWN) for each in matches)
        return {"named": named, "unknown": len(matches) - named}
    return {"error_results": 1} if fields.get("answered") else {}
