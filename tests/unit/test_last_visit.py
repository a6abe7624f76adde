"""The sensor of the last visitor: which visit it shows, and who that was found to be later."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facectl.visits.last_visit import LastVisit


def event(kind: str, visit: str, person: str | None = None, **changes: Any) -> dict[str, Any]:
    fields = {"event": kind, "visit": visit, "person": person, "known": person is not None}
    return {**fields, "time": f"{kind} of {visit}", **changes}


A, B, OTHER = "run-000005-0", "run-000100-0", "other-000900-0"


def after(*events: dict[str, Any]) -> tuple[Any, Any]:
    last = LastVisit()
    for each in events:
        last.see(each)
    return (None, None) if last.value is None else (last.value["visit"], last.value["person"])


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([event("start", A), event("update", A, "Ann")], (A, "Ann")),
        # Who came last is shown, also while the other one stays.
        ([event("start", A), event("start", B, "Bob"), event("update", A, "Ann")], (B, "Bob")),
        ([event("start", B, "Bob"), event("end", A, reason="left")], (B, "Bob")),
        ([event("start", A), event("end", A), event("amend", A, "Ann")], (A, "Ann")),
        ([event("start", A), event("start", B), event("amend", A, "Ann")], (B, None)),
        # A receiver of known people gets the first event of a stranger when the visit is named.
        ([event("end", A, "Ann"), event("amend", B, "Grace")], (B, "Grace")),
        ([event("end", B, "Bob"), event("amend", OTHER, "Grace")], (B, "Bob")),
        ([event("start", B), event("end", B, reason="merged", into=A, person="Ann")], (A, "Ann")),
        ([event("start", OTHER), event("start", A)], (A, None)),
        ([event("end", A, "Ann", reason="lost")], (None, None)),
        ([event("start", "run-1000000-0"), event("start", B)], ("run-1000000-0", None)),
        ([event("start", "no visit"), event("start", A)], (A, None)),
    ],
)
def test_the_visit_that_began_last_is_shown(events: list[Any], shown: tuple[Any, Any]) -> None:
    assert after(*events) == shown


def test_an_amendment_keeps_the_time_of_the_visit() -> None:
    last = LastVisit()
    last.see(event("end", A))
    assert last.see(event("amend", A, "Ann")) is True
    assert last.value == {"visit": A, "person": "Ann", "known": True, "time": f"end of {A}"}
    assert last.see(event("amend", A, "Ann")) is False


def retained(visit: str) -> bytes:
    return json.dumps({"visit": visit, "person": None, "known": False, "time": "then"}).encode()


def test_an_amendment_before_the_broker_has_answered_counts() -> None:
    last = LastVisit()
    last.see(event("amend", A, "Ann"))
    assert last.recover(retained(A)) is True
    assert last.value == {"visit": A, "person": "Ann", "known": True, "time": "then"}
    # The broker's is older than what this run has seen.
    assert last.recover(retained(B)) is False
    assert last.value["visit"] == A


@pytest.mark.parametrize(
    "payload", [b"", b"ON", b"[]", b'{"visit": 1}', b"\xff", b"[" * 100_000, b"null"]
)
def test_what_is_no_last_visit_is_ignored(payload: bytes) -> None:
    last = LastVisit()
    assert last.recover(payload) is False
    assert last.value is None
