"""deploy and destroy against a real MiniStack with the real functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Facectl, free_port, link_models

from facectl.aws import Clients
from facectl.context import Deployment

pytestmark = pytest.mark.e2e


@pytest.fixture
def cloud(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facectl]:
    """A local cloud of its own: destroy must not reach the one that other tests share."""
    own = Facectl(link_models(models_folder, tmp_path_factory.mktemp("own-home")))
    own("local", "up", "--port", free_port())
    yield own
    own("local", "down", expect=None)


def clients(cloud: Facectl) -> Clients:
    endpoint = cloud.json("local", "status")["endpoint_url"]
    return Clients(Deployment(asu_id="d1", target="local", endpoint_url=endpoint))


def test_deploy_is_idempotent_and_destroy_removes_everything(cloud: Facectl) -> None:
    first = cloud.json("deploy", "--asu-id", "d1", "--target", "local")
    assert first["changed"]
    assert len(first["steps"]) == 14
    assert first["function_url"].startswith("http://127.0.0.1:")
    assert cloud.json("context")["function_url"] == first["function_url"]

    again = cloud("deploy")
    assert again.stdout.startswith("Nothing to change\n")

    planned = cloud.json("deploy", "--dry-run", "--timeout", 30)
    changed = cloud.json("deploy", "--timeout", 30)
    assert [step["name"] for step in changed["steps"]] == [
        "d1-req-queue",
        "face-detection",
        "face-recognition",
    ]
    assert planned == changed["steps"]

    aws = clients(cloud)
    for name in ("d1-req-queue", "d1-resp-queue", "d1-req-dlq"):
        url = aws.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        counts = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert counts["ApproximateNumberOfMessages"] == "0", name
        assert counts["ApproximateNumberOfMessagesNotVisible"] == "0", name

    aws.sqs.create_queue(QueueName="mine")
    removed = cloud.json("destroy")
    assert len(removed["steps"]) == 12
    assert [url.rpartition("/")[2] for url in aws.sqs.list_queues()["QueueUrls"]] == ["mine"]
    assert aws.functions.list_functions()["Functions"] == []
    assert aws.iam.list_roles()["Roles"] == []
    assert aws.s3.list_buckets()["Buckets"] == []
    assert cloud.json("local", "status")["workers"] == 0
    assert "No deployment yet" in cloud("context", expect=2).stderr


@pytest.mark.slow
def test_commands_after_local_down_and_down_forget(cloud: Facectl) -> None:
    cloud("deploy", "--asu-id", "d1", "--target", "local")
    cloud("local", "down")
    told = cloud("deploy", expect=4)
    assert "The local cloud is not running" in told.stderr
    assert "facectl local up" in told.stderr

    cloud("local", "up", "--port", free_port())
    assert cloud("deploy").stdout.startswith("Nothing to change")

    cloud("local", "down")
    assert "facectl local up" in cloud("destroy", expect=4).stderr
    told = cloud("local", "down", "--forget")
    assert "Deleting deployment d1 on local" in told.stderr
    assert cloud.json("context", "list") == []
    cloud("local", "up", "--port", free_port())
    assert "No deployment yet" in cloud("deploy", expect=2).stderr
    assert len(cloud.json("deploy", "--asu-id", "d1", "--target", "local")["steps"]) == 14

    cloud("local", "down", "--forget")
    gone = cloud("destroy", "--asu-id", "d1", "--target", "local")
    assert "nothing to delete" in gone.stdout


@pytest.mark.slow
def test_deploy_repairs_drift(cloud: Facectl) -> None:
    cloud("deploy", "--asu-id", "d1", "--target", "local")
    aws = clients(cloud)
    aws.functions.update_function_configuration(
        FunctionName="face-recognition",
        Environment={"Variables": {"FACECTL_MODEL_DIR": "/nowhere"}},
    )
    repaired = cloud.json("deploy")
    assert [step["name"] for step in repaired["steps"]] == ["face-recognition"]


def test_two_deployments_do_not_share_a_function(cloud: Facectl) -> None:
    cloud("deploy", "--asu-id", "d1", "--target", "local")
    refused = cloud("deploy", "--asu-id", "d2", "--target", "local", expect=4)
    assert "hold the deployment of ASU ID d1" in refused.stderr
    assert "facectl destroy --asu-id d1" in refused.stderr


@pytest.mark.slow
def test_provisioned_concurrency_is_added_and_removed(cloud: Facectl) -> None:
    cloud("deploy", "--asu-id", "d1", "--target", "local")
    refused = cloud("deploy", "--provisioned-concurrency", 1, expect=1)
    assert "function URL face-detection must be deleted and created again" in refused.stderr

    warm = cloud.json("deploy", "--provisioned-concurrency", 1, "--yes")
    assert len(warm["steps"]) == 8
    assert not cloud.json("status")["drift"]
    assert cloud("deploy").stdout.startswith("Nothing to change")

    larger = cloud.json("deploy", "--memory", 2048)
    assert [step["kind"] for step in larger["steps"]] == ["function", "function", "alias", "alias"]

    cold = cloud.json("deploy", "--reset", "--yes")
    assert cold["function_url"] != warm["function_url"]
    assert cloud("deploy").stdout.startswith("Nothing to change")
