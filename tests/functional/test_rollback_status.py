"""`facectl status` after a rollback, and the deploy that goes forward again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_deploy_command import FIRST, built, cloud, facectl, failing
from test_deploy_kms import KEY
from test_model_change import NEW, OLD, done, install
from test_versions import function, listed, new_code, no_downloads, put, record_of, retag

from facectl.aws import Clients
from facectl.deploy import deployer
from facectl.errors import InputError, UnansweredError
from facectl.models import store

__all__ = ["built", "cloud", "no_downloads"]

EMAIL = "ann@example.com"
THERE = ("--asu-id", "42", "--target", "aws")


def status(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(facectl("status", "--json", *arguments).stdout)
    return found


def two_versions() -> None:
    """Version 2 has other images and options than version 1, and this computer builds them."""
    done(*FIRST, "--memory", "4096")
    new_code()
    done("deploy", "--memory", "2048")


@pytest.mark.usefixtures("cloud")
def test_what_a_rollback_deployed_is_no_drift() -> None:
    two_versions()
    assert status()["rolled_back"] is None
    done("rollback", "1")
    told = facectl("status")
    assert told.exit_code == 0, told.stdout
    assert "\nVersion 1, rolled back from version 2\n" in told.stdout
    assert told.stdout.endswith("No drift\n")
    found = status()
    assert found["rolled_back"] == {"version": 1, "from": 2}
    assert found["drift"] is False
    assert found["advice"] == []
    assert "repository" in {each["kind"] for each in found["resources"]}


def test_the_next_deploy_goes_forward_and_says_so(cloud: Clients) -> None:
    two_versions()
    newer = function(cloud)[1]
    done("rollback", "1")
    sentence = (
        "Forward from version 1, rolled back from version 2: to the code of this computer and "
        "model tiny, fp32"
    )
    kept = ", with the options of version 1 (--reset: the defaults)\n"
    planned = done("deploy", "--dry-run")
    assert sentence + kept in planned.stderr
    assert sentence + "\n" in done("deploy", "--reset", "--dry-run").stderr
    assert sentence + kept in done("deploy").stderr
    assert function(cloud) == (4096, newer)
    assert status()["rolled_back"] is None
    assert "Version" not in facectl("status").stdout
    assert "Forward" not in done("deploy", "--memory", "1024").stderr


@pytest.mark.usefixtures("cloud")
def test_without_a_difference_a_deploy_goes_nowhere() -> None:
    done(*FIRST, "--memory", "4096")
    done("deploy", "--memory", "2048")
    done("rollback", "1")
    assert "Forward" not in done("deploy").stderr
    assert status()["rolled_back"] == {"version": 1, "from": 2}


def test_a_rollback_after_a_failed_deploy_is_no_drift(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*FIRST)
    before = function(cloud)
    new_code()
    with monkeypatch.context() as patch:
        patch.setattr(deployer, "check", failing(UnansweredError("no answer", hint="facectl logs")))
        assert facectl("deploy", "--memory", "1024").exit_code != 0
    assert status()["drift"] is False
    done("rollback")
    assert function(cloud) == before
    told = facectl("status")
    assert told.exit_code == 0, told.stdout
    assert "Version 1, rolled back from a deploy that was not recorded\n" in told.stdout
    assert "Forward from version 1, rolled back from a deploy" in done("deploy").stderr
    assert status()["rolled_back"] is None


def test_another_computer_sees_the_rollback(
    cloud: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_versions()
    done("rollback", "1")
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "elsewhere"))
    install("another", OLD)
    told = facectl("status", *THERE)
    assert told.exit_code == 0, told.stdout
    assert "Version 1, rolled back from version 2\n" in told.stdout
    # Its own options, not those of the version, are what it deploys.
    planned = facectl(*FIRST, "--dry-run")
    assert "to the code of this computer and model another, fp32\n" in planned.stderr


def test_drift_after_a_rollback_is_repaired_by_it(cloud: Clients) -> None:
    two_versions()
    done("rollback", "1")
    cloud.functions.update_function_configuration(FunctionName="face-detection", Timeout=3)
    told = facectl("status")
    assert told.exit_code == 1
    assert told.stdout.endswith(
        "Drift found: facectl rollback 3\n"
        "Or, with the code and model of this computer: facectl deploy\n"
    )
    done("rollback", "3")
    assert status()["drift"] is False


@pytest.mark.usefixtures("cloud")
def test_the_oldest_version_is_gone_after_its_rollback_and_still_repaired() -> None:
    for memory in range(1024, 1034):
        done(*FIRST, "--memory", str(memory))
    done("rollback", "1")
    assert [each["version"] for each in listed()][-1] == 2
    found = status()
    assert (found["rolled_back"], found["drift"]) == ({"version": 1, "from": 10}, False)
    assert done("rollback", "11").stdout.startswith("Nothing to change")


@pytest.mark.usefixtures("cloud")
def test_alarms_and_key_of_a_version_are_no_drift() -> None:
    done(*FIRST, "--alarms", EMAIL, "--kms-key", KEY)
    new_code()
    done("deploy", "--alarms", "off", "--kms-key", "off")
    for number, alarms in (("1", 7), ("2", 0), ("1", 7)):
        done("rollback", number)
        found = status()
        assert found["drift"] is False, found
        assert [each["kind"] for each in found["resources"]].count("alarm") == alarms
        assert found["rolled_back"]["version"] == int(number)


def test_an_image_that_was_pinned_by_its_digest_is_no_drift(cloud: Clients) -> None:
    two_versions()
    for each in listed()[1]["code"].values():
        repository, _, tag = each.partition("/")[2].partition(":")
        retag(cloud, repository, tag)
    done("rollback", "1")
    assert status()["drift"] is False
    assert "@sha256:" in function(cloud)[1]


@pytest.mark.usefixtures("cloud")
def test_a_model_that_is_not_on_this_computer_is_not_needed() -> None:
    done(*FIRST)
    install("other", NEW)
    done("deploy", "--model", "other")
    shutil.rmtree(store.folder() / "tiny")
    done("rollback", "1")
    found = status()
    assert found["model"] == {"name": "tiny", "precision": "fp32", "space": OLD}
    assert found["drift"] is False


def test_an_option_of_a_newer_facectl_is_told(cloud: Clients) -> None:
    two_versions()
    done("rollback", "1")
    record = record_of(cloud, 3)
    put(cloud, 3, json.dumps({**record, "options": {"of_tomorrow": 1}}).encode())
    refused = facectl("status")
    assert isinstance(refused.exception, InputError)
    assert "The options of version 3 can't be used: this version of facectl does not know" in (
        str(refused.exception)
    )
    # A deploy does not need them.
    assert "Forward from version 1" in done("deploy", "--dry-run").stderr
