"""Determines where a request is now and why: answered, in flight, dead letter, refused."""

from __future__ import annotations

from typing import Literal

from facectl.logs.parse import Line
from facectl.logs.request_events import THROTTLED, MessageDelivery, RequestEvents, failure_reason
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from lambda_src.contract import ERROR

State = Literal["answered", "in flight", "dead-letter queue", "refused", "failed", "gone"]
RequestState = tuple[State, str, str | None]

# Seconds for which queue counts may omit a message: they are eventually consistent.
_COUNT_DELAY = 30.0


def request_state(request: RequestEvents) -> RequestState:
    """The state, a description of it, and the result, None if there is none."""
    for delivery in request.deliveries:
        if (line := delivery.answered) is not None:
            return _answered_state(request, line)
    for post in request.posts:
        if (
            post.detection is not None
            and (result := post.detection.fields.get("result")) is not None
        ):
            return "answered", f"answered {result} by face-detection", str(result)
    error_sent = any(d.error and d.error.fields.get("answered") for d in request.deliveries)
    result = ERROR if error_sent else None
    if request.dead_letter is not None:
        answer = f"answered {ERROR}" if error_sent else "never answered"
        return (
            "dead-letter queue",
            f"in the dead-letter queue, {answer}: {_last_reason(request)}",
            result,
        )
    last = request.deliveries[-1] if request.deliveries else None
    if last is not None and error_sent:
        return "answered", f"answered {ERROR}; {_after_last_error(request, last)}", result
    if last is None and not any(post.accepted for post in request.posts):
        return _not_accepted(request)
    return _in_flight(request, last)


def _answered_state(request: RequestEvents, line: Line) -> RequestState:
    result = line.fields.get("result")
    text = "answered; the logs contain no names" if result is None else f"answered {result}"
    if request.dead_letter is not None:
        text += "; a copy is in the dead-letter queue"
    return "answered", text, None if result is None else str(result)


def _last_reason(request: RequestEvents) -> str:
    for delivery in reversed(request.deliveries):
        if delivery.error is not None:
            return failure_reason(delivery.error)
        if delivery.fault is not None:
            return failure_reason(delivery.fault)
        return f"the worker of delivery {delivery.number} received it and was lost"
    if request.unmatched:
        return failure_reason(request.unmatched[-1])
    return THROTTLED


def _after_last_error(request: RequestEvents, last: MessageDelivery) -> str:
    hidden = (last.error.number("hidden_s") or 0.0) if last.error else 0.0
    failed_at = (last.error or last.received).at
    if request.now < failed_at + hidden + _COUNT_DELAY:
        return f"its message moves to the dead-letter queue about {hidden:g} s after that"
    return "its message is not in the dead-letter queue any more: redriven, dropped or expired"


def _not_accepted(request: RequestEvents) -> RequestState:
    post = request.posts[-1]
    if post.request is not None:
        status = int(post.request.number("status") or 0)
        fields = post.request.fields
        error = f"{status} {fields.get('error')}: {fields.get('message', '')}"
        if status < 500:
            return "refused", f"refused with {error}", None
        return "failed", f"not accepted: the client got {error} and may retry", None
    if post.fault is not None:
        reason = failure_reason(post.fault)
        return "failed", f"not accepted: {reason}; the client got no 200 and may retry", None
    return "in flight", f"{DETECTION_FUNCTION} is processing it", None


def _in_flight(request: RequestEvents, last: MessageDelivery | None) -> RequestState:
    latest = max(line.at for line in request.lines)
    since = max(0.0, request.now - latest)
    if request.queued == 0 and since > _COUNT_DELAY:
        return "gone", "neither answered nor on a queue: purged, dropped or expired", None
    if last is None:
        return "in flight", f"on the request queue for {since:.0f} s, not yet delivered", None
    delivery = f"delivery {last.number} of {last.max_receives}"
    if last.error is None and last.fault is None and not last.ended:
        return (
            "in flight",
            f"{RECOGNITION_FUNCTION} is processing {delivery} for {since:.0f} s",
            None,
        )
    if last.error is not None:
        due = last.error.at + (last.error.number("hidden_s") or 0.0)
    else:
        due = last.received.at + (request.visibility or 0.0)
    next_ = (
        "to move to the dead-letter queue"
        if last.number >= last.max_receives
        else "for the next delivery"
    )
    left = max(0.0, due - request.now)
    return "in flight", f"{delivery} failed; waiting {next_}, due in {left:.0f} s", None
