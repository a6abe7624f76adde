"""All of `facectl deploy` and `destroy`, with moto for AWS and a stand-in for Docker."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from moto_account import resolve_images
from typer.testing import CliRunner, Result

from facectl.aws import Clients
from facectl.cli import deploy_report
from facectl.cli.app import app
from facectl.context import Deployment
from facectl.deploy import access, deployer
from facectl.deploy.docker import Docker
from facectl.deploy.probe import Probed
from facectl.errors import CloudError, InputError, NotRunningError
from facectl.models import store
from lambda_src.vision.store import NETWORKS

STAND_IN = """#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
if arguments[0] == "version":
    print(json.dumps({{"Client": {{"Version": "28.0.0"}}, "Server": {{"Version": "28.0.0"}}}}))
elif arguments[:2] == ["buildx", "version"]:
    pass
elif arguments[:2] == ["buildx", "build"]:
    with (pathlib.Path(__file__).parent / "built").open("a") as log:
        log.write(next(word for word in arguments if word.startswith("--tag=")) + "\\n")
elif arguments[:2] == ["image", "inspect"]:
    print(300000000)
    sys.exit(0 if "--format" in arguments else 1)
"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Docker in PATH; the file names what it built."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "docker"
    command.write_text(STAND_IN.format(python=sys.executable))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FACECTL_BUILDER", "docker")
    return folder / "built"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, built: Path) -> Iterator[Clients]:
    """An account, a model, pushes that reach moto, and functions that answer."""
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": False, "weights": "vggface2"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
    with mock_aws():
        clients = Clients(Deployment(asu_id="42", target="aws"))

        def push(_docker: Docker, uri: str, _login: Any, _tell: Any) -> None:
            repository, _, tag = uri.partition("/")[2].partition(":")
            # The registry's host name has the region in it.
            there = Clients(Deployment(asu_id="42", target="aws", region=uri.split(".")[3]))
            there.ecr.put_image(
                repositoryName=repository,
                imageManifest=json.dumps(
                    {"schemaVersion": 2, "config": {"digest": f"sha256:{tag}"}}
                ),
                imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
                imageTag=tag,
            )

        resolve_images(monkeypatch)
        monkeypatch.setattr(Docker, "push", push)
        monkeypatch.setattr(deployer, "check", lambda *_: Probed(1.0, 2.0))
        monkeypatch.setattr(deployer, "reserved_for_public", lambda _: access.PUBLIC_CONCURRENCY)
        yield clients


def facectl(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=text)


KEY = "arn:aws:kms:us-east-1:123456789012:key/abc"
FIRST = ("deploy", "--asu-id", "42", "--target", "aws")


@pytest.mark.usefixtures("cloud")
def test_from_an_empty_account_to_nothing_left_to_do(built: Path) -> None:
    first = facectl(*FIRST)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("16 steps done\nURL             https://")
    assert "idle cost       $0.10 per GB of images and month, and $0.26 a month for 648,000" in (
        first.stdout
    )
    assert "create image face-detection:" in first.stderr
    assert "300 MB" in first.stderr
    assert len(built.read_text().splitlines()) == 2

    again = facectl("deploy")
    assert again.exit_code == 0
    assert again.stdout.startswith("Nothing to change\n")
    assert len(built.read_text().splitlines()) == 2


@pytest.mark.usefixtures("cloud")
def test_a_dry_run_tells_every_difference_and_changes_nothing(built: Path) -> None:
    planned = facectl(*FIRST, "--dry-run")
    assert planned.exit_code == 0
    assert planned.stdout.splitlines()[-1] == "16 steps"
    assert not built.exists()

    facectl(*FIRST)
    differing = json.loads(facectl("deploy", "--timeout", "30", "--dry-run", "--json").stdout)
    assert differing[0] == {
        "action": "update",
        "kind": "queue",
        "name": "42-req-queue",
        "changes": [{"attribute": "visibility timeout", "before": "360", "after": "180"}],
    }


@pytest.mark.usefixtures("cloud")
def test_a_public_url_is_warned_about() -> None:
    public = facectl(*FIRST, "--auth", "none")
    assert public.exit_code == 0, public.output
    words = " ".join(public.stderr.split())
    assert "anyone who learns the URL can call it and spend your money" in words
    assert "at most 10 frames at once, $1.04 an hour for face-detection" in words


@pytest.mark.usefixtures("cloud")
def test_warm_environments_have_a_price() -> None:
    plan = deployer.prepare(
        Deployment(asu_id="42", target="aws"),
        store.find(),
        deployer.Options(provisioned_concurrency=1, pollers=(2, 4), builder="docker"),
    )
    assert deploy_report.idle_cost(plan) == (
        "$1.24 a day for warm environments, $0.10 per GB of images and month, "
        "and $0.44 a day for 2 pollers (not confirmed)"
    )
    everything = deployer.Options(
        provisioned_concurrency=1, architecture="arm64", alarms="ann@example.com", kms_key=KEY,
        builder="docker",
    )  # fmt: skip
    plan = deployer.prepare(Deployment(asu_id="42", target="aws"), store.find(), everything)
    told = deploy_report.idle_cost(plan)
    assert told.startswith("$1.00 a day for warm environments, ")
    assert told.endswith("$0.70 a month for 7 alarms, and $1.00 a month for the key")


def test_pollers_that_would_be_throttled_are_refused_before_anything_is_created(
    cloud: Clients,
) -> None:
    done = facectl(*FIRST, "--pollers", "2:51")
    assert isinstance(done.exception, InputError)
    assert done.exception.hint == "facectl deploy --pollers 2:50"
    assert cloud.sqs.list_queues().get("QueueUrls", []) == []


def test_destroy_asks_and_leaves_nothing(cloud: Clients) -> None:
    facectl(*FIRST)
    refused = facectl("destroy", text="n\n")
    assert refused.exit_code == 1
    assert len(cloud.functions.list_functions()["Functions"]) == 2

    removed = facectl("destroy", text="y\n")
    assert removed.exit_code == 0, removed.output
    assert removed.stdout.splitlines()[-1].endswith("resources removed")
    assert cloud.functions.list_functions()["Functions"] == []
    assert cloud.ecr.describe_repositories()["repositories"] == []
    assert cloud.sqs.list_queues().get("QueueUrls", []) == []
    assert cloud.s3.list_buckets()["Buckets"] == []


@pytest.mark.usefixtures("cloud")
def test_an_interrupted_deploy_is_resumed_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apply_step = deployer.apply_step
    done = []

    def until_the_fifth(step: Any, context: Any) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        apply_step(step, context)
        done.append(step)

    with monkeypatch.context() as patch:
        patch.setattr(deployer, "apply_step", until_the_fifth)
        facectl(*FIRST, "--memory", "4096")
    # Neither the ASU ID nor the memory is said again.
    second = facectl("deploy", "--json")
    facts = json.loads(second.stdout)
    assert len(facts["steps"]) == 11
    assert json.loads(facectl("status", "--json").stdout)["drift"] is False


@pytest.mark.usefixtures("cloud")
def test_images_that_are_given_are_not_built(built: Path) -> None:
    registry = "210987654321.dkr.ecr.us-east-1.amazonaws.com"
    uris = [
        word
        for function in ("face-detection", "face-recognition")
        for word in ("--image-uri", f"{function}={registry}/{function}:1")
    ]
    given = facectl(*FIRST, *uris)
    assert given.exit_code == 0, given.output
    assert not built.exists()
    assert "image face-detection" not in given.stderr


def failing(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.usefixtures("cloud")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    refused = facectl(*FIRST)
    assert isinstance(refused.exception, CloudError)
    assert "no AWS credentials" in str(refused.exception)
    assert str(refused.exception.hint).startswith("aws configure   or, for temporary ones: ")


@pytest.mark.usefixtures("cloud")
def test_a_region_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = EndpointConnectionError(endpoint_url="https://sts.us-east-9.amazonaws.com")
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", failing(unreachable))
    refused = facectl(*FIRST, "--region", "us-east-9")
    assert isinstance(refused.exception, NotRunningError)
    assert "AWS does not answer in us-east-9" in str(refused.exception)
    assert refused.exception.hint == "--region us-east-1"


@pytest.mark.usefixtures("cloud")
def test_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = facectl(*FIRST)
    assert isinstance(refused.exception, InputError)
    assert "no docker command" in str(refused.exception)


def test_an_asu_id_that_sqs_refuses() -> None:
    refused = facectl("deploy", "--asu-id", "me@asu.edu")
    assert isinstance(refused.exception, InputError)
    assert "can't name a queue" in str(refused.exception)
