"""Going back to deploys with other alarms, another KMS key, or other defaults."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from test_deploy_command import FIRST, built, cloud, facectl
from test_deploy_kms import KEY, OTHER
from test_model_change import done
from test_versions import function, listed, no_downloads, put, record_of

from facectl.aws import Clients
from facectl.deploy import models, versions
from facectl.deploy import options as remembered
from facectl.deploy.models import Sizing

__all__ = ["built", "cloud", "no_downloads"]

EMAIL, SECOND = "ann@example.com", "bob@example.com"
BUCKET = "facectl-42-123456789012-us-east-1"


def alarms(clients: Clients) -> list[str]:
    """The names of the alarms, and the addresses that they are mailed to."""
    names = [each["AlarmName"] for each in clients.cloudwatch.describe_alarms()["MetricAlarms"]]
    addresses = [each["Endpoint"] for each in clients.sns.list_subscriptions()["Subscriptions"]]
    return [*sorted(names), *sorted(addresses)]


def dashboards(clients: Clients) -> int:
    return len(clients.cloudwatch.list_dashboards()["DashboardEntries"])


def keys(clients: Clients) -> set[str | None]:
    groups = clients.logs.describe_log_groups()["logGroups"]
    answers = [
        clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for url in clients.sqs.list_queues()["QueueUrls"]
    ]
    return {
        *(each.get("kmsKeyId") or None for each in groups),
        *(each.get("KmsMasterKeyId") or None for each in answers),
    }


def settled() -> None:
    """Nothing is left to change, and `status` finds no drift."""
    assert done("deploy", "--dry-run").stdout.startswith("Nothing to change")
    assert done("status").stdout.endswith("No drift\n")


def test_alarms_are_removed_made_again_and_readdressed(cloud: Clients) -> None:
    done(*FIRST)
    done("deploy", "--alarms", EMAIL)
    done("deploy", "--alarms", SECOND)
    whole = alarms(cloud)
    assert whole[-1] == SECOND
    done("rollback", "1")
    assert (alarms(cloud), dashboards(cloud)) == ([], 0)
    settled()
    done("rollback", "2")
    assert (alarms(cloud), dashboards(cloud)) == ([*whole[:-1], EMAIL], 1)
    settled()
    done("rollback", "3")
    assert alarms(cloud) == whole
    settled()


def test_a_computer_that_did_not_make_the_alarms_removes_them(
    cloud: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*FIRST)
    done("deploy", "--alarms", EMAIL)
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "elsewhere"))
    done("rollback", "1", "--asu-id", "42", "--target", "aws")
    assert (alarms(cloud), dashboards(cloud)) == ([], 0)


def test_a_budget_follows_the_public_url(cloud: Clients) -> None:
    done(*FIRST, "--alarms", EMAIL)
    done("deploy", "--auth", "none")
    budgets = cloud.budgets.describe_budgets(AccountId="123456789012").get("Budgets", [])
    assert len(budgets) == 1
    done("rollback", "1", "--yes")
    left = cloud.budgets.describe_budgets(AccountId="123456789012").get("Budgets", [])
    assert left == []
    settled()


def test_keys_are_added_changed_and_removed(cloud: Clients) -> None:
    done(*FIRST)
    for key in (KEY, OTHER):
        done("deploy", "--kms-key", key)
    cloud.s3.put_object(Bucket=BUCKET, Key="gallery/current.json", Body=b"{}")
    for number, key in ((1, None), (2, KEY), (3, OTHER)):
        done("rollback", str(number))
        assert keys(cloud) == {key}
        found = cloud.s3.head_object(Bucket=BUCKET, Key="gallery/current.json")
        assert found.get("SSEKMSKeyId") == key
        settled()
    # The records themselves can be read under every key.
    assert [each["version"] for each in listed()] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [(None, KEY, None), (KEY, None, None), (KEY, KEY, None), (KEY, OTHER, KEY), (KEY, "off", KEY)],
)
def test_a_change_of_the_key_warns_about_what_was_written(
    cloud: Clients, first: str | None, second: str | None, told: str | None
) -> None:
    done(*FIRST, *(("--kms-key", first) if first else ()))
    planned = done("deploy", "--dry-run", *(("--kms-key", second) if second else ()))
    assert ("messages and log lines keep the key" in planned.stderr) == (told is not None)
    if told is not None:
        assert told in planned.stderr
        assert "facectl purge" in planned.stderr


def test_a_rollback_warns_too(cloud: Clients) -> None:
    done(*FIRST)
    done("deploy", "--kms-key", KEY)
    assert f"keep the key that they were written with, {KEY}" in (
        done("rollback", "1", "--dry-run").stderr
    )


def other_defaults(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """A version of facectl with other defaults."""
    sizing = dataclasses.make_dataclass(
        "Sizing",
        [
            (each.name, each.type, dataclasses.field(default=changed.get(each.name, each.default)))
            for each in dataclasses.fields(Sizing)
        ],
        frozen=True,
    )
    for module in (models, remembered, versions):
        monkeypatch.setattr(module, "Sizing", sizing)


def test_a_rollback_restores_the_defaults_of_that_time(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*FIRST)
    assert listed()[0]["defaults"]["memory"] == 1769
    other_defaults(monkeypatch, memory=2048)
    done("deploy")
    assert function(cloud)[0] == 2048
    assert listed()[0]["changes"] == ["default of memory 1769 → 2048"]
    done("rollback", "1")
    assert function(cloud)[0] == 1769
    # It is an option now, and stays.
    assert listed()[0]["options"]["memory"] == 1769
    assert "memory" not in listed()[0]["defaults"]
    settled()


def test_what_was_set_is_no_default(cloud: Clients) -> None:
    done(*FIRST, "--memory", "4096", "--auth", "none")
    found = listed()[0]
    assert not {"memory", "auth"} & set(found["defaults"])
    assert found["defaults"]["timeout"] == 60
    done("rollback", "1")
    assert [each["version"] for each in listed()] == [1]


@pytest.mark.parametrize("defaults", [{"memory": "much"}, {"packaging": 7}, []])
def test_damaged_defaults_are_told(cloud: Clients, defaults: Any) -> None:
    done(*FIRST)
    put(cloud, 1, json.dumps({**record_of(cloud, 1), "defaults": defaults}).encode())
    result = facectl("rollback", "1")
    if defaults == []:
        assert result.exit_code == 0
        return
    assert "The options of version 1 can't be used" in str(result.exception)


def test_a_record_without_defaults_and_unknown_defaults_are_read(cloud: Clients) -> None:
    done(*FIRST)
    record = record_of(cloud, 1)
    del record["defaults"]
    put(cloud, 1, json.dumps(record).encode())
    assert done("rollback", "1").stdout.startswith("Nothing to change")
    put(cloud, 1, json.dumps({**record, "defaults": {"of_tomorrow": 1}}).encode())
    assert done("rollback", "1").stdout.startswith("Nothing to change")
