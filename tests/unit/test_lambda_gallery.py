"""A small gallery: matching and validation."""

from __future__ import annotations

import numpy as np
import pytest

from lambda_src.gallery.matching import Gallery, GalleryFormatError

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


def test_the_nearest_within_the_threshold_is_the_match() -> None:
    found = gallery().match(np.stack([unit(1, 0.1), unit(0.1, 1), unit(0, 0, 1)]))
    assert [match.name for match in found] == ["Ada", "Grace", "Unknown"]
    assert found[2].distance == pytest.approx(np.sqrt(2))


def test_a_distance_equal_to_the_threshold_is_a_match() -> None:
    probe = np.stack([unit(0, 0, 1)])
    assert gallery(threshold=1.4143).match(probe)[0].name == "Ada"
    assert gallery(threshold=1.4142).match(probe)[0].name == "Unknown"


def test_the_same_embedding_has_distance_zero_in_spite_of_rounding() -> None:
    probe = unit(*np.linspace(0.1, 1, 512))
    found = gallery(names=("Ada",), embeddings=probe[None]).match(probe[None])
    assert found[0].distance == pytest.approx(0, abs=1e-3)


def test_the_cosine_distance_is_one_minus_the_cosine() -> None:
    probe = np.stack([unit(1, 1)])
    found = gallery(metric="cosine", threshold=0.3).match(probe)[0]
    assert found.name == "Ada"
    assert found.distance == pytest.approx(1 - np.sqrt(0.5))
    assert gallery(metric="cosine", threshold=0.29).match(probe)[0].name == "Unknown"


def test_nearest_returns_different_people_the_nearest_first() -> None:
    many = gallery(
        names=("Ada", "Ada", "Grace", "Alan"),
        embeddings=np.stack([unit(1), unit(1, 0.1), unit(0.5, 1), unit(0, 0, 1)]),
    )
    found = many.nearest(unit(1, 0.05), 2)
    assert [match.name for match in found] == ["Ada", "Grace"]
    assert len(many.nearest(unit(1), 9)) == 3
    assert Gallery(SPACE, 1.0).nearest(unit(1), 5) == []


@pytest.mark.parametrize(
    "change", [{"metric": "hamming"}, {"threshold": 2.5}, {"threshold": np.nan}]
)
def test_invalid_settings_are_rejected(change: dict[str, object]) -> None:
    with pytest.raises(GalleryFormatError):
        gallery(**change)


def test_an_empty_gallery_matches_nobody() -> None:
    found = Gallery(SPACE, 1.0).match(np.stack([unit(1)]))
    assert (found[0].name, found[0].distance) == ("Unknown", None)


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
def test_invalid_embeddings_are_rejected(embeddings: np.ndarray) -> None:
    with np.errstate(all="ignore"), pytest.raises(GalleryFormatError, match=r"embedding"):
        gallery(embeddings=embeddings)
