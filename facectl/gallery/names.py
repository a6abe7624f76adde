"""Names that an answer can carry."""

from __future__ import annotations

import unicodedata

from facectl.errors import InputError
from lambda_src.contract import ERROR, NO_FACE, UNKNOWN

MAX_NAME = 100
# Invisible, but how emoji and several scripts are joined.
_JOINERS = {"\u200c", "\u200d"}


def check_name(name: str) -> str:
    """The name as it is stored; raises InputError for one that an answer could not carry."""
    name = unicodedata.normalize("NFC", name).strip()
    visible = "".join(character for character in name if character not in _JOINERS)
    if not visible or len(name) > MAX_NAME or not visible.isprintable() or "," in name:
        shown = name if len(name) <= MAX_NAME else f"{name[:40]}… ({len(name)} characters)"
        raise InputError(
            f"{shown!r} can't be a name: 1 to {MAX_NAME} printable characters without a comma, "
            "which separates the names in an answer"
        )
    if name in {UNKNOWN, NO_FACE, ERROR}:
        raise InputError(f"{name!r} can't be a name: it is one of the pipeline's own answers")
    return name
