"""The tool as a stranger runs it: the installed command, with a home of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


@dataclass(frozen=True)
class Facectl:
    """The command, with a home and nothing of the user's own AWS settings."""

    home: Path
    timeout: float = 180

    def __call__(
        self, *arguments: object, expect: int | None = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [Path(sys.executable).with_name("facectl"), *map(str, arguments)],
            env=self.environment(),
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, (
                f"facectl {' '.join(map(str, arguments))}: exit {done.returncode}\n"
                f"{done.stdout}\n{done.stderr}"
            )
        return done

    def environment(self) -> dict[str, str]:
        """What the command runs with."""
        own = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AWS_", "FACECTL_"))
        }
        return {**own, "FACECTL_HOME": str(self.home), "COLUMNS": "200"}

    def json(self, *arguments: object, expect: int = 0) -> Any:
        """What the command prints with --json."""
        return json.loads(self(*arguments, "--json", expect=expect).stdout)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def sample(name: str) -> Path:
    """A shared sample; the test is skipped where it is absent."""
    file = SAMPLES / name
    if not file.exists():
        pytest.skip(f"the sample {name} is not on this computer")
    return file
