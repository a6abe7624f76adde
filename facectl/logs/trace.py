"""Traces one request: its steps, what the time between them was spent on, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facectl.errors import InputError
from facectl.logs.parse import Line
from facectl.logs.request_events import MessageDelivery, PostAttempt, RequestEvents, failure_reason
from facectl.logs.request_state import State, request_state
from facectl.logs.timeline import Step, Timeline
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from lambda_src.contract import ERROR


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps and the state of a request. `total_ms` is the time from arrival to response."""

    request_id: str
    steps: tuple[Step, ...]
    state: State
    state_text: str
    result: str | None
    total_ms: float | None
    problems: tuple[str, ...]

    @property
    def spent(self) -> dict[str, float]:
        """Time per activity in ms, longest first."""
        sums: dict[str, float] = {}
        for step in self.steps:
            for activity, ms in step.spent.items():
                sums[activity] = sums.get(activity, 0.0) + ms
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def as_dict(self) -> dict[str, Any]:
        """The trace as JSON; times in seconds of the epoch, durations in ms."""
        return {
            "request_id": self.request_id,
            "state": self.state,
            "now": self.state_text,
            "result": self.result,
            "total_ms": self.total_ms,
            "spent_ms": self.spent,
            "problems": list(self.problems),
            "steps": [
                {
                    "at": round(step.at, 3),
                    "function": step.function,
                    "event": step.event,
                    "text": step.text,
                    "since_ms": step.since_ms,
                    "spent_ms": step.spent,
                }
                for step in self.steps
            ],
        }


def trace(request: RequestEvents) -> Trace:
    """Build the trace of a request from its events."""
    timeline = Timeline()
    for number, post in enumerate(request.posts, 1):
        _add_post(timeline, request, post, number if len(request.posts) > 1 else None)
    if request.deliveries and not request.posts:
        _add_edge(timeline, request.deliveries)
    previous: MessageDelivery | None = None
    for delivery in request.deliveries:
        _add_deliveries_before(timeline, request, delivery, previous)
        _add_delivery(timeline, delivery, previous)
        previous = delivery
    if request.dead_letter is not None:
        _add_last_deliveries(timeline, request)
    steps = timeline.steps()
    state, state_text, result = request_state(request)
    answers = [step.at for step in steps if step.event == "answered"]
    return Trace(
        request.request_id,
        steps,
        state,
        state_text,
        result,
        round((answers[0] - steps[0].at) * 1e3, 2) if answers else None,
        tuple(request.problems),
    )


def slowest(requests: Mapping[str, Sequence[Line]], limit: int, window: Window) -> list[str]:
    """The ids of the answered requests that took longest, slowest first.

    Raises InputError if none was answered.
    """
    totals = {
        request_id: total
        for request_id, lines in requests.items()
        if (total := trace(RequestEvents(request_id, lines, window.end)).total_ms) is not None
    }
    if not totals:
        raise InputError(
            f"No request was answered {window}; {len(requests)} were received",
            hint="facectl trace --last   or   facectl send FILE",
        )
    return sorted(totals, key=lambda request_id: -totals[request_id])[:limit]


def _add_post(
    timeline: Timeline, request: RequestEvents, post: PostAttempt, number: int | None
) -> None:
    function = DETECTION_FUNCTION
    which = "" if number is None else f", POST {number}"
    if post.received is not None:
        received = post.received
        begun = received.at - (received.number("parse_ms") or 0.0) / 1e3
        if (waited := received.number("waited_ms")) is not None:
            timeline.add(
                begun - waited / 1e3,
                None,
                "arrived",
                f"reached the Function URL{which}",
                "until the client sent it again",
            )
        size = received.number("bytes")
        text = "received" + (f", {size / 1000:.0f} kB" if size else "") + _cold_start_text(received)
        timeline.add(
            begun,
            function,
            "received",
            text,
            "way to face-detection",
            parts=_cold_start_parts(received),
        )
    if post.detection is not None:
        _add_detection(timeline, post.detection, request.deliveries)
    if post.error is not None:
        text = failure_reason(post.error)
        timeline.add_failure(post.error.at, function, "failed", text, "until it failed")
    if post.request is not None and post.request.fields.get("status") != 200:
        fields = post.request.fields
        reason = f"{fields.get('status')} {fields.get('error')}: {fields.get('message', '')}"
        timeline.add_failure(
            post.request.at, function, "refused", f"refused with {reason}", "check"
        )
    if post.fault is not None:
        _add_fault(timeline, post.fault)


def _add_detection(timeline: Timeline, line: Line, deliveries: Sequence[MessageDelivery]) -> None:
    """Add the stages of face-detection, computed backwards from the line logged after them."""
    function = DETECTION_FUNCTION
    stages = {name: line.number(f"{name}_ms") or 0.0 for name in ("enqueue", "crop", "detect")}
    sent = line.at
    cropped = sent - stages["enqueue"] / 1e3
    detected = cropped - stages["crop"] / 1e3
    decoded = detected - stages["detect"] / 1e3
    size = f"{line.fields.get('width')}x{line.fields.get('height')}"
    timeline.add(decoded, function, "decoded", f"decoded, {size} pixels", "decode")
    faces = int(line.number("faces") or 0)
    timeline.add(detected, function, "detected", f"detected {_plural(faces, 'face')}", "detect")
    if stages["crop"]:
        timeline.add(cropped, function, "cropped", "cropped", "crop")
    if (result := line.fields.get("result")) is not None:
        text = f"answered {result}{_reply_text(line)}"
        timeline.add(sent, function, "answered", text, "enqueue")
    else:
        # SQS may deliver a message before its response reaches face-detection.
        for delivery in deliveries:
            if delivery.message_id == line.fields.get("message_id") and delivery.number == 1:
                sent = min(sent, max(cropped, delivery.sent_at))
        timeline.add(sent, function, "enqueued", "enqueued for face-recognition", "enqueue")


def _add_edge(timeline: Timeline, deliveries: Sequence[MessageDelivery]) -> None:
    """Add what the client did with a frame that it detected itself: `send --detect edge`."""
    line = next((each.answered for each in deliveries if each.answered is not None), None)
    if line is None or (waited := line.number("edge_wait_ms")) is None:
        return
    stages = {name: line.number(f"{name}_ms") or 0.0 for name in ("decode", "detect", "crop")}
    sent = deliveries[0].sent_at
    began = sent - (waited + sum(stages.values())) / 1e3
    timeline.add(began, None, "taken", "taken by the client, which detects faces itself", "")
    timeline.add(
        sent,
        None,
        "enqueued",
        "detected by the client and enqueued for face-recognition",
        "queue on the client's disk",
        parts={"wait for the detector": waited, **stages},
    )


def _add_delivery(
    timeline: Timeline, delivery: MessageDelivery, previous: MessageDelivery | None
) -> None:
    received = delivery.received
    if previous is not None and previous.message_id != delivery.message_id:
        timeline.add(
            delivery.sent_at,
            None,
            "enqueued",
            "sent to the request queue again: redriven, or a second POST",
            "outside the pipeline",
        )
    first = delivery.number == 1
    wait = "request queue" if first else "waiting for the next delivery"
    records = int(received.number("records") or 1)
    batch = f", in a batch of {records}" if records > 1 else ""
    waited = ""
    if first and (ms := received.number("waited_ms")) is not None:
        waited = f" after {ms:.0f} ms in the queue"
    timeline.add(
        received.at,
        RECOGNITION_FUNCTION,
        "delivered",
        f"received{waited}, delivery {delivery.number} of {delivery.max_receives}{batch}"
        + _cold_start_text(received),
        wait,
        parts=_cold_start_parts(received),
    )
    if delivery.answered is not None:
        _add_response(timeline, delivery.answered)
    if delivery.error is not None:
        _add_error(timeline, delivery.error)
    if delivery.fault is not None:
        _add_fault(timeline, delivery.fault)


def _add_response(timeline: Timeline, line: Line) -> None:
    function = RECOGNITION_FUNCTION
    stages = {
        name: line.number(f"{name}_ms") or 0.0
        for name in ("decode_crops", "embed", "match", "send")
    }
    matched = line.at - stages["send"] / 1e3
    embedded = matched - stages["match"] / 1e3
    faces = _plural(int(line.number("faces") or 0), "face")
    timeline.add(
        embedded,
        function,
        "embedded",
        f"embedded {faces}",
        "the batch's other frames",
        parts={"decode crops": stages["decode_crops"], "embed": stages["embed"]},
    )
    timeline.add(matched, function, "matched", f"matched: {_matches(line)}", "match")
    result = line.fields.get("result")
    text = "answered" if result is None else f"answered {result}"
    timeline.add(line.at, function, "answered", text + _reply_text(line), "answer")


def _matches(line: Line) -> str:
    names = []
    matches = line.fields.get("matches")
    for match in matches if isinstance(matches, list) else []:
        known = "a known person" if match.get("known") else "Unknown"
        distance = match.get("distance")
        names.append(
            str(match.get("name", known))
            + (" (nobody enrolled)" if distance is None else f" (distance {distance:g})")
        )
    return ", ".join(names) or "no matches logged"


def _add_error(timeline: Timeline, line: Line) -> None:
    text = failure_reason(line)
    hidden = line.number("hidden_s") or 0.0
    if line.fields.get("last_delivery"):
        after = "the last delivery"
        answered = line.fields.get("answered") is True
        after += f"; answered {ERROR}" if answered else "; the response could not be sent"
    else:
        after = f"delivered again in {hidden:g} s"
    event = "answered" if line.fields.get("answered") is True else "failed"
    timeline.add_failure(
        line.at, RECOGNITION_FUNCTION, event, f"failed: {text}; {after}", "until it failed"
    )


def _add_fault(timeline: Timeline, fault: Line) -> None:
    cause = str(fault.fields.get("cause") or fault.fields.get("status") or "failed")
    timeline.add_failure(
        fault.at, fault.function, cause, failure_reason(fault), "until the worker ended"
    )


def _add_deliveries_before(
    timeline: Timeline,
    request: RequestEvents,
    delivery: MessageDelivery,
    previous: MessageDelivery | None,
) -> None:
    """Add the deliveries without a line before one that a worker received."""
    same = previous is not None and previous.message_id == delivery.message_id
    known = previous.number if previous is not None and same else 0
    start = previous.received.at if previous is not None and same else delivery.sent_at
    if previous is not None and same and previous.is_unreported:
        _add_lost(timeline, previous)
    _add_unreceived(
        timeline, request, range(known + 1, delivery.number), (start, delivery.received.at)
    )


def _add_last_deliveries(timeline: Timeline, request: RequestEvents) -> None:
    """Add the deliveries without a line before the message moved to the dead-letter queue."""
    last = request.deliveries[-1] if request.deliveries else None
    if last is not None:
        if last.is_unreported:
            _add_lost(timeline, last)
        numbers = range(last.number + 1, last.max_receives + 1)
        _add_unreceived(timeline, request, numbers, (last.received.at, request.now))
    elif request.unmatched:
        between = (request.lines[-1].at, request.now)
        _add_unreceived(timeline, request, range(1, 1 + len(request.unmatched)), between)
    else:
        text = "every delivery was throttled: no worker received the message"
        at = timeline.latest(request.lines[-1].at)
        timeline.add_failure(at, None, "throttled", text, "throttled")


def _add_lost(timeline: Timeline, delivery: MessageDelivery) -> None:
    """Add a worker that logged that it received the message, and nothing after that."""
    text = f"delivery {delivery.number}: its worker received the message and was lost"
    at = delivery.received.at
    timeline.add_failure(at, RECOGNITION_FUNCTION, "lost", text, "until the worker ended")


def _add_unreceived(
    timeline: Timeline, request: RequestEvents, numbers: range, between: tuple[float, float]
) -> None:
    """Add deliveries that no worker logged as received.

    A fault of the platform in this time explains one: its worker ended before it logged.
    The others were throttled.
    """
    faults = [fault for fault in request.unmatched if between[0] <= fault.at <= between[1]]
    for number in numbers:
        fault = faults.pop(0) if faults else None
        if fault is None:
            text = f"delivery {number} was throttled: no worker received the message"
            at = timeline.latest(between[0])
            timeline.add_failure(at, None, "throttled", text, "throttled")
        else:
            text = f"delivery {number}: {failure_reason(fault)} before it received the message"
            timeline.add_failure(
                fault.at, RECOGNITION_FUNCTION, "lost", text, "until the worker ended"
            )


def _cold_start_text(line: Line) -> str:
    if line.fields.get("cold_start") is not True:
        return ""
    init_ms = line.number("init_ms")
    return ", cold start" + ("" if init_ms is None else f" of {init_ms:.0f} ms")


def _cold_start_parts(line: Line) -> dict[str, float]:
    if line.fields.get("cold_start") is not True:
        return {}
    init_ms = line.number("init_ms")
    return {} if init_ms is None else {f"cold start of {line.function}": init_ms}


def _plural(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def _reply_text(line: Line) -> str:
    """Where the answer went, if that was a client's own queue."""
    reply = line.fields.get("reply")
    return f", to the reply queue {reply}" if reply else ""
