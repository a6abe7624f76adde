"""The layer of a function's packages: pinned wheels for its platform, without what it never loads.

pip does what it does in the Dockerfiles, for the platform of the base image instead of this
computer's: it verifies the hash of every wheel and unpacks it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from facectl.container_images.layers import Layer, cached, write_tar
from facectl.errors import CloudError, FacectlError, InputError

# Where the packages are in the image; PYTHONPATH has it.
PLACE = "/opt/python"
# Wheels for glibc 2.28, which every Python image of Debian, Ubuntu or Amazon Linux 2023 has.
# pip takes wheels of these platforms only.
_GLIBC = (28, 27, 26, 24, 17, 12, 5)
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_LAST_LINES = 6
_NO_WHEEL = re.compile(r"No matching distribution found for (\S+)")


def compiler(python: str) -> str | None:
    """An interpreter of this minor version on this computer; None if there is none.

    Byte code depends on the minor version alone, not on the processor.
    """
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{python}")
    return found if found is not None and _runs(found, python) else None


@functools.cache
def _runs(command: str, python: str) -> bool:
    """Whether the command is Python of that version; pyenv has commands that run nothing."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run(  # noqa: S603 - an interpreter in PATH
        [command, "-c", code], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == python


def packages_layer(
    requirements: Path, prune: Path, platform: tuple[str, str], index: str | None
) -> Layer:
    """The layer of pinned packages. `platform`: `amd64` or `arm64`, and Python as `3.12`.

    `prune` is the script that removes what a function never loads. Raises InputError for a
    wheel that does not exist or has another hash, CloudError.
    """
    compiled = compiler(platform[1])
    digest = hashlib.sha256("\0".join((*platform, str(compiled is not None))).encode())
    for file in (requirements, prune):
        digest.update(file.read_bytes())

    def write(stream: IO[bytes]) -> None:
        with TemporaryDirectory(prefix="facectl-packages-") as folder:
            root = Path(folder)
            _install(requirements, root, platform, index)
            _run([sys.executable, str(prune), str(root)], "removing what is not loaded")
            if compiled:
                compile_all(compiled, root)
            write_tar(stream, {f"{PLACE}/{name}": file for name, file in _files(root).items()})

    return cached(f"packages\0{digest.hexdigest()}", write)


def compile_all(python: str, folder: Path) -> None:
    """Write the byte code of every module below a folder, the same in each run."""
    # Unchecked, since a layer has no times. A set of constants is ordered by its hashes.
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "."]
    _run(command, "compiling the packages", cwd=folder, environment={"PYTHONHASHSEED": "0"})


def _files(root: Path) -> dict[str, Path]:
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _install(requirements: Path, root: Path, platform: tuple[str, str], index: str | None) -> None:
    architecture, python = platform
    machine = _MACHINES[architecture]
    names = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-input", "--no-compile", "--no-deps", "--only-binary", ":all:", "--require-hashes",
        "--implementation", "cp", "--python-version", python,
        *(f"--platform={name}" for name in (*names, f"manylinux2014_{machine}")),
        f"--target={root}", f"--requirement={requirements}",
        *([f"--index-url={index}"] if index else []),
    ]  # fmt: skip
    # The user's settings of pip may forbid --target.
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    _run(command, f"installing packages for Python {python} on {machine}", environment=settings)


def _run(
    command: list[str],
    doing: str,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    done = subprocess.run(  # noqa: S603 - our own commands, without a shell
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        raise _failure(doing, done.stderr or done.stdout)


def _failure(doing: str, said: str) -> FacectlError:
    last = "\n".join(said.strip().splitlines()[-_LAST_LINES:])
    if missing := _NO_WHEEL.search(said):
        return InputError(
            f"{doing}: there is no wheel of {missing.group(1)}",
            hint="--base-image, of another version of Python, or --package-index",
        )
    if "DO NOT MATCH THE HASHES" in said:
        return InputError(
            f"{doing}: a wheel has another content than the one that was tested:\n{last}",
            hint="pip cache purge, or another --package-index",
        )
    if "No space left" in said:
        return InputError(f"{doing}: the disk is full", hint="make room, or set TMPDIR")
    return CloudError(f"{doing} failed:\n{last}", hint="check the network, or --package-index")
