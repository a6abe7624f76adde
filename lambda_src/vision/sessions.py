"""Runs networks with ONNX Runtime; no other module of the functions imports it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Network:
    """A network with one input and one output, on the CPU.

    `threads` share each operation; a network of one thread may be called by several.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        self._session = _load(path, threads)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch."""
        output: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        return output

    def in_batches(self, inputs: NDArray[Any], size: int) -> NDArray[np.float32]:
        """Run any number of inputs in batches of `size`."""
        parts = [self(inputs[first : first + size]) for first in range(0, len(inputs), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _load(path: Path, threads: int) -> onnxruntime.InferenceSession:
    _share_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take CPU time from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@cache
def _share_memory() -> None:
    """Share one memory arena, which has a lock, between all sessions."""
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        ),
        None,
    )
