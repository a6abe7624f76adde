"""The CloudWatch dashboard of a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources import alarms
from facectl.deploy.resources.alarms import LAMBDA, SQS
from facectl.deploy.resources.base import Attached, Context, Key, canonical
from facectl.deploy.resources.topics import Topic
from facectl.naming import DETECTION_FUNCTION, FUNCTIONS
from lambda_src.metrics import COUNT, METRICS, MILLISECONDS, NAMESPACE

# A dashboard's grid is 24 units wide.
_WIDTH, _HEIGHT = 12, 6


@dataclass(frozen=True, slots=True)
class Dashboard(Attached):
    """A dashboard; `body`: its widgets as JSON with sorted keys.

    It belongs to the owner of the topic: its name contains the ASU ID.
    """

    kind: ClassVar[str] = "dashboard"
    outlives_parent: ClassVar[bool] = True
    pruned: ClassVar[bool] = True
    title: str
    topic: str
    body: str

    @property
    def name(self) -> str:
        return self.title

    @property
    def parent(self) -> Key:
        return Topic.kind, self.topic

    def read(self, context: Context) -> Dashboard | None:
        get = context.clients.cloudwatch.get_dashboard
        answer = unless_missing(get, DashboardName=self.name)
        if answer is None:
            return None
        return Dashboard(self.title, self.topic, canonical(answer["DashboardBody"]))

    def create(self, context: Context) -> None:
        put = context.clients.cloudwatch.put_dashboard
        context.call(put, DashboardName=self.name, DashboardBody=self.body)

    def update(self, context: Context, _actual: Dashboard) -> None:
        self.create(context)

    def delete(self, context: Context) -> None:
        delete = context.clients.cloudwatch.delete_dashboards
        context.call(unless_missing, delete, DashboardNames=[self.name])


def desired(state: DesiredState) -> Iterator[Dashboard]:
    """One dashboard, if there are alarms."""
    if not state.alarms_email:
        return
    names, account = state.names, state.account
    arns = [account.alarm_arn(alarm.name) for alarm in alarms.desired(state)]
    widgets = [
        {
            "type": "alarm",
            "x": 0,
            "y": 0,
            "width": 2 * _WIDTH,
            "height": _HEIGHT // 2,
            "properties": {"title": "Alarms", "alarms": arns},
        }
    ]
    for number, (title, metrics, statistic) in enumerate(_graphs(state)):
        widgets.append(
            {
                "type": "metric",
                "x": number % 2 * _WIDTH,
                "y": _HEIGHT // 2 + number // 2 * _HEIGHT,
                "width": _WIDTH,
                "height": _HEIGHT,
                "properties": {
                    "title": title,
                    "region": account.region,
                    "view": "timeSeries",
                    "period": 60,
                    "stat": statistic,
                    "metrics": metrics,
                },
            }
        )
    body = canonical({"widgets": widgets})
    yield Dashboard(names.of_region(account.region), names.alarm_topic, body)


def _graphs(state: DesiredState) -> Iterator[tuple[str, list[Any], str]]:
    """The graphs: title, metrics as a dashboard's body has them, statistic."""
    names = state.names
    queues = (names.request_queue, names.response_queue, names.dead_letter_queue)
    visible = "ApproximateNumberOfMessagesVisible"
    url = ("UrlRequestCount", "Url4xxCount", "Url5xxCount")
    yield (
        "Requests to the URL",
        [[LAMBDA, metric, "FunctionName", DETECTION_FUNCTION] for metric in url],
        "Sum",
    )
    yield "Messages in the queues", [[SQS, visible, "QueueName", q] for q in queues], "Maximum"
    age = [[SQS, "ApproximateAgeOfOldestMessage", "QueueName", names.request_queue]]
    yield "Age of the oldest request, seconds", age, "Maximum"
    for title, metric, statistic in (
        ("Invocations", "Invocations", "Sum"),
        ("Duration, ms", "Duration", "p95"),
        ("Errors", "Errors", "Sum"),
        ("Throttles", "Throttles", "Sum"),
        ("Concurrent executions", "ConcurrentExecutions", "Maximum"),
    ):
        yield title, [[LAMBDA, metric, "FunctionName", each] for each in FUNCTIONS], statistic
    if state.metrics:
        yield from _own_graphs()


def _own_graphs() -> Iterator[tuple[str, list[Any], str]]:
    """The graphs of the functions' own metrics, in the same form."""
    results = []
    for function in FUNCTIONS:
        stage = function.removeprefix("face-")
        found: dict[str, list[list[str]]] = {MILLISECONDS: [], COUNT: []}
        for name, unit in METRICS[stage].items():
            found[unit].append(_own(name, function, stage))
        yield f"Stages of {function}, ms", found[MILLISECONDS], "p95"
        results += found[COUNT]
    yield "Results", results, "Sum"
    starts = [_own(name, each, "init") for each in FUNCTIONS for name in METRICS["init"]]
    yield "Initialisation, ms", starts, "Maximum"


def _own(name: str, function: str, stage: str) -> list[str]:
    """A metric of the functions, as a dashboard's body has it."""
    return [NAMESPACE, name, "function", function, "stage", stage]
