"""Publishes events to an SNS topic, which passes them on by e-mail, text message or queue."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_denied, is_missing, is_refused, is_transient
from facectl.context import Deployment
from facectl.errors import CloudError, InputError
from facectl.visits.delivery import RefusedError, UndeliveredError
from facectl.visits.event_queue import QueuedEvent

_ARN = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")


class Topic:
    """An SNS topic; subscriptions can filter by the attributes `event`, `known` and `person`.

    Events of a visit stay in order in a FIFO topic, which also drops one that is sent twice.
    Raises InputError for an ARN of another form, or of a topic that does not exist.
    """

    def __init__(self, arn: str, deployment: Deployment) -> None:
        found = _ARN.fullmatch(arn)
        if found is None:
            raise InputError(
                f"--on-visit sns:{arn} is not the ARN of a topic",
                hint="--on-visit sns:arn:aws:sns:us-east-1:123456789012:visits",
            )
        self.name = self.key = f"sns:{arn}"
        self._arn = arn
        self.clients = Clients(replace(deployment, region=found["region"]))
        self._check()

    def _check(self) -> None:
        deployment = self.clients.deployment
        try:
            with cloud_errors(f"reading the topic {self._arn}", deployment):
                self.clients.sns.get_topic_attributes(TopicArn=self._arn)
        except CloudError as error:
            if is_missing(error):
                name = self._arn.rpartition(":")[2]
                raise InputError(
                    f"the topic {self._arn} does not exist",
                    hint=f"aws sns create-topic --region {deployment.region} --name {name}",
                ) from error
            # Whoever may publish need not be allowed to read the topic; an outage passes.
            if not is_denied(error) and not is_transient(error):
                raise

    def deliver(self, event: QueuedEvent) -> None:
        """Publish an event; raises UndeliveredError or RefusedError."""
        fields = json.loads(event.body)
        attributes = {
            "event": fields["event"],
            "known": str(fields["known"]).lower(),
            # An attribute can't be empty.
            "person": fields["person"] or "unknown",
        }
        order: dict[str, Any] = {}
        if self._arn.endswith(".fifo"):
            order = {"MessageGroupId": fields["visit"], "MessageDeduplicationId": event.key}
        try:
            with cloud_errors("publishing", self.clients.deployment):
                self.clients.sns.publish(
                    TopicArn=self._arn,
                    Message=event.body,
                    MessageAttributes={
                        name: {"DataType": "String", "StringValue": value}
                        for name, value in attributes.items()
                    },
                    **order,
                )
        except CloudError as error:
            if is_refused(error):
                raise RefusedError(str(error)) from error
            raise UndeliveredError(str(error)) from error

    def close(self) -> None:
        """Nothing is open between events."""
