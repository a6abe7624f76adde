"""The thresholds of galleries that nobody has calibrated, for each embedding space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lambda_src.gallery.matching import COSINE
from lambda_src.vision.store import FACENET

CALIBRATE = "facectl gallery calibrate"


@dataclass(frozen=True, slots=True)
class DefaultThreshold:
    """A threshold and where it is from.

    distance: Euclidean, of L2-normalised embeddings. weights: None for the default of
    every space that was not measured. far: of comparisons of two photographs; measured:
    what they were.
    """

    distance: float
    weights: str | None = None
    far: float | None = None
    measured: str = ""

    def of(self, metric: str) -> float:
        """The threshold for a metric."""
        # Of L2-normalised embeddings: d² = 2 (1 - cosine).
        return self.distance**2 / 2 if metric == COSINE else self.distance

    def facts(self, metric: str) -> dict[str, Any]:
        """The default for JSON."""
        return {
            "threshold": self.of(metric),
            "weights": self.weights,
            "far": self.far,
            "measured": self.measured,
        }

    def __str__(self) -> str:
        if self.far is None:
            text = "default, not measured with these weights"
        else:
            text = f"default for {self.weights}: FAR {100 * self.far:g} %, measured on "
        return f"{text}{self.measured}; `{CALIBRATE}` replaces it"


# FaceNet's authors report 1.242 for the squared distance on LFW (Schroff et al. 2015,
# section 5.6), which is a distance of 1.11; 1.0 has fewer false accepts and more false
# rejects. vggface2 has this one: facectl's figures were made without these weights.
GENERAL = DefaultThreshold(1.0)
# By the names of the weights and the preprocessing, which both make the space.
_MEASURED = {
    # `make bench-accuracy`, docs/ACCURACY.md: photographs of five people, compared with each
    # other and with those of about twenty people more: FAR 0.1 %, FNMR 22 %. Searching the five,
    # with one photograph each: FNIR 0.27, FPIR 0.010; with five, 0.04 and 0.025; with about
    # twenty, 0.02 and 0.075.
    ("casia-webface", FACENET): DefaultThreshold(
        1.09, "casia-webface", 0.001, "19,226 pairs of photographs"
    ),
}


def default(space: str, model: str | None) -> DefaultThreshold:
    """The default of an embedding space; `model`: its model's name, None if it is not known."""
    preprocessing = space.partition("/")[2]
    # A model is called WEIGHTS-PREPROCESSING, with the precision after it if that is not fp32:
    # precisions share a space.
    weights, _, _ = (model or "").rpartition(f"-{preprocessing}")
    return _MEASURED.get((weights, preprocessing), GENERAL)
