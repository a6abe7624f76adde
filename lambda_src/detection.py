"""The Lambda function face-detection: Function URL requests in, face crops to the request queue.

The model is loaded at import, which is Lambda's init phase.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Any

from lambda_src import log, startup
from lambda_src.aws import Aws
from lambda_src.contract import FrameRequest, RequestError
from lambda_src.settings import FunctionSettings
from lambda_src.stages.detect import DetectStage, QueueUnavailableError
from lambda_src.timing import Stopwatch, peak_memory_mb
from lambda_src.vision.detector import Detector
from lambda_src.vision.store import DETECTION, Model


def _build(model: Model, aws: Aws, settings: FunctionSettings) -> DetectStage:
    detector = Detector(
        model,
        threads=settings.threads,
        min_face_size=settings.min_face_size,
        thresholds=settings.thresholds,
        pyramid_factor=settings.pyramid_factor,
    )
    return DetectStage(model, detector, aws, settings)


_stage = startup.load(DETECTION, _build)
_cold_start = startup.ColdStart()


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer one Function URL request (payload format 2.0)."""
    init_ms = _cold_start.begin(context)
    watch = Stopwatch()
    with watch.stage("request"):
        status, answer = _answer(event, init_ms)
    error = answer.get("error")
    log.line(
        "INFO" if error is None else "ERROR",
        "request",
        answer["request_id"],
        status=status,
        duration_ms=round(watch.durations_ms["request"], 2),
        memory_mb=peak_memory_mb(),
        **(
            {"faces": answer["faces"]}
            if error is None
            else {"error": error["code"], "message": error["message"]}
        ),
    )
    headers = {"Content-Type": "application/json"}
    if status == 503:
        headers["Retry-After"] = "1"
    return {"statusCode": status, "headers": headers, "body": json.dumps(answer)}


def _answer(event: dict[str, Any], init_ms: float | None) -> tuple[int, dict[str, Any]]:
    request_id = None
    watch = Stopwatch()
    waited_ms = _waited_ms(event)
    try:
        with watch.stage("parse"):
            request = FrameRequest.parse(
                _body(event), max_image_bytes=_stage.settings.max_image_bytes
            )
        request_id = request.request_id
        # Logged before the frame is processed: a killed worker logs nothing more.
        log.info(
            "received",
            request_id,
            bytes=len(request.image),
            waited_ms=waited_ms,
            parse_ms=round(watch.durations_ms["parse"], 2),
        )
        faces = _stage.process(request, init_ms=init_ms)
    except RequestError as error:
        refusal = error
    except QueueUnavailableError as error:
        log.error("enqueue", request_id, error="queue_unavailable", message=str(error))
        refusal = RequestError(
            503, "queue_unavailable", "a queue can't be reached: send the frame again", request_id
        )
    except Exception as error:  # noqa: BLE001 - an exception would end the warm process
        log.error("request", request_id, error=type(error).__name__, message=str(error))
        refusal = RequestError(
            500, "internal", "the frame could not be processed: send it again", request_id
        )
    else:
        # A client that asked for a reply queue learns here that this version knows them.
        echo = {"reply": request.reply} if request.reply else {}
        return 200, {"request_id": request_id, "faces": faces, **echo}
    return refusal.status, refusal.body()


def _waited_ms(event: dict[str, Any]) -> float | None:
    """Milliseconds since the request reached the Function URL, including a cold start."""
    arrived = event.get("requestContext", {}).get("timeEpoch")
    return None if arrived is None else round(max(0.0, time.time() * 1e3 - arrived), 2)


def _body(event: dict[str, Any]) -> str | bytes:
    method = event.get("requestContext", {}).get("http", {}).get("method", "POST")
    if method != "POST":
        raise RequestError(400, "bad_method", f"the method must be POST, not {method}")
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, "bad_json", f"the body can't be decoded: {error}") from error
