"""The identity of an embedding space: which weights give embeddings that can be compared.

It is the digest of the canonical weights, with two exceptions:

- `vggface2` keeps the SHA-256 of its published file, by which galleries know it.
- Weights whose embeddings of the recorded crops agree with the recorded ones of facenet-pytorch
  share the identity of the weights that were recorded. Two conversions of the same training
  differ in the last bits, or fold batch normalisation in another order, and galleries do
  not notice: at a cosine of 0.99999 a distance changes by less than 0.005, and other
  trainings, fine-tuned ones too, are far below it.
"""

from __future__ import annotations

from facectl.models import canonical, recorded
from facectl.models.graph import Weights
from facectl.models.inception_resnet import embeddings
from lambda_src.vision.store import FACENET

# Weights that were recorded, with the digest of their canonical form.
RECORDED = {"casia-webface": "c32b9570a4ae392b04701e57c37fe4da93c7ce46e85b3da03979c8992dea334c"}
SAME = 0.99999


def identity(weights: Weights) -> str:
    """The identity of canonical weights, which a preprocessing completes to a space."""
    digest = canonical.digest(weights)
    if digest in RECORDED.values():
        return digest
    name = recognised(weights)
    return digest if name is None else RECORDED[name]


def recognised(weights: Weights) -> str | None:
    """The name of the recorded weights with the same embeddings."""
    found = embeddings(weights, recorded.embedder_inputs(FACENET), FACENET)
    for name in RECORDED:
        expected = recorded.outputs()[f"{name}/{FACENET}"]
        # Not a number is no agreement.
        if float((found * expected).sum(axis=1).min()) >= SAME:
            return name
    return None
