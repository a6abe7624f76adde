"""Yields results as they arrive on the response queue."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass

from facectl.retry import Backoff
from facectl.stream.responses import LONG_POLL, MessageQueue, Received
from lambda_src.contract import FrameResult

# The number of ids kept to recognise duplicates; SQS redelivers long before as many arrive.
_REMEMBERED = 100_000


Results = Generator[tuple[FrameResult, float | None], None, None]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a tail ends: after `most` results, or after `quiet` seconds without one."""

    most: int | None = None
    quiet: float | None = None


class Tail:
    """The results on a response queue, each once.

    A result is deleted after the caller has processed it, or released with
    `keep`. `foreign` counts the other messages, which are released.
    """

    def __init__(
        self,
        queue: MessageQueue,
        *,
        keep: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.foreign = 0
        self._queue = queue
        self._keep = keep
        self._backoff = Backoff()
        self._clock = clock
        self._sleep = sleep
        self._seen: OrderedDict[str, None] = OrderedDict()

    def results(self, limits: Limits | None = None) -> Results:
        """Yield each result and when SQS accepted it (seconds of the epoch); raises CloudError."""
        limits = limits if limits is not None else Limits()
        given = 0
        last = self._clock()
        while limits.most is None or given < limits.most:
            wait = LONG_POLL
            if limits.quiet is not None:
                left = limits.quiet - (self._clock() - last)
                if left <= 0:
                    return
                wait = min(LONG_POLL, max(1, round(left)))
            messages: list[Received] = []
            with self._backoff.attempt():
                messages = self._queue.receive(wait=wait)
            done: list[Received] = []
            try:
                for message in messages:
                    if message.result is None:
                        self.foreign += self._is_new(message.message_id)
                        continue
                    if limits.most is not None and given >= limits.most:
                        break
                    # By request id: a duplicate is another message with the same response.
                    if self._is_new(message.result.request_id):
                        given += 1
                        last = self._clock()
                        yield message.result, message.sent_at
                    # Reached only after the caller has processed the result.
                    done.append(message)
            finally:
                self._settle(messages, done)

    def _settle(self, messages: list[Received], done: list[Received]) -> None:
        """Delete the processed messages, unless they are kept, and release the others."""
        taken = set() if self._keep else {message.receipt for message in done}
        self._queue.delete([m for m in messages if m.receipt in taken])
        self._sleep(self._queue.release([m for m in messages if m.receipt not in taken]))

    def _is_new(self, key: str) -> bool:
        """Whether this key is not among the last ones remembered."""
        if key in self._seen:
            self._seen.move_to_end(key)
            return False
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True
