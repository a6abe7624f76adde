"""A model folder with a real, very small embedder, for tests that need no learned weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from facectl.models import portrait, store
from facectl.models.graph import PIXELS, STANDARDISED, Graph, folded
from lambda_src.gallery.matching import DIMENSIONS
from lambda_src.vision.embedder import REFERENCE_SIDE, reference
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, EMBEDDER_WEIGHTS, NETWORKS, Model, crop_size

SPACE = "abc/facenet"


def write_embedder(folder: Path, seed: int) -> None:
    """Two convolutions with random weights, written as the real embedder is."""
    random = np.random.default_rng(seed)
    graph = Graph("embedder")
    x = graph.add("Cast", [PIXELS], to=TensorProto.FLOAT)
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    first, bias = folded(
        random.normal(0, 0.2, (32, 3, 8, 8)), random.normal(0, 2, 32), *STANDARDISED
    )
    x = graph.add("Relu", [graph.convolution(x, first, bias, stride=8)])
    second = random.normal(0, 0.1, (64, 32, 3, 3))
    x = graph.add("Relu", [graph.convolution(x, second, np.zeros(64), stride=4)])
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    x = graph.dense(x, random.normal(0, 0.1, (DIMENSIONS, 64)), np.zeros(DIMENSIONS))
    x = graph.add("Div", [x, graph.add("ReduceL2", [x], axes=[1], keepdims=1)])
    size = crop_size("facenet")
    onnx.save(
        graph.build(
            (PIXELS, TensorProto.UINT8, ("N", size, size, 3)),
            (x, "embeddings", ("N", DIMENSIONS)),
        ),
        folder / EMBEDDER,
        save_as_external_data=True,
        location=EMBEDDER_WEIGHTS,
        size_threshold=64,
    )


def install(name: str, *, seed: int = 1, reference_seed: int = 1, **facts: object) -> Model:
    """Install a model; `reference_seed`: the seed of the embedder that its manifest describes."""
    with store.installation(name) as folder:
        write_embedder(folder, reference_seed)
        face = portrait.small_face(REFERENCE_SIDE)
        described = asdict(reference(Network(folder / EMBEDDER, threads=1), "facenet", face))
        for file in (EMBEDDER, EMBEDDER_WEIGHTS):
            (folder / file).unlink()
        write_embedder(folder, seed)
        for file in NETWORKS:
            if not (folder / file).exists():
                (folder / file).write_text(file)
        base = {
            "space": SPACE,
            "preprocessing": "facenet",
            "synthetic": False,
            "weights": "vggface2",
            "reference": described,
        }
        store.write_manifest(folder, {**base, **facts})
    return store.find(name)
