"""An account and region hold one deployment: which one a deploy replaces, in moto's AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_deploy_command import built, cloud, facectl

from facectl import records
from facectl.aws import Clients
from facectl.context import Deployment, Key
from facectl.deploy import deployer
from facectl.errors import CloudError, InputError
from facectl.models import store

__all__ = ["built", "cloud"]
ACCOUNT = "123456789012"
MINE = ("deploy", "--asu-id", "mine", "--target", "aws")
OTHER = ("deploy", "--asu-id", "other", "--target", "aws")


def key(asu_id: str, region: str = "us-east-1") -> Key:
    return Key(asu_id, "aws", region, ACCOUNT)


def queues(cloud: Clients) -> set[str]:
    return {url.rpartition("/")[2] for url in cloud.sqs.list_queues().get("QueueUrls", [])}


def owner(cloud: Clients) -> dict[str, str]:
    return cloud.functions.get_function(FunctionName="face-detection")["Tags"]


def test_another_id_of_ones_own_does_not_give_way(cloud: Clients) -> None:
    facectl(*OTHER)
    refused = facectl(*MINE)
    assert isinstance(refused.exception, CloudError)
    assert str(refused.exception) == (
        "This account and region hold the deployment of ASU ID "
        "other on aws, us-east-1, account 123456789012: there can be only one deployment"
    )
    assert refused.exception.hint == (
        "facectl deploy --asu-id mine --target aws --region us-east-1 --account 123456789012 "
        "--replace   destroys it first   or   "
        "facectl destroy --asu-id other --target aws --region us-east-1 --account 123456789012"
    )
    assert records.known() == [key("other")]
    assert owner(cloud) == {"facectl:asu-id": "other"}


def test_replace_asks_and_destroys_it_first(cloud: Clients) -> None:
    facectl(*OTHER)
    said_no = facectl(*MINE, "--replace", text="n\n")
    assert said_no.exit_code == 1
    question = "This destroys other on aws, us-east-1, account 123456789012 first, 14 resources."
    assert question in said_no.stderr
    assert owner(cloud) == {"facectl:asu-id": "other"}
    assert records.known() == [key("other")]

    said_yes = facectl(*MINE, "--replace", text="y\n")
    assert said_yes.exit_code == 0, said_yes.output
    assert "\n30 steps done\n" in said_yes.stdout
    assert owner(cloud) == {"facectl:asu-id": "mine"}
    assert queues(cloud) == {"mine-req-queue", "mine-resp-queue", "mine-req-dlq"}
    assert [bucket["Name"] for bucket in cloud.s3.list_buckets()["Buckets"]] == [
        f"facectl-mine-{ACCOUNT}-us-east-1"
    ]
    assert records.known() == [key("mine")]
    assert records.current() == key("mine")
    assert json.loads(facectl("status", "--json").stdout)["drift"] is False


@pytest.mark.usefixtures("cloud")
def test_a_dry_run_shows_what_is_destroyed_and_does_not_ask() -> None:
    facectl(*OTHER)
    planned = facectl(*MINE, "--replace", "--dry-run")
    assert planned.exit_code == 0
    lines = planned.stdout.splitlines()
    assert lines[-1] == "30 steps"
    assert "  delete function face-detection" in lines
    assert "  create function face-detection" in lines
    assert planned.stderr.startswith("Deployment: ASU ID mine on aws, us-east-1, account 12345678")
    assert records.known() == [key("other")]


@pytest.mark.usefixtures("cloud")
def test_where_nothing_is_in_the_way_replace_does_nothing() -> None:
    assert facectl(*MINE, "--replace").stdout.startswith("16 steps done")
    assert facectl(*MINE, "--replace").stdout.startswith("Nothing to change")


def test_a_demo_gives_way_by_itself(cloud: Clients) -> None:
    _deploy_demo()
    assert owner(cloud) == {"facectl:asu-id": "demo", "facectl:demo": "true"}
    done = facectl(*MINE)
    assert done.exit_code == 0, done.output
    words = "The demo demo on aws, us-east-1, account 123456789012 is removed first: 14 resources\n"
    assert words in done.stderr
    assert owner(cloud) == {"facectl:asu-id": "mine"}
    assert queues(cloud) == {"mine-req-queue", "mine-resp-queue", "mine-req-dlq"}
    assert records.known() == [key("mine")]


def test_a_demo_is_known_by_its_tag_and_by_its_record(cloud: Clients) -> None:
    deployment = _deploy_demo()
    records.forget(deployment.key)
    assert facectl(*MINE).exit_code == 0
    facectl("destroy", "--yes")

    deployment = _deploy_demo()
    for function in ("face-detection", "face-recognition"):
        arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{function}"
        cloud.functions.untag_resource(Resource=arn, TagKeys=["facectl:demo"])
    assert facectl(*MINE).exit_code == 0


@pytest.mark.usefixtures("cloud")
def test_a_demo_that_was_interrupted_while_it_gave_way_still_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _deploy_demo()
    apply_step, done = deployer.apply_step, []

    def until_the_sixth(step: Any, context: Any) -> None:
        if len(done) == 6:
            raise KeyboardInterrupt
        apply_step(step, context)
        done.append(step)

    with monkeypatch.context() as patch:
        patch.setattr(deployer, "apply_step", until_the_sixth)
        facectl(*MINE)
    assert key("demo") in records.known()
    finished = facectl("deploy")
    assert finished.exit_code == 0, finished.output
    assert records.known() == [key("mine")]


def test_what_was_deployed_as_ones_own_loses_the_mark(cloud: Clients) -> None:
    deployment = _deploy_demo()
    records.forget(deployment.key)
    facectl("deploy", "--asu-id", "demo", "--target", "aws")
    assert owner(cloud) == {"facectl:asu-id": "demo"}
    assert isinstance(facectl(*MINE).exception, CloudError)


def test_two_regions_side_by_side(cloud: Clients) -> None:
    facectl(*MINE)
    refused = facectl("deploy", "--region", "eu-west-1")
    assert isinstance(refused.exception, InputError)
    assert "is deployed elsewhere, not in eu-west-1" in str(refused.exception)
    second = facectl(*MINE, "--region", "eu-west-1")
    assert second.exit_code == 0, second.output
    assert records.known() == [key("mine", "eu-west-1"), key("mine")]
    gone = facectl("destroy", "--asu-id", "mine", "--region", "eu-west-1", "--yes")
    assert gone.exit_code == 0, gone.output
    assert records.known() == [key("mine")]
    assert len(cloud.functions.list_functions()["Functions"]) == 2


@pytest.mark.usefixtures("cloud")
def test_the_region_of_the_shell_is_used_and_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    done = facectl(*MINE)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("Deployment: ASU ID mine on aws, eu-central-1, account 1234567")
    assert json.loads(facectl("context", "--json").stdout)["region"] == "eu-central-1"


def _deploy_demo() -> Deployment:
    """As `facectl demo` deploys, but to AWS."""
    demo = Deployment("demo", "aws", account=ACCOUNT, demo=True)
    work = deployer.prepare(demo, store.find(), deployer.Options(builder="docker"))
    deployer.apply(work)
    return deployer.finish(work)
