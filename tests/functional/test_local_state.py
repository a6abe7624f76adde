"""What `local up` restores after `local down`: every kind of resource, without models."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from facectl import paths, records
from facectl.aws import Clients
from facectl.cli.app import app
from facectl.context import LOCAL_ACCOUNT, Deployment
from facectl.deploy import access
from facectl.deploy.desired import cloud, resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import DesiredState, Packages, Sizing
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import plan
from facectl.deploy.reader import read_resources
from facectl.deploy.resources import Context, Function, FunctionUrl, Repository, Resource, key
from facectl.errors import CloudError
from facectl.gallery import forgetting
from facectl.gallery.forgetting import PublishedBucket
from facectl.gallery.store import Store
from facectl.local import process, state
from facectl.local.saving import INVENTORY_PATH
from facectl.local.settings import services_folder, state_folder
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names

run = CliRunner().invoke
ASU_ID = "kept"
HANDLERS = {
    DETECTION_FUNCTION: "lambda_src.noop.detection",
    RECOGNITION_FUNCTION: "lambda_src.noop.recognition",
}
REPOSITORY = "mine"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    process.stop(save=False)


def clients() -> Clients:
    running = process.find()
    assert running is not None
    return Clients(Deployment(ASU_ID, "local", endpoint_url=running.endpoint_url))


def record(asu_id: str) -> Path:
    """The record file of a deployment, of an earlier version of facectl."""
    return paths.state_dir() / "deployments" / f"{asu_id}.json"


def remember(deployment: Deployment) -> None:
    record(deployment.asu_id).parent.mkdir(parents=True, exist_ok=True)
    record(deployment.asu_id).write_text(json.dumps(dataclasses.asdict(deployment)))


def recall(asu_id: str) -> Deployment:
    return Deployment(**json.loads(record(asu_id).read_text()))


def wanted(aws: Clients, sizing: Sizing) -> tuple[DesiredState, tuple[Resource, ...]]:
    """The pipeline with functions that do no work, and a repository."""
    package = zip_package()
    desired = DesiredState(
        Names(ASU_ID),
        access.read_account(aws),
        cloud("local"),
        Packages(package, package),
        sizing=sizing,
        environment={"FACECTL_MODEL_DIR": "/models/a"},
        auth="none",
    )
    pipeline = (
        dataclasses.replace(each, handler=HANDLERS[each.name])
        if isinstance(each, Function)
        else each
        for each in resources(desired)
    )
    return desired, (Repository(REPOSITORY, ASU_ID), *pipeline)


def deploy(sizing: Sizing) -> str:
    """Deploy the pipeline and record it; returns its Function URL."""
    aws = clients()
    desired, resources_wanted = wanted(aws, sizing)
    context = Context(aws, desired.account)
    for step in plan(resources_wanted, {}):
        apply_step(step, context)
    url = FunctionUrl.address(context, DETECTION_FUNCTION)
    assert url is not None
    remember(dataclasses.replace(aws.deployment, function_url=url))
    return url


def found(sizing: Sizing) -> dict[tuple[str, str], Resource]:
    aws = clients()
    desired, resources_wanted = wanted(aws, sizing)
    return read_resources(Context(aws, desired.account), resources_wanted)


def answer_of(url: str, request_id: str) -> str:
    """The body of the pipeline's response to a request."""
    asked = httpx.post(
        url, json={"request_id": request_id, "content": "", "filename": ""}, trust_env=False,
        timeout=60,
    )  # fmt: skip
    assert asked.status_code == 200, asked.text
    aws, deadline = clients(), time.monotonic() + 60
    queue = aws.sqs.get_queue_url(QueueName=f"{ASU_ID}-resp-queue")["QueueUrl"]
    while time.monotonic() < deadline:
        received = aws.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2, VisibilityTimeout=0
        )
        for message in received.get("Messages", []):
            if json.loads(message["Body"])["request_id"] == request_id:
                return message["Body"]
    raise AssertionError(f"no answer to {request_id}")


@pytest.mark.parametrize("sizing", [Sizing(), Sizing(provisioned_concurrency=1)])
def test_every_kind_of_resource_is_restored_and_works(sizing: Sizing) -> None:
    run(app, ["local", "up", "--port", str(free_port())])
    url = deploy(sizing)
    answer_of(url, "before")
    before = found(sizing)
    assert before.keys() == {key(each) for each in wanted(clients(), sizing)[1]}
    bucket = next(name for kind, name in before if kind == "bucket")
    clients().s3.put_object(Bucket=bucket, Key="gallery/current.json", Body=b"whole")

    assert run(app, ["local", "down"]).exit_code == 0
    up = run(app, ["local", "up", "--json"])

    assert json.loads(up.stdout)["restored"]["problems"] == [], up.stdout
    assert found(sizing) == before
    content = clients().s3.get_object(Bucket=bucket, Key="gallery/current.json")["Body"].read()
    assert content == b"whole"
    assert answer_of(url, "before")
    assert answer_of(url, "after")


def test_addresses_follow_a_change_of_port() -> None:
    run(app, ["local", "up", "--port", str(free_port())])
    deploy(Sizing())
    run(app, ["local", "down"])
    port = free_port()
    up = run(app, ["local", "up", "--port", str(port), "--json"])
    assert json.loads(up.stdout)["restored"]["problems"] == []
    remembered = recall(ASU_ID)
    assert remembered.endpoint_url == f"http://127.0.0.1:{port}"
    assert found(Sizing()) == {key(each): each for each in wanted(clients(), Sizing())[1]}
    assert answer_of(remembered.function_url, "moved")


def saved_after_a_change(port: int) -> None:
    """Wait until the cloud has saved a change on its own."""
    deadline = time.monotonic() + 60
    while not (saved := state.read()) or not saved.at or "queue mine" not in saved.inventory:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start_with_queue(*messages: str) -> int:
    port = free_port()
    run(app, ["local", "up", "--port", str(port)])
    url = clients().sqs.create_queue(QueueName="mine")["QueueUrl"]
    for message in messages:
        clients().sqs.send_message(QueueUrl=url, MessageBody=message)
    return port


def kill() -> None:
    victim = psutil.Process(process.find().pid)
    victim.kill()
    victim.wait(10)


def test_after_a_kill_the_last_save_is_restored() -> None:
    port = start_with_queue()
    saved_after_a_change(port)
    kill()
    up = run(app, ["local", "up"])
    assert up.exit_code == 0
    assert f"http://127.0.0.1:{port}" in up.stdout
    assert "Restored: 1 resources, 0 messages" in up.stdout
    assert "was not stopped by 'facectl local down': its queues and logs are as they" in up.stderr
    assert len(clients().sqs.list_queues()["QueueUrls"]) == 1


def test_a_kill_before_the_first_save_is_reported() -> None:
    run(app, ["local", "up", "--port", str(free_port())])
    kill()
    up = run(app, ["local", "up"])
    assert "and nothing had been saved" in up.stderr
    assert "Run: facectl deploy --asu-id ID --target local" in up.stderr


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def not_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")


def other_json(file: Path) -> None:
    file.write_text("[1, 2]")


def not_a_state(file: Path) -> None:
    file.write_text('{"queues": {"__scoped__": true, "data": {"no separator": 1}}}')


@pytest.mark.parametrize("damage", [half, not_a_state])
def test_a_damaged_state_is_reported_and_the_cloud_starts(damage: Callable[[Path], None]) -> None:
    start_with_queue("one")
    run(app, ["local", "down"])
    damage(services_folder() / "sqs.json")
    up = run(app, ["local", "up"])
    assert up.exit_code == 0, up.output
    assert "Not restored: queue mine" in up.stderr
    assert "Run: facectl deploy --asu-id ID --target local" in up.stderr
    assert "Traceback" not in up.output
    assert clients().sqs.list_queues().get("QueueUrls", []) == []


@pytest.mark.parametrize("damage", [half, empty, not_text, other_json])
def test_a_damaged_file_is_moved_away_before_the_cloud_starts(
    damage: Callable[[Path], None],
) -> None:
    services_folder().mkdir(parents=True)
    for name in ("sqs.json", "iam.json"):
        (services_folder() / name).write_text('{"__ministack_format__": 2, "payload": {}}')
    damage(services_folder() / "sqs.json")
    damaged = (services_folder() / "sqs.json").read_bytes()

    assert state.prepare(4566).damaged == ("sqs.json",)

    assert [file.name for file in services_folder().iterdir()] == ["iam.json"]
    assert [file.read_bytes() for file in state.damaged_folder().iterdir()] == [damaged]
    assert state.prepare(4566).damaged == ()


def test_objects_are_moved_away_with_their_damaged_bucket_records() -> None:
    services_folder().mkdir(parents=True)
    (services_folder() / "s3.json").write_text("{")
    (state_folder() / "objects").mkdir()
    assert state.prepare(4566).damaged == ("s3.json",)
    assert not (state_folder() / "objects").exists()


def test_only_this_clouds_addresses_in_records_get_the_new_port() -> None:
    addresses = [f"http://127.0.0.1:{port}" for port in (4566, 45660, 9999)]
    for number, address in enumerate(addresses):
        remember(Deployment(f"d{number}", "local", endpoint_url=address))
    other = Deployment("on-aws", "aws", endpoint_url=addresses[0])
    remember(other)
    damaged = record("damaged")
    damaged.write_bytes(b"\xff")
    services_folder().mkdir(parents=True)
    state.write(state.Saved(1.0, 4566, True))

    state.prepare(4600)

    moved = [recall(f"d{number}").endpoint_url for number in range(3)]
    assert moved == ["http://127.0.0.1:4600", *addresses[1:]]
    assert recall("on-aws") == other
    assert damaged.read_bytes() == b"\xff"


def test_a_damaged_saved_json_is_reported() -> None:
    start_with_queue("one")
    run(app, ["local", "down"])
    state.saved_file().write_text("{")
    up = run(app, ["local", "up", "--port", str(free_port())])
    assert "Damaged, and moved to" in up.stderr
    assert "saved.json" in up.stderr


def test_functions_with_damaged_code_are_not_restored() -> None:
    run(app, ["local", "up", "--port", str(free_port())])
    deploy(Sizing())
    run(app, ["local", "down"])
    for blob in (services_folder() / "lambda-blobs").iterdir():
        half(blob)
    up = run(app, ["local", "up"])
    assert "function face-detection" in up.stderr
    assert f"Run: facectl deploy --asu-id {ASU_ID} --target local" in up.stderr
    assert clients().functions.list_functions()["Functions"] == []


def test_the_cloud_keeps_running_if_its_state_cannot_be_saved() -> None:
    start_with_queue("one")
    for file in services_folder().iterdir():
        file.unlink()
    services_folder().rmdir()
    services_folder().write_text("in the way")
    down = run(app, ["local", "down"])
    assert isinstance(down.exception, CloudError)
    assert "keeps running, because its state can't be saved" in str(down.exception)
    assert "facectl local down --forget" in str(down.exception.hint)
    assert process.find().healthy()
    assert run(app, ["local", "down", "--forget"]).exit_code == 0
    assert process.find() is None


def test_down_of_an_unresponsive_cloud_reports_the_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_SILENT_SECONDS", 0.1)
    monkeypatch.setattr(process, "_STOP_SECONDS", 0.1)
    start_with_queue("one")
    psutil.Process(process.find().pid).suspend()
    down = run(app, ["local", "down"])
    assert "stopped before its last state was saved completely" in str(down.exception)
    assert down.exception.hint == "facectl local up"
    assert process.find() is None
    assert "was not stopped by" in run(app, ["local", "up"]).stderr


def test_an_unresponsive_cloud_is_replaced_and_that_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_SILENT_SECONDS", 0.1)
    monkeypatch.setattr(process, "_HEALTH_SECONDS", 0.1)
    monkeypatch.setattr(process, "_STOP_SECONDS", 0.1)
    start_with_queue("one")
    silent = process.find()
    psutil.Process(silent.pid).suspend()
    # The new one gets the usual time to answer.
    stop = process.stop

    def stopped(*, save: bool = True) -> int:
        ended = stop(save=save)
        monkeypatch.undo()
        return ended

    monkeypatch.setattr(process, "stop", stopped)
    up = run(app, ["local", "up"])

    assert up.exit_code == 0, up.output
    told = " ".join(up.stderr.split())
    assert f"(process {silent.pid}) did not answer: it was stopped and replaced" in told
    assert process.find().pid != silent.pid


def test_down_forget_deletes_the_records_of_its_deployments() -> None:
    port = start_with_queue()
    here, elsewhere = f"http://127.0.0.1:{port}", "http://127.0.0.1:9999"
    records.remember(Deployment("gone", "local", endpoint_url=here), {"memory": 2048})
    records.remember(Deployment("earlier", "local", "eu-west-1"))
    records.remember(Deployment("elsewhere", "local", endpoint_url=elsewhere))
    records.remember(Deployment("on-aws", "aws", endpoint_url=here))
    records.use(Deployment("gone", "local").key)
    bucket = Names("gone").bucket(LOCAL_ACCOUNT, "us-east-1")
    with closing(Store.for_space("gone", "space")) as gallery:
        # What a publication stores, and a `gallery remove --forget` that could not publish.
        gallery.put("buckets", json.dumps({bucket: asdict(PublishedBucket("local", "here", None))}))
        gallery.put("forgets", '{"count": 1, "at": "2026-11-24"}')
        assert [each.bucket for each in forgetting.pending(gallery)] == [bucket]

    down = run(app, ["local", "down", "--forget"])

    told = " ".join(down.stderr.split())
    assert "Deleting deployment gone on local, us-east-1, account 000000000000 and its" in told
    assert "Deleting deployment earlier on local, eu-west-1" in told
    assert "elsewhere" not in told
    assert {each.asu_id for each in records.known()} == {"elsewhere", "on-aws"}
    assert records.current() is None
    assert records.options(Deployment("gone", "local").key) == {}
    with closing(Store.open("gone")) as gallery:
        assert forgetting.pending(gallery) == []


def test_down_forget_deletes_records_also_if_the_cloud_is_stopped() -> None:
    port = start_with_queue()
    records.remember(Deployment("gone", "local", endpoint_url=f"http://127.0.0.1:{port}"))
    run(app, ["local", "down"])
    assert [each.asu_id for each in records.known()] == ["gone"]

    down = run(app, ["local", "down", "--forget", "--json"])

    assert json.loads(down.stdout)["deployments"] == ["gone/local-us-east-1-000000000000"]
    assert records.known() == []


def test_an_object_that_could_not_be_written_is_reported_and_saved_later() -> None:
    start_with_queue()
    s3 = clients().s3
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket="mine", Key="a", Body=b"old")
    account = next((state_folder() / "objects").glob("0*"))
    account.rename(account.with_suffix(".away"))
    account.write_text("in the way")
    s3.put_object(Bucket="mine", Key="a", Body=b"new")
    down = run(app, ["local", "down"])
    assert "failed to save object a of bucket mine" in str(down.exception)

    account.unlink()
    account.with_suffix(".away").rename(account)
    assert run(app, ["local", "down"]).exit_code == 0
    assert run(app, ["local", "up"]).stderr == ""
    assert clients().s3.get_object(Bucket="mine", Key="a")["Body"].read() == b"new"


def test_after_down_forget_it_starts_empty() -> None:
    start_with_queue("one")
    down = run(app, ["local", "down", "--forget"])
    assert "What was deployed there is deleted" in down.stdout
    assert not state_folder().exists()
    up = run(app, ["local", "up", "--port", str(free_port())])
    assert up.stderr == ""
    assert clients().sqs.list_queues().get("QueueUrls", []) == []
    assert run(app, ["local", "down"]).exit_code == 0
    assert run(app, ["local", "down", "--forget"]).exit_code == 0
    assert not state_folder().exists()


def test_a_failed_start_does_not_change_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with_queue("one")
    run(app, ["local", "down"])
    (tmp_path / "ministack.py").write_text("raise SystemExit('the disk is on fire')")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        assert isinstance(run(app, ["local", "up"]).exception, CloudError)
    up = run(app, ["local", "up", "--json"])
    assert json.loads(up.stdout)["restored"]["problems"] == []
    assert json.loads(up.stdout)["restored"]["messages"] == 1


def test_a_message_in_flight_is_visible_after_a_restart() -> None:
    start_with_queue("one")
    queue = clients().sqs.get_queue_url(QueueName="mine")["QueueUrl"]
    taken = clients().sqs.receive_message(QueueUrl=queue, VisibilityTimeout=3600)
    assert len(taken["Messages"]) == 1
    run(app, ["local", "down"])
    run(app, ["local", "up"])
    again = clients().sqs.receive_message(
        QueueUrl=queue, AttributeNames=["ApproximateReceiveCount"]
    )
    [message] = again["Messages"]
    assert (message["Body"], message["Attributes"]["ApproximateReceiveCount"]) == ("one", "2")


def test_no_other_user_can_read_the_files() -> None:
    start_with_queue("one")
    run(app, ["local", "down"])
    files = list(state_folder().rglob("*"))
    assert services_folder() / "sqs.json" in files
    assert not [file for file in (state_folder(), *files) if file.stat().st_mode & 0o077]


def test_the_running_cloud_returns_its_inventory() -> None:
    start_with_queue("one", "two")
    assert process.find().post(INVENTORY_PATH)["queue mine"] == 2
