"""The inputs of an image, and its tag: a hash of all of them.

The inputs come from the installed packages and the installed model, so
an installed wheel and a clone deploy the same image.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import facectl
import lambda_src
from facectl.container_images.build import Parts
from facectl.container_images.packages import compiler
from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from lambda_src.vision.store import DETECTION, MANIFEST, RECOGNITION, Model

Architecture = Literal["x86_64", "arm64"]
Builder = Literal["direct", "docker"]
NETWORKS = {DETECTION_FUNCTION: DETECTION, RECOGNITION_FUNCTION: RECOGNITION}
PLATFORMS: dict[Architecture, str] = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
# As images name them.
IMAGE_ARCHITECTURES: dict[Architecture, str] = {"x86_64": "amd64", "arm64": "arm64"}
# Lambda's limit for an uncompressed image (Lambda Developer Guide, quotas).
LARGEST = 10 * 1024**3
_BLOCK = 1 << 20
_BASE = re.compile(r"^ARG BASE_IMAGE=(\S+)$", re.MULTILINE)
_TAG_DIGITS = 16


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build; None keeps the Dockerfile's default.

    `builder`: `direct` needs no Docker engine. It builds on the base image of `base_digest`,
    whose Python is `base_python`, as `3.12`.
    """

    architecture: Architecture = "x86_64"
    base_image: str | None = None
    package_index: str | None = None
    builder: Builder = "direct"
    base_digest: str = ""
    base_python: str = ""

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments of a Docker build that were chosen."""
        chosen = {"BASE_IMAGE": self.base_image, "PIP_INDEX_URL": self.package_index}
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def compiled(self) -> bool:
        """Whether this computer has the Python that byte code for the image needs."""
        return self.builder == "docker" or compiler(self.base_python) is not None

    @property
    def words(self) -> tuple[str, ...]:
        """What an image depends on, apart from its files."""
        if self.builder == "docker":
            return (self.architecture, self.base_image or "")
        compiled = "compiled" if self.compiled else ""
        return ("direct", self.architecture, self.base_digest, self.base_python, compiled)


@dataclass(frozen=True)
class Recipe:
    """The inputs of the image of one function."""

    function: str
    model: Model
    options: BuildOptions

    @cached_property
    def tag(self) -> str:
        """The first 16 hexadecimal digits of the sha256 of the names and bytes of all inputs.

        The package index is not part of it: the requirements pin the packages' hashes.
        """
        digest = hashlib.sha256()
        for word in self.options.words:
            digest.update(f"{word}\0".encode())
        for name, file in self.files():
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        return digest.hexdigest()[:_TAG_DIGITS]

    @property
    def base_image(self) -> str:
        """The base image: the chosen one, or the Dockerfile's default."""
        return self.options.base_image or default_base(self.function)

    @property
    def parts(self) -> Parts:
        """The inputs of a direct build."""
        files = dict(self.files())
        code, model = (
            {f"{place}/{name}": file for name, file in files.items() if name.startswith(start)}
            for place, start in (("/var/task", "lambda_src/"), ("/opt/facectl", "model/"))
        )
        return Parts(
            code={**code, "/opt/facectl/entrypoint.sh": files["entrypoint.sh"]},
            model=model,
            requirements=files["requirements.txt"],
            prune=files["prune.py"],
            handler=f"lambda_src.{self.function.removeprefix('face-')}.handler",
            package_index=self.options.package_index,
        )

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file of the build: its path in a build context, and its source."""
        folder = dockerfiles()
        if self.options.builder == "docker":
            yield "Dockerfile", folder / f"{self.function}.Dockerfile"
        yield "requirements.txt", folder / f"{self.function}.requirements.txt"
        yield "prune.py", folder / "prune.py"
        yield "entrypoint.sh", folder / "entrypoint.sh"
        sources = Path(lambda_src.__file__).parent
        for file in sorted(sources.rglob("*.py")):
            yield f"lambda_src/{file.relative_to(sources).as_posix()}", file
        for name in (MANIFEST, *NETWORKS[self.function]):
            yield f"model/{name}", self.model.file(name)

    def write(self, folder: Path) -> None:
        """Copy the build context of Docker to `folder`, with fixed modes and times."""
        for name, source in self.files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            # The function runs as another user than the build.
            target.chmod(0o644)
            # Layers contain modification times; fixed ones make layers reproducible.
            os.utime(target, (0, 0))
        for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            place.chmod(0o755)
            os.utime(place, (0, 0))


def default_base(function: str) -> str:
    """The base image that the function's Dockerfile names."""
    found = _BASE.search((dockerfiles() / f"{function}.Dockerfile").read_text())
    return found.group(1) if found else ""


def dockerfiles() -> Path:
    """The folder of the Dockerfiles: inside the package in a wheel, beside it in a clone."""
    package = Path(facectl.__file__).parent
    for folder in (package / "dockerfiles", package.parent / "dockerfiles"):
        if folder.is_dir():
            return folder
    raise InputError(
        f"This installation has no Dockerfiles in {package}", hint="pip install facectl"
    )
