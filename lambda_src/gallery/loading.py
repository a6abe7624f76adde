"""Loads the gallery of a manifest from its parts."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping

import numpy as np

from lambda_src.gallery.matching import DIMENSIONS, Gallery, GalleryFormatError, Matcher
from lambda_src.gallery.parts import FLOAT32, Manifest, Part, PartRef, read_part

# Returns the bytes of a part, given its sha256.
Fetch = Callable[[str], bytes]
_FETCHERS = 8


def load(
    manifest: Manifest, fetch: Fetch, held: Mapping[str, Part] | None = None
) -> tuple[Matcher, dict[str, Part]]:
    """The gallery of a manifest, and its parts by sha256, which the next version can reuse.

    `held`: the parts of the previous version. The others are fetched in parallel and
    verified. Raises GalleryFormatError, and whatever `fetch` raises.
    """
    held = held or {}
    missing = [ref for ref in manifest.parts if ref.sha256 not in held]
    fetched = dict(zip((ref.sha256 for ref in missing), _fetch(missing, fetch), strict=True))
    parts = {
        ref.sha256: held[ref.sha256] if ref.sha256 in held else fetched[ref.sha256]
        for ref in manifest.parts
    }
    for ref in manifest.parts:
        part = parts[ref.sha256]
        is_float = part.factors is None
        if len(part.names) != ref.rows or is_float != (manifest.encoding == FLOAT32):
            raise GalleryFormatError(f"part {ref.sha256[:12]} differs from the manifest")
    return _assembled(manifest, list(parts.values())), parts


def _assembled(manifest: Manifest, parts: list[Part]) -> Matcher:
    if manifest.encoding == FLOAT32:
        return Gallery(
            space=manifest.space,
            threshold=manifest.threshold,
            names=tuple(name for part in parts for name in part.names),
            embeddings=np.concatenate(
                [np.zeros((0, DIMENSIONS), np.float32), *(part.vectors for part in parts)]
            ),
            synthetic=manifest.synthetic,
            metric=manifest.metric,
        )
    from lambda_src.gallery.quantised import QuantisedGallery  # noqa: PLC0415 - large galleries only

    return QuantisedGallery(manifest, parts)


def _fetch(refs: list[PartRef], fetch: Fetch) -> list[Part]:
    """The fetched, verified and parsed parts; raises the first failure."""
    found: dict[int, Part] = {}
    failures: list[Exception] = []
    queue = list(enumerate(refs))
    buffer = _PartBuffer(refs)

    def work() -> None:
        while queue and not failures:
            try:
                index, ref = queue.pop()
            except IndexError:
                return
            try:
                found[index] = _verified(ref, fetch(ref.sha256), buffer)
            except Exception as error:  # noqa: BLE001 - raised in the waiting thread
                failures.append(error)

    threads = [
        threading.Thread(target=work, daemon=True) for _ in range(min(_FETCHERS, len(refs)) - 1)
    ]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [found[index] for index in range(len(refs))]


class _PartBuffer:
    """Keeps fetched bytes: small galleries in memory, large ones in a memory-mapped file."""

    _SMALL = 64_000_000

    def __init__(self, refs: list[PartRef]) -> None:
        # Rounded up to whole cache lines, so that every part starts at one.
        size = sum(-(-ref.bytes // 64) * 64 for ref in refs)
        self._view: memoryview | None = None
        self._used = 0
        self._lock = threading.Lock()
        if size > self._SMALL:
            from lambda_src.gallery.quantised import mapped  # noqa: PLC0415 - large galleries only

            self._view = mapped(size)

    def keep(self, data: bytes) -> bytes | memoryview:
        if self._view is None:
            return data
        with self._lock:
            start = self._used
            self._used += -(-len(data) // 64) * 64
        place = self._view[start : start + len(data)]
        place[:] = data
        return place


def _verified(ref: PartRef, data: bytes, buffer: _PartBuffer) -> Part:
    if len(data) != ref.bytes or hashlib.sha256(data).hexdigest() != ref.sha256:
        raise GalleryFormatError(f"part {ref.sha256[:12]} of the gallery is damaged")
    return read_part(buffer.keep(data))
