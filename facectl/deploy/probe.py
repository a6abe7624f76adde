"""Probes a deployment: one frame through the Function URL, one face through the trigger.

The frame contains no face, so face-detection answers it; the face is a grey square
sent to the request queue, so face-recognition answers it. Both responses are deleted
from the response queue.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from uuid import uuid4

from PIL import Image

from facectl.aws import Clients, cloud_errors
from facectl.deploy.models import Account
from facectl.errors import CloudError, FacectlError, NotRunningError, UnansweredError
from facectl.retry import Backoff, exponential
from facectl.stream.delivery import FunctionUrlRefused
from facectl.stream.responses import MessageQueue
from lambda_src.contract import ERROR, NO_FACE, CroppedFace, FaceMessage, FrameRequest

_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 5
_EFFECT_SECONDS = 60.0
_TOO_NEW = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
_GREY = (127, 127, 127)
# The input size of one preprocessing, which is not resized.
_SIDE = 160


class Url(Protocol):
    """The part of `facectl.stream.delivery.FunctionUrlClient` that a probe uses."""

    def post(self, request: FrameRequest) -> object:
        """Send one frame; raises a FacectlError."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The response times in seconds, usually with cold starts."""

    detection: float
    recognition: float


def probe(
    url: Url,
    responses: MessageQueue,
    send_face: Callable[[str], None],
    *,
    space: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Probed:
    """Probe both functions; `send_face` sends a body to the request queue.

    A new URL, or a new permission to call it, takes effect after seconds: the frame is sent
    again for a minute while the URL answers 403 or 404.
    Raises UnansweredError with the function that did not answer or answered an error.
    """
    began = clock()
    frame = FrameRequest(f"facectl-probe-{uuid4()}", "probe.png", _picture())
    taking_effect = Backoff(
        delay=exponential(1.0, 5.0),
        limit=_EFFECT_SECONDS,
        is_transient=_is_too_new,
        clock=clock,
        sleep=sleep,
    )
    try:
        taking_effect.call(lambda: url.post(frame))
    except FacectlError as error:
        kind = CloudError if isinstance(error, NotRunningError) else UnansweredError
        hint = error.hint or "facectl logs"
        if isinstance(error, FunctionUrlRefused) and error.status == HTTPStatus.FORBIDDEN:
            hint = "facectl policy sender   prints what the caller of a signed URL needs"
        raise kind(f"face-detection did not accept the probe frame: {error}", hint=hint) from error
    _expect(responses, frame.request_id, "face-detection", (NO_FACE,), clock)
    middle = clock()
    face = FaceMessage(
        f"facectl-probe-{uuid4()}",
        "probe.png",
        space,
        (CroppedFace((0.0, 0.0, float(_SIDE), float(_SIDE)), 1.0, _picture()),),
    )
    send_face(face.serialise())
    _expect(responses, face.request_id, "face-recognition", None, clock)
    return Probed(middle - began, clock() - middle)


def request_queue(clients: Clients, account: Account) -> Callable[[str], None]:
    """A function that sends a message to the deployment's request queue."""
    name = clients.deployment.names.request_queue

    def send(body: str) -> None:
        with cloud_errors(f"sending a probe to {name}", clients.deployment):
            clients.sqs.send_message(QueueUrl=account.queue_url(name), MessageBody=body)

    return send


def _is_too_new(error: Exception) -> bool:
    return isinstance(error, FunctionUrlRefused) and error.status in _TOO_NEW


def _expect(
    responses: MessageQueue,
    request_id: str,
    function: str,
    results: tuple[str, ...] | None,
    clock: Callable[[], float],
) -> None:
    deadline = clock() + _TIMEOUT_SECONDS
    while clock() < deadline:
        received = responses.receive(wait=_POLL_SECONDS)
        ours = [
            message
            for message in received
            if message.result is not None and message.result.request_id == request_id
        ]
        responses.delete(ours)
        responses.release([message for message in received if message not in ours])
        for message in ours:
            answer = message.result.result if message.result is not None else ERROR
            if answer == ERROR or (results is not None and answer not in results):
                raise UnansweredError(
                    f"{function} answered the probe with {answer!r}", hint="facectl logs"
                )
            return
    raise UnansweredError(
        f"{function} did not answer the probe within {_TIMEOUT_SECONDS:.0f} s",
        hint="facectl logs",
    )


def _picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), _GREY).save(stream, "PNG")
    return stream.getvalue()
