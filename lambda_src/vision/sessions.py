"""Runs networks with ONNX Runtime; no other module of the functions imports it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Shape = tuple[int, ...]

# The frames of one camera need about twelve shapes.
_MAX_SHAPES = 48


class Network:
    """A network with one input and one output, on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._session = self._load(None)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch."""
        return self._run(self._session, batch)

    def in_batches(self, inputs: NDArray[Any], size: int) -> NDArray[np.float32]:
        """Run any number of inputs in batches of `size`."""
        parts = [self(inputs[first : first + size]) for first in range(0, len(inputs), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(
        self, session: onnxruntime.InferenceSession, batch: NDArray[Any]
    ) -> NDArray[np.float32]:
        output: NDArray[np.float32] = session.run(None, {self._input: batch})[0]
        return output

    def _load(self, shape: Shape | None) -> onnxruntime.InferenceSession:
        _share_memory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads would take CPU time from other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        if shape is not None:
            names = self._session.get_inputs()[0].shape
            for name, length in zip(names, shape, strict=True):
                if isinstance(name, str):
                    options.add_free_dimension_override_by_name(name, length)
        return onnxruntime.InferenceSession(
            str(self._path), options, providers=["CPUExecutionProvider"]
        )


class ShapedNetwork(Network):
    """A network for inputs of few distinct shapes, with one session per repeated shape.

    ONNX Runtime fuses more operations for a fixed shape: P-Net takes a fifth less
    time. A session takes 2 ms to create, so only a repeated shape gets one.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        super().__init__(path, threads=threads)
        self._shapes: dict[Shape, onnxruntime.InferenceSession | None] = {}

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch."""
        shape = batch.shape
        known = shape in self._shapes
        # Removed and inserted again, so that the shapes are in the order of their last use.
        session = self._shapes.pop(shape, None)
        if known and session is None:
            session = self._load(shape)
        self._shapes[shape] = session
        if len(self._shapes) > _MAX_SHAPES:
            del self._shapes[next(iter(self._shapes))]
        return self._run(session or self._session, batch)


@cache
def _share_memory() -> None:
    """Share one memory arena between all sessions, which never run in parallel."""
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        ),
        None,
    )
