"""Both stages with one request or one batch: real images, fake models and queues."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lambda_src import log
from lambda_src.aws import AwsError
from lambda_src.contract import CroppedFace, FaceMessage, FrameRequest, RequestError
from lambda_src.gallery.matching import Gallery, GalleryFormatError
from lambda_src.settings import FunctionSettings
from lambda_src.stages.detect import DetectStage, QueueUnavailableError
from lambda_src.stages.recognise import QueueRecord, RecogniseStage
from lambda_src.vision.boxes import Face
from lambda_src.vision.crops import encode_crops
from lambda_src.vision.store import Model

SPACE = "0123/facenet"
MODEL = Model(Path("model"), SPACE, "facenet", synthetic=True, weights="synthetic")
SETTINGS = FunctionSettings(
    request_queue_url="requests",
    response_queue_url="responses",
    gallery_bucket="bucket",
    max_receives=5,
    max_image_bytes=100_000,
    max_image_pixels=100_000,
)


class Queues:
    """A fake AWS client: records the calls, and fails where a test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.hidden: list[tuple[str, str, int]] = []
        self.deleted: list[tuple[str, str]] = []
        self.broken = False
        self.refuses: set[str] = set()
        self.objects: set[str] = set()

    def send(self, queue_url: str, body: str) -> str:
        if self.broken:
            raise AwsError("no route")
        self.sent.append((queue_url, json.loads(body)))
        return f"message-{len(self.sent)}"

    def send_many(self, queue_url: str, bodies: Sequence[str]) -> dict[int, str]:
        failed = {}
        for index, body in enumerate(bodies):
            if self.broken or json.loads(body)["request_id"] in self.refuses:
                failed[index] = "no route"
            else:
                self.send(queue_url, body)
        return failed

    def change_visibility(self, queue_url: str, receipt_handle: str, seconds: int) -> None:
        self.hidden.append((queue_url, receipt_handle, seconds))

    def delete(self, queue_url: str, receipt_handle: str) -> None:
        self.deleted.append((queue_url, receipt_handle))

    def put_object(self, bucket: str, key: str) -> None:
        self.objects.add(f"{bucket}/{key}")

    def delete_object(self, bucket: str, key: str) -> None:
        self.objects.discard(f"{bucket}/{key}")

    def get_object(self, bucket: str, key: str) -> tuple[bytes, str]:
        if f"{bucket}/{key}" not in self.objects:
            raise AwsError("no such key", status=404, code="NoSuchKey")
        return b"", "etag"


class FoundFaces:
    """A detector that returns the given faces."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, image: np.ndarray, min_face_size: int | None) -> list[Face]:
        self.min_face_size = min_face_size
        return self.faces


def face(x0: float, x1: float) -> Face:
    return Face((x0, 0.0, x1, x1 - x0), 0.99, ((0.0, 0.0),) * 5)


def picture(file_format: str = "PNG", size: tuple[int, int] = (80, 60)) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(stream, file_format)
    return stream.getvalue()


def detect_stage(queues: Queues, *faces: Face) -> DetectStage:
    return DetectStage(MODEL, FoundFaces(*faces), queues, SETTINGS)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [None, 40])
def test_the_detector_gets_the_smallest_face_of_the_request(size: int | None) -> None:
    stage = detect_stage(Queues(), face(40, 60))
    stage.process(FrameRequest("r", "f.png", picture(), min_face_size=size))
    assert stage.detector.min_face_size == size  # type: ignore[attr-defined]


def test_the_largest_faces_are_sent_left_to_right() -> None:
    queues = Queues()
    stage = detect_stage(queues, face(40, 60), face(0, 10), face(5, 40))
    assert stage.process(FrameRequest("r", "f.png", picture(), max_faces=2)) == 2
    [(queue, body)] = queues.sent
    assert queue == "requests"
    message = FaceMessage.parse(json.dumps(body))
    assert (message.request_id, message.space, message.detail) == ("r", SPACE, False)
    assert [crop.box[0] for crop in message.faces] == [5, 40]
    assert all(Image.open(io.BytesIO(crop.image)).size == (160, 160) for crop in message.faces)
    assert {"decode", "detect", "crop"} <= set(message.timings_ms)


def test_a_frame_without_a_face_gets_no_face_from_detection() -> None:
    queues = Queues()
    assert detect_stage(queues).process(FrameRequest("r", "f", picture())) == 0
    assert queues.sent == [("responses", {"request_id": "r", "result": "No-Face"})]


def test_detail_of_a_frame_without_a_face() -> None:
    queues = Queues()
    detect_stage(queues).process(FrameRequest("r", "f", picture(), detail=True))
    body = queues.sent[0][1]
    assert body["faces"] == []
    assert {"decode", "detect"} <= set(body["timings_ms"])


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        (b"text", 400, "unsupported_image"),
        (picture("GIF"), 400, "unsupported_image"),
        (picture()[:60], 400, "bad_image"),
        (picture("JPEG", (1000, 1000)), 413, "image_too_large"),
        (bytes(100_001), 413, "image_too_large"),
    ],
)
def test_invalid_images(image: bytes, status: int, code: str) -> None:
    queues = Queues()
    with pytest.raises(RequestError) as caught:
        detect_stage(queues).process(FrameRequest("r", "f", image))
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.request_id == "r"
    assert queues.sent == []


@pytest.mark.parametrize("faces", [(), (face(0, 10),)])
def test_an_unreachable_queue(faces: tuple[Face, ...]) -> None:
    queues = Queues()
    queues.broken = True
    with pytest.raises(QueueUnavailableError):
        detect_stage(queues, *faces).process(FrameRequest("r", "f", picture()))


class Embedder:
    """Embeds a crop as the unit vector of its first pixel, and fails for a black crop."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        self.batches.append(len(crops))
        result = np.zeros((len(crops), 512), dtype=np.float32)
        for row, crop in zip(result, crops, strict=True):
            if crop[0, 0, 0] == 0:
                raise RuntimeError("black")
            row[int(crop[0, 0, 0])] = 1
        return result


class FixedGallery:
    """A gallery of two people, whose crops have the values 10 and 20."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        embeddings = np.zeros((2, 512), dtype=np.float32)
        embeddings[0, 10] = embeddings[1, 20] = 1
        self.gallery = Gallery(SPACE, 1.0, ("Ada", "Grace"), embeddings)

    def begin(self, seconds: float | None = None) -> None:
        return

    def current(self) -> Gallery:
        if self.refusal:
            raise self.refusal
        return self.gallery


def recognise_stage(
    queues: Queues, refusal: Exception | None = None, settings: FunctionSettings = SETTINGS
) -> RecogniseStage:
    return RecogniseStage(
        MODEL,
        Embedder(),  # type: ignore[arg-type]
        FixedGallery(refusal),  # type: ignore[arg-type]
        queues,  # type: ignore[arg-type]
        settings,
    )


def record(
    request_id: str,
    *values: int,
    receives: int = 1,
    space: str = SPACE,
    detail: bool = False,
) -> QueueRecord:
    crops = [np.full((160, 160, 3), value, dtype=np.uint8) for value in values]
    files = encode_crops(crops, "facenet", max_total_bytes=1_000_000)
    faces = tuple(
        CroppedFace((10.0 * i, 0.0, 10.0 * i + 5, 5.0), 0.9, file) for i, file in enumerate(files)
    )
    message = FaceMessage(request_id, "f", space, faces, detail, {"detect": 3.0})
    return QueueRecord(f"m-{request_id}", f"h-{request_id}", message.serialise(), receives, 12.5)


def answers(queues: Queues) -> dict[str, str]:
    assert {queue for queue, _ in queues.sent} <= {"responses"}
    return {body["request_id"]: body["result"] for _, body in queues.sent}


def test_a_batch_is_embedded_together_and_has_one_result_per_record() -> None:
    queues = Queues()
    stage = recognise_stage(queues)
    assert stage.process([record("a", 10), record("b", 20, 10), record("c", 30)]) == []
    assert answers(queues) == {"a": "Ada", "b": "Grace,Ada", "c": "Unknown"}
    assert stage.embedder.batches == [4]  # type: ignore[attr-defined]


def test_detail_has_boxes_distances_and_every_stage() -> None:
    queues = Queues()
    recognise_stage(queues).process([record("a", 10, detail=True)])
    body = queues.sent[0][1]
    assert body["faces"] == [
        {"box": [0.0, 0.0, 5.0, 5.0], "probability": 0.9, "name": "Ada", "distance": 0.0}
    ]
    assert body["timings_ms"]["detect"] == 3.0
    assert body["timings_ms"]["request_queue"] == 12.5
    assert {"decode_crops", "embed", "match"} <= set(body["timings_ms"])


def test_one_bad_record_fails_alone_and_is_retried_soon() -> None:
    queues = Queues()
    bad = QueueRecord("m-bad", "h-bad", "not a message", 1, 0.0)
    failed = recognise_stage(queues).process([record("a", 10), bad, record("b", 0)])
    assert failed == ["m-bad", "m-b"]
    assert answers(queues) == {"a": "Ada"}
    assert queues.hidden == [("requests", "h-bad", 1), ("requests", "h-b", 1)]


def test_a_failed_last_delivery_gets_error_and_still_fails() -> None:
    queues = Queues()
    failed = recognise_stage(queues).process([record("a", 10), record("b", 0, receives=5)])
    assert failed == ["m-b"]
    assert answers(queues) == {"a": "Ada", "b": "Error"}


def test_crops_of_another_space_are_never_compared() -> None:
    queues = Queues()
    assert recognise_stage(queues).process([record("a", 10, space="other/facenet")]) == ["m-a"]
    assert queues.sent == []


def test_an_unusable_gallery_is_an_error_not_unknown() -> None:
    queues = Queues()
    stage = recognise_stage(queues, GalleryFormatError("of another space"))
    assert stage.process([record("a", 10), record("b", 10, receives=5)]) == ["m-a", "m-b"]
    assert answers(queues) == {"b": "Error"}


def test_a_result_that_cannot_be_sent_is_retried() -> None:
    queues = Queues()
    queues.refuses = {"b"}
    assert recognise_stage(queues).process([record("a", 10), record("b", 20)]) == ["m-b"]
    assert answers(queues) == {"a": "Ada"}


def test_logs_contain_no_image_and_no_embedding(capsys: pytest.CaptureFixture[str]) -> None:
    queues = Queues()
    recognise_stage(queues).process([record("a", 10), QueueRecord("m", "h", "QUJDREVG" * 99, 1, 0)])
    detect_stage(queues, face(0, 40)).process(FrameRequest("r", "f", picture()))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["stage"] for line in lines} == {"received", "recognition", "detection"}
    assert all(len(json.dumps(line)) < 1000 for line in lines)
    assert "QUJDREVG" not in json.dumps(lines)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def invocation() -> Iterator[None]:
    log.begin("i-1", cold_start=True, init_ms=812.345)
    yield
    log.begin(None, cold_start=False, init_ms=None)


def test_logged_numbers_are_rounded(capsys: pytest.CaptureFixture[str]) -> None:
    stage = recognise_stage(Queues())
    embeddings = np.zeros((1, 512), dtype=np.float32)
    embeddings[0, 10], embeddings[0, 11] = 0.6, 0.8
    stage.gallery.gallery = Gallery(SPACE, 1.0, ("Ada",), embeddings)  # type: ignore[attr-defined]
    stage.process([replace(record("a", 10), waited_ms=1234.5678)])
    received, answered = logged(capsys)
    assert (received["waited_ms"], answered["request_queue_ms"]) == (1234.57, 1234.57)
    # The root of 2 - 2 * 0.6.
    assert answered["matches"] == [{"name": "Ada", "distance": 0.8944}]


@pytest.mark.usefixtures("invocation")
def test_a_record_is_logged_when_it_is_received_and_when_its_result_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recognise_stage(Queues()).process([record("a", 10, receives=2)])
    received, answered = logged(capsys)
    assert (
        received.items()
        >= {
            "stage": "received",
            "request_id": "a",
            "message_id": "m-a",
            "receives": 2,
            "max_receives": 5,
            "waited_ms": 12.5,
            "records": 1,
            "invocation": "i-1",
            "cold_start": True,
            "init_ms": 812.35,
        }.items()
    )
    assert answered["matches"] == [{"name": "Ada", "distance": 0.0}]
    assert (answered["result"], answered["message_id"]) == ("Ada", "m-a")
    assert {"embed_ms", "match_ms", "send_ms"} <= set(answered)


def test_a_warm_invocation_has_no_init(capsys: pytest.CaptureFixture[str]) -> None:
    log.begin("i-2", cold_start=False, init_ms=812.3)
    log.info("received", "a")
    [line] = logged(capsys)
    assert line["cold_start"] is False
    assert "init_ms" not in line


def test_without_names_the_logs_only_distinguish_known_and_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    queues = Queues()
    stage = recognise_stage(queues, settings=replace(SETTINGS, log_names=False))
    stage.process([record("a", 10, 30), record("b", 0, receives=5)])
    lines = logged(capsys)
    assert answers(queues) == {"a": "Ada,Unknown", "b": "Error"}
    assert "Ada" not in json.dumps(lines)
    [answered] = [line for line in lines if "matches" in line]
    assert [match["known"] for match in answered["matches"]] == [True, False]
    assert "result" not in answered


def test_a_frame_without_a_face_is_logged_with_its_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detect_stage(Queues()).process(FrameRequest("r", "f", picture()))
    [line] = logged(capsys)
    assert line.items() >= {"result": "No-Face", "faces": 0, "message_id": "message-1"}.items()


def test_a_failed_delivery_is_logged_with_its_retry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = recognise_stage(Queues())
    stage.process([record("b", 0), record("c", 0, receives=5)])
    failures = [line for line in logged(capsys) if line["level"] == "ERROR"]
    told = [
        (line["request_id"], line["last_delivery"], line["answered"], line["hidden_s"])
        for line in failures
    ]
    assert told == [("b", False, False, 1), ("c", True, True, 15)]
    assert {line["error"] for line in failures} == {"RuntimeError"}


def test_an_invalid_message_on_its_last_delivery_gets_error() -> None:
    queues = Queues()
    poisoned = QueueRecord("m", "h", json.dumps({"request_id": "a", "faces": 7}), 5, 0.0)
    assert recognise_stage(queues).process([poisoned]) == ["m"]
    assert answers(queues) == {"a": "Error"}


def test_an_unsent_error_result_keeps_the_message_of_the_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    queues = Queues()
    queues.broken = True
    assert recognise_stage(queues).process([record("b", 0, receives=5)]) == ["m-b"]
    failure = logged(capsys)[-1]
    assert (failure["error"], failure["message"]) == ("RuntimeError", "black")
    assert failure["answered"] is False


def test_a_long_error_message_is_truncated(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("request", "r", error="ValueError", message="A" * 9000)
    [line] = logged(capsys)
    assert line["message"] == "A" * 500


def test_cold_starts_are_in_the_timings_of_a_frame() -> None:
    queues = Queues()
    detect_stage(queues, face(0, 40)).process(
        FrameRequest("r", "f", picture(), detail=True), init_ms=700.0
    )
    [(_, body)] = queues.sent
    assert body["timings_ms"]["detection_init"] == 700.0

    queues = Queues()
    stage = recognise_stage(queues)
    stage.process([record("a", 10, detail=True)], init_ms=900.0)
    stage.process([record("b", 10, detail=True)])
    cold, warm = (body["timings_ms"] for _, body in queues.sent)
    assert cold["recognition_init"] == 900.0
    assert "recognition_init" not in warm


VISIBILITY = 100
PATIENT = replace(SETTINGS, visibility_timeout=VISIBILITY)


def back_after(request_id: str, *values: int, receives: int, silent: float) -> QueueRecord:
    """A record whose first delivery was `silent` visibility timeouts ago."""
    return replace(record(request_id, *values, receives=receives), held_s=silent * VISIBILITY)


def test_a_suspect_is_processed_alone_after_the_others_are_deleted() -> None:
    queues = Queues()
    stage = recognise_stage(queues, settings=PATIENT)
    suspect = back_after("s", 10, receives=2, silent=1.02)
    also = back_after("t", 20, receives=2, silent=1.02)
    assert stage.process([suspect, record("a", 10), record("b", 0), also]) == ["m-b"]
    # "b" failed by itself and is tried again alone at once, as in any batch.
    assert stage.embedder.batches == [2, 1, 1, 1, 1]  # type: ignore[attr-defined]
    assert [body["request_id"] for _, body in queues.sent] == ["a", "s", "t"]
    assert queues.deleted == [("requests", "h-a"), ("requests", "h-s")]
    assert queues.objects == set()


def test_an_unsent_result_is_retried_later_than_a_failed_record() -> None:
    queues = Queues()
    queues.broken = True
    stage = recognise_stage(queues, settings=PATIENT)
    for receives in (1, 2, 3, 4, 5):
        stage.process([record("a", 10, receives=receives)])
    assert [seconds for _, _, seconds in queues.hidden] == [5, 45, 45, 45, 15]
    hasty = recognise_stage(queues, settings=replace(PATIENT, visibility_timeout=24))
    hasty.process([record("a", 10, receives=2)])
    assert queues.hidden[-1][2] == 12
    at_once = recognise_stage(queues, settings=replace(PATIENT, visibility_timeout=1))
    at_once.process([record("a", 10, receives=2)])
    assert queues.hidden[-1][2] == 1


def test_a_last_delivery_sends_its_result_as_soon_as_the_queue_is_back() -> None:
    queues = Queues()
    queues.broken = True
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        queues.broken = now[0] < 20

    stage = replace(recognise_stage(queues, settings=PATIENT), clock=lambda: now[0], sleep=sleep)
    batch = [record("a", 10, receives=5), record("b", 10), record("c", 0, receives=5)]
    assert stage.process(batch, seconds=60) == ["m-b", "m-c"]
    assert now[0] == 20
    assert answers(queues) == {"a": "Ada", "c": "Error"}


def test_a_last_delivery_stops_retrying_before_its_timeout() -> None:
    queues = Queues()
    queues.broken = True
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    stage = replace(recognise_stage(queues, settings=PATIENT), clock=lambda: now[0], sleep=sleep)
    assert stage.process([record("a", 10, receives=5)], seconds=60) == ["m-a"]
    assert now[0] == 57


def test_retries_of_a_result_leave_time_for_the_other_records() -> None:
    queues = Queues()
    queues.refuses = {"k"}
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    stage = replace(recognise_stage(queues, settings=PATIENT), clock=lambda: now[0], sleep=sleep)
    queues.objects = {"bucket/attempts/m-k"}
    killer = back_after("k", 10, receives=5, silent=2.04)
    assert stage.process([killer, record("a", 10)], seconds=60) == ["m-k"]
    assert now[0] == 29
    assert answers(queues) == {"a": "Ada"}
