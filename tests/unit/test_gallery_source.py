"""The gallery of a running function: updates, and rejected versions."""

from __future__ import annotations

import hashlib
import json
import re
import threading

import numpy as np
import pytest

from lambda_src import log
from lambda_src.aws import AwsError
from lambda_src.gallery.loading import load
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import FLOAT32, Manifest, PartRef, manifest_key, part_key, write_part
from lambda_src.gallery.source import GallerySource

SPACE = "0123/facenet"
KEY = manifest_key(SPACE)


def unit(*values: float) -> np.ndarray:
    vector = np.zeros(512, dtype=np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


class Bucket:
    """A fake S3 bucket that records the requests."""

    def __init__(self) -> None:
        self.object: tuple[bytes, str] | AwsError = AwsError("gone", status=404, code="NoSuchKey")
        self.asked: list[str | None] = []
        self.fetched: list[str] = []
        self.parts: dict[str, bytes] = {}
        self.part_gate = threading.Event()
        self.part_gate.set()
        self.gate = threading.Event()
        self.gate.set()

    def get_object(
        self, bucket: str, key: str, *, known_etag: str | None = None
    ) -> tuple[bytes, str] | None:
        self.gate.wait(60)
        if key != KEY:
            self.fetched.append(key)
            self.part_gate.wait(60)
            if key not in self.parts:
                raise AwsError("no such part", status=404, code="NoSuchKey")
            return self.parts[key], "etag"
        self.asked.append(known_etag)
        if isinstance(self.object, AwsError):
            raise self.object
        return None if self.object[1] == known_etag else self.object

    def publish(self, *names: str, etag: str, space: str = SPACE, padding: int = 0) -> None:
        """Publish a version; the manifest states its part's size plus `padding`."""
        rows = np.stack([unit(*([0] * i), 1) for i in range(len(names))])
        data = write_part([(name, 1) for name in names], rows, FLOAT32)
        sha256 = hashlib.sha256(data).hexdigest()
        self.parts[part_key(KEY, sha256)] = data
        ref = PartRef(sha256, len(data) + padding, len(names))
        manifest = Manifest(
            "lineage", 7, "now", space, False, 1.0, "euclidean", "best", len(names), FLOAT32, (ref,)
        )
        self.object = (manifest.serialise(), etag)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log lines without the invocation that an earlier test began."""
    monkeypatch.setattr(log, "_invocation", {})


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(bucket: Bucket, clock: Clock) -> GallerySource:
    return GallerySource(
        bucket,  # type: ignore[arg-type]
        "bucket",
        space=SPACE,
        refresh=5.0,
        clock=clock,
    )


def seen(source: GallerySource) -> tuple[str, ...]:
    source.begin()
    return source.current().names


def test_without_a_published_gallery_it_is_empty(source: GallerySource) -> None:
    assert seen(source) == ()


def test_a_new_version_is_found_after_the_refresh_interval(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.publish("Ada", "Alan", etag="v2")
    clock.now += 4.9
    assert seen(source) == ("Ada", "Grace")
    clock.now += 0.2
    assert seen(source) == ("Ada", "Alan")
    assert bucket.asked == [None, "v1"]


def test_an_invalid_version_is_rejected_and_the_last_valid_one_stays_in_use(
    source: GallerySource, bucket: Bucket, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.object = (b"broken", "v2")
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")
    bucket.publish("Eve", etag="v3", space="other/facenet")
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")
    lines = capsys.readouterr().out
    assert "not a gallery" in lines
    assert "facectl gallery publish" in lines


def test_a_first_gallery_of_another_space_is_an_error_not_unknown(
    source: GallerySource, bucket: Bucket
) -> None:
    bucket.publish("Ada", etag="v1", space="other/facenet")
    source.begin()
    with pytest.raises(GalleryFormatError, match="facectl gallery publish"):
        source.current()


def test_an_unreachable_bucket_is_an_error_until_it_answers(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.object = AwsError("no route")
    source.begin()
    with pytest.raises(GalleryFormatError, match="no route"):
        source.current()
    bucket.publish("Ada", "Grace", etag="v1")
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")
    bucket.object = AwsError("no route")
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")


def test_deleting_the_object_empties_the_gallery(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.object = AwsError("gone", status=404, code="NoSuchKey")
    clock.now += 6
    assert seen(source) == ()


def test_a_damaged_part_is_rejected_once_and_the_last_valid_version_stays_in_use(
    source: GallerySource, bucket: Bucket, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.publish("Eve", etag="v2", padding=1)
    for _ in range(3):
        clock.now += 6
        assert seen(source) == ("Ada", "Grace")
    assert "damaged" in capsys.readouterr().out
    # Downloaded once, not every few seconds.
    assert len(bucket.fetched) == 2
    bucket.publish("Alan", etag="v3")
    clock.now += 6
    assert seen(source) == ("Alan",)


def test_a_missing_part_is_not_an_empty_gallery_and_is_requested_again(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    assert seen(source) == ("Ada", "Grace")
    before = dict(bucket.parts)
    bucket.publish("Alan", etag="v2")
    late = {key: data for key, data in bucket.parts.items() if key not in before}
    bucket.parts = before
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")
    bucket.parts.update(late)
    clock.now += 6
    assert seen(source) == ("Alan",)


def finished(source: GallerySource) -> None:
    """Wait until the current check has finished."""
    assert source._fetcher is not None
    source._fetcher.join(60)
    assert not source._fetcher.is_alive()


class Waits:
    """Records each wait and advances the clock instead of waiting."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds: list[float] = []

    def __call__(self, event: threading.Event, seconds: float) -> bool:
        self.seconds.append(seconds)
        self.clock.now += seconds
        return event.is_set()


@pytest.fixture
def waits(clock: Clock) -> Waits:
    return Waits(clock)


def held_up(bucket: Bucket, clock: Clock, waits: Waits) -> GallerySource:
    """A source whose check is not answered until the gate is opened."""
    bucket.gate.clear()
    return GallerySource(
        bucket,  # type: ignore[arg-type]
        "bucket",
        space=SPACE,
        refresh=5.0,
        clock=clock,
        wait=waits,
    )


def test_a_large_version_delays_no_batch(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.publish("Eve", etag="v2", padding=5_000_000)
    bucket.part_gate.clear()
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")
    # No batch waits for it, while its part is still being downloaded.
    assert source._settled.is_set()
    assert source._fetcher is not None
    assert source._fetcher.is_alive()
    bucket.part_gate.set()
    finished(source)


def test_a_slow_check_delays_a_batch_once_by_half_a_second(
    source: GallerySource, bucket: Bucket, clock: Clock, waits: Waits
) -> None:
    bucket.publish("Ada", etag="v1")
    assert seen(source) == ("Ada",)
    bucket.gate.clear()
    source._wait = waits
    clock.now += 6
    assert seen(source) == ("Ada",)
    assert source.current().names == ("Ada",)
    assert waits.seconds == [0.5]
    bucket.gate.set()
    finished(source)


@pytest.mark.parametrize(
    ("given", "waited"), [(None, 20.0), (28.5, 20.0), (7.0, 7.0), (0.0, 0.0), (-3.0, 0.0)]
)
def test_a_batch_waits_once_for_its_first_gallery(
    bucket: Bucket, clock: Clock, waits: Waits, given: float | None, waited: float
) -> None:
    source = held_up(bucket, clock, waits)
    for batch in (1, 2):
        source.begin(given)
        for _ in range(3):
            with pytest.raises(GalleryFormatError, match="still being loaded"):
                source.current()
        assert waits.seconds == [waited] * batch
    bucket.gate.set()
    finished(source)
    assert bucket.asked == [None]


def test_a_gallery_that_arrives_while_the_batch_waits_is_used(bucket: Bucket, clock: Clock) -> None:
    bucket.publish("Ada", etag="v1")

    def wait(event: threading.Event, seconds: float) -> bool:
        bucket.gate.set()
        return event.wait(seconds)

    source = held_up(bucket, clock, wait)  # type: ignore[arg-type]
    assert seen(source) == ("Ada",)


def test_a_damaged_first_gallery_is_requested_until_it_is_repaired(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.publish("Ada", etag="v1")
    whole, bucket.parts = bucket.parts, dict.fromkeys(bucket.parts, b"broken")
    source.begin()
    with pytest.raises(GalleryFormatError, match="damaged"):
        source.current()
    bucket.parts = whole
    clock.now += 6
    assert seen(source) == ("Ada",)
    assert bucket.asked == [None, None]


def test_an_empty_gallery_is_logged_once(
    source: GallerySource, bucket: Bucket, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert seen(source) == ()
        clock.now += 6
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["people"], line["space"]) for line in lines] == [(0, SPACE)]
    bucket.publish("Ada", etag="v1")
    assert seen(source) == ("Ada",)
    bucket.object = AwsError("gone", status=404, code="NoSuchKey")
    clock.now += 6
    assert seen(source) == ()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["people"] for line in lines] == [1, 0]


def test_galleries_of_two_spaces_have_different_keys() -> None:
    assert manifest_key(SPACE) != manifest_key("other/facenet")
    for space in (SPACE, "../../x", "ü " * 500):
        folder, _, name = manifest_key(space).rpartition("/")
        assert name == "current.json"
        assert re.fullmatch(r"gallery/[0-9a-f]{16}", folder)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [{key: line[key] for key in line if key not in ("time", "function")} for line in lines]


def test_a_new_version_is_logged_with_its_size_and_duration(
    source: GallerySource,
    bucket: Bucket,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.publish("Ada", "Grace", etag="v1")
    [size] = [len(data) for data in bucket.parts.values()]

    def slow(*arguments: object) -> object:
        clock.now += 0.1234567
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("lambda_src.gallery.source.load", slow)
    assert seen(source) == ("Ada", "Grace")
    assert logged(capsys) == [
        {
            "level": "INFO", "stage": "gallery", "request_id": None, "version": 7, "space": SPACE,
            "lineage": "lineage", "people": 2, "rows": 2, "fetched_bytes": size,
            "duration_ms": 123.46,
        }
    ]  # fmt: skip


def test_a_rejected_version_is_logged_with_whether_another_is_in_use(
    source: GallerySource, bucket: Bucket, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for names, serving in ((None, False), (("Ada",), True)):
        if names is not None:
            bucket.publish(*names, etag="v1")
            clock.now += 6
            assert seen(source) == names
        bucket.object = (b"broken", f"broken-{serving}")
        clock.now += 6
        source.begin()
        finished(source)
        line = logged(capsys)[-1]
        assert (line["level"], line["error"], line["serving"]) == ("ERROR", "refused", serving)


def test_an_empty_gallery_has_threshold_zero(source: GallerySource) -> None:
    source.begin()
    gallery = source.current()
    assert (gallery.threshold, gallery.space, len(gallery.names)) == (0.0, SPACE, 0)


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_only_a_missing_object_is_an_empty_gallery(
    source: GallerySource, bucket: Bucket, code: str
) -> None:
    bucket.object = AwsError(code, status=503, code=code)
    source.begin()
    with pytest.raises(GalleryFormatError, match=f"no gallery to use: {code}"):
        source.current()


@pytest.mark.parametrize("space", ["0000/facenet", "zzzz/facenet"])
def test_a_gallery_of_another_space_is_rejected(
    source: GallerySource, bucket: Bucket, space: str
) -> None:
    bucket.publish("Ada", etag="v1", space=space)
    source.begin()
    with pytest.raises(
        GalleryFormatError, match=f"is of embedding space {space}, the model of {SPACE}"
    ):
        source.current()


def test_the_next_check_is_exactly_after_the_refresh_interval(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.publish("Ada", etag="v1")
    for now, asked in ((100.0, 1), (104.5, 1), (105.0, 2), (203.0, 3)):
        clock.now = now
        assert seen(source) == ("Ada",)
        finished(source)
        assert len(bucket.asked) == asked


def test_a_missing_part_is_named_by_twelve_digits(source: GallerySource, bucket: Bucket) -> None:
    bucket.publish("Ada", etag="v1")
    [key] = bucket.parts
    bucket.parts.clear()
    source.begin()
    digits = key.rpartition("/")[2][:12]
    with pytest.raises(GalleryFormatError, match=f"part {digits}: no such part"):
        source.current()
    bucket.get_object = lambda *_, **__: None  # type: ignore[method-assign]
    with pytest.raises(AwsError, match="part 0123456789ab: the response holds no part"):
        source._part("0123456789abcdef")


@pytest.mark.parametrize(("total", "settles"), [(4_000_000, False), (4_000_001, True)])
def test_a_large_download_is_not_waited_for(
    source: GallerySource, bucket: Bucket, clock: Clock, total: int, settles: bool
) -> None:
    bucket.publish("Ada", etag="v0")
    assert seen(source) == ("Ada",)
    bucket.publish("Eve", etag="v1")
    size = max(len(data) for data in bucket.parts.values())
    bucket.publish("Eve", etag="v1", padding=total - size)
    fetching = threading.Event()
    bucket.part_gate.clear()
    fetched = bucket.fetched
    bucket.fetched = _Told(fetched, fetching)  # type: ignore[assignment]
    clock.now += 6
    source.begin()
    assert fetching.wait(60)
    assert source._settled.is_set() == settles
    # A download must not keep a stopping worker alive.
    assert source._fetcher is not None
    assert source._fetcher.daemon
    bucket.part_gate.set()
    finished(source)


def test_a_large_first_gallery_is_waited_for(
    source: GallerySource, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_src.gallery.source._SMALL", 10)
    bucket.publish("Ada", etag="v1")
    fetching = threading.Event()
    bucket.part_gate.clear()
    bucket.fetched = _Told(bucket.fetched, fetching)  # type: ignore[assignment]
    source.begin()
    assert fetching.wait(60)
    assert not source._settled.is_set()
    bucket.part_gate.set()
    assert source.current().names == ("Ada",)


def test_without_begin_nothing_is_waited_for(source: GallerySource) -> None:
    with pytest.raises(GalleryFormatError, match="still being loaded"):
        source.current()
    assert source._settled.is_set()


class _Told(list):  # type: ignore[type-arg]
    """Sets an event when an item is appended."""

    def __init__(self, before: list[str], event: threading.Event) -> None:
        super().__init__(before)
        self.event = event

    def append(self, item: object) -> None:
        super().append(item)
        self.event.set()
