"""Where a request is now: answered, in flight, dead, refused; and why."""

from __future__ import annotations

from typing import Literal

from facectl.logs.parse import Line
from facectl.logs.request_events import MessageDelivery, RequestEvents, failure_reason
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from lambda_src.contract import ERROR

State = Literal["answered", "in flight", "dead-letter queue", "refused", "failed", "gone"]
RequestState = tuple[State, str, str | None]

# A message may be on no queue that shows it for this long: counts lag behind.
_SETTLING = 30.0


def request_state(events: RequestEvents) -> RequestState:
    """The state, a sentence about it, and the result where there is one."""
    for delivery in events.deliveries:
        if (line := delivery.answered) is not None:
            return _answered_state(events, line)
    for post in events.posts:
        if post.found is not None and (result := post.found.fields.get("result")) is not None:
            return "answered", f"answered {result} by face-detection", str(result)
    told_error = any(d.error and d.error.fields.get("answered") for d in events.deliveries)
    result = ERROR if told_error else None
    if events.dead_letter is not None:
        answer = f"answered {ERROR}" if told_error else "never answered"
        return (
            "dead-letter queue",
            f"in the dead-letter queue, {answer}: {_last_reason(events)}",
            result,
        )
    last = events.deliveries[-1] if events.deliveries else None
    if last is not None and told_error:
        return "answered", f"answered {ERROR}; {_after_death(events, last)}", result
    if last is None and not any(post.accepted for post in events.posts):
        return _not_accepted(events)
    return _in_flight(events, last)


def _answered_state(events: RequestEvents, line: Line) -> RequestState:
    result = line.fields.get("result")
    told = "answered; the logs hold no names" if result is None else f"answered {result}"
    if events.dead_letter is not None:
        told += "; a copy is in the dead-letter queue"
    return "answered", told, None if result is None else str(result)


def _last_reason(events: RequestEvents) -> str:
    for delivery in reversed(events.deliveries):
        if delivery.error is not None:
            return failure_reason(delivery.error)
        if delivery.fault is not None:
            return failure_reason(delivery.fault)
        return f"the worker of delivery {delivery.number} received it and was lost"
    if events.unmatched:
        return failure_reason(events.unmatched[-1])
    return "throttled: no worker ever received it"


def _after_death(events: RequestEvents, last: MessageDelivery) -> str:
    hidden = (last.error.number("hidden_s") or 0.0) if last.error else 0.0
    moment = (last.error or last.received).at
    if events.now < moment + hidden + _SETTLING:
        return f"its message moves to the dead-letter queue about {hidden:g} s after that"
    return "its message is not in the dead-letter queue any more: redriven, dropped or expired"


def _not_accepted(events: RequestEvents) -> RequestState:
    post = events.posts[-1]
    if post.request is not None:
        status = int(post.request.number("status") or 0)
        fields = post.request.fields
        told = f"{status} {fields.get('error')}: {fields.get('message', '')}"
        if status < 500:
            return "refused", f"refused with {told}", None
        return "failed", f"not taken: the client got {told}, and may send it again", None
    if post.fault is not None:
        reason = failure_reason(post.fault)
        return "failed", f"not taken: {reason}; the client got no 200, and may send it again", None
    return "in flight", f"{DETECTION_FUNCTION} is looking at it", None


def _in_flight(events: RequestEvents, last: MessageDelivery | None) -> RequestState:
    moment = max(line.at for line in events.lines)
    since = max(0.0, events.now - moment)
    if events.queued == 0 and since > _SETTLING:
        return "gone", "neither answered nor on a queue: purged, dropped or expired", None
    if last is None:
        return "in flight", f"on the request queue for {since:.0f} s, not yet delivered", None
    which = f"delivery {last.number} of {last.of}"
    if last.error is None and last.fault is None and not last.ended:
        return "in flight", f"{RECOGNITION_FUNCTION} has it, {which}, for {since:.0f} s", None
    if last.error is not None:
        due = last.error.at + (last.error.number("hidden_s") or 0.0)
    else:
        due = last.received.at + (events.visibility or 0.0)
    next_ = "to go to the dead-letter queue" if last.number >= last.of else "for the next delivery"
    left = max(0.0, due - events.now)
    return "in flight", f"{which} failed; waiting {next_}, due in {left:.0f} s", None
