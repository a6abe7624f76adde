"""The two ways from a face to the embedder's input, each part of an embedding space's identity.

`facenet` is facenet-pytorch's own: a 160-pixel crop, fed as (x - 127.5) / 128.
`cse546` is the course's: a 240-pixel crop stretched to 0..255, saved as JPEG,
fed as x / 255. The embedder's graph does the feeding; crops stay bytes.
"""

from __future__ import annotations

FACENET = "facenet"
CSE546 = "cse546"
PREPROCESSINGS = (FACENET, CSE546)

_CROP_SIZES = {FACENET: 160, CSE546: 240}


def crop_size(preprocessing: str) -> int:
    """The side of a crop in pixels; raises ValueError for a preprocessing that is not known."""
    try:
        return _CROP_SIZES[preprocessing]
    except KeyError:
        known = " or ".join(PREPROCESSINGS)
        raise ValueError(f"preprocessing must be {known}, not {preprocessing!r}") from None
