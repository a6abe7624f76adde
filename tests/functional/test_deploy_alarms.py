"""`--alarms`: a topic with its subscription, alarms, a dashboard and a budget, and their drift."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto.budgets.models import budgets_backends
from moto.sns.models import sns_backends
from moto_account import ASU_ID, DLQ, REQUESTS, apply, found, steps_of
from test_deploy_command import FIRST, built, cloud, facectl
from test_permissions import listed, recorded
from test_status_and_doctor import model

from facectl.aws import Clients
from facectl.cli.deploy_report import step_line
from facectl.context import Deployment
from facectl.deploy import deployer
from facectl.deploy import options as remembered
from facectl.deploy.access import account_of
from facectl.deploy.desired import cloud as target_cloud
from facectl.deploy.desired import readable, resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import OFF, DesiredState
from facectl.deploy.options import Options
from facectl.deploy.permissions import actions, alarm_actions
from facectl.deploy.planner import plan_removal
from facectl.deploy.policies import Scope, grants
from facectl.deploy.preflight import check_permissions
from facectl.deploy.resources import (
    Alarm,
    Budget,
    Context,
    Dashboard,
    Subscription,
    Topic,
)
from facectl.deploy.steps import Create
from facectl.errors import CloudError, InputError
from facectl.naming import Names
from lambda_src.vision.store import Model

__all__ = ["built", "cloud", "model", "recorded"]
EMAIL, OTHER = "ann@example.com", "bob@example.com"
NUMBER = "123456789012"
TOPIC = f"facectl-{ASU_ID}-alarms"
ARN = f"arn:aws:sns:us-east-1:{NUMBER}:{TOPIC}"
TITLE = f"facectl-{ASU_ID}-us-east-1"
KINDS = (Topic, Subscription, Alarm, Dashboard, Budget)
Drift = Callable[[Clients], object]


@pytest.fixture
def alarmed(desired: DesiredState) -> DesiredState:
    """A deployment with a public URL and alarms."""
    return dataclasses.replace(desired, alarms=EMAIL)


def ours(context: Context, desired: DesiredState) -> list[str]:
    """The kinds and names of the alarm resources that exist."""
    widest = dataclasses.replace(desired, alarms=OFF)
    actual = found(context, widest).values()
    return sorted(f"{each.kind} {each.name}" for each in actual if isinstance(each, KINDS))


def subscribers(clients: Clients) -> list[str]:
    listed = clients.sns.list_subscriptions_by_topic(TopicArn=ARN)["Subscriptions"]
    return sorted(each["Endpoint"] for each in listed)


def set_alarm(what: str, **changes: Any) -> Drift:
    def drift(clients: Clients) -> None:
        name = f"facectl-{ASU_ID}-{what}"
        [alarm] = clients.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        kept = (
            "AlarmName", "ActionsEnabled", "AlarmActions", "Namespace", "MetricName", "Dimensions",
            "Statistic", "Period", "EvaluationPeriods", "DatapointsToAlarm", "Threshold",
            "ComparisonOperator", "TreatMissingData",
        )  # fmt: skip
        clients.cloudwatch.put_metric_alarm(**{**{k: alarm[k] for k in kept}, **changes})

    return drift


def unsubscribe(clients: Clients) -> None:
    [one] = clients.sns.list_subscriptions_by_topic(TopicArn=ARN)["Subscriptions"]
    clients.sns.unsubscribe(SubscriptionArn=one["SubscriptionArn"])


def set_budget(**changes: Any) -> Drift:
    def drift(_clients: Clients) -> None:
        budgets_backends[NUMBER]["aws"].budgets[NUMBER][TITLE].budget.update(changes)

    return drift


def set_notification(address: str, threshold: float) -> Drift:
    def drift(_clients: Clients) -> None:
        [one] = budgets_backends[NUMBER]["aws"].budgets[NUMBER][TITLE].notifications
        one.subscribers[0]["Address"] = address
        one.details["Threshold"] = threshold

    return drift


DEAD = f"facectl-{ASU_ID}-dead-letters"
DRIFTS: dict[str, tuple[Drift, str]] = {
    "unsubscribed": (unsubscribe, f"create subscription {TOPIC} e-mail"),
    "threshold": (
        set_alarm("dead-letters", Threshold=5.0),
        f"update alarm {DEAD} (threshold 5.0 → 0.0)",
    ),
    "actions disabled": (
        set_alarm("dead-letters", ActionsEnabled=False),
        f"update alarm {DEAD} (enabled no → yes)",
    ),
    "another topic": (
        set_alarm("url-5xx", AlarmActions=[f"{ARN}-2"]),
        f"update alarm facectl-{ASU_ID}-url-5xx (topic arn:aws:sns:us-east-1:",
    ),
    "another queue": (
        set_alarm("oldest-request", Dimensions=[{"Name": "QueueName", "Value": "q"}]),
        f"update alarm facectl-{ASU_ID}-oldest-request (QueueName q → {REQUESTS})",
    ),
    "missing data": (
        set_alarm("dead-letters", TreatMissingData="missing"),
        f"update alarm {DEAD} (missing data missing → notBreaching)",
    ),
    "alarm gone": (
        lambda clients: clients.cloudwatch.delete_alarms(AlarmNames=[DEAD]),
        f"create alarm {DEAD}",
    ),
    "dashboard": (
        lambda clients: clients.cloudwatch.put_dashboard(
            DashboardName=TITLE, DashboardBody='{"widgets": []}'
        ),
        f'update dashboard {TITLE} (body {{"widgets":[]}} → ',
    ),
    "dashboard gone": (
        lambda clients: clients.cloudwatch.delete_dashboards(DashboardNames=[TITLE]),
        f"create dashboard {TITLE}",
    ),
    "budget's limit": (
        set_budget(BudgetLimit={"Amount": "500", "Unit": "USD"}),
        f"replace budget {TITLE} (limit 500.0 → 5.0)",
    ),
    "budget's filter": (
        set_budget(CostFilters={"Service": ["AWS Lambda"]}),
        f"replace budget {TITLE} (scope filtered costs, monthly → all costs, monthly)",
    ),
    "budget's notification": (
        set_notification(OTHER, 99.0),
        f"replace budget {TITLE} (email {OTHER} → {EMAIL}, percent 99.0 → 80.0)",
    ),
    "budget gone": (
        lambda clients: clients.budgets.delete_budget(AccountId=NUMBER, BudgetName=TITLE),
        f"create budget {TITLE}",
    ),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_drift_of_alarms_is_told_and_repaired(
    context: Context, alarmed: DesiredState, what: str
) -> None:
    drift, line = DRIFTS[what]
    apply(context, alarmed)
    whole = found(context, alarmed)

    drift(context.clients)
    told = apply(context, alarmed)

    assert len(told) == 1
    assert line in told[0]
    assert found(context, alarmed) == whole
    assert apply(context, alarmed) == []


UNTAGS: dict[str, Drift] = {
    f"topic {TOPIC}": lambda clients: clients.sns.untag_resource(
        ResourceArn=ARN, TagKeys=["facectl:asu-id"]
    ),
    f"alarm {DEAD}": lambda clients: clients.cloudwatch.untag_resource(
        ResourceARN=f"arn:aws:cloudwatch:us-east-1:{NUMBER}:alarm:{DEAD}",
        TagKeys=["facectl:asu-id"],
    ),
}


@pytest.mark.parametrize("what", UNTAGS)
def test_what_has_no_tag_is_only_adopted(
    context: Context, alarmed: DesiredState, what: str
) -> None:
    apply(context, alarmed)
    UNTAGS[what](context.clients)
    with pytest.raises(CloudError, match=f"a {what} already, and it was not made by facectl"):
        apply(context, alarmed)
    [step] = steps_of(context, alarmed, adopt=True)
    assert step_line(step) == f"update {what} (owner none → {ASU_ID})"
    apply_step(step, context)
    assert apply(context, alarmed) == []


def test_what_is_made(context: Context, alarmed: DesiredState) -> None:
    apply(context, dataclasses.replace(alarmed, alarms=None))
    lines = apply(context, alarmed)
    assert [line.split()[:2] for line in lines] == [
        ["create", kind]
        for kind in ("topic", "subscription", *["alarm"] * 7, "dashboard", "budget")
    ]
    found_alarms = context.clients.cloudwatch.describe_alarms()["MetricAlarms"]
    watched = {
        (each["MetricName"], each["Dimensions"][0]["Value"], each["Threshold"])
        for each in found_alarms
    }
    assert watched == {
        ("ApproximateNumberOfMessagesVisible", DLQ, 0),
        ("ApproximateAgeOfOldestMessage", REQUESTS, 120),
        ("Throttles", "face-detection", 0),
        ("Throttles", "face-recognition", 0),
        ("Errors", "face-detection", 0),
        ("Errors", "face-recognition", 0),
        ("Url5xxCount", "face-detection", 0),
    }
    assert all(each["AlarmActions"] == [ARN] for each in found_alarms)
    body = json.loads(
        context.clients.cloudwatch.get_dashboard(DashboardName=TITLE)["DashboardBody"]
    )
    assert sorted(body["widgets"][0]["properties"]["alarms"]) == sorted(
        each["AlarmArn"] for each in found_alarms
    )
    assert subscribers(context.clients) == [EMAIL]


def test_only_a_public_url_has_a_budget(context: Context, alarmed: DesiredState) -> None:
    apply(context, alarmed)
    private = dataclasses.replace(alarmed, auth="iam")
    assert f"delete budget {TITLE}" in apply(context, private)
    assert apply(context, private) == []
    assert f"create budget {TITLE}" in apply(context, alarmed)


def test_off_removes_alarms_and_nothing_else(context: Context, alarmed: DesiredState) -> None:
    apply(context, alarmed)
    off = dataclasses.replace(alarmed, alarms=OFF)
    lines = apply(context, off)
    assert [line.split()[:2] for line in lines] == [
        ["delete", kind] for kind in ("budget", "dashboard", *["alarm"] * 7, "topic")
    ]
    assert ours(context, off) == []
    assert apply(context, off) == []


def test_what_somebody_else_named_so_is_left_alone(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    context.clients.sns.create_topic(Name=TOPIC)
    assert apply(context, dataclasses.replace(desired, alarms=OFF)) == []
    with pytest.raises(CloudError, match=f"a topic {TOPIC} already"):
        apply(context, dataclasses.replace(desired, alarms=EMAIL))


def test_destroy_removes_alarms(context: Context, alarmed: DesiredState) -> None:
    apply(context, alarmed)
    # The record of the options is on another computer.
    removal = deployer.prepare_removal(context.clients.deployment)
    for step in removal.steps:
        apply_step(step, context)
    assert ours(context, alarmed) == []
    assert deployer.prepare_removal(context.clients.deployment).steps == ()


def test_another_address_replaces_the_first_and_keeps_those_of_others(
    context: Context, alarmed: DesiredState
) -> None:
    apply(context, alarmed)
    context.clients.sns.subscribe(TopicArn=ARN, Protocol="email", Endpoint="eve@example.com")
    assert apply(context, alarmed) == []
    lines = apply(context, dataclasses.replace(alarmed, alarms=OTHER))
    assert lines == [
        f"replace subscription {TOPIC} e-mail (email {EMAIL} → {OTHER})",
        f"replace budget {TITLE} (email {EMAIL} → {OTHER})",
    ]
    assert subscribers(context.clients) == [OTHER, "eve@example.com"]


def make_pending() -> None:
    """Have the subscription wait for its mail's link, which moto does not."""
    for each in sns_backends[NUMBER]["us-east-1"].subscriptions.values():
        each.arn = "PendingConfirmation"


def test_a_subscription_that_was_ended_by_the_link_in_a_mail_is_drift(
    context: Context, alarmed: DesiredState
) -> None:
    """SNS lists it for some days, with a word instead of its ARN, which Unsubscribe refuses."""
    apply(context, alarmed)
    subscription = Subscription(TOPIC, EMAIL)
    for each in sns_backends[NUMBER]["us-east-1"].subscriptions.values():
        each.arn = "Deleted"
    assert subscription.read(context) is None
    assert subscription.facts(context) == {}
    steps = [step_line(step) for step in steps_of(context, alarmed)]
    assert steps == [f"create subscription {TOPIC} e-mail"]
    # Nor is it ended again, which SNS would refuse.
    subscription.delete(context)


def test_a_subscription_that_is_not_confirmed_is_told(
    context: Context, alarmed: DesiredState
) -> None:
    notes: list[str] = []
    apply(dataclasses.replace(context, note=notes.append), alarmed)
    assert notes == [f"AWS sends a mail to {EMAIL}: alarms arrive after its link is opened"]
    subscription = Subscription(TOPIC, EMAIL)
    assert subscription.facts(context) == {"confirmed": "yes"}
    make_pending()
    assert subscription.facts(context) == {
        "confirmed": f"no, open the link in AWS's mail to {EMAIL}"
    }
    # It is no drift, and can't be deleted before its topic.
    assert apply(context, alarmed) == []
    apply(context, dataclasses.replace(alarmed, alarms=OTHER))
    assert subscribers(context.clients) == [EMAIL, OTHER]
    assert apply(context, dataclasses.replace(alarmed, alarms=OTHER)) == []


def test_a_change_of_address_that_was_interrupted_goes_on(
    context: Context, alarmed: DesiredState
) -> None:
    apply(context, alarmed)
    unsubscribe(context.clients)
    other = dataclasses.replace(alarmed, alarms=OTHER)
    assert apply(context, other)[0] == f"create subscription {TOPIC} e-mail"
    assert apply(context, other) == []


def test_a_budget_whose_answer_was_lost_is_completed(
    context: Context, alarmed: DesiredState
) -> None:
    apply(context, alarmed)
    [budget] = [each for each in resources(alarmed) if isinstance(each, Budget)]
    apply_step(Create(budget), context)
    assert apply(context, alarmed) == []


def test_every_call_of_alarms_is_listed(
    context: Context, alarmed: DesiredState, recorded: set[str]
) -> None:
    apply(context, alarmed)
    for untag in UNTAGS.values():
        untag(context.clients)
    for step in steps_of(context, alarmed, adopt=True):
        apply_step(step, context)
    for each in resources(alarmed):
        each.facts(context)
    apply(context, dataclasses.replace(alarmed, alarms=OTHER))
    for step in plan_removal(found(context, alarmed), ASU_ID):
        apply_step(step, context)
    of_alarms = {name for name in recorded if name.startswith(("sns:", "cloudwatch:", "budgets:"))}
    assert of_alarms == {
        name for name in listed() if name.startswith(("sns:", "cloudwatch:", "budgets:"))
    }


def denied(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, arguments: Any) -> Any:
        if client.meta.service_model.service_name in ("sns", "cloudwatch", "budgets"):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)
        return original(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


def test_without_alarms_no_permission_for_them_is_needed(
    context: Context, desired: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied(context.clients, monkeypatch)
    apply(context, desired)
    assert apply(context, desired) == []
    assert deployer.prepare_removal(context.clients.deployment).steps
    # With alarms in the record, a removal that can't see them would leave them.
    remembered.remember(context.clients.deployment, Options(alarms=EMAIL))
    with pytest.raises(CloudError, match="AccessDenied"):
        deployer.prepare_removal(context.clients.deployment)


def test_alarms_have_a_policy_of_their_own() -> None:
    account = account_of(Deployment("42", "aws", account=NUMBER))
    found_grants = {each.sid: each for each in grants("alarms", Scope(Names("42"), account))}
    allowed = {action for each in found_grants.values() for action in each.actions}
    assert allowed == set(alarm_actions())
    assert allowed & set(actions()) == set()
    assert {"budgets:ModifyBudget", "budgets:ViewBudget"} <= allowed
    assert {"sns:TagResource", "cloudwatch:TagResource"} <= allowed
    assert {sid: each.resources for sid, each in found_grants.items()} == {
        "Account": ("*",),
        "Alarms": (f"arn:aws:cloudwatch:us-east-1:{NUMBER}:alarm:facectl-42-*",),
        "Budget": (f"arn:aws:budgets::{NUMBER}:budget/facectl-42-us-east-1",),
        "Dashboard": (f"arn:aws:cloudwatch::{NUMBER}:dashboard/facectl-42-us-east-1",),
        "Topic": (f"arn:aws:sns:us-east-1:{NUMBER}:facectl-42-alarms",),
    }


@pytest.mark.parametrize("alarms", [None, EMAIL, OFF])
def test_the_permissions_of_alarms_are_checked_if_they_are_used(
    clients: Clients, alarms: str | None
) -> None:
    count = len(actions()) + (0 if alarms is None else len(alarm_actions()))
    found_text = check_permissions(clients, Options(alarms=alarms)).text
    assert found_text == f"all {count} that a deploy needs"


@pytest.mark.parametrize(
    "text",
    ["ann", "", "ann@", "@example.com", "ann@example", "ann@@example.com", "a b@example.com",
     "ann@example.com,bob@example.com", "änn@example.com", "on", "OFF"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="neither an e-mail address nor 'off'") as error:
        Options(alarms=text)
    assert error.value.hint == "--alarms you@example.com"


@pytest.mark.parametrize("text", [EMAIL, "a.b+c=d@mail.example.co.uk", "off"])
def test_addresses_and_off_are_accepted_and_kept(text: str) -> None:
    assert Options(memory=512).over(Options(alarms=text)).alarms == text


def test_the_local_target_has_no_alarms(
    desired: DesiredState, clients: Clients, model: Model
) -> None:
    here = dataclasses.replace(
        clients.deployment, target="local", endpoint_url="http://127.0.0.1:1"
    )
    with pytest.raises(InputError, match="The local cloud has no alarms") as error:
        deployer.desired_state(Clients(here), model, Options(alarms=EMAIL))
    assert error.value.hint == "--target aws"
    local = dataclasses.replace(desired, cloud=target_cloud("local"), alarms=OFF)
    assert readable(local) == resources(local)


@pytest.mark.usefixtures("cloud")
def test_the_command_remembers_the_address_until_reset() -> None:
    first = facectl(*FIRST, "--alarms", EMAIL)
    assert first.exit_code == 0, first.output
    assert f"AWS sends a mail to {EMAIL}" in first.stderr
    assert "and $0.70 a month for 7 alarms" in first.stdout
    assert facectl("deploy").stdout.startswith("Nothing to change\n")
    shown = json.loads(facectl("status", "--json").stdout)
    assert shown["drift"] is False
    [subscription] = [each for each in shown["resources"] if each["kind"] == "subscription"]
    assert subscription["facts"] == {"confirmed": "yes"}
    reset = facectl("deploy", "--reset", "--dry-run")
    assert "delete topic facectl-42-alarms" in reset.stdout
    off = facectl("deploy", "--alarms", "off")
    assert off.stdout.startswith("9 steps done\n"), off.output
    assert "alarms" not in off.stdout
    assert facectl("deploy").stdout.startswith("Nothing to change\n")


def test_a_wrong_address_changes_nothing() -> None:
    done = facectl(*FIRST, "--alarms", "ann")
    assert isinstance(done.exception, InputError)
    assert done.exception.hint == "--alarms you@example.com"
