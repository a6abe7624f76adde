"""The log groups of the functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Context, Key, Tagged, tags
from facectl.deploy.resources.functions import Function
from facectl.naming import FUNCTIONS, TAG_KEY, Names

_RETENTION_DAYS = 14


@dataclass(frozen=True, slots=True)
class LogGroup(Tagged):
    """A function's log group; 0 days: kept forever. `kms_key`: empty for AWS's own key."""

    kind: ClassVar[str] = "log group"
    shared: ClassVar[bool] = True
    set_later: ClassVar[frozenset[str]] = frozenset({"owner", "retention_days", "kms_key"})
    retention_days: int
    kms_key: str = ""

    @property
    def function(self) -> Key:
        """The key of the function that logs to the group."""
        return Function.kind, self.name.removeprefix(Names.log_group(""))

    def read(self, context: Context) -> LogGroup | None:
        logs = context.clients.logs
        groups = logs.describe_log_groups(logGroupNamePrefix=self.name)["logGroups"]
        group = next((group for group in groups if group["logGroupName"] == self.name), None)
        if group is None:
            return None
        arn = context.account.log_group_arn(self.name)
        # The list may still show a group that was deleted.
        found = unless_missing(logs.list_tags_for_resource, resourceArn=arn)
        if found is None:
            return None
        return LogGroup(
            self.name,
            found["tags"].get(TAG_KEY),
            group.get("retentionInDays", 0),
            group.get("kmsKeyId", ""),
        )

    def belongs_to(self, asu_id: str | None) -> bool:
        # Lambda creates a missing log group without tags when its function logs, so a group
        # that was deleted comes back like that.
        return self.owner in (asu_id, None)

    def create(self, context: Context) -> None:
        create = context.clients.logs.create_log_group
        key: Any = {"kmsKeyId": self.kms_key} if self.kms_key else {}
        context.call(create, logGroupName=self.name, tags=tags(self.owner), **key)
        self._retain(context)

    def update(self, context: Context, actual: LogGroup) -> None:
        logs = context.clients.logs
        self._retain(context)
        if self.kms_key and self.kms_key != actual.kms_key:
            context.call(logs.associate_kms_key, logGroupName=self.name, kmsKeyId=self.kms_key)
        elif actual.kms_key and not self.kms_key:
            context.call(logs.disassociate_kms_key, logGroupName=self.name)
        if self.owner != actual.owner:
            arn = context.account.log_group_arn(self.name)
            context.call(logs.tag_resource, resourceArn=arn, tags=tags(self.owner))

    def delete(self, context: Context) -> None:
        delete = context.clients.logs.delete_log_group
        context.call(unless_missing, delete, logGroupName=self.name)

    def _retain(self, context: Context) -> None:
        put = context.clients.logs.put_retention_policy
        context.call(put, logGroupName=self.name, retentionInDays=self.retention_days)


def desired(state: DesiredState) -> Iterator[LogGroup]:
    """One log group for each function."""
    for function in FUNCTIONS:
        yield LogGroup(
            Names.log_group(function), state.names.asu_id, _RETENTION_DAYS, state.kms_key
        )
