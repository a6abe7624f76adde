"""The way of one request as a row of steps, each gap attributed, and where it is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facectl.errors import InputError
from facectl.logs.parse import Line
from facectl.logs.request_events import MessageDelivery, PostAttempt, RequestEvents, failure_reason
from facectl.logs.request_state import State, request_state
from facectl.logs.timeline import Step, Timeline, TimelineEvent, latest_time, steps_of
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from lambda_src.contract import ERROR


@dataclass(frozen=True, slots=True)
class Trace:
    """A request's steps and where it is now. `total_ms`: from its arrival to its answer."""

    request_id: str
    steps: tuple[Step, ...]
    state: State
    now: str
    result: str | None = None
    total_ms: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def spent(self) -> dict[str, float]:
        """On what the time went, in ms, most first."""
        sums: dict[str, float] = {}
        for step in self.steps:
            for what, ms in step.spent.items():
                sums[what] = sums.get(what, 0.0) + ms
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def trace(events: RequestEvents) -> Trace:
    """Put the request's way together."""
    timeline: Timeline = []
    for number, post in enumerate(events.posts, 1):
        _post(timeline, events, post, number if len(events.posts) > 1 else None)
    previous: MessageDelivery | None = None
    for delivery in events.deliveries:
        _unmatched_failures(timeline, events, delivery, previous)
        _delivery(timeline, delivery, previous)
        previous = delivery
    if events.dead_letter is not None:
        _late_unmatched_failures(timeline, events)
    steps = steps_of(timeline)
    state, now, result = request_state(events)
    answers = [step.at for step in steps if step.event == "answered"]
    return Trace(
        events.request_id,
        steps,
        state,
        now,
        result,
        round((answers[0] - steps[0].at) * 1e3, 2) if answers else None,
        tuple(events.problems),
    )


def slowest(requests: Mapping[str, Sequence[Line]], limit: int, window: Window) -> list[str]:
    """The ids of the answered requests that took longest, slowest first.

    Raises InputError where none was answered.
    """
    totals = {
        request_id: total
        for request_id, lines in requests.items()
        if (total := trace(RequestEvents(request_id, lines, window.end)).total_ms) is not None
    }
    if not totals:
        raise InputError(
            f"No request was answered {window}; {len(requests)} were seen",
            hint="facectl trace --last   or   facectl send FILE",
        )
    return sorted(totals, key=lambda request_id: -totals[request_id])[:limit]


def _post(timeline: Timeline, events: RequestEvents, post: PostAttempt, number: int | None) -> None:
    function = DETECTION_FUNCTION
    which = "" if number is None else f", POST {number}"
    if post.received is not None:
        received = post.received
        begun = received.at - (received.number("parse_ms") or 0.0) / 1e3
        if (waited := received.number("waited_ms")) is not None:
            timeline.append(
                TimelineEvent(
                    begun - waited / 1e3,
                    None,
                    "arrived",
                    f"reached the Function URL{which}",
                    "until the client sent it again",
                )
            )
        size = received.number("bytes")
        told = "received" + (f", {size / 1000:.0f} kB" if size else "") + _cold_words(received)
        timeline.append(
            TimelineEvent(
                begun,
                function,
                "received",
                told,
                "way to face-detection",
                parts=_cold_part(received),
            )
        )
    if post.found is not None:
        _found(timeline, post.found, events.deliveries)
    if post.error is not None:
        words = failure_reason(post.error)
        timeline.append(
            TimelineEvent(post.error.at, function, "failed", words, "until it failed", bad=True)
        )
    if post.request is not None and post.request.fields.get("status") != 200:
        fields = post.request.fields
        reason = f"{fields.get('status')} {fields.get('error')}: {fields.get('message', '')}"
        timeline.append(
            TimelineEvent(
                post.request.at, function, "refused", f"refused with {reason}", "check", bad=True
            )
        )
    if post.fault is not None:
        _fault(timeline, post.fault)


def _found(timeline: Timeline, line: Line, deliveries: Sequence[MessageDelivery]) -> None:
    """The stages that face-detection timed, backwards from its line, which comes after them."""
    function = DETECTION_FUNCTION
    stages = {name: line.number(f"{name}_ms") or 0.0 for name in ("enqueue", "crop", "detect")}
    sent = line.at
    cropped = sent - stages["enqueue"] / 1e3
    detected = cropped - stages["crop"] / 1e3
    decoded = detected - stages["detect"] / 1e3
    size = f"{line.fields.get('width')}x{line.fields.get('height')}"
    timeline.append(
        TimelineEvent(decoded, function, "decoded", f"decoded, {size} pixels", "decode")
    )
    faces = int(line.number("faces") or 0)
    timeline.append(
        TimelineEvent(detected, function, "detected", f"detected {_count(faces, 'face')}", "detect")
    )
    if stages["crop"]:
        timeline.append(TimelineEvent(cropped, function, "cropped", "cropped", "crop"))
    if (result := line.fields.get("result")) is not None:
        timeline.append(TimelineEvent(sent, function, "answered", f"answered {result}", "enqueue"))
    else:
        # SQS delivers a message before it has told face-detection that it took it.
        for delivery in deliveries:
            if delivery.message_id == line.fields.get("message_id") and delivery.number == 1:
                sent = min(sent, max(cropped, delivery.sent_at))
        timeline.append(
            TimelineEvent(sent, function, "enqueued", "enqueued for face-recognition", "enqueue")
        )


def _delivery(
    timeline: Timeline, delivery: MessageDelivery, previous: MessageDelivery | None
) -> None:
    received = delivery.received
    again = previous is not None and previous.message_id != delivery.message_id
    if again:
        timeline.append(
            TimelineEvent(
                delivery.sent_at,
                None,
                "enqueued",
                "sent to the request queue again: redriven, or a second POST",
                "outside the pipeline",
            )
        )
    first = delivery.number == 1
    wait = "request queue" if first else "waiting for the next delivery"
    records = int(received.number("records") or 1)
    batch = f", in a batch of {records}" if records > 1 else ""
    waited = ""
    if first and (ms := received.number("waited_ms")) is not None:
        waited = f" after {ms:.0f} ms in the queue"
    timeline.append(
        TimelineEvent(
            received.at,
            RECOGNITION_FUNCTION,
            "delivered",
            f"received{waited}, delivery {delivery.number} of {delivery.of}{batch}"
            + _cold_words(received),
            wait,
            parts=_cold_part(received),
        )
    )
    if delivery.answered is not None:
        _answered(timeline, delivery.answered)
    if delivery.error is not None:
        _failed(timeline, delivery.error)
    if delivery.fault is not None:
        _fault(timeline, delivery.fault)


def _answered(timeline: Timeline, line: Line) -> None:
    function = RECOGNITION_FUNCTION
    stages = {
        name: line.number(f"{name}_ms") or 0.0
        for name in ("decode_crops", "embed", "match", "send")
    }
    matched = line.at - stages["send"] / 1e3
    embedded = matched - stages["match"] / 1e3
    faces = _count(int(line.number("faces") or 0), "face")
    timeline.append(
        TimelineEvent(
            embedded,
            function,
            "embedded",
            f"embedded {faces}",
            "the batch's other frames",
            parts={"decode crops": stages["decode_crops"], "embed": stages["embed"]},
        )
    )
    timeline.append(
        TimelineEvent(matched, function, "matched", f"matched: {_matches(line)}", "match")
    )
    result = line.fields.get("result")
    told = "answered" if result is None else f"answered {result}"
    timeline.append(TimelineEvent(line.at, function, "answered", told, "answer"))


def _matches(line: Line) -> str:
    told = []
    matches = line.fields.get("matches")
    for match in matches if isinstance(matches, list) else []:
        known = "someone known" if match.get("known") else "Unknown"
        distance = match.get("distance")
        told.append(
            str(match.get("name", known))
            + (" (nobody enrolled)" if distance is None else f" (distance {distance:g})")
        )
    return ", ".join(told) or "nothing told"


def _failed(timeline: Timeline, line: Line) -> None:
    words = failure_reason(line)
    hidden = line.number("hidden_s") or 0.0
    if line.fields.get("last_delivery"):
        after = "the last delivery"
        answered = line.fields.get("answered") is True
        after += f"; answered {ERROR}" if answered else "; no answer could be sent"
    else:
        after = f"delivered again in {hidden:g} s"
    event = "answered" if line.fields.get("answered") is True else "failed"
    timeline.append(
        TimelineEvent(
            line.at,
            RECOGNITION_FUNCTION,
            event,
            f"failed: {words}; {after}",
            "until it failed",
            bad=True,
        )
    )


def _fault(timeline: Timeline, fault: Line) -> None:
    cause = str(fault.fields.get("cause") or fault.fields.get("status") or "failed")
    timeline.append(
        TimelineEvent(
            fault.at,
            fault.function,
            cause,
            failure_reason(fault),
            "until the worker ended",
            bad=True,
        )
    )


def _unmatched_failures(
    timeline: Timeline,
    events: RequestEvents,
    delivery: MessageDelivery,
    previous: MessageDelivery | None,
) -> None:
    """What became of the deliveries before one that a worker received."""
    same = previous is not None and previous.message_id == delivery.message_id
    known = previous.number if previous is not None and same else 0
    start = previous.received.at if previous is not None and same else delivery.sent_at
    if previous is not None and same and previous.is_unreported:
        _lost(timeline, previous)
    _missing(timeline, events, range(known + 1, delivery.number), (start, delivery.received.at))


def _late_unmatched_failures(timeline: Timeline, events: RequestEvents) -> None:
    """What became of the deliveries before the message went to the dead-letter queue."""
    last = events.deliveries[-1] if events.deliveries else None
    if last is not None:
        if last.is_unreported:
            _lost(timeline, last)
        numbers = range(last.number + 1, last.of + 1)
        _missing(timeline, events, numbers, (last.received.at, events.now))
    elif events.unmatched:
        between = (events.lines[-1].at, events.now)
        _missing(timeline, events, range(1, 1 + len(events.unmatched)), between)
    else:
        words = "every delivery was throttled: no worker received the message"
        at = latest_time(timeline, events.lines[-1].at)
        timeline.append(TimelineEvent(at, None, "throttled", words, "throttled", bad=True))


def _lost(timeline: Timeline, delivery: MessageDelivery) -> None:
    """A worker logged that it received the message, and logged nothing after it."""
    words = f"delivery {delivery.number}: its worker received the message and was lost"
    at = delivery.received.at
    timeline.append(
        TimelineEvent(at, RECOGNITION_FUNCTION, "lost", words, "until the worker ended", bad=True)
    )


def _missing(
    timeline: Timeline, events: RequestEvents, numbers: range, between: tuple[float, float]
) -> None:
    """Deliveries that no worker logged as received, which is the first thing that one does.

    Either the platform tells of a worker that could not do even that, or there was none.
    """
    faults = [fault for fault in events.unmatched if between[0] <= fault.at <= between[1]]
    for number in numbers:
        fault = faults.pop(0) if faults else None
        if fault is None:
            words = f"delivery {number} was throttled: no worker received the message"
            at = latest_time(timeline, between[0])
            timeline.append(TimelineEvent(at, None, "throttled", words, "throttled", bad=True))
        else:
            words = f"delivery {number}: {failure_reason(fault)} before it received the message"
            lost = (RECOGNITION_FUNCTION, "lost", words)
            timeline.append(TimelineEvent(fault.at, *lost, "until the worker ended", bad=True))


def _cold_words(line: Line) -> str:
    if line.fields.get("cold_start") is not True:
        return ""
    init_ms = line.number("init_ms")
    return ", cold start" + ("" if init_ms is None else f" of {init_ms:.0f} ms")


def _cold_part(line: Line) -> dict[str, float]:
    if line.fields.get("cold_start") is not True:
        return {}
    init_ms = line.number("init_ms")
    return {} if init_ms is None else {f"cold start of {line.function}": init_ms}


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def as_dict(traced: Trace) -> dict[str, Any]:
    """The trace as JSON has it; times in seconds of the epoch, durations in ms."""
    return {
        "request_id": traced.request_id,
        "state": traced.state,
        "now": traced.now,
        "result": traced.result,
        "total_ms": traced.total_ms,
        "spent_ms": traced.spent,
        "problems": list(traced.problems),
        "steps": [
            {
                "at": round(step.at, 3),
                "function": step.function,
                "event": step.event,
                "text": step.text,
                "since_ms": step.since_ms,
                "spent_ms": step.spent,
            }
            for step in traced.steps
        ],
    }
