"""The README's block "On AWS", run in moto after its block of the local cloud."""

from __future__ import annotations

import json
from typing import Any

import pytest
from readme import block
from test_deploy_command import built, cloud, facectl

from facectl import records
from facectl.aws import Clients
from facectl.context import LOCAL_ACCOUNT, Deployment
from facectl.deploy import doctor
from facectl.deploy.options import Options, remember
from facectl.deploy.probe import Probed

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


def test_each_command_does_what_the_readme_says(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This computer's disk may be full.
    monkeypatch.setattr(doctor, "_DISK_GB", 0.0)
    monkeypatch.setattr(doctor, "check", lambda *_: Probed(0.1, 0.2))
    remember(LOCAL, Options(memory=512))
    commands = block("On AWS")
    names = [command[0] for command in commands]
    assert names == ["doctor", "deploy", "deploy", "status", "destroy"]
    told = [said(command) for command in commands]
    assert told[0].exit_code == 0, told[0].output
    assert "nothing is deployed yet" in told[0].stdout
    assert told[1].stdout.splitlines()[-1] == "16 steps"
    assert told[2].stdout.startswith("16 steps done\n")
    assert told[3].stdout.splitlines()[-1] == "No drift"
    assert told[4].stdout.splitlines()[-1].endswith("resources removed")
    where = "Deployment: ASU ID 1225754101 on aws, us-east-1, account 123456789012\n"
    assert [each.stderr.startswith(where) for each in told[1:]] == [True] * 4
    assert cloud.functions.list_functions()["Functions"] == []
    # The local cloud is unchanged.
    assert records.known() == [LOCAL.key]
    assert records.read(LOCAL.key) == LOCAL
    assert records.options(LOCAL.key) == {"memory": 512}
    again = json.loads(facectl("context", "--asu-id", "1225754101", "--json").stdout)
    assert again["target"] == "local"


def said(command: list[str]) -> Any:
    done = facectl(*command, text="y\n")
    assert done.exit_code == 0, (command, done.output, done.exception)
    return done


def test_every_block_that_deploys_names_its_target() -> None:
    for heading in ("Your own video", "On AWS"):
        deploys = [command for command in block(heading) if command[0] in ("deploy", "destroy")]
        assert deploys
        assert all("--target" in command for command in deploys)
