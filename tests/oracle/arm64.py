"""An arm64 Python with the functions' packages, from Debian's and the package index's arm64 files.

It is unpacked into the tests' cache, not installed, and runs under `qemu-aarch64`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from driver import TEST_CACHE

_PACKAGES = ("numpy", "onnxruntime", "pillow")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_ARM64_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]*:arm64")
_UNNEEDED = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
# A Neoverse N1, as in AWS Graviton2. Without a file of its own the emulated process reads this
# computer's /proc/cpuinfo, and ONNX Runtime crashes on it.
CPU = "neoverse-n1"
_CPUINFO = """\
processor\t: 0
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


class MissingError(Exception):
    """Why this computer can't have an arm64 Python."""


def command() -> tuple[list[str], Path]:
    """The command that runs the arm64 Python, and the folder of its packages.

    Raises MissingError.
    """
    qemu = shutil.which("qemu-aarch64")
    if qemu is None:
        raise MissingError("qemu-aarch64 is not installed (Debian's qemu-user)")
    root = TEST_CACHE / ("arm64-" + "-".join(version(name) for name in _PACKAGES))
    if not root.exists():
        _unpack(root)
    (python,) = root.glob("usr/bin/python3.*[0-9]")
    return [qemu, "-cpu", CPU, "-L", str(root), str(python)], root / "packages"


def _unpack(root: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise MissingError("arm64 packages need apt-get and dpkg-deb")
    if "arm64" not in _run("dpkg", "--print-foreign-architectures").split():
        raise MissingError("arm64 packages need `dpkg --add-architecture arm64; apt-get update`")
    TEST_CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TEST_CACHE) as temporary:
        new = Path(temporary, "root")
        minor = _debian_packages(new, Path(temporary))
        _wheels(new / "packages", minor)
        for file, text in (("proc/cpuinfo", _CPUINFO), ("sys/devices/system/cpu/present", "0\n")):
            (new / file).parent.mkdir(parents=True, exist_ok=True)
            (new / file).write_text(text)
        shutil.copy(new / "sys/devices/system/cpu/present", new / "sys/devices/system/cpu/possible")
        new.rename(root)


def _debian_packages(root: Path, downloads: Path) -> str:
    """Unpack Python and its libraries; returns its minor version."""
    depends = _run("apt-cache", "depends", "python3-minimal:arm64")
    found = re.search(r"python3\.(\d+)-minimal", depends)
    if found is None:
        raise MissingError("Debian's package lists have no python3-minimal for arm64")
    minor = found[1]
    wanted = [f"python3.{minor}-minimal:arm64", f"libpython3.{minor}-stdlib:arm64"]
    without = [f"--no-{kind}" for kind in _UNNEEDED]
    tree = _run("apt-cache", "depends", "--recurse", *without, *wanted, "libstdc++6:arm64")
    names = {line for line in tree.splitlines() if _ARM64_PACKAGE.fullmatch(line)}
    _run("apt-get", "download", *sorted(names), cwd=downloads)
    for file in downloads.glob("*.deb"):
        _run("dpkg-deb", "--extract", str(file), str(root))
    return minor


def _wheels(folder: Path, minor: str) -> None:
    pinned = [f"{name}=={version(name)}" for name in _PACKAGES]
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    _run(*pip, "--only-binary=:all:", "--python-version", f"3.{minor}", *platforms, *pinned)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
        wheel.unlink()


def _run(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingError(f"{words[0]} {words[1]}: {done.stderr.strip()[-300:]}")
    return done.stdout
