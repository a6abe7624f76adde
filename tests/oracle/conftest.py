"""A synthetic model, facenet-pytorch's own networks, and pictures to compare them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from driver import SAMPLES, models_home

from facectl.models import reference, store, synthetic
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import Model

__all__ = ["SAMPLES"]


@pytest.fixture(scope="session", params=["facenet", pytest.param("cse546", marks=pytest.mark.slow)])
def preprocessing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Models(dict[str, Model]):
    """Installed synthetic models by preprocessing; built when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, preprocessing: str) -> Model:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FACECTL_HOME", str(models_home(self.folder, preprocessing)))
            self[preprocessing] = store.find()
        return self[preprocessing]


@pytest.fixture(scope="session")
def built(shared_folder: Path) -> Models:
    return Models(shared_folder)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """torch's threads wait by spinning, which on cores with other work takes many times longer."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def detector(built: Models) -> Detector:
    return Detector(built["facenet"], threads=1)


@pytest.fixture(scope="session")
def embedder(built: Models, preprocessing: str) -> Embedder:
    return Embedder(built[preprocessing], threads=1)


@pytest.fixture(scope="session")
def original(preprocessing: str) -> Any:
    """facenet-pytorch's InceptionResnetV1 with the same synthetic weights."""
    return reference.embedder(synthetic.make(preprocessing).state)


@pytest.fixture(scope="session")
def mtcnn() -> Any:
    """facenet-pytorch's MTCNN as it comes, every face kept."""
    return reference.facenet().MTCNN(keep_all=True)
