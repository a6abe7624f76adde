"""Writes the Lambda functions."""

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
    """Creates, updates and deletes functions; waits until they are active."""

    def create(self, desired: Function) -> None:
        code: FunctionCodeTypeDef = (
            {"ZipFile": desired.archive}
            if desired.packaging == "zip"
            else {"ImageUri": desired.code}
        )
        request: CreateFunctionRequestTypeDef = {
            "FunctionName": desired.name,
            "Role": desired.role,
            "Code": code,
            "PackageType": "Zip" if desired.packaging == "zip" else "Image",
            "Architectures": [desired.architecture],
            "MemorySize": desired.memory,
            "Timeout": desired.timeout,
            "Environment": {"Variables": desired.environment},
            "Tags": _tags(desired),
        }
        if desired.packaging == "zip":
            request["Handler"] = desired.handler
            request["Runtime"] = desired.runtime  # type: ignore[typeddict-item]
        functions = self.context.clients.functions
        self.context.retry(lambda: functions.create_function(**request))
        self._wait("function_active_v2", desired.name)
        self._reserve(desired, None)

    def update(self, desired: Function, actual: Function) -> None:
        functions = self.context.clients.functions
        if desired.code != actual.code or desired.architecture != actual.architecture:
            self._update_code(desired)
        request = _configuration(desired)
        before = _configuration(actual)
        if request != before:
            self.context.retry(lambda: functions.update_function_configuration(**request))
            self._wait("function_updated_v2", desired.name)
        self._reserve(desired, actual.reserved_concurrency)
        arn = self.context.account.function_arn(desired.name)
        if _tags(desired) != _tags(actual):
            functions.tag_resource(Resource=arn, Tags=_tags(desired))
        if actual.demo and not desired.demo:
            functions.untag_resource(Resource=arn, TagKeys=[DEMO_TAG_KEY])

    def delete(self, actual: Function) -> None:
        functions = self.context.clients.functions
        # AWS takes the URL away with its function, MiniStack does not.
        unless_missing(functions.delete_function_url_config, FunctionName=actual.name)
        unless_missing(functions.delete_function, FunctionName=actual.name)

    def _update_code(self, desired: Function) -> None:
        functions = self.context.clients.functions
        code: dict[str, Any] = (
            {"ZipFile": desired.archive}
            if desired.packaging == "zip"
            else {"ImageUri": desired.code}
        )
        self.context.retry(
            lambda: functions.update_function_code(
                FunctionName=desired.name, Architectures=[desired.architecture], **code
            )
        )
        self._wait("function_updated_v2", desired.name)

    def _reserve(self, desired: Function, before: int | None) -> None:
        functions = self.context.clients.functions
        count = desired.reserved_concurrency
        if count == before:
            return
        if count is None:
            functions.delete_function_concurrency(FunctionName=desired.name)
            return
        try:
            functions.put_function_concurrency(
                FunctionName=desired.name, ReservedConcurrentExecutions=count
            )
        except ClientError as error:
            if "UnreservedConcurrentExecution" not in str(error):
                raise
            raise CloudError(
                f"Can't reserve a concurrency of {count} for {desired.name}: "
                "the account's concurrency limit is too low",
                hint="a lower --reserved-concurrency, or a higher quota: facectl doctor",
            ) from error

    def _wait(self, waiter: Any, name: str) -> None:
        functions = self.context.clients.functions
        try:
            functions.get_waiter(waiter).wait(FunctionName=name)
        except WaiterError as error:
            answer: Any = error.last_response
            actual = answer.get("Configuration", answer)
            reason = actual.get("StateReason") or actual.get("LastUpdateStatusReason") or error
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
