"""Policies as golden files, roles that can't be made or taken yet, public URLs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from fake_clock import FakeClock

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy.access import (
    check_pollers,
    check_roles,
    recognition_concurrency,
    reserved_for_public,
)
from facectl.deploy.executor import apply_step
from facectl.deploy.models import Account
from facectl.deploy.options import Options, parse_pollers
from facectl.deploy.resources import (
    Alias,
    Context,
    Function,
    FunctionUrl,
    Permission,
    Queue,
    Trigger,
    queues,
    roles,
)
from facectl.deploy.steps import Create, Update
from facectl.errors import CloudError, InputError
from facectl.naming import Names

GOLDEN = Path(__file__).parent / "golden"
NUMBER = "123456789012"
ACCOUNT = Account(
    NUMBER,
    "us-east-1",
    "https://sqs.us-east-1.amazonaws.com",
    f"{NUMBER}.dkr.ecr.us-east-1.amazonaws.com",
)
NAMES = Names("1225754101")
MAPPING = "00000000-0000-4000-8000-000000000000"
LAB_LOOK_UP = {"RoleName": "LabRole"}
ROLE = f"arn:aws:iam::{NUMBER}:role/facectl-1225754101-detection"


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("lambda-trust", roles.lambda_trust()),
        ("face-detection-role", roles.detection_policy(NAMES, ACCOUNT)),
        ("face-recognition-role", roles.recognition_policy(NAMES, ACCOUNT)),
        ("request-queue", queues.https_only(NAMES.request_queue, ACCOUNT)),
    ],
)
def test_policies_are_exactly_these(name: str, policy: str) -> None:
    assert json.loads(policy) == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("policy", [roles.detection_policy, roles.recognition_policy])
def test_nothing_is_allowed_everywhere(policy: Any) -> None:
    for statement in json.loads(policy(NAMES, ACCOUNT))["Statement"]:
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            # The stars that are needed: a log group's streams have names of Lambda's choosing,
            # galleries' manifests and parts are named by digests, attempts by SQS' ids.
            named = resource.removesuffix(":*").removesuffix("/gallery/*parts/*")
            named = named.removesuffix("/gallery/*current.json").removesuffix("/attempts/*")
            assert named.count("*") == 0, resource
            assert "1225754101" in resource or "/aws/lambda/face-" in resource
        actions = statement["Action"]
        assert "*" not in "".join(actions)


def stubbed(name: str) -> tuple[Clients, Stubber]:
    clients = Clients(Deployment(asu_id="1225754101", target="aws"))
    return clients, Stubber(getattr(clients, name))


def session_of(arn: str) -> Clients:
    clients, stub = stubbed("sts")
    stub.add_response(
        "get_caller_identity", {"Arn": arn, "Account": arn.split(":")[4], "UserId": "AIDA"}
    )
    stub.activate()
    return clients


def test_a_learner_lab_is_told_of_its_role() -> None:
    clients = session_of(f"arn:aws:sts::{NUMBER}:assumed-role/voclabs/user123=Ada")
    with pytest.raises(CloudError, match="learner lab") as caught:
        check_roles(clients, Options())
    assert caught.value.hint == f"facectl deploy --role-arn arn:aws:iam::{NUMBER}:role/LabRole"


def test_a_learner_lab_with_a_role_and_an_ordinary_user_go_on() -> None:
    lab = session_of(f"arn:aws:sts::{NUMBER}:assumed-role/voclabs/user123=Ada")
    with Stubber(lab.iam) as iam:
        # The lab lets its role be used, and not be looked at.
        iam.add_client_error("get_role", "AccessDenied", "no", expected_params=LAB_LOOK_UP)
        check_roles(lab, Options(role_arn=f"arn:aws:iam::{NUMBER}:role/LabRole"))
    check_roles(session_of(f"arn:aws:iam::{NUMBER}:user/ada"), Options())


def test_a_given_role_that_is_not_there_is_told_before_anything_is_made() -> None:
    clients, iam = stubbed("iam")
    iam.add_client_error("get_role", "NoSuchEntity", "no", expected_params=LAB_LOOK_UP)
    with iam, pytest.raises(InputError, match="There is no role arn:aws:iam::123456789012"):
        check_roles(clients, Options(role_arn=f"arn:aws:iam::{NUMBER}:role/LabRole"))


@pytest.mark.parametrize("text", ["LabRole", "arn:aws:iam::12:role/x", "arn:aws:iam::x:user/y"])
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not the ARN of a role"):
        Options(role_arn=text)


def limits(stub: Stubber, limit: int, unreserved: int, own: int | None) -> None:
    """What AWS says of an account's concurrency; `own` is reserved for face-detection."""
    account = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": unreserved}
    stub.add_response("get_account_settings", {"AccountLimit": account})
    function = {"FunctionName": "face-detection"}
    if own is None:
        stub.add_client_error("get_function_concurrency", "ResourceNotFoundException", "no")
    else:
        answer = {"ReservedConcurrentExecutions": own} if own else {}
        stub.add_response("get_function_concurrency", answer, function)


@pytest.mark.parametrize(
    ("limit", "unreserved", "own", "reserved"),
    [
        (1000, 1000, None, 10),
        (110, 110, 0, 10),
        (109, 109, 0, None),
        (10, 10, None, None),
        # Another function has reserved the rest; ours has it already.
        (1000, 105, 0, None),
        (1000, 100, 10, 10),
    ],
)
def test_a_public_url_is_bounded_where_the_account_lets_us(
    limit: int, unreserved: int, own: int | None, reserved: int | None
) -> None:
    clients, stub = stubbed("functions")
    limits(stub, limit, unreserved, own)
    with stub:
        assert reserved_for_public(clients) == reserved


@pytest.mark.parametrize(
    ("limit", "most"), [(1000, 10), (20, 10), (19, 9), (10, 5), (5, 2), (3, 2), (1, 2)]
)
def test_the_trigger_takes_half_of_the_accounts_limit_at_most(limit: int, most: int) -> None:
    clients, stub = stubbed("functions")
    stub.add_response("get_account_settings", {"AccountLimit": {"ConcurrentExecutions": limit}})
    with stub:
        assert recognition_concurrency(clients, None, 10) == most


def test_an_account_whose_limit_may_not_be_asked_for_is_taken_for_a_new_one() -> None:
    clients, stub = stubbed("functions")
    stub.add_client_error("get_account_settings", "AccessDeniedException", "no")
    with stub:
        assert recognition_concurrency(clients, None, 10) == 5


def test_a_chosen_concurrency_stays_unless_the_account_can_not_have_it() -> None:
    answer = {"AccountLimit": {"ConcurrentExecutions": 10}}
    clients, stub = stubbed("functions")
    stub.add_response("get_account_settings", answer)
    stub.add_response("get_account_settings", answer)
    stub.add_client_error("get_account_settings", "AccessDeniedException", "no")
    with stub:
        assert recognition_concurrency(clients, 10, 10) == 10
        with pytest.raises(InputError, match="concurrency limit is 10") as caught:
            recognition_concurrency(clients, 11, 10)
        assert recognition_concurrency(clients, 500, 10) == 500
    assert caught.value.hint == "facectl deploy --max-concurrency 5"


FUNCTION = Function(
    name="face-detection",
    owner="1225754101",
    packaging="image",
    code=f"{NUMBER}.dkr.ecr.us-east-1.amazonaws.com/face-detection:0123",
    handler="",
    runtime="",
    role=ROLE,
    memory=3008,
    timeout=60,
    architecture="arm64",
    environment={"FACECTL_MAX_RECEIVES": "3"},
    reserved_concurrency=10,
)
REQUEST = {
    "FunctionName": "face-detection",
    "Role": ROLE,
    "Code": {"ImageUri": FUNCTION.code},
    "PackageType": "Image",
    "Architectures": ["arm64"],
    "MemorySize": 3008,
    "Timeout": 60,
    "Environment": {"Variables": {"FACECTL_MAX_RECEIVES": "3"}},
    "Tags": {"facectl:asu-id": "1225754101"},
}
NOT_YET = (
    "create_function",
    "InvalidParameterValueException",
    "The role defined for the function cannot be assumed by Lambda.",
)
ACTIVE = {"Configuration": {"State": "Active", "LastUpdateStatus": "Successful"}}


class Time(FakeClock):
    """A clock, and the context of a deployment that waits by it."""

    def context(self, clients: Clients) -> Context:
        return Context(clients, ACCOUNT, clock=self, sleep=self.sleep)


def test_a_role_that_is_too_new_is_waited_for() -> None:
    clients, stub = stubbed("functions")
    for _ in range(3):
        stub.add_client_error(*NOT_YET, expected_params=REQUEST)
    stub.add_response("create_function", {}, REQUEST)
    stub.add_response("get_function", ACTIVE, {"FunctionName": "face-detection"})
    stub.add_response(
        "put_function_concurrency",
        {},
        {"FunctionName": "face-detection", "ReservedConcurrentExecutions": 10},
    )
    time = Time()
    with stub:
        apply_step(Create(FUNCTION), time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [2.0, 2.0, 2.0]


def test_a_role_that_never_comes_is_an_error_after_a_minute_and_a_half() -> None:
    clients, stub = stubbed("functions")
    for _ in range(60):
        stub.add_client_error(*NOT_YET, expected_params=REQUEST)
    time = Time()
    with stub, pytest.raises(CloudError, match="create function face-detection: Invalid"):
        apply_step(Create(FUNCTION), time.context(clients))
    assert 90 <= time.now <= 94


def test_another_refusal_is_not_waited_for() -> None:
    clients, stub = stubbed("functions")
    stub.add_client_error("create_function", "InvalidParameterValueException", "no such runtime")
    time = Time()
    with stub, pytest.raises(CloudError, match="no such runtime"):
        apply_step(Create(FUNCTION), time.context(clients))
    assert time.slept == []


def test_a_quota_that_is_too_low_says_what_to_do() -> None:
    clients, stub = stubbed("functions")
    stub.add_response("create_function", {}, REQUEST)
    stub.add_response("get_function", ACTIVE, {"FunctionName": "face-detection"})
    stub.add_client_error(
        "put_function_concurrency",
        "InvalidParameterValueException",
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [10].",
    )
    with stub, pytest.raises(CloudError, match="concurrency limit is too low") as caught:
        apply_step(Create(FUNCTION), Time().context(clients))
    assert "--reserved-concurrency" in str(caught.value.hint)


def test_a_function_that_failed_to_start_is_told_with_lambdas_reason() -> None:
    clients, stub = stubbed("functions")
    stub.add_response("create_function", {}, REQUEST)
    stub.add_response(
        "get_function",
        {
            "Configuration": {
                "State": "Failed",
                "StateReason": "The image's manifest is not supported.",
                "StateReasonCode": "InvalidImage",
            }
        },
        {"FunctionName": "face-detection"},
    )
    with stub, pytest.raises(CloudError, match="The image's manifest is not supported"):
        apply_step(Create(FUNCTION), Time().context(clients))


def test_the_trigger_reports_partial_failures_and_waits_for_the_roles_policy() -> None:
    trigger = Trigger(
        "face-recognition", ACCOUNT.queue_arn(NAMES.request_queue), "1225754101", 10, 0, 10
    )
    request = {
        "EventSourceArn": trigger.queue,
        "FunctionName": "face-recognition",
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "Enabled": True,
        "ScalingConfig": {"MaximumConcurrency": 10},
        "Tags": {"facectl:asu-id": "1225754101"},
    }
    clients, stub = stubbed("functions")
    stub.add_client_error(
        "create_event_source_mapping",
        "InvalidParameterValueException",
        "The function execution role does not have permissions to call ReceiveMessage on SQS",
        expected_params=request,
    )
    stub.add_response("create_event_source_mapping", {}, request)
    time = Time()
    with stub:
        apply_step(Create(trigger), time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [2.0]


WHERE = {"FunctionName": "face-detection", "Qualifier": "live"}


def warm(*states: dict[str, Any]) -> tuple[Clients, Stubber]:
    clients, stub = stubbed("functions")
    stub.add_response("publish_version", {"Version": "3"}, {"FunctionName": "face-detection"})
    stub.add_response(
        "create_alias",
        {},
        {"FunctionName": "face-detection", "Name": "live", "FunctionVersion": "3"},
    )
    stub.add_response(
        "put_provisioned_concurrency_config", {}, {**WHERE, "ProvisionedConcurrentExecutions": 2}
    )
    for state in states:
        stub.add_response("get_provisioned_concurrency_config", state, WHERE)
    return clients, stub


def test_warm_environments_are_waited_for() -> None:
    clients, stub = warm({"Status": "IN_PROGRESS"}, {"Status": "READY"})
    time = Time()
    with stub:
        apply_step(Create(Alias("face-detection", "live", 2)), time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [2.0]


def test_environments_that_cannot_be_kept_warm_are_told_with_lambdas_reason() -> None:
    clients, stub = warm({"Status": "FAILED", "StatusReason": "too few"})
    with (
        stub,
        pytest.raises(
            CloudError, match="live did not get its provisioned concurrency: too few"
        ) as caught,
    ):
        apply_step(Create(Alias("face-detection", "live", 2)), Time().context(clients))
    assert "--provisioned-concurrency" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("state", "provisioned"), [("READY", 2), ("IN_PROGRESS", 2), ("FAILED", 0)]
)
def test_environments_that_could_not_be_kept_warm_are_drift(state: str, provisioned: int) -> None:
    """Lambda still shows them as requested, so the next deploy would have nothing to do."""
    clients, stub = stubbed("functions")
    alias = {"Name": "live", "FunctionVersion": "3"}
    stub.add_response("get_alias", alias, {"FunctionName": "face-detection", "Name": "live"})
    stub.add_response("get_function_configuration", {})
    stub.add_response("get_function_configuration", {})
    warm = {"Status": state, "RequestedProvisionedConcurrentExecutions": 2}
    stub.add_response("get_provisioned_concurrency_config", warm, WHERE)
    with stub:
        found = Alias.find(Time().context(clients), "face-detection")
    assert found == Alias("face-detection", "live", provisioned)


def test_pollers_are_said_and_taken_back() -> None:
    plain = Trigger("face-recognition", ACCOUNT.queue_arn(NAMES.request_queue), "42", 10, 0, 10)
    paid = dataclasses.replace(plain, max_concurrency=None, pollers=(2, 20))
    mappings = {
        "EventSourceMappings": [
            {"UUID": MAPPING, "FunctionArn": ACCOUNT.function_arn("face-recognition")}
        ]
    }
    request = {
        "UUID": MAPPING,
        "FunctionName": "face-recognition",
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "Enabled": True,
    }
    pollers = {"MinimumPollers": 2, "MaximumPollers": 20}
    for wanted, found, limits in (
        (paid, plain, {"ScalingConfig": {}, "ProvisionedPollerConfig": pollers}),
        (
            plain,
            paid,
            {"ScalingConfig": {"MaximumConcurrency": 10}, "ProvisionedPollerConfig": {}},
        ),
    ):
        clients, stub = stubbed("functions")
        stub.add_response("list_event_source_mappings", mappings, {"EventSourceArn": plain.queue})
        stub.add_response("update_event_source_mapping", {}, {**request, **limits})
        with stub:
            apply_step(Update(wanted, found, ()), Time().context(clients))
            stub.assert_no_pending_responses()


@pytest.mark.parametrize("text", ["", "2", "1:5", "5:4", "2:10001", "201:300", "a:b", "2:10:20"])
def test_pollers_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="is not LEAST:MOST"):
        parse_pollers(text)


def test_pollers_within_the_ranges_of_lambda() -> None:
    assert parse_pollers("2:2") == (2, 2)
    assert parse_pollers("200:10000") == (200, 10_000)


@pytest.mark.parametrize(
    ("pollers", "limit", "hint"),
    [
        ((2, 51), 1000, "facectl deploy --pollers 2:50"),
        ((40, 200), 100, "facectl deploy --pollers 5:5"),
        ((2, 2), 39, "facectl deploy --max-concurrency 19"),
        ((2, 2), 10, "facectl deploy --max-concurrency 5"),
    ],
)
def test_pollers_that_the_account_would_throttle(
    pollers: tuple[int, int], limit: int, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_pollers(pollers, limit)
    least, most = pollers
    assert str(caught.value) == (
        f"--pollers {least}:{most}: this account's concurrency limit is {limit}, "
        f"of which the trigger may use half, and {most} pollers use up to {10 * most}"
    )
    assert caught.value.hint == hint


@pytest.mark.parametrize(("pollers", "limit"), [((2, 50), 1000), ((2, 2), 40), ((2, 10_000), None)])
def test_pollers_that_fit_or_whose_limit_is_unknown(
    pollers: tuple[int, int], limit: int | None
) -> None:
    check_pollers(pollers, limit)


def test_pollers_and_the_maximum_concurrency_replace_each_other() -> None:
    paid, limited = Options(pollers=(2, 4), memory=2048), Options(max_concurrency=5)
    assert limited.over(paid) == Options(max_concurrency=5, memory=2048)
    assert Options(pollers=(2, 4)).over(limited) == Options(pollers=(2, 4))
    assert Options(memory=1024).over(paid) == Options(pollers=(2, 4), memory=1024)
    with pytest.raises(InputError, match="--max-concurrency or --pollers, not both"):
        Options(pollers=(2, 4), max_concurrency=5).over(Options())


CONFLICT = (
    "ResourceConflictException",
    "The operation cannot be performed at this time. An update is in progress for resource: x",
)
WAITING: Any = {
    "alias": Alias("face-detection", "live", 2),
    "URL": FunctionUrl("face-detection", "iam"),
    "permission": Permission("face-detection", "facectl-x", "lambda:InvokeFunction", "*", "{}"),
}


@pytest.mark.parametrize(
    ("resource", "operation"),
    [
        ("alias", "publish_version"),
        ("URL", "create_function_url_config"),
        ("permission", "add_permission"),
    ],
)
def test_a_change_in_progress_is_waited_for(resource: str, operation: str) -> None:
    clients, stub = stubbed("functions")
    for _ in range(60):
        stub.add_client_error(operation, *CONFLICT)
    time = Time()
    with stub, pytest.raises(CloudError, match="another deploy is running: The operation") as e:
        apply_step(Create(WAITING[resource]), time.context(clients))
    assert 90 <= time.now <= 94
    assert e.value.hint == "facectl deploy, when the other has finished"


def test_a_reservation_waits_for_a_change_in_progress() -> None:
    clients, stub = stubbed("functions")
    where = {"FunctionName": "face-detection"}
    stub.add_response("get_function", ACTIVE, where)
    stub.add_client_error("put_function_concurrency", *CONFLICT)
    stub.add_client_error("put_function_concurrency", "TooManyRequestsException", "Rate exceeded")
    stub.add_response("put_function_concurrency", {}, {**where, "ReservedConcurrentExecutions": 10})
    time = Time()
    with stub:
        before = dataclasses.replace(FUNCTION, reserved_concurrency=None)
        apply_step(Update(FUNCTION, before, ()), time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [2.0, 2.0]


def test_a_function_that_is_created_or_updated_is_waited_for() -> None:
    """An interrupted deploy, or another tool, may have left it so."""
    clients, stub = stubbed("functions")
    where = {"FunctionName": "face-detection"}
    for state, update in (("Pending", "InProgress"), ("Active", "InProgress")):
        configuration = {"State": state, "LastUpdateStatus": update}
        stub.add_response("get_function", {"Configuration": configuration}, where)
    stub.add_response("get_function", ACTIVE, where)
    stub.add_response("delete_function_concurrency", {}, where)
    time = Time()
    with stub:
        without = dataclasses.replace(FUNCTION, reserved_concurrency=None)
        apply_step(Update(without, FUNCTION, ()), time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [1.0, 1.0]


def test_a_function_that_stays_pending_is_an_error() -> None:
    clients, stub = stubbed("functions")
    for _ in range(700):
        stub.add_response("get_function", {"Configuration": {"State": "Pending"}})
    time = Time()
    with stub, pytest.raises(CloudError, match="did not become ready: its state is Pending"):
        FUNCTION.wait(time.context(clients))
    assert time.now > 600


def test_a_failed_update_is_made_again() -> None:
    clients, stub = stubbed("functions")
    failed = {"Configuration": {"State": "Active", "LastUpdateStatus": "Failed"}}
    stub.add_response("get_function", failed, {"FunctionName": "face-detection"})
    stub.add_response("update_function_code", {})
    stub.add_response("get_function", ACTIVE)
    stub.add_response("update_function_configuration", {})
    stub.add_response("get_function", ACTIVE)
    with stub:
        actual = dataclasses.replace(FUNCTION, update_failed=True)
        apply_step(Update(FUNCTION, actual, ()), Time().context(clients))
        stub.assert_no_pending_responses()


def test_a_dead_letter_queue_that_is_too_new_is_waited_for() -> None:
    clients, stub = stubbed("sqs")
    text = (
        'Value {"deadLetterTargetArn":"x"} for parameter RedrivePolicy is invalid. '
        "Reason: Dead letter target does not exist."
    )
    stub.add_client_error("create_queue", "InvalidParameterValue", text)
    stub.add_response("create_queue", {"QueueUrl": "x"})
    time = Time()
    with stub:
        apply_step(Create(Queue("q", "42", 30, 60, dead_letters_to="x")), time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [2.0]


def test_a_mapping_is_waited_for_until_it_is_enabled() -> None:
    trigger = Trigger("face-recognition", ACCOUNT.queue_arn("q"), "42", 10, 0, 10)
    clients, stub = stubbed("functions")
    arn = ACCOUNT.function_arn("face-recognition")
    for state in ("Creating", "Enabling", "Enabled"):
        mapping = {"UUID": MAPPING, "FunctionArn": arn, "State": state}
        stub.add_response("list_event_source_mappings", {"EventSourceMappings": [mapping]})
    time = Time()
    with stub:
        trigger.wait(time.context(clients))
        stub.assert_no_pending_responses()
    assert time.slept == [2.0, 2.0]


def test_a_mapping_that_is_never_enabled_is_an_error() -> None:
    trigger = Trigger("face-recognition", ACCOUNT.queue_arn("q"), "42", 10, 0, 10)
    clients, stub = stubbed("functions")
    arn = ACCOUNT.function_arn("face-recognition")
    mapping = {"UUID": MAPPING, "FunctionArn": arn, "State": "Creating"}
    for _ in range(100):
        stub.add_response("list_event_source_mappings", {"EventSourceMappings": [mapping]})
    with stub, pytest.raises(CloudError, match="is still Creating"):
        trigger.wait(Time().context(clients))
