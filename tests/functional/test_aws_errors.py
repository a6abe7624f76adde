"""Errors of AWS and of the local cloud, as the user sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.stub import Stubber

from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_expired
from facectl.context import Deployment
from facectl.errors import CloudError, FacectlError, InputError, NotRunningError

LOCAL = Deployment("alice", "local", endpoint_url="http://127.0.0.1:9")
AWS = Deployment("alice", "aws")


def refused(code: str, deployment: Deployment = AWS) -> FacectlError:
    clients = Clients(deployment)
    with Stubber(clients.sqs) as stubber:
        stubber.add_client_error("list_queues", code, "in AWS's words")
        with pytest.raises(FacectlError) as caught, cloud_errors("listing queues", deployment):
            clients.sqs.list_queues()
    return caught.value


def test_an_error_names_the_operation_and_the_aws_code() -> None:
    error = refused("AccessDenied")
    assert isinstance(error, CloudError)
    assert str(error) == "listing queues: AccessDenied: in AWS's words"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("ExpiredToken", "with aws_session_token"),
        ("ExpiredTokenException", "with aws_session_token"),
        ("UnrecognizedClientException", "with aws_session_token"),
        ("InvalidClientTokenId", "with aws_session_token"),
        ("AWS.SimpleQueueService.NonExistentQueue", "facectl deploy"),
        ("ResourceNotFoundException", "facectl deploy"),
        ("ThrottlingException", "run the command again"),
        ("TooManyRequestsException", "run the command again"),
    ],
)
def test_an_error_has_a_hint_with_the_next_command(code: str, hint: str) -> None:
    assert hint in (refused(code).hint or "")


def test_a_stopped_local_cloud_is_reported() -> None:
    clients = Clients(LOCAL)
    with pytest.raises(NotRunningError) as caught, cloud_errors("listing queues", LOCAL):
        clients.sqs.list_queues()
    assert "http://127.0.0.1:9" in str(caught.value)
    assert caught.value.hint == "facectl local up"


def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    clients = Clients(AWS)
    with pytest.raises(CloudError, match="no AWS credentials"), cloud_errors("listing", AWS):
        clients.sqs.list_queues()


def test_an_unknown_profile_is_reported() -> None:
    with pytest.raises(InputError, match="No AWS profile is called 'nobody'"):
        Clients(Deployment("alice", "aws", profile="nobody"))


def test_the_local_cloud_does_not_get_the_users_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREALKEY")
    found = Clients(LOCAL).credentials()
    assert found is not None
    assert found.access_key == "test"


@pytest.mark.parametrize(
    ("key", "token", "start"),
    [
        ("AKIAEXAMPLE", None, "aws configure"),
        ("ASIAEXAMPLE", None, "the access key is temporary and has no session token: copy"),
        ("ASIAEXAMPLE", "token", "copy the credentials again into ~/.aws/credentials, with aws_"),
    ],
)
def test_refused_credentials_are_renewed_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, key: str, token: str | None, start: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    if token is None:
        monkeypatch.delenv("AWS_SESSION_TOKEN")
    else:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    error = refused("UnrecognizedClientException")
    assert str(error.hint).startswith(start)
    assert isinstance(error, CloudError)
    assert is_expired(error)


def test_a_profile_of_identity_center_signs_in_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text(
        "[profile work]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = admin\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    deployment = Deployment("alice", "aws", profile="work")
    with pytest.raises(CloudError) as caught, cloud_errors("listing", deployment):
        Clients(deployment).sqs.list_queues()
    assert "aws sso login" in str(caught.value.hint)
