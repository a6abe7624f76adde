"""The command with a Docker engine; without one the tests say why they are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Facectl, free_port, link_models

from facectl.demo import clip

# Made by tools/container-lab.sh; elsewhere FACECTL_BASE_IMAGE names any Python image.
LAB_IMAGE = "facectl-base:bookworm"
_BUILD_SECONDS = 900


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = shutil.which("docker") or "docker"
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="session")
def base_image() -> str:
    """An image to build on, where an engine answers; else the test is skipped."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command: run tools/container-lab.sh of the shared folder")
    answer = docker("info", "--format", "{{.ServerVersion}}")
    if answer.returncode != 0:
        pytest.skip(f"no Docker engine answers: {answer.stderr.strip()}")
    image = os.environ.get("FACECTL_BASE_IMAGE", LAB_IMAGE)
    if docker("image", "inspect", image).returncode != 0:
        pytest.skip(f"the engine has no image {image}, and FACECTL_BASE_IMAGE names no other")
    return image


@pytest.fixture(scope="session")
def facectl(
    tmp_path_factory: pytest.TempPathFactory, base_image: str, models_folder: Path
) -> Iterator[Facectl]:
    """The command with a synthetic model and a local cloud, on which nothing is deployed yet."""
    home = link_models(models_folder, tmp_path_factory.mktemp("home"))
    command = Facectl(home, timeout=_BUILD_SECONDS)
    command("local", "up", "--port", free_port())
    try:
        yield command
    finally:
        command("local", "down", expect=None)


@pytest.fixture(scope="session")
def base_archive(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Path:
    """The base image as a file, since no registry has it."""
    file = tmp_path_factory.mktemp("base") / "base.tar"
    done = docker("save", "--output", str(file), base_image)
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture(scope="session")
def deployed(facectl: Facectl, base_archive: Path) -> Facectl:
    """The pipeline as container functions, built without the Docker engine that runs them."""
    facectl(
        "deploy", "--asu-id", "box", "--target", "local",
        "--package", "image", "--base-image", base_archive,
    )  # fmt: skip
    return facectl


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's portrait as a JPEG file."""
    return clip.portrait_file(tmp_path_factory.mktemp("portrait"))
