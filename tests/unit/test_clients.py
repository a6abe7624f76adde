"""The clients of a deployment are shared by threads."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

from facectl.aws import Clients
from facectl.context import Deployment

# Against hanging where the lock is of another kind; nothing waits this long.
HUNG = 60


class WatchedLock:
    """A lock that tells when a second thread comes to it."""

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


def test_two_threads_that_need_a_client_at_once_make_one() -> None:
    """The first stays in the making until the second waits for it, or makes one as well."""
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


def test_a_property_may_need_another_of_the_same_thread() -> None:
    clients = Clients(Deployment("42", "aws"))

    class Sts:
        def get_caller_identity(self) -> dict[str, str]:
            return {"Arn": "arn:aws:iam::123456789012:user/ada"}

    clients._session.client = lambda *_, **__: Sts()  # type: ignore[method-assign]
    assert clients.account == "123456789012"
    assert clients.account is clients.account
