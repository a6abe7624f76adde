"""A stack made from the exported template is what `facectl deploy` makes: a plan changes nothing.

MiniStack makes the stack. Its CloudFormation ignores some properties: `complete` sets those as the
template says. Whatever else it ignored would be a step of the plan. It has no budgets and no
provisioned pollers; tests/unit/test_export.py compares those with the desired resources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from stream_stub import Emulator, until

from facectl.aws import Clients
from facectl.cli.deploy_report import step_line
from facectl.context import Deployment
from facectl.deploy import deployer, planner
from facectl.deploy.desired import resources
from facectl.deploy.models import DesiredState, Package, Packages, Restored
from facectl.deploy.options import Options
from facectl.deploy.resources import Context
from facectl.export import cloudformation
from facectl.export.state import desired_state, given_images
from facectl.naming import FUNCTIONS
from lambda_src.vision.store import Model

NUMBER = "000000000000"
REGISTRY = f"{NUMBER}.dkr.ecr.us-east-1.amazonaws.com"
TAG = "0123456789abcdef"
STACK = "facectl-42"
KEY = f"arn:aws:kms:us-east-1:{NUMBER}:key/abc"
ROLE = f"arn:aws:iam::{NUMBER}:role/LabRole"
OPTIONS = {
    "defaults": Options(max_concurrency=7),
    "public": Options(
        auth="none", reserved_concurrency=3, max_concurrency=4, memory=1024, timeout=30,
        batch_size=3, architecture="arm64", log_names=False,
    ),
    "everything": Options(
        auth="none", alarms="a@example.com", kms_key=KEY, provisioned_concurrency=1,
        reserved_concurrency=4,
        pollers=(2, 5), boundary=f"arn:aws:iam::{NUMBER}:policy/Bound",
    ),
    "given": Options(
        max_concurrency=5, role_arn=ROLE,
        image_uris=tuple(f"{function}=registry.example/{function}:1" for function in FUNCTIONS),
    ),
}  # fmt: skip
# What MiniStack has not.
MISSING = [
    "update trigger 42-req-queue → face-recognition (pollers none → 2, 5)",
    "create budget facectl-42-us-east-1",
]


@dataclass
class Stack:
    """A stack in MiniStack."""

    clients: Clients
    api: Any

    def apply(self, template: dict[str, Any], **parameters: str) -> dict[str, str]:
        """Create or update the stack; return its outputs."""
        exists = any(each["StackName"] == STACK for each in self.api.describe_stacks()["Stacks"])
        call = self.api.update_stack if exists else self.api.create_stack
        call(
            StackName=STACK,
            TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
        found = self.settled()
        assert found["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), self.failures()
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}

    def settled(self) -> dict[str, Any]:
        def state() -> Any:
            return self.api.describe_stacks(StackName=STACK)["Stacks"][0]

        until(lambda: not state()["StackStatus"].endswith("IN_PROGRESS"))
        return dict(state())

    def failures(self) -> list[Any]:
        events = self.api.describe_stack_events(StackName=STACK)["StackEvents"]
        return [each for each in events if "FAILED" in each["ResourceStatus"]]

    def delete(self) -> None:
        self.api.delete_stack(StackName=STACK)
        until(lambda: STACK not in [each["StackName"] for each in self.listed()])

    def listed(self) -> list[Any]:
        return list(self.api.describe_stacks()["Stacks"])


@pytest.fixture
def stack(isolated: object, emulator: Emulator) -> Iterator[Stack]:
    # MiniStack's CloudFormation names queues by this host.
    url = emulator.url.replace("127.0.0.1", "localhost")
    api: Any = boto3.client("cloudformation", endpoint_url=url, region_name="us-east-1")
    stack = Stack(Clients(Deployment("42", "aws", endpoint_url=url, account=NUMBER)), api)
    yield stack
    stack.delete()


def exported(stack: Stack, options: Options) -> dict[str, Any]:
    state = desired_state(stack.clients.deployment, options, cloudformation.DIALECT)
    template = cloudformation.template(state, given_images(options))
    # MiniStack has no such type.
    template["Resources"].pop("Budget", None)
    return template


def wanted(stack: Stack, model: Model, options: Options) -> DesiredState:
    """What a deploy makes, with images of a fixed tag instead of built ones."""
    if not options.image_uris:
        detection, recognition = (
            Package("image", f"{REGISTRY}/{function}:{TAG}", tag=TAG) for function in FUNCTIONS
        )
        options = replace(options, restored=Restored(1, Packages(detection, recognition)))
    return deployer.desired_state(stack.clients, model, options)


def steps(stack: Stack, state: DesiredState) -> list[str]:
    actual = deployer.read(stack.clients, state)
    return [step_line(step) for step in planner.plan(resources(state), actual)]


def push_images(stack: Stack) -> None:
    for function in FUNCTIONS:
        stack.clients.ecr.put_image(
            repositoryName=function,
            imageManifest=json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:0"}}),
            imageTag=TAG,
        )


def complete(stack: Stack, template: dict[str, Any]) -> None:
    """Set what MiniStack's CloudFormation ignores, as the template says."""
    for block in template["Resources"].values():
        properties = block["Properties"]
        complete_one = IGNORED.get(block["Type"])
        if complete_one is not None:
            complete_one(stack.clients, properties)


def complete_role(clients: Clients, properties: Any) -> None:
    if "PermissionsBoundary" in properties:
        clients.iam.put_role_permissions_boundary(
            RoleName=properties["RoleName"], PermissionsBoundary=properties["PermissionsBoundary"]
        )


def complete_bucket(clients: Clients, properties: Any) -> None:
    name = clients.deployment.names.bucket(NUMBER, "us-east-1")
    assert properties["BucketName"]["Fn::Sub"] == "facectl-42-${AWS::AccountId}-${AWS::Region}"
    clients.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": properties["Tags"]})
    [rule] = properties["LifecycleConfiguration"]["Rules"]
    clients.s3.put_bucket_lifecycle_configuration(
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": rule["Id"],
                    "Status": rule["Status"],
                    "Filter": {"Prefix": rule["Prefix"]},
                    "Expiration": {"Days": rule["ExpirationInDays"]},
                    "AbortIncompleteMultipartUpload": rule["AbortIncompleteMultipartUpload"],
                }
            ]
        },
    )
    [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    default = rule.pop("ServerSideEncryptionByDefault")
    clients.s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={
            "Rules": [{**rule, "ApplyServerSideEncryptionByDefault": default}]
        },
    )


def complete_function(clients: Clients, properties: Any) -> None:
    if "ReservedConcurrentExecutions" in properties:
        clients.functions.put_function_concurrency(
            FunctionName=properties["FunctionName"],
            ReservedConcurrentExecutions=properties["ReservedConcurrentExecutions"],
        )


def complete_trigger(clients: Clients, properties: Any) -> None:
    [mapping] = clients.functions.list_event_source_mappings()["EventSourceMappings"]
    arn = f"arn:aws:lambda:us-east-1:{NUMBER}:event-source-mapping:{mapping['UUID']}"
    tags = {each["Key"]: each["Value"] for each in properties["Tags"]}
    clients.functions.tag_resource(Resource=arn, Tags=tags)


IGNORED: dict[str, Callable[[Clients, Any], None]] = {
    "AWS::IAM::Role": complete_role,
    "AWS::S3::Bucket": complete_bucket,
    "AWS::Lambda::Function": complete_function,
    "AWS::Lambda::EventSourceMapping": complete_trigger,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_deploy_changes_nothing_in_a_stack(name: str, stack: Stack, model: Model) -> None:
    options = OPTIONS[name]
    template = exported(stack, options)
    outputs = stack.apply(template)
    if not options.image_uris:
        assert "FunctionUrl" not in outputs
        assert stack.clients.functions.list_functions()["Functions"] == []
        push_images(stack)
        images = {
            parameter: f"{REGISTRY}/{function}:{TAG}"
            for function, parameter in cloudformation.IMAGES.items()
        }
        outputs = stack.apply(template, **images)
    assert outputs["FunctionUrl"].startswith("https://")
    assert outputs["GalleryBucket"] == f"facectl-42-{NUMBER}-us-east-1"
    complete(stack, template)
    assert steps(stack, wanted(stack, model, options)) == (MISSING if name == "everything" else [])


def test_the_public_statements_of_a_stack_are_removed_when_the_url_is_closed(
    stack: Stack, model: Model
) -> None:
    """CloudFormation gives them names of its own."""
    options = replace(OPTIONS["given"], auth="none")
    template = exported(stack, options)
    stack.apply(template)
    complete(stack, template)
    document = stack.clients.functions.get_policy(FunctionName="face-detection")["Policy"]
    assert "facectl-public-url" not in document
    closed = wanted(stack, model, replace(options, auth="iam"))
    context = Context(stack.clients, closed.account)
    for step in planner.plan(resources(closed), deployer.read(stack.clients, closed)):
        deployer.apply_step(step, context)
    assert steps(stack, closed) == []
    left = stack.clients.functions.get_policy(FunctionName="face-detection")["Policy"]
    assert json.loads(left)["Statement"] == []
