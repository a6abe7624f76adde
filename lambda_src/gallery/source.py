"""Keeping a running function's gallery up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lambda_src import log
from lambda_src.aws import Aws, AwsError
from lambda_src.gallery.loading import load
from lambda_src.gallery.matching import GalleryFormatError, Matcher
from lambda_src.gallery.model import Gallery
from lambda_src.gallery.parts import Manifest, Part, manifest_key, part_key

# Seconds that a batch waits for the answer whether there is a newer version, and
# for one that is small; the question has been on its way since the batch began.
_PATIENCE = 0.5
# Without any gallery there is nothing to answer with, so the first one is waited for.
_FIRST_PATIENCE = 20.0
# What downloads within the patience; a batch goes on without waiting for more.
_SMALL = 4_000_000


class GallerySource:
    """The published gallery as a running function sees it, asked for again every `refresh` seconds.

    The question travels while faces are embedded, so it costs no latency. A new
    version is downloaded and verified beside the one in use and then takes its
    place. An object that is broken or of another space is refused, and the last
    good version keeps serving.
    """

    def __init__(
        self,
        aws: Aws,
        bucket: str,
        *,
        space: str,
        refresh: float,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self._aws = aws
        self._bucket = bucket
        self._key = manifest_key(space)
        self._space = space
        self._refresh = refresh
        self._clock = clock
        self._wait = wait
        self._asked: float | None = None
        self._etag: str | None = None
        self._gallery: Matcher | None = None
        self._parts: dict[str, Part] = {}
        self._refused: GalleryFormatError | None = None
        self._asking: threading.Thread | None = None
        # Set where nobody needs to wait for the thread: it ended, or has long to go.
        self._settled = threading.Event()
        self._ended = threading.Event()
        self._patience = _FIRST_PATIENCE
        self._waited = False

    def begin(self, seconds: float | None = None) -> None:
        """Begin a batch: ask for a newer version in the background if it is time to.

        `seconds` that the batch can wait, once, for its first gallery; 20 at most.
        """
        most = _FIRST_PATIENCE if seconds is None else seconds
        self._patience = max(0.0, min(most, _FIRST_PATIENCE))
        self._waited = False
        if self._asking is not None and self._asking.is_alive():
            return
        if self._asked is not None and self._clock() - self._asked < self._refresh:
            return
        self._asked = self._clock()
        self._settled.clear()
        self._ended.clear()
        self._asking = threading.Thread(target=self._fetch, daemon=True)
        self._asking.start()

    def current(self) -> Matcher:
        """The newest good gallery; raises GalleryFormatError where there is none to use.

        Only the first call of a batch waits: ten records, each alone, must not
        wait ten times and outlast the invocation.
        """
        waited, self._waited = self._waited, True
        if not waited and self._gallery is not None:
            self._wait(self._settled, _PATIENCE)
        elif not waited and self._asking is not None:
            self._wait(self._ended, self._patience)
        # Read again: the thread may have put a newer one in its place.
        gallery: Matcher | None = self._gallery
        if gallery is not None:
            return gallery
        raise self._refused or GalleryFormatError("the gallery is still being loaded")

    def _fetch(self) -> None:
        try:
            answer = self._aws.get_object(self._bucket, self._key, known_etag=self._etag)
            if answer is not None:
                self._adopt(*answer)
        except AwsError as error:
            if error.code == "NoSuchKey":
                self._empty()
                return
            self._refuse(error, "unreachable")
        except GalleryFormatError as error:
            self._refuse(error, "refused")
        except Exception as error:  # noqa: BLE001 - a thread's last word would be lost
            self._refuse(error, "failed")
        finally:
            self._settled.set()
            self._ended.set()

    def _empty(self) -> None:
        """Serve nobody: no gallery of this model's space is published, or none any more."""
        if self._gallery is None or self._etag is not None:
            log.info("gallery", None, version=None, people=0, rows=0, space=self._space)
        self._gallery = Gallery(self._space, threshold=0.0)
        self._parts, self._etag, self._refused = {}, None, None

    def _adopt(self, data: bytes, etag: str) -> None:
        # Asked for again only when it has changed, even where it is refused.
        known, self._etag = self._etag, etag
        manifest = Manifest.parse(data)
        if manifest.space != self._space:
            raise GalleryFormatError(
                f"the gallery at {self._key} is of space {manifest.space}, the model of "
                f"{self._space}: publish the model's own with `facectl gallery publish`, or "
                "deploy the gallery's model"
            )
        new = sum(part.bytes for part in manifest.parts if part.sha256 not in self._parts)
        if new > _SMALL:
            self._settled.set()
        started = self._clock()
        try:
            gallery, self._parts = load(manifest, self._part, self._parts)
        except AwsError:
            self._etag = known
            raise
        self._gallery, self._refused = gallery, None
        log.info(
            "gallery",
            None,
            version=manifest.version,
            space=manifest.space,
            lineage=manifest.lineage,
            people=manifest.people,
            rows=manifest.rows,
            fetched_bytes=new,
            duration_ms=round((self._clock() - started) * 1e3, 2),
        )

    def _part(self, sha256: str) -> bytes:
        try:
            answer = self._aws.get_object(self._bucket, part_key(self._key, sha256))
        except AwsError as error:
            # A part that is missing is no empty gallery.
            raise AwsError(f"part {sha256[:12]}: {error}", status=error.status) from error
        if answer is None:
            raise AwsError(f"part {sha256[:12]}: an answer without the part")
        return answer[0]

    def _refuse(self, error: Exception, kind: str) -> None:
        """Keep what is in use, say why, and ask again when it is time to."""
        log.error(
            "gallery", None, error=kind, message=str(error), serving=self._gallery is not None
        )
        if self._gallery is None:
            # A publication may have mended a part without another manifest.
            self._etag = None
            self._refused = GalleryFormatError(f"no gallery to use: {error}")
