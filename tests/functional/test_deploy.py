"""The plan carried out against moto: made, repaired, interrupted, removed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws
from moto.awslambda.policy import Policy

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import deployer
from facectl.deploy.desired import Wish, cloud, resources
from facectl.deploy.executor import carry_out
from facectl.deploy.models import Create, Packages, Queue, Sizing, Step
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import Found, plan, plan_removal
from facectl.deploy.reader import Reader
from facectl.deploy.report import step_line
from facectl.deploy.writers.base import Context
from facectl.errors import CloudError
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


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    keep_conditions(monkeypatch)
    with mock_aws():
        yield Clients(Deployment(asu_id=ASU_ID, target="aws"))


@pytest.fixture
def wish(clients: Clients) -> Wish:
    package = zip_package()
    return Wish(
        names=Names(ASU_ID),
        account=deployer.account_of(clients),
        # moto takes zips alone without an engine; everything else is AWS's.
        cloud=cloud("aws", "zip"),
        packages=Packages(package, package),
        sizing=Sizing(reserved_concurrency=5),
        environment={"FACECTL_MODEL_DIR": "/models/a"},
        auth="none",
    )


@pytest.fixture
def context(clients: Clients, wish: Wish) -> Context:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Context(clients, wish.account, clock=lambda: now[0], sleep=sleep)


def steps_of(context: Context, wish: Wish, *, adopt: bool = False) -> tuple[Step, ...]:
    return plan(resources(wish), found(context, wish), adopt=adopt)


def apply(context: Context, wish: Wish) -> list[str]:
    steps = steps_of(context, wish)
    for step in steps:
        carry_out(step, context)
    return [step_line(step) for step in steps]


def found(context: Context, wish: Wish) -> Found:
    return deployer.read(context.clients, wish)


def test_everything_is_made_as_wanted_and_a_second_run_has_nothing_to_do(
    context: Context, wish: Wish
) -> None:
    assert len(apply(context, wish)) == 14
    assert found(context, wish) == {(each.kind, each.name): each for each in resources(wish)}
    assert apply(context, wish) == []


# How each attribute may have been changed behind our back, and what the plan says of it.
Drift = Callable[[Clients], object]


def queue_url(clients: Clients, name: str) -> str:
    return clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]


def set_queue(name: str, attribute: str, value: str) -> Drift:
    def drift(clients: Clients) -> None:
        url = queue_url(clients, name)
        kept = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        # moto forgets a policy that is not said again.
        changed: Any = {**kept.get("Attributes", {}), attribute: value}
        clients.sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)

    return drift


def set_function(name: str, **configuration: Any) -> Drift:
    return lambda clients: clients.functions.update_function_configuration(
        FunctionName=name, **configuration
    )


def set_trigger(**configuration: Any) -> Drift:
    def drift(clients: Clients) -> None:
        mapping = clients.functions.list_event_source_mappings()["EventSourceMappings"][0]
        clients.functions.update_event_source_mapping(UUID=mapping["UUID"], **configuration)

    return drift


def delete_trigger(clients: Clients) -> None:
    mapping = clients.functions.list_event_source_mappings()["EventSourceMappings"][0]
    clients.functions.delete_event_source_mapping(UUID=mapping["UUID"])


def edit_code(clients: Clients) -> None:
    other = zip_package().archive + b"\n"
    clients.functions.update_function_code(FunctionName="face-detection", ZipFile=other)


def open_bucket(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    clients.s3.delete_public_access_block(Bucket=name)


def untag_bucket(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    clients.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})


EVERYONE = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
)
ANYTHING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)
ROLE = f"facectl-{ASU_ID}-recognition"

DRIFTS: dict[str, tuple[Drift, str]] = {
    "request visibility": (
        set_queue(REQUESTS, "VisibilityTimeout", "30"),
        f"update queue {REQUESTS} (visibility timeout 30 → 360)",
    ),
    "response visibility": (
        set_queue(RESPONSES, "VisibilityTimeout", "30"),
        f"update queue {RESPONSES} (visibility timeout 30 → 1)",
    ),
    "long polling": (
        set_queue(RESPONSES, "ReceiveMessageWaitTimeSeconds", "0"),
        f"update queue {RESPONSES} (receive wait 0 → 20)",
    ),
    "retention": (
        set_queue(DLQ, "MessageRetentionPeriod", "60"),
        f"update queue {DLQ} (retention 60 → 1209600)",
    ),
    "encryption": (
        set_queue(REQUESTS, "SqsManagedSseEnabled", "false"),
        f"update queue {REQUESTS} (encrypted no → yes)",
    ),
    "receives": (
        set_queue(
            REQUESTS,
            "RedrivePolicy",
            json.dumps(
                {
                    "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:123456789012:{DLQ}",
                    "maxReceiveCount": 9,
                }
            ),
        ),
        f"update queue {REQUESTS} (max receives 9 → 3)",
    ),
    "queue policy": (
        set_queue(RESPONSES, "Policy", ""),
        f"update queue {RESPONSES} (policy statement RefusePlainHttp none → ",
    ),
    "queue gone": (
        lambda clients: clients.sqs.delete_queue(QueueUrl=queue_url(clients, RESPONSES)),
        f"create queue {RESPONSES}",
    ),
    "log retention": (
        lambda clients: clients.logs.delete_retention_policy(
            logGroupName="/aws/lambda/face-detection"
        ),
        "update log group /aws/lambda/face-detection (retention days 0 → 14)",
    ),
    "log group gone": (
        lambda clients: clients.logs.delete_log_group(logGroupName="/aws/lambda/face-recognition"),
        "create log group /aws/lambda/face-recognition",
    ),
    "trust": (
        lambda clients: clients.iam.update_assume_role_policy(
            RoleName=ROLE, PolicyDocument=EVERYONE
        ),
        f"update role {ROLE} (trust statement 1 {{",
    ),
    "role policy": (
        lambda clients: clients.iam.put_role_policy(
            RoleName=ROLE, PolicyName="facectl", PolicyDocument=ANYTHING
        ),
        f"update role {ROLE} (policy statement 1 {{",
    ),
    "role policy gone": (
        lambda clients: clients.iam.delete_role_policy(RoleName=ROLE, PolicyName="facectl"),
        f"update role {ROLE} (policy statement KnowThatThereIsNone none → ",
    ),
    "memory": (
        set_function("face-detection", MemorySize=128),
        "update function face-detection (memory 128 → 3008)",
    ),
    "timeout": (
        set_function("face-recognition", Timeout=3),
        "update function face-recognition (timeout 3 → 60)",
    ),
    "handler": (
        set_function("face-recognition", Handler="a.b"),
        "update function face-recognition (handler a.b → lambda_src.recognition.handler)",
    ),
    "runtime": (
        set_function("face-recognition", Runtime="python3.10"),
        "update function face-recognition (runtime python3.10 → python3.12)",
    ),
    "function's role": (
        set_function("face-detection", Role=f"arn:aws:iam::123456789012:role/{ROLE}"),
        "update function face-detection (role ",
    ),
    "environment": (
        set_function("face-detection", Environment={"Variables": {}}),
        "update function face-detection (FACECTL_GALLERY_BUCKET none → ",
    ),
    "code": (edit_code, "update function face-detection (code "),
    "reserved concurrency": (
        lambda clients: clients.functions.delete_function_concurrency(
            FunctionName="face-detection"
        ),
        "update function face-detection (reserved concurrency none → 5)",
    ),
    "reserved concurrency of recognition": (
        lambda clients: clients.functions.put_function_concurrency(
            FunctionName="face-recognition", ReservedConcurrentExecutions=1
        ),
        "update function face-recognition (reserved concurrency 1 → none)",
    ),
    "URL's authentication": (
        lambda clients: clients.functions.update_function_url_config(
            FunctionName="face-detection", AuthType="AWS_IAM"
        ),
        "update function URL face-detection (auth iam → none)",
    ),
    "URL gone": (
        lambda clients: clients.functions.delete_function_url_config(FunctionName="face-detection"),
        "create function URL face-detection",
    ),
    "statement gone": (
        lambda clients: clients.functions.remove_permission(
            FunctionName="face-detection", StatementId="facectl-public-invoke"
        ),
        "create permission face-detection/facectl-public-invoke",
    ),
    "superfluous statement": (
        lambda clients: clients.functions.add_permission(
            FunctionName="face-detection",
            StatementId="facectl-old",
            Action="lambda:InvokeFunction",
            Principal="*",
        ),
        "delete permission face-detection/facectl-old",
    ),
    "batch size": (
        set_trigger(BatchSize=1),
        f"update trigger {REQUESTS} → face-recognition (batch size 1 → 10)",
    ),
    "trigger disabled": (
        set_trigger(Enabled=False),
        f"update trigger {REQUESTS} → face-recognition (enabled no → yes)",
    ),
    "trigger gone": (delete_trigger, f"create trigger {REQUESTS} → face-recognition"),
    "public bucket": (open_bucket, "(private no → yes)"),
    "bucket's tag": (untag_bucket, f"(owner none → {ASU_ID})"),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_every_single_drift_is_told_and_repaired(context: Context, wish: Wish, what: str) -> None:
    drift, line = DRIFTS[what]
    apply(context, wish)
    whole = found(context, wish)

    drift(context.clients)
    told = apply(context, wish)

    assert len(told) == 1
    assert line in told[0]
    assert found(context, wish) == whole
    assert apply(context, wish) == []


class BrokenError(Exception):
    """The connection broke."""


def calls_made(clients: Clients, monkeypatch: pytest.MonkeyPatch, fail_at: int | None) -> list[str]:
    """Count the changing calls of every client; the one of number `fail_at` breaks."""
    made: list[str] = []
    for name in ("sqs", "functions", "iam", "s3", "logs"):
        client = getattr(clients, name)
        original = client._make_api_call

        def call(operation: str, arguments: Any, original: Any = original) -> Any:
            if operation.startswith(("Get", "List", "Describe")):
                return original(operation, arguments)
            made.append(operation)
            if len(made) - 1 == fail_at:
                raise BrokenError(operation)
            return original(operation, arguments)

        monkeypatch.setattr(client, "_make_api_call", call)
    return made


CHANGING_CALLS = 21


def test_the_number_of_changing_calls_is_known(
    context: Context, wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = calls_made(context.clients, monkeypatch, None)
    apply(context, wish)
    assert len(made) == CHANGING_CALLS, made


@pytest.mark.parametrize("number", range(CHANGING_CALLS))
def test_a_deploy_that_broke_is_finished_by_the_next(
    context: Context, wish: Wish, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        calls_made(context.clients, patch, number)
        with pytest.raises(BrokenError):
            apply(context, wish)

    apply(context, wish)

    assert found(context, wish) == {(each.kind, each.name): each for each in resources(wish)}
    assert apply(context, wish) == []


@pytest.mark.parametrize("number", range(CHANGING_CALLS))
def test_a_deploy_that_broke_can_be_destroyed(
    context: Context, wish: Wish, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        calls_made(context.clients, patch, number)
        with pytest.raises(BrokenError):
            apply(context, wish)

    for step in plan_removal(found(context, wish), ASU_ID):
        carry_out(step, context)

    assert_nothing_left(context.clients)


def assert_nothing_left(clients: Clients) -> None:
    assert clients.sqs.list_queues().get("QueueUrls", []) == []
    assert clients.functions.list_functions()["Functions"] == []
    assert clients.functions.list_event_source_mappings()["EventSourceMappings"] == []
    assert clients.iam.list_roles()["Roles"] == []
    assert clients.s3.list_buckets()["Buckets"] == []
    assert clients.logs.describe_log_groups()["logGroups"] == []


def test_destroy_leaves_nothing_not_even_a_gallery(context: Context, wish: Wish) -> None:
    apply(context, wish)
    bucket = wish.names.bucket(wish.account.number, wish.account.region)
    s3 = context.clients.s3
    s3.put_object(Bucket=bucket, Key="gallery/current.json", Body=b"x")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="gallery/current.json", Body=b"y")
    s3.delete_object(Bucket=bucket, Key="gallery/current.json")

    steps = plan_removal(found(context, wish), ASU_ID)
    for step in steps:
        carry_out(step, context)

    assert_nothing_left(context.clients)
    # Gone already: the same steps again are no error.
    for step in steps:
        carry_out(step, context)


def test_destroy_leaves_another_deployments_resources(context: Context, wish: Wish) -> None:
    apply(context, wish)
    context.clients.sqs.create_queue(QueueName="mine")
    context.clients.s3.create_bucket(Bucket="mine")
    context.clients.sqs.untag_queue(
        QueueUrl=queue_url(context.clients, DLQ), TagKeys=["facectl:asu-id"]
    )
    for step in plan_removal(found(context, wish), ASU_ID):
        carry_out(step, context)
    left = context.clients.sqs.list_queues()["QueueUrls"]
    assert sorted(url.rpartition("/")[2] for url in left) == [DLQ, "mine"]
    assert [each["Name"] for each in context.clients.s3.list_buckets()["Buckets"]] == ["mine"]


def test_a_function_of_another_project_is_not_touched(context: Context, wish: Wish) -> None:
    apply(context, wish)
    context.clients.functions.untag_resource(
        Resource=wish.account.function_arn("face-detection"), TagKeys=["facectl:asu-id"]
    )
    with pytest.raises(CloudError, match="function face-detection already"):
        steps_of(context, wish)
    (step,) = steps_of(context, wish, adopt=True)
    carry_out(step, context)
    assert apply(context, wish) == []


def test_the_public_url_has_both_statements(context: Context, wish: Wish) -> None:
    apply(context, wish)
    policy = json.loads(
        context.clients.functions.get_policy(FunctionName="face-detection")["Policy"]
    )
    said = {
        each["Sid"]: (each["Action"], each["Principal"], each.get("Condition"))
        for each in policy["Statement"]
    }
    assert said == {
        "facectl-public-url": (
            "lambda:InvokeFunctionUrl",
            "*",
            {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
        ),
        "facectl-public-invoke": (
            "lambda:InvokeFunction",
            "*",
            {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
        ),
    }


def test_iam_leaves_no_statement(context: Context, wish: Wish) -> None:
    apply(context, wish)
    closed = dataclasses.replace(wish, auth="iam")
    assert len(apply(context, closed)) == 3
    assert apply(context, closed) == []
    assert Reader(context.clients, wish.account).permissions("face-detection") == []


def test_everything_that_can_be_tagged_is(context: Context, wish: Wish) -> None:
    apply(context, wish)
    owners = {
        (each.kind, each.name): each.owner
        for each in found(context, wish).values()
        if hasattr(each, "owner")
    }
    assert len(owners) == 11
    assert set(owners.values()) == {ASU_ID}


@pytest.mark.parametrize("kind", ["queue", "log group", "role", "function"])
def test_what_another_deploy_made_meanwhile_is_named(
    context: Context, wish: Wish, kind: str
) -> None:
    apply(context, wish)
    wanted = next(each for each in resources(wish) if each.kind == kind)
    if isinstance(wanted, Queue):
        wanted = dataclasses.replace(wanted, visibility_timeout=7)
    with pytest.raises(CloudError, match=f"The {kind} {wanted.name} appeared while") as caught:
        carry_out(Create(wanted), context)
    assert "facectl deploy" in str(caught.value.hint)
