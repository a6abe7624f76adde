"""Pictures inside an HTML report, as base64 of a JPEG."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageOps


def thumbnail(image: Image.Image | None, side: int = 200, *, whole: bool = False) -> str | None:
    """A square of `side` pixels, cropped to its middle; `whole`: scaled to fit instead."""
    if image is None:
        return None
    stream = io.BytesIO()
    fit = ImageOps.contain if whole else ImageOps.fit
    fit(image.convert("RGB"), (side, side)).save(stream, "JPEG", quality=82)
    return base64.b64encode(stream.getvalue()).decode()
