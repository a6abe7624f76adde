"""A deployment that tracks each frame, and the faults that can be injected into it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from driver import Facectl
from proxy import Proxy

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.models.portrait import portrait
from lambda_src.contract import CroppedFace, FaceMessage
from lambda_src.vision.crops import encode_crops

# The long form has the numbers of frames and the lengths of faults that figures are made of.
LONG = os.environ.get("FACECTL_FAULTS") == "long"
ASU_ID = "faults"
# Of the functions, in seconds: a killed worker's messages are back after six of them, and
# an answer is sent again for about as long. Deployments have 60 unless told otherwise.
# A tenth of it is enough for any batch here: a busy machine does not end one by itself.
TIMEOUT = 6
VISIBILITY = 6 * TIMEOUT
# Seconds after which something counts as hung; no measure of how long it may take.
HUNG = 1500.0
# Frames in their order are of these, and each shows who it is by its very pixels:
# an answer that belongs to another frame is seen at once.
PEOPLE = ("Ann", "Bob", "Cy", "No-Face")


def looks() -> dict[str, np.ndarray]:
    """A picture (220, 220, 3) uint8 BGR for each of PEOPLE."""
    face = cv2.cvtColor(portrait()[10:230, 115:335], cv2.COLOR_RGB2BGR)
    gradient = np.linspace(0, 255, 220, dtype=np.uint8)
    return {
        "Ann": face,
        "Bob": np.ascontiguousarray(face[:, ::-1]),
        "Cy": cv2.convertScaleAbs(cv2.resize(face[20:, 10:], (220, 220)), alpha=0.6, beta=40),
        "No-Face": np.repeat(np.tile(gradient, (220, 1))[:, :, None], 3, axis=2),
    }


@dataclass
class Outcome:
    """A row of the table. `held` seconds is the longest that a frame waited for its answer."""

    fault: str
    frames: int
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    errors: int = 0
    dropped: int = 0
    held: float = 0.0
    lasted: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def recovered(self) -> float:
        """Seconds from the fault's end to the last answer that it held up."""
        return max(0.0, self.held - self.lasted)


def judge(fault: str, frames: int, files: list[Path], *, lasted: float = 0.0) -> Outcome:
    """What the results of one or several clients come to; each sent `frames` of PEOPLE."""
    outcome = Outcome(fault, frames * len(files), lasted=lasted)
    for file in files:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        times = Counter(line["frame"] for line in lines)
        outcome.doubled += sum(count - 1 for count in times.values())
        final = {line["frame"]: line for line in lines if line["status"] == "answered"}
        outcome.lost += frames - len(final)
        for line in lines:
            if line["status"] != "answered":
                outcome.problems.append(f"frame {line['frame']}: {line['status']}")
        for number, line in final.items():
            expected = PEOPLE[number % len(PEOPLE)]
            assert line["name"] == f"{number:05}.png"
            if line["result"] == "Error":
                outcome.errors += 1
            elif line["result"] != expected:
                outcome.wrong += 1
                outcome.problems.append(f"frame {number}: {line['result']}, not {expected}")
            outcome.held = max(outcome.held, line.get("latency", 0.0))
    return outcome


class FaultInjector:
    """The command, the cloud's processes, and a proxy between the functions and the queues."""

    def __init__(self, facectl: Facectl, folder: Path) -> None:
        self.facectl = facectl
        self.folder = folder
        self.status = facectl.json("local", "status")
        self.space = facectl.json("context")["space"]
        self.cloud = psutil.Process(self.status["pid"])
        self.clients = Clients(
            Deployment(ASU_ID, "local", endpoint_url=self.status["endpoint_url"])
        )
        self.proxy = Proxy(int(self.status["endpoint_url"].rpartition(":")[2]))
        self._pictures = {
            name: cv2.imencode(".png", picture)[1].tobytes() for name, picture in looks().items()
        }
        for function in ("face-detection", "face-recognition"):
            self._lead_through_proxy(function)

    def _lead_through_proxy(self, function: str) -> None:
        functions = self.clients.functions
        known = functions.get_function_configuration(FunctionName=function)["Environment"]
        functions.update_function_configuration(
            FunctionName=function,
            Environment={"Variables": {**known["Variables"], "AWS_ENDPOINT_URL": self.proxy.url}},
        )

    def frames(self, count: int, name: str = "frames") -> Path:
        """A folder of so many images, who they show in the order of PEOPLE."""
        folder = self.folder / f"{name}-{count}"
        if not folder.exists():
            folder.mkdir()
            for number in range(count):
                picture = self._pictures[PEOPLE[number % len(PEOPLE)]]
                (folder / f"{number:05}.png").write_bytes(picture)
        return folder

    def picture(self, name: str) -> bytes:
        return self._pictures[name]

    def start(self, folder: Path, out: Path, *options: object) -> subprocess.Popen[str]:
        """A client of its own process."""
        return subprocess.Popen(
            [
                Path(sys.executable).with_name("facectl"),
                *("send", folder, "--out", out, "--json", "--rows", "0", *map(str, options)),
            ],
            env=self.facectl.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self, client: subprocess.Popen[str], *, within: float = HUNG) -> dict[str, Any]:
        """What a client says at its end."""
        stdout, stderr = client.communicate(timeout=within)
        assert client.returncode == 0, f"exit {client.returncode}\n{stdout}\n{stderr}"
        report: dict[str, Any] = json.loads(stdout)
        return report

    def workers(self, function: str) -> list[psutil.Process]:
        found = []
        for process in self.cloud.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                    found.append(process)
        return found

    def busy(
        self, function: str, *, instead: Callable[[], bool] = lambda: False
    ) -> psutil.Process | None:
        """A worker of the function that computes just now, or None once `instead` is true."""
        deadline = time.monotonic() + HUNG
        # What each worker had used at the last few looks: a busy machine gives it little at once.
        looks: dict[psutil.Process, deque[float]] = {}
        while time.monotonic() < deadline and not instead():
            for process in self.workers(function):
                used = looks.setdefault(process, deque(maxlen=20))
                used.append(_cpu(process))
                if len(used) > 1 and used[-1] > used[-2] and used[-1] - used[0] >= 0.02:
                    return process
            time.sleep(0.01)
        if instead():
            return None
        raise AssertionError(f"no worker of {function} computes")

    def message(self, request_id: str, person: str, *, faces: int = 1) -> str:
        """A message that face-detection could have sent: the person fills each crop."""
        crop = cv2.cvtColor(cv2.resize(looks()[person], (160, 160)), cv2.COLOR_BGR2RGB)
        [file] = encode_crops([crop], "facenet", max_total_bytes=200_000 // faces)
        face = CroppedFace((0.0, 0.0, 9.0, 9.0), 0.99, file)
        return FaceMessage(request_id, "f", self.space, (face,) * faces).serialise()

    def queue(self, name: str) -> str:
        return self.clients.sqs.get_queue_url(QueueName=f"{ASU_ID}-{name}")["QueueUrl"]

    def answers(self, count: int, *, within: float = HUNG) -> list[dict[str, Any]]:
        """So many messages of the response queue, taken off it."""
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + within
        while len(found) < count and time.monotonic() < deadline:
            for message in self.clients.sqs.receive_message(
                QueueUrl=self.queue("resp-queue"), MaxNumberOfMessages=10, WaitTimeSeconds=1
            ).get("Messages", []):
                found.append(json.loads(message["Body"]))
                self.clients.sqs.delete_message(
                    QueueUrl=self.queue("resp-queue"), ReceiptHandle=message["ReceiptHandle"]
                )
        return found

    def settle(self) -> None:
        """Wait until nothing of the last fault is under way, and empty the queues."""

        wait_for(lambda: not self._messages("req-queue"))
        if self._messages("resp-queue") or self._messages("req-dlq"):
            self.facectl("purge", "--yes")

    def _messages(self, queue: str) -> int:
        counts = self.clients.sqs.get_queue_attributes(
            QueueUrl=self.queue(queue), AttributeNames=["All"]
        )["Attributes"]
        return sum(int(n) for name, n in counts.items() if name.startswith("ApproximateNumber"))


def wait_for(condition: Callable[[], bool], seconds: float = HUNG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to pass in time")
        time.sleep(0.1)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
