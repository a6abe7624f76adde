"""The SNS topic that alarms are sent to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Context, Tagged, owner_tag, tag_list


@dataclass(frozen=True, slots=True)
class Topic(Tagged):
    """An SNS topic; its default policy lets the alarms of the account publish to it."""

    kind: ClassVar[str] = "topic"
    pruned: ClassVar[bool] = True

    def read(self, context: Context) -> Topic | None:
        arn = context.account.topic_arn(self.name)
        answer = unless_missing(context.clients.sns.list_tags_for_resource, ResourceArn=arn)
        return None if answer is None else Topic(self.name, owner_tag(answer["Tags"]))

    def create(self, context: Context) -> None:
        create = context.clients.sns.create_topic
        context.call(create, Name=self.name, Tags=tag_list(self.owner))

    def update(self, context: Context, _actual: Topic) -> None:
        arn = context.account.topic_arn(self.name)
        tag = context.clients.sns.tag_resource
        context.call(tag, ResourceArn=arn, Tags=tag_list(self.owner))

    def delete(self, context: Context) -> None:
        arn = context.account.topic_arn(self.name)
        context.call(unless_missing, context.clients.sns.delete_topic, TopicArn=arn)


def desired(state: DesiredState) -> Iterator[Topic]:
    """One topic, if there are alarms."""
    if state.alarms_email:
        yield Topic(state.names.alarm_topic, state.names.asu_id)
