"""The policies of `facectl policy`: what they allow is what the code calls, and no more."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from typing import Any

import boto3
import pytest
from moto_account import apply
from test_deploy_command import facectl
from test_permissions import NAMESAKES, named_in, recorded

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import status
from facectl.deploy.access import account_of
from facectl.deploy.desired import resources
from facectl.deploy.models import DesiredState
from facectl.deploy.permissions import READING, SENDING, actions
from facectl.deploy.policies import PEOPLE, Person, Scope, grants, policy_of
from facectl.deploy.resources import Context
from facectl.errors import InputError
from facectl.naming import Names
from facectl.stream.purge import Purge
from facectl.stream.reply_queues import ReplyQueue, remove_expired
from facectl.stream.responses import ResponseQueue
from facectl.stream.transport import function_url

__all__ = ["recorded"]
ACCOUNT = "123456789012"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/limit"
# The longest managed policy, without white space (IAM User Guide, "IAM and AWS STS quotas").
LONGEST = 6144


def scope(**changes: Any) -> Scope:
    account = account_of(Deployment("42", "aws", account=ACCOUNT))
    return dataclasses.replace(Scope(Names("42"), account), **changes)


def listed(operations: dict[str, tuple[str, ...]]) -> set[str]:
    return {f"{service}:{name}" for service, names in operations.items() for name in names}


def allowed(person: Person, where: Scope) -> set[str]:
    return {action for grant in grants(person, where) for action in grant.actions}


def test_a_deployer_may_do_what_a_deploy_calls() -> None:
    assert allowed("deployer", scope()) == set(actions())
    role = f"arn:aws:iam::{ACCOUNT}:role/LabRole"
    given = scope(role_arn=role)
    assert allowed("deployer", given) == set(actions(makes_roles=False))
    passing = next(grant for grant in grants("deployer", given) if grant.sid == "PassRole")
    assert passing.statement["Resource"] == role
    assert passing.statement["Condition"] == {
        "StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}
    }


def test_a_bound_deployer_can_neither_remove_the_boundary_nor_leave_it_out() -> None:
    bound = scope(boundary=BOUNDARY)
    assert allowed("deployer", bound) == {*actions()} - {"iam:DeleteRolePermissionsBoundary"}
    statement = next(g for g in grants("deployer", bound) if g.sid == "BoundRoles").statement
    assert statement["Action"] == [
        "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
    ]  # fmt: skip
    assert statement["Condition"] == {"ArnLike": {"iam:PermissionsBoundary": BOUNDARY}}


def test_a_sender_calls_what_is_listed(
    context: Context, desired: DesiredState, recorded: set[str]
) -> None:
    apply(context, desired)
    recorded.clear()
    clients = context.clients
    function_url(clients)
    sqs = boto3.client("sqs", region_name="us-east-1")
    url = desired.account.queue_url(desired.names.response_queue)
    for body in ('{"request_id": "r", "result": "Ann"}', "x"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    queue = ResponseQueue(clients)
    first = queue.receive(wait=0)
    queue.delete(first[:1])
    queue.release(first[1:])
    Purge(clients, clock=context.clock, sleep=context.sleep).run([desired.names.response_queue])
    # One client's own queue, and that of another one that was killed.
    other = ReplyQueue(clients, clock=lambda: 0.0)
    other._create()
    with ReplyQueue(clients, clock=context.clock) as reply:
        reply._reserve(1)
    remove_expired(clients, [other.name])
    assert recorded - {"sts:GetCallerIdentity"} == listed(SENDING)


def test_a_sender_may_call_what_the_sources_of_streams_name() -> None:
    ours = {name for name in named_in("stream") if name not in NAMESAKES}
    assert ours <= listed(SENDING)


def test_an_edge_computer_sends_crops_and_invokes_nothing() -> None:
    granted = {action: g.resources for g in grants("edge", scope()) for action in g.actions}
    sender = {action for g in grants("sender", scope()) for action in g.actions}
    assert set(granted) - sender == {"sqs:SendMessage"}
    assert granted["sqs:SendMessage"] == (f"arn:aws:sqs:us-east-1:{ACCOUNT}:42-req-queue",)
    assert not any(action.startswith("lambda:Invoke") for action in granted)
    batches = {name.removesuffix("Batch") for name in named_in("edge")}
    assert batches - {name.removesuffix("Batch") for name in listed(SENDING)} == {"sqs:SendMessage"}


def test_a_reader_calls_only_what_is_listed(
    context: Context, desired: DesiredState, recorded: set[str]
) -> None:
    apply(context, desired)
    recorded.clear()
    for each in resources(desired):
        each.read(context)
        each.facts(context)
    status.last_error(context.clients, "face-detection", 1e9)
    assert len(recorded) > 15
    assert recorded - {"sts:GetCallerIdentity"} <= listed(READING)


def test_a_reader_may_call_what_the_sources_of_logs_name() -> None:
    # Deleting and redriving dead letters are the deployer's.
    writing = {"sqs:DeleteMessageBatch", "sqs:SendMessageBatch"}
    assert named_in("logs") - writing <= listed(READING)


def test_a_reader_changes_nothing_and_reads_no_face() -> None:
    reading = grants("reader", scope())
    verbs = ("Get", "List", "Describe", "Filter", "StartLiveTail", "View")
    others = [a for g in reading for a in g.actions if not a.partition(":")[2].startswith(verbs)]
    # A dead letter can only be read by receiving it.
    assert others == ["sqs:ChangeMessageVisibility", "sqs:ReceiveMessage"]
    assert [g.resources for g in reading if others[0] in g.actions] == [
        (f"arn:aws:sqs:us-east-1:{ACCOUNT}:42-req-dlq",)
    ]
    (objects,) = [grant for grant in reading if "s3:GetObject" in grant.actions]
    part = f"arn:aws:s3:::facectl-42-{ACCOUNT}-us-east-1/gallery/0123/parts/abc"
    assert not any(fnmatch.fnmatch(part, pattern) for pattern in objects.resources)
    version = f"arn:aws:s3:::facectl-42-{ACCOUNT}-us-east-1/deployments/000001.json"
    assert any(fnmatch.fnmatch(version, pattern) for pattern in objects.resources)
    code = f"arn:aws:s3:::facectl-42-{ACCOUNT}-us-east-1/deployments/packages/abc.zip"
    assert not any(fnmatch.fnmatch(code, pattern) for pattern in objects.resources)


@pytest.mark.parametrize("person", PEOPLE)
def test_a_policy_fits_and_names_its_resources(person: Person) -> None:
    for where in (scope(), scope(boundary=BOUNDARY)):
        document = policy_of(person, where)
        assert len(json.dumps(document, separators=(",", ":"))) <= LONGEST
        sids = [statement["Sid"] for statement in document["Statement"]]
        assert len(sids) == len(set(sids))
        assert all(sid.isalnum() for sid in sids)
        everywhere = {s["Sid"] for s in document["Statement"] if s["Resource"] == "*"}
        assert everywhere <= {"Account", "Trigger"}
        for statement in document["Statement"]:
            assert not any("*" in action for action in statement["Action"])


def test_moto_takes_the_policies(clients: Clients) -> None:
    for person in PEOPLE:
        clients.iam.create_policy(
            PolicyName=person, PolicyDocument=json.dumps(policy_of(person, scope()))
        )


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
@pytest.mark.parametrize("person", PEOPLE)
def test_the_command_prints_a_policy_without_calling_aws(
    monkeypatch: pytest.MonkeyPatch, person: str, region: str, partition: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    done = facectl("policy", person, "--asu-id", "42", "--target", "aws", "--region", region)
    assert done.exit_code == 0, done.output
    arns = [
        arn
        for statement in json.loads(done.stdout)["Statement"]
        for arn in (
            statement["Resource"]
            if isinstance(statement["Resource"], list)
            else [statement["Resource"]]
        )
        if arn != "*"
    ]
    assert {arn.split(":")[1] for arn in arns} == {partition}
    assert {arn.split(":")[3] for arn in arns} <= {region, ""}
    assert {arn.split(":")[4] for arn in arns} <= {"*", ""}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("deployer", "--boundary", "limit"), "is not the ARN of a managed policy"),
        (("deployer", "--role-arn", "LabRole"), "is not the ARN of a role"),
        (
            ("deployer", "--boundary", BOUNDARY, "--role-arn", f"arn:aws:iam::{ACCOUNT}:role/x"),
            "Give --role-arn or --boundary, not both",
        ),
    ],
)
def test_what_is_no_arn_is_refused(arguments: tuple[str, ...], text: str) -> None:
    done = facectl("policy", *arguments, "--asu-id", "42", "--target", "aws")
    assert isinstance(done.exception, InputError)
    assert text in str(done.exception)


def test_an_unknown_person_is_refused() -> None:
    assert facectl("policy", "owner", "--asu-id", "42", "--target", "aws").exit_code == 2
