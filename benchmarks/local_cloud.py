"""A local cloud of a benchmark's own, and the CPU time of each of its processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from facectl import paths
from facectl.naming import FUNCTIONS

ROOT = Path(__file__).parents[1]
WARMUP = 10


class Cloud:
    """A local cloud below a temporary folder; downloads are kept between runs."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self) -> None:
        paths.cache_dir().mkdir(parents=True, exist_ok=True)
        (self.home / "cache").symlink_to(paths.cache_dir())
        self.facectl("local", "up", "--port", random.randrange(20_000, 32_000))
        self.process = psutil.Process(self.json("local", "status")["pid"])

    def stop(self) -> None:
        """Stop it, also if the command that does so fails."""
        self.facectl("local", "down", "--forget", check=False)
        process = getattr(self, "process", None)
        if process is not None and process.is_running():
            for each in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.Error):
                    each.terminate()

    def build(self, *options: object) -> None:
        self.facectl("models", "build", *options)

    def deploy(self, detection_limit: int, *, timeout: int, options: Sequence[object] = ()) -> None:
        self.facectl(
            "deploy", "--asu-id", "bench", "--target", "local", "--timeout", timeout,
            "--reserved-concurrency", detection_limit, *options,
        )  # fmt: skip

    def facectl(self, *arguments: object, check: bool = True) -> str:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "FACECTL_"))
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("facectl"), *map(str, arguments)],
            env={**environment, "FACECTL_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise SystemExit(f"facectl {' '.join(map(str, arguments))}:\n{done.stderr}")
        return done.stdout

    def json(self, *arguments: object, check: bool = True) -> Any:
        return json.loads(self.facectl(*arguments, "--json", check=check))

    def workers(self, function: str) -> list[psutil.Process]:
        return [
            process
            for process in self.process.children(recursive=True)
            if _function(process) == function
        ]

    def bench(self, video: Path, arguments: Sequence[object]) -> Run:
        """Run `facectl bench` and account for the CPU time of every process."""
        before = self._cpu()
        report = self.json(
            "bench", video, "--max-side", 640, "--purge", "--warmup", WARMUP,
            "--timeout", 240, "--target-mean", 900, *arguments, check=False,
        )  # fmt: skip
        return Run(report, self._cpu().minus(before))

    def _cpu(self) -> Cpu:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        by_function: dict[str, float] = dict.fromkeys([*FUNCTIONS, ""], 0.0)
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                by_function[_function(process)] += used(process)
        system = psutil.cpu_times()
        return Cpu(
            at=time.monotonic(),
            client=children.ru_utime + children.ru_stime,
            platform=used(self.process),
            functions=sum(by_function.values()),
            detection=by_function[FUNCTIONS[0]],
            recognition=by_function[FUNCTIONS[1]],
            machine=sum(system) - system.idle - system.iowait - system.guest - system.guest_nice,
        )


@dataclass(frozen=True)
class Cpu:
    """CPU seconds by process, of the whole machine, and the time of the reading.

    `functions`: of all workers, `detection` and `recognition` among them.
    """

    at: float
    client: float
    platform: float
    functions: float
    detection: float
    recognition: float
    machine: float

    def minus(self, other: Cpu) -> Cpu:
        return Cpu(
            self.at - other.at,
            self.client - other.client,
            self.platform - other.platform,
            self.functions - other.functions,
            self.detection - other.detection,
            self.recognition - other.recognition,
            self.machine - other.machine,
        )

    @property
    def other(self) -> float:
        """Cores that other processes used."""
        own = self.client + self.platform + self.functions
        return max(0.0, (self.machine - own) / self.at)


@dataclass(frozen=True)
class Run:
    """The report of a run, and the CPU time during it."""

    report: dict[str, Any]
    cpu: Cpu

    @property
    def frames(self) -> int:
        return len(self.report["requests"]) + WARMUP


def used(process: psutil.Process) -> float:
    """The CPU seconds of a process until now."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _function(process: psutil.Process) -> str:
    """The function that a worker executes, empty if the process is no worker."""
    with contextlib.suppress(psutil.Error):
        return str(process.environ().get("AWS_LAMBDA_FUNCTION_NAME", ""))
    return ""
