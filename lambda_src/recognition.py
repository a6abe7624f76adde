"""The Lambda function face-recognition: batches of face crops in, names on the response queue.

The model is loaded here, at import, which is Lambda's init phase. Partial
batch failures are reported in ten lines: Powertools' batch processor would add
65 ms to a cold start.
"""

from __future__ import annotations

import os
import time
from typing import Any

from lambda_src import log
from lambda_src.aws import Aws
from lambda_src.gallery import GallerySource
from lambda_src.settings import FunctionSettings
from lambda_src.stages.recognise import QueueRecord, RecogniseStage
from lambda_src.timing import Stopwatch, peak_memory_mb, process_age_ms
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import RECOGNITION, Model


def _load() -> RecogniseStage:
    watch = Stopwatch()
    settings = FunctionSettings.from_environment(os.environ)
    aws = Aws.from_environment(os.environ)
    with watch.stage("init"):
        model = Model.open(settings.model_dir, RECOGNITION)
        gallery = GallerySource(
            aws,
            settings.gallery_bucket,
            space=model.space,
            refresh=settings.gallery_refresh,
        )
        gallery.begin()
        embedder = Embedder(model, threads=settings.threads)
    log.info(
        "init",
        None,
        space=model.space,
        synthetic=model.synthetic,
        threads=settings.threads,
        duration_ms=round(watch.durations_ms["init"], 2),
        process_ms=process_age_ms(),
    )
    return RecogniseStage(model, embedder, gallery, aws, settings)


_stage = _load()
_cold = True
_init_ms = process_age_ms()


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Name the faces of one SQS batch; failed records are reported and delivered again."""
    global _cold
    cold, _cold = _cold, False
    log.begin(getattr(context, "aws_request_id", None), cold_start=cold, init_ms=_init_ms)
    watch = Stopwatch()
    with watch.stage("batch"):
        records = [_record(record) for record in event["Records"]]
        failed = _stage.process(
            records, seconds=_seconds(context), init_ms=(_init_ms or 0.0) if cold else None
        )
    log.info(
        "batch",
        None,
        records=len(records),
        failed=len(failed),
        duration_ms=round(watch.durations_ms["batch"], 2),
        memory_mb=peak_memory_mb(),
    )
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _seconds(context: object) -> float:
    """What is left of this invocation's time; 0 where nothing tells."""
    left = getattr(context, "get_remaining_time_in_millis", None)
    return 0.0 if left is None else float(left()) / 1e3


def _record(record: dict[str, Any]) -> QueueRecord:
    attributes = record["attributes"]
    sent_ms = float(attributes["SentTimestamp"])
    first_ms = float(attributes.get("ApproximateFirstReceiveTimestamp", "inf"))
    return QueueRecord(
        message_id=record["messageId"],
        receipt_handle=record["receiptHandle"],
        body=record["body"],
        receives=int(attributes["ApproximateReceiveCount"]),
        waited_ms=max(0.0, time.time() * 1e3 - sent_ms),
        held_s=max(0.0, time.time() - first_ms / 1e3),
    )
