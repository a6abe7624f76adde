"""A local cloud for fault injection, and the rows of the fault table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import pytest
from driver import Facectl, free_port, link_models
from fault_injection import ASU_ID, PEOPLE, TIMEOUT, FaultInjector, Outcome, looks
from fault_table import NOTE, ROW


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Iterator[list[Outcome]]:
    """Rows for the table that is printed at the end."""
    rows: list[Outcome] = []
    yield rows
    request.node.user_properties += [
        (ROW, {**asdict(row), "recovered": row.recovered}) for row in rows
    ]


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Sentences for below the table."""
    sentences: list[str] = []
    yield sentences
    request.node.user_properties += [(NOTE, sentence) for sentence in sentences]


@pytest.fixture(scope="session")
def injector(
    tmp_path_factory: pytest.TempPathFactory, models_folder: Path
) -> Iterator[FaultInjector]:
    folder = tmp_path_factory.mktemp("faults")
    facectl = Facectl(link_models(models_folder, tmp_path_factory.mktemp("home")))
    facectl("local", "up", "--port", free_port())
    try:
        facectl("deploy", "--asu-id", ASU_ID, "--target", "local", "--timeout", TIMEOUT)
        for name in PEOPLE[:3]:
            photo = folder / f"{name}.png"
            cv2.imwrite(str(photo), looks()[name])
            facectl("gallery", "enroll", name, photo)
        made = FaultInjector(facectl, folder)
        yield made
        made.proxy.stop()
    finally:
        facectl("local", "down", expect=None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"
