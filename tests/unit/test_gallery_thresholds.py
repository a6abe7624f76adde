"""The threshold of a gallery that nobody has calibrated depends on its embedding space."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facectl.gallery import people, thresholds
from facectl.gallery.changes import EmbeddingSpace, Reference
from facectl.gallery.store import Store
from lambda_src.vision.store import Model

DIGEST = "ab" * 32
CASIA = thresholds.default("1/facenet", "casia-webface-facenet")


def model(name: str, preprocessing: str = "facenet", weights: str = "casia-webface") -> Model:
    return Model(Path("models") / name, f"{DIGEST}/{preprocessing}", preprocessing, False, weights)


@pytest.mark.parametrize("name", ["casia-webface-facenet", "casia-webface-facenet-int8"])
def test_measured_weights_have_a_measured_threshold(name: str) -> None:
    found = EmbeddingSpace.of(model(name)).default_threshold
    assert found == CASIA
    assert (found.weights, found.far) == ("casia-webface", 0.001)
    assert 1.0 < found.distance < 1.2
    assert str(found).startswith("default for casia-webface: FAR 0.1 %, measured on 19,226 pairs")


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("vggface2-facenet", "facenet"),
        ("casia-webface-cse546", "cse546"),
        ("casia-webface-mine-0123abcd-facenet", "facenet"),
        ("casia-webface-facenet-0123abcd-facenet", "facenet"),
        ("synthetic-facenet", "facenet"),
    ],
)
def test_other_weights_have_the_general_threshold(name: str, preprocessing: str) -> None:
    found = EmbeddingSpace.of(model(name, preprocessing)).default_threshold
    assert found == thresholds.GENERAL
    assert (found.of("euclidean"), found.of("cosine")) == (1.0, 0.5)
    assert "not measured with these weights" in str(found)
    assert "`facectl gallery calibrate` replaces it" in str(found)


def test_a_space_without_a_model_name_has_the_general_threshold() -> None:
    assert EmbeddingSpace(f"{DIGEST}/facenet").default_threshold == thresholds.GENERAL
    assert EmbeddingSpace("unusual", False, "-").default_threshold == thresholds.GENERAL


def test_both_metrics_accept_the_same_faces() -> None:
    cosine = 1 - CASIA.of("cosine")
    assert np.sqrt(2 * (1 - cosine)) == pytest.approx(CASIA.of("euclidean"))


def test_a_new_gallery_has_the_threshold_of_its_space() -> None:
    space = EmbeddingSpace.of(model("casia-webface-facenet"))
    with closing(Store.for_space("alice", space.id, model=space.model)) as store:
        assert store.settings.threshold == CASIA.distance
        assert people.configure(store, threshold=0.8, metric=None, matching=None)
        assert store.settings.threshold == 0.8


def test_an_empty_gallery_takes_the_threshold_of_the_next_space() -> None:
    Store.for_space("alice", f"{DIGEST}/facenet", model="vggface2-facenet").close()
    with closing(Store.for_space("alice", "2/facenet", model="casia-webface-facenet")) as store:
        assert store.settings.threshold == CASIA.distance


def test_a_space_keeps_the_threshold_that_was_set_for_it() -> None:
    old = EmbeddingSpace("1/facenet", False, "casia-webface-facenet")
    new = EmbeddingSpace("2/facenet", False, "vggface2-facenet")
    with closing(Store.for_space("alice", old.id, model=old.model)) as store:
        with store.change("enroll") as change:
            change.add("Ada", Reference(np.eye(1, 512, dtype=np.float32)[0]))
        people.configure(store, threshold=None, metric="cosine", matching=None)
        assert store.settings.threshold == pytest.approx(CASIA.of("cosine"))
        assert store.settings_for(new).threshold == 0.5
        people.configure(store, threshold=0.7, metric=None, matching=None)
        assert store.settings_for(old).threshold == 0.7
