"""What the tests of this folder share: a pipeline to talk to, an account, a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import running_browser
from moto.awslambda import urls
from moto.budgets.responses import BudgetsResponse
from moto.core.responses import ActionResult
from moto.iam.access_control import PermissionResult
from moto.iam.responses import IamResponse
from moto.logs.responses import LogsResponse
from moto.s3.models import FakeBucket
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


def _subscribers(response: Any) -> str:
    budgets = response.backend.budgets[response._get_param("AccountId")]
    budget = budgets[response._get_param("BudgetName")]
    wanted = response._get_param("Notification")
    [found] = [each for each in budget.notifications if each.details == wanted]
    return json.dumps({"Subscribers": found.subscribers})


# moto has every other call of a budget.
BudgetsResponse.describe_subscribers_for_notification = _subscribers


def _set_key(response: Any) -> str:
    group = response.logs_backend.groups[response._get_param("logGroupName")]
    group.kms_key_id = response._get_param("kmsKeyId")
    return ""


# moto takes a key of a new log group only.
LogsResponse.associate_kms_key = LogsResponse.disassociate_kms_key = _set_key

# moto ignores the condition of a bucket's policy: what denies plain HTTP would deny everything.
FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL

# Everything is allowed: moto does not simulate policies.
IamResponse.simulate_principal_policy = _simulate


# moto has everything that a deployment asks Lambda for, but this.
urls.url_paths[r"{0}/(?P<api_version>[^/]+)/account-settings/?$"] = _account_settings
