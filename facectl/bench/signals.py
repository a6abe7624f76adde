"""What was deployed for a measurement is removed whatever happens, except to the computer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Make a request to end (SIGTERM, SIGHUP) a KeyboardInterrupt while the block runs."""
    with _handling(_interrupt, "SIGTERM", "SIGHUP"):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal that can be ignored end the block."""
    with _handling(signal.SIG_IGN, "SIGINT", "SIGTERM", "SIGHUP"):
        yield


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handling(handler: signal._HANDLER, *names: str) -> Iterator[None]:
    # Signals reach the main thread alone, and not every system has all of them.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
