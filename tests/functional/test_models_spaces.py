"""The identity of embedding spaces, on the weights of casia-webface from the package index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from driver import casia_webface

from facectl.models import canonical, recorded, spaces
from facectl.models.archive import State


@pytest.fixture(scope="module")
def state() -> State:
    return casia_webface()


def unfolded(state: State, random: np.random.Generator) -> State:
    """The same network with other numbers: random gains, means and variances, as training leaves.

    Each normalisation computes (y - mean) * gain / deviation + bias; the convolution
    before it is divided by the factor, so that the outputs stay.
    """
    found = dict(state)
    for layer in canonical.shapes():
        name, normalisation = canonical.names(layer)
        if normalisation is None:
            continue
        old = {k: state[f"{normalisation}.{k}"].astype(np.float64) for k in KINDS}
        factor = old["weight"] / np.sqrt(old["running_var"] + canonical.EPSILON)
        new = {
            "weight": random.uniform(0.5, 2, factor.shape),
            "running_mean": random.normal(0, 0.3, factor.shape),
            "running_var": random.uniform(0.05, 3, factor.shape),
        }
        gain = new["weight"] / np.sqrt(new["running_var"] + canonical.EPSILON)
        bias = old["bias"] - old["running_mean"] * factor
        kernel = state[name].astype(np.float64)
        shape = (-1, *[1] * (kernel.ndim - 1))
        found[name] = (kernel * (factor / gain).reshape(shape)).astype(np.float32)
        found[f"{normalisation}.bias"] = (bias + new["running_mean"] * gain).astype(np.float32)
        for kind, values in new.items():
            found[f"{normalisation}.{kind}"] = values.astype(np.float32)
    return found


KINDS = ("weight", "bias", "running_mean", "running_var")


def test_the_graph_of_the_package_index_is_the_recorded_space(state: State) -> None:
    weights = canonical.canonical(state)
    assert canonical.digest(weights) == spaces.RECORDED["casia-webface"]
    assert spaces.recognised(weights) == "casia-webface"


def test_unfolded_weights_share_the_space(state: State) -> None:
    """As facenet-pytorch's release has them: other bytes, the same function."""
    weights = canonical.canonical(unfolded(state, np.random.default_rng(3)))
    assert canonical.digest(weights) != spaces.RECORDED["casia-webface"]
    assert spaces.identity(weights) == spaces.RECORDED["casia-webface"]


def test_perturbed_weights_have_a_space_of_their_own(state: State) -> None:
    """As after a little more training: every weight changed by about one percent."""
    random = np.random.default_rng(4)
    changed = {
        name: (values * random.normal(1, 0.01, values.shape)).astype(np.float32)
        if name.endswith("conv.weight")
        else values
        for name, values in state.items()
    }
    weights = canonical.canonical(changed)
    assert spaces.identity(weights) == canonical.digest(weights)


def test_the_recorded_outputs_belong_to_the_inputs() -> None:
    known = recorded.outputs()
    for name in recorded.SIZES:
        inputs = recorded.cascade_inputs(name)
        assert inputs.shape[1:] == (3, recorded.SIZES[name], recorded.SIZES[name])
        assert len(known[name]) == len(inputs)
    for name in spaces.RECORDED:
        for preprocessing in ("facenet", "cse546"):
            embeddings = known[f"{name}/{preprocessing}"]
            assert embeddings.shape == (len(recorded.embedder_inputs(preprocessing)), 512)
            assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert Path(recorded.FILE).stat().st_size < 400_000
