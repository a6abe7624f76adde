"""Both functions without their work: what is left is the platform.

`facectl bench --floor` deploys them beside the pipeline, with its memory,
limits and queues, and removes them afterwards. They parse what they must to
answer, pass on as many bytes as one face has, and log as often as the others.
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
from lambda_src.timing import Stopwatch, process_age_ms

# One crop in base64, as measured: a PNG of 160x160 pixels has some 22 kB.
_CROP = "x" * 30_000

_settings = FunctionSettings.from_environment(os.environ)
_aws = Aws.from_environment(os.environ)
_init_ms = process_age_ms() or 0.0
_cold = True


def detection(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Take a frame, and put a message of one face on the request queue."""
    watch = _begin(context, DETECTION_INIT)
    with watch.stage("detect"):
        request_id = json.loads(event["body"])["request_id"]
    message = {"request_id": request_id, "timings_ms": watch.durations_ms, "crop": _CROP}
    _aws.send(_settings.request_queue_url, json.dumps(message))
    log.info("noop", request_id)
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"request_id": request_id, "faces": 1}),
    }


def recognition(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer a batch of messages."""
    watch = _begin(context, RECOGNITION_INIT)
    answers = []
    for record in event["Records"]:
        waited = time.time() * 1e3 - float(record["attributes"]["SentTimestamp"])
        with watch.stage("embed"):
            message = json.loads(record["body"])
        timings = {**message["timings_ms"], **watch.durations_ms, "request_queue": max(0.0, waited)}
        answers.append(FrameResult(message["request_id"], UNKNOWN, (), timings).serialise())
    _aws.send_many(_settings.response_queue_url, answers)
    log.info("noop", None, records=len(answers))
    return {"batchItemFailures": []}


def _begin(context: object, start: str) -> Stopwatch:
    global _cold
    cold, _cold = _cold, False
    log.begin(getattr(context, "aws_request_id", None), cold_start=cold, init_ms=_init_ms)
    return Stopwatch({start: _init_ms} if cold else {})
