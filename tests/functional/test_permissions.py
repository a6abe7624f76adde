"""The permissions that doctor asks about are those of the calls that the code makes."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.client import BaseClient
from moto_account import apply, found
from test_deploy_drift import DRIFTS

import facectl
from facectl.aws import ClientError
from facectl.deploy import status
from facectl.deploy.access import recognition_concurrency
from facectl.deploy.desired import resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import DesiredState
from facectl.deploy.permissions import OPERATIONS, actions
from facectl.deploy.planner import plan_removal
from facectl.deploy.resources import Context, Repository
from facectl.deploy.steps import Create, Delete, Update
from facectl.errors import CloudError

FACECTL = Path(facectl.__file__).parent
# Nobody needs a permission for the first; the others are of doctor's own questions.
NOT_OF_A_DEPLOY = {"sts:GetCallerIdentity", "iam:SimulatePrincipalPolicy", "sqs:ListQueues"}
# Of other services, under the same Python name.
NAMESAKES = {
    "budgets:ListTagsForResource",
    "budgets:TagResource",
    "budgets:UntagResource",
    "cloudwatch:UntagResource",
    "ecr:UntagResource",
    "iam:GetPolicy",
    "logs:UntagResource",
    "sns:AddPermission",
    "sns:Publish",
    "sns:RemovePermission",
    "sns:UntagResource",
    "sqs:AddPermission",
    "sqs:RemovePermission",
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The operations that facectl's own code calls, as `service:Operation`."""
    calls: set[str] = set()
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(self: Any, operation: str, arguments: Any) -> Any:
        frame = sys._getframe(1)
        while frame is not None:
            if Path(frame.f_code.co_filename).is_relative_to(FACECTL):
                calls.add(f"{self.meta.service_model.service_name}:{operation}")
                break
            if "/tests/" in frame.f_code.co_filename:
                break
            frame = frame.f_back  # type: ignore[assignment]
        return original(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return calls


def listed() -> set[str]:
    return {f"{service}:{name}" for service, names in OPERATIONS.items() for name in names}


def test_every_call_of_a_deployments_life_is_listed(
    context: Context, desired: DesiredState, recorded: set[str]
) -> None:
    apply(context, desired)
    for drift, _ in DRIFTS.values():
        # One drift may be of what another has deleted.
        with contextlib.suppress(ClientError):
            drift(context.clients)
    apply(context, desired)
    recognition_concurrency(context.clients, None, 10)
    for wanted in resources(desired):
        wanted.facts(context)
    status.last_error(context.clients, "face-detection", 1e9)
    for step in plan_removal(found(context, desired), desired.names.asu_id):
        apply_step(step, context)
    repository = Repository("face-detection", "42")
    apply_step(Create(repository), context)
    there = repository.read(context)
    assert there is not None
    apply_step(Update(repository, dataclasses.replace(there, immutable=False), ()), context)
    apply_step(Delete(repository), context)
    larger = dataclasses.replace(desired.sizing, provisioned_concurrency=1, reserved_concurrency=7)
    with contextlib.suppress(CloudError):  # moto has no provisioned concurrency
        apply(context, dataclasses.replace(desired, sizing=larger, auth="iam"))
    assert len(recorded) > 50
    assert recorded - NOT_OF_A_DEPLOY <= listed()


def named_in(*folders: str) -> set[str]:
    """The operations that the sources name, as an attribute or for a paginator."""
    session = botocore.session.get_session()
    known: dict[str, set[str]] = {}
    for service in OPERATIONS:
        for operation in session.get_service_model(service).operation_names:
            known.setdefault(xform_name(operation), set()).add(f"{service}:{operation}")
    found: set[str] = set()
    for folder in folders:
        for file in sorted((FACECTL / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                name = node.attr if isinstance(node, ast.Attribute) else None
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    name = node.value
                found |= known.get(name or "", set())
    return found


def test_the_sources_name_every_listed_operation_and_no_other() -> None:
    """What a recording may have missed, because it needs Docker or a gallery."""
    of_deploy = named_in("deploy", "gallery") - NOT_OF_A_DEPLOY - NAMESAKES
    assert of_deploy - listed() == set()
    # Answers are received, released and deleted by the probe, through facectl/stream.
    assert listed() - named_in("deploy", "gallery", "stream") == set()


def test_actions_have_the_names_that_iam_knows() -> None:
    needed = set(actions())
    assert {"s3:ListBucket", "s3:DeleteObject", "s3:GetBucketPublicAccessBlock"} <= needed
    assert {"s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"} <= needed
    assert {"sqs:DeleteMessage", "sqs:TagQueue", "iam:PassRole", "logs:TagResource"} <= needed
    assert not any(
        name.endswith(("Batch", "V2", "Objects", "Versions"))
        for name in needed - {"s3:ListBucketVersions"}
    )
    assert list(actions()) == sorted(needed)
