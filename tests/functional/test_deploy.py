"""The plan carried out against moto: made, repaired, interrupted, removed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from moto_account import ASU_ID, DLQ, apply, assert_nothing_left, found, queue_url, steps_of

from facectl.aws import Clients
from facectl.deploy.desired import resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import DesiredState
from facectl.deploy.planner import plan_removal
from facectl.deploy.resources import Context, Permission
from facectl.deploy.steps import Create
from facectl.errors import CloudError
from facectl.gallery import forgetting, publish
from facectl.gallery.store import Store


def test_everything_is_made_as_wanted_and_a_second_run_has_nothing_to_do(
    context: Context, desired: DesiredState
) -> None:
    assert len(apply(context, desired)) == 14
    assert found(context, desired) == {(each.kind, each.name): each for each in resources(desired)}
    assert apply(context, desired) == []


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


CHANGING_CALLS = 23


def test_the_number_of_changing_calls_is_known(
    context: Context, desired: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = calls_made(context.clients, monkeypatch, None)
    apply(context, desired)
    assert len(made) == CHANGING_CALLS, made


@pytest.mark.parametrize("number", range(CHANGING_CALLS))
def test_a_deploy_that_broke_is_finished_by_the_next(
    context: Context, desired: DesiredState, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        calls_made(context.clients, patch, number)
        with pytest.raises(BrokenError):
            apply(context, desired)

    apply(context, desired)

    assert found(context, desired) == {(each.kind, each.name): each for each in resources(desired)}
    assert apply(context, desired) == []


@pytest.mark.parametrize("number", range(CHANGING_CALLS))
def test_a_deploy_that_broke_can_be_destroyed(
    context: Context, desired: DesiredState, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        calls_made(context.clients, patch, number)
        with pytest.raises(BrokenError):
            apply(context, desired)

    for step in plan_removal(found(context, desired), ASU_ID):
        apply_step(step, context)

    assert_nothing_left(context.clients)


def test_destroy_leaves_nothing_not_even_a_gallery(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    kept = Store.for_space(ASU_ID, "0123/facenet")
    publish.publish(context.clients, kept)
    with kept.transaction() as connection:
        forgetting.request(connection)
    assert len(forgetting.pending(kept)) == 1
    bucket = desired.names.bucket(desired.account.number, desired.account.region)
    s3 = context.clients.s3
    s3.put_object(Bucket=bucket, Key="gallery/current.json", Body=b"x")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="gallery/current.json", Body=b"y")
    s3.delete_object(Bucket=bucket, Key="gallery/current.json")

    steps = plan_removal(found(context, desired), ASU_ID)
    for step in steps:
        apply_step(step, context)

    assert forgetting.pending(kept) == []
    assert_nothing_left(context.clients)
    # Gone already: the same steps again are no error.
    for step in steps:
        apply_step(step, context)


def test_destroy_leaves_another_deployments_resources(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    context.clients.sqs.create_queue(QueueName="mine")
    context.clients.s3.create_bucket(Bucket="mine")
    context.clients.sqs.untag_queue(
        QueueUrl=queue_url(context.clients, DLQ), TagKeys=["facectl:asu-id"]
    )
    for step in plan_removal(found(context, desired), ASU_ID):
        apply_step(step, context)
    left = context.clients.sqs.list_queues()["QueueUrls"]
    assert sorted(url.rpartition("/")[2] for url in left) == [DLQ, "mine"]
    assert [each["Name"] for each in context.clients.s3.list_buckets()["Buckets"]] == ["mine"]


def test_a_function_of_another_project_is_not_touched(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    context.clients.functions.untag_resource(
        Resource=desired.account.function_arn("face-detection"), TagKeys=["facectl:asu-id"]
    )
    with pytest.raises(CloudError, match="function face-detection already"):
        steps_of(context, desired)
    (step,) = steps_of(context, desired, adopt=True)
    apply_step(step, context)
    assert apply(context, desired) == []


def test_the_public_url_has_both_statements(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
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


def test_iam_leaves_no_statement(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    closed = dataclasses.replace(desired, auth="iam")
    assert len(apply(context, closed)) == 3
    assert apply(context, closed) == []
    assert Permission.find_all(context, "face-detection") == []


def test_everything_that_can_be_tagged_is(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    owners = {
        (each.kind, each.name): each.owner
        for each in found(context, desired).values()
        if hasattr(each, "owner")
    }
    assert len(owners) == 11
    assert set(owners.values()) == {ASU_ID}


DIFFERENT: dict[str, dict[str, Any]] = {
    "queue": {"visibility_timeout": 7},
    "role": {"trust": "{}"},
    "function": {"memory": 512},
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_another_deploy_made_meanwhile_is_named(
    context: Context, desired: DesiredState, kind: str
) -> None:
    apply(context, desired)
    wanted = next(each for each in resources(desired) if each.kind == kind)
    wanted = dataclasses.replace(wanted, **DIFFERENT[kind])
    with pytest.raises(CloudError, match=f"The {kind} {wanted.name} appeared while") as caught:
        apply_step(Create(wanted), context)
    assert "facectl deploy" in str(caught.value.hint)


def test_a_create_call_whose_answer_was_lost_is_completed(
    context: Context, desired: DesiredState
) -> None:
    """botocore repeats it, and AWS says that the resource exists."""
    apply(context, desired)
    clients = context.clients
    clients.iam.delete_role_policy(RoleName=f"facectl-{ASU_ID}-detection", PolicyName="facectl")
    clients.logs.delete_retention_policy(logGroupName="/aws/lambda/face-detection")
    clients.functions.delete_function_concurrency(FunctionName="face-detection")
    for wanted in resources(desired):
        if wanted.kind not in ("trigger", "image"):
            apply_step(Create(wanted), context)
    assert apply(context, desired) == []


def test_a_resource_of_another_deployment_is_not_completed(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    role = f"facectl-{ASU_ID}-detection"
    context.clients.iam.tag_role(RoleName=role, Tags=[{"Key": "facectl:asu-id", "Value": "43"}])
    wanted = next(each for each in resources(desired) if each.name == role)
    with pytest.raises(CloudError, match=f"The role {role} appeared while"):
        apply_step(Create(wanted), context)
