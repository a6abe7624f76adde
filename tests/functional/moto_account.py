"""An AWS account of moto's, and a deployment in it that needs no Docker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws
from moto.awslambda.models import LambdaFunction
from moto.awslambda.policy import Policy
from moto.ecr.models import Image, ecr_backends

from facectl.aws import Clients
from facectl.cli.deploy_report import step_line
from facectl.container_images.blobs import sha256
from facectl.context import Deployment
from facectl.deploy import access, deployer
from facectl.deploy.desired import cloud, resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import DesiredState, Packages, Sizing
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import ActualState, plan
from facectl.deploy.resources import Context
from facectl.deploy.steps import Step
from facectl.naming import Names

ASU_ID = "1225754101"
DLQ = f"{ASU_ID}-req-dlq"
REQUESTS = f"{ASU_ID}-req-queue"
RESPONSES = f"{ASU_ID}-resp-queue"


def keep_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto write into a statement the two conditions that it takes and drops."""
    original = Policy.decode_policy

    def decode(self: Policy, statement: dict[str, Any]) -> Policy:
        authentication = statement.pop("FunctionUrlAuthType", None)
        via_url = statement.pop("InvokedViaFunctionUrl", None)
        if authentication is not None:
            equals = {"lambda:FunctionUrlAuthType": authentication}
            statement["Condition"] = {"StringEquals": equals}
        if via_url is not None:
            statement["Condition"] = {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
        return original(self, statement)

    monkeypatch.setattr(Policy, "decode_policy", decode)


def resolve_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto's Lambda take the image that a tag names in ECR at that moment, as AWS does.

    Source: Lambda API Reference, FunctionCodeLocation, ResolvedImageUri.
    """
    original = LambdaFunction._set_function_code

    def resolve(self: LambdaFunction, spec: dict[str, Any]) -> None:
        original(self, spec)
        name, _, tag = spec.get("ImageUri", "").partition("/")[2].partition(":")
        repository = ecr_backends[self.account_id][self.region].repositories.get(name)
        for image in repository.images if repository and tag else ():
            if tag in image.image_tags:
                self.code_sha_256 = image.get_image_digest().removeprefix("sha256:")

    def digest(self: Image) -> None:
        # moto's own is random.
        self._image_digest = sha256(self.image_manifest.encode())

    monkeypatch.setattr(LambdaFunction, "_set_function_code", resolve)
    monkeypatch.setattr(Image, "_create_digest", digest)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    keep_conditions(monkeypatch)
    with mock_aws():
        yield Clients(Deployment(asu_id=ASU_ID, target="aws"))


@pytest.fixture
def desired(clients: Clients) -> DesiredState:
    package = zip_package()
    return DesiredState(
        names=Names(ASU_ID),
        account=access.read_account(clients),
        # moto takes zips alone without an engine; everything else is AWS's.
        cloud=cloud("aws", "zip"),
        packages=Packages(package, package),
        sizing=Sizing(reserved_concurrency=5),
        environment={"FACECTL_MODEL_DIR": "/models/a"},
        auth="none",
    )


@pytest.fixture
def context(clients: Clients, desired: DesiredState) -> Context:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Context(clients, desired.account, clock=lambda: now[0], sleep=sleep)


def steps_of(context: Context, desired: DesiredState, *, adopt: bool = False) -> tuple[Step, ...]:
    return plan(resources(desired), found(context, desired), adopt=adopt)


def apply(context: Context, desired: DesiredState) -> list[str]:
    steps = steps_of(context, desired)
    for step in steps:
        apply_step(step, context)
    return [step_line(step) for step in steps]


def found(context: Context, desired: DesiredState) -> ActualState:
    return deployer.read(context.clients, desired)


def queue_url(clients: Clients, name: str) -> str:
    return clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]


def assert_nothing_left(clients: Clients) -> None:
    """Assert that the account has no resource of a deployment."""
    assert clients.sqs.list_queues().get("QueueUrls", []) == []
    assert clients.functions.list_functions()["Functions"] == []
    assert clients.functions.list_event_source_mappings()["EventSourceMappings"] == []
    assert clients.iam.list_roles()["Roles"] == []
    assert clients.s3.list_buckets()["Buckets"] == []
    assert clients.logs.describe_log_groups()["logGroups"] == []
