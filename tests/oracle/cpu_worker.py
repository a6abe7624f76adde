"""Prints what the functions' networks compute on this CPU; runs under qemu too.

    python cpu_worker.py CROPS.npy PICTURE.npy MODEL...

CROPS is (N, S, S, 3), PICTURE (H, W, 3), both uint8; MODEL are folders. Prints a JSON object:
`features` of the CPU, `boxes` of the faces found with the first model, and for each model
its `embeddings` and the message of `verify`, or null.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from lambda_src import cpu
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder, EmbedderMismatchError
from lambda_src.vision.store import Model


def main() -> None:
    crops, picture = (np.load(file) for file in sys.argv[1:3])
    models = [Model.open(Path(folder)) for folder in sys.argv[3:]]
    faces = Detector(models[0], threads=1).detect(picture)
    embedders = [Embedder(model, threads=1) for model in models]
    found = {
        "features": cpu.features(),
        "boxes": [face.box for face in faces],
        "embeddings": [embedder.embed(list(crops)).tolist() for embedder in embedders],
        "mismatches": [mismatch(embedder) for embedder in embedders],
    }
    sys.stdout.write(json.dumps(found) + "\n")


def mismatch(embedder: Embedder) -> str | None:
    try:
        embedder.verify()
    except EmbedderMismatchError as error:
        return str(error)
    return None


if __name__ == "__main__":
    main()
