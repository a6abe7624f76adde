"""Bounds the memory of a process that runs for months on a small computer."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt(3).
_ARENA_MAX = -8
_MMAP_THRESHOLD = -3
# Of a larger block, what is freed goes back to the system at once.
_LARGE = 256 * 1024


def one_heap() -> None:
    """Let all threads of the process share one heap, where the C library is glibc.

    Otherwise each thread keeps what it has freed for itself: with the detector, the reader of
    a camera, the outbox and the reader of answers that was 40 MB after twenty minutes. Threads
    that run already keep their own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE)
