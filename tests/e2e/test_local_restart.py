"""What `local up` restores after `local down`, a kill or damage, with the real functions."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from driver import Facectl, free_port

from facectl.aws import Clients
from facectl.context import Deployment

pytestmark = pytest.mark.e2e


@pytest.fixture
def cloud(facectl: Facectl, portrait: Path, tmp_path_factory: pytest.TempPathFactory):
    """A local cloud of its own with a deployment and one person enrolled in it."""
    own = Facectl(tmp_path_factory.mktemp("own-home"))
    (own.home / "data").mkdir()
    (own.home / "data" / "models").symlink_to(facectl.home / "data" / "models")
    own("local", "up", "--port", free_port())
    try:
        own("deploy", "--asu-id", "kept", "--target", "local")
        own("gallery", "enroll", "Ada", portrait)
        yield own
    finally:
        own("local", "down", expect=None)


def clients(cloud: Facectl) -> Clients:
    endpoint = cloud.json("local", "status")["endpoint_url"]
    return Clients(Deployment(asu_id="kept", target="local", endpoint_url=endpoint))


def response_queue(aws: Clients) -> str:
    return aws.sqs.get_queue_url(QueueName="kept-resp-queue")["QueueUrl"]


def put_answers(cloud: Facectl, bodies: list[str]) -> None:
    aws = clients(cloud)
    for body in bodies:
        aws.sqs.send_message(QueueUrl=response_queue(aws), MessageBody=body)


def answers(cloud: Facectl) -> list[str]:
    aws = clients(cloud)
    received = aws.sqs.receive_message(
        QueueUrl=response_queue(aws), MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return sorted(message["Body"] for message in received.get("Messages", []))


def name_of(cloud: Facectl, photo: Path) -> str:
    """The pipeline's answer to a photograph."""
    out = cloud.home / "results.jsonl"
    cloud("send", photo, "--out", out)
    return str(json.loads(out.read_text().splitlines()[-1])["result"])


def test_down_and_up_keep_deployment_gallery_and_messages(cloud: Facectl, portrait: Path) -> None:
    waiting = [json.dumps({"request_id": each, "result": "Unknown"}) for each in ("r1", "r2")]
    put_answers(cloud, waiting)
    before = cloud.json("local", "status")["port"]
    cloud("local", "down")
    again = cloud.json("local", "up")

    assert again["port"] == before
    assert again["restored"]["problems"] == []
    assert again["restored"]["messages"] == 2
    assert answers(cloud) == waiting
    assert not cloud.json("status")["drift"]
    assert cloud("deploy").stdout.startswith("Nothing to change")
    assert name_of(cloud, portrait) == "Ada"
    local = cloud.home / "state" / "local"
    # What is kept, and the folder of everything else: nobody else can look into it.
    for file in (local, *(local / "state").rglob("*")):
        assert file.stat().st_mode & 0o077 == 0, file

    cloud("local", "down", "--forget")
    assert not (cloud.home / "state" / "local" / "state").exists()
    empty = cloud.json("local", "up", "--port", free_port())
    assert empty["restored"]["resources"] == 0
    assert empty["restored"]["problems"] == []


@pytest.mark.slow
def test_up_on_another_port_keeps_the_deployment(cloud: Facectl, portrait: Path) -> None:
    cloud("local", "down")
    port = free_port()
    moved = cloud.json("local", "up", "--port", port)
    assert moved["restored"]["problems"] == []
    assert cloud.json("context")["function_url"].startswith(f"http://127.0.0.1:{port}/")
    assert not cloud.json("status")["drift"]
    assert name_of(cloud, portrait) == "Ada"


@pytest.mark.slow
def test_up_after_a_kill_restores_the_deployment_and_says_what_may_be_lost(
    cloud: Facectl, portrait: Path
) -> None:
    process = psutil.Process(cloud.json("local", "status")["pid"])
    process.kill()
    process.wait(10)
    told = cloud("local", "up")
    assert "was not stopped by 'facectl local down'" in told.stderr
    assert "Run: facectl status --asu-id kept --target local" in told.stderr
    assert not cloud.json("status")["drift"]
    assert name_of(cloud, portrait) == "Ada"


@pytest.mark.slow
def test_a_damaged_state_file_is_moved_away_and_deploy_recreates_its_resources(
    cloud: Facectl, portrait: Path
) -> None:
    cloud("local", "down")
    services = cloud.home / "state" / "local" / "state" / "services"
    for name in ("lambda.json", "s3.json"):
        whole = (services / name).read_bytes()
        (services / name).write_bytes(whole[: len(whole) // 2])
    told = cloud("local", "up")
    assert "lambda.json, s3.json" in told.stderr
    assert "function face-detection" in told.stderr
    assert "Run: facectl deploy --asu-id kept --target local" in told.stderr
    cloud("deploy", "--asu-id", "kept", "--target", "local")
    assert not cloud.json("status")["drift"]
    assert name_of(cloud, portrait) == "Ada"
