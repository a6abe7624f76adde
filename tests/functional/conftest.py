"""What the tests of this folder share: a pipeline to talk to, an account, a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import running_browser
from moto.awslambda import urls
from moto.core.responses import ActionResult
from moto.iam.responses import IamResponse
from moto_account import clients, context, desired
from stream_stub import Emulator, Pipeline, answering

from lambda_src.vision.store import MANIFEST, NETWORKS, Model


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """A MiniStack for every test that only needs queues."""
    emulator = Emulator()
    yield emulator
    emulator.stop()


@pytest.fixture
def pipeline(isolated: object, emulator: Emulator) -> Iterator[Pipeline]:
    """Queues of its own and a scripted function; remembered as the current deployment."""
    pipeline = Pipeline(answering, emulator.url)
    yield pipeline
    pipeline.shut()


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model whose files hold their names, for what only hashes and copies them."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (MANIFEST, *NETWORKS):
        (folder / name).write_text(name)
    return Model(folder, "abc/facenet", "facenet", True, "synthetic")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as browser:
        yield browser


# Fixtures of a deployment in moto, for the tests of this folder.
__all__ = ["clients", "context", "desired"]


def _account_settings(*_: Any) -> tuple[int, dict[str, str], str]:
    return 200, {}, json.dumps({"AccountLimit": {"ConcurrentExecutions": 1000}})


def _simulate(response: Any) -> ActionResult:
    results = [
        {"EvalActionName": name, "EvalDecision": "allowed"}
        for name in response._get_param("ActionNames")
    ]
    return ActionResult({"EvaluationResults": results})


# Everything is allowed: moto does not simulate policies.
IamResponse.simulate_principal_policy = _simulate


# moto has everything that a deployment asks Lambda for, but this.
urls.url_paths[r"{0}/(?P<api_version>[^/]+)/account-settings/?$"] = _account_settings
