"""What hangs on a function: alias, URL, statements of its policy, trigger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from facectl.aws import unless_missing
from facectl.deploy.models import Alias, FunctionUrl, Permission, Trigger, qualified
from facectl.deploy.writers.base import Writer, tags
from facectl.errors import CloudError

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import AddPermissionRequestTypeDef

# Environments that are kept warm start one after another.
_WARM_SECONDS = 900.0
_POLL_SECONDS = 2.0


class AliasWriter(Writer[Alias]):
    """A published version under a name, with environments kept warm."""

    def create(self, wanted: Alias) -> None:
        functions = self.context.clients.functions
        version = functions.publish_version(FunctionName=wanted.function)["Version"]
        functions.create_alias(
            FunctionName=wanted.function, Name=wanted.alias, FunctionVersion=version
        )
        self._keep_warm(wanted)

    def update(self, wanted: Alias, _found: Alias) -> None:
        functions = self.context.clients.functions
        alias = functions.get_alias(FunctionName=wanted.function, Name=wanted.alias)
        version = functions.publish_version(FunctionName=wanted.function)["Version"]
        if version != alias["FunctionVersion"]:
            functions.update_alias(
                FunctionName=wanted.function, Name=wanted.alias, FunctionVersion=version
            )
        self._keep_warm(wanted)

    def delete(self, found: Alias) -> None:
        functions = self.context.clients.functions
        unless_missing(
            functions.delete_provisioned_concurrency_config,
            FunctionName=found.function,
            Qualifier=found.alias,
        )
        unless_missing(functions.delete_alias, FunctionName=found.function, Name=found.alias)

    def _keep_warm(self, wanted: Alias) -> None:
        functions = self.context.clients.functions
        where = {"FunctionName": wanted.function, "Qualifier": wanted.alias}
        functions.put_provisioned_concurrency_config(
            **where, ProvisionedConcurrentExecutions=wanted.provisioned
        )
        deadline = self.context.clock() + _WARM_SECONDS
        while True:
            state = functions.get_provisioned_concurrency_config(**where)
            if state["Status"] == "READY":
                return
            if state["Status"] == "FAILED" or self.context.clock() > deadline:
                reason = state.get("StatusReason", state["Status"])
                raise CloudError(
                    f"{wanted.name} can't be kept warm: {reason}",
                    hint="a lower --provisioned-concurrency, or facectl doctor",
                )
            self.context.sleep(_POLL_SECONDS)


class FunctionUrlWriter(Writer[FunctionUrl]):
    """The address that frames are POSTed to."""

    def create(self, wanted: FunctionUrl) -> None:
        self.context.clients.functions.create_function_url_config(
            **_at(wanted.name, wanted.qualifier), AuthType=_auth_type(wanted)
        )

    def update(self, wanted: FunctionUrl, _found: FunctionUrl) -> None:
        self.context.clients.functions.update_function_url_config(
            **_at(wanted.name, wanted.qualifier), AuthType=_auth_type(wanted)
        )

    def delete(self, found: FunctionUrl) -> None:
        functions = self.context.clients.functions
        unless_missing(functions.delete_function_url_config, **_at(found.name, found.qualifier))


class PermissionWriter(Writer[Permission]):
    """Statements of a function's own policy."""

    def create(self, wanted: Permission) -> None:
        condition = json.loads(wanted.condition)
        request: AddPermissionRequestTypeDef = {
            "FunctionName": wanted.function,
            "StatementId": wanted.statement,
            "Action": wanted.action,
            "Principal": wanted.principal,
        }
        if wanted.qualifier:
            request["Qualifier"] = wanted.qualifier
        if "StringEquals" in condition:
            request["FunctionUrlAuthType"] = condition["StringEquals"]["lambda:FunctionUrlAuthType"]
        if "Bool" in condition:
            request["InvokedViaFunctionUrl"] = True
        self.context.clients.functions.add_permission(**request)

    def update(self, wanted: Permission, found: Permission) -> None:
        # Statements can't be changed in place.
        self.delete(found)
        self.create(wanted)

    def delete(self, found: Permission) -> None:
        unless_missing(
            self.context.clients.functions.remove_permission,
            **_at(found.function, found.qualifier),
            StatementId=found.statement,
        )


class TriggerWriter(Writer[Trigger]):
    """The event source mapping of face-recognition."""

    def create(self, wanted: Trigger) -> None:
        functions = self.context.clients.functions
        limits = {name: value for name, value in _limits(wanted).items() if value}
        self.context.retrying(
            lambda: functions.create_event_source_mapping(
                EventSourceArn=wanted.queue, Tags=tags(wanted.owner), **_mapping(wanted), **limits
            )
        )

    def update(self, wanted: Trigger, found: Trigger) -> None:
        functions = self.context.clients.functions
        mapping = self.context.reader.mapping(wanted.queue, wanted.function)
        if mapping is None:
            raise CloudError(
                f"The trigger {wanted.name} disappeared meanwhile", hint="facectl deploy"
            )
        # An empty object removes a limit, and need not be said of one that is not there.
        before = _limits(found)
        limits = {name: value for name, value in _limits(wanted).items() if value or before[name]}
        self.context.retrying(
            lambda: functions.update_event_source_mapping(
                UUID=mapping["UUID"], **_mapping(wanted), **limits
            )
        )
        if wanted.owner != found.owner:
            arn = self.context.account.mapping_arn(mapping["UUID"])
            functions.tag_resource(Resource=arn, Tags=tags(wanted.owner))

    def delete(self, found: Trigger) -> None:
        functions = self.context.clients.functions
        mapping = self.context.reader.mapping(found.queue, found.function)
        if mapping is not None:
            self.context.retrying(
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
