"""The functions' environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lambda_src.settings import FunctionSettings, available_threads


def test_defaults_are_facenet_pytorchs() -> None:
    settings = FunctionSettings.from_environment({})
    assert settings.min_face_size == 20
    assert settings.thresholds == (0.6, 0.7, 0.7)
    assert settings.pyramid_factor == 0.709


def test_every_setting_can_be_set() -> None:
    settings = FunctionSettings.from_environment(
        {
            "FACECTL_MODEL_DIR": "/m",
            "FACECTL_REQUEST_QUEUE_URL": "q1",
            "FACECTL_RESPONSE_QUEUE_URL": "q2",
            "FACECTL_GALLERY_BUCKET": "b",
            "FACECTL_GALLERY_REFRESH": "1.5",
            "FACECTL_MAX_RECEIVES": "4",
            "FACECTL_VISIBILITY_TIMEOUT": "90",
            "FACECTL_MAX_IMAGE_BYTES": "5",
            "FACECTL_MAX_IMAGE_PIXELS": "6",
            "FACECTL_MIN_FACE_SIZE": "40",
            "FACECTL_THRESHOLDS": "0.5,0.6,0.7",
            "FACECTL_PYRAMID_FACTOR": "0.8",
            "FACECTL_THREADS": "3",
            "FACECTL_LOG_NAMES": "0",
        }
    )
    assert settings == FunctionSettings(
        Path("/m"), "q1", "q2", "b", 1.5, 4, 90, 5, 6, 40, (0.5, 0.6, 0.7), 0.8, 3, False
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("FACECTL_THREADS", "two"), ("FACECTL_THRESHOLDS", "1,2"), ("FACECTL_THRESHOLDS", "a,b,c")],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        FunctionSettings.from_environment({name: value})


@pytest.mark.parametrize(("memory", "threads"), [(128, 1), (1769, 1), (3008, 2), (10240, 6)])
def test_threads_follow_the_memory_on_lambda(
    memory: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert available_threads({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory)}) == threads


def test_threads_follow_the_affinity_mask_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert available_threads({}) == 3
