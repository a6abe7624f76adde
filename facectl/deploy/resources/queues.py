"""The three queues: requests, responses and dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from facectl.aws import Clients, unless_missing
from facectl.deploy.models import Account, DesiredState, Template
from facectl.deploy.resources.base import (
    Context,
    Tagged,
    canonical,
    policy,
    refuse_plain_http,
    tags,
)
from facectl.errors import CloudError
from facectl.naming import DELETED_TAG_KEY, STACK_TAG_KEY, TAG_KEY, TEMPLATE_TAG_KEY
from facectl.queues import queue_counts

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

# AWS recommends at least 5 for queues that trigger functions: a throttled delivery counts.
# Source: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", configuration.
MAX_RECEIVES = 5
_DAY = 86_400
_RETENTION = 4 * _DAY
_DEAD_LETTER_RETENTION = 14 * _DAY
# SQS's maximum: an empty response costs as much as a full one.
_LONG_POLL = 20
# A client that receives another client's response and does not delete it hides it from
# its owner for this long (the CSE 546 course project's workload generator does so).
_RESPONSE_VISIBILITY = 1
# Times the function's timeout, as AWS recommends: leaves time to retry a throttled batch.
_VISIBILITY_TIMEOUTS = 6
# SQS says at most a minute.
_DELETING_SECONDS, _DELETING_INTERVAL = 90.0, 2.0


@dataclass(frozen=True, slots=True)
class Queue(Tagged):
    """An SQS queue. Times in seconds; `policy` is a JSON document with sorted keys, or empty.

    It is `encrypted` with `kms_key`, or with a key of SQS if that is empty. `deleting`: it is being
    deleted, so it can't be used, whatever SQS answers. `template`: what made it, if not a deploy.
    """

    kind: ClassVar[str] = "queue"
    fixed: ClassVar[frozenset[str]] = frozenset({"deleting"})
    visibility_timeout: int
    retention: int
    receive_wait: int = 0
    encrypted: bool = True
    dead_letters_to: str = ""
    max_receives: int = 0
    policy: str = ""
    kms_key: str = ""
    deleting: bool = False
    template: Template | None = field(default=None, compare=False)

    def read(self, context: Context) -> Queue | None:
        sqs = context.clients.sqs
        url = context.account.queue_url(self.name)
        answer = unless_missing(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
        if answer is None:
            return None
        attributes = answer["Attributes"]
        redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
        policy = attributes.get("Policy")
        key = attributes.get("KmsMasterKeyId", "")
        found = unless_missing(sqs.list_queue_tags, QueueUrl=url)
        if found is None:
            return None
        known = found.get("Tags", {})
        return Queue(
            name=self.name,
            owner=known.get(TAG_KEY),
            deleting=DELETED_TAG_KEY in known,
            visibility_timeout=int(attributes["VisibilityTimeout"]),
            retention=int(attributes["MessageRetentionPeriod"]),
            receive_wait=int(attributes.get("ReceiveMessageWaitTimeSeconds", 0)),
            encrypted=bool(key)
            or attributes.get("SqsManagedSseEnabled", "false").lower() == "true",
            dead_letters_to=redrive.get("deadLetterTargetArn", ""),
            max_receives=int(redrive.get("maxReceiveCount", 0)),
            policy=canonical(policy) if policy else "",
            kms_key=key,
            template=_template(known),
        )

    def create(self, context: Context) -> None:
        context.call(
            context.clients.sqs.create_queue,
            QueueName=self.name,
            Attributes={name: value for name, value in self.attributes().items() if value},
            tags=tags(self.owner),
        )

    def update(self, context: Context, actual: Queue) -> None:
        sqs = context.clients.sqs
        url = context.account.queue_url(self.name)
        before, after = actual.attributes(), self.attributes()
        if after != before:
            # An empty string removes an attribute; omit it if the attribute is not set.
            changed = {name: value for name, value in after.items() if value or before.get(name)}
            context.call(sqs.set_queue_attributes, QueueUrl=url, Attributes=changed)
        if self.owner != actual.owner:
            context.call(sqs.tag_queue, QueueUrl=url, Tags=tags(self.owner))

    def delete(self, context: Context) -> None:
        """Delete it; if it is being deleted already, wait until SQS no longer shows it.

        Source: SQS API Reference, DeleteQueue: for up to 60 seconds, requests for the queue might
        succeed, and what they change is lost. So a tag tells the next deploy.
        """
        sqs, url = context.clients.sqs, context.account.queue_url(self.name)
        mark = {DELETED_TAG_KEY: "true"}
        context.call(unless_missing, sqs.tag_queue, QueueUrl=url, Tags=mark)
        context.call(unless_missing, sqs.delete_queue, QueueUrl=url)
        if self.deleting:
            self._wait_until_gone(context)

    def _wait_until_gone(self, context: Context) -> None:
        deadline = context.clock() + _DELETING_SECONDS
        while self.read(context) is not None:
            if context.clock() > deadline:
                raise CloudError(
                    f"The queue {self.name} is still being deleted",
                    hint="facectl deploy   or   facectl destroy, in some minutes",
                )
            context.tell(f"SQS deletes {self.name}, which takes up to a minute")
            context.sleep(_DELETING_INTERVAL)

    def facts(self, context: Context) -> dict[str, Any]:
        return queue_facts(context.clients, context.account.queue_url(self.name))

    def attributes(self) -> dict[QueueAttributeNameType, str]:
        """The attributes of SQS's API; an empty string is an attribute that is not set."""
        redrive = ""
        if self.dead_letters_to:
            redrive = json.dumps(
                {"deadLetterTargetArn": self.dead_letters_to, "maxReceiveCount": self.max_receives}
            )
        # SQS allows one of the two: its own key is off where another is set.
        own: dict[QueueAttributeNameType, str] = {
            "SqsManagedSseEnabled": "true" if self.encrypted else "false"
        }
        return {
            "VisibilityTimeout": str(self.visibility_timeout),
            "MessageRetentionPeriod": str(self.retention),
            "ReceiveMessageWaitTimeSeconds": str(self.receive_wait),
            **({} if self.kms_key else own),
            "KmsMasterKeyId": self.kms_key,
            "RedrivePolicy": redrive,
            "Policy": self.policy,
        }


def desired(state: DesiredState) -> Iterator[Queue]:
    """The dead-letter queue, the request queue and the response queue."""
    names, account, owner = state.names, state.account, state.names.asu_id

    def policy_of(queue: str) -> str:
        return https_only(queue, account) if state.cloud.https_only else ""

    yield Queue(
        name=names.dead_letter_queue,
        owner=owner,
        visibility_timeout=30,
        retention=_DEAD_LETTER_RETENTION,
        policy=policy_of(names.dead_letter_queue),
        kms_key=state.kms_key,
    )
    yield Queue(
        name=names.request_queue,
        owner=owner,
        visibility_timeout=visibility_timeout(state),
        retention=_RETENTION,
        dead_letters_to=account.queue_arn(names.dead_letter_queue),
        max_receives=MAX_RECEIVES,
        policy=policy_of(names.request_queue),
        kms_key=state.kms_key,
    )
    yield Queue(
        name=names.response_queue,
        owner=owner,
        visibility_timeout=_RESPONSE_VISIBILITY,
        retention=_RETENTION,
        receive_wait=_LONG_POLL,
        policy=policy_of(names.response_queue),
        kms_key=state.kms_key,
    )


def _template(found: Mapping[str, str]) -> Template | None:
    """The template that made a queue with these tags; None if a deploy made it."""
    stack = found.get(STACK_TAG_KEY, "")
    if stack or found.get(TEMPLATE_TAG_KEY) == "cloudformation":
        return Template("cloudformation", stack)
    return Template("terraform") if found.get(TEMPLATE_TAG_KEY) == "terraform" else None


def visibility_timeout(state: DesiredState) -> int:
    """The visibility timeout of the request queue in seconds."""
    return _VISIBILITY_TIMEOUTS * state.sizing.timeout


def https_only(queue: str, account: Account) -> str:
    """A queue policy that denies calls without TLS."""
    return policy(refuse_plain_http("sqs:*", account.queue_arn(queue)))


def queue_facts(clients: Clients, url: str) -> dict[str, int]:
    """The messages of a queue: waiting, in flight, delayed; empty if the queue does not exist."""
    counts = unless_missing(queue_counts, clients, url)
    if counts is None:
        return {}
    return {"waiting": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed}
