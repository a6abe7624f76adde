"""The gallery at 10 k, 100 k and 1 M people: load, memory, search, recall against exact search.

Run by `make bench-gallery`. Each gallery is published to a folder instead of the
bucket, in facectl's format. A separate process with one thread loads and
searches it with the code of face-recognition.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.gallery.parts import EXACT_ROWS
from lambda_src.gallery.matching import DIMENSIONS
from lambda_src.gallery.parts import FLOAT32, INT8, Manifest, PartRef, write_part

Floats = NDArray[np.float32]

SIZES = (10_000, 100_000, 1_000_000)
QUERIES = 1000
_BLOCK = 50_000
_ROWS_PER_PART = {FLOAT32: 512, INT8: 8192}
# `even`: uniform directions, so no two people look similar. `faces`: distributed as
# 90 real vggface2 embeddings, about 30 effective dimensions around a mean of
# length 0.38; many people look similar, so it is harder.
KINDS = ("even", "faces")
_MEAN = 0.41
# Cosine of a query with its person's reference; beyond 0.5 the default threshold accepts it.
COSINES = (0.7, 0.8, 0.9)


def embeddings(count: int, kind: str, seed: int) -> Floats:
    """Generate L2-normalised embeddings of this kind, (count, 512) float32."""
    random = np.random.default_rng(seed)
    if kind == "faces":
        shape = np.random.default_rng(99)
        rotation = np.linalg.qr(shape.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
        rotation = rotation.astype(np.float32)
        power = (np.arange(DIMENSIONS) + 14.0) ** -2.2
        spread = np.sqrt(power / power.sum() * DIMENSIONS).astype(np.float32)
        centre = rotation[0] * np.float32(np.sqrt(DIMENSIONS) * _MEAN)
    found = np.empty((count, DIMENSIONS), np.float32)
    for start in range(0, count, _BLOCK):
        rows = random.standard_normal((min(_BLOCK, count - start), DIMENSIONS), np.float32)
        if kind == "faces":
            rows = (rows * spread) @ rotation + centre
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found[start : start + len(rows)] = rows
    return found


def queries(rows: Floats, kind: str, cosine: float) -> tuple[NDArray[np.int64], Floats]:
    """Return the true row of each query, and queries at this cosine to their references."""
    owners = np.random.default_rng(1).integers(0, len(rows), QUERIES)
    noise = embeddings(QUERIES, kind, seed=2)
    own = rows[owners]
    noise -= np.einsum("ij,ij->i", noise, own)[:, None] * own
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return owners, (cosine * own + np.sqrt(1 - cosine**2) * noise).astype(np.float32)


def exact(rows: Floats, probes: Floats) -> NDArray[np.int64]:
    """Return the nearest row of each probe by exhaustive float32 search."""
    best = np.full(len(probes), -2, np.float32)
    found = np.zeros(len(probes), np.int64)
    for start in range(0, len(rows), _BLOCK):
        cosines = probes @ rows[start : start + _BLOCK].T
        nearest = cosines.argmax(axis=1)
        value = cosines[np.arange(len(probes)), nearest]
        better = value > best
        best[better], found[better] = value[better], nearest[better] + start
    return found


def published(rows: Floats, folder: Path) -> Manifest:
    """Write the parts of a gallery with one photograph per person; return its manifest."""
    encoding = FLOAT32 if len(rows) <= EXACT_ROWS else INT8
    refs = []
    step = _ROWS_PER_PART[encoding]
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        names = [(f"person {start + index:07d}", 1) for index in range(len(block))]
        data = write_part(names, block, encoding)
        sha256 = hashlib.sha256(data).hexdigest()
        (folder / sha256).write_bytes(data)
        refs.append(PartRef(sha256, len(data), len(block)))
    return Manifest(
        "bench", 1, "now", "bench/facenet", True, 1.0, "euclidean", "best", len(rows), encoding,
        tuple(refs),
    )  # fmt: skip


def measure(size: int, kind: str) -> Iterator[dict[str, Any]]:
    """Measure one size and kind; yield a row per cosine of the queries."""
    rows = embeddings(size, kind, seed=0)
    with tempfile.TemporaryDirectory(prefix="bench-gallery-") as name:
        folder = Path(name)
        manifest = published(rows, folder)
        (folder / "manifest.json").write_bytes(manifest.serialise())
        asked = {}
        for cosine in COSINES:
            owners, probes = queries(rows, kind, cosine)
            asked[cosine] = (owners, exact(rows, probes))
            np.save(folder / f"probes-{cosine}.npy", probes)
        del rows
        worker = _worker(folder)
    for cosine, (owners, nearest) in asked.items():
        found = np.array(worker["answers"][str(cosine)])
        true = nearest == owners
        yield {
            "people": size,
            "kind": kind,
            "cosine": cosine,
            "encoding": manifest.encoding,
            "published_mb": round(sum(part.bytes for part in manifest.parts) / 1e6, 1),
            "load_s": round(worker["load_s"], 3),
            "resident_mb": round(worker["resident_mb"]),
            "anonymous_mb": round(worker["anonymous_mb"]),
            "search_p50_ms": round(float(np.percentile(worker["ms"][str(cosine)], 50)), 3),
            "search_p99_ms": round(float(np.percentile(worker["ms"][str(cosine)], 99)), 3),
            # CPU time, which other load on the machine hardly changes.
            "search_cpu_p50_ms": round(float(np.percentile(worker["cpu_ms"][str(cosine)], 50)), 3),
            "recall_at_1": float(np.mean(found == nearest)),
            "recall_at_1_true": float(np.mean(found[true] == nearest[true]))
            if true.any()
            else None,
            "exact_finds_the_person": float(np.mean(true)),
        }


def _worker(folder: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("gallery_worker.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, default=Path("build/bench-gallery.json"))
    arguments = parser.parse_args()
    print(
        f"{'people':>9} {'kind':6} {'cosine':>6} {'load s':>7} {'RSS MB':>7} {'p50 ms':>7} "
        f"{'p99 ms':>7} {'CPU ms':>7} {'recall@1':>9} {'..true':>7} {'exact finds':>11}"
    )
    results = []
    for size in arguments.sizes:
        for kind in arguments.kinds:
            for row in measure(size, kind):
                results.append(row)
                true = row["recall_at_1_true"]
                print(
                    f"{size:>9,} {kind:6} {row['cosine']:>6} {row['load_s']:>7.2f} "
                    f"{row['resident_mb']:>7} {row['search_p50_ms']:>7.2f} "
                    f"{row['search_p99_ms']:>7.2f} {row['search_cpu_p50_ms']:>7.2f} "
                    f"{row['recall_at_1']:>9.4f} "
                    f"{'-' if true is None else format(true, '.4f'):>7} "
                    f"{row['exact_finds_the_person']:>11.3f}",
                    flush=True,
                )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "numpy": np.__version__}
    arguments.json.write_text(
        json.dumps({**machine, "queries": QUERIES, "results": results}, indent=2)
    )


if __name__ == "__main__":
    main()
