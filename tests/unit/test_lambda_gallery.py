"""The gallery in the function: the file, matching, and staying up to date."""

from __future__ import annotations

import io
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from lambda_src.aws import AwsError
from lambda_src.gallery import Gallery, GalleryFormatError, GallerySource

SPACE = "0123/facenet"


def unit(*values: float) -> np.ndarray:
    vector = np.zeros(512, dtype=np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def gallery(**changes: object) -> Gallery:
    fields = {
        "space": SPACE,
        "threshold": 1.0,
        "names": ("Ada", "Grace"),
        "embeddings": np.stack([unit(1), unit(0, 1)]),
    }
    return Gallery(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_nearest_within_the_threshold_has_a_name() -> None:
    found = gallery().match(np.stack([unit(1, 0.1), unit(0.1, 1), unit(0, 0, 1)]))
    assert [match.name for match in found] == ["Ada", "Grace", "Unknown"]
    assert found[2].distance == pytest.approx(np.sqrt(2))


def test_the_threshold_itself_is_within() -> None:
    probe = np.stack([unit(0, 0, 1)])
    assert gallery(threshold=1.4143).match(probe)[0].name == "Ada"
    assert gallery(threshold=1.4142).match(probe)[0].name == "Unknown"


def test_the_same_embedding_has_distance_zero_whatever_rounding_says() -> None:
    probe = unit(*np.linspace(0.1, 1, 512))
    found = gallery(names=("Ada",), embeddings=probe[None]).match(probe[None])
    assert found[0].distance == pytest.approx(0, abs=1e-3)


def test_an_empty_gallery_knows_nobody() -> None:
    found = Gallery(SPACE, 1.0).match(np.stack([unit(1)]))
    assert (found[0].name, found[0].distance) == ("Unknown", None)


def test_the_file_survives_the_wire() -> None:
    original = gallery(names=("Ada", "Zoë 🦉"), synthetic=True)
    copy = Gallery.parse(original.serialise())
    assert (copy.space, copy.threshold, copy.names) == (SPACE, 1.0, ("Ada", "Zoë 🦉"))
    assert copy.synthetic
    np.testing.assert_array_equal(copy.embeddings, original.embeddings)


@pytest.mark.parametrize(
    "embeddings",
    [
        np.zeros((2, 512), dtype=np.float32),
        np.full((2, 512), np.nan, dtype=np.float32),
        np.full((2, 512), np.inf, dtype=np.float32),
        np.ones((2, 128), dtype=np.float32),
        np.stack([unit(1), unit(0, 1)]).astype(np.float64),
        np.stack([unit(1)]),
    ],
)
def test_embeddings_that_cannot_be_compared_are_refused(embeddings: np.ndarray) -> None:
    with np.errstate(all="ignore"), pytest.raises(GalleryFormatError, match=r"embedding"):
        gallery(embeddings=embeddings)


class Mischief:
    """A pickle that would create a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.file,)  # type: ignore[return-value]


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    victim = tmp_path / "created"
    stream = io.BytesIO()
    np.savez(stream, header=np.array([Mischief(victim)], dtype=object))
    for data in (stream.getvalue(), pickle.dumps(Mischief(victim))):
        with pytest.raises(GalleryFormatError):
            Gallery.parse(data)
    assert not victim.exists()


@pytest.mark.parametrize("cut", [0, 10, 100, -10])
def test_a_truncated_file_is_refused(cut: int) -> None:
    with pytest.raises(GalleryFormatError):
        Gallery.parse(gallery().serialise()[:cut])


class Bucket:
    """What the source asks S3, with a script of answers."""

    def __init__(self) -> None:
        self.object: tuple[bytes, str] | AwsError = AwsError("gone", status=404, code="NoSuchKey")
        self.asked: list[str | None] = []
        self.gate = threading.Event()
        self.gate.set()

    def get_object(
        self, bucket: str, key: str, *, known_etag: str | None = None
    ) -> tuple[bytes, str] | None:
        self.gate.wait(5)
        self.asked.append(known_etag)
        if isinstance(self.object, AwsError):
            raise self.object
        return None if self.object[1] == known_etag else self.object


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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
        "key",
        space=SPACE,
        refresh=5.0,
        clock=clock,
    )


def seen(source: GallerySource) -> tuple[str, ...]:
    source.begin()
    return source.current().names


def test_nobody_enrolled_is_an_empty_gallery(source: GallerySource) -> None:
    assert seen(source) == ()


def test_a_new_version_is_noticed_when_it_is_time(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.object = (gallery().serialise(), "v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.object = (gallery(names=("Ada", "Alan")).serialise(), "v2")
    clock.now += 4.9
    assert seen(source) == ("Ada", "Grace")
    clock.now += 0.2
    assert seen(source) == ("Ada", "Alan")
    assert bucket.asked == [None, "v1"]


def test_a_broken_or_foreign_version_is_refused_and_the_last_good_one_serves(
    source: GallerySource, bucket: Bucket, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.object = (gallery().serialise(), "v1")
    assert seen(source) == ("Ada", "Grace")
    for data in (b"broken", gallery(space="other/facenet").serialise()):
        bucket.object = (data, "v2" + str(len(data)))
        clock.now += 6
        assert seen(source) == ("Ada", "Grace")
    lines = capsys.readouterr().out
    assert "not a gallery" in lines
    assert "facectl gallery enroll" in lines


def test_a_foreign_gallery_from_the_start_is_an_error_not_unknown(
    source: GallerySource, bucket: Bucket
) -> None:
    bucket.object = (gallery(space="other/facenet").serialise(), "v1")
    source.begin()
    with pytest.raises(GalleryFormatError, match="enrol again"):
        source.current()


def test_an_unreachable_bucket_is_an_error_until_it_answers(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.object = AwsError("no route")
    source.begin()
    with pytest.raises(GalleryFormatError, match="no route"):
        source.current()
    bucket.object = (gallery().serialise(), "v1")
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")
    bucket.object = AwsError("no route")
    clock.now += 6
    assert seen(source) == ("Ada", "Grace")


def test_removal_of_the_object_empties_the_gallery(
    source: GallerySource, bucket: Bucket, clock: Clock
) -> None:
    bucket.object = (gallery().serialise(), "v1")
    assert seen(source) == ("Ada", "Grace")
    bucket.object = AwsError("gone", status=404, code="NoSuchKey")
    clock.now += 6
    assert seen(source) == ()
