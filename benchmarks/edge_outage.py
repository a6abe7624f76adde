"""Cuts the network of `facectl send --detect edge` for a while, on a local cloud of its own.

    python benchmarks/edge_outage.py
    python benchmarks/edge_outage.py --minutes 60 --people PEOPLE --models MODELS --log FILE

A camera (MJPEG over HTTP, a loop of known frames) is sent by the command of the systemd unit. A
proxy before the local cloud refuses connections for the first third of the outage, accepts them and
never answers in the second, and refuses them again in the last. At 35/60 of the outage the client
is killed (SIGKILL) and started again as systemd would.

Prints the client's memory, the size of the disk queue and its messages while the outage lasts, and
at the end whether each detected frame has exactly one answer, with the name that the same frame had
before the outage. Exit code 1 where one does not.

PEOPLE holds `enrolled/NAME/*.jpg` and `unseen/NAME/*.jpg`; without it the frames are of the demo's
clip, and the weights synthetic. MODELS is the folder of models of a facectl home.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from cut_network import Proxy
from edge_camera import Camera, loop_of
from local_cloud import ROOT, Cloud
from rich.console import Console

TIMEOUT = 60
# Of systemd's unit.
RESTART_SECONDS = 10
KILLED_AT = 35 / 60
# Megabytes of memory that the client may have.
MOST_MEMORY = 200
console = Console(width=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2, help="length of the outage")
    parser.add_argument("--fps", type=float, default=2)
    parser.add_argument("--people", type=Path, help="folder with enrolled/ and unseen/")
    parser.add_argument("--models", type=Path, help="folder of models; default: synthetic weights")
    parser.add_argument("--log", type=Path, help="JSON lines of what was sampled")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        cloud = Cloud(home)
        frames, labels = loop_of(home, options.people)
        camera = Camera(frames, options.fps)
        try:
            prepare(cloud, options)
            outage = Outage(cloud, camera, labels, options)
            problems = outage.run()
        finally:
            camera.stop()
            cloud.stop()
    for problem in problems:
        console.print(f"[red]{problem}[/red]", highlight=False)
    raise SystemExit(1 if problems else 0)


def prepare(cloud: Cloud, options: argparse.Namespace) -> None:
    if options.models is None:
        cloud.start()
        cloud.build("--weights", "synthetic")
    else:
        shutil.copytree(options.models, cloud.home / "data" / "models")
        cloud.start()
    cloud.deploy(2, timeout=TIMEOUT)
    if options.people is not None:
        cloud.facectl("gallery", "enroll", options.people / "enrolled", "--largest")


@dataclass(frozen=True)
class Start:
    """One process of the client: its results and its report."""

    number: int
    process: subprocess.Popen[bytes]
    results: Path
    report: Path
    told: Path


@dataclass
class Ledger:
    """What became of each frame, by its request id."""

    answers: dict[str, list[str]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)

    def position(self, request_id: str) -> int | None:
        """The position of a frame in its stream, None where it is not known.

        A process that was killed has written no outcome for what was on its disk. Frames are
        skipped only at a start, so its position follows from that of the last frame before it
        whose outcome was written.
        """
        run, _, text = request_id.rpartition("-")
        number = int(text)
        for earlier in range(number, -1, -1):
            known = self.positions.get(f"{run}-{earlier:06d}")
            if known is not None:
                return known + number - earlier
        return None


class Outage:
    """One measurement."""

    def __init__(
        self, cloud: Cloud, camera: Camera, labels: list[str], options: argparse.Namespace
    ) -> None:
        self.cloud = cloud
        self.camera = camera
        self.labels = labels
        self.options = options
        self.proxy = Proxy(cloud.json("local", "status")["port"])
        self.starts: list[Start] = []
        self.samples: list[dict[str, Any]] = []
        self.queued_at_kill: set[str] = set()
        self.began = time.monotonic()
        self.down = False

    def run(self) -> list[str]:
        """Measure; returns what is wrong."""
        seconds = self.options.minutes * 60
        every = min(30.0, seconds / 20)
        expected = self.reference()
        self.start()
        self.watch(max(15.0, min(60.0, seconds / 10)), every, "before")
        self.down = True
        for number, mode in enumerate(("refused", "hanging", "refused")):
            self.proxy.set(mode)
            third = seconds / 3
            kill = seconds * KILLED_AT - number * third
            if 0 <= kill < third:
                self.watch(kill, every, mode)
                self.kill()
                self.watch(third - kill, every, mode)
            else:
                self.watch(third, every, mode)
        self.proxy.set("up")
        self.down = False
        restored = time.monotonic()
        while self.messages()[0] or time.monotonic() - restored < 30:
            self.watch(min(5.0, every), every, "restored")
            if time.monotonic() - restored > 600:
                break
        console.print(f"the disk queue was empty {time.monotonic() - restored:.0f} s later")
        self.camera.stop()
        self.wait_for_end()
        return self.check(expected)

    def reference(self) -> dict[int, str]:
        """The result of each frame of the loop, without an outage."""
        file = self.cloud.home / "reference.jsonl"
        self.cloud.facectl(
            "send", self.camera.url, "--detect", "edge", "--out", file, "--rows", 0,
            "--max-frames", len(self.camera.frames) + 20, check=False,
        )  # fmt: skip
        found = {
            position(line) % len(self.camera.frames): line["result"] for line in lines_of(file)
        }
        right = sum(
            bool(label) and label in found.get(n, "") for n, label in enumerate(self.labels)
        )
        console.print(
            f"reference: {len(found)} of {len(self.camera.frames)} frames, "
            f"{len(set(found.values()))} results, {right} of {sum(map(bool, self.labels))} labels"
        )
        return found

    def start(self) -> None:
        """Start the client with the unit's command."""
        home = self.cloud.home
        cameras = home / "cameras.yaml"
        cameras.write_text(f"cameras: [{{name: door, source: '{self.camera.url}'}}]\n")
        number = len(self.starts)
        files = [home / f"client-{number}.{end}" for end in ("jsonl", "json", "log")]
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FACECTL_"))
        }
        with files[1].open("wb") as report, files[2].open("wb") as told:
            process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("facectl"), "send", "--cameras", cameras,
                    "--detect", "edge", "--rows", "0", "--out", files[0], "--json",
                    "--reconnect", "10",
                ],
                env={
                    **environment, "FACECTL_HOME": str(home), "PYTHONPATH": str(ROOT),
                    "FACECTL_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}",
                },
                stdout=report, stderr=told,
            )  # fmt: skip
        self.starts.append(Start(number, process, *files))

    def kill(self) -> None:
        last = self.starts[-1]
        last.process.send_signal(signal.SIGKILL)
        last.process.wait()
        self.queued_at_kill = set(self.queued())
        console.print(f"killed at {self.elapsed():.0f} s: {len(self.queued_at_kill)} crops queued")
        time.sleep(RESTART_SECONDS)
        self.start()

    def watch(self, seconds: float, every: float, phase: str) -> None:
        """Sample for some time; a client that has ended is started again."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(every, left))
            last = self.starts[-1]
            code = last.process.poll()
            if code is not None and not self.camera.stopped.is_set():
                tail = last.told.read_text().strip().splitlines()[-1:]
                console.print(f"{self.elapsed():.0f} s: the client ended with {code}: {tail}")
                time.sleep(RESTART_SECONDS)
                self.start()
            self.sample(phase)

    def sample(self, phase: str) -> None:
        messages, size = self.messages()
        memory = 0.0
        cpu = 0.0
        try:
            process = psutil.Process(self.starts[-1].process.pid)
            memory = process.memory_info().rss / 1e6
            times = process.cpu_times()
            cpu = times.user + times.system
        except psutil.Error:
            pass
        found = {
            "s": round(self.elapsed()),
            "phase": phase,
            "start": self.starts[-1].number,
            "rss_mb": round(memory, 1),
            "cpu_s": round(cpu, 1),
            "disk_mb": round(self.disk() / 1e6, 2),
            "queued": messages,
            "queued_mb": round(size / 1e6, 2),
            "results": sum(1 for start in self.starts for _ in lines_of(start.results)),
        }
        self.samples.append(found)
        console.print(json.dumps(found), highlight=False, soft_wrap=True)
        if self.options.log is not None:
            with self.options.log.open("a") as stream:
                stream.write(json.dumps(found) + "\n")

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def disk(self) -> int:
        """The bytes of the disk queue's files."""
        folder = self.cloud.home / "state" / "edge"
        return sum(path.stat().st_size for path in folder.glob("*") if path.exists())

    def messages(self) -> tuple[int, int]:
        """The messages in the disk queue and their bytes."""
        rows = self._rows("SELECT count(*), coalesce(sum(bytes), 0) FROM message")
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def queued(self) -> list[str]:
        return [row[0] for row in self._rows("SELECT request_id FROM message")]

    def _rows(self, query: str) -> list[Any]:
        """The rows of a copy: the client has locked the file."""
        found: list[Any] = []
        for path in (self.cloud.home / "state" / "edge").glob("*.db"):
            for _ in range(5):
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        for suffix in ("", "-wal"):
                            part = path.with_name(path.name + suffix)
                            if part.exists():
                                shutil.copy(part, Path(folder) / ("copy.db" + suffix))
                        connection = sqlite3.connect(Path(folder) / "copy.db")
                        try:
                            found += connection.execute(query).fetchall()
                        finally:
                            connection.close()
                        break
                    except (sqlite3.Error, OSError):
                        # It was written while it was copied.
                        time.sleep(0.2)
        return found

    def wait_for_end(self) -> None:
        """Wait until the client has received its answers and ends, because the camera is gone."""
        try:
            self.starts[-1].process.wait(300)
        except subprocess.TimeoutExpired:
            self.starts[-1].process.send_signal(signal.SIGINT)
            self.starts[-1].process.wait(60)
        for start in self.starts:
            console.print(f"client {start.number}: exit code {start.process.returncode}")
            for line in start.told.read_text().splitlines()[-12:]:
                console.print(f"    {line}", highlight=False, markup=False)

    def check(self, expected: dict[int, str]) -> list[str]:
        """What is wrong with the answers, and a summary on stdout."""
        ledger = Ledger()
        for start in self.starts:
            for line in lines_of(start.results):
                if "name" in line:
                    ledger.positions[line["request_id"]] = position(line)
                ledger.statuses[line["status"]] += 1
                if line["result"] is not None:
                    ledger.answers.setdefault(line["request_id"], []).append(line["result"])
        left = [
            json.loads(line)
            for line in self.cloud.facectl("tail", "--json", "--timeout", 8).splitlines()
        ]
        for message in left:
            ledger.answers.setdefault(message["request_id"], []).append(message["result"])
        return self.problems(ledger, expected, len(left))

    def problems(self, ledger: Ledger, expected: dict[int, str], left: int) -> list[str]:
        answers = ledger.answers
        found = [
            f"{request_id}: on disk at the kill, and without an answer"
            for request_id in self.queued_at_kill - answers.keys()
        ]
        found += [
            f"{request_id}: it has an outcome, and no answer"
            for request_id in ledger.positions.keys() - answers.keys()
        ]
        for request_id, results in answers.items():
            if len(results) > 1:
                found.append(f"{request_id}: {len(results)} answers: {results}")
        compared = 0
        for request_id, results in answers.items():
            number = int(request_id.rpartition("-")[2])
            place = ledger.position(request_id)
            loop = None if place is None else place % len(self.camera.frames)
            if loop is None or loop not in expected:
                continue
            compared += 1
            if results[0] != expected[loop]:
                found.append(
                    f"{request_id} (frame {number}): {results[0]} instead of {expected[loop]}"
                )
        gaps = self.gaps(answers)
        memory = max((s["rss_mb"] for s in self.samples), default=math.nan)
        disk = max((s["disk_mb"] for s in self.samples), default=math.nan)
        waiting, _ = self.messages()
        console.print(
            f"{len(answers)} frames answered ({dict(ledger.statuses)}), {left} of them on the "
            f"response queue, {compared} compared with the reference; missing numbers: {gaps}; "
            f"{len(self.starts)} starts\n"
            f"memory at most {memory:.0f} MB, disk queue at most {disk:.0f} MB, at the end "
            f"{waiting} messages and {self.disk() / 1e6:.2f} MB"
        )
        if memory > MOST_MEMORY:
            found.append(f"memory {memory:.0f} MB")
        if waiting:
            found.append(f"{waiting} messages are still in the disk queue")
        return found

    def gaps(self, answers: dict[str, list[str]]) -> dict[str, int]:
        """The frame numbers without an answer, below the highest of their run."""
        runs: dict[str, set[int]] = {}
        for request_id in answers:
            run, _, number = request_id.rpartition("-")
            runs.setdefault(run, set()).add(int(number))
        return {run[:8]: max(numbers) + 1 - len(numbers) for run, numbers in runs.items()}


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of results."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().split("\n")[:-1] if line]


def position(line: dict[str, Any]) -> int:
    """The position of a frame in its stream: `live-000017.jpg`."""
    return int(Path(line["name"]).stem.rpartition("-")[2])


if __name__ == "__main__":
    main()
