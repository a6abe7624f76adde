"""A deploy of broken code to a real local cloud, and the rollback from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Facectl, free_port, link_models

import lambda_src

pytestmark = pytest.mark.e2e


@pytest.fixture
def own(models_folder: Path, tmp_path: Path) -> Iterator[Facectl]:
    """A local cloud of its own, because the functions fail in between."""
    own = Facectl(link_models(models_folder, tmp_path / "home"))
    own("local", "up", "--port", free_port())
    yield own
    own("local", "down", expect=None)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with a copy of the functions' code in which face-detection can't start."""
    folder = tmp_path / "broken"
    source = Path(lambda_src.__file__).parent
    shutil.copytree(source, folder / "lambda_src", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "lambda_src" / "detection.py").open("a") as file:
        file.write('\nraise RuntimeError("broken")\n')
    return folder


def test_rollback_from_code_that_does_not_answer(
    own: Facectl, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own("deploy", "--asu-id", "v1", "--target", "local", "--memory", "2048")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        failed = own("deploy", "--memory", "4096", expect=1)
        assert "facectl rollback 1" in failed.stderr
        # This facectl has the broken code only: the other is read from the bucket.
        back = own.json("rollback")
        # And compares with the other.
        status = own.json("status")
        assert (status["drift"], status["rolled_back"]) == (False, {"version": 1, "from": None})
    changes = [change for step in back["steps"] for change in step["changes"]]
    assert {"attribute": "memory", "before": "4096", "after": "2048"} in changes
    assert "code" in [change["attribute"] for change in changes]
    assert [each["version"] for each in own.json("versions")] == [1]
