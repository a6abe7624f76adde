"""The README's block "On AWS", run in moto after its block of the local cloud."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import pytest
from readme import block
from slow_aws import Rules, SlowAws
from test_deploy_command import built, cloud, facectl

from facectl import records
from facectl.aws import Clients
from facectl.context import LOCAL_ACCOUNT, Deployment
from facectl.deploy import access, deployer, doctor
from facectl.deploy.options import Options, remember
from facectl.deploy.probe import Probed
from facectl.deploy.resources import Context
from facectl.deploy.resources.roles import lambda_trust
from facectl.errors import CloudError, InputError

__all__ = ["built", "cloud"]
# As `facectl deploy --asu-id 1225754101 --target local` leaves it; tests/e2e/test_readme.py
# runs that block itself.
LOCAL = Deployment(
    "1225754101",
    "local",
    endpoint_url="http://127.0.0.1:4566",
    function_url="http://127.0.0.1:4566/_aws/lambda-url/abc/",
    auth="none",
    account=LOCAL_ACCOUNT,
)


SLOW = Rules(
    role_seconds=15, policy_seconds=10, pending_seconds=30, update_seconds=8, url_seconds=20,
    queue_seconds=5, mapping_seconds=25,
)  # fmt: skip


@pytest.fixture
def slow(cloud: Clients, monkeypatch: pytest.MonkeyPatch) -> SlowAws:
    """moto's account with the rules of AWS; this computer's disk may be full."""
    aws = SlowAws(SLOW)
    aws.install(monkeypatch)
    there = functools.partial(Context, clock=aws.clock, sleep=aws.clock.sleep)
    monkeypatch.setattr(deployer, "Context", there)
    monkeypatch.setattr(doctor, "_DISK_GB", {"direct": 0.0, "docker": 0.0})
    monkeypatch.setattr(doctor, "check", lambda *_: Probed(0.1, 0.2))
    monkeypatch.setattr(deployer, "reserved_for_public", access.reserved_for_public)
    return aws


def test_the_readme_is_the_list_that_these_tests_follow() -> None:
    names = [command[0] for command in block("On AWS")]
    assert names == ["doctor", "deploy", "deploy", "status", "destroy"]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_an_administrator_follows_the_readme(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    remember(LOCAL, Options(memory=512))
    told = [said(command) for command in block("On AWS")]
    assert "nothing is deployed yet" in told[0].stdout
    assert "problem" not in told[0].stdout
    assert told[1].stdout.splitlines()[-1] == "16 steps"
    assert told[2].stdout.startswith("16 steps done\n")
    assert told[3].stdout.splitlines()[-1] == "No drift"
    assert told[4].stdout.splitlines()[-1].endswith("resources removed")
    where = f"Deployment: ASU ID 1225754101 on aws, {region}, account 123456789012\n"
    assert [each.stderr.startswith(where) for each in told[1:]] == [True] * 4
    there = Clients(Deployment("42", "aws", region))
    assert there.functions.list_functions()["Functions"] == []
    # The local cloud is unchanged.
    assert records.known() == [LOCAL.key]
    assert records.read(LOCAL.key) == LOCAL
    assert records.options(LOCAL.key) == {"memory": 512}
    again = json.loads(facectl("context", "--asu-id", "1225754101", "--json").stdout)
    assert again["target"] == "local"


def test_a_learner_lab_is_led_through_the_readme_by_the_hints(
    cloud: Clients, slow: SlowAws
) -> None:
    with slow.outside():
        cloud.iam.create_role(RoleName="LabRole", AssumeRolePolicyDocument=lambda_trust())
    slow.rules = dataclasses.replace(SLOW, limit=10, learner_lab=True)
    look, dry, first, status, destroy = block("On AWS")
    looked = facectl(*look)
    assert looked.exit_code == 1
    role = "--role-arn arn:aws:iam::123456789012:role/LabRole"
    assert f"next: facectl deploy {role}" in looked.stdout
    for command in (dry, first):
        refused = facectl(*command)
        assert isinstance(refused.exception, CloudError)
        assert refused.exception.hint == f"facectl deploy {role}"
    assert not any(":Create" in call for call in slow.calls)
    assert records.known() == []

    with_role = [*first, *role.split()]
    planned = said([*dry, *role.split()])
    assert planned.stdout.splitlines()[-1] == "14 steps"
    assert "role facectl" not in planned.stdout
    done = said(with_role)
    assert done.stdout.startswith("14 steps done\n")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert [line.partition(" ")[2][:32] for line in warnings] == [
        "the concurrency limit is 10, of ",
        "these credentials may not simula",
    ]
    # Half of ten, so that face-detection is not starved.
    (mapping,) = cloud.functions.list_event_source_mappings()["EventSourceMappings"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert said(status).stdout.splitlines()[-1] == "No drift"

    public = said([*first, "--auth", "none"])
    assert "only the account's concurrency limit bounds it" in " ".join(public.stderr.split())
    reserved = facectl(*first, "--auth", "none", "--reserved-concurrency", "5")
    assert isinstance(reserved.exception, InputError)
    offered = str(reserved.exception.hint).partition("   ")[0].split()[2:]
    assert said([*first, *offered]).exit_code == 0

    assert said(destroy).stdout.splitlines()[-1].endswith("resources removed")
    assert cloud.functions.list_functions()["Functions"] == []


def test_a_learner_lab_elsewhere_is_told_its_regions(
    slow: SlowAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.rules = dataclasses.replace(SLOW, limit=10, learner_lab=True)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    refused = facectl(*block("On AWS")[2])
    assert isinstance(refused.exception, InputError)
    assert "A learner lab can't use eu-west-1" in str(refused.exception)
    assert refused.exception.hint == "--region us-east-1"


def test_an_expired_lab_session_says_how_to_renew_it(slow: SlowAws) -> None:
    slow.expired = True
    refused = facectl(*block("On AWS")[2])
    assert isinstance(refused.exception, CloudError)
    assert "ExpiredToken" in str(refused.exception)
    assert "aws_session_token" in str(refused.exception.hint)


def said(command: list[str]) -> Any:
    done = facectl(*command, text="y\n")
    assert done.exit_code == 0, (command, done.output, done.exception)
    return done


def test_every_block_that_deploys_names_its_target() -> None:
    for heading in ("Your own video", "On AWS"):
        deploys = [command for command in block(heading) if command[0] in ("deploy", "destroy")]
        assert deploys
        assert all("--target" in command for command in deploys)
