"""Published galleries: manifests, parts, and the search of large galleries."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from lambda_src.gallery.loading import load
from lambda_src.gallery.matching import Gallery, GalleryFormatError
from lambda_src.gallery.parts import (
    FLOAT32,
    INT8,
    Manifest,
    PartRef,
    part_key,
    read_part,
    write_part,
)
from lambda_src.gallery.quantised import QuantisedGallery, mapped, nearest, signs


def people(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 512)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def part(rows: np.ndarray, first: int = 0, encoding: str = FLOAT32) -> bytes:
    return write_part([(f"p{first + i}", 1) for i in range(len(rows))], rows, encoding)


def ref(data: bytes, rows: int) -> PartRef:
    return PartRef(hashlib.sha256(data).hexdigest(), len(data), rows)


def manifest(*refs: PartRef, encoding: str = FLOAT32, **changes: object) -> Manifest:
    fields: dict[str, object] = {
        "lineage": "l", "version": 1, "published": "now", "space": "0123/facenet",
        "synthetic": False, "threshold": 1.0, "metric": "euclidean", "matching": "best",
        "people": 1, "encoding": encoding, "parts": refs,
    }  # fmt: skip
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_manifest_is_equal_after_a_round_trip() -> None:
    original = manifest(ref(b"x", 3), ref(b"y", 4))
    assert Manifest.parse(original.serialise()) == original
    assert original.rows == 7


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1}, {"parts": None}, {"parts": [{"sha256": "../../secret"}]},
        {"parts": [{"sha256": "a" * 64, "bytes": 10, "rows": 0}]},
        {"parts": [{"sha256": "a" * 64, "bytes": 1 << 60, "rows": 1}]},
        {"parts": [{"sha256": "g" * 64, "bytes": 10, "rows": 1}]},
        {"threshold": float("nan")}, {"threshold": 3}, {"metric": "hamming"},
        {"encoding": "int4"}, {"version": None},
    ],
)  # fmt: skip
def test_invalid_manifests_are_rejected(change: dict[str, object]) -> None:
    fields = {**json.loads(manifest().serialise()), **change}
    with pytest.raises(GalleryFormatError):
        Manifest.parse(json.dumps(fields).encode())


@pytest.mark.parametrize("data", [b"", b"broken", b"[]", b"null", b"[" * 100_000])
def test_data_that_is_not_a_manifest_is_rejected(data: bytes) -> None:
    with pytest.raises(GalleryFormatError):
        Manifest.parse(data)


def test_a_part_is_equal_after_a_round_trip() -> None:
    rows = people(5)
    data = write_part([("Ada", 2), ("Zoë 🦉/x", 3)], rows, FLOAT32)
    read = read_part(data)
    assert read.names == ["Ada"] * 2 + ["Zoë 🦉/x"] * 3
    np.testing.assert_array_equal(read.vectors, rows)


def test_quantised_rows_are_nearly_equal_to_the_originals() -> None:
    rows = people(100)
    read = read_part(part(rows, encoding=INT8))
    assert read.factors is not None
    back = read.vectors.astype(np.float32) * read.factors[:, None]
    assert np.einsum("ij,ij->i", back, rows).min() > 0.9998


@pytest.mark.parametrize("encoding", [FLOAT32, INT8])
def test_a_damaged_part_is_rejected(encoding: str) -> None:
    data = part(people(4), encoding=encoding)
    for broken in (
        data[:-1],
        data + b"x",
        data[:20],
        b"",
        b"x" * len(data),
        data[:8] + b"\xff" * 8,
    ):
        with pytest.raises(GalleryFormatError):
            read_part(broken)


def test_rows_that_are_not_of_length_one_are_rejected() -> None:
    rows = people(2)
    for bad in (0.0, np.nan, np.inf):
        broken = rows.copy()
        broken[1] = bad
        with pytest.raises(GalleryFormatError, match="length 1"):
            read_part(part(broken))
    data = bytearray(part(rows, encoding=INT8))
    data[-8:-4] = np.float32(np.nan).tobytes()
    with pytest.raises(GalleryFormatError, match="length 1"):
        read_part(bytes(data))


def test_a_header_with_too_many_rows_is_rejected_before_memory_is_allocated() -> None:
    header = json.dumps({"encoding": "int8", "names": ["a"], "counts": [10**12]}).encode()
    data = b"FACEPART" + len(header).to_bytes(8, "little") + header
    with pytest.raises(GalleryFormatError, match="invalid"):
        read_part(data + bytes(64))


class Shelf:
    """Parts by sha256, and a record of the requested ones."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = {hashlib.sha256(data).hexdigest(): data for data in parts}
        self.asked: list[str] = []

    def __call__(self, sha256: str) -> bytes:
        self.asked.append(sha256)
        return self.parts[sha256]


def test_a_small_gallery_is_exact() -> None:
    rows = people(6)
    one, two = part(rows[:2]), part(rows[2:], first=2)
    found, _ = load(manifest(ref(one, 2), ref(two, 4)), Shelf(one, two))
    assert isinstance(found, Gallery)
    assert [match.name for match in found.match(rows)] == [f"p{i}" for i in range(6)]


def test_the_next_version_fetches_what_differs() -> None:
    rows = people(6)
    one, two, new = part(rows[:2]), part(rows[2:], first=2), part(rows[3:], first=3)
    shelf = Shelf(one, two, new)
    _, held = load(manifest(ref(one, 2), ref(two, 4)), shelf)
    shelf.asked.clear()
    found, held = load(manifest(ref(one, 2), ref(new, 3)), shelf, held)
    assert shelf.asked == [ref(new, 3).sha256]
    assert len(found.names) == 5
    assert len(held) == 2


def test_a_part_with_another_digest_is_rejected() -> None:
    data = part(people(3))
    shelf = Shelf(data)
    good = ref(data, 3)
    shelf.parts[good.sha256] = part(people(3, seed=1))
    with pytest.raises(GalleryFormatError, match="damaged"):
        load(manifest(good), shelf)


def test_a_part_that_differs_from_the_manifest_is_rejected() -> None:
    data = part(people(3), encoding=INT8)
    with pytest.raises(GalleryFormatError, match="differs from the manifest"):
        load(manifest(ref(data, 3)), Shelf(data))
    with pytest.raises(GalleryFormatError, match="differs from the manifest"):
        load(manifest(replace(ref(data, 3), rows=4), encoding=INT8), Shelf(data))


def test_an_error_of_fetch_is_raised() -> None:
    data = part(people(3))
    with pytest.raises(KeyError):
        load(manifest(ref(data, 3), ref(b"gone", 1)), Shelf(data))


@pytest.fixture(scope="module")
def large() -> tuple[QuantisedGallery, np.ndarray]:
    rows = people(5000)
    parts = [part(rows[i : i + 1000], i, INT8) for i in range(0, 5000, 1000)]
    refs = [ref(data, 1000) for data in parts]
    found, _ = load(manifest(*refs, encoding=INT8, people=5000), Shelf(*parts))
    assert isinstance(found, QuantisedGallery)
    return found, rows


def test_a_quantised_gallery_matches_like_an_exact_one(
    large: tuple[QuantisedGallery, np.ndarray],
) -> None:
    found, rows = large
    exact = Gallery("0123/facenet", 1.0, tuple(f"p{i}" for i in range(5000)), rows)
    noise = people(200, seed=7)
    probes = 0.7 * rows[::25] + 0.71 * noise
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    for quick, slow in zip(found.match(probes), exact.match(probes), strict=True):
        assert quick.name == slow.name
        assert quick.distance == pytest.approx(slow.distance, abs=0.01)


def test_a_quantised_gallery_finds_unknown_and_the_nearest_people(
    large: tuple[QuantisedGallery, np.ndarray],
) -> None:
    found, rows = large
    assert found.match(people(1, seed=9))[0].name == "Unknown"
    assert found.match(np.zeros((0, 512), np.float32)) == []
    nearest = found.nearest(rows[1234], 5)
    assert nearest[0].name == "p1234"
    assert len({match.name for match in nearest}) == 5
    distances = [match.distance for match in nearest]
    assert distances == sorted(distances)  # type: ignore[type-var]


def test_mapped_memory_is_writable_and_its_file_is_unnamed(tmp_path: object) -> None:
    view = mapped(1 << 16)
    view[:3] = b"abc"
    assert bytes(view[:3]) == b"abc"
    assert len(view) == 1 << 16


def test_parts_are_in_a_folder_beside_the_manifest() -> None:
    assert part_key("gallery/current.json", "ab") == "gallery/parts/ab.part"
    assert part_key("current.json", "ab") == "parts/ab.part"


def test_memory_is_used_if_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    view = mapped(1 << 16)
    view[-1:] = b"x"
    assert len(view) == 1 << 16


@pytest.mark.parametrize("wanted", [1, 7, 1000])
def test_the_rows_with_the_fewest_other_bits_are_found(wanted: int) -> None:
    # More than one block, the last one partly filled; rows 3 and 40,000 are the same.
    vectors = people(40_001)
    vectors[40_000] = vectors[3]
    codes = signs(vectors)
    bits = np.unpackbits(codes.view(np.uint8), axis=1)
    for row in (0, 3, 32_767, 32_768, 40_000):
        apart = np.sum(bits != bits[row], axis=1)
        found = nearest(np.ascontiguousarray(codes.T), codes[row], wanted)
        assert np.array_equal(found, np.flatnonzero(apart <= np.sort(apart)[wanted - 1]))
        assert len(found) >= wanted


def test_fewer_rows_than_candidates_are_all_compared() -> None:
    codes = signs(people(5))
    assert list(nearest(np.ascontiguousarray(codes.T), codes[0], 5)) == [0, 1, 2, 3, 4]
