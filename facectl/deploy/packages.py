"""Builds the zip of `lambda_src`, reproducibly: equal sources give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import lambda_src
from facectl.deploy.models import Package

# The earliest date in the zip format.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16
_UNIX = 3


def zip_package(sources: Path | None = None) -> Package:
    """The functions' code as a zip with `lambda_src` at its root, and Lambda's digest of it."""
    root = Path(lambda_src.__file__).parent if sources is None else sources
    stream = io.BytesIO()
    # Not compressed: compressors of different versions give different bytes.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(root.rglob("*.py")):
            info = zipfile.ZipInfo(f"lambda_src/{file.relative_to(root).as_posix()}", _DATE)
            info.external_attr = _MODE
            # The default depends on the operating system.
            info.create_system = _UNIX
            archive.writestr(info, file.read_bytes())
    data = stream.getvalue()
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
    return Package("zip", digest, data)
