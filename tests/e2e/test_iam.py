"""A deployment on a local cloud that evaluates IAM: the roles allow what is needed, no more."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import free_port, link_models
from driver import isolate
from typer.testing import CliRunner

from facectl.aws import Clients
from facectl.cli.app import app
from facectl.context import Deployment
from facectl.deploy import deployer
from facectl.deploy.options import Options
from facectl.local import process
from facectl.local.settings import LocalSettings
from facectl.models import store
from lambda_src.gallery.parts import manifest_key, part_key

pytestmark = pytest.mark.e2e

# Makes one boto3 call with the role it runs as, and says how it went.
CALLER = b"""
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    client = boto3.client(event["service"], endpoint_url=event["endpoint"])
    try:
        getattr(client, event["call"])(**event["arguments"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "allowed"
"""


@pytest.fixture(scope="module")
def deployment(
    models_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Deployment]]:
    """The pipeline on a local cloud that evaluates IAM, and its home; another queue and bucket."""
    home = link_models(models_folder, tmp_path_factory.mktemp("iam-home"))
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, home)
        cloud, _ = process.start(LocalSettings(port=free_port(), evaluate_iam=True))
        try:
            wanted = Deployment(asu_id="iam", target="local", endpoint_url=cloud.endpoint_url)
            work = deployer.prepare(wanted, store.find(), Options(auth="iam"))
            deployer.apply(work)
            made = deployer.finish(work)
            # Both answer: what they have to do, their roles allow.
            deployer.check(work, made)
            clients = Clients(made)
            clients.sqs.create_queue(QueueName="another")
            clients.s3.create_bucket(Bucket="another")
            clients.s3.put_object(Bucket="another", Key="gallery/current.json", Body=b"x")
            yield home, made
        finally:
            process.stop()


@pytest.fixture
def strict(deployment: tuple[Path, Deployment], monkeypatch: pytest.MonkeyPatch) -> Clients:
    """The clients of that deployment, which is the one that commands talk to."""
    home, made = deployment
    monkeypatch.setenv("FACECTL_HOME", str(home))
    return Clients(made)


def call_as(clients: Clients, role: str, service: str, call: str, **arguments: Any) -> str:
    """What a call comes to that a function with this role makes: `allowed`, or AWS's code."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("caller.py", CALLER)
    name = f"caller-{role}"
    functions = clients.functions
    known = {each["FunctionName"] for each in functions.list_functions()["Functions"]}
    if name not in known:
        functions.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Handler="caller.handler",
            Role=f"arn:aws:iam::{clients.account}:role/{role}",
            Code={"ZipFile": stream.getvalue()},
            Timeout=30,
        )
        functions.get_waiter("function_active_v2").wait(FunctionName=name)
    answer = functions.invoke(
        FunctionName=name,
        Payload=json.dumps(
            {
                "service": service,
                "call": call,
                "arguments": arguments,
                "endpoint": clients.deployment.endpoint_url,
            }
        ).encode(),
    )
    return str(json.loads(answer["Payload"].read()))


def test_roles_allow_only_what_the_functions_do(strict: Clients) -> None:
    names = strict.deployment.names
    bucket = names.bucket(strict.account, "us-east-1")

    def url(queue: str) -> str:
        return strict.sqs.get_queue_url(QueueName=queue)["QueueUrl"]

    # A client's own queue, and one of another deployment whose name begins in the same way.
    foreign = f"{names.asu_id}-resp-req-queue"
    own = names.reply_queue("0123456789abcdef" * 2)
    for queue in (foreign, own):
        strict.sqs.create_queue(QueueName=queue)
    request, responses, another, foreign, own = (
        url(queue) for queue in (names.request_queue, names.response_queue, "another", foreign, own)
    )
    key = manifest_key(str(strict.deployment.space))
    part = {"Bucket": bucket, "Key": part_key(key, "0" * 64)}
    for each in (key, part["Key"]):
        strict.s3.put_object(Bucket=bucket, Key=each, Body=b"x")
    strict.s3.put_object(Bucket=bucket, Key="secret", Body=b"x")
    gallery = {"Bucket": bucket, "Key": key}
    detection, recognition = names.detection_role, names.recognition_role
    wanted = {
        (detection, "sqs", "send_message", request): True,
        (detection, "sqs", "send_message", responses): True,
        (detection, "sqs", "send_message", own): True,
        (detection, "sqs", "send_message", another): False,
        (detection, "sqs", "send_message", foreign): False,
        (detection, "sqs", "delete_queue", own): False,
        (detection, "sqs", "receive_message", request): False,
        (detection, "sqs", "receive_message", responses): False,
        (detection, "sqs", "purge_queue", request): False,
        (recognition, "sqs", "send_message", responses): True,
        (recognition, "sqs", "receive_message", request): True,
        (recognition, "sqs", "send_message", own): True,
        (recognition, "sqs", "send_message", foreign): False,
        (recognition, "sqs", "receive_message", own): False,
        (recognition, "sqs", "send_message", request): False,
        (recognition, "sqs", "send_message", another): False,
        (recognition, "sqs", "receive_message", another): False,
        (recognition, "sqs", "delete_queue", responses): False,
    }
    found = {}
    for role, service, call, queue in wanted:
        body = {"MessageBody": "x"} if call == "send_message" else {}
        outcome = call_as(strict, role, service, call, QueueUrl=queue, **body)
        found[role, service, call, queue] = outcome == "allowed"
        if outcome != "allowed":
            assert "AccessDenied" in outcome, outcome
    assert found == wanted

    assert call_as(strict, recognition, "s3", "get_object", **gallery) == "allowed"
    assert call_as(strict, recognition, "s3", "get_object", **part) == "allowed"
    attempt = {"Bucket": bucket, "Key": "attempts/a-message"}
    for call in ("put_object", "get_object", "delete_object"):
        assert call_as(strict, recognition, "s3", call, **attempt) == "allowed", call
    for role, call, arguments in (
        (detection, "get_object", gallery),
        (detection, "put_object", attempt),
        (recognition, "put_object", gallery),
        (recognition, "put_object", {"Bucket": bucket, "Key": "gallery/parts/a"}),
        (recognition, "put_object", {"Bucket": "another", "Key": "attempts/a-message"}),
        (recognition, "get_object", {"Bucket": bucket, "Key": "secret"}),
        (recognition, "get_object", {"Bucket": "another", "Key": "gallery/current.json"}),
        (recognition, "list_objects_v2", {"Bucket": "another"}),
        (recognition, "delete_object", gallery),
        (recognition, "delete_bucket", {"Bucket": bucket}),
    ):
        assert call_as(strict, role, "s3", call, **arguments) == "AccessDenied", (role, call)
    for role in (detection, recognition):
        assert "AccessDenied" in call_as(strict, role, "iam", "list_roles")
        assert "AccessDenied" in call_as(strict, role, "lambda", "list_functions")


def test_unsigned_requests_need_a_public_url(strict: Clients) -> None:
    url = str(strict.deployment.function_url)
    frame = json.dumps({"content": base64.b64encode(b"no image").decode(), "request_id": "r"})
    assert httpx.post(url, content=frame).status_code == 403

    deployment = strict.deployment
    work = deployer.prepare(deployment, store.find(), Options(auth="none"))
    deployer.apply(work)
    # Refused by the function itself: it is no image.
    assert httpx.post(url, content=frame).status_code == 400

    deployer.apply(deployer.prepare(deployment, store.find(), Options(auth="iam")))
    assert httpx.post(url, content=frame).status_code == 403


def test_send_signs_requests_for_an_iam_url(strict: Clients, portrait: Path) -> None:
    sent = CliRunner().invoke(app, ["send", str(portrait), "--json"])
    assert sent.exit_code == 0, sent.output
