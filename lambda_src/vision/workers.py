"""Runs the parts of one computation side by side, in a few threads that stay alive."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class _Run(Generic[Part, Result]):
    """The parts of one call of `Workers.map`, which each thread takes one after another."""

    def __init__(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> None:
        self.results: dict[int, Result] = {}
        self.errors: list[BaseException] = []
        self._function = function
        # Taking the next pair is one step of the interpreter, so no part is taken twice.
        self._left = iter(list(enumerate(parts)))
        self.done: SimpleQueue[None] = SimpleQueue()

    def take_parts(self) -> None:
        try:
            for place, part in self._left:
                if self.errors:
                    return
                self.results[place] = self._function(part)
        except BaseException as error:  # noqa: BLE001 - `map` raises it in the calling thread
            self.errors.append(error)


class Workers:
    """Runs a function on many parts with `threads` threads, the calling one among them.

    For functions that spend their time outside of the interpreter: in ONNX Runtime and in
    numpy, which release its lock. Not for calls of `map` within a part.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._runs: SimpleQueue[_Run[object, object]] = SimpleQueue()
        self._started = False

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """The results of all parts, in their order; raises the first error of a part."""
        helpers = min(self.threads, len(parts)) - 1
        if helpers < 1:
            return [function(part) for part in parts]
        self._start()
        run = _Run(function, parts)
        for _ in range(helpers):
            self._runs.put(run)  # type: ignore[arg-type]
        run.take_parts()
        for _ in range(helpers):
            run.done.get()
        if run.errors:
            raise run.errors[0]
        return [run.results[place] for place in range(len(parts))]

    def split(self, count: int, limit: int) -> list[slice]:
        """`count` items in parts of at most `limit`, the same number of parts for each thread."""
        parts = -(-count // limit)
        parts = min(count, -(-parts // self.threads) * self.threads)
        edges = [count * part // parts for part in range(parts + 1)]
        return [slice(begin, end) for begin, end in itertools.pairwise(edges)]

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for _ in range(self.threads - 1):
                threading.Thread(target=self._work, name="facectl-vision", daemon=True).start()

    def _work(self) -> None:
        while True:
            run = self._runs.get()
            run.take_parts()
            run.done.put(None)
            # Its parts and results would stay in memory until the next run.
            del run
