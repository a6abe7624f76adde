"""Records facenet-pytorch's outputs in facectl/models/recorded.npz.

    python benchmarks/record_references.py

Needs the `models` extra. The embedder's weights are those of `casia-webface`, as
`facectl models build` gets them.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from facectl import paths
from facectl.models import canonical, recorded, reference, sources, spaces


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, network in reference.cascade(sources.mtcnn()).items():
        arrays[name] = reference.cascade_outputs(network, recorded.cascade_inputs(name))
    for name, digest in spaces.RECORDED.items():
        state = sources.read(name).state
        if canonical.digest(canonical.canonical(state)) != digest:
            raise SystemExit(f"{name}: other weights than those that spaces.RECORDED names")
        network = reference.embedder(state)
        for preprocessing in ("facenet", "cse546"):
            arrays[f"{name}/{preprocessing}"] = reference.embeddings(
                network, recorded.embedder_inputs(preprocessing), preprocessing
            )
    with paths.atomic_write(recorded.FILE, mode=0o644) as stream:
        np.savez_compressed(stream, **arrays)
    print(
        f"{recorded.FILE}: {', '.join(arrays)}, by facenet-pytorch {version('facenet-pytorch')} "
        f"with torch {version('torch')}"
    )


if __name__ == "__main__":
    main()
