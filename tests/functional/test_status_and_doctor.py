"""`facectl status` and `facectl doctor`, for healthy and for damaged deployments."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from facectl import records
from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import deployer, doctor
from facectl.deploy.desired import resources
from facectl.deploy.doctor import examine
from facectl.deploy.executor import apply_step
from facectl.deploy.options import Options, recall, remember
from facectl.deploy.planner import plan, superfluous
from facectl.deploy.preflight import CheckResult
from facectl.deploy.probe import Probed
from facectl.deploy.resources import Alias, Context, key
from facectl.deploy.status import LastError, Status, inspect, last_error
from facectl.deploy.steps import Delete
from facectl.errors import CloudError, InputError
from facectl.models import store
from lambda_src.vision.store import DETECTION, NETWORKS, Model

OPTIONS = Options(packaging="zip", auth="iam")
NOW = time.time()


@pytest.fixture
def model() -> Model:
    """An installed model whose networks are never loaded."""
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {
            "space": "abc/facenet",
            "preprocessing": "facenet",
            "synthetic": False,
            "weights": "vggface2",
        }
        store.write_manifest(folder, facts)
    return store.find("tiny")


@pytest.fixture
def clients(model: Model) -> Iterator[Clients]:
    with mock_aws():
        yield Clients(Deployment(asu_id="42", target="aws", space=model.space))


@pytest.fixture
def deployed(clients: Clients, model: Model) -> Clients:
    desired = deployer.desired_state(clients, model, OPTIONS)
    for step in plan(resources(desired), deployer.read(clients, desired)):
        apply_step(step, Context(clients, desired.account))
    return clients


def states(found: Status) -> dict[str, str]:
    return {f"{each.kind} {each.name}": each.state for each in found.resources}


def test_a_deployment_without_drift(deployed: Clients, model: Model) -> None:
    found = inspect(deployed, model, OPTIONS, clock=lambda: NOW)
    assert not found.drift
    assert set(states(found).values()) == {"ok"}
    queues = {each.name: each.facts for each in found.resources if each.kind == "queue"}
    assert queues["42-req-queue"] == {"waiting": 0, "in_flight": 0, "delayed": 0}
    json.dumps(found.as_dict())


def test_missing_changed_foreign_and_superfluous_resources_are_drift(
    deployed: Clients, model: Model
) -> None:
    url = deployed.sqs.get_queue_url(QueueName="42-resp-queue")["QueueUrl"]
    deployed.sqs.delete_queue(QueueUrl=url)
    deployed.functions.update_function_configuration(FunctionName="face-detection", Timeout=3)
    deployed.logs.tag_resource(
        resourceArn="arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/face-recognition",
        tags={"facectl:asu-id": "43"},
    )
    deployed.functions.add_permission(
        FunctionName="face-detection",
        StatementId="facectl-public-url",
        Action="lambda:InvokeFunctionUrl",
        Principal="*",
    )
    found = inspect(deployed, model, OPTIONS, clock=lambda: NOW)
    assert found.drift
    assert {name: state for name, state in states(found).items() if state != "ok"} == {
        "queue 42-resp-queue": "missing",
        "function face-detection": "differs",
        "log group /aws/lambda/face-recognition": "foreign",
        "permission face-detection/facectl-public-url": "superfluous",
    }


def test_an_alias_that_is_not_desired_is_superfluous(clients: Clients, model: Model) -> None:
    desired = deployer.desired_state(clients, model, OPTIONS)
    there = [*resources(desired), Alias("face-detection", "live", 2)]
    found = {key(each): each for each in there}
    # Status reports what a deploy would change.
    assert [type(step) for step in plan(resources(desired), found)] == [Delete]
    assert [(each.kind, each.name) for each in superfluous(resources(desired), found)] == [
        ("alias", "face-detection:live")
    ]


def test_drift_is_measured_from_the_options_of_the_last_deploy(
    deployed: Clients, model: Model
) -> None:
    larger = dataclasses.replace(OPTIONS, memory=4096)
    found = inspect(deployed, model, larger, clock=lambda: NOW)
    assert states(found)["function face-detection"] == "differs"


def log(clients: Clients, *messages: str) -> None:
    group, stream = "/aws/lambda/face-detection", "s"
    clients.logs.create_log_group(logGroupName=group)
    clients.logs.create_log_stream(logGroupName=group, logStreamName=stream)
    start = int((NOW - 100) * 1000)
    events: Any = [
        {"timestamp": start + number, "message": message} for number, message in enumerate(messages)
    ]
    clients.logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["START", json.dumps({"level": "INFO", "message": "Error is my name"})], None),
        (
            [json.dumps({"level": "ERROR", "stage": "enqueue", "message": "no queue"}), "END"],
            "enqueue: no queue",
        ),
        (
            [json.dumps({"level": "ERROR", "error": "old"}), "Error: Task timed out"],
            "Error: Task timed out",
        ),
    ],
)
def test_the_last_error_of_a_log(clients: Clients, lines: list[str], told: str | None) -> None:
    log(clients, *lines)
    # moto does not know filter patterns with alternatives.
    client: Any = clients.logs
    client.meta.events.register(
        "provide-client-params.cloudwatch-logs.FilterLogEvents",
        lambda params, **_: {k: v for k, v in params.items() if k != "filterPattern"},
    )
    found = last_error(clients, "face-detection", NOW)
    assert (found.message if isinstance(found, LastError) else None) == told


def test_a_missing_log_has_no_error(clients: Clients) -> None:
    assert last_error(clients, "face-detection", NOW) is None


def examined(deployment: Deployment) -> dict[str, CheckResult]:
    return {finding.check: finding for finding in examine(deployment)}


@pytest.fixture
def without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("without_docker", "model")
def test_before_the_first_deploy() -> None:
    with mock_aws():
        found = examined(Deployment(asu_id="42", target="aws"))
    verdicts = {name: finding.verdict for name, finding in found.items()}
    assert verdicts == {
        "model": "ok",
        "gallery": "warning",
        "credentials": "ok",
        "region": "ok",
        "role": "ok",
        "packaging": "ok",
        "quotas": "ok",
        "permissions": "ok",
        "disk": "ok",
        "deployment": "warning",
    }
    assert all(each.next for each in found.values() if each.verdict == "problem")


@pytest.mark.usefixtures("without_docker", "model")
def test_docker_is_needed_by_its_builder_alone() -> None:
    deployment = Deployment(asu_id="42", target="aws")
    remember(deployment, Options(builder="docker"))
    with mock_aws():
        found = examined(deployment)
    assert found["docker"].verdict == "problem"
    assert found["docker"].next is not None


@pytest.mark.usefixtures("without_docker", "model")
def test_an_unknown_region_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_ALLOW_NONEXISTENT_REGION", "true")
    with mock_aws():
        found = examined(Deployment(asu_id="42", target="aws", region="us-east-9"))
    assert found["region"].verdict == "problem"
    assert found["region"].next == "--region us-east-1"


@pytest.mark.usefixtures("without_docker", "model")
def test_credentials_of_another_account_are_a_problem() -> None:
    with mock_aws():
        found = examined(Deployment(asu_id="42", target="aws", account="210987654321"))
    assert found["credentials"].verdict == "problem"
    assert "The credentials belong to account 123456789012" in found["credentials"].text


def test_a_missing_model_is_a_problem() -> None:
    finding = examined(Deployment(asu_id="42", target="local", endpoint_url="http://127.0.0.1:1"))
    assert finding["model"].verdict == "problem"
    assert finding["model"].next == "facectl models build"
    assert finding["local cloud"].verdict == "problem"
    assert finding["local cloud"].next == "facectl local up"


def test_a_damaged_model_is_a_problem(model: Model) -> None:
    file = model.file(DETECTION[0])
    file.write_text(file.read_text().upper())
    found = examined(Deployment(asu_id="42", target="local", endpoint_url="http://127.0.0.1:1"))
    assert found["model"].verdict == "problem"
    assert "sha256" in found["model"].text


def test_a_deployment_that_does_not_answer_is_a_problem(
    deployed: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any) -> Probed:
        raise CloudError("face-detection did not answer", hint="facectl logs")

    monkeypatch.setattr(doctor, "check", silent)
    remember(deployed.deployment, OPTIONS)
    found = examined(
        dataclasses.replace(deployed.deployment, function_url="https://x.lambda-url.on.aws/")
    )
    assert (found["probe"].verdict, found["probe"].next) == ("problem", "facectl logs")
    assert found["queues"].verdict == "ok"


def test_waiting_messages_are_reported(deployed: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    url = deployed.sqs.get_queue_url(QueueName="42-req-dlq")["QueueUrl"]
    deployed.sqs.send_message(QueueUrl=url, MessageBody="x")
    monkeypatch.setattr(doctor, "check", lambda *_: Probed(0.1, 0.2))
    found = examined(
        dataclasses.replace(deployed.deployment, function_url="https://x.lambda-url.on.aws/")
    )
    assert (found["queues"].verdict, found["queues"].text) == ("warning", "42-req-dlq holds 1")


def test_options_are_recorded_by_target_and_region() -> None:
    said = Options(memory=4096, auth="none", image_uris=("face-detection=x",), adopt=True)
    here = Deployment("42", "aws")
    remember(here, said)
    assert recall(here) == Options(memory=4096, auth="none")
    assert recall(Deployment("42", "local")) == Options()
    assert recall(Deployment("42", "aws", "eu-west-1")) == Options()
    assert Options(memory=2048).over(recall(here)) == Options(memory=2048, auth="none")


def test_damaged_options_are_named() -> None:
    here = Deployment("42", "aws", account="123456789012")
    file = records.remember(here, {"pollers": 5})
    with pytest.raises(InputError, match=r"options of 42 on aws, us-east-1, .* are damaged"):
        recall(here)
    file.write_text(file.read_text().replace('{\n    "pollers": 5\n  }', '"x"'))
    with pytest.raises(InputError, match="damaged") as caught:
        recall(here)
    assert caught.value.hint == (
        f"rm '{file}'; facectl deploy --asu-id 42 --target aws --region us-east-1 "
        "--account 123456789012"
    )


def test_a_deleted_deployment_is_forgotten_with_its_options() -> None:
    here = Deployment(asu_id="42", target="local")
    remember(here, Options(memory=4096))
    records.forget(here.key)
    assert records.recall(here.key) is None
    assert recall(here) == Options()
