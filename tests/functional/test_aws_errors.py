"""Errors of AWS and of the local cloud, as the user sees them."""

from __future__ import annotations

import pytest
from botocore.stub import Stubber

from facectl.aws import Clients, cloud_errors
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
        ("ExpiredToken", "aws sso login"),
        ("ExpiredTokenException", "aws sso login"),
        ("AWS.SimpleQueueService.NonExistentQueue", "facectl deploy"),
        ("ResourceNotFoundException", "facectl deploy"),
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
