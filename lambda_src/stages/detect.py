"""The first stage: detects the faces of a frame and sends their crops to the request queue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_src import log
from lambda_src.aws import Aws, AwsError
from lambda_src.contract import (
    DETECTION_INIT,
    NO_FACE,
    CroppedFace,
    FaceMessage,
    FrameRequest,
    FrameResult,
    RequestError,
)
from lambda_src.settings import FunctionSettings
from lambda_src.stages.replies import send_answer
from lambda_src.timing import Stopwatch
from lambda_src.vision.boxes import Face, largest
from lambda_src.vision.crops import crop_face, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.image import ImageError, decode_image
from lambda_src.vision.store import Model

# A message is at most 1 MiB; base64 enlarges crops by 4/3, and the other fields need room.
_MAX_CROP_BYTES = 720_000


class QueueUnavailableError(Exception):
    """The frame is valid, but its message could not be sent to a queue."""


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """What was found in a frame: the message for face-recognition, or the result without faces."""

    faces: int
    body: str
    result: FrameResult | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FaceFinder:
    """Finds and crops the faces of frames. No I/O: a client that detects itself uses it too."""

    model: Model
    detector: Detector
    settings: FunctionSettings

    def find(self, request: FrameRequest, watch: Stopwatch) -> FoundFaces:
        """The faces of a frame; raises RequestError for an invalid image."""
        with watch.stage("decode"):
            image = self._decode(request)
        height, width = image.shape[:2]
        with watch.stage("detect"):
            found = self.detector.detect(image, request.min_face_size)
            faces = largest(found, request.max_faces)
        if not faces:
            result = _no_face(request, watch)
            return FoundFaces(0, result.serialise(), result, width, height)
        with watch.stage("crop"):
            crops = encode_crops(
                [crop_face(image, face, self.model.preprocessing) for face in faces],
                self.model.preprocessing,
                max_total_bytes=_MAX_CROP_BYTES,
            )
        message = self._message(request, faces, crops, watch)
        return FoundFaces(len(faces), message.serialise(), None, width, height)

    def _decode(self, request: FrameRequest) -> NDArray[np.uint8]:
        try:
            return decode_image(
                request.image,
                max_bytes=self.settings.max_image_bytes,
                max_pixels=self.settings.max_image_pixels,
            )
        except ImageError as error:
            status = 413 if error.code == "image_too_large" else 400
            raise RequestError(status, error.code, str(error), request.request_id) from error

    def _message(
        self, request: FrameRequest, faces: list[Face], crops: list[bytes], watch: Stopwatch
    ) -> FaceMessage:
        return FaceMessage(
            request_id=request.request_id,
            filename=request.filename,
            space=self.model.space,
            faces=tuple(
                CroppedFace(face.box, face.probability, crop)
                for face, crop in zip(faces, crops, strict=True)
            ),
            detail=request.detail,
            timings_ms=watch.durations_ms,
            reply=request.reply,
        )


@dataclass(frozen=True, slots=True)
class DetectStage:
    """Detects the faces of frames and sends their crops to the request queue."""

    model: Model
    detector: Detector
    aws: Aws
    settings: FunctionSettings

    def process(self, request: FrameRequest, *, init_ms: float | None = None) -> int:
        """Returns the number of faces that were sent; `init_ms` is set on a cold start.

        The result of a frame without faces is sent from here. Raises RequestError
        for an invalid image and QueueUnavailableError if a queue fails.
        """
        watch = Stopwatch({} if init_ms is None else {DETECTION_INIT: init_ms})
        found = FaceFinder(self.model, self.detector, self.settings).find(request, watch)
        with watch.stage("enqueue"):
            try:
                message_id = self._send(request, found)
            except AwsError as error:
                raise QueueUnavailableError(str(error)) from error
        log.info(
            "detection",
            request.request_id,
            faces=found.faces,
            width=found.width,
            height=found.height,
            message_id=message_id,
            **({} if found.faces else {"result": NO_FACE}),
            **({"reply": request.reply} if request.reply else {}),
            **{f"{stage}_ms": round(ms, 2) for stage, ms in watch.durations_ms.items()},
        )
        return found.faces

    def _send(self, request: FrameRequest, found: FoundFaces) -> str:
        if found.faces:
            return self.aws.send(self.settings.request_queue_url, found.body)
        return send_answer(self.aws, self.settings.response_queue_url, request.reply, found.body)


def _no_face(request: FrameRequest, watch: Stopwatch) -> FrameResult:
    if request.detail:
        return FrameResult(request.request_id, NO_FACE, faces=(), timings_ms=watch.durations_ms)
    return FrameResult(request.request_id, NO_FACE)
