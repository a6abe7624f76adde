"""Messages that are redelivered without a reported failure: throttled, or after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stages import (
    SETTINGS,
    Embedder,
    Queues,
    answers,
    logged,
    recognise_stage,
    record,
)

from lambda_src.aws import AwsError
from lambda_src.contract import FaceMessage
from lambda_src.gallery.matching import Match
from lambda_src.stages.recognise import QueueRecord, RecogniseStage, _result
from lambda_src.timing import Stopwatch

TIMEOUT, VISIBILITY = 60, 360
DEPLOYED = replace(SETTINGS, visibility_timeout=VISIBILITY)
# The value of a crop that crashes the worker.
DEADLY = 99


class WorkerLostError(BaseException):
    """Ends the worker; the stage does not catch it."""


class Fragile(Embedder):
    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        if any(crop[0, 0, 0] == DEADLY for crop in crops):
            raise WorkerLostError
        return super().embed(crops)


def stage(queues: Queues, **more: Any) -> RecogniseStage:
    return replace(recognise_stage(queues, settings=DEPLOYED), embedder=Fragile(), **more)


def back(request_id: str, value: int = 10, *, receives: int, held_s: float) -> QueueRecord:
    return replace(record(request_id, value, receives=receives), held_s=held_s)


def test_a_frame_that_no_worker_received_is_processed_on_its_last_delivery() -> None:
    queues = Queues()
    unseen = replace(
        recognise_stage(queues, settings=replace(DEPLOYED, max_receives=3)), embedder=Fragile()
    )
    assert unseen.process([back("a", receives=3, held_s=725)], seconds=TIMEOUT) == []
    assert answers(queues) == {"a": "Ada"}


@pytest.mark.parametrize("held_s", [725, 1441])
def test_a_frame_with_an_unfinished_attempt_gets_error_on_its_last_delivery(
    held_s: float,
) -> None:
    queues = Queues()
    queues.objects = {"bucket/attempts/m-k"}
    looks = stage(queues)
    killer = back("k", DEADLY, receives=5, held_s=held_s)
    batch = [record("a", 10), killer, back("b", 20, receives=5, held_s=held_s)]
    assert looks.process(batch, seconds=TIMEOUT) == ["m-k"]
    # The abandoned one first, in case the rest of the batch crashes this worker too.
    assert [body["request_id"] for _, body in queues.sent] == ["k", "a", "b"]
    assert answers(queues) == {"a": "Ada", "k": "Error", "b": "Grace"}
    assert queues.objects == set()
    # SQS moves the abandoned one to the dead-letter queue.
    assert queues.deleted == [("requests", "h-a")]


def test_an_unfinished_attempt_counts_only_on_the_last_delivery() -> None:
    queues = Queues()
    queues.objects = {"bucket/attempts/m-a"}
    assert stage(queues).process([back("a", receives=4, held_s=900)], seconds=TIMEOUT) == []
    assert answers(queues) == {"a": "Ada"}
    assert queues.objects == set()


def test_a_crash_leaves_an_attempt_and_suspects_are_redelivered_one_by_one() -> None:
    queues = Queues()
    now = [1000.0]
    looks = stage(queues, clock=lambda: now[0])
    batch = [
        record("a", 20),
        back("b", receives=2, held_s=361),
        back("k", DEADLY, receives=3, held_s=722),
        back("last", receives=5, held_s=1500),
    ]
    with pytest.raises(WorkerLostError):
        looks.process(batch, seconds=TIMEOUT)
    assert answers(queues) == {"a": "Grace", "last": "Ada"}
    assert queues.deleted == [("requests", "h-a"), ("requests", "h-last")]
    # Of the one that was processed alone; "b" was only in the same batch.
    assert queues.objects == {"bucket/attempts/m-k"}
    # The first after the end of this invocation; the others at intervals of 30 seconds, less a
    # time that depends on message and delivery.
    assert queues.hidden == [
        ("requests", "h-last", 65),
        ("requests", "h-k", 65 + 30 - 25),
        ("requests", "h-b", 65 + 60 - 12),
    ]


def test_redeliveries_fit_into_the_visibility_timeout() -> None:
    queues = Queues()
    looks = replace(stage(queues), settings=replace(DEPLOYED, visibility_timeout=80))
    looks.process(
        [
            back("b", receives=2, held_s=999),
            back("k", receives=3, held_s=999),
            back("last", receives=5, held_s=999),
        ],
        seconds=TIMEOUT,
    )
    # 15 seconds for three of them.
    assert [seconds for _, _, seconds in queues.hidden] == [65, 70 - 0, 75 - 2]
    assert queues.objects == set()


def test_each_crash_leaves_an_attempt_of_another_message() -> None:
    queues = Queues()
    queues.objects = {"bucket/attempts/m-known"}
    batch = [back(name, DEADLY, receives=3, held_s=999) for name in ("known", "new")]
    with pytest.raises(WorkerLostError):
        stage(queues).process(batch, seconds=TIMEOUT)
    assert queues.objects == {"bucket/attempts/m-known", "bucket/attempts/m-new"}


def test_suspects_of_several_crashes_are_redelivered_at_different_times() -> None:
    moments = set()
    for name in "abcdefgh":
        queues = Queues()
        with pytest.raises(WorkerLostError):
            stage(queues).process(
                [back("k", DEADLY, receives=3, held_s=999), back(name, receives=2, held_s=999)],
                seconds=TIMEOUT,
            )
        moments.add(queues.hidden[-1][2])
    assert len(moments) > 4


def test_a_last_delivery_writes_no_attempt() -> None:
    queues = Queues()
    with pytest.raises(WorkerLostError):
        stage(queues).process([back("k", DEADLY, receives=5, held_s=999)], seconds=TIMEOUT)
    assert queues.objects == set()


def test_a_suspect_is_never_redelivered_after_the_visibility_timeout() -> None:
    queues = Queues()
    looks = replace(stage(queues), settings=replace(DEPLOYED, visibility_timeout=20))
    looks.process(
        [back("a", receives=2, held_s=30), back("b", receives=2, held_s=30)], seconds=TIMEOUT
    )
    assert queues.hidden == [("requests", "h-a", 20), ("requests", "h-b", 20)]


def test_without_a_visibility_timeout_there_are_no_suspects() -> None:
    queues = Queues()
    looks = replace(stage(queues), settings=replace(DEPLOYED, visibility_timeout=0))
    looks.process([back("a", receives=2, held_s=999)], seconds=TIMEOUT)
    assert (queues.hidden, answers(queues)) == ([], {"a": "Ada"})


def test_attempts_are_read_from_the_third_delivery_on() -> None:
    asked: list[str] = []

    class Asked(Queues):
        def get_object(self, bucket: str, key: str) -> tuple[bytes, str]:
            asked.append(f"{bucket}/{key}")
            return super().get_object(bucket, key)

    batch = [back(name, receives=n, held_s=999) for name, n in (("a", 2), ("b", 3), ("c", 4))]
    stage(Asked()).process([record("d", 20), *batch], seconds=TIMEOUT)
    assert asked == ["bucket/attempts/m-b", "bucket/attempts/m-c"]


def test_a_smaller_maximum_of_receives_works_the_same_way() -> None:
    queues = Queues()
    queues.objects = {"bucket/attempts/m-k"}
    looks = replace(stage(queues), settings=replace(DEPLOYED, max_receives=3))
    assert looks.process([back("k", DEADLY, receives=3, held_s=725)], seconds=TIMEOUT) == ["m-k"]
    assert answers(queues) == {"k": "Error"}


def test_a_failed_suspect_is_retried_as_soon_as_any_other() -> None:
    for receives, seconds in ((2, 5), (3, 15), (4, 15), (5, 15)):
        queues = Queues()
        stage(queues).process([back("b", 0, receives=receives, held_s=999)], seconds=TIMEOUT)
        assert queues.hidden[-1] == ("requests", "h-b", seconds)


def test_without_a_known_timeout_the_queue_redelivers_a_suspect() -> None:
    queues = Queues()
    assert stage(queues).process([back("a", receives=2, held_s=400)]) == []
    assert queues.hidden == []
    assert answers(queues) == {"a": "Ada"}


@pytest.mark.parametrize(
    ("receives", "held_s", "suspect"),
    [(1, 900, False), (2, 323, False), (2, 324, True), (4, 0, False)],
)
def test_which_records_are_suspects(receives: int, held_s: float, suspect: bool) -> None:
    queues = Queues()
    kept: list[str] = []
    queues.put_object = lambda bucket, key: kept.append(key)  # type: ignore[method-assign]
    looks = stage(queues)
    looks.process([back("a", receives=receives, held_s=held_s), record("b", 20)], seconds=TIMEOUT)
    assert bool(kept) is suspect
    assert looks.embedder.batches == ([1, 1] if suspect else [2])  # type: ignore[attr-defined]
    assert bool(queues.hidden) is suspect


def test_a_batch_without_suspects_makes_no_extra_call() -> None:
    class NoBucket(Queues):
        put_object = delete_object = get_object = change_visibility = delete = None  # type: ignore[assignment]

    queues = NoBucket()
    assert stage(queues).process([record("a", 10), record("b", 20)], seconds=TIMEOUT) == []


def test_a_caught_failure_leaves_no_attempt() -> None:
    queues = Queues()
    assert stage(queues).process([back("b", 0, receives=2, held_s=400)], seconds=60) == ["m-b"]
    assert queues.objects == set()
    # Retried soon, like any failed record; this replaces the redelivery scheduled for a crash.
    assert queues.hidden[-1] == ("requests", "h-b", 5)


class BrokenBucket(Queues):
    """A bucket whose calls fail after many seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def put_object(self, bucket: str, key: str) -> None:
        self.calls += 1
        raise AwsError("no route")

    def delete_object(self, bucket: str, key: str) -> None:
        self.put_object(bucket, key)

    def get_object(self, bucket: str, key: str) -> tuple[bytes, str]:
        self.put_object(bucket, key)
        raise AssertionError


def test_without_a_bucket_every_record_is_processed_after_one_failed_call(
    capsys: pytest.CaptureFixture[str],
) -> None:
    queues = BrokenBucket()
    batch = [back(name, receives=n, held_s=999) for name, n in (("a", 5), ("b", 5), ("c", 3))]
    assert stage(queues).process(batch, seconds=TIMEOUT) == []
    assert answers(queues) == {"a": "Ada", "b": "Ada", "c": "Ada"}
    assert queues.calls == 1
    [told] = [line for line in logged(capsys) if line["stage"] == "attempts"]
    assert (told["level"], told["message"]) == ("ERROR", "no route")


def test_an_access_error_of_the_bucket_is_not_an_attempt() -> None:
    class Refusing(Queues):
        def get_object(self, bucket: str, key: str) -> tuple[bytes, str]:
            raise AwsError("denied", status=403, code="AccessDenied")

    queues = Refusing()
    assert stage(queues).process([back("a", receives=5, held_s=999)], seconds=TIMEOUT) == []
    assert answers(queues) == {"a": "Ada"}


def test_a_failed_change_of_visibility_stops_nothing() -> None:
    class Unchanging(Queues):
        def change_visibility(self, queue_url: str, receipt_handle: str, seconds: int) -> None:
            raise AwsError("no such handle")

    queues = Unchanging()
    assert stage(queues).process([back("a", receives=2, held_s=999)], seconds=TIMEOUT) == []
    assert answers(queues) == {"a": "Ada"}


@dataclass
class Message:
    """A message of the simulated queue; times in seconds."""

    record: QueueRecord
    visible_at: float = 0.0
    receives: int = 0
    first: float | None = None


@dataclass
class Life:
    """Simulates SQS and Lambda: delivers messages until they are deleted or dead letters."""

    names: dict[str, int]
    queues: Queues = field(default_factory=Queues)
    now: float = 0.0
    dead: list[str] = field(default_factory=list)

    def run(self, throttled: Sequence[bool]) -> None:
        """Deliver until no message is left; `throttled` has one entry per batch, in order."""
        waiting = {f"h-{name}": Message(record(name, v)) for name, v in self.names.items()}
        reached = iter(throttled)
        while waiting:
            self.now = max(self.now, min(message.visible_at for message in waiting.values()))
            batch: list[Message] = []
            for handle, message in list(waiting.items()):
                if message.visible_at > self.now or len(batch) == 10:
                    continue
                if message.receives == DEPLOYED.max_receives:
                    self.dead.append(message.record.message_id)
                    del waiting[handle]
                    continue
                message.receives += 1
                message.first = self.now if message.first is None else message.first
                message.visible_at = self.now + VISIBILITY
                batch.append(message)
            if batch and not next(reached, False):
                self._invoke(batch, waiting)

    def _invoke(self, batch: list[Message], waiting: dict[str, Message]) -> None:
        looks = stage(self.queues, clock=lambda: self.now)
        records = [
            replace(each.record, receives=each.receives, held_s=self.now - (each.first or 0.0))
            for each in batch
        ]
        try:
            failed = looks.process(records, seconds=TIMEOUT)
        except WorkerLostError:
            pass
        else:
            for each in records:
                if each.message_id not in failed:
                    waiting.pop(each.receipt_handle, None)
        for _, handle in self.queues.deleted:
            waiting.pop(handle, None)
        for _, handle, seconds in self.queues.hidden:
            if handle in waiting:
                waiting[handle].visible_at = self.now + seconds
        self.queues.hidden.clear()
        self.queues.deleted.clear()


KINDS = {"good": 10, "deadly": DEADLY, "bad": 0}


def lived(kinds: Sequence[str], throttled: Sequence[bool] = ()) -> Life:
    life = Life({f"{kind}-{n}": KINDS[kind] for n, kind in enumerate(kinds)})
    life.run(throttled)
    return life


def expected(kinds: Sequence[str]) -> dict[str, str]:
    return {f"{kind}-{n}": "Ada" if kind == "good" else "Error" for n, kind in enumerate(kinds)}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=40))
def test_every_message_gets_a_result_and_only_those_that_crash_or_fail_get_error(
    kinds: list[str],
) -> None:
    life = lived(kinds)
    assert answers(life.queues) == expected(kinds)
    assert sorted(life.dead) == sorted(f"m-{n}" for n, r in expected(kinds).items() if r != "Ada")
    assert life.queues.objects == set()


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=25),
    throttled=st.lists(st.booleans(), max_size=12),
)
def test_throttling_alone_causes_no_error(kinds: list[str], throttled: list[bool]) -> None:
    # A message that is throttled five times becomes a dead letter without reaching a worker.
    life = lived(kinds, _at_most(throttled, 4))
    assert answers(life.queues).items() <= expected(kinds).items()
    good = {name for name in expected(kinds) if name.startswith("good")}
    assert good <= answers(life.queues).keys()
    assert not any(name.startswith("m-good") for name in life.dead)


def _at_most(throttled: list[bool], count: int) -> list[bool]:
    seen = 0
    kept = []
    for each in throttled:
        seen += each
        kept.append(each and seen <= count)
    return kept


def test_a_message_that_crashes_every_worker_gets_error_within_ten_minutes() -> None:
    life = lived(["deadly", "good"])
    assert answers(life.queues) == {"deadly-0": "Error", "good-1": "Ada"}
    # One visibility timeout, then one invocation each, then the redrive.
    assert life.now == VISIBILITY + 3 * (TIMEOUT + 5) + 15


def test_a_batch_of_messages_that_crash_every_worker() -> None:
    """Each is processed alone before its last delivery, and so leaves its own attempt."""
    life = lived(["deadly"] * 10)
    assert answers(life.queues) == {f"deadly-{n}": "Error" for n in range(10)}


def test_at_most_half_of_the_time_is_spent_on_the_first_gallery() -> None:
    told: list[float | None] = []
    looks = stage(Queues())
    looks.gallery.begin = told.append  # type: ignore[method-assign, assignment]
    looks.process([record("a", 10)], seconds=TIMEOUT)
    looks.process([record("a", 10)], seconds=9.0)
    # Without a known timeout the gallery's own limit holds.
    looks.process([record("a", 10)], seconds=0.0)
    looks.process([record("a", 10)])
    assert told == [28.5, 3.0, None, None]


def test_a_queue_record_is_frozen_and_has_defaults() -> None:
    new = QueueRecord("m", "h", "{}", 1, 0.0)
    assert new.held_s == 0.0
    with pytest.raises(FrozenInstanceError):
        new.receives = 2  # type: ignore[misc]
    assert not hasattr(new, "__dict__")


@pytest.mark.parametrize(("receives", "suspect"), [(0, False), (1, False), (2, True)])
def test_only_a_record_that_was_delivered_before_is_a_suspect(receives: int, suspect: bool) -> None:
    queues = Queues()
    stage(queues).process([back("a", receives=receives, held_s=999)], seconds=TIMEOUT)
    assert bool(queues.hidden) is suspect


@pytest.mark.parametrize("space", ["0000/facenet", "zzzz/facenet"])
def test_crops_of_another_space_are_not_compared(
    space: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queues = Queues()
    assert stage(queues).process([record("a", 10, space=space)], seconds=TIMEOUT) == ["m-a"]
    assert queues.sent == []
    failure = logged(capsys)[-1]
    assert failure["message"] == (
        f"the crops are of embedding space {space}, the model of 0123/facenet"
    )


def test_a_delivery_beyond_the_maximum_is_a_last_one_too() -> None:
    queues = Queues()
    assert stage(queues).process([record("b", 0, receives=6)], seconds=TIMEOUT) == ["m-b"]
    assert answers(queues) == {"b": "Error"}


def test_a_wrong_number_of_matches_is_an_error() -> None:
    message = FaceMessage.parse(record("a", 10, 20).body)
    with pytest.raises(ValueError, match="zip"):
        _result(message, [Match("Ada", 0.0)], Stopwatch())


def test_redeliveries_are_scheduled_only_if_time_is_left() -> None:
    for passed, hidden in ((61.0, []), (60.0, []), (59.5, [6, 6 + 30 - 12]), (59.0, [6, 24])):
        queues = Queues()
        looks = stage(queues)
        batch = [back("k", receives=3, held_s=999), back("b", receives=2, held_s=999)]
        readings = iter([0.0])
        looks = replace(looks, clock=lambda readings=readings, at=passed: next(readings, at))
        looks.process(batch, seconds=TIMEOUT)
        assert [seconds for _, _, seconds in queues.hidden] == hidden


def test_redeliveries_are_at_least_a_second_apart() -> None:
    queues = Queues()
    looks = replace(stage(queues), settings=replace(DEPLOYED, visibility_timeout=70))
    names = [(f"n{index}", 5 - index % 4) for index in range(6)]
    looks.process([back(name, receives=n, held_s=999) for name, n in names], seconds=TIMEOUT)
    assert [seconds for _, _, seconds in queues.hidden] == [65, 66, 67, 68, 69, 70]


def test_attempts_are_not_read_on_the_second_delivery() -> None:
    queues = Queues()
    queues.objects = {"bucket/attempts/m-known"}
    batch = [back("known", receives=3, held_s=999), back("new", receives=2, held_s=999)]
    assert stage(queues).process(batch, seconds=TIMEOUT) == []
    assert [body["request_id"] for _, body in queues.sent] == ["new", "known"]
