"""What the reader sees when AWS, or the local cloud, says no."""

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


def test_what_was_tried_and_aws_code_are_told() -> None:
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
def test_the_next_command(code: str, hint: str) -> None:
    assert hint in (refused(code).hint or "")


def test_a_local_cloud_that_is_down() -> None:
    clients = Clients(LOCAL)
    with pytest.raises(NotRunningError) as caught, cloud_errors("listing queues", LOCAL):
        clients.sqs.list_queues()
    assert "http://127.0.0.1:9" in str(caught.value)
    assert caught.value.hint == "facectl local up"


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    clients = Clients(AWS)
    with pytest.raises(CloudError, match="no AWS credentials"), cloud_errors("listing", AWS):
        clients.sqs.list_queues()


def test_an_unknown_profile() -> None:
    with pytest.raises(InputError, match="No AWS profile is called 'nobody'"):
        Clients(Deployment("alice", "aws", profile="nobody"))


def test_the_local_cloud_never_gets_the_users_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREALKEY")
    found = Clients(LOCAL).credentials()
    assert found is not None
    assert found.access_key == "test"
