"""A deployment replaces the demo, and the demo replaces no deployment; on a real MiniStack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stream_stub import Emulator
from typer.testing import CliRunner, Result

from facectl import records
from facectl.aws import Clients
from facectl.cli import demo_steps
from facectl.cli.app import app
from facectl.context import LOCAL_ACCOUNT, Deployment, Key
from facectl.deploy import deployer
from facectl.deploy.probe import Probed
from facectl.errors import CloudError, InputError
from facectl.local.state import Prepared, Restored
from facectl.models import store
from lambda_src.vision.store import NETWORKS

REGION = "eu-west-1"
DEMO = Key("demo", "local", REGION, LOCAL_ACCOUNT)
MINE = Key("mine", "local", REGION, LOCAL_ACCOUNT)


@pytest.fixture
def cloud(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """The local cloud with the demo, as `facectl demo` deploys it; no function is ever called."""
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": True, "weights": "synthetic"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("FACECTL_ENDPOINT_URL", emulator.url)
    monkeypatch.setattr(deployer, "check", lambda *_: Probed(1.0, 2.0))
    deployment = demo_steps.demo_deployment("demo")
    here = Clients(deployer.replace(deployment, endpoint_url=emulator.url))
    work = deployer.prepare(here.deployment, store.find())
    deployer.apply(work)
    deployer.finish(work)
    return here


def test_the_demo_reports_that_the_local_cloud_was_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    restored = Restored(Prepared(None), {}, replaced=7)
    monkeypatch.setattr(demo_steps.process, "ensure", lambda port: (None, restored))
    monkeypatch.setattr(demo_steps.deployer, "located", lambda deployment: deployment)
    monkeypatch.setattr(demo_steps.deployer, "prepare", lambda *_, **__: None)
    with demo_steps.starting_cloud(None) as cloud:
        demo_steps.plan(Deployment("demo", "local"), None, cloud)  # type: ignore[arg-type]
    told = " ".join(capsys.readouterr().err.split())
    assert "(process 7) did not answer: it was stopped and replaced" in told


def test_a_local_cloud_that_does_not_start_is_the_demos_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ensure(port: int | None) -> None:
        raise InputError(f"port {port} is taken")

    monkeypatch.setattr(demo_steps.process, "ensure", ensure)
    with demo_steps.starting_cloud(4567) as cloud:
        pass
    with pytest.raises(InputError, match="port 4567 is taken"):
        demo_steps.plan(Deployment("demo", "local"), None, cloud)  # type: ignore[arg-type]


@pytest.mark.parametrize("started", [True, False])
def test_a_cloud_that_was_started_for_a_failed_demo_is_stopped(
    monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    restored = Restored(Prepared(None), {}) if started else None
    stopped: list[bool] = []
    monkeypatch.setattr(demo_steps.process, "ensure", lambda port: (None, restored))
    monkeypatch.setattr(demo_steps.process, "stop", lambda: stopped.append(True))

    def fail() -> None:
        with demo_steps.starting_cloud(None):
            raise InputError("unknown weights")

    with pytest.raises(InputError, match="unknown weights"):
        fail()
    assert stopped == [True] * started


def facectl(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=text)


def tags(cloud: Clients) -> list[dict[str, str]]:
    return [
        cloud.functions.get_function(FunctionName=name)["Tags"]
        for name in ("face-detection", "face-recognition")
    ]


def queues(cloud: Clients) -> list[str]:
    found: list[Any] = cloud.sqs.list_queues().get("QueueUrls", [])
    return sorted(url.rpartition("/")[2] for url in found)


def test_a_deployment_replaces_the_demo_but_the_demo_replaces_no_deployment(cloud: Clients) -> None:
    assert tags(cloud) == [{"facectl:asu-id": "demo", "facectl:demo": "true"}] * 2
    assert records.known() == [DEMO]
    assert records.read(DEMO).demo

    mine = facectl("deploy", "--asu-id", "mine", "--target", "local")
    assert mine.exit_code == 0, (mine.output, mine.exception)
    assert mine.stderr.startswith(f"Deployment: ASU ID {MINE}\n")
    assert f"The demo {DEMO} is removed first: 12 resources\n" in mine.stderr
    assert tags(cloud) == [{"facectl:asu-id": "mine"}] * 2
    assert queues(cloud) == ["mine-req-dlq", "mine-req-queue", "mine-resp-queue"]
    assert records.known() == [MINE]
    assert json.loads(facectl("status", "--json").stdout)["drift"] is False

    demo = deployer.replace(cloud.deployment, demo=True)
    with pytest.raises(CloudError, match="hold the deployment of ASU ID mine on local"):
        deployer.prepare(demo, store.find())
    work = deployer.prepare(demo, store.find(), replace_others=True)
    assert [removal.clients.deployment.key for removal in work.removals] == [MINE]

    gone = facectl("destroy", "--asu-id", "mine", "--target", "local")
    assert gone.exit_code == 0, gone.output
    assert queues(cloud) == []
    assert records.known() == []
