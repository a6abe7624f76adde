"""The tool as a stranger runs it: the installed command, a home of its own, a real local cloud."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from facectl.demo import clip

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
TIMEOUT = 180


@dataclass(frozen=True)
class Facectl:
    """The command, with a home and nothing of the user's own AWS settings."""

    home: Path

    def __call__(
        self, *arguments: object, expect: int | None = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AWS_", "FACECTL_"))
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("facectl"), *map(str, arguments)],
            env={**environment, "FACECTL_HOME": str(self.home), "COLUMNS": "200"},
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, (
                f"facectl {' '.join(map(str, arguments))}: exit {done.returncode}\n"
                f"{done.stdout}\n{done.stderr}"
            )
        return done

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


@pytest.fixture(scope="session")
def facectl(tmp_path_factory: pytest.TempPathFactory) -> Facectl:
    """The command with a synthetic model installed."""
    command = Facectl(tmp_path_factory.mktemp("home"))
    command("models", "build", "--weights", "synthetic")
    return command


@pytest.fixture(scope="session")
def deployed(facectl: Facectl) -> Iterator[Facectl]:
    """The command with a local cloud that runs and the pipeline deployed to it."""
    facectl("local", "up", "--port", free_port())
    try:
        facectl("deploy", "--asu-id", "e2e", "--target", "local")
        yield facectl
    finally:
        facectl("local", "down", expect=None)


@pytest.fixture(scope="session")
def portrait(facectl: Facectl) -> Path:
    """The demo's portrait as a JPEG file."""
    return clip.portrait_file(facectl.home)
