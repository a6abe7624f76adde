"""The event source mapping from the request queue to face-recognition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from facectl.aws import ClientError, unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Attached, Context, Key, is_existing, tags
from facectl.deploy.resources.functions import Function, qualified, qualifier_in
from facectl.errors import CloudError
from facectl.naming import RECOGNITION_FUNCTION, TAG_KEY

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import EventSourceMappingConfigurationTypeDef

# States of a mapping that is not ready yet, and how long it may have them.
# Source: Lambda API Reference, EventSourceMappingConfiguration.
_CHANGING = frozenset({"Creating", "Enabling", "Updating"})
_CHANGING_SECONDS = 180.0
_CHANGING_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Trigger(Attached):
    """The event source mapping from `queue` (an ARN) to `function`; the window is in seconds.

    Its concurrency is limited by `max_concurrency` or by provisioned `pollers` (minimum, maximum).
    """

    kind: ClassVar[str] = "trigger"
    outlives_parent: ClassVar[bool] = True
    function: str
    queue: str
    owner: str | None
    batch_size: int
    window: int
    max_concurrency: int | None
    responses: tuple[str, ...] = ("ReportBatchItemFailures",)
    enabled: bool = True
    qualifier: str = ""
    pollers: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"{self.queue.rpartition(':')[2]} → {self.function}"

    @property
    def parent(self) -> Key:
        return Function.kind, self.function

    @classmethod
    def find(cls, context: Context, queue: str, function: str) -> Trigger | None:
        """The trigger from a queue (an ARN) to a function; None if there is none."""
        mapping = _mapping(context, queue, function)
        if mapping is None:
            return None
        arn = context.account.mapping_arn(mapping["UUID"])
        # The list may still show a mapping that was deleted.
        tagged = unless_missing(context.clients.functions.list_tags, Resource=arn)
        if tagged is None:
            return None
        found = tagged.get("Tags", {})
        pollers = mapping.get("ProvisionedPollerConfig")
        return cls(
            function=function,
            queue=queue,
            owner=found.get(TAG_KEY),
            batch_size=mapping.get("BatchSize", 0),
            window=mapping.get("MaximumBatchingWindowInSeconds", 0),
            max_concurrency=mapping.get("ScalingConfig", {}).get("MaximumConcurrency"),
            responses=tuple(mapping.get("FunctionResponseTypes", ())),
            enabled=mapping.get("State") not in ("Disabled", "Disabling"),
            qualifier=qualifier_in(mapping["FunctionArn"]),
            pollers=(pollers["MinimumPollers"], pollers["MaximumPollers"]) if pollers else None,
        )

    def read(self, context: Context) -> Trigger | None:
        return self.find(context, self.queue, self.function)

    def create(self, context: Context) -> None:
        limits = {name: value for name, value in self.limits().items() if value}

        def create() -> ClientError | None:
            try:
                context.clients.functions.create_event_source_mapping(
                    EventSourceArn=self.queue,
                    Tags=tags(self.owner),
                    **self.settings(),
                    **limits,
                )
            except ClientError as error:
                # A mapping that is being deleted still exists for a while; it is waited for.
                # One that stays was created by a call whose answer was lost, or by others.
                if is_existing(error) and _mapping(context, self.queue, self.function):
                    return error
                raise
            return None

        if (error := context.retry(create)) is not None:
            raise error

    def update(self, context: Context, actual: Trigger) -> None:
        functions = context.clients.functions
        mapping = _mapping(context, self.queue, self.function)
        if mapping is None:
            raise CloudError(
                f"The trigger {self.name} was deleted during this deploy", hint="facectl deploy"
            )
        # An empty object removes a limit; omit it if no limit is set.
        before = actual.limits()
        limits = {name: value for name, value in self.limits().items() if value or before[name]}
        context.call(
            functions.update_event_source_mapping,
            UUID=mapping["UUID"],
            **self.settings(),
            **limits,
        )
        if self.owner != actual.owner:
            arn = context.account.mapping_arn(mapping["UUID"])
            context.call(functions.tag_resource, Resource=arn, Tags=tags(self.owner))

    def delete(self, context: Context) -> None:
        functions = context.clients.functions
        mapping = _mapping(context, self.queue, self.function)
        if mapping is not None:
            delete = functions.delete_event_source_mapping
            context.call(unless_missing, delete, UUID=mapping["UUID"])

    def wait(self, context: Context) -> None:
        """Wait until the mapping is no longer being created or changed; raises CloudError."""
        deadline = context.clock() + _CHANGING_SECONDS
        while True:
            mapping = _mapping(context, self.queue, self.function)
            state = mapping.get("State", "") if mapping else "missing"
            if state not in _CHANGING:
                return
            if context.clock() > deadline:
                raise CloudError(f"The trigger {self.name} is still {state}", hint="facectl status")
            context.tell(f"the trigger is {state}")
            context.sleep(_CHANGING_INTERVAL)

    def facts(self, context: Context) -> dict[str, Any]:
        mapping = _mapping(context, self.queue, self.function)
        if mapping is None:
            return {}
        return {
            "state": mapping.get("State"),
            "last_result": mapping.get("LastProcessingResult"),
        }

    def settings(self) -> Any:
        """The arguments of Lambda's API, apart from the queue, the limits and the tags."""
        return {
            "FunctionName": qualified(self.function, self.qualifier),
            "BatchSize": self.batch_size,
            "MaximumBatchingWindowInSeconds": self.window,
            "FunctionResponseTypes": list(self.responses),
            "Enabled": self.enabled,
        }

    def limits(self) -> dict[str, Any]:
        """The limits of its concurrency as arguments of Lambda's API; empty where there is none."""
        most, pollers = self.max_concurrency, self.pollers
        return {
            "ScalingConfig": {} if most is None else {"MaximumConcurrency": most},
            "ProvisionedPollerConfig": {}
            if pollers is None
            else {"MinimumPollers": pollers[0], "MaximumPollers": pollers[1]},
        }


def desired(state: DesiredState) -> Iterator[Trigger]:
    """The trigger of face-recognition."""
    sizing = state.sizing
    most = sizing.max_concurrency
    if most is None:
        most = state.cloud.recognition_concurrency
    yield Trigger(
        function=RECOGNITION_FUNCTION,
        queue=state.account.queue_arn(state.names.request_queue),
        owner=state.names.asu_id,
        batch_size=sizing.batch_size,
        # A batching window would delay the first face of every batch.
        window=0,
        max_concurrency=None if sizing.pollers else most,
        qualifier=state.qualifier,
        pollers=sizing.pollers,
    )


def _mapping(
    context: Context, queue: str, function: str
) -> EventSourceMappingConfigurationTypeDef | None:
    """The event source mapping of queue and function; None if missing or being deleted."""
    pages = context.clients.functions.get_paginator("list_event_source_mappings").paginate(
        EventSourceArn=queue
    )
    for page in pages:
        for mapping in page["EventSourceMappings"]:
            name = mapping["FunctionArn"].split(":function:")[1].split(":")[0]
            if name == function and mapping.get("State") != "Deleting":
                return mapping
    return None
