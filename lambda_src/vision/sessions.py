"""The one module that knows the inference runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Network:
    """One network file with one input and one output, ready to run on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads burn the time that another worker on the same cores needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch."""
        output: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        return output

    def in_batches(self, inputs: NDArray[Any], size: int) -> NDArray[np.float32]:
        """Run any number of inputs, `size` at a time."""
        parts = [self(inputs[first : first + size]) for first in range(0, len(inputs), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
