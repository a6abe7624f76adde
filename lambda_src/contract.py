"""The messages of the pipeline, one dataclass each: parse, validate, serialise.

    FrameRequest    client → face-detection             POST body
    FaceMessage     face-detection → face-recognition   request queue
    FrameResult     either function → client            response queue

No I/O, no model and no clock.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

MAX_FACES = 100
# In pixels. MTCNN's smallest window has 12: below, it would enlarge the image.
SMALLEST_FACE, LARGEST_FACE = 12, 1000
MAX_REQUEST_ID = 128
MAX_FILENAME = 512
# The last part of a reply queue's name, instead of `queue` in that of the response queue. A
# client chooses only this, so no other queue can be named.
_REPLY = re.compile(r"[0-9a-f]{32}")
_RESPONSE_QUEUE_END = "-resp-queue"
# No pixel, millisecond or probability is larger.
_LARGEST = 1e15

# Names in `timings_ms` after a cold start: the milliseconds until the function's process
# was ready.
DETECTION_INIT = "detection_init"
RECOGNITION_INIT = "recognition_init"

NO_FACE = "No-Face"
UNKNOWN = "Unknown"
ERROR = "Error"

Box = tuple[float, float, float, float]


class RequestError(Exception):
    """An error response of face-detection: HTTP status, stable error code, and message."""

    def __init__(self, status: int, code: str, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id

    def body(self) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "error": {"code": self.code, "message": self.message},
        }


class MessageError(ValueError):
    """A queue message that does not follow this contract."""


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """One frame: the bytes of an image file, and what the result should contain.

    `max_faces`: the result has at most this many faces, the largest. `detail`: the
    result has boxes, distances and stage times. `min_face_size`: the smallest face that is
    looked for, in pixels; None for that of the deployment. `reply`: the result goes to this
    client's own queue (see `reply_queue`), to the response queue if it is empty.
    """

    request_id: str
    filename: str
    image: bytes
    max_faces: int = 1
    detail: bool = False
    min_face_size: int | None = None
    reply: str = ""

    @classmethod
    def parse(cls, body: str | bytes, *, max_image_bytes: int) -> FrameRequest:
        """Parse a POST body; raises RequestError (400 or 413), with the request id if valid."""
        fields = _json_object(body)
        request_id = _request_id(fields.get("request_id"))
        filename = fields.get("filename", "")
        if not isinstance(filename, str) or len(filename) > MAX_FILENAME:
            raise RequestError(
                400,
                "bad_filename",
                f"filename must be text of at most {MAX_FILENAME} characters",
                request_id,
            )
        max_faces = fields.get("max_faces", 1)
        _check_whole("max_faces", max_faces, (1, MAX_FACES), request_id)
        min_face_size = fields.get("min_face_size")
        if min_face_size is not None:
            limits = SMALLEST_FACE, LARGEST_FACE
            _check_whole("min_face_size", min_face_size, limits, request_id)
        detail = fields.get("detail", False)
        if not isinstance(detail, bool):
            raise RequestError(400, "bad_detail", "detail must be true or false", request_id)
        reply = fields.get("reply", "")
        if not _is_reply(reply):
            raise RequestError(
                400, "bad_reply", "reply must be 32 lower-case hexadecimal digits", request_id
            )
        image = _image(fields.get("content"), max_image_bytes, request_id)
        return cls(request_id, filename, image, max_faces, detail, min_face_size, reply)

    def serialise(self) -> bytes:
        """The POST body of this request."""
        fields: dict[str, Any] = {"request_id": self.request_id, "filename": self.filename}
        if self.max_faces != 1:
            fields["max_faces"] = self.max_faces
        if self.detail:
            fields["detail"] = True
        if self.min_face_size is not None:
            fields["min_face_size"] = self.min_face_size
        if self.reply:
            fields["reply"] = self.reply
        # Base64 needs no escapes: json would read and copy it three times.
        content = base64.b64encode(self.image)
        return b"".join((b'{"content": "', content, b'", ', json.dumps(fields).encode()[1:]))


@dataclass(frozen=True, slots=True)
class CroppedFace:
    """A detected face: its box in pixels of the frame, and its crop as an image file."""

    box: Box
    probability: float
    image: bytes


@dataclass(frozen=True, slots=True)
class FaceMessage:
    """The faces of one frame, left to right; `space` is the embedding space of the crops.

    `reply` is that of the request.
    """

    request_id: str
    filename: str
    space: str
    faces: tuple[CroppedFace, ...]
    detail: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)
    reply: str = ""

    @classmethod
    def parse(cls, body: str) -> FaceMessage:
        """Parse a message of the request queue; raises MessageError."""
        try:
            fields = json.loads(body)
            faces = tuple(
                CroppedFace(
                    _box(face["box"]),
                    _number(face["probability"]),
                    base64.b64decode(face["image"], validate=True),
                )
                for face in fields["faces"]
            )
            message = cls(
                request_id=_request_id(fields["request_id"]),
                filename=str(fields["filename"]),
                space=str(fields["space"]),
                faces=faces,
                detail=fields["detail"] is True,
                timings_ms=_timings(fields.get("timings_ms", {})),
                reply=fields.get("reply", ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RequestError, RecursionError) as e:
            raise MessageError(f"not a message of face-detection: {e}") from e
        if not message.faces:
            raise MessageError("a message must have a face")
        if not _is_reply(message.reply):
            raise MessageError("reply must be 32 lower-case hexadecimal digits")
        return message

    def serialise(self) -> str:
        """The body of the queue message."""
        return json.dumps(
            {
                "request_id": self.request_id,
                "filename": self.filename,
                "space": self.space,
                "detail": self.detail,
                "timings_ms": self.timings_ms,
                **({"reply": self.reply} if self.reply else {}),
                "faces": [
                    {
                        "box": face.box,
                        "probability": face.probability,
                        "image": base64.b64encode(face.image).decode("ascii"),
                    }
                    for face in self.faces
                ],
            }
        )


@dataclass(frozen=True, slots=True)
class NamedFace:
    """A recognised face: box in pixels of the frame, name, and distance to the nearest reference.

    `distance` is None if the gallery is empty.
    """

    box: Box
    probability: float
    name: str
    distance: float | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "box": [round(edge, 2) for edge in self.box],
            "probability": round(self.probability, 6),
            "name": self.name,
            "distance": None if self.distance is None else round(self.distance, 6),
        }


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The result of a frame; `faces` and `timings_ms` only if the request has `detail`."""

    request_id: str
    result: str
    faces: tuple[NamedFace, ...] | None = None
    timings_ms: dict[str, float] | None = None

    @classmethod
    def parse(cls, body: str) -> FrameResult:
        """Parse a message of the response queue; raises MessageError."""
        try:
            fields = json.loads(body)
            request_id, result = fields["request_id"], fields["result"]
            if not isinstance(request_id, str) or not isinstance(result, str):
                raise TypeError("request_id and result must be text")
            faces = fields.get("faces")
            timings = fields.get("timings_ms")
            return cls(
                request_id,
                result,
                None
                if faces is None
                else tuple(
                    NamedFace(
                        _box(f["box"]),
                        _number(f["probability"]),
                        str(f["name"]),
                        None if f["distance"] is None else _number(f["distance"]),
                    )
                    for f in faces
                ),
                None if timings is None else _timings(timings),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise MessageError(f"not a result of this pipeline: {error}") from error

    def serialise(self) -> str:
        """The body of the queue message: exactly two fields without detail."""
        fields: dict[str, Any] = {"request_id": self.request_id, "result": self.result}
        if self.faces is not None:
            fields["faces"] = [face.as_dict() for face in self.faces]
        if self.timings_ms is not None:
            fields["timings_ms"] = {k: round(v, 2) for k, v in self.timings_ms.items()}
        return json.dumps(fields)


def salvaged_request_id(body: str) -> str | None:
    """The request_id of a message that is otherwise invalid; None if it has none."""
    try:
        return _request_id(json.loads(body)["request_id"])
    except (KeyError, TypeError, ValueError, RequestError, RecursionError):
        return None


def salvaged_reply(body: str) -> str:
    """The reply of a message that is otherwise invalid; empty if it has no valid one."""
    try:
        reply = json.loads(body)["reply"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""
    return reply if _is_reply(reply) else ""


def reply_queue(response_queue: str, reply: str) -> str:
    """The name or URL of a client's reply queue, from that of the response queue.

    `<ID>-resp-queue` becomes `<ID>-resp-REPLY`; an empty reply is the response queue
    itself. Raises ValueError for anything but 32 lower-case hexadecimal digits.
    """
    if not reply:
        return response_queue
    if not _is_reply(reply) or not response_queue.endswith(_RESPONSE_QUEUE_END):
        raise ValueError("no reply queue can have this name")
    return response_queue[: -len("queue")] + reply


def joined_names(faces: tuple[NamedFace, ...]) -> str:
    """The `result` for these faces: their names, comma-separated, left to right."""
    return ",".join(face.name for face in sorted(faces, key=lambda face: face.box[0]))


def _json_object(body: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "bad_json", f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise RequestError(400, "bad_json", "the body must be a JSON object")
    return fields


def _request_id(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise RequestError(400, "bad_request_id", "request_id must be text and not empty")
    if len(value) > MAX_REQUEST_ID or not value.isprintable():
        raise RequestError(
            400,
            "bad_request_id",
            f"request_id must be at most {MAX_REQUEST_ID} printable characters",
        )
    return value


def _check_whole(name: str, value: Any, limits: tuple[int, int], request_id: str) -> None:
    least, most = limits
    if type(value) is not int or not least <= value <= most:
        raise RequestError(
            400, f"bad_{name}", f"{name} must be a whole number from {least} to {most}", request_id
        )


def _is_reply(value: object) -> bool:
    return value == "" or (isinstance(value, str) and _REPLY.fullmatch(value) is not None)


def _image(content: object, limit: int, request_id: str) -> bytes:
    if not isinstance(content, str) or not content:
        raise RequestError(
            400, "bad_content", "content must be the image file's bytes in base64", request_id
        )
    # Four characters are three bytes, so the size is known before decoding.
    if len(content) * 3 // 4 - content[-2:].count("=") > limit:
        raise RequestError(
            413, "image_too_large", f"the image file must be at most {limit} bytes", request_id
        )
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            400, "bad_content", f"content is not base64: {error}", request_id
        ) from error


def _box(value: object) -> Box:
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise MessageError("a box must be four numbers: x0 y0 x1 y1")
    x0, y0, x1, y1 = (_number(edge) for edge in value)
    return x0, y0, x1, y1


def _number(value: object) -> float:
    """A finite number. The error does not quote the value, which can be anything."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MessageError("a number is missing")
    # Python's JSON parser accepts NaN, Infinity and integers of any size.
    if not -_LARGEST <= value <= _LARGEST:
        raise MessageError("a number is out of range")
    return float(value)


def _timings(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise MessageError("timings_ms must be an object")
    return {str(key): _number(duration) for key, duration in value.items()}
