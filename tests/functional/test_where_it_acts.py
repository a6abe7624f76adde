"""Commands that change something print the deployment first, and refuse another account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from command_line import COMMANDS
from moto import mock_aws
from typer.testing import CliRunner

from facectl import records
from facectl.aws import ClientError, Clients
from facectl.cli.app import app
from facectl.context import LOCAL_ACCOUNT, Deployment, Target
from facectl.errors import FacectlError, InputError

ACCOUNT = "123456789012"
HERE = Deployment("42", "aws", "eu-west-1", function_url="https://x/", account=ACCOUNT)
LINE = "Deployment: ASU ID 42 on aws, eu-west-1, account 123456789012\n"
CHANGES = {
    "facectl deploy": ["--dry-run"],
    "facectl destroy": ["--yes"],
    "facectl send": ["{image}"],
    "facectl tail": ["--max", "1", "--timeout", "0"],
    "facectl purge": ["--yes"],
    "facectl bench run": ["{image}", "-n", "1"],
    "facectl bench sweep": ["{image}", "-n", "1"],
    "facectl dlq redrive": ["--all"],
    "facectl dlq drop": ["--all", "--yes"],
    "facectl gallery enroll": ["Ada", "{image}"],
    "facectl gallery remove": ["Ada"],
    "facectl gallery rename": ["Ada", "Eve"],
    "facectl gallery merge": ["Ada", "Eve"],
    "facectl gallery import": ["{image}.npz"],
    "facectl gallery rebuild": [],
    "facectl gallery rollback": ["1"],
    "facectl gallery publish": [],
    "facectl gallery settings": ["--threshold", "1"],
    "facectl gallery calibrate": [],
    "facectl rollback": ["--dry-run"],
    "facectl push": [],
    "facectl watch": ["{image}", "--no-open"],
    "facectl edge install": ["{image}", "--dry-run"],
    "facectl strangers name": ["s-1", "Ada"],
    "facectl strangers ignore": ["s-1"],
    "facectl strangers forget": ["s-1", "--yes"],
    "facectl strangers correct": ["visit", "--is", "Ada"],
    "facectl strangers undo": [],
    # It changes the records of this computer, by what it reads.
    "facectl context add": [],
    # They change nothing, but in another account everything would seem to be missing.
    "facectl status": [],
    "facectl versions": [],
}
# They change nothing, but read the cloud.
READS_CLOUD = {
    "facectl logs": [],
    "facectl logs report": [],
    "facectl trace": ["--last"],
    "facectl dlq list": [],
    "facectl dlq show": ["x"],
    "facectl gallery status": [],
    "facectl tail": ["--keep", "--max", "1", "--timeout", "0"],
}
# They change nothing, or only files and processes of this computer.
READS = {
    "facectl demo",  # of the local cloud alone: tests/e2e/test_readme.py
    "facectl doctor",
    "facectl plan",
    "facectl policy",
    "facectl export",
    "facectl context show",
    "facectl context list",
    "facectl context use",
    "facectl strangers list",
    "facectl strangers show",
    "facectl strangers split",
    "facectl strangers merge",
    "facectl gallery list",
    "facectl gallery show",
    "facectl gallery history",
    "facectl gallery diff",
    "facectl gallery evaluate",
    "facectl gallery export",
    "facectl local up",
    "facectl local down",
    "facectl local status",
    "facectl models build",
    "facectl models list",
    "facectl models path",
    "facectl models verify",
}


def test_every_command_is_listed_as_changing_or_reading() -> None:
    assert set(COMMANDS) | {"facectl logs"} == {*CHANGES, *READS_CLOUD, *READS}


def invoke(command: str, image: Path) -> Any:
    arguments = [each.format(image=image) for each in CHANGES[command]]
    return CliRunner().invoke(app, [*command.split()[1:], *arguments])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file that exists, but is no image."""
    file = tmp_path / "a.jpg"
    file.write_bytes(b"")
    return file


@pytest.mark.parametrize("command", CHANGES)
def test_the_deployment_is_printed_first(
    command: str, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not the command then fails in the empty account."""
    monkeypatch.setattr("facectl.stream.session.Session.run", _not_reached)
    with mock_aws():
        records.remember(HERE)
        done = invoke(command, image)
    assert done.stderr.startswith(LINE), (done.stderr, done.exception)
    assert isinstance(done.exception, (FacectlError, SystemExit, type(None))), done.exception


def _not_reached(*_: Any, **__: Any) -> None:
    raise InputError("nothing is sent in this test")


def refused(done: Any) -> None:
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception) == (
        "The credentials belong to account 210987654321, "
        "but the deployment is 42 on aws, eu-west-1, account 123456789012"
    )
    assert LINE not in done.stderr


@pytest.mark.parametrize("command", CHANGES)
def test_nothing_is_changed_in_another_account(
    command: str, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clients, "account", "210987654321", raising=False)
    records.remember(HERE)
    refused(invoke(command, image))


@pytest.mark.parametrize(("command", "arguments"), READS_CLOUD.items())
def test_nothing_is_read_in_another_account(
    command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clients, "account", "210987654321", raising=False)
    records.remember(HERE)
    refused(CliRunner().invoke(app, [*command.split()[1:], *arguments]))


@pytest.mark.parametrize("target", ["aws", "local"])
@pytest.mark.parametrize(("command", "arguments"), READS_CLOUD.items())
def test_the_account_of_a_read_costs_one_call_on_aws_and_none_on_the_local_cloud(
    command: str, arguments: list[str], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def call(_: BaseClient, operation: str, _arguments: object) -> dict[str, str]:
        made.append(operation)
        if operation == "GetCallerIdentity":
            account = ACCOUNT if target == "aws" else LOCAL_ACCOUNT
            return {"Arn": f"arn:aws:iam::{account}:user/ada"}
        raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, operation)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    endpoint = "http://127.0.0.1:9" if target == "local" else None
    records.remember(replace(HERE, target=target, endpoint_url=endpoint))

    CliRunner().invoke(app, [*command.split()[1:], *arguments])

    # The name of the gallery's bucket has the account in it.
    own = 1 if command == "facectl gallery status" else 0
    assert made.count("GetCallerIdentity") == own + (1 if target == "aws" else 0)
    assert set(made) != {"GetCallerIdentity"}
