"""The clients of a deployment are shared by threads."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

from facectl.aws import Clients
from facectl.context import Deployment

# Prevents hanging with another kind of lock; nothing waits this long.
HUNG = 60


class WatchedLock:
    """A lock that signals when a second thread waits for it."""

    def __init__(self, lock: Any, second: Event) -> None:
        self._lock = lock
        self._second = second
        self._comers = 0

    def __enter__(self) -> None:
        self._comers += 1
        if self._comers == 2:
            self._second.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_two_threads_create_one_client() -> None:
    """The first creation lasts until the second thread waits for it, or creates one too."""
    clients = Clients(Deployment("42", "aws"))
    made: list[object] = []
    begun, second = Event(), Event()

    def make(*_: object, **__: object) -> object:
        made.append(object())
        if len(made) == 2:
            second.set()
        begun.set()
        assert second.wait(HUNG)
        return made[-1]

    clients._session.client = make  # type: ignore[method-assign]
    clients.lock = WatchedLock(clients.lock, second)  # type: ignore[assignment]
    seen: list[object] = []
    threads = [Thread(target=lambda: seen.append(clients.sqs), daemon=True) for _ in range(2)]
    threads[0].start()
    assert begun.wait(HUNG)
    threads[1].start()
    for thread in threads:
        thread.join(HUNG)
    assert len(made) == 1
    assert seen == [made[0], made[0]]


def test_a_property_may_use_another_property() -> None:
    clients = Clients(Deployment("42", "aws"))

    class Sts:
        def get_caller_identity(self) -> dict[str, str]:
            return {"Arn": "arn:aws:iam::123456789012:user/ada"}

    clients._session.client = lambda *_, **__: Sts()  # type: ignore[method-assign]
    assert clients.account == "123456789012"
    assert clients.account is clients.account
