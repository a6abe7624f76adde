"""The functions, and what hangs on them: URL, statements of their policy, trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facectl.aws import ClientError, WaiterError, unless_missing
from facectl.deploy.models import Function
from facectl.deploy.writers.base import Writer, tags
from facectl.errors import CloudError
from facectl.naming import DEMO_TAG_KEY

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import (
        CreateFunctionRequestTypeDef,
        FunctionCodeTypeDef,
        UpdateFunctionConfigurationRequestTypeDef,
    )


class FunctionWriter(Writer[Function]):
    """Creates and changes functions; returns when they can be called."""

    def create(self, wanted: Function) -> None:
        code: FunctionCodeTypeDef = (
            {"ZipFile": wanted.archive} if wanted.packaging == "zip" else {"ImageUri": wanted.code}
        )
        request: CreateFunctionRequestTypeDef = {
            "FunctionName": wanted.name,
            "Role": wanted.role,
            "Code": code,
            "PackageType": "Zip" if wanted.packaging == "zip" else "Image",
            "Architectures": [wanted.architecture],
            "MemorySize": wanted.memory,
            "Timeout": wanted.timeout,
            "Environment": {"Variables": wanted.environment},
            "Tags": _tags(wanted),
        }
        if wanted.packaging == "zip":
            request["Handler"] = wanted.handler
            request["Runtime"] = wanted.runtime  # type: ignore[typeddict-item]
        functions = self.context.clients.functions
        self.context.retrying(lambda: functions.create_function(**request))
        self._wait("function_active_v2", wanted.name)
        self._reserve(wanted, None)

    def update(self, wanted: Function, found: Function) -> None:
        functions = self.context.clients.functions
        if wanted.code != found.code or wanted.architecture != found.architecture:
            self._update_code(wanted)
        request = _configuration(wanted)
        before = _configuration(found)
        if request != before:
            self.context.retrying(lambda: functions.update_function_configuration(**request))
            self._wait("function_updated_v2", wanted.name)
        self._reserve(wanted, found.reserved_concurrency)
        arn = self.context.account.function_arn(wanted.name)
        if _tags(wanted) != _tags(found):
            functions.tag_resource(Resource=arn, Tags=_tags(wanted))
        if found.demo and not wanted.demo:
            functions.untag_resource(Resource=arn, TagKeys=[DEMO_TAG_KEY])

    def delete(self, found: Function) -> None:
        functions = self.context.clients.functions
        # AWS takes the URL away with its function, MiniStack does not.
        unless_missing(functions.delete_function_url_config, FunctionName=found.name)
        unless_missing(functions.delete_function, FunctionName=found.name)

    def _update_code(self, wanted: Function) -> None:
        functions = self.context.clients.functions
        code: dict[str, Any] = (
            {"ZipFile": wanted.archive} if wanted.packaging == "zip" else {"ImageUri": wanted.code}
        )
        self.context.retrying(
            lambda: functions.update_function_code(
                FunctionName=wanted.name, Architectures=[wanted.architecture], **code
            )
        )
        self._wait("function_updated_v2", wanted.name)

    def _reserve(self, wanted: Function, before: int | None) -> None:
        functions = self.context.clients.functions
        count = wanted.reserved_concurrency
        if count == before:
            return
        if count is None:
            functions.delete_function_concurrency(FunctionName=wanted.name)
            return
        try:
            functions.put_function_concurrency(
                FunctionName=wanted.name, ReservedConcurrentExecutions=count
            )
        except ClientError as error:
            if "UnreservedConcurrentExecution" not in str(error):
                raise
            raise CloudError(
                f"{count} of {wanted.name} can't be reserved, the account's concurrency is too low",
                hint="a lower --reserved-concurrency, or a higher quota: facectl doctor",
            ) from error

    def _wait(self, waiter: Any, name: str) -> None:
        functions = self.context.clients.functions
        try:
            functions.get_waiter(waiter).wait(FunctionName=name)
        except WaiterError as error:
            answer: Any = error.last_response
            found = answer.get("Configuration", answer)
            reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or error
            raise CloudError(f"{name} did not become ready: {reason}", hint="facectl status") from (
                error
            )


def _tags(function: Function) -> dict[str, str]:
    return {**tags(function.owner), **({DEMO_TAG_KEY: "true"} if function.demo else {})}


def _configuration(function: Function) -> UpdateFunctionConfigurationRequestTypeDef:
    request: UpdateFunctionConfigurationRequestTypeDef = {
        "FunctionName": function.name,
        "Role": function.role,
        "MemorySize": function.memory,
        "Timeout": function.timeout,
        "Environment": {"Variables": function.environment},
    }
    if function.packaging == "zip":
        request["Handler"] = function.handler
        request["Runtime"] = function.runtime  # type: ignore[typeddict-item]
    return request
