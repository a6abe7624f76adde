"""Sends the blobs and the manifest of an image to a repository.

A blob that the repository has is not sent. A blob of another repository of the registry is
mounted where the registry allows it. An upload that is cut off continues at the byte that the
registry has.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from facectl.container_images.blobs import Blob, Pieces, sha256
from facectl.container_images.media import MANIFEST
from facectl.container_images.registries import Registry, UnavailableError, megabytes
from facectl.errors import CloudError, InputError

# ECR takes parts of 5 to 10 MiB. Source: Amazon ECR service quotas, "Layer part size".
_PART = 8 << 20
_AT_ONCE = 4
# The bytes after which the progress is shown.
_STEP = 64 << 10
# The uploads of a blob that may be cut off one after another without coming further.
_FRUITLESS = 12
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Target:
    """A repository to send to. `other`: one of the same registry that may have the same blobs."""

    registry: Registry
    repository: str
    other: str = ""


class Progress:
    """The progress of sending an image; thread-safe.

    `tell` receives the bytes that were sent and those to be sent: without what the registry had.
    `sent` counts the bytes of the parts that it took, repeated ones included.
    """

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self.sent = 0
        self.stopped = threading.Event()
        self._total = total
        self._done = 0
        self._tell = tell
        self._lock = threading.Lock()

    def move(self, count: int) -> None:
        """Count bytes that are on their way; negative if they are sent again."""
        with self._lock:
            self._done += count
            self._tell(self._done, self._total)

    def skip(self, count: int) -> None:
        """Do not count bytes that the registry had."""
        with self._lock:
            self._total -= count
            self._tell(self._done, self._total)

    def took(self, count: int) -> None:
        """Count the bytes of a part that the registry took."""
        with self._lock:
            self.sent += count


def send_image(
    target: Target,
    tag: str,
    manifest: bytes,
    blobs: Sequence[Blob],
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Send the blobs in parallel, then the manifest as `tag`; returns the blobs' bytes sent.

    Raises CloudError, and InputError for a blob that is damaged.
    """
    progress = Progress(sum(blob.size for blob in blobs), tell)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(Upload(target, blob, progress).run) for blob in blobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            progress.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    target.registry.backoff().call(lambda: _send_manifest(target, tag, manifest))
    return progress.sent


class _Part:
    """The bytes of a part, counted as the connection takes them; can be sent again."""

    def __init__(self, data: bytes, moved: Callable[[int], None]) -> None:
        self._data = data
        self._moved = moved

    def __iter__(self) -> Iterator[bytes]:
        self._moved(0)
        for start in range(0, len(self._data), _STEP):
            yield self._data[start : start + _STEP]
            self._moved(min(start + _STEP, len(self._data)))


class Upload:
    """The upload of one blob."""

    def __init__(self, target: Target, blob: Blob, progress: Progress) -> None:
        self._registry, self._repository = target.registry, target.repository
        self._other = target.other
        self._blob = blob
        self._progress = progress
        # Where the registry takes the next part, and its first byte; "": not started.
        self._location = ""
        self._offset = 0
        # The furthest byte that the registry took, and what the progress shows.
        self._furthest = 0
        self._shown = 0
        self._resumed = False

    def run(self) -> None:
        """Have the repository hold the blob; raises FacectlError."""
        try:
            self._run()
        except UnavailableError as error:
            raise CloudError(
                f"Sending a layer to {self._registry.host}/{self._repository} was cut off after "
                f"{megabytes(self._furthest)} of {megabytes(self._blob.size)}, repeatedly: {error}",
                hint="check the network, then facectl deploy   sends what is missing",
            ) from error
        self._progress.skip(self._blob.size - self._shown)

    def _run(self) -> None:
        backoff = self._registry.backoff()
        furthest, fruitless = -1, 0
        while True:
            fruitless = 0 if self._furthest > furthest else fruitless + 1
            if fruitless == _FRUITLESS:
                raise UnavailableError("each time it started again, and came no further")
            furthest = self._furthest
            with backoff.attempt():
                if self._present() or self._mounted():
                    return
                for count in self._parts():
                    backoff.reset()
                    self._progress.took(count)
                    self._furthest = max(self._furthest, self._offset)
                self._complete()
                return

    def _present(self) -> bool:
        path = f"/v2/{self._repository}/blobs/{self._blob.digest}"
        response = self._registry.send("HEAD", path, self._repository)
        if response.status_code not in (200, 404):
            raise self._refused(response)
        return response.status_code == 200

    def _mounted(self) -> bool:
        """Start or continue the upload; true if the registry mounted the blob instead."""
        if self._location and self._continued():
            return False
        self._offset = 0
        path = f"/v2/{self._repository}/blobs/uploads/"
        # The registry starts an upload if it can't mount the blob.
        mount = f"?mount={self._blob.digest}&from={self._other}" if self._other else ""
        response = self._registry.send("POST", path + mount, self._repository)
        if mount and response.status_code not in (201, 202):
            response = self._registry.send("POST", path, self._repository)
        if response.status_code == 201:
            return True
        if response.status_code != 202:
            raise self._refused(response)
        self._location = response.headers["location"]
        return False

    def _continued(self) -> bool:
        """Whether the registry still has the upload; reads how many bytes of it."""
        response = self._registry.send("GET", self._location, self._repository)
        end = _RANGE.fullmatch(response.headers.get("range", ""))
        # 0-0 is the answer for one byte and for none.
        if response.status_code != 204 or end is None or end.group(1) == "0":
            return False
        self._resumed = True
        self._offset = int(end.group(1)) + 1
        self._location = response.headers.get("location", self._location)
        return self._offset <= self._blob.size

    def _parts(self) -> Iterator[int]:
        """Send the rest of the blob; yields the size of each part that the registry took."""
        if self._offset == self._blob.size:
            return
        with self._blob.read(self._offset) as pieces:
            for part in _regrouped(pieces):
                if self._progress.stopped.is_set():
                    raise CloudError("Another layer could not be sent")
                self._send(part)
                yield len(part)
        if self._offset != self._blob.size:
            raise InputError(
                f"A layer has {self._offset} of {self._blob.size} bytes: the image is damaged",
                hint="get the base image again",
            )

    def _send(self, part: bytes) -> None:
        start, end = self._offset, self._offset + len(part)
        response = self._registry.send(
            "PATCH",
            self._location,
            self._repository,
            headers={
                "Content-Type": _OCTETS,
                "Content-Length": str(len(part)),
                "Content-Range": f"{start}-{end - 1}",
            },
            content=_Part(part, lambda count: self._show(start + count)),
        )
        if response.status_code in (404, 416):
            raise UnavailableError(f"{self._registry.host} lost the place of an upload")
        # ECR answers 201, others 202.
        if response.status_code not in (201, 202, 204):
            raise self._refused(response)
        self._location = response.headers.get("location", self._location)
        self._offset = end

    def _complete(self) -> None:
        mark = "&" if "?" in self._location else "?"
        url = f"{self._location}{mark}digest={self._blob.digest}"
        response = self._registry.send("PUT", url, self._repository, content=b"")
        if response.status_code in (201, 204):
            return
        error = self._refused(response)
        if response.status_code == 404 or self._resumed:
            # It may have been completed by a request whose response was lost.
            self._location, self._resumed = "", False
            raise UnavailableError(str(error))
        if "DIGEST" in str(error):
            raise InputError(
                f"A layer has another content than its digest {self._blob.digest[:19]}: "
                "the image is damaged",
                hint="get the base image again",
            ) from error
        raise error

    def _show(self, offset: int) -> None:
        self._progress.move(offset - self._shown)
        self._shown = offset

    def _refused(self, response: httpx.Response) -> CloudError:
        return self._registry.refused(response, f"sending a layer to {self._repository}")


def _send_manifest(target: Target, tag: str, manifest: bytes) -> None:
    registry, digest = target.registry, sha256(manifest)
    response = registry.send(
        "PUT",
        f"/v2/{target.repository}/manifests/{tag}",
        target.repository,
        headers={"Content-Type": MANIFEST},
        content=manifest,
    )
    if response.status_code not in (200, 201):
        error = registry.refused(response, f"sending {target.repository}:{tag}")
        if response.status_code == 400 and _stored(target, tag) == digest:
            # A tag that can't be overwritten, after a request whose response was lost.
            return
        raise error
    answered = response.headers.get("docker-content-digest", digest)
    if answered != digest:
        raise CloudError(f"{registry.host} stored {target.repository}:{tag} as {answered}")


def _stored(target: Target, tag: str) -> str:
    try:
        return sha256(target.registry.manifest(target.repository, tag)[0])
    except InputError:
        return ""


def _regrouped(pieces: Pieces) -> Iterator[bytes]:
    """The same bytes in parts of one length; only the last is shorter."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= _PART:
            yield bytes(held[:_PART])
            del held[:_PART]
    if held:
        yield bytes(held)
