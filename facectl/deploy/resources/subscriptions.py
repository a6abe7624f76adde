"""The e-mail subscription to the topic of the alarms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Attached, Context, Key
from facectl.deploy.resources.topics import Topic

# On the topic: the address that facectl subscribed. Subscriptions have no tags, and those that
# somebody else added are left alone.
EMAIL_TAG = "facectl:email"
# In place of the ARN of a subscription whose mail has not been answered.
_PENDING = "PendingConfirmation"
# In place of the ARN of one that was ended, by the link in a mail too, for some days. AWS's
# documentation does not name it: ansible/ansible pull request 20086.
_ENDED = "Deleted"


@dataclass(frozen=True, slots=True)
class Subscription(Attached):
    """The subscription of an e-mail address, which its owner confirms by a link in a mail.

    SNS deletes a subscription that is not confirmed within two days (SNS Developer Guide,
    "Confirming a subscription"); the next deploy subscribes again.
    """

    kind: ClassVar[str] = "subscription"
    fixed: ClassVar[frozenset[str]] = frozenset({"email"})
    topic: str
    email: str

    @property
    def name(self) -> str:
        return f"{self.topic} e-mail"

    @property
    def parent(self) -> Key:
        return Topic.kind, self.topic

    def read(self, context: Context) -> Subscription | None:
        arn = context.account.topic_arn(self.topic)
        tags = unless_missing(context.clients.sns.list_tags_for_resource, ResourceArn=arn)
        found = tags["Tags"] if tags else ()
        email = next((tag["Value"] for tag in found if tag["Key"] == EMAIL_TAG), None)
        if email is None:
            return None
        actual = Subscription(self.topic, email)
        return actual if actual._arn(context) else None

    def create(self, context: Context) -> None:
        sns, arn = context.clients.sns, context.account.topic_arn(self.topic)
        context.call(sns.subscribe, TopicArn=arn, Protocol="email", Endpoint=self.email)
        tag = {"Key": EMAIL_TAG, "Value": self.email}
        context.call(sns.tag_resource, ResourceArn=arn, Tags=[tag])
        context.note(f"AWS sends a mail to {self.email}: alarms arrive after its link is opened")

    def update(self, context: Context, _actual: Subscription) -> None:
        self.create(context)

    def delete(self, context: Context) -> None:
        arn = self._arn(context)
        # Only a confirmed subscription can be deleted before its topic.
        if arn not in (None, _PENDING):
            unsubscribe = context.clients.sns.unsubscribe
            context.call(unless_missing, unsubscribe, SubscriptionArn=arn)

    def facts(self, context: Context) -> dict[str, Any]:
        arn = self._arn(context)
        confirmed = f"no, open the link in AWS's mail to {self.email}" if arn == _PENDING else "yes"
        return {} if arn is None else {"confirmed": confirmed}

    def _arn(self, context: Context) -> str | None:
        """The ARN of the subscription, or the word for a pending one; None if there is none."""
        pages = context.clients.sns.get_paginator("list_subscriptions_by_topic").paginate(
            TopicArn=context.account.topic_arn(self.topic)
        )
        found = unless_missing(lambda: [each for page in pages for each in page["Subscriptions"]])
        return next(
            (
                each["SubscriptionArn"]
                for each in found or ()
                if (each["Protocol"], each["Endpoint"]) == ("email", self.email)
                and each["SubscriptionArn"] != _ENDED
            ),
            None,
        )


def desired(state: DesiredState) -> Iterator[Subscription]:
    """One subscription, if there are alarms."""
    if state.alarms_email:
        yield Subscription(state.names.alarm_topic, state.alarms_email)
