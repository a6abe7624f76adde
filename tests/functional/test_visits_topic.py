"""Events of visits reach the queue that is subscribed to an SNS topic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from facectl.context import Deployment
from facectl.errors import InputError
from facectl.visits import receivers
from facectl.visits.delivery import Delivery, RefusedError, UndeliveredError, VisitFilter
from facectl.visits.event_queue import EventQueue, QueuedEvent
from facectl.visits.models import BestFace, Kind, VisitEvent
from facectl.visits.topic import Topic

# The topic need not be in the region of the deployment.
REGION = "eu-central-1"
DEPLOYMENT = Deployment(asu_id="demo", target="aws")


def event(person: str | None, kind: Kind = "start", visit: str = "run-000000-0") -> VisitEvent:
    best = BestFace(2, "f2", 0.2, (1.0, 2.0, 3.0, 4.0), 0.9)
    return VisitEvent(kind, visit, "clip.mp4", person, 0.5, 0.0, 1.0, 3, 3, 3, best)


@pytest.fixture
def aws() -> Iterator[None]:
    with mock_aws():
        yield


def topic(name: str, **attributes: str) -> str:
    sns = boto3.client("sns", REGION)
    arn: str = sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]
    return arn


def subscribed_queue(arn: str, subscription: dict[str, str], **attributes: str) -> str:
    sqs = boto3.client("sqs", REGION)
    fifo = ".fifo" if arn.endswith(".fifo") else ""
    url = sqs.create_queue(QueueName=f"alerts{fifo}", Attributes=attributes)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    boto3.client("sns", REGION).subscribe(
        TopicArn=arn,
        Protocol="sqs",
        Endpoint=found["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true", **subscription},
    )
    return url


def messages(url: str) -> list[dict[str, Any]]:
    sqs = boto3.client("sqs", REGION)
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def deliver(receiver: Topic, events: list[VisitEvent]) -> list[str]:
    reports: list[str] = []
    queue = EventQueue.open(receiver.key, "run")
    delivery = Delivery(queue, receiver, VisitFilter(), report=reports.append)
    for each in events:
        delivery(each)
    delivery.deliver_all()
    queue.close(finished=True)
    return reports


@pytest.mark.usefixtures("aws")
def test_subscribers_get_the_visits_that_their_filter_names() -> None:
    arn = topic("visits")
    policy = json.dumps({"known": ["false"], "event": ["start"]})
    url = subscribed_queue(arn, {"FilterPolicy": policy})
    events = [event("Ann"), event(None, visit="run-000001-0"), event(None, "end", "run-000001-0")]
    assert deliver(Topic(arn, DEPLOYMENT), events) == []
    assert messages(url) == [events[1].as_dict()]


@pytest.mark.usefixtures("aws")
def test_a_fifo_topic_keeps_the_order_and_drops_an_event_that_is_sent_twice() -> None:
    arn = topic("visits.fifo", FifoTopic="true")
    url = subscribed_queue(arn, {}, FifoQueue="true")
    events = [event("Ann"), event("Ann"), event("Bob", "update"), event("Bob", "end")]
    deliver(Topic(arn, DEPLOYMENT), events)
    assert messages(url) == [e.as_dict() for e in events[1:]]


@pytest.mark.usefixtures("aws")
def test_a_topic_that_does_not_exist_is_named_before_anything_is_sent() -> None:
    arn = f"arn:aws:sns:{REGION}:123456789012:visits"
    with pytest.raises(InputError, match="does not exist") as error:
        receivers.opened(f"sns:{arn}", "clip", None, DEPLOYMENT)
    assert error.value.hint == f"aws sns create-topic --region {REGION} --name visits"


@pytest.mark.parametrize("arn", ["", "visits", "arn:aws:sqs:us-east-1:123456789012:visits"])
def test_an_arn_of_another_form_is_refused(arn: str) -> None:
    with pytest.raises(InputError, match="is not the ARN of a topic"):
        receivers.opened(f"sns:{arn}", "clip", None, DEPLOYMENT)


def stubbed(code: str | None) -> tuple[Topic, Stubber]:
    """A topic that may be published to but not read, whose next publish fails with `code`."""
    with mock_aws():
        arn = topic("visits")
        found = Topic(arn, DEPLOYMENT)
    stub = Stubber(found.clients.sns)
    if code is None:
        stub.add_response("publish", {"MessageId": "1"})
    else:
        stub.add_client_error("publish", code)
    stub.activate()
    return found, stub


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidParameter", RefusedError),
        # Rights can be given, and a topic can be made, while the events wait.
        ("AuthorizationError", UndeliveredError),
        ("NotFound", UndeliveredError),
        ("Throttled", UndeliveredError),
        ("InternalError", UndeliveredError),
    ],
)
def test_only_a_wrong_message_is_not_sent_again(code: str, kind: type[Exception]) -> None:
    found, _ = stubbed(code)
    with pytest.raises(kind, match=code):
        found.deliver(QueuedEvent(1, "k", json.dumps(event("Ann").as_dict())))


def test_a_topic_that_may_not_be_read_can_be_published_to(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = ClientError({"Error": {"Code": "AuthorizationError"}}, "GetTopicAttributes")
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", _raising(refusal))
    Topic(f"arn:aws:sns:{REGION}:123456789012:visits", DEPLOYMENT)


def test_without_a_network_the_events_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    found, stub = stubbed(None)
    stub.deactivate()
    unreachable = EndpointConnectionError(endpoint_url="https://sns")
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", _raising(unreachable))
    with pytest.raises(UndeliveredError):
        found.deliver(QueuedEvent(1, "k", json.dumps(event("Ann").as_dict())))
    # Nor does it keep a run from starting.
    Topic(f"arn:aws:sns:{REGION}:123456789012:visits", DEPLOYMENT)


def _raising(error: Exception) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call
