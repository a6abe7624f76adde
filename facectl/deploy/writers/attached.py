"""Writes the resources attached to a function: alias, URL, policy statements, trigger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from facectl.aws import unless_missing
from facectl.deploy.models import Alias, FunctionUrl, Permission, Trigger, qualified
from facectl.deploy.writers.base import Writer, tags
from facectl.errors import CloudError

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import AddPermissionRequestTypeDef

# AWS starts provisioned environments gradually.
_PROVISIONING_TIMEOUT = 900.0
_POLL_INTERVAL = 2.0


class AliasWriter(Writer[Alias]):
    """An alias of a published version, with provisioned concurrency."""

    def create(self, desired: Alias) -> None:
        functions = self.context.clients.functions
        version = functions.publish_version(FunctionName=desired.function)["Version"]
        functions.create_alias(
            FunctionName=desired.function, Name=desired.alias, FunctionVersion=version
        )
        self._provision(desired)

    def update(self, desired: Alias, _found: Alias) -> None:
        functions = self.context.clients.functions
        alias = functions.get_alias(FunctionName=desired.function, Name=desired.alias)
        version = functions.publish_version(FunctionName=desired.function)["Version"]
        if version != alias["FunctionVersion"]:
            functions.update_alias(
                FunctionName=desired.function, Name=desired.alias, FunctionVersion=version
            )
        self._provision(desired)

    def delete(self, actual: Alias) -> None:
        functions = self.context.clients.functions
        unless_missing(
            functions.delete_provisioned_concurrency_config,
            FunctionName=actual.function,
            Qualifier=actual.alias,
        )
        unless_missing(functions.delete_alias, FunctionName=actual.function, Name=actual.alias)

    def _provision(self, desired: Alias) -> None:
        functions = self.context.clients.functions
        where = {"FunctionName": desired.function, "Qualifier": desired.alias}
        functions.put_provisioned_concurrency_config(
            **where, ProvisionedConcurrentExecutions=desired.provisioned
        )
        deadline = self.context.clock() + _PROVISIONING_TIMEOUT
        while True:
            state = functions.get_provisioned_concurrency_config(**where)
            if state["Status"] == "READY":
                return
            if state["Status"] == "FAILED" or self.context.clock() > deadline:
                reason = state.get("StatusReason", state["Status"])
                raise CloudError(
                    f"{desired.name} did not get its provisioned concurrency: {reason}",
                    hint="a lower --provisioned-concurrency, or facectl doctor",
                )
            self.context.sleep(_POLL_INTERVAL)


class FunctionUrlWriter(Writer[FunctionUrl]):
    """The Function URL that frames are POSTed to."""

    def create(self, desired: FunctionUrl) -> None:
        self.context.clients.functions.create_function_url_config(
            **_at(desired.name, desired.qualifier), AuthType=_auth_type(desired)
        )

    def update(self, desired: FunctionUrl, _found: FunctionUrl) -> None:
        self.context.clients.functions.update_function_url_config(
            **_at(desired.name, desired.qualifier), AuthType=_auth_type(desired)
        )

    def delete(self, actual: FunctionUrl) -> None:
        functions = self.context.clients.functions
        unless_missing(functions.delete_function_url_config, **_at(actual.name, actual.qualifier))


class PermissionWriter(Writer[Permission]):
    """Statements of a function's resource policy."""

    def create(self, desired: Permission) -> None:
        condition = json.loads(desired.condition)
        request: AddPermissionRequestTypeDef = {
            "FunctionName": desired.function,
            "StatementId": desired.statement,
            "Action": desired.action,
            "Principal": desired.principal,
        }
        if desired.qualifier:
            request["Qualifier"] = desired.qualifier
        if "StringEquals" in condition:
            request["FunctionUrlAuthType"] = condition["StringEquals"]["lambda:FunctionUrlAuthType"]
        if "Bool" in condition:
            request["InvokedViaFunctionUrl"] = True
        self.context.clients.functions.add_permission(**request)

    def update(self, desired: Permission, actual: Permission) -> None:
        # Lambda can't update a statement in place.
        self.delete(actual)
        self.create(desired)

    def delete(self, actual: Permission) -> None:
        unless_missing(
            self.context.clients.functions.remove_permission,
            **_at(actual.function, actual.qualifier),
            StatementId=actual.statement,
        )


class TriggerWriter(Writer[Trigger]):
    """The event source mapping of face-recognition."""

    def create(self, desired: Trigger) -> None:
        functions = self.context.clients.functions
        limits = {name: value for name, value in _limits(desired).items() if value}
        self.context.retry(
            lambda: functions.create_event_source_mapping(
                EventSourceArn=desired.queue,
                Tags=tags(desired.owner),
                **_mapping(desired),
                **limits,
            )
        )

    def update(self, desired: Trigger, actual: Trigger) -> None:
        functions = self.context.clients.functions
        mapping = self.context.reader.mapping(desired.queue, desired.function)
        if mapping is None:
            raise CloudError(
                f"The trigger {desired.name} was deleted during this deploy", hint="facectl deploy"
            )
        # An empty object removes a limit; omit it if no limit is set.
        before = _limits(actual)
        limits = {name: value for name, value in _limits(desired).items() if value or before[name]}
        self.context.retry(
            lambda: functions.update_event_source_mapping(
                UUID=mapping["UUID"], **_mapping(desired), **limits
            )
        )
        if desired.owner != actual.owner:
            arn = self.context.account.mapping_arn(mapping["UUID"])
            functions.tag_resource(Resource=arn, Tags=tags(desired.owner))

    def delete(self, actual: Trigger) -> None:
        functions = self.context.clients.functions
        mapping = self.context.reader.mapping(actual.queue, actual.function)
        if mapping is not None:
            self.context.retry(
                lambda: unless_missing(functions.delete_event_source_mapping, UUID=mapping["UUID"])
            )


def _at(function: str, qualifier: str) -> Any:
    return {"FunctionName": function, **({"Qualifier": qualifier} if qualifier else {})}


def _auth_type(url: FunctionUrl) -> Literal["NONE", "AWS_IAM"]:
    return "NONE" if url.auth == "none" else "AWS_IAM"


def _mapping(trigger: Trigger) -> Any:
    return {
        "FunctionName": qualified(trigger.function, trigger.qualifier),
        "BatchSize": trigger.batch_size,
        "MaximumBatchingWindowInSeconds": trigger.window,
        "FunctionResponseTypes": list(trigger.responses),
        "Enabled": trigger.enabled,
    }


def _limits(trigger: Trigger) -> dict[str, Any]:
    most, pollers = trigger.max_concurrency, trigger.pollers
    return {
        "ScalingConfig": {} if most is None else {"MaximumConcurrency": most},
        "ProvisionedPollerConfig": {}
        if pollers is None
        else {"MinimumPollers": pollers[0], "MaximumPollers": pollers[1]},
    }
