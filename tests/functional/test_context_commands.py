"""`facectl context list | use | show`, and how commands choose a deployment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from stream_stub import Pipeline
from typer.testing import CliRunner, Result

from facectl import records
from facectl.cli.app import app
from facectl.context import LOCAL_ACCOUNT, Deployment
from facectl.errors import InputError

LOCAL = Deployment("42", "local", function_url="http://u/", account=LOCAL_ACCOUNT)
AWS = Deployment("42", "aws", "eu-west-1", profile="[school]", account="123456789012")
DEMO = Deployment("demo", "local", account=LOCAL_ACCOUNT, demo=True)


@pytest.fixture
def three() -> None:
    """Three deployments; the last one, on the local cloud, is current."""
    for deployment in (DEMO, AWS, LOCAL):
        records.remember(deployment)


def facectl(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.usefixtures("three")
def test_list_marks_the_current_deployment() -> None:
    assert [line.rstrip() for line in facectl("context", "list").stdout.splitlines()] == [
        "    ASU ID  target  region     account       profile",
        "    42      aws     eu-west-1  123456789012  [school]",
        " *  42      local   us-east-1  000000000000  -",
        "    demo    local   us-east-1  000000000000  -         demo",
    ]
    told = json.loads(facectl("context", "list", "--json").stdout)
    assert [(each["asu_id"], each["target"], each["current"]) for each in told] == [
        ("42", "aws", False),
        ("42", "local", True),
        ("demo", "local", False),
    ]


def test_list_without_deployments() -> None:
    assert json.loads(facectl("context", "list", "--json").stdout) == []


@pytest.mark.usefixtures("three")
def test_list_reports_damaged_records_and_lists_the_others(isolated: Path) -> None:
    file = isolated / "state" / "deployments" / "records" / f"{AWS.key.name}.json"
    file.write_text("{")
    done = facectl("context", "list")
    assert done.exit_code == 2
    assert len(done.stdout.splitlines()) == 3
    assert f"{file} is damaged" in done.stderr
    assert "Next: rm" in done.stderr


@pytest.mark.usefixtures("three")
def test_use_changes_the_current_deployment() -> None:
    done = facectl("context", "use", "demo")
    assert done.exit_code == 0
    assert records.current() == DEMO.key
    refused = facectl("context", "use", "42")
    assert isinstance(refused.exception, InputError)
    assert refused.exception.hint == "--target aws   or   --target local"
    facts = json.loads(facectl("context", "use", "42", "--target", "aws", "--json").stdout)
    assert facts["current"] is True
    assert records.current() == AWS.key
    for command in (("context",), ("context", "show")):
        assert json.loads(facectl(*command, "--json").stdout) == facts
    assert "eu-west-1" in facectl("context").stdout


@pytest.mark.usefixtures("three")
def test_use_of_an_unknown_deployment_is_an_error() -> None:
    refused = facectl("context", "use", "43")
    assert isinstance(refused.exception, InputError)
    assert "No deployment 43 on aws" in str(refused.exception)
    assert refused.exception.hint == "facectl context list"
    assert records.current() == LOCAL.key


@pytest.mark.usefixtures("three")
def test_variables_take_precedence_over_the_current_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACECTL_TARGET", "aws")
    assert json.loads(facectl("context", "--json").stdout)["region"] == "eu-west-1"
    shown = json.loads(facectl("context", "--target", "local", "--json").stdout)
    assert shown["region"] == "us-east-1"


def test_a_run_is_resumed_only_in_its_own_deployment(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of a run are on the queues of one deployment."""
    image = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32)).save(image)
    begun: list[str] = []
    monkeypatch.setattr(
        "facectl.stream.run_file.open_run_file",
        lambda task, **_: begun.append(task.digest) or _stop(),
    )
    here = pipeline.deployment
    for deployment in (here, replace(here, region="eu-west-1"), here):
        records.remember(deployment)
        stopped = facectl("send", str(image))
        assert "nothing is sent" in str(stopped.exception)
    assert begun[0] == begun[2]
    assert begun[0] != begun[1]


def _stop() -> None:
    raise InputError("nothing is sent in this test")
