"""A local cloud with the pipeline deployed, shared by the tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Facectl, free_port, link_models, sample

from facectl.demo import clip

__all__ = ["Facectl", "free_port", "link_models", "sample"]


@pytest.fixture(scope="session")
def facectl(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Facectl:
    """The command with a synthetic model installed."""
    return Facectl(link_models(models_folder, tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def deployed(facectl: Facectl) -> Iterator[Facectl]:
    """The command with a local cloud that runs and the pipeline deployed to it."""
    facectl("local", "up", "--port", free_port())
    try:
        facectl("deploy", "--asu-id", "e2e", "--target", "local")
        yield facectl
    finally:
        facectl("local", "down", expect=None)


@pytest.fixture(scope="session")
def portrait(facectl: Facectl) -> Path:
    """The demo's portrait as a JPEG file."""
    return clip.portrait_file(facectl.home)
