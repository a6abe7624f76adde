"""Docker build against direct build: time from nothing and after one changed line, bytes, size.

Run by `make bench-images`. Both builders build the image of face-recognition on the same
base image and send it to a registry on this computer, through a proxy that counts bytes. It
needs a Docker engine that has the base image, and Debian's docker-registry. Every build is
a separate process with the sources of a checkout of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FUNCTION = "face-recognition"
BUILDERS = ("docker", "direct")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="facectl-base:bookworm", help="an image of the engine")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    rows = measure(options.base)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{'builder':8} {'build':16} {'seconds':>8} {'CPU s':>7} {'MB sent':>8} {'MB added':>9}")
    for row in rows:
        print(
            f"{row['builder']:8} {row['build']:16} {row['seconds']:8.1f} {row['cpu_s']:7.1f} "
            f"{row['sent'] / 1e6:8.1f} {row['added'] / 1e6:9.1f}"
        )


def measure(base: str) -> list[dict[str, Any]]:
    """One row per builder and build."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from registry_server import CuttingProxy, running_registry

    from facectl.models import store

    model = store.find()
    rows = []
    with tempfile.TemporaryDirectory(prefix="facectl-bench-") as name:
        folder = Path(name)
        archive = folder / "base.tar"
        docker = shutil.which("docker") or "docker"
        subprocess.run([docker, "save", "--output", archive, base], check=True)
        for builder in BUILDERS:
            place = folder / builder
            checkout = copy_sources(place)
            with running_registry(place) as address:
                proxy = CuttingProxy(address)
                asked = {
                    "builder": builder,
                    "to": proxy.address,
                    "base": str(archive) if builder == "direct" else base,
                    "model": [str(model.path), model.space, model.preprocessing, model.weights],
                }
                for build in ("from nothing", "one line changed", "nothing changed"):
                    if build == "one line changed":
                        file = checkout / "lambda_src" / "recognition.py"
                        file.write_text(file.read_text() + "CHANGED = True\n")
                    before = proxy.received
                    row = run({**asked, "fresh": build == "from nothing"}, checkout)
                    row.update(builder=builder, build=build, sent=proxy.received - before)
                    rows.append(row)
                proxy.close()
    return rows


def copy_sources(place: Path) -> Path:
    """A copy of the sources, to change a line of."""
    checkout = place / "checkout"
    for part in ("facectl", "lambda_src", "dockerfiles"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, checkout / part, ignore=ignored)
    return checkout


def run(asked: dict[str, Any], checkout: Path) -> dict[str, Any]:
    """What a build in a process of its own measured."""
    done = subprocess.run(
        [sys.executable, __file__, "--worker", json.dumps(asked)],
        env={
            **os.environ,
            "PYTHONPATH": str(checkout),
            "FACECTL_HOME": str(checkout.parent / "home"),
            # As in the Dockerfiles: every wheel is downloaded.
            "PIP_NO_CACHE_DIR": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def work(asked: dict[str, Any]) -> None:
    """Build and send one image; prints seconds, CPU seconds of this process, and the size."""
    from facectl.deploy.recipe import BuildOptions, Recipe
    from lambda_src.vision.store import Model

    path, space, preprocessing, weights = asked["model"]
    model = Model(Path(path), space, preprocessing, weights == "synthetic", weights)
    recipe = Recipe(
        FUNCTION, model, BuildOptions(builder=asked["builder"], base_image=asked["base"])
    )
    started = time.perf_counter()
    added = {"docker": with_docker, "direct": directly}[asked["builder"]](recipe, asked)
    seconds = time.perf_counter() - started
    spent = sum(os.times()[:4])
    print(json.dumps({"seconds": seconds, "cpu_s": spent, "added": added}))


def with_docker(recipe: Any, asked: dict[str, Any]) -> int:
    """Build with the engine, whose own CPU time is not counted, and push."""
    from facectl.deploy.docker import Docker
    from facectl.deploy.recipe import PLATFORMS

    docker = Docker.find()
    uri = f"{asked['to']}/{FUNCTION}:{recipe.tag}"
    with tempfile.TemporaryDirectory() as folder:
        recipe.write(Path(folder))
        if asked["fresh"]:
            # The engine keeps the layers of other builds of the same requirements.
            with (Path(folder) / "requirements.txt").open("a") as file:
                file.write(f"# {time.time()}\n")
        platform = PLATFORMS[recipe.options.architecture]
        docker.build(Path(folder), uri, recipe.options.arguments, platform, lambda _line: None)
    docker.push(uri, ("AWS", "none"), lambda _line: None)
    return (docker.size(uri) or 0) - (docker.size(asked["base"]) or 0)


def directly(recipe: Any, asked: dict[str, Any]) -> int:
    """Build in this process and send."""
    from facectl.container_images.registries import Registry
    from facectl.container_images.uploads import Target, send_image
    from facectl.deploy.direct import built

    image = built(recipe)
    target = Target(Registry(asked["to"], plain=True), FUNCTION)
    send_image(target, recipe.tag, image.manifest, image.blobs)
    return int(image.added)


if __name__ == "__main__":
    main()
