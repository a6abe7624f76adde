"""Purges the queues of a deployment and waits until they are empty."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.errors import IncompleteError
from facectl.queues import QueueCounts, count_messages

# AWS's documentation of PurgeQueue: one purge per 60 seconds, and a purge takes up to
# 60 seconds to delete the messages.
PURGE_INTERVAL = 60.0
# By then a purge has ended, and the counts of GetQueueAttributes are consistent ("at least
# 1 minute after the producers stop sending messages").
_SETTLE = 60.0
# The counts are approximate: a single zero may be stale.
_ZEROS = 3
_POLL = 0.5
_NEXT_TRY = 5.0


@dataclass(frozen=True, slots=True)
class Purged:
    """A purged queue: its counts before and after, and how long it took in seconds."""

    queue: str
    before: QueueCounts
    after: QueueCounts
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": round(self.seconds, 2)}


class Purge:
    """Purges queues; `tell` receives a message about what is being waited for.

    `progress` receives the seconds waited, and to wait, until the counts are reliable.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        timeout: float = 180.0,
        tell: Callable[[str], None] = lambda _: None,
        progress: Callable[[float, float], None] = lambda _done, _total: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clients = clients
        self._timeout = timeout
        self._tell = tell
        self._progress = progress
        self._purged_at: float | None = None
        self._settle_seconds = _SETTLE if clients.deployment.target == "aws" else 0.0
        self._clock = clock
        self._sleep = sleep

    def run(self, names: Sequence[str]) -> list[Purged]:
        """Empty the queues in this order: the one that fills the others comes first.

        Raises IncompleteError if a queue is not empty after `timeout` seconds.
        """
        deadline = self._clock() + self._timeout
        purged = {name: self._empty(name, deadline) for name in names}
        self._settle(deadline)
        # A response that was in flight may have reached a queue that was empty before.
        while refilled := [n for n in names if count_messages(self._clients, n).total]:
            for name in refilled:
                purged[name] = replace(self._empty(name, deadline), before=purged[name].before)
            self._settle(deadline)
        return list(purged.values())

    def start(self, names: Sequence[str]) -> list[Purged]:
        """Purge the queues and do not wait; raises IncompleteError if a purge is in progress."""
        purged = []
        for name in names:
            before = count_messages(self._clients, name)
            if not self._purge(name):
                raise IncompleteError(
                    f"SQS allows one purge of {name} in {PURGE_INTERVAL:g} s, and one has begun",
                    hint="facectl purge   waits for the next",
                )
            purged.append(Purged(name, before, count_messages(self._clients, name), 0.0))
        return purged

    def _settle(self, deadline: float) -> None:
        """Wait until the last purge has ended and the counts are reliable."""
        if self._purged_at is None:
            return
        while (waited := self._clock() - self._purged_at) < self._settle_seconds:
            if self._clock() > deadline:
                raise IncompleteError(
                    "The queues seem empty, but SQS counts reliably only a minute after a purge",
                    hint="facectl purge --timeout 600",
                )
            self._tell("waiting until SQS counts reliably")
            self._progress(waited, self._settle_seconds)
            self._sleep(_POLL)

    def _empty(self, name: str, deadline: float) -> Purged:
        began = turn = self._clock()
        before = counts = count_messages(self._clients, name)
        zeros = 0
        tried = False
        while True:
            zeros = zeros + 1 if counts.total == 0 else 0
            if zeros >= _ZEROS:
                return Purged(name, before, counts, self._clock() - began)
            # Once even if it seems empty; again if messages became visible or were sent since.
            if (counts.total or not tried) and self._clock() >= turn:
                turn = self._clock() + (PURGE_INTERVAL if self._purge(name) else _NEXT_TRY)
                tried = True
            if self._clock() > deadline:
                raise IncompleteError(
                    f"{name} is not empty after {self._timeout:g} s: {counts}",
                    hint="facectl purge --timeout 600",
                )
            self._tell(f"{name}: {counts}{self._waiting_for(counts, turn)}")
            self._sleep(_POLL)
            counts = count_messages(self._clients, name)

    def _purge(self, name: str) -> bool:
        """Purge the queue; False if another purge was in progress."""
        sqs = self._clients.sqs
        with cloud_errors(f"purging {name}", self._clients.deployment):
            try:
                sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])
            except sqs.exceptions.PurgeQueueInProgress:
                return False
        self._purged_at = self._clock()
        return True

    def _waiting_for(self, counts: QueueCounts, turn: float) -> str:
        if not counts.total:
            return ", checking again"
        left = max(0, round(turn - self._clock()))
        if counts.visible or counts.delayed:
            return f"; SQS allows one purge in {PURGE_INTERVAL:g} s, next try in {left} s"
        return "; a consumer has received them: they are deleted or become visible again"
