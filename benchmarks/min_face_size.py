"""What `--min-face-size` saves and misses, and how well small faces are recognised.

    facectl models build --weights casia-webface
    python benchmarks/min_face_size.py
    python benchmarks/min_face_size.py --video clip.mp4 --people photographs/ --json

The first table: CPU time of detection and the faces found in the frames of a video at two
sizes, for several smallest faces. "Missed" are faces of at least that width that are found
with 20 pixels and not with the larger size. The second: photographs of people, each scaled
until its face has a number of pixels and compared with all other photographs as they are; the
folder has one folder of photographs for each person. A name is accepted above the cosine that
one in a thousand pairs of different people exceeds; "cosine" is that to the same face in full
size. CPU time is comparable on a machine with
other work.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from facectl.gallery.photographs import photographs
from facectl.models import store
from facectl.stream.frames import scaled
from lambda_src.vision.boxes import Face, iou
from lambda_src.vision.crops import crop_face
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.image import decode_image

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT.parent / "shared" / "samples"
SIZES = (20, 30, 40, 60, 80)
SIDES = (640, 1920)
FACE_WIDTHS = (15, 20, 30, 40, 60, 80, 120)
SURE = 0.9
EVERY = 5
SAME = 0.4
FALSE_ACCEPTS = 0.001
console = Console(width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, default=SAMPLES / "faces-1080p.mp4")
    parser.add_argument("--people", type=Path, default=SAMPLES / "people")
    parser.add_argument("--every", type=int, default=EVERY, help="every n-th frame of the video")
    parser.add_argument("--model", help="as `facectl models list` has it; default the installed")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    for path in (options.video, options.people):
        if not path.exists():
            raise SystemExit(f"{path} is missing")
    model = store.find(options.model)
    detector, embedder = Detector(model, threads=1), Embedder(model, threads=1)
    frames = list(frames_of(options.video, options.every))
    report = {
        "weights": model.weights,
        "detection": [row for side in SIDES for row in detection(detector, frames, side)],
        "recognition": recognition(detector, embedder, options.people, model.preprocessing),
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def frames_of(video: Path, every: int) -> Iterator[np.ndarray]:
    """Every n-th frame of a video, (H, W, 3) uint8, BGR."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    number = 0
    while capture.grab():
        if number % every == 0:
            there, frame = capture.retrieve()
            if there:
                yield frame
        number += 1
    capture.release()


def detection(detector: Detector, frames: list[np.ndarray], side: int) -> list[dict[str, Any]]:
    """A row for each smallest face, for frames of at most this longest side."""
    pictures = [np.ascontiguousarray(scaled(frame, side)[:, :, ::-1]) for frame in frames]
    everything = [sure(detector.detect(picture, SIZES[0])) for picture in pictures]
    rows = []
    for size in SIZES:
        detector.detect(pictures[0], size)
        took, found, expected, missed = [], 0, 0, 0
        for picture, known in zip(pictures, everything, strict=True):
            start = time.thread_time()
            faces = detector.detect(picture, size)
            took.append(time.thread_time() - start)
            found += len(sure(faces))
            large = [face for face in known if width(face) >= size]
            expected += len(large)
            missed += sum(not has(face, faces) for face in large)
        rows.append(
            {"longest_side": side, "min_face_size": size, "cpu_ms": float(np.mean(took)) * 1e3,
             "faces": found, "large_enough": expected, "missed": missed}
        )  # fmt: skip
    return rows


def recognition(
    detector: Detector, embedder: Embedder, people: Path, preprocessing: str
) -> list[dict[str, Any]]:
    """For each width of a face: how many are detected, and named by the nearest other face."""
    names, pictures, widths, full = [], [], [], []
    for file in photographs(people):
        picture = decode_image(file.read_bytes(), max_bytes=64_000_000, max_pixels=100_000_000)
        faces = detector.detect(picture)
        if faces:
            names.append(file.parent.name)
            pictures.append(picture)
            widths.append(width(faces[0]))
            full.append(embedder.embed([crop_face(picture, faces[0], preprocessing)])[0])
    known, owner = np.stack(full), np.array(names)
    similarity = known @ known.T
    # The cosine that FALSE_ACCEPTS of the pairs of different people exceed.
    threshold = np.quantile(similarity[owner[:, None] != owner], 1 - FALSE_ACCEPTS)
    rows = []
    for target in FACE_WIDTHS:
        taken = detected = named = accepted = 0
        cosines = []
        for place, picture in enumerate(pictures):
            if widths[place] < target:
                continue
            taken += 1
            small = np.ascontiguousarray(
                cv2.resize(picture, None, fx=target / widths[place], fy=target / widths[place],
                           interpolation=cv2.INTER_AREA)
            )  # fmt: skip
            if min(small.shape[:2]) < SIZES[0] or not (faces := detector.detect(small, 12)):
                continue
            detected += 1
            probe = embedder.embed([crop_face(small, faces[0], preprocessing)])[0]
            similar = known @ probe
            cosines.append(float(similar[place]))
            similar[place] = -1
            right = owner[int(np.argmax(similar))] == owner[place]
            named += right
            accepted += right and similar.max() >= threshold
        rows.append(
            {"face_px": target, "photographs": taken, "detected": detected, "named": int(named),
             "accepted": int(accepted), "cosine_to_full_size": _mean(cosines)}
        )  # fmt: skip
    return rows


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def sure(faces: list[Face]) -> list[Face]:
    return [face for face in faces if face.probability >= SURE]


def width(face: Face) -> float:
    return face.box[2] - face.box[0]


def has(face: Face, faces: list[Face]) -> bool:
    boxes = np.array([other.box for other in faces], np.float32).reshape(-1, 4)
    return bool((iou(np.array([face.box], np.float32), boxes) > SAME).any())


def show(report: dict[str, Any]) -> None:
    table = Table("longest side", "min face size", "CPU ms", "faces", "missed")
    for row in report["detection"]:
        table.add_row(
            str(row["longest_side"]), str(row["min_face_size"]), f"{row['cpu_ms']:.1f}",
            str(row["faces"]), f"{row['missed']} of {row['large_enough']}",
        )  # fmt: skip
    console.print(table)
    table = Table("width of the face, px", "detected", "named rightly", "and accepted", "cosine")
    for row in report["recognition"]:
        cosine = row["cosine_to_full_size"]
        table.add_row(
            str(row["face_px"]), f"{row['detected']} of {row['photographs']}",
            f"{row['named']} of {row['photographs']}",
            f"{row['accepted']} of {row['photographs']}", "" if cosine is None else f"{cosine:.2f}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
