"""The baseline: no-op functions deployed beside the pipeline, to measure the platform alone.

They have their own names and queues, and the memory, limits and authentication
of the deployed pipeline. They are removed when the measurement ends, also after
an error or a signal. The next run finds and reuses the resources that a killed
process left.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from facectl.aws import Clients, cloud_errors
from facectl.deploy import options as remembered
from facectl.deploy.access import read_account
from facectl.deploy.desired import cloud, resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import Account, DesiredState, Packages, Sizing
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import plan, plan_removal
from facectl.deploy.reader import read_resources
from facectl.deploy.resources import (
    Context,
    Function,
    FunctionUrl,
    LogGroup,
    Permission,
    Queue,
    Resource,
    Role,
    Trigger,
)
from facectl.deploy.steps import Step
from facectl.errors import CloudError, InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from facectl.stream.delivery import FunctionUrlClient as Url
from facectl.stream.responses import ResponseQueue
from facectl.stream.transport import Transport

# Resources that an earlier version left are found by this suffix.
_SUFFIX = "-floor"
DETECTION = DETECTION_FUNCTION + _SUFFIX
RECOGNITION = RECOGNITION_FUNCTION + _SUFFIX
_HANDLERS = {
    DETECTION_FUNCTION: "lambda_src.noop.detection",
    RECOGNITION_FUNCTION: "lambda_src.noop.recognition",
}


@dataclass(frozen=True, slots=True)
class BaselineNames(Names):
    """The names of the baseline's queues and roles."""

    @property
    def stem(self) -> str:
        return f"{self.asu_id}{_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The deployed no-op pipeline."""

    clients: Clients
    names: BaselineNames
    url: str

    def queue(self) -> ResponseQueue:
        """Its response queue."""
        return ResponseQueue(self.clients, self.names.response_queue)

    def transport(self, connections: int) -> Transport:
        """The transport of one session."""
        signed = self.clients.deployment.signs
        endpoint = Url(
            self.url, connections=connections, sign=self.clients.sign if signed else None
        )
        return Transport(
            endpoint, self.queue(), endpoint.close, bytes_sent=lambda: endpoint.bytes_sent
        )


@contextmanager
def deployed_baseline(clients: Clients) -> Iterator[Baseline]:
    """Deploy the no-op pipeline; remove it after the block.

    Raises InputError if the pipeline is not deployed, CloudError.
    """
    account = read_account(clients)
    context = Context(clients, account)
    wanted = baseline_resources(clients, account)
    with termination_as_interrupt():
        try:
            with cloud_errors("reading what is deployed", clients.deployment):
                steps = plan(wanted, read_resources(context, wanted))
            _apply_steps(context, steps)
            with cloud_errors("reading the URL of the baseline", clients.deployment):
                url = FunctionUrl.address(context, DETECTION)
            if url is None:
                raise CloudError(
                    f"{DETECTION} has no Function URL", hint="facectl bench --baseline"
                )
            yield Baseline(clients, BaselineNames(clients.deployment.asu_id), url)
        finally:
            with signals_ignored():
                _remove(context, wanted)


def _remove(context: Context, wanted: Sequence[Resource]) -> None:
    """Remove the resources of the no-op pipeline that exist; raises CloudError."""
    deployment = context.clients.deployment
    with cloud_errors("reading the resources of the baseline", deployment):
        found = read_resources(context, wanted)
    _apply_steps(context, plan_removal(found, deployment.asu_id))


def baseline_resources(clients: Clients, account: Account) -> tuple[Resource, ...]:
    """The resources of the no-op pipeline, configured like the deployed pipeline.

    Raises InputError if the pipeline is not deployed, CloudError.
    """
    deployment = clients.deployment
    context = Context(clients, account)
    with cloud_errors("reading the pipeline's configuration", deployment):
        detection = Function.find(context, DETECTION_FUNCTION)
        url = FunctionUrl.find(context, DETECTION_FUNCTION)
        queue = account.queue_arn(deployment.names.request_queue)
        trigger = Trigger.find(context, queue, RECOGNITION_FUNCTION)
    if detection is None or url is None or trigger is None:
        raise InputError(
            f"The pipeline of {deployment.asu_id} is not completely deployed, "
            "so a baseline has no shape to copy",
            hint="facectl deploy   or   facectl status",
        )
    package = zip_package()
    desired = DesiredState(
        names=BaselineNames(deployment.asu_id),
        account=account,
        cloud=cloud(deployment.target, "zip"),
        packages=Packages(package, package),
        sizing=Sizing(
            memory=detection.memory,
            timeout=detection.timeout,
            batch_size=trigger.batch_size,
            architecture=detection.architecture,
            reserved_concurrency=detection.reserved_concurrency,
            max_concurrency=trigger.max_concurrency,
        ),
        role_arn=remembered.recall(deployment).role_arn,
        auth=url.auth,
    )
    renamed = (_renamed(resource) for resource in resources(desired))
    return tuple(resource for resource in renamed if resource is not None)


def _renamed(resource: Resource) -> Resource | None:
    """The resource under the baseline's name; None for one that the baseline does not need."""
    match resource:
        case Queue():
            return resource
        case LogGroup():
            return replace(resource, name=resource.name + _SUFFIX)
        case Role():
            policy = resource.policy
            for function in _HANDLERS:
                group = Names.log_group(function)
                policy = policy.replace(f"{group}:*", f"{group}{_SUFFIX}:*")
            return replace(resource, policy=policy)
        case Function():
            handler = _HANDLERS[resource.name]
            return replace(resource, name=resource.name + _SUFFIX, handler=handler)
        case FunctionUrl() | Permission() | Trigger():
            return replace(resource, function=resource.function + _SUFFIX)
        case _:
            return None


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP in the block, so that cleanup runs."""
    with _handling(_interrupt, "SIGTERM", "SIGHUP"):
        yield


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP in the block, so that cleanup finishes."""
    with _handling(signal.SIG_IGN, "SIGINT", "SIGTERM", "SIGHUP"):
        yield


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handling(handler: signal._HANDLER, *names: str) -> Iterator[None]:
    # Only the main thread may set handlers, and not every system has all of these signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _apply_steps(context: Context, steps: Sequence[Step]) -> None:
    for step in steps:
        apply_step(step, context)
