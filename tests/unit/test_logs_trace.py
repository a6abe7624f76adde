"""The trace of a request from its log lines: steps, gaps and state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facectl.errors import InputError
from facectl.logs import failure_reasons
from facectl.logs.dead_letters import DeadLetter
from facectl.logs.events import LogEvent
from facectl.logs.parse import Line
from facectl.logs.request_events import RequestEvents
from facectl.logs.times import Window
from facectl.logs.trace import Trace, slowest, trace
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION

T = 1_000_000.0


def line(function: str, stage: str, at: float, invocation: str, **fields: Any) -> Line:
    level = fields.pop("level", "INFO")
    event = LogEvent(function, "s", int((T + at) * 1000), "")
    own = {"stage": stage, "request_id": "r", **fields}
    return Line(event, "entry", T + at, level, invocation, own)


def fault(function: str, at: float, invocation: str, cause: str, text: str = "") -> Line:
    event = LogEvent(function, "s", int((T + at) * 1000), text)
    return Line(event, "fault", T + at, "ERROR", invocation, {"cause": cause, "text": text})


def report(function: str, at: float, invocation: str, **fields: Any) -> Line:
    level = "ERROR" if fields.get("status") else "INFO"
    event = LogEvent(function, "s", int((T + at) * 1000), "REPORT")
    return Line(event, "report", T + at, level, invocation, fields)


def post(invocation: str = "d1", at: float = 0.0, **received: Any) -> list[Line]:
    """A frame with two faces that reached the URL 10 ms before `at`; enqueued 200 ms after `at`."""
    stages = {"decode_ms": 40, "detect_ms": 130, "crop_ms": 10, "enqueue_ms": 20}
    return [
        line(
            DETECTION_FUNCTION,
            "received",
            at,
            invocation,
            **{"waited_ms": 10.0, "parse_ms": 0.0, "bytes": 9000, **received},
        ),
        line(
            DETECTION_FUNCTION,
            "detection",
            at + 0.2,
            invocation,
            faces=2,
            width=640,
            height=360,
            message_id="m1",
            **stages,
        ),
        line(DETECTION_FUNCTION, "request", at + 0.2, invocation, status=200, faces=2),
    ]


def delivered(at: float, number: int = 1, message_id: str = "m1", **more: Any) -> Line:
    fields = {"waited_ms": (at - 0.19) * 1e3, **more}
    return line(
        RECOGNITION_FUNCTION,
        "received",
        at,
        f"i{at}",
        message_id=message_id,
        receives=number,
        max_receives=3,
        records=1,
        **fields,
    )


def answered(at: float, received: Line, **more: Any) -> Line:
    fields = {
        "faces": 2,
        "result": "Ada,Unknown",
        "matches": [{"name": "Ada", "distance": 0.41}, {"name": "Unknown", "distance": 1.2}],
        **more,
    }
    stages = {"decode_crops_ms": 5, "embed_ms": 60, "match_ms": 1, "send_ms": 4}
    return line(
        RECOGNITION_FUNCTION,
        "recognition",
        at,
        str(received.invocation),
        message_id=received.fields["message_id"],
        receives=received.fields["receives"],
        **fields,
        **stages,
    )


def failed(at: float, received: Line, hidden: float, **more: Any) -> Line:
    fields = {"error": "ValueError", "message": "bad crop", **more}
    return line(
        RECOGNITION_FUNCTION,
        "recognition",
        at,
        str(received.invocation),
        level="ERROR",
        message_id=received.fields["message_id"],
        receives=received.fields["receives"],
        hidden_s=hidden,
        **fields,
    )


def traced_from(lines: list[Line], *, now: float = 100.0, **more: Any) -> Trace:
    return trace(RequestEvents("r", lines, T + now, **more))


def events(traced: Trace) -> list[str]:
    return [step.event for step in traced.steps]


def dead_letter(message_id: str = "m1") -> DeadLetter:
    return DeadLetter(message_id, "receipt", json.dumps({"request_id": "r"}), T)


def test_an_answered_frame_step_by_step() -> None:
    received = delivered(0.25)
    traced = traced_from([*post(), received, answered(0.33, received)])
    assert [(step.event, step.since_ms) for step in traced.steps] == [
        ("arrived", 0.0),
        ("received", 10.0),
        ("decoded", 40.0),
        ("detected", 130.0),
        ("cropped", 10.0),
        # SQS accepted the message 10 ms before its response reached face-detection.
        ("enqueued", 10.0),
        ("delivered", 60.0),
        ("embedded", 75.0),
        ("matched", 1.0),
        ("answered", 4.0),
    ]
    assert traced.total_ms == 340.0
    assert (traced.state, traced.result) == ("answered", "Ada,Unknown")
    assert traced.steps[3].text == "detected 2 faces"
    assert traced.steps[8].text == "matched: Ada (distance 0.41), Unknown (distance 1.2)"
    assert traced.steps[7].spent == {
        "decode crops": 5.0,
        "embed": 60.0,
        "the batch's other frames": 10.0,
    }
    assert next(iter(traced.spent)) == "detect"
    assert traced.spent["request queue"] == 60.0
    assert sum(traced.spent.values()) == pytest.approx(traced.total_ms)
    json.dumps(traced.as_dict())


def test_cold_starts_are_part_of_the_waiting_time() -> None:
    received = delivered(1.19, cold_start=True, init_ms=850.0)
    lines = [*post(waited_ms=540.0, cold_start=True, init_ms=500.0), received]
    traced = traced_from([*lines, answered(1.27, received)])
    assert traced.steps[1].spent == {
        "cold start of face-detection": 500.0,
        "way to face-detection": 40.0,
    }
    assert traced.steps[6].spent == {
        "cold start of face-recognition": 850.0,
        "request queue": 150.0,
    }
    assert "cold start of 850 ms" in traced.steps[6].text


def test_a_frame_without_a_face() -> None:
    lines = [
        *post()[:1],
        line(
            DETECTION_FUNCTION,
            "detection",
            0.1,
            "d1",
            faces=0,
            result="No-Face",
            decode_ms=40,
            detect_ms=40,
            enqueue_ms=20,
        ),
    ]
    traced = traced_from(lines)
    assert events(traced) == ["arrived", "received", "decoded", "detected", "answered"]
    assert traced.steps[3].text == "detected no faces"
    assert (traced.state, traced.result) == ("answered", "No-Face")


def test_a_refused_frame() -> None:
    refusal = line(
        DETECTION_FUNCTION,
        "request",
        0.01,
        "d1",
        level="ERROR",
        status=413,
        error="image_too_large",
        message="at most 10 bytes",
    )
    traced = traced_from([*post()[:1], refusal])
    assert traced.state == "refused"
    assert traced.state_text == "refused with 413 image_too_large: at most 10 bytes"
    assert events(traced) == ["arrived", "received", "refused"]
    assert traced.total_ms is None


def test_an_unreachable_queue_is_not_a_refusal() -> None:
    refusal = line(
        DETECTION_FUNCTION,
        "request",
        0.01,
        "d1",
        level="ERROR",
        status=503,
        error="queue_unavailable",
        message="send it again",
    )
    assert traced_from([*post()[:1], refusal]).state == "failed"


@pytest.mark.parametrize(
    ("cause", "text", "words"),
    [
        ("timeout", "Task timed out after 2.00 seconds", "face-detection timed out after 2 s"),
        ("killed", "Worker process died", "face-detection lost its worker"),
    ],
)
def test_a_failed_worker_of_detection(cause: str, text: str, words: str) -> None:
    end = fault(DETECTION_FUNCTION, 2.0, "d1", cause, text)
    traced = traced_from(post()[:1], platform=[end])
    assert traced.state == "failed"
    assert words in traced.state_text
    assert events(traced) == ["arrived", "received", cause]


def test_a_client_retry() -> None:
    received = delivered(5.25, waited_ms=60.0)
    lines = [*post()[:1], *post("d2", at=5.0), received, answered(5.33, received)]
    end = fault(DETECTION_FUNCTION, 2.0, "d1", "timeout")
    traced = traced_from(lines, platform=[end])
    assert events(traced)[:5] == ["arrived", "received", "timeout", "arrived", "received"]
    assert traced.steps[3].spent == {"until the client sent it again": 2990.0}
    assert "POST 2" in traced.steps[3].text
    assert traced.state == "answered"


def test_a_retry_and_its_wait() -> None:
    first, second = delivered(0.25), delivered(1.4, 2)
    lines = [*post(), first, failed(0.3, first, 1), second, answered(1.5, second)]
    traced = traced_from(lines)
    assert events(traced)[6:] == [
        *("delivered", "failed", "delivered", "embedded", "matched", "answered")
    ]
    assert traced.steps[7].text == "failed: ValueError: bad crop; delivered again in 1 s"
    assert traced.steps[8].spent == {"waiting for the next delivery": 1100.0}
    assert "delivery 2 of 3" in traced.steps[8].text
    assert traced.state == "answered"


def three_failures() -> list[Line]:
    lines = post()
    for number, at in enumerate((0.25, 1.4, 6.6), 1):
        received = delivered(at, number)
        last = number == 3
        lines += [
            received,
            failed(at + 0.05, received, (1, 5, 15)[number - 1], last_delivery=last, answered=last),
        ]
    return lines


def test_a_dead_letter() -> None:
    traced = traced_from(three_failures(), dead_letter=dead_letter())
    assert (traced.state, traced.result) == ("dead-letter queue", "Error")
    assert traced.state_text == "in the dead-letter queue, answered Error: ValueError: bad crop"
    assert traced.steps[-1].text.endswith("the last delivery; answered Error")
    assert traced.total_ms == pytest.approx(6660.0)


def test_a_message_between_its_last_error_and_the_dead_letter_queue() -> None:
    soon = traced_from(three_failures(), now=10.0, queued=1)
    assert (soon.state, soon.result) == ("answered", "Error")
    assert "moves to the dead-letter queue about 15 s after that" in soon.state_text
    later = traced_from(three_failures(), now=500.0, queued=0)
    assert "not in the dead-letter queue any more" in later.state_text


def test_a_killed_worker_of_recognition() -> None:
    received = delivered(0.25)
    end = fault(RECOGNITION_FUNCTION, 1.0, "i0.25", "killed", "Worker process died")
    traced = traced_from([*post(), received], now=5.0, platform=[end], queued=1, visibility=12.0)
    assert traced.state == "in flight"
    assert traced.state_text == "delivery 1 of 3 failed; waiting for the next delivery, due in 7 s"
    assert traced.steps[-1].bad
    assert "lost its worker" in traced.steps[-1].text


def test_an_invocation_that_failed_on_another_frame_after_this_one() -> None:
    received = delivered(0.25)
    end = fault(RECOGNITION_FUNCTION, 1.0, "i0.25", "timeout")
    traced = traced_from([*post(), received, answered(0.33, received)], platform=[end])
    assert traced.state == "answered"
    assert "timeout" not in events(traced)


def test_aws_reports_a_timeout_in_the_report_line() -> None:
    received = delivered(0.25)
    end = report(RECOGNITION_FUNCTION, 60.2, "i0.25", status="timeout", used_mb=3008.0)
    traced = traced_from([*post(), received], platform=[end], queued=1, visibility=360.0)
    assert "face-recognition timed out" in traced.steps[-1].text


def test_deliveries_without_a_line() -> None:
    second = delivered(20.0, 2)
    unmatched_fault = fault(
        RECOGNITION_FUNCTION, 3.0, "ix", "timeout", "Task timed out after 2.00 seconds"
    )
    lines = [*post(), second, answered(20.1, second)]
    traced = traced_from(lines, unmatched=[unmatched_fault])
    assert events(traced)[6:8] == ["lost", "delivered"]
    assert traced.steps[6].text == (
        "delivery 1: face-recognition timed out after 2 s before it received the message"
    )


def test_a_delivery_that_no_worker_received_was_throttled() -> None:
    third = delivered(40.0, 3)
    traced = traced_from([*post(), third, answered(40.1, third)])
    assert events(traced)[6:9] == ["throttled", "throttled", "delivered"]
    assert [step.text for step in traced.steps[6:8]] == [
        "delivery 1 was throttled: no worker received the message",
        "delivery 2 was throttled: no worker received the message",
    ]
    assert "lost" not in json.dumps(traced.as_dict())


def test_a_worker_that_received_the_message_and_logged_no_more_was_lost() -> None:
    first, third = delivered(0.25), delivered(40.0, 3)
    traced = traced_from([*post(), first, third, answered(40.1, third)])
    assert events(traced)[6:10] == ["delivered", "lost", "throttled", "delivered"]
    assert traced.steps[7].text == "delivery 1: its worker received the message and was lost"


def test_a_message_throttled_at_every_delivery() -> None:
    traced = traced_from(post(), dead_letter=dead_letter())
    assert traced.state == "dead-letter queue"
    assert traced.state_text == (
        "in the dead-letter queue, never answered: throttled: no worker ever received it"
    )
    assert traced.steps[-1].text == "every delivery was throttled: no worker received the message"


def test_a_message_that_was_throttled_after_its_worker_was_lost() -> None:
    traced = traced_from([*post(), delivered(0.25, 2)], dead_letter=dead_letter())
    assert events(traced)[-4:] == ["throttled", "delivered", "lost", "throttled"]
    assert "the worker of delivery 2 received it and was lost" in traced.state_text


def test_a_message_whose_workers_all_failed_without_a_line() -> None:
    unmatched = [fault(RECOGNITION_FUNCTION, at, f"x{at}", "killed") for at in (1.0, 13.0, 25.0)]
    traced = traced_from(post(), unmatched=unmatched, dead_letter=dead_letter())
    assert traced.state == "dead-letter queue"
    assert "never answered: face-recognition lost its worker" in traced.state_text
    assert events(traced).count("lost") == 3


@pytest.mark.parametrize(
    ("lines", "unmatched", "reason"),
    [
        ([], [], "throttled: no worker ever received it"),
        ([delivered(0.25)], [], "a worker received it and was lost"),
        (
            [],
            [fault(RECOGNITION_FUNCTION, 1.0, "x", "killed")],
            "face-recognition lost its worker: the process was killed or ran out of memory",
        ),
    ],
)
def test_the_reason_of_a_dead_letter_without_an_error(
    lines: list[Line], unmatched: list[Line], reason: str
) -> None:
    assert failure_reasons._failure(dead_letter(), lines, [], unmatched).reason == reason


def test_a_redriven_message() -> None:
    again = delivered(60.0, 1, "m2", waited_ms=500.0)
    lines = [*three_failures(), again, answered(60.1, again)]
    traced = traced_from(lines)
    assert (traced.state, traced.result) == ("answered", "Ada,Unknown")
    [sent] = [step for step in traced.steps if "redriven" in step.text]
    assert sent.at == pytest.approx(T + 59.5)


@pytest.mark.parametrize(
    ("lines", "now", "queued", "state", "words"),
    [
        (post()[:1], 1.0, None, "in flight", "face-detection is processing it"),
        (post(), 3.2, 1, "in flight", "on the request queue for 3 s"),
        (
            [*post(), delivered(0.25)],
            2.25,
            1,
            "in flight",
            "face-recognition is processing delivery 1",
        ),
        (post(), 500.0, 0, "gone", "neither answered nor on a queue"),
        (post(), 3.0, 0, "in flight", "on the request queue"),
    ],
)
def test_the_state_of_a_request(
    lines: list[Line], now: float, queued: int | None, state: str, words: str
) -> None:
    traced = traced_from(lines, now=now, queued=queued)
    assert traced.state == state
    assert words in traced.state_text


def test_logs_without_names() -> None:
    received = delivered(0.25)
    end = answered(0.33, received, matches=[{"known": True, "distance": 0.4}])
    fields = {key: value for key, value in end.fields.items() if key != "result"}
    traced = traced_from(
        [*post(), received, Line(end.event, "entry", end.at, "INFO", "i0.25", fields)]
    )
    assert (traced.state, traced.result) == ("answered", None)
    assert traced.state_text == "answered; the logs contain no names"
    assert traced.steps[-2].text == "matched: a known person (distance 0.4)"


def test_the_slowest() -> None:
    received = delivered(0.25)
    quick = [*post(), received, answered(0.33, received)]
    slow = [*post(), received, answered(3.0, received)]
    window = Window(T, T + 60)
    requests = {"quick": quick, "slow": slow, "unanswered": post()}
    assert slowest(requests, 1, window) == ["slow"]
    assert slowest(requests, 9, window) == ["slow", "quick"]
    with pytest.raises(InputError, match="No request was answered from"):
        slowest({"unanswered": post()}, 1, window)
