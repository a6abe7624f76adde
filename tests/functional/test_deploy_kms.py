"""`--kms-key`: queues, bucket and log groups are encrypted with it, and roles may use it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from moto_account import ASU_ID, RESPONSES, apply, found, queue_url
from test_deploy_command import FIRST, facectl
from test_permissions import listed, recorded
from test_status_and_doctor import model

from facectl.aws import Clients
from facectl.deploy import deployer
from facectl.deploy.access import account_of
from facectl.deploy.executor import apply_step
from facectl.deploy.models import OFF, DesiredState
from facectl.deploy.options import Options
from facectl.deploy.planner import plan_removal
from facectl.deploy.policies import Person, Scope, grants
from facectl.deploy.resources import Context, Role, queues
from facectl.errors import InputError
from facectl.naming import Names
from lambda_src.vision.store import Model

__all__ = ["model", "recorded"]
NUMBER = "123456789012"
KEY = f"arn:aws:kms:us-east-1:{NUMBER}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = f"arn:aws:kms:us-east-1:{NUMBER}:key/mrk-1234abcd12ab34cd56ef1234567890ab"
BUCKET = f"facectl-{ASU_ID}-{NUMBER}-us-east-1"
LOG = "/aws/lambda/face-detection"
Drift = Callable[[Clients], object]


@pytest.fixture
def encrypted(desired: DesiredState) -> DesiredState:
    return dataclasses.replace(desired, kms_key=KEY)


def key_of_object(clients: Clients, name: str) -> str | None:
    return clients.s3.head_object(Bucket=BUCKET, Key=name).get("SSEKMSKeyId")


def keys(clients: Clients) -> set[str | None]:
    """The keys of the queues, the bucket and the log groups."""
    groups: Any = clients.logs.describe_log_groups()["logGroups"]
    answers: Any = [
        clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for url in clients.sqs.list_queues()["QueueUrls"]
    ]
    rules: Any = clients.s3.get_bucket_encryption(Bucket=BUCKET)
    [rule] = rules["ServerSideEncryptionConfiguration"]["Rules"]
    return {
        *(group.get("kmsKeyId") for group in groups),
        *(attributes.get("KmsMasterKeyId") for attributes in answers),
        rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID"),
    }


def test_everything_is_encrypted_with_the_key(context: Context, encrypted: DesiredState) -> None:
    apply(context, encrypted)
    assert keys(context.clients) == {KEY}
    assert apply(context, encrypted) == []


def test_a_key_is_added_changed_and_removed(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    clients = context.clients
    clients.s3.put_object(Bucket=BUCKET, Key="gallery/current.json", Body=b"{}")
    plain = found(context, desired)
    for key in (KEY, OTHER):
        lines = apply(context, dataclasses.replace(desired, kms_key=key))
        # The roles first: functions may use a key before it encrypts.
        kinds = [line.split()[1] for line in lines]
        assert kinds == ["role"] * 2 + ["bucket"] + ["queue"] * 3 + ["log"] * 2
        assert keys(clients) == {key}
        assert key_of_object(clients, "gallery/current.json") == key
        assert apply(context, dataclasses.replace(desired, kms_key=key)) == []
    apply(context, desired)
    assert found(context, desired) == plain
    assert keys(clients) <= {None, ""}
    assert key_of_object(clients, "gallery/current.json") is None
    body = clients.s3.get_object(Bucket=BUCKET, Key="gallery/current.json")["Body"].read()
    assert body == b"{}"


def test_an_interrupted_encryption_of_objects_is_continued(
    context: Context, encrypted: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(context, dataclasses.replace(encrypted, kms_key=""))
    clients = context.clients
    for name in ("gallery/a", "gallery/b"):
        clients.s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    copy, copied = clients.s3.copy_object, []

    def interrupted(**arguments: Any) -> Any:
        if copied:
            raise KeyboardInterrupt
        copied.append(arguments["Key"])
        return copy(**arguments)

    monkeypatch.setattr(clients.s3, "copy_object", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apply(context, encrypted)
    monkeypatch.setattr(clients.s3, "copy_object", copy)
    assert f"update bucket {BUCKET} (kms key none → " in "".join(apply(context, encrypted))
    assert {key_of_object(clients, name) for name in ("gallery/a", "gallery/b")} == {KEY}


def test_the_roles_may_use_this_key_only(context: Context, encrypted: DesiredState) -> None:
    apply(context, encrypted)
    roles = [each for each in found(context, encrypted).values() if isinstance(each, Role)]
    assert len(roles) == 2
    for role in roles:
        statements = json.loads(role.policy)["Statement"]
        [use] = [each for each in statements if "kms" in json.dumps(each["Action"])]
        assert use == {
            "Sid": "UseKey",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": KEY,
        }


def set_queue_key(value: str) -> Drift:
    def drift(clients: Clients) -> None:
        url = queue_url(clients, RESPONSES)
        kept = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        # moto forgets a policy that is not said again.
        changed: Any = {**kept.get("Attributes", {}), "KmsMasterKeyId": value}
        clients.sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)

    return drift


DRIFTS: dict[str, tuple[Drift, str]] = {
    "queue": (set_queue_key(OTHER), f"update queue {RESPONSES} (kms key arn:aws:kms"),
    "queue without": (set_queue_key(""), f"update queue {RESPONSES} (kms key none → arn:aws"),
    "log group": (
        lambda clients: clients.logs.disassociate_kms_key(logGroupName=LOG),
        f"update log group {LOG} (kms key none → arn:aws:kms",
    ),
    "log group's key": (
        lambda clients: clients.logs.associate_kms_key(logGroupName=LOG, kmsKeyId=OTHER),
        f"update log group {LOG} (kms key arn:aws:kms",
    ),
    "bucket": (
        lambda clients: clients.s3.delete_bucket_encryption(Bucket=BUCKET),
        f"update bucket {BUCKET} (kms key none → arn:aws:kms",
    ),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_drift_of_the_key_is_told_and_repaired(
    context: Context, encrypted: DesiredState, what: str
) -> None:
    drift, line = DRIFTS[what]
    apply(context, encrypted)
    whole = found(context, encrypted)
    drift(context.clients)
    [told] = apply(context, encrypted)
    assert line in told
    assert found(context, encrypted) == whole


def test_sqs_is_told_one_kind_of_encryption(encrypted: DesiredState) -> None:
    """Two are an error of SetQueueAttributes (SQS API Reference)."""
    for state in (encrypted, dataclasses.replace(encrypted, kms_key="")):
        for queue in queues.desired(state):
            attributes = queue.attributes()
            key = attributes["KmsMasterKeyId"]
            assert bool(key) is ("SqsManagedSseEnabled" not in attributes)


def test_every_call_with_a_key_is_listed(
    context: Context, encrypted: DesiredState, recorded: set[str]
) -> None:
    apply(context, encrypted)
    context.clients.s3.put_object(Bucket=BUCKET, Key="gallery/a", Body=b"x")
    apply(context, dataclasses.replace(encrypted, kms_key=""))
    apply(context, encrypted)
    for step in plan_removal(found(context, encrypted), ASU_ID):
        apply_step(step, context)
    assert {"s3:CopyObject", "s3:PutBucketEncryption", "logs:AssociateKmsKey"} <= recorded
    assert recorded - {"sts:GetCallerIdentity"} <= listed()


@pytest.mark.parametrize(
    ("person", "allowed"),
    [
        ("deployer", ("kms:Decrypt", "kms:GenerateDataKey")),
        ("sender", ("kms:Decrypt",)),
        ("reader", ("kms:Decrypt",)),
    ],
)
def test_the_policies_of_people_allow_the_key(person: Person, allowed: tuple[str, ...]) -> None:
    done = facectl(
        "policy", person, "--asu-id", "42", "--target", "aws", "--region", "us-east-1",
        "--kms-key", KEY,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    [statement] = [s for s in json.loads(done.stdout)["Statement"] if s["Sid"] == "Key"]
    assert (tuple(statement["Action"]), statement["Resource"]) == (allowed, KEY)
    account = account_of(deployer.Deployment("42", "aws", account=NUMBER))
    assert "Key" not in {grant.sid for grant in grants(person, Scope(Names("42"), account))}


@pytest.mark.parametrize(
    "text",
    ["", "key", "alias/gallery", KEY.rpartition("/")[2], KEY.replace("key/", "alias/"),
     KEY.replace(NUMBER, "42"), KEY + "\n", KEY.replace("kms", "iam"), KEY + "/x"],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is neither the ARN of a key nor 'off'"):
        Options(kms_key=text)


@pytest.mark.parametrize(
    "arn",
    [
        KEY.replace("us-east-1", "eu-west-1"),
        KEY.replace(NUMBER, "210987654321"),
        KEY.replace("arn:aws:", "arn:aws-cn:"),
    ],
)
def test_a_key_of_elsewhere_is_refused_before_anything_is_made(
    clients: Clients, model: Model, arn: str
) -> None:
    with pytest.raises(InputError, match="is not of this account and region"):
        deployer.prepare(clients.deployment, model, Options(kms_key=arn))
    assert clients.s3.list_buckets()["Buckets"] == []
    done = facectl(*FIRST, "--kms-key", "key")
    assert isinstance(done.exception, InputError)


def test_the_local_target_has_no_key(clients: Clients, model: Model) -> None:
    here = dataclasses.replace(
        clients.deployment, target="local", endpoint_url="http://127.0.0.1:1"
    )
    with pytest.raises(InputError, match="The local cloud encrypts nothing"):
        deployer.desired_state(Clients(here), model, Options(kms_key=KEY))


def test_off_and_keys_are_kept(desired: DesiredState) -> None:
    assert Options().over(Options(kms_key=KEY)).key_in(desired.account) == KEY
    assert Options(kms_key=OFF).over(Options(kms_key=KEY)).key_in(desired.account) == ""
    assert Options().key_in(desired.account) == ""
