"""Keeps the gallery of a running function up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lambda_src import log
from lambda_src.aws import Aws, AwsError
from lambda_src.gallery.loading import load
from lambda_src.gallery.matching import Gallery, GalleryFormatError, Matcher
from lambda_src.gallery.parts import Manifest, Part, manifest_key, part_key

# Seconds that a batch waits for the check for a newer version, which began with the
# batch, and for the download of a small one.
_REFRESH_TIMEOUT = 0.5
# Without a gallery no face can be matched, so a batch waits longer for the first one.
_FIRST_TIMEOUT = 20.0
# Bytes that download within the refresh timeout; a batch does not wait for more.
_SMALL = 4_000_000


class GallerySource:
    """The newest valid published gallery, checked for changes every `refresh` seconds.

    The check runs while faces are embedded, so it adds no latency. A new version is
    downloaded and verified while the current one is in use, and then replaces it. An
    object that is damaged or of another embedding space is rejected, and the last
    valid version stays in use.
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
        self._checked_at: float | None = None
        self._etag: str | None = None
        self._gallery: Matcher | None = None
        self._parts: dict[str, Part] = {}
        self._rejection: GalleryFormatError | None = None
        self._fetcher: threading.Thread | None = None
        # Cleared while a batch should wait for the thread: it has not finished, and it
        # downloads no large version while another is in use.
        self._settled = threading.Event()
        self._settled.set()
        self._first_timeout = _FIRST_TIMEOUT
        self._waited = False

    def begin(self, seconds: float | None = None) -> None:
        """Begin a batch: check for a newer version in the background if `refresh` has passed.

        `seconds`: how long the batch can wait, once, for its first gallery; at most 20.
        """
        limit = _FIRST_TIMEOUT if seconds is None else seconds
        self._first_timeout = max(0.0, min(limit, _FIRST_TIMEOUT))
        self._waited = False
        if self._fetcher is not None and self._fetcher.is_alive():
            return
        if self._checked_at is not None and self._clock() - self._checked_at < self._refresh:
            return
        self._checked_at = self._clock()
        self._settled.clear()
        self._fetcher = threading.Thread(target=self._fetch, daemon=True)
        self._fetcher.start()

    def current(self) -> Matcher:
        """The newest valid gallery; raises GalleryFormatError if there is none.

        Only the first call of a batch waits: ten records that are processed one by one
        must not wait ten times and exceed the invocation's timeout.
        """
        waited, self._waited = self._waited, True
        if not waited:
            timeout = self._first_timeout if self._gallery is None else _REFRESH_TIMEOUT
            self._wait(self._settled, timeout)
        # Read again: the thread may have replaced it.
        gallery: Matcher | None = self._gallery
        if gallery is not None:
            return gallery
        raise self._rejection or GalleryFormatError("the gallery is still being loaded")

    def _fetch(self) -> None:
        try:
            answer = self._aws.get_object(self._bucket, self._key, known_etag=self._etag)
            if answer is not None:
                self._adopt(*answer)
        except AwsError as error:
            if error.code == "NoSuchKey":
                self._empty()
                return
            self._reject(error, "unreachable")
        except GalleryFormatError as error:
            self._reject(error, "refused")
        except Exception as error:  # noqa: BLE001 - an exception in a thread would be lost
            self._reject(error, "failed")
        finally:
            self._settled.set()

    def _empty(self) -> None:
        """Use an empty gallery: none of this model's embedding space is published, or no longer."""
        if self._gallery is None or self._etag is not None:
            log.info("gallery", None, version=None, people=0, rows=0, space=self._space)
        self._gallery = Gallery(self._space, threshold=0.0)
        self._parts, self._etag, self._rejection = {}, None, None

    def _adopt(self, data: bytes, etag: str) -> None:
        # A rejected object too is downloaded again only after it has changed.
        known, self._etag = self._etag, etag
        manifest = Manifest.parse(data)
        if manifest.space != self._space:
            raise GalleryFormatError(
                f"the gallery at {self._key} is of embedding space {manifest.space}, the model of "
                f"{self._space}: publish the model's gallery with `facectl gallery publish`, or "
                "deploy the gallery's model"
            )
        new = sum(part.bytes for part in manifest.parts if part.sha256 not in self._parts)
        if new > _SMALL and self._gallery is not None:
            self._settled.set()
        started = self._clock()
        try:
            gallery, self._parts = load(manifest, self._part, self._parts)
        except AwsError:
            self._etag = known
            raise
        self._gallery, self._rejection = gallery, None
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
            # Without the code: a missing part does not mean an empty gallery.
            raise AwsError(f"part {sha256[:12]}: {error}", status=error.status) from error
        if answer is None:
            raise AwsError(f"part {sha256[:12]}: the response holds no part")
        return answer[0]

    def _reject(self, error: Exception, kind: str) -> None:
        """Keep the current gallery and log the error; the next check follows after `refresh`."""
        log.error(
            "gallery", None, error=kind, message=str(error), serving=self._gallery is not None
        )
        if self._gallery is None:
            # A publication may repair a part without changing the manifest.
            self._etag = None
            self._rejection = GalleryFormatError(f"no gallery to use: {error}")
