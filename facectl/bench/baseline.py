"""No-op functions of the pipeline's shape beside it, to measure the platform alone.

They have names and queues of their own, the memory, limits and authentication
of the deployed pipeline, and are removed when the measurement ends, however it
ends. What a killed process left is found by its names and taken over next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from facectl.aws import Clients, cloud_errors
from facectl.bench.signals import ended_in_order, undisturbed
from facectl.deploy import options as remembered
from facectl.deploy.deployer import read_account
from facectl.deploy.desired import DesiredState, cloud, resources
from facectl.deploy.executor import apply_step
from facectl.deploy.models import (
    Account,
    Function,
    FunctionUrl,
    LogGroup,
    Packages,
    Permission,
    Queue,
    Resource,
    Role,
    Sizing,
    Step,
    Trigger,
)
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import plan, plan_removal
from facectl.deploy.reader import Reader
from facectl.deploy.writers.base import Context
from facectl.errors import CloudError, InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from facectl.stream.delivery import FunctionUrlClient as Url
from facectl.stream.responses import ResponseQueue
from facectl.stream.session import Transport

_SUFFIX = "-floor"
DETECTION = DETECTION_FUNCTION + _SUFFIX
RECOGNITION = RECOGNITION_FUNCTION + _SUFFIX
_HANDLERS = {
    DETECTION_FUNCTION: "lambda_src.noop.detection",
    RECOGNITION_FUNCTION: "lambda_src.noop.recognition",
}


@dataclass(frozen=True, slots=True)
class BaselineNames(Names):
    """The names beside the pipeline's."""

    @property
    def request_queue(self) -> str:
        return f"{self.asu_id}{_SUFFIX}-req-queue"

    @property
    def response_queue(self) -> str:
        return f"{self.asu_id}{_SUFFIX}-resp-queue"

    @property
    def dead_letter_queue(self) -> str:
        return f"{self.asu_id}{_SUFFIX}-req-dlq"

    @property
    def detection_role(self) -> str:
        return f"facectl-{self.asu_id}{_SUFFIX}-detection"

    @property
    def recognition_role(self) -> str:
        return f"facectl-{self.asu_id}{_SUFFIX}-recognition"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The no-op pipeline while it stands."""

    clients: Clients
    names: BaselineNames
    url: str

    def queue(self) -> ResponseQueue:
        """Its response queue."""
        return ResponseQueue(self.clients, self.names.response_queue)

    def transport(self, connections: int) -> Transport:
        """Both ends, for one session."""
        signed = self.clients.deployment.signs
        endpoint = Url(
            self.url, connections=connections, sign=self.clients.sign if signed else None
        )
        return Transport(endpoint, self.queue(), endpoint.close)


@contextmanager
def standing(clients: Clients) -> Iterator[Baseline]:
    """Deploy the no-op pipeline, and remove it at the end of the block.

    Raises InputError where no pipeline is deployed to take the shape of,
    CloudError.
    """
    account = read_account(clients)
    wanted = baseline_resources(clients, account)
    reader = Reader(clients, account)
    with ended_in_order():
        try:
            with cloud_errors("reading what is deployed", clients.deployment):
                steps = plan(wanted, reader.read(wanted))
            _apply_steps(clients, account, steps)
            with cloud_errors("asking for the floor's URL", clients.deployment):
                url = reader.address(DETECTION)
            if url is None:
                raise CloudError(f"{DETECTION} has no Function URL", hint="facectl bench --floor")
            yield Baseline(clients, BaselineNames(clients.deployment.asu_id), url)
        finally:
            with undisturbed():
                remove(clients, account, wanted)


def remove(clients: Clients, account: Account, wanted: Sequence[Resource]) -> None:
    """Remove what is there of the no-op pipeline; raises CloudError."""
    with cloud_errors("reading what is left of the floor", clients.deployment):
        found = Reader(clients, account).read(wanted)
    _apply_steps(clients, account, plan_removal(found, clients.deployment.asu_id))


def baseline_resources(clients: Clients, account: Account) -> tuple[Resource, ...]:
    """What the no-op pipeline consists of, in the shape of the one that is deployed."""
    deployment = clients.deployment
    reader = Reader(clients, account)
    with cloud_errors("reading the pipeline's shape", deployment):
        detection = reader.function(DETECTION_FUNCTION)
        url = reader.function_url(DETECTION_FUNCTION)
        queue = account.queue_arn(deployment.names.request_queue)
        trigger = reader.trigger(queue, RECOGNITION_FUNCTION)
    if detection is None or url is None or trigger is None:
        raise InputError(
            f"The pipeline of {deployment.asu_id} is not deployed as a whole, "
            "so its floor has no shape",
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


def _renamed(resource: Resource) -> Resource | None:  # noqa: PLR0911 - one line a kind
    """The same beside the pipeline's; None for what the floor does without."""
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
        case FunctionUrl():
            return replace(resource, name=resource.name + _SUFFIX)
        case Permission() | Trigger():
            return replace(resource, function=resource.function + _SUFFIX)
        case _:
            return None


def _apply_steps(clients: Clients, account: Account, steps: Sequence[Step]) -> None:
    context = Context(clients, account)
    for step in steps:
        apply_step(step, context)
