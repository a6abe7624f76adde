"""The CloudWatch alarms of the queues and the functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Context, Tagged, owner_tag, tag_list
from facectl.naming import DETECTION_FUNCTION, FUNCTIONS

SQS, LAMBDA = "AWS/SQS", "AWS/Lambda"
# Seconds. A request that is delivered again is older than its visibility timeout, so one retry
# may cross this; three minutes in a row are more than that.
_OLD = 120
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Alarm(Tagged):
    """An alarm that is sent to a topic when a metric is above a threshold.

    `period` in seconds; the alarm starts when `datapoints` of the last `periods` are above the
    threshold. A period without data is not above it.
    """

    kind: ClassVar[str] = "alarm"
    pruned: ClassVar[bool] = True
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: str
    topic: str
    threshold: float = 0.0
    periods: int = 1
    datapoints: int = 1
    period: int = _MINUTE
    comparison: str = "GreaterThanThreshold"
    missing_data: str = "notBreaching"
    enabled: bool = True
    description: str = field(default="", compare=False)

    def read(self, context: Context) -> Alarm | None:
        cloudwatch = context.clients.cloudwatch
        found = cloudwatch.describe_alarms(AlarmNames=[self.name])["MetricAlarms"]
        if not found:
            return None
        alarm = found[0]
        tags = unless_missing(cloudwatch.list_tags_for_resource, ResourceARN=alarm["AlarmArn"])
        if tags is None:
            return None
        return Alarm(
            name=self.name,
            owner=owner_tag(tags["Tags"]),
            # An alarm of a formula has none of these.
            namespace=alarm.get("Namespace", ""),
            metric=alarm.get("MetricName", ""),
            dimensions={each["Name"]: each["Value"] for each in alarm.get("Dimensions", ())},
            statistic=alarm.get("Statistic", ""),
            topic=", ".join(alarm.get("AlarmActions", ())),
            threshold=alarm.get("Threshold", 0.0),
            periods=alarm["EvaluationPeriods"],
            datapoints=alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]),
            period=alarm.get("Period", 0),
            comparison=alarm["ComparisonOperator"],
            missing_data=alarm.get("TreatMissingData", "missing"),
            enabled=alarm["ActionsEnabled"],
        )

    def create(self, context: Context) -> None:
        self._put(context, Tags=tag_list(self.owner))

    def update(self, context: Context, actual: Alarm) -> None:
        if replace(actual, owner=self.owner) != self:
            self._put(context)
        # PutMetricAlarm ignores the tags of an alarm that exists.
        if self.owner != actual.owner:
            arn = context.account.alarm_arn(self.name)
            tag = context.clients.cloudwatch.tag_resource
            context.call(tag, ResourceARN=arn, Tags=tag_list(self.owner))

    def delete(self, context: Context) -> None:
        delete = context.clients.cloudwatch.delete_alarms
        context.call(unless_missing, delete, AlarmNames=[self.name])

    def facts(self, context: Context) -> dict[str, Any]:
        found = context.clients.cloudwatch.describe_alarms(AlarmNames=[self.name])["MetricAlarms"]
        return {"alarm": found[0]["StateValue"]} if found else {}

    def _put(self, context: Context, **tags: Any) -> None:
        put = context.clients.cloudwatch.put_metric_alarm
        context.call(put, **self.arguments(), **tags)

    def arguments(self) -> Any:
        """The arguments of CloudWatch's API, apart from the tags."""
        return {
            "AlarmName": self.name,
            "AlarmDescription": self.description,
            "ActionsEnabled": self.enabled,
            "AlarmActions": [self.topic],
            "Namespace": self.namespace,
            "MetricName": self.metric,
            "Dimensions": [{"Name": key, "Value": text} for key, text in self.dimensions.items()],
            "Statistic": self.statistic,
            "Period": self.period,
            "EvaluationPeriods": self.periods,
            "DatapointsToAlarm": self.datapoints,
            "Threshold": self.threshold,
            "ComparisonOperator": self.comparison,
            "TreatMissingData": self.missing_data,
        }


def desired(state: DesiredState) -> Iterator[Alarm]:
    """Seven alarms, if there are alarms.

    Sources of the metrics: SQS Developer Guide, "Available CloudWatch metrics for Amazon SQS";
    Lambda Developer Guide, "Types of metrics for Lambda functions" and "Monitoring Lambda
    function URLs".
    """
    if not state.alarms_email:
        return
    names = state.names
    dead_letters = {"QueueName": names.dead_letter_queue}
    visible = "ApproximateNumberOfMessagesVisible"
    yield _alarm(
        state, "dead-letters", (SQS, visible, dead_letters, "Maximum"),
        description="Requests failed repeatedly: facectl dlq list",
    )  # fmt: skip
    requests = {"QueueName": names.request_queue}
    yield _alarm(
        state, "oldest-request", (SQS, "ApproximateAgeOfOldestMessage", requests, "Maximum"),
        threshold=float(_OLD), periods=3, datapoints=3,
        description="face-recognition does not keep up: facectl status",
    )  # fmt: skip
    for function in FUNCTIONS:
        dimensions = {"FunctionName": function}
        # A client retries one throttled request; three minutes of five are a limit that is too low.
        yield _alarm(
            state, f"{function}-throttles", (LAMBDA, "Throttles", dimensions, "Sum"),
            periods=5, datapoints=3,
            description=f"{function} is at its concurrency limit: facectl doctor",
        )  # fmt: skip
        yield _alarm(
            state, f"{function}-errors", (LAMBDA, "Errors", dimensions, "Sum"),
            description=f"Invocations of {function} failed: facectl logs",
        )  # fmt: skip
    url = {"FunctionName": DETECTION_FUNCTION}
    yield _alarm(
        state, "url-5xx", (LAMBDA, "Url5xxCount", url, "Sum"),
        description="The Function URL answered 5xx: facectl logs",
    )  # fmt: skip


def _alarm(
    state: DesiredState, what: str, metric: tuple[str, str, Mapping[str, str], str], **more: Any
) -> Alarm:
    """An alarm; `metric`: namespace, name, dimensions and statistic."""
    names = state.names
    topic = state.account.topic_arn(names.alarm_topic)
    return Alarm(names.alarm(what), names.asu_id, *metric, topic, **more)
