"""Calls that list may show for seconds what was deleted: its tags are then missing.

Source: the services' guides say that reads are eventually consistent; none gives a bound.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto_account import ASU_ID, apply, found

from facectl.deploy.models import DesiredState
from facectl.deploy.resources import Alarm, Context, LogGroup, Repository, Trigger

# The calls that read the tags, by the kind of resource.
CALLS = {
    LogGroup.kind: ("logs", "ListTagsForResource"),
    Trigger.kind: ("lambda", "ListTags"),
    Repository.kind: ("ecr", "ListTagsForResource"),
    Alarm.kind: ("monitoring", "ListTagsForResource"),
}


@pytest.fixture
def with_everything(context: Context, desired: DesiredState) -> DesiredState:
    """A deployment with alarms, and repositories beside it."""
    for name in ("face-detection", "face-recognition"):
        Repository(name, ASU_ID).create(context)
    state = dataclasses.replace(desired, alarms="ann@example.com")
    apply(context, state)
    return state


def read(context: Context, state: DesiredState) -> set[str]:
    """The kinds of resources that are found."""
    kinds = {kind for kind, _ in found(context, state)}
    if Repository("face-detection", None).read(context) is not None:
        kinds.add(Repository.kind)
    return kinds


@pytest.mark.parametrize("kind", CALLS)
def test_what_is_still_listed_is_not_there(
    kind: str,
    context: Context,
    with_everything: DesiredState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = read(context, with_everything)
    assert kind in before
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, arguments: Any) -> Any:
        if (client.meta.service_model.signing_name, operation) == CALLS[kind]:
            error: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": "gone"}}
            raise ClientError(error, operation)
        return original(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    assert read(context, with_everything) == before - {kind}
