"""The probe: both functions are asked, each answer is awaited, nothing is left or taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from fake_clock import FakeClock

from facectl.deploy.probe import Probed, probe
from facectl.errors import CloudError, UnansweredError
from facectl.stream.delivery import FrameUndelivered, FunctionUrlRefused
from facectl.stream.responses import Received
from lambda_src.contract import FaceMessage, FrameRequest, FrameResult

SPACE = "abc/facenet"


class Pipeline:
    """Both functions and the response queue; what each answers is told to it."""

    def __init__(self, detection: str | None = "No-Face", recognition: str | None = "Unknown"):
        self.answers = {"frame": detection, "face": recognition}
        self.refusal: Exception | None = None
        self.messages: list[Received] = []
        self.released: list[str] = []
        self.refusals: list[Exception] = []
        self.posts = 0

    def post(self, request: FrameRequest) -> None:
        self.posts += 1
        if self.refusals:
            raise self.refusals.pop(0)
        if self.refusal is not None:
            raise self.refusal
        self._answer(request.request_id, self.answers["frame"])

    def send_face(self, body: str) -> None:
        message = FaceMessage.parse(body)
        assert message.space == SPACE
        self._answer(message.request_id, self.answers["face"])

    def receive(self, *, wait: int = 20) -> list[Received]:
        return list(self.messages)

    def delete(self, messages: Sequence[Received]) -> None:
        gone = {message.message_id for message in messages}
        self.messages = [each for each in self.messages if each.message_id not in gone]

    def release(self, messages: Sequence[Received]) -> None:
        self.released += [message.message_id for message in messages]

    def _answer(self, request_id: str, result: str | None) -> None:
        if result is not None:
            self.add(FrameResult(request_id, result))

    def add(self, result: FrameResult) -> None:
        number = str(len(self.messages) + len(self.released))
        self.messages.append(Received(number, number, "", 1, None, result))


def seconds(step: float = 1.0) -> Callable[[], float]:
    ticks = itertools.count(0.0, step)
    return lambda: next(ticks)


def ask(pipeline: Pipeline, step: float = 1.0) -> Probed:
    return probe(pipeline, pipeline, pipeline.send_face, space=SPACE, clock=seconds(step))


def test_both_answer_and_the_queue_is_empty_again() -> None:
    pipeline = Pipeline()
    took = ask(pipeline)
    assert took.detection > 0
    assert took.recognition > 0
    assert pipeline.messages == []


def test_a_strangers_answer_stays() -> None:
    pipeline = Pipeline()
    pipeline.add(FrameResult("somebody-elses", "Ada"))
    ask(pipeline)
    assert [each.result.request_id for each in pipeline.messages if each.result] == [
        "somebody-elses"
    ]
    assert pipeline.released


@pytest.mark.parametrize(
    ("detection", "recognition", "text"),
    [
        ("Error", "Unknown", "face-detection answered the probe with 'Error'"),
        ("Unknown", "Unknown", "face-detection answered the probe with 'Unknown'"),
        ("No-Face", "Error", "face-recognition answered the probe with 'Error'"),
        (None, "Unknown", "face-detection did not answer the probe within 120 s"),
        ("No-Face", None, "face-recognition did not answer the probe within 120 s"),
    ],
)
def test_what_is_wrong_names_the_function(
    detection: str | None, recognition: str | None, text: str
) -> None:
    with pytest.raises(CloudError, match=text) as caught:
        ask(Pipeline(detection, recognition), step=20)
    assert caught.value.hint == "facectl logs"


def test_a_function_that_does_not_start_is_told_with_its_words() -> None:
    pipeline = Pipeline()
    pipeline.refusal = FrameUndelivered("502: no module named cv2")
    message = "did not accept the probe frame: 502: no module named cv2"
    with pytest.raises(CloudError, match=message):
        ask(pipeline)


def refused(status: int) -> FunctionUrlRefused:
    return FunctionUrlRefused(f"{status}: no", status=status, hint="facectl deploy")


def test_a_url_that_is_too_new_is_asked_again() -> None:
    pipeline, clock = Pipeline(), FakeClock()
    pipeline.refusals = [refused(404), refused(403), refused(403)]
    probe(pipeline, pipeline, pipeline.send_face, space=SPACE, clock=clock, sleep=clock.sleep)
    assert pipeline.posts == 4
    assert clock.slept == [1.0, 2.0, 4.0]


def test_a_url_that_stays_closed_is_an_error_after_a_minute() -> None:
    pipeline, clock = Pipeline(), FakeClock()
    pipeline.refusal = refused(403)
    with pytest.raises(UnansweredError, match="did not accept the probe frame: 403") as caught:
        probe(pipeline, pipeline, pipeline.send_face, space=SPACE, clock=clock, sleep=clock.sleep)
    assert 60 <= clock.now <= 66
    assert "facectl policy sender" in str(caught.value.hint)


def test_a_url_that_refuses_for_another_reason_is_asked_once() -> None:
    pipeline = Pipeline()
    pipeline.refusal = refused(405)
    with pytest.raises(UnansweredError):
        ask(pipeline)
    assert pipeline.posts == 1
