"""Access: allowed hosts, signatures, secrets and file modes."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import cv2
import httpx
import numpy as np
import pytest
from botocore.exceptions import ClientError
from stream_stub import Pipeline, Reply

from facectl.aws import Clients, cloud_errors
from facectl.context import Deployment
from facectl.errors import CloudError
from facectl.local import process
from facectl.local.guarded import is_ours
from facectl.local.settings import LocalSettings, folder, log_file

SECRET, TOKEN = "s3cr3tKeyThatNobodyMaySee", "t0kenThatNobodyMaySee"


@pytest.mark.parametrize(
    ("authority", "ours"),
    [
        ("127.0.0.1:4566", True), ("localhost:4566", True), ("[::1]:4566", True),
        ("172.17.0.1:4566", True), ("host.docker.internal:4566", True), ("a.localhost", True),
        ("evil.example:4566", False), ("127.0.0.1.evil.example", False), ("localhost.evil", False),
        ("", False), ("null", False), ("sqs.us-east-1.amazonaws.com", False),
    ],
)  # fmt: skip
def test_only_names_of_this_computer_are_local_hosts(authority: str, ours: bool) -> None:
    assert is_ours(authority) is ours


def test_the_local_cloud_refuses_requests_of_web_pages() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    cloud, _ = process.start(LocalSettings(port=port))
    try:
        url = f"{cloud.endpoint_url}/?Action=ListQueues"

        def asked(**headers: str) -> int:
            return httpx.get(url, headers=headers, trust_env=False).status_code

        assert asked() == 200
        assert asked(host="evil.example") == 403
        assert asked(origin="https://evil.example") == 403
        assert asked(origin="null") == 403
        assert asked(origin="http://localhost:8000") == 200
        clients = Clients(Deployment("a", "local", endpoint_url=cloud.endpoint_url))
        assert clients.sqs.list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert stat.S_IMODE(folder().stat().st_mode) == 0o700
        assert stat.S_IMODE(log_file().stat().st_mode) == 0o600
    finally:
        process.stop()


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("skew", [-4 * 60, 0, 4 * 60])
def test_a_frame_is_signed_as_botocore_signs_it(
    token: str | None, skew: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime.fromtimestamp(1_800_000_000 + skew, timezone.utc).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    if token is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    url, body = "https://abc.lambda-url.us-east-1.on.aws/", b'{"request_id": "r"}'
    headers = {"host": "abc.lambda-url.us-east-1.on.aws", "content-type": "application/json"}
    ours = Clients(Deployment("a", "aws")).sign("POST", url, body, headers)

    request = botocore.awsrequest.AWSRequest(method="POST", url=url, data=body, headers=headers)
    credentials = botocore.credentials.Credentials("AKIDEXAMPLE", SECRET, token)
    botocore.auth.SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
    assert ours["Authorization"] == request.headers["Authorization"]
    assert ours["X-Amz-Date"] == moment.strftime("%Y%m%dT%H%M%SZ")
    assert ours.get("X-Amz-Security-Token") == token
    assert SECRET not in json.dumps(ours)


def test_the_hint_names_a_wrong_clock() -> None:
    error = ClientError(
        {"Error": {"Code": "RequestTimeTooSkewed", "Message": "Signature expired"}}, "GetQueueUrl"
    )
    with pytest.raises(CloudError) as caught, cloud_errors("asking", Deployment("a", "aws")):
        raise error
    assert caught.value.hint is not None
    assert "clock" in caught.value.hint


@pytest.fixture
def secretive(isolated: Path, tmp_path: Path) -> dict[str, str]:
    """An environment with secret credentials."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "AKIDTHATISNOSECRET",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "COLUMNS": "200",
    }


def command(environment: dict[str, str], *arguments: object) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("facectl"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("deploy", "--dry-run"), ("gallery", "status")],
)
def test_errors_contain_no_secret_even_with_debug(
    secretive: dict[str, str], isolated: Path, arguments: tuple[str, ...]
) -> None:
    told = command(
        secretive, "--debug", *arguments,
        "--asu-id", "a", "--target", "aws", "--endpoint-url", "http://127.0.0.1:9",
    )  # fmt: skip
    assert told
    assert SECRET not in told
    assert TOKEN not in told
    for file in isolated.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes()
            assert TOKEN.encode() not in file.read_bytes()


def test_files_of_a_run_contain_no_secret_and_only_the_owner_reads_them(
    pipeline: Pipeline, secretive: dict[str, str], isolated: Path, tmp_path: Path
) -> None:
    """The files contain neither the image nor a key."""
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    picture = tmp_path / "frame.png"
    cv2.imwrite(str(picture), pixels)
    pipeline.script = lambda request, _: Reply(status=403, body=b"{}")
    told = command(secretive, "--debug", "send", picture, "--timeout", "1")
    assert "403" in told
    [run_file] = (isolated / "state" / "runs").iterdir()
    assert stat.S_IMODE(run_file.parent.stat().st_mode) == 0o700
    coded = base64.b64encode(picture.read_bytes())
    found = [file for file in (isolated / "state").rglob("*") if file.is_file()]
    assert run_file in found
    for file in found:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in (SECRET, TOKEN))
        assert coded[60:120] not in content
    assert coded[60:120].decode() not in told
    assert SECRET not in told
