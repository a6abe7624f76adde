"""Results go to the queue that the client named, which can be no other queue."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest
from test_stages import SETTINGS, detect_stage, face, picture, recognise_stage, record
from test_stages import Queues as StageQueues

from facectl.naming import Names
from lambda_src.aws import AwsError
from lambda_src.contract import (
    CroppedFace,
    FaceMessage,
    FrameRequest,
    MessageError,
    RequestError,
    reply_queue,
    salvaged_reply,
)
from lambda_src.stages.replies import send_answer, send_answers

REPLY = "0123456789abcdef" * 2
SHARED = "https://sqs.us-east-1.amazonaws.com/123456789012/42-resp-queue"
OWN = f"https://sqs.us-east-1.amazonaws.com/123456789012/42-resp-{REPLY}"
NOT_REPLIES = [
    "queue",
    REPLY.upper(),
    REPLY[:-1],
    REPLY + "0",
    REPLY + "\n",
    "../" + REPLY[3:],
    "https://sqs.us-east-1.amazonaws.com/666666666666/another",
    "42-resp-" + REPLY,
    "\u0661" * 32,
    None,
    7,
    True,
    [REPLY],
    {"reply": REPLY},
]


def body(reply: object) -> bytes:
    fields = {"content": "eA==", "request_id": "r-1", "filename": "f.jpg", "reply": reply}
    return json.dumps(fields).encode()


def message(reply: str = "") -> FaceMessage:
    face = CroppedFace((0.0, 0.0, 1.0, 1.0), 0.9, b"x")
    return FaceMessage("r-1", "f.jpg", "space", (face,), reply=reply)


def test_a_request_and_its_message_carry_the_reply() -> None:
    request = FrameRequest.parse(body(REPLY), max_image_bytes=10)
    assert request.reply == REPLY
    assert FrameRequest.parse(request.serialise(), max_image_bytes=10) == request
    assert FaceMessage.parse(message(REPLY).serialise()) == message(REPLY)


def test_without_a_reply_the_messages_are_as_before() -> None:
    assert b"reply" not in FrameRequest("r-1", "f.jpg", b"x").serialise()
    assert "reply" not in message().serialise()
    assert FaceMessage.parse(message().serialise()).reply == ""


@pytest.mark.parametrize("reply", NOT_REPLIES)
def test_nothing_but_32_digits_is_a_reply(reply: object) -> None:
    with pytest.raises(RequestError) as refused:
        FrameRequest.parse(body(reply), max_image_bytes=10)
    assert (refused.value.status, refused.value.code) == (400, "bad_reply")
    assert refused.value.request_id == "r-1"
    # The request queue can be written by others than face-detection.
    fields = {**json.loads(message().serialise()), "reply": reply}
    with pytest.raises(MessageError):
        FaceMessage.parse(json.dumps(fields))
    assert salvaged_reply(json.dumps(fields)) == ""
    if isinstance(reply, str):
        with pytest.raises(ValueError, match="no reply queue"):
            reply_queue(SHARED, reply)


def test_a_reply_names_a_queue_of_the_same_deployment_alone() -> None:
    assert reply_queue(SHARED, REPLY) == OWN
    assert reply_queue(SHARED, "") == SHARED
    with pytest.raises(ValueError, match="no reply queue"):
        reply_queue("https://sqs.us-east-1.amazonaws.com/123456789012/another", REPLY)
    assert salvaged_reply(json.dumps({"reply": REPLY})) == REPLY
    for broken in ("not json", "[]", "{}", "null", "7", "[" * 100_000):
        assert salvaged_reply(broken) == ""


def test_no_queue_of_another_deployment_is_a_reply_queue() -> None:
    names = Names("a")
    assert names.is_reply_queue(f"a-resp-{REPLY}")
    # The ASU ID `a-resp` is possible, and its queues begin with `a-resp-` too.
    others = Names("a-resp")
    for name in (
        others.request_queue,
        others.response_queue,
        others.dead_letter_queue,
        others.reply_queue(REPLY),
        names.response_queue,
        f"b-resp-{REPLY}",
        REPLY,
    ):
        assert not names.is_reply_queue(name), name
    # `?` is one character of any kind for IAM: the name must not match by its length either.
    for length in range(1, 25):
        for other in (Names("a-resp-" + "x" * (length - 7)),) if length > 7 else ():
            queues = (other.request_queue, other.response_queue, other.dead_letter_queue)
            assert all(len(queue) != len(names.reply_queues) for queue in queues)


class Queues:
    """Queues that exist or not, and what was sent to them."""

    def __init__(self, *existing: str, failing: str = "") -> None:
        self.sent: list[tuple[str, str]] = []
        self._existing = existing
        self._failing = failing

    def send(self, queue_url: str, body: str) -> str:
        self._check(queue_url)
        self.sent.append((queue_url, body))
        return "m"

    def send_many(self, queue_url: str, bodies: Sequence[str]) -> dict[int, str]:
        try:
            self._check(queue_url)
        except AwsError as error:
            return dict.fromkeys(range(len(bodies)), str(error))
        self.sent += [(queue_url, body) for body in bodies]
        return {}

    def _check(self, queue_url: str) -> None:
        if queue_url == self._failing:
            raise AwsError("SendMessage: AccessDenied", code="AccessDenied")
        if queue_url not in self._existing:
            raise AwsError("SendMessage: QueueDoesNotExist", code="QueueDoesNotExist")


def test_each_result_goes_to_the_queue_of_its_client() -> None:
    other = "f" * 32
    theirs = OWN.replace(REPLY, other)
    queues = Queues(SHARED, OWN, theirs)
    answers = [(REPLY, "a"), ("", "b"), (other, "c"), (REPLY, "d")]
    assert send_answers(queues, SHARED, answers) == {}  # type: ignore[arg-type]
    assert sorted(queues.sent) == sorted([(OWN, "a"), (SHARED, "b"), (theirs, "c"), (OWN, "d")])
    assert send_answer(queues, SHARED, REPLY, "e") == "m"  # type: ignore[arg-type]
    assert queues.sent[-1] == (OWN, "e")


def test_the_results_of_a_client_that_is_gone_are_on_the_response_queue() -> None:
    queues = Queues(SHARED)
    assert send_answers(queues, SHARED, [(REPLY, "a"), ("", "b"), (REPLY, "c")]) == {}  # type: ignore[arg-type]
    assert sorted(queues.sent) == [(SHARED, "a"), (SHARED, "b"), (SHARED, "c")]
    send_answer(queues, SHARED, REPLY, "d")  # type: ignore[arg-type]
    assert queues.sent[-1] == (SHARED, "d")


def test_another_failure_of_a_reply_queue_is_that_of_its_results_alone() -> None:
    queues = Queues(SHARED, OWN, failing=OWN)
    failed = send_answers(queues, SHARED, [("", "a"), (REPLY, "b"), ("", "c")])  # type: ignore[arg-type]
    assert failed == {1: "SendMessage: AccessDenied"}
    assert queues.sent == [(SHARED, "a"), (SHARED, "c")]
    with pytest.raises(AwsError, match="AccessDenied"):
        send_answer(queues, SHARED, REPLY, "d")  # type: ignore[arg-type]


def test_a_missing_response_queue_is_a_failure_of_all() -> None:
    queues = Queues()
    failed = send_answers(queues, SHARED, [("", "a"), (REPLY, "b")])  # type: ignore[arg-type]
    assert set(failed) == {0, 1}
    with pytest.raises(AwsError, match="QueueDoesNotExist"):
        send_answer(queues, SHARED, "", "a")  # type: ignore[arg-type]


OF_STAGES = dataclasses.replace(SETTINGS, response_queue_url="42-resp-queue")


def answered(queues: StageQueues) -> list[tuple[str, str]]:
    return [(queue, fields["result"]) for queue, fields in queues.sent]


def test_both_functions_answer_on_the_reply_queue() -> None:
    queues = StageQueues()
    stage = dataclasses.replace(detect_stage(queues), settings=OF_STAGES)
    request = FrameRequest("r", "f", picture(), reply=REPLY)
    assert stage.process(request) == 0
    assert answered(queues) == [(f"42-resp-{REPLY}", "No-Face")]
    queues.sent.clear()
    stage = dataclasses.replace(detect_stage(queues, face(0, 20)), settings=OF_STAGES)
    stage.process(request)
    [(queue, fields)] = queues.sent
    assert (queue, fields["reply"]) == (SETTINGS.request_queue_url, REPLY)

    queues.sent.clear()
    message = json.loads(record("a", 10).body)
    own = dataclasses.replace(record("a", 10), body=json.dumps({**message, "reply": REPLY}))
    assert recognise_stage(queues, settings=OF_STAGES).process([own, record("b", 20)]) == []
    assert sorted(answered(queues)) == [(f"42-resp-{REPLY}", "Ada"), ("42-resp-queue", "Grace")]


@pytest.mark.parametrize(
    ("reply", "queue"), [(REPLY, f"42-resp-{REPLY}"), ("queue2", "42-resp-queue")]
)
def test_the_error_of_an_invalid_message_goes_there_too(reply: str, queue: str) -> None:
    queues = StageQueues()
    poisoned = dataclasses.replace(
        record("a", 10, receives=5),
        body=json.dumps({"request_id": "a", "faces": 7, "reply": reply}),
    )
    assert recognise_stage(queues, settings=OF_STAGES).process([poisoned]) == ["m-a"]
    assert answered(queues) == [(queue, "Error")]
