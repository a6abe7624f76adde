"""The answers to frames of a camera that an earlier process, which was killed, left on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection

from facectl.stream.responses import Received
from facectl.stream.run_file import is_resumable
from lambda_src.contract import FrameResult


class EarlierAnswers:
    """Takes the answers to the frames of these runs, each once.

    A camera's run can't be resumed, so no other process would: thousands of them would stay on
    the response queue for days, and each client would receive them before its own.
    """

    def __init__(self, runs: Collection[str]) -> None:
        self._runs = frozenset(runs)
        self._taken: set[str] = set()
        self._listeners: list[Callable[[FrameResult], None]] = []

    @classmethod
    def of(cls, request_ids: Collection[str]) -> EarlierAnswers:
        """Those of the runs of these frames that can't be resumed."""
        runs = {_run(request_id) for request_id in request_ids}
        return cls([run for run in runs if not is_resumable(run)])

    @property
    def count(self) -> int:
        """The frames whose answers were taken."""
        return len(self._taken)

    def listen(self, listener: Callable[[FrameResult], None]) -> None:
        """Pass each answer to the listener too."""
        self._listeners.append(listener)

    def takes(self, message: Received) -> bool:
        """Take the answer if it is one of these; whether it can be deleted."""
        if message.result is None or _run(message.result.request_id) not in self._runs:
            return False
        if message.result.request_id not in self._taken:
            for listener in self._listeners:
                listener(message.result)
            self._taken.add(message.result.request_id)
        return True


def _run(request_id: str) -> str:
    return request_id.rpartition("-")[0]
