"""Compares facectl's vision with facenet-pytorch: same pictures, weights and thread count.

    make bench-vision
    make bench-vision ONLY=embedding
    python benchmarks/vision.py --repeat 15 --out vision.json

Each implementation runs in its own process and they alternate, so other load on
the machine affects both. The report has medians and ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from facectl import paths
from facectl.models import builder, portrait, reference, sources
from lambda_src.contract import CroppedFace, FaceMessage, FrameRequest
from lambda_src.vision.crops import encode_crops
from lambda_src.vision.store import PRECISIONS

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT.parent / "shared" / "samples"
WORKER = Path(__file__).with_name("vision_worker.py")
PICTURES = {"640x360": (640, 360), "1920x1080": (1920, 1080)}
PICTURE_JOBS = {f"picture-{name}": name for name in (*PICTURES, "six faces")}
# The project's targets as ratios: required, and desired.
TARGETS = {
    ("640x360", 1): (3.0, 6.0),
    ("1920x1080", 1): (3.0, 6.0),
    ("six faces", 1): (3.0, 6.0),
    ("embedding, batch 1", 1): (2.0, 2.5),
    ("embedding, batch 8", 2): (1.8, 2.5),
    ("embedding int8, batch 1", 1): (6.0, 7.0),
    ("embedding int8, batch 8", 2): (4.5, 5.0),
    ("cold start, detection", 1): (4.0, 6.0),
    ("cold start, recognition", 1): (4.0, 6.0),
}
MEMORY_TARGET = (450, 300)
# The job of a worker and its row. Each precision is compared with the same original.
EMBEDDINGS = {
    "embed-1": "embedding, batch 1",
    "embed-8": "embedding, batch 8",
    "embed-int8-1": "embedding int8, batch 1",
    "embed-int8-8": "embedding int8, batch 8",
}
console = Console(width=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=11, help="measurements of each side")
    parser.add_argument("--cold", type=int, default=7, help="cold starts of each side")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", choices=["embedding"], help="measure only these rows")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-vision.json")
    options = parser.parse_args()
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder, stub_cloud() as endpoint:
        prepare(Path(folder))
        environment = worker_environment(Path(folder), endpoint)
        rows, stages = [], []
        for threads in options.threads:
            jobs = EMBEDDINGS if options.only else {**PICTURE_JOBS, **EMBEDDINGS}
            found, where = warm(Path(folder), environment, threads, options.repeat, jobs)
            rows += found
            stages += where
        if options.only is None:
            rows += cold_starts(Path(folder), environment, options.cold)
    report = {
        "machine": machine(),
        "load": {"before": load_before, "after": os.getloadavg()},
        "repeat": options.repeat,
        "results": rows,
        "stages_ms": stages,
    }
    show(report)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2))
    console.print(f"Written to {options.out}", soft_wrap=True)


def prepare(folder: Path) -> None:
    """Write the model, weights, pictures, crops and the functions' events to a folder."""
    import torch

    (folder / "home").mkdir()
    # Downloads are kept between runs; models are built for this one.
    paths.cache_dir().mkdir(parents=True, exist_ok=True)
    (folder / "home" / "cache").symlink_to(paths.cache_dir())
    os.environ["FACECTL_HOME"] = str(folder / "home")
    # int8 of synthetic weights is refused, so the weights must be trained ones.
    with console.status("Building models with the weights of casia-webface"):
        for precision in PRECISIONS:
            model = builder.build(sources.CASIA_WEBFACE, precision=precision)
            (folder / f"model-{precision}").symlink_to(model.path)
        tensors = reference.tensors(sources.read(sources.CASIA_WEBFACE).state)
        # The classifier of published weights, which no embedding depends on.
        kept = {name: value for name, value in tensors.items() if "logits" not in name}
        torch.save(kept, folder / "weights.pt")
    for name, picture in pictures().items():
        np.save(folder / f"picture-{name}.npy", picture)
        Image.fromarray(picture).save(folder / f"picture-{name}.jpg", quality=90)
    crops = portrait.variants("facenet", 8, 1)
    np.save(folder / "crops.npy", crops)
    cold = (folder / "picture-640x360.jpg").read_bytes()
    (folder / "cold.jpg").write_bytes(cold)
    request = FrameRequest("bench", "cold.jpg", cold).serialise().decode()
    (folder / "detection.json").write_text(json.dumps({"body": request}))
    file = encode_crops(list(crops[:1]), "facenet", max_total_bytes=10**6)[0]
    face = CroppedFace((0.0, 0.0, 9.0, 9.0), 1.0, file)
    record = {
        "messageId": "m",
        "receiptHandle": "r",
        "body": FaceMessage("bench", "cold.jpg", model.space, (face,)).serialise(),
        "attributes": {
            "SentTimestamp": str(int(time.time() * 1e3)),
            "ApproximateReceiveCount": "1",
        },
    }
    (folder / "recognition.json").write_text(json.dumps({"Records": [record]}))


def pictures() -> dict[str, np.ndarray]:
    """Return a frame of the sample video and the six faces; without them, portrait scenes."""
    scene = sample_frame()
    found = {
        name: np.asarray(Image.fromarray(scene).resize(size, Image.Resampling.BOX))
        for name, size in PICTURES.items()
    }
    six = SAMPLES / "six-faces.jpg"
    found["six faces"] = (
        np.asarray(Image.open(six).convert("RGB")) if six.exists() else pasted(1200, 630, 6)
    )
    return found


def sample_frame() -> np.ndarray:
    import cv2

    capture = cv2.VideoCapture(str(SAMPLES / "faces-1080p.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 30)
    there, frame = capture.read()
    capture.release()
    return np.ascontiguousarray(frame[:, :, ::-1]) if there else pasted(1920, 1080, 4)


def pasted(width: int, height: int, count: int) -> np.ndarray:
    scene = Image.new("RGB", (width, height), (110, 120, 130))
    side = width // count
    face = Image.fromarray(portrait.portrait()).resize((side, side))
    for place in range(count):
        scene.paste(face, (place * side, (height - side) // 2))
    return np.asarray(scene)


def worker_environment(folder: Path, endpoint: str) -> dict[str, str]:
    shim = find_spec("torchvision") is not None and not torchvision_imports()
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FACECTL_MODEL_DIR": str(folder / "model-int8"),
        "FACECTL_REQUEST_QUEUE_URL": f"{endpoint}/queue",
        "FACECTL_RESPONSE_QUEUE_URL": f"{endpoint}/queue",
        "FACECTL_GALLERY_BUCKET": "gallery",
        "FACECTL_THREADS": "1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": endpoint,
        **({"TORCHVISION_SHIM": "1"} if shim else {}),
    }


def torchvision_imports() -> bool:
    done = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, check=False
    )
    return done.returncode == 0


class Cloud(BaseHTTPRequestHandler):
    """A stub of AWS that accepts every message and has no gallery."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b'{"MessageId": "m", "Successful": [{"Id": "0"}]}')

    def do_GET(self) -> None:
        self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Ignore the request."""


@contextmanager
def stub_cloud() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


class Side:
    """A worker process that answers one command per line."""

    def __init__(self, whose: str, threads: int, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), whose, str(threads), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"a worker died: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, job: str) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(job + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def warm(
    folder: Path, environment: dict[str, str], threads: int, repeat: int, jobs: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sides = {whose: Side(whose, threads, folder, environment) for whose in ("ours", "theirs")}
    rows, stages = [], []
    for job, what in jobs.items():
        with console.status(f"{what}, threads: {threads}"):
            answers: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
            for _ in range(repeat + 2):
                for whose, side in sides.items():
                    answers[whose].append(side.run(job))
            rows.append(row(what, threads, {whose: a[2:] for whose, a in answers.items()}))
            # With several threads the stages overlap.
            if job.startswith("picture-") and threads == 1:
                parts = [sides["ours"].run(f"stages-{job}")["stages"] for _ in range(repeat)]
                stages.append({"what": what, "threads": threads, **medians(parts)})
    peaks = {whose: side.run("embed-8")["peak_mb"] for whose, side in sides.items()}
    rows.append({"what": "memory of both in one process", "threads": threads, "peak_mb": peaks})
    for side in sides.values():
        side.close()
    return rows, stages


def medians(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(p[name] for p in parts), 2) for name in parts[0]}


def row(what: str, threads: int, answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    found: dict[str, Any] = {"what": what, "threads": threads}
    for kind in ("wall_ms", "cpu_ms"):
        if kind not in answers["ours"][0]:
            continue
        mine, theirs = (
            statistics.median(answer[kind] for answer in answers[whose])
            for whose in ("ours", "theirs")
        )
        found |= {f"ours_{kind}": mine, f"theirs_{kind}": theirs, f"{kind}_ratio": theirs / mine}
    return found


def cold_starts(folder: Path, environment: dict[str, str], repeat: int) -> list[dict[str, Any]]:
    rows = []
    for function in ("detection", "recognition"):
        answers: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        with console.status(f"cold starts of {function}"):
            for _ in range(repeat + 1):
                for whose, found in answers.items():
                    found.append(cold_start(whose, function, folder, environment))
        kept = {whose: found[1:] for whose, found in answers.items()}
        peaks = {whose: max(a["peak_mb"] for a in found) for whose, found in kept.items()}
        rows.append(row(f"cold start, {function}", 1, kept) | {"peak_mb": peaks})
    return rows


def cold_start(
    whose: str, function: str, folder: Path, environment: dict[str, str]
) -> dict[str, Any]:
    start = time.perf_counter()
    command = [sys.executable, str(WORKER), whose, "1", str(folder), function]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        last = ""
        for line in process.stdout:
            if line.startswith('{"peak_mb"'):
                last = line
                wall = time.perf_counter() - start
        if not last:
            raise SystemExit(process.stderr.read() if process.stderr else "no answer")
        process.wait()
    return {"wall_ms": wall * 1e3, **json.loads(last)}


def machine() -> dict[str, Any]:
    name = ""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    versions = {}
    for package in ("onnxruntime", "numpy", "torch", "facenet_pytorch"):
        versions[package] = version(package)
    return {"cpu": name, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def show(report: dict[str, Any]) -> None:
    table = Table("what", "threads", "ours ms", "facenet ms", "ratio", "by CPU time", "target")
    for found in report["results"]:
        if "wall_ms_ratio" not in found:
            continue
        target = TARGETS.get((found["what"], found["threads"]))
        table.add_row(
            found["what"],
            str(found["threads"]),
            f"{found['ours_wall_ms']:.1f}",
            f"{found['theirs_wall_ms']:.1f}",
            f"{found['wall_ms_ratio']:.2f}",
            f"{found['cpu_ms_ratio']:.2f}" if "cpu_ms_ratio" in found else "",
            "" if target is None else f"{target[0]:g}, reach {target[1]:g}",
        )
    console.print(table)
    for found in report["stages_ms"]:
        parts = {k: v for k, v in found.items() if k not in {"what", "threads"}}
        line = ", ".join(f"{name} {ms}" for name, ms in parts.items())
        console.print(f"{found['what']}, threads {found['threads']}: {line} ms", soft_wrap=True)
    for found in report["results"]:
        if "peak_mb" in found and "cold" in found["what"]:
            peaks = found["peak_mb"]
            console.print(
                f"{found['what']}: peak memory {peaks['ours']:.0f} MB, "
                f"facenet-pytorch {peaks['theirs']:.0f} MB "
                f"(target {MEMORY_TARGET[0]}, reach {MEMORY_TARGET[1]})"
            )
    before, after = report["load"]["before"][0], report["load"]["after"][0]
    console.print(f"Load average before {before:.1f}, after {after:.1f}", soft_wrap=True)


if __name__ == "__main__":
    main()
