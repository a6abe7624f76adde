"""A worker of the vision benchmark: runs either facectl's vision or facenet-pytorch.

    python vision_worker.py WHOSE THREADS FOLDER            answers commands on stdin
    python vision_worker.py WHOSE THREADS FOLDER FUNCTION   one cold start of a function

FOLDER holds the inputs that vision.py wrote. A command is the name of a
measurement; the answer is its wall and CPU time in ms.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

# Set before the heavy imports, which read them when they create threads.
WHOSE, THREADS, FOLDER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.environ["OMP_NUM_THREADS"] = str(THREADS)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])


def say(**facts: object) -> None:
    import json

    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def peak_mb() -> float:
    from pathlib import Path

    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024


def theirs() -> dict[str, Any]:
    """facenet-pytorch as its README uses it, on the same pictures, crops and weights."""
    from pathlib import Path

    import numpy as np

    if os.environ.get("TORCHVISION_SHIM"):
        from facectl.models.reference import make_torchvision_importable

        make_torchvision_importable()
    import torch
    from facenet_pytorch import MTCNN, InceptionResnetV1

    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    mtcnn = MTCNN(keep_all=True)
    network = InceptionResnetV1(pretrained=None).eval()
    network.load_state_dict(torch.load(Path(FOLDER) / "weights.pt", weights_only=True))
    jobs: dict[str, Any] = {}
    for file in sorted(Path(FOLDER).glob("picture-*.npy")):
        picture = np.load(file)
        jobs[file.stem] = lambda picture=picture: mtcnn.detect(picture, landmarks=True)
    crops = torch.from_numpy(np.load(Path(FOLDER) / "crops.npy")).permute(0, 3, 1, 2)
    for count in (1, 8):
        # Includes pixel standardisation, as facectl's measurement does.
        some = crops[:count].contiguous()
        for job in (f"embed-{count}", f"embed-int8-{count}"):
            jobs[job] = lambda some=some: network((some.float() - 127.5) / 128.0)
    return jobs


def ours() -> dict[str, Any]:
    from pathlib import Path

    import numpy as np

    from lambda_src.vision.detector import Detector
    from lambda_src.vision.embedder import Embedder
    from lambda_src.vision.store import Model

    model = Model.open(Path(FOLDER) / "model-fp32")
    detector = Detector(model, threads=THREADS)
    embedder = Embedder(model, threads=THREADS)
    int8 = Embedder(Model.open(Path(FOLDER) / "model-int8"), threads=THREADS)
    jobs: dict[str, Any] = {}
    for file in sorted(Path(FOLDER).glob("picture-*.npy")):
        picture = np.load(file)
        jobs[file.stem] = lambda picture=picture: detector.detect(picture)
        jobs[f"stages-{file.stem}"] = lambda file=file, picture=picture: stages(
            detector, embedder, file.with_suffix(".jpg"), picture
        )
    crops = np.load(Path(FOLDER) / "crops.npy")
    for count in (1, 8):
        some = list(crops[:count])
        jobs[f"embed-{count}"] = lambda some=some: embedder.embed(some)
        jobs[f"embed-int8-{count}"] = lambda some=some: int8.embed(some)
    return jobs


def stages(detector: Any, embedder: Any, file: Any, picture: Any) -> dict[str, float]:
    """Return the time of each stage of one picture in ms, from its file to its embeddings."""
    from lambda_src.vision import boxes, crops, image
    from lambda_src.vision.pyramid import AreaImage

    took: dict[str, float] = {}

    def timed(name: str, function: Any) -> Any:
        def wrapper(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                took[name] = took.get(name, 0.0) + (time.perf_counter() - start) * 1e3

        return wrapper

    watched = [
        (AreaImage, "__init__", "pyramid"),
        (AreaImage, "resized", "pyramid"),
        (AreaImage, "windows", "candidates' pixels"),
        (boxes, "nms", "NMS"),
        (boxes, "nms_by_smaller", "NMS"),
        (detector, "_pnet", "P-Net"),
        (detector, "_rnet", "R-Net"),
        (detector, "_onet", "O-Net"),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    for owner, name, stage in watched:
        setattr(owner, name, timed(stage, getattr(owner, name)))
    start = time.perf_counter()
    try:
        faces = detector.detect(picture)
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
    took["other"] = (time.perf_counter() - start) * 1e3 - sum(took.values())
    data = file.read_bytes()
    timed("decode", image.decode_image)(data, max_bytes=10**8, max_pixels=10**8)
    cut = timed("crop", lambda: [crops.crop_face(picture, face, "facenet") for face in faces])()
    if cut:
        timed("embed", embedder.embed)(cut)
    return took


def cold(function: str) -> None:
    """Measure a cold start: from the start of the process to the first answer."""
    if WHOSE == "ours":
        import importlib
        import json
        from pathlib import Path

        module = importlib.import_module(f"lambda_src.{function}")
        module.handler(json.loads((Path(FOLDER) / f"{function}.json").read_text()), None)
    else:
        from io import BytesIO
        from pathlib import Path

        import numpy as np

        if os.environ.get("TORCHVISION_SHIM"):
            from facectl.models.reference import make_torchvision_importable

            make_torchvision_importable()
        import torch
        from facenet_pytorch import MTCNN, InceptionResnetV1
        from PIL import Image

        torch.set_num_threads(THREADS)
        if function == "detection":
            picture = Image.open(BytesIO((Path(FOLDER) / "cold.jpg").read_bytes()))
            MTCNN(keep_all=True)(picture)
        else:
            network = InceptionResnetV1(pretrained=None).eval()
            network.load_state_dict(torch.load(Path(FOLDER) / "weights.pt", weights_only=True))
            crop = torch.from_numpy(np.load(Path(FOLDER) / "crops.npy")[:1]).permute(0, 3, 1, 2)
            with torch.inference_mode():
                network((crop.float() - 127.5) / 128.0)
    say(peak_mb=peak_mb())


def main() -> None:
    if len(sys.argv) > 4:
        cold(sys.argv[4])
        return
    jobs = ours() if WHOSE == "ours" else theirs()
    say(ready=True)
    for line in sys.stdin:
        job = jobs[line.strip()]
        wall, cpu = time.perf_counter(), time.process_time()
        found = job()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stage_times = found if isinstance(found, dict) else None
        say(wall_ms=wall * 1e3, cpu_ms=cpu * 1e3, stages=stage_times, peak_mb=peak_mb())


if __name__ == "__main__":
    main()
