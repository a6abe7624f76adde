"""Both functions without detection and recognition, to measure the platform's baseline.

`facectl bench --floor` deploys them beside the pipeline, with the same memory,
limits and queues, and removes them afterwards. They parse only what a result
needs, send a message of the size of one face, and write as many log lines as
the real functions.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from lambda_src import log
from lambda_src.aws import Aws
from lambda_src.contract import DETECTION_INIT, RECOGNITION_INIT, UNKNOWN, FrameResult
from lambda_src.settings import FunctionSettings
from lambda_src.stages.replies import send_answers
from lambda_src.startup import ColdStart
from lambda_src.timing import Stopwatch

# The size of one crop in base64: a PNG of 160x160 pixels was measured at about 22 kB.
_CROP = "x" * 30_000

_settings = FunctionSettings.from_environment(os.environ)
_aws = Aws.from_environment(os.environ)
_cold_start = ColdStart()


def detection(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Send a message of one face to the request queue for a frame."""
    watch = _begin(context, DETECTION_INIT)
    with watch.stage("detect"):
        fields = json.loads(event["body"])
        request_id, reply = fields["request_id"], fields.get("reply", "")
    timings = watch.durations_ms
    message = {"request_id": request_id, "timings_ms": timings, "crop": _CROP, "reply": reply}
    _aws.send(_settings.request_queue_url, json.dumps(message))
    log.info("noop", request_id)
    echo = {"reply": reply} if reply else {}
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"request_id": request_id, "faces": 1, **echo}),
    }


def recognition(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Send a result to the response queue for each message of a batch."""
    watch = _begin(context, RECOGNITION_INIT)
    answers = []
    for record in event["Records"]:
        waited = time.time() * 1e3 - float(record["attributes"]["SentTimestamp"])
        with watch.stage("embed"):
            message = json.loads(record["body"])
        timings = {**message["timings_ms"], **watch.durations_ms, "request_queue": max(0.0, waited)}
        result = FrameResult(message["request_id"], UNKNOWN, (), timings)
        answers.append((message["reply"], result.serialise()))
    send_answers(_aws, _settings.response_queue_url, answers)
    log.info("noop", None, records=len(answers))
    return {"batchItemFailures": []}


def _begin(context: object, init_stage: str) -> Stopwatch:
    init_ms = _cold_start.begin(context)
    return Stopwatch({} if init_ms is None else {init_stage: init_ms})
