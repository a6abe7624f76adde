"""Plans: what differs, in which order, and what is left alone. No AWS, not even a fake one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, cast

import pytest

from facectl.cli.deploy_report import step_facts, step_line
from facectl.deploy.desired import cloud, resources
from facectl.deploy.models import Account, DesiredState, Package, Packages, Sizing
from facectl.deploy.planner import differences, owner_of, owners, plan, plan_removal, without
from facectl.deploy.recipe import Recipe
from facectl.deploy.resources import (
    Alias,
    Bucket,
    Function,
    FunctionUrl,
    Image,
    LogGroup,
    Permission,
    Queue,
    Repository,
    Resource,
    Role,
    Trigger,
    key,
)
from facectl.deploy.steps import Change, Create, Delete, Replace, Update
from facectl.errors import CloudError
from facectl.naming import Names

ACCOUNT = Account(
    "123456789012",
    "us-east-1",
    "https://sqs.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com",
)
ZIP = Package("zip", "c2hhMjU2", b"zip")


def desired(**changes: Any) -> DesiredState:
    base = DesiredState(
        names=Names("42"),
        account=ACCOUNT,
        cloud=cloud("local"),
        packages=Packages(ZIP, ZIP),
        environment={"FACECTL_MODEL_DIR": "/models/a"},
    )
    return dataclasses.replace(base, **changes)


def there(wanted: tuple[Resource, ...]) -> dict[tuple[str, str], Resource]:
    return {key(resource): resource for resource in wanted}


WANTED = resources(desired())


def only(kind: type, name: str = "") -> Any:
    return next(each for each in WANTED if isinstance(each, kind) and each.name.endswith(name))


def test_an_empty_account_gets_everything_with_what_is_referred_to_first() -> None:
    steps = plan(WANTED, {})
    assert [type(step) for step in steps] == [Create] * 14
    assert [step_line(step) for step in steps] == [
        "create role facectl-42-detection",
        "create role facectl-42-recognition",
        "create bucket facectl-42-123456789012-us-east-1",
        "create queue 42-req-dlq",
        "create queue 42-req-queue",
        "create queue 42-resp-queue",
        "create log group /aws/lambda/face-detection",
        "create log group /aws/lambda/face-recognition",
        "create function face-detection",
        "create function face-recognition",
        "create permission face-detection/facectl-public-url",
        "create permission face-detection/facectl-public-invoke",
        "create function URL face-detection",
        "create trigger 42-req-queue → face-recognition",
    ]


def test_what_is_as_wanted_needs_no_step() -> None:
    assert plan(WANTED, there(WANTED)) == ()


def test_the_queues_are_as_the_contract_says() -> None:
    request, responses, dead = (
        only(Queue, "req-queue"),
        only(Queue, "resp-queue"),
        only(Queue, "req-dlq"),
    )
    assert request.visibility_timeout == 6 * 60
    assert request.max_receives == 5
    assert request.dead_letters_to == "arn:aws:sqs:us-east-1:123456789012:42-req-dlq"
    assert (responses.visibility_timeout, responses.receive_wait) == (1, 20)
    assert [queue.retention // 86400 for queue in (request, responses, dead)] == [4, 4, 14]
    assert all(queue.encrypted for queue in (request, responses, dead))


@pytest.mark.parametrize(
    ("kind", "attribute", "found", "line"),
    [
        (Queue, "visibility_timeout", 30, "update queue 42-req-dlq (visibility timeout 31 → 30)"),
        (Trigger, "batch_size", 1, "batch size 1 → 10"),
        (Trigger, "max_concurrency", None, "max concurrency none → 2"),
        (Trigger, "responses", (), "responses none → ReportBatchItemFailures"),
        (Trigger, "enabled", False, "enabled no → yes"),
        (LogGroup, "retention_days", 0, "retention days 0 → 14"),
        (Function, "memory", 128, "memory 128 → 1769"),
        (FunctionUrl, "auth", "iam", "auth iam → none"),
    ],
)
def test_a_difference_is_told_in_words(kind: type, attribute: str, found: Any, line: str) -> None:
    if attribute == "visibility_timeout":
        found = 31
    wanted = only(kind)
    drifted = dataclasses.replace(wanted, **{attribute: found})
    steps = plan(WANTED, {**there(WANTED), key(wanted): drifted})
    assert len(steps) == 1
    assert isinstance(steps[0], Update)
    assert line in step_line(steps[0])


def test_an_environment_differs_variable_by_variable() -> None:
    function = only(Function)
    environment = {**function.environment, "FACECTL_MODEL_DIR": "/models/b", "STRAY": "1"}
    del environment["FACECTL_MAX_RECEIVES"]
    drifted = dataclasses.replace(function, environment=environment)
    (step,) = plan(WANTED, {**there(WANTED), key(function): drifted})
    assert step_facts(step) == {
        "action": "update",
        "kind": "function",
        "name": "face-detection",
        "changes": [
            {"attribute": "FACECTL_MAX_RECEIVES", "before": "none", "after": "5"},
            {"attribute": "FACECTL_MODEL_DIR", "before": "/models/b", "after": "/models/a"},
            {"attribute": "STRAY", "before": "1", "after": "none"},
        ],
    }


def test_a_zip_that_becomes_an_image_is_made_anew_with_what_hangs_on_it() -> None:
    image = Package("image", "123.dkr.ecr.us-east-1.amazonaws.com/face-detection:abc")
    wanted = resources(desired(packages=Packages(image, image)))
    steps = plan(wanted, there(WANTED))
    assert [(type(step), step.resource.kind) for step in steps] == [
        (Replace, "function"),
        (Replace, "function"),
        (Create, "permission"),
        (Create, "permission"),
        (Create, "function URL"),
        (Replace, "trigger"),
    ]


def test_an_edited_source_is_the_only_change() -> None:
    edited = Package("zip", "ZWRpdGVk", b"edited")
    steps = plan(resources(desired(packages=Packages(edited, edited))), there(WANTED))
    assert [step_line(step) for step in steps] == [
        "update function face-detection (code c2hhMjU2 → ZWRpdGVk)",
        "update function face-recognition (code c2hhMjU2 → ZWRpdGVk)",
    ]


def test_switching_to_iam_removes_the_public_statements() -> None:
    steps = plan(resources(desired(auth="iam")), there(WANTED))
    assert [step_line(step) for step in steps] == [
        "update function URL face-detection (auth none → iam)",
        "delete permission face-detection/facectl-public-url",
        "delete permission face-detection/facectl-public-invoke",
    ]


def test_a_given_role_is_used_and_none_is_made() -> None:
    wanted = resources(desired(role_arn="arn:aws:iam::123456789012:role/LabRole"))
    assert not [each for each in wanted if isinstance(each, Role)]
    roles = {each.role for each in wanted if isinstance(each, Function)}
    assert roles == {"arn:aws:iam::123456789012:role/LabRole"}


def test_only_aws_refuses_plain_http() -> None:
    assert only(Queue, "req-queue").policy == ""
    secured = [each for each in resources(desired(cloud=cloud("aws"))) if isinstance(each, Queue)]
    assert all('"aws:SecureTransport":"false"' in queue.policy for queue in secured)


def test_sizing_reaches_functions_and_trigger() -> None:
    sizing = Sizing(
        memory=1769,
        timeout=20,
        batch_size=5,
        architecture="arm64",
        reserved_concurrency=7,
        max_concurrency=9,
    )
    wanted = resources(desired(sizing=sizing))
    functions = [each for each in wanted if isinstance(each, Function)]
    trigger = next(each for each in wanted if isinstance(each, Trigger))
    assert {(each.memory, each.timeout, each.architecture) for each in functions} == {
        (1769, 20, "arm64")
    }
    assert [each.reserved_concurrency for each in functions] == [7, None]
    assert (trigger.batch_size, trigger.max_concurrency) == (5, 9)
    assert (
        next(
            each for each in wanted if isinstance(each, Queue) and each.name == "42-req-queue"
        ).visibility_timeout
        == 120
    )


@pytest.mark.parametrize("kind", [Queue, Role, Function])
def test_an_untagged_resource_is_adopted_only_when_asked(kind: type) -> None:
    resource = only(kind)
    found = {**there(WANTED), key(resource): dataclasses.replace(resource, owner=None)}
    with pytest.raises(CloudError, match=f"{resource.name} already, and it was not made") as caught:
        plan(WANTED, found)
    assert "--adopt" in str(caught.value.hint)

    (step,) = plan(WANTED, found, adopt=True)
    assert step_line(step).endswith("(owner none → 42)")


def test_another_deployments_function_is_never_taken() -> None:
    function = only(Function)
    found = {key(function): dataclasses.replace(function, owner="43")}
    with pytest.raises(CloudError, match="belongs to the deployment of ASU ID 43") as caught:
        plan(WANTED, found, adopt=True)
    assert caught.value.hint == "facectl destroy --asu-id 43"


def test_a_bucket_that_was_made_but_not_yet_tagged_is_ours() -> None:
    bucket = only(Bucket)
    found = {**there(WANTED), key(bucket): dataclasses.replace(bucket, owner=None)}
    (step,) = plan(WANTED, found)
    assert isinstance(step, Update)
    assert Delete(dataclasses.replace(bucket, owner=None)) in plan_removal(found, "42")


def test_a_log_group_that_lambda_made_again_is_adopted() -> None:
    group = only(LogGroup, "/aws/lambda/face-detection")
    bare = dataclasses.replace(group, owner=None, retention_days=0)
    found = {**there(WANTED), key(group): bare}
    (step,) = plan(WANTED, found)
    assert step_line(step).endswith("(owner none → 42, retention days 0 → 14)")
    assert Delete(bare) in plan_removal(found, "42")


@pytest.mark.parametrize("owner", ["43", None])
def test_an_untagged_log_group_of_anothers_function_is_not_removed(owner: str | None) -> None:
    group, function = only(LogGroup, "face-detection"), only(Function, "face-detection")
    found = {
        **there(WANTED),
        key(group): dataclasses.replace(group, owner=None),
        key(function): dataclasses.replace(function, owner=owner),
    }
    assert key(group) not in {key(step.resource) for step in plan_removal(found, "42")}
    del found[key(function)]
    assert key(group) not in {key(step.resource) for step in plan_removal(found, "42")}


def test_a_function_that_lambda_could_not_create_is_replaced() -> None:
    function = only(Function, "face-detection")
    found = {**there(WANTED), key(function): dataclasses.replace(function, failed=True)}
    assert [step_line(step) for step in plan(WANTED, found)] == [
        "replace function face-detection (failed yes → no)",
        "create permission face-detection/facectl-public-url",
        "create permission face-detection/facectl-public-invoke",
        "create function URL face-detection",
    ]


def test_an_update_that_failed_is_made_again() -> None:
    function = only(Function, "face-recognition")
    found = {**there(WANTED), key(function): dataclasses.replace(function, update_failed=True)}
    assert [step_line(step) for step in plan(WANTED, found)] == [
        "update function face-recognition (update failed yes → no)"
    ]


def test_removal_takes_callers_before_what_they_call() -> None:
    steps = plan_removal(there(WANTED), "42")
    kinds = [step.resource.kind for step in steps]
    assert kinds == [
        "trigger", "function URL", "function", "function", "queue", "queue", "queue",
        "role", "role", "log group", "log group", "bucket",
    ]  # fmt: skip


def test_removal_leaves_what_is_anothers() -> None:
    function = only(Function, "face-detection")
    queue = only(Queue, "resp-queue")
    found = {
        **there(WANTED),
        key(function): dataclasses.replace(function, owner="43"),
        key(queue): dataclasses.replace(queue, owner=None),
    }
    removed = {key(step.resource) for step in plan_removal(found, "42")}
    assert key(function) not in removed
    assert key(queue) not in removed
    assert (FunctionUrl.kind, "face-detection") not in removed
    assert (Function.kind, "face-recognition") in removed


def test_removal_of_nothing_is_no_step() -> None:
    assert plan_removal({}, "42") == ()


def test_permissions_of_another_tool_are_not_ours_to_remove() -> None:
    own = only(Permission)
    assert own.statement.startswith("facectl-")


WARM = resources(desired(sizing=Sizing(provisioned_concurrency=3)))


def test_warm_environments_need_a_version_and_everything_leads_to_it() -> None:
    steps = plan(WARM, there(WANTED))
    assert [step_line(step) for step in steps] == [
        "create alias face-detection:live",
        "create alias face-recognition:live",
        "create permission face-detection:live/facectl-public-url-live",
        "create permission face-detection:live/facectl-public-invoke-live",
        "replace function URL face-detection (qualifier none → live)",
        "update trigger 42-req-queue → face-recognition (qualifier none → live)",
        "delete permission face-detection/facectl-public-url",
        "delete permission face-detection/facectl-public-invoke",
    ]


def test_without_warm_environments_the_alias_goes_last() -> None:
    lines = [step_line(step) for step in plan(WANTED, there(WARM))]
    assert lines[:3] == [
        "create permission face-detection/facectl-public-url",
        "create permission face-detection/facectl-public-invoke",
        "replace function URL face-detection (qualifier live → none)",
    ]
    assert lines[-2:] == ["delete alias face-detection:live", "delete alias face-recognition:live"]


def test_a_changed_function_takes_its_alias_along() -> None:
    larger = resources(desired(sizing=Sizing(provisioned_concurrency=3, memory=4096)))
    assert [step_line(step) for step in plan(larger, there(WARM))] == [
        "update function face-detection (memory 1769 → 4096)",
        "update function face-recognition (memory 1769 → 4096)",
        "update alias face-detection:live (version older → current)",
        "update alias face-recognition:live (version older → current)",
    ]


def test_an_alias_of_an_old_version_is_moved() -> None:
    alias = next(each for each in WARM if isinstance(each, Alias))
    found = {**there(WARM), key(alias): dataclasses.replace(alias, version="7", provisioned=1)}
    (step,) = plan(WARM, found)
    assert step_line(step) == (
        "update alias face-detection:live (provisioned 1 → 3, version 7 → current)"
    )


def test_pollers_that_are_paid_for_replace_the_limit() -> None:
    paid = resources(desired(sizing=Sizing(pollers=(2, 20))))
    (step,) = plan(paid, there(WANTED))
    assert step_line(step).endswith("(max concurrency 2 → none, pollers none → 2, 20)")


def test_the_alias_of_a_changed_function_says_which_version_it_had() -> None:
    larger = resources(desired(sizing=Sizing(provisioned_concurrency=3, memory=4096)))
    alias = next(each for each in WARM if isinstance(each, Alias))
    found = {**there(WARM), key(alias): dataclasses.replace(alias, version="7")}
    lines = [step_line(step) for step in plan(larger, found)]
    assert "update alias face-detection:live (version 7 → current)" in lines


def test_a_changed_function_without_its_alias_gets_one() -> None:
    larger = resources(desired(sizing=Sizing(provisioned_concurrency=3, memory=4096)))
    found = there(WARM)
    del found[Alias.kind, "face-detection:live"]
    assert "create alias face-detection:live" in [step_line(step) for step in plan(larger, found)]


def test_a_warm_deployment_as_wanted_needs_no_step() -> None:
    assert plan(WARM, there(WARM)) == ()


def test_a_replaced_function_takes_its_superfluous_statements_and_aliases_with_it() -> None:
    image = Package("image", "123.dkr.ecr.us-east-1.amazonaws.com/face-detection:abc")
    wanted = resources(desired(packages=Packages(image, ZIP), auth="iam"))
    assert [step_line(step).partition(" (")[0] for step in plan(wanted, there(WARM))] == [
        "replace function face-detection",
        "create function URL face-detection",
        "update trigger 42-req-queue → face-recognition",
        "delete alias face-recognition:live",
    ]


def test_a_trigger_that_is_missing_beside_a_replaced_function_is_made() -> None:
    image = Package("image", "123.dkr.ecr.us-east-1.amazonaws.com/face-detection:abc")
    found = there(WANTED)
    del found[key(only(Trigger))]
    steps = plan(resources(desired(packages=Packages(image, image))), found)
    assert [step_line(step) for step in steps][-1] == (
        "create trigger 42-req-queue → face-recognition"
    )


@pytest.mark.parametrize("owner", ["41", "43"])
def test_what_another_deployment_has_is_neither_changed_nor_removed(owner: str) -> None:
    theirs = {
        place: dataclasses.replace(resource, owner=owner)
        for place, resource in there(WANTED).items()
        if hasattr(resource, "owner") and not isinstance(resource, Trigger)
    }
    for resource in theirs.values():
        with pytest.raises(CloudError, match=f"belongs to the deployment of ASU ID {owner}"):
            plan(WANTED, {key(resource): resource}, adopt=True)
    assert plan_removal({**there(WANTED), **theirs}, "42") == ()


def test_removal_takes_a_trigger_that_outlived_its_function() -> None:
    trigger = only(Trigger)
    assert plan_removal({key(trigger): trigger}, "42") == (Delete(trigger),)


def test_removal_leaves_images_to_their_repository() -> None:
    repository, image = Repository("face-detection", "42"), Image("face-detection", "abc")
    found = {key(each): each for each in (image, repository)}
    assert plan_removal(found, "42") == (Delete(repository),)


def test_the_owner_of_a_resource_is_told_where_it_has_a_tag() -> None:
    owners = {owner_of(each) for each in WANTED if isinstance(each, (Bucket, Queue, Function))}
    assert owners == {"42"}
    assert [owner_of(only(kind)) for kind in (Trigger, FunctionUrl, Permission)] == [None] * 3


def test_what_is_not_compared_is_no_difference() -> None:
    function = only(Function)
    other = dataclasses.replace(function, archive=b"packed at another time")
    assert differences(function, other) == ()
    assert differences(function, dataclasses.replace(other, memory=128)) == (
        Change("memory", "128", "1769"),
    )
    recipe = cast("Recipe", object())
    assert differences(Image("r", "t", recipe), Image("r", "t")) == ()


def test_several_attributes_that_differ_are_all_told() -> None:
    queue = only(Queue, "req-queue")
    found = dataclasses.replace(queue, visibility_timeout=1, encrypted=False, max_receives=9)
    assert differences(queue, found) == (
        Change("visibility timeout", "1", "360"),
        Change("encrypted", "no", "yes"),
        Change("max receives", "9", str(queue.max_receives)),
    )


def statement(**fields: str) -> dict[str, str]:
    return {"Effect": "Allow", **fields}


def role(*statements: dict[str, str]) -> Role:
    return Role("r", "42", trust="", policy=json.dumps({"Statement": statements}))


def test_policies_differ_statement_by_statement() -> None:
    before = role(statement(Sid="Read", Action="s3:Get"), statement(Action="sqs:Send"))
    after = role(statement(Sid="Read", Action="s3:Get"), statement(Action="sqs:SendMessage"))
    assert differences(after, before) == (
        Change(
            "policy statement 2",
            '{"Action":"sqs:Send","Effect":"Allow"}',
            '{"Action":"sqs:SendMessage","Effect":"Allow"}',
        ),
    )
    assert [change.attribute for change in differences(role(), before)] == [
        "policy statement 2",
        "policy statement Read",
    ]


def test_a_policy_of_one_statement_may_be_no_list() -> None:
    single = Role("r", "42", trust=json.dumps({"Statement": statement(Sid="Take")}), policy="")
    assert differences(single, dataclasses.replace(single, trust="")) == (
        Change("trust statement Take", "none", '{"Effect":"Allow","Sid":"Take"}'),
    )


def test_whose_a_place_is_and_whether_a_demos() -> None:
    function, group = only(Function), only(LogGroup)
    demo = dataclasses.replace(function, name="face-detection", owner="demo", demo=True)
    found = there(
        (
            demo,
            # Neither a log group nor a function that is not marked takes the mark away.
            dataclasses.replace(group, owner="demo"),
            dataclasses.replace(function, name="face-recognition", owner="43"),
            Repository("face-detection", "44"),
            dataclasses.replace(only(LogGroup, "recognition"), owner=None),
            # Their names have the ASU ID in them: several deployments have them side by side.
            *(each for each in WANTED if isinstance(each, (Bucket, Queue, Role))),
        )
    )
    assert owners(found) == {"demo": True, "43": False, "44": False}
    assert owners({}) == {}


def test_a_mark_counts_whichever_of_a_demos_resources_has_it() -> None:
    function = dataclasses.replace(only(Function), owner="demo")
    marked = dataclasses.replace(function, name="face-recognition", demo=True)
    for order in ((function, marked), (marked, function)):
        assert owners(there(order)) == {"demo": True}


def test_what_is_left_after_a_removal_is_what_hangs_on_nothing_that_is_gone() -> None:
    repository, image = Repository("face-detection", "42"), Image("face-detection", "abc")
    other = Image("another", "abc")
    function, trigger = only(Function, "face-detection"), only(Trigger)
    found = there((*WARM, repository, image, other))
    assert without(found, ()) == found
    left = without(found, (Delete(function), Delete(repository)))
    assert {place for place in found if place not in left} == {
        key(each)
        for each in found.values()
        if each in (function, repository, image)
        or (isinstance(each, (Alias, FunctionUrl, Permission)) and "detection" in each.name)
    }
    # A trigger outlives its function, unless it is removed too.
    recognition = only(Function, "face-recognition")
    assert key(trigger) in without(found, (Delete(recognition),))
    assert key(trigger) not in without(found, (Delete(trigger),))
    assert key(trigger) not in without(found, (Delete(trigger), Delete(recognition)))
    assert set(without(found, plan_removal(found, "42"))) == {key(other)}
