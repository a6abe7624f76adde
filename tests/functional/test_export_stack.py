"""A stack made from the exported template is what `facectl deploy` makes: a plan changes nothing.

MiniStack makes the stack. Its CloudFormation ignores some properties: `complete` sets those as the
template says. Whatever else it ignored would be a step of the plan. It has no budgets and no
provisioned pollers; tests/unit/test_export.py compares those with the desired resources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from export_samples import TAG, deployed_by_facectl, image_uris, options_of
from PIL import Image
from stream_stub import Emulator, run, until

from facectl.aws import Clients
from facectl.cli.deploy_report import step_line
from facectl.context import Deployment
from facectl.deploy import attach, deployer, planner
from facectl.deploy.desired import resources
from facectl.deploy.models import DesiredState
from facectl.deploy.options import Options
from facectl.deploy.resources import Context
from facectl.export import cloudformation
from facectl.export.state import desired_state, given_images
from facectl.models import store
from facectl.naming import FUNCTIONS
from facectl.stream.transport import function_url
from lambda_src.vision.store import NETWORKS, Model

NUMBER = "000000000000"
STACK = "facectl-42"
OPTIONS = options_of(NUMBER)
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
            cloudformation.IMAGES[function]: uri for function, uri in image_uris(NUMBER).items()
        }
        outputs = stack.apply(template, **images)
    # `send` finds it without a record, at the function or at its alias.
    assert function_url(stack.clients) == outputs["FunctionUrl"]
    assert outputs["GalleryBucket"] == f"facectl-42-{NUMBER}-us-east-1"
    complete(stack, template)
    assert steps(stack, deployed_by_facectl(stack.clients, model, options)) == (
        MISSING if name == "everything" else []
    )
    _, found = attach.find(stack.clients.deployment, None)
    uris = options.image_uris or [f"{name}={uri}" for name, uri in image_uris(NUMBER).items()]
    auth = options.auth or "iam"
    assert found == replace(options, auth=auth, image_uris=tuple(uris), pollers=None)


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
    closed = deployed_by_facectl(stack.clients, model, replace(options, auth="iam"))
    context = Context(stack.clients, closed.account)
    for step in planner.plan(resources(closed), deployer.read(stack.clients, closed)):
        deployer.apply_step(step, context)
    assert steps(stack, closed) == []
    left = stack.clients.functions.get_policy(FunctionName="face-detection")["Policy"]
    assert json.loads(left)["Statement"] == []


# face-detection without a model: every frame is answered with no face.
STAND_IN = """
import base64, json, os, boto3

def handler(event, context):
    body = event["body"]
    frame = json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    answer = json.dumps({"request_id": frame["request_id"], "result": "No-Face"})
    queue = os.environ["FACECTL_RESPONSE_QUEUE_URL"]
    boto3.client("sqs", region_name="us-east-1").send_message(QueueUrl=queue, MessageBody=answer)
    return {"statusCode": 200, "body": json.dumps({"request_id": frame["request_id"], "faces": 0})}
"""


def test_the_commands_work_with_a_stack(stack: Stack, tmp_path: Path) -> None:
    """Both functions are zips, which MiniStack runs without an engine."""
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": False, "weights": "vggface2"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
    template = exported(stack, OPTIONS["given"])
    for function in FUNCTIONS:
        name = f"{function.removeprefix('face-').capitalize()}Function"
        properties = template["Resources"][name]["Properties"]
        properties.update(
            PackageType="Zip", Runtime="python3.12", Handler="index.handler",
            Code={"ZipFile": STAND_IN},
        )  # fmt: skip
    stack.apply(template)
    complete(stack, template)
    where = ("--asu-id", "42", "--target", "aws", "--region", "us-east-1")
    where = (*where, "--endpoint-url", str(stack.clients.deployment.endpoint_url))
    added = run("context", "add", *where, "--json")
    assert added.exit_code == 0, added.output
    assert json.loads(added.stdout)["space"] == "abc/facenet"

    status = run("status", *where, "--json")
    # Only the code of the stand-in is not this computer's.
    states = {(each["kind"], each["state"]) for each in json.loads(status.stdout)["resources"]}
    assert {kind for kind, state in states if state != "ok"} == {"function"}
    assert ("queue", "ok") in states
    assert json.loads(status.stdout)["template"]["form"] == "cloudformation"

    image = tmp_path / "frame.png"
    Image.new("RGB", (64, 64)).save(image)
    sent = run("send", str(image), *where, "--json")
    assert sent.exit_code == 0, sent.output
    assert '"No-Face"' in sent.stdout
    assert run("purge", *where, "--yes", "--no-wait").exit_code == 0
    logs = run("logs", *where)
    assert logs.exit_code == 0, logs.output
