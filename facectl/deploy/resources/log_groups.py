"""The log groups of the functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Context, Tagged, tags
from facectl.naming import FUNCTIONS, TAG_KEY, Names

_RETENTION_DAYS = 14


@dataclass(frozen=True, slots=True)
class LogGroup(Tagged):
    """A function's log group; 0 days: kept forever."""

    kind: ClassVar[str] = "log group"
    shared: ClassVar[bool] = True
    retention_days: int

    def read(self, context: Context) -> LogGroup | None:
        logs = context.clients.logs
        groups = logs.describe_log_groups(logGroupNamePrefix=self.name)["logGroups"]
        group = next((group for group in groups if group["logGroupName"] == self.name), None)
        if group is None:
            return None
        arn = context.account.log_group_arn(self.name)
        found = logs.list_tags_for_resource(resourceArn=arn)["tags"]
        return LogGroup(self.name, found.get(TAG_KEY), group.get("retentionInDays", 0))

    def create(self, context: Context) -> None:
        logs = context.clients.logs
        logs.create_log_group(logGroupName=self.name, tags=tags(self.owner))
        logs.put_retention_policy(logGroupName=self.name, retentionInDays=self.retention_days)

    def update(self, context: Context, actual: LogGroup) -> None:
        logs = context.clients.logs
        logs.put_retention_policy(logGroupName=self.name, retentionInDays=self.retention_days)
        if self.owner != actual.owner:
            arn = context.account.log_group_arn(self.name)
            logs.tag_resource(resourceArn=arn, tags=tags(self.owner))

    def delete(self, context: Context) -> None:
        unless_missing(context.clients.logs.delete_log_group, logGroupName=self.name)


def desired(state: DesiredState) -> Iterator[LogGroup]:
    """One log group for each function."""
    for function in FUNCTIONS:
        yield LogGroup(Names.log_group(function), state.names.asu_id, _RETENTION_DAYS)
