"""The zip of the functions' code."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from pathlib import Path

from facectl.deploy.packages import zip_package


def write_sources(folder: Path) -> Path:
    sources = folder / "lambda_src"
    (sources / "vision" / "__pycache__").mkdir(parents=True)
    (sources / "__init__.py").write_text("")
    (sources / "b.py").write_text("B = 1\n")
    (sources / "a.py").write_text("A = 1\n")
    (sources / "vision" / "__init__.py").write_text("")
    (sources / "vision" / "__pycache__" / "c.pyc").write_bytes(b"x")
    (sources / "notes.txt").write_text("not code")
    return sources


def test_the_same_sources_make_the_same_bytes_whenever_they_were_written(tmp_path: Path) -> None:
    first = write_sources(tmp_path / "one")
    second = write_sources(tmp_path / "two")
    for file in second.rglob("*"):
        os.utime(file, (0, 1e9))
    (second / "a.py").chmod(0o600)
    assert zip_package(first).archive == zip_package(second).archive


def test_it_holds_the_sources_alone_and_lambdas_digest(tmp_path: Path) -> None:
    package = zip_package(write_sources(tmp_path))
    names = zipfile.ZipFile(io.BytesIO(package.archive)).namelist()
    assert names == [
        "lambda_src/__init__.py",
        "lambda_src/a.py",
        "lambda_src/b.py",
        "lambda_src/vision/__init__.py",
    ]
    assert package.digest == base64.b64encode(hashlib.sha256(package.archive).digest()).decode()


def test_an_edit_changes_the_digest(tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    before = zip_package(sources).digest
    (sources / "a.py").write_text("A = 2\n")
    assert zip_package(sources).digest != before


def test_the_installed_package_has_both_handlers() -> None:
    names = zipfile.ZipFile(io.BytesIO(zip_package().archive)).namelist()
    assert {"lambda_src/detection.py", "lambda_src/recognition.py"} <= set(names)
