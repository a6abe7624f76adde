"""The Lambda function face-recognition: batches of face crops in, results to the response queue.

The model is loaded at import, which is Lambda's init phase. Partial batch
failures are reported without Powertools' batch processor, which would add 65 ms
to a cold start.
"""

from __future__ import annotations

import time
from typing import Any

from lambda_src import log, startup
from lambda_src.aws import Aws
from lambda_src.gallery.source import GallerySource
from lambda_src.settings import FunctionSettings
from lambda_src.stages.recognise import QueueRecord, RecogniseStage
from lambda_src.timing import Stopwatch, peak_memory_mb
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import RECOGNITION, Model


def _build(model: Model, aws: Aws, settings: FunctionSettings) -> RecogniseStage:
    gallery = GallerySource(
        aws,
        settings.gallery_bucket,
        space=model.space,
        refresh=settings.gallery_refresh,
    )
    # The gallery is downloaded while the embedder loads.
    gallery.begin()
    embedder = Embedder(model, threads=settings.threads)
    # This is also the warm-up: a first inference takes longer than later ones.
    embedder.verify()
    return RecogniseStage(model, embedder, gallery, aws, settings)


_stage = startup.load(RECOGNITION, _build)
_cold_start = startup.ColdStart()


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Recognise the faces of one SQS batch; returns the failed records, which are retried."""
    init_ms = _cold_start.begin(context)
    watch = Stopwatch()
    with watch.stage("batch"):
        records = [_record(record) for record in event["Records"]]
        failed = _stage.process(records, seconds=_remaining_seconds(context), init_ms=init_ms)
    log.info(
        "batch",
        None,
        records=len(records),
        failed=len(failed),
        duration_ms=round(watch.durations_ms["batch"], 2),
        memory_mb=peak_memory_mb(),
    )
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _remaining_seconds(context: object) -> float:
    """The remaining time of this invocation; 0 if the context does not provide it."""
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
