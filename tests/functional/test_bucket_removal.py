"""What may go wrong while the bucket of a deployment is emptied and deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient
from moto_account import apply

from facectl.aws import Clients
from facectl.deploy.executor import apply_step
from facectl.deploy.models import DesiredState
from facectl.deploy.resources import Bucket, Context
from facectl.deploy.steps import Delete
from facectl.errors import CloudError

# An answer instead of moto's, for an operation; None: moto's.
Rule = Callable[[str, dict[str, Any]], Any]


@pytest.fixture
def bucket(context: Context, desired: DesiredState) -> Bucket:
    """The bucket of a deployment, with an object in it."""
    apply(context, desired)
    name = desired.names.bucket(desired.account.number, desired.account.region)
    context.clients.s3.put_object(Bucket=name, Key="gallery/a", Body=b"a")
    found = Bucket(name, desired.names.asu_id).read(context)
    assert found is not None
    return found


def intercept(monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, arguments: Any) -> Any:
        answer = rule(operation, arguments)
        return original(client, operation, arguments) if answer is None else answer

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


def test_an_object_that_s3_does_not_delete_is_told(
    bucket: Bucket, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers 200 with errors. Source: Amazon S3 API Reference, DeleteObjects."""
    error = {"Key": "gallery/a", "Code": "InternalError", "Message": "Please try again."}
    intercept(
        monkeypatch,
        lambda operation, _: {"Errors": [error]} if operation == "DeleteObjects" else None,
    )
    with pytest.raises(
        CloudError, match=r"gallery/a in .* can't be deleted: InternalErr"
    ) as caught:
        apply_step(Delete(bucket), context)
    assert caught.value.hint == "facectl destroy   continues"


def test_an_object_that_a_running_invocation_wrote_is_deleted_too(
    bucket: Bucket, context: Context, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeleteBucket then answers BucketNotEmpty (Amazon S3 API Reference, "Error responses")."""
    late = ["attempts/1", "attempts/2"]

    def write(operation: str, _arguments: dict[str, Any]) -> None:
        if operation == "DeleteBucket" and late:
            clients.s3.put_object(Bucket=bucket.name, Key=late.pop(), Body=b"")

    intercept(monkeypatch, write)
    apply_step(Delete(bucket), context)
    assert late == []
    assert bucket.name not in [each["Name"] for each in clients.s3.list_buckets()["Buckets"]]
