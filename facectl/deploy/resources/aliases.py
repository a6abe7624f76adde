"""The aliases of the functions, which carry provisioned concurrency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import ALIAS, DesiredState
from facectl.deploy.resources.base import Attached, Context, Key
from facectl.deploy.resources.functions import Function, qualified
from facectl.errors import CloudError
from facectl.naming import FUNCTIONS

# The `version` of an alias whose version equals the unpublished function.
CURRENT = "current"
# The attributes that facectl sets and a published version keeps.
_PUBLISHED = ("CodeSha256", "MemorySize", "Timeout", "Role", "Environment", "Architectures")
# AWS starts provisioned environments gradually.
_PROVISIONING_TIMEOUT = 900.0
_POLL_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Alias(Attached):
    """An alias of a published version, with `provisioned` provisioned concurrency.

    `version` is `current` if the version equals the unpublished function, else its number.
    """

    kind: ClassVar[str] = "alias"
    pruned: ClassVar[bool] = True
    set_later: ClassVar[frozenset[str]] = frozenset({"provisioned", "version"})
    function: str
    alias: str
    provisioned: int
    version: str = CURRENT

    @property
    def name(self) -> str:
        return qualified(self.function, self.alias)

    @property
    def parent(self) -> Key:
        return Function.kind, self.function

    @classmethod
    def find(cls, context: Context, function: str) -> Alias | None:
        """The alias of a function with provisioned concurrency; None if there is none."""
        functions = context.clients.functions
        alias = unless_missing(functions.get_alias, FunctionName=function, Name=ALIAS)
        if alias is None:
            return None
        version = alias["FunctionVersion"]
        published = functions.get_function_configuration(FunctionName=function, Qualifier=version)
        now = functions.get_function_configuration(FunctionName=function)
        same = all(published.get(name) == now.get(name) for name in _PUBLISHED)
        warm = unless_missing(
            functions.get_provisioned_concurrency_config, FunctionName=function, Qualifier=ALIAS
        )
        # What Lambda could not allocate is still requested; a deploy asks again.
        provisioned = 0
        if warm is not None and warm["Status"] != "FAILED":
            provisioned = warm["RequestedProvisionedConcurrentExecutions"]
        return cls(function, ALIAS, provisioned, CURRENT if same else version)

    def current(self, context: Context) -> Alias | None:
        return self.find(context, self.function)

    def create(self, context: Context) -> None:
        functions = context.clients.functions
        version = context.call(functions.publish_version, FunctionName=self.function)["Version"]
        context.call(
            functions.create_alias,
            FunctionName=self.function,
            Name=self.alias,
            FunctionVersion=version,
        )
        self._provision(context)

    def update(self, context: Context, _actual: Alias) -> None:
        functions = context.clients.functions
        alias = functions.get_alias(FunctionName=self.function, Name=self.alias)
        version = context.call(functions.publish_version, FunctionName=self.function)["Version"]
        if version != alias["FunctionVersion"]:
            context.call(
                functions.update_alias,
                FunctionName=self.function,
                Name=self.alias,
                FunctionVersion=version,
            )
        self._provision(context)

    def delete(self, context: Context) -> None:
        functions = context.clients.functions
        context.call(
            unless_missing,
            functions.delete_provisioned_concurrency_config,
            FunctionName=self.function,
            Qualifier=self.alias,
        )
        context.call(
            unless_missing,
            functions.delete_alias,
            FunctionName=self.function,
            Name=self.alias,
        )

    def _provision(self, context: Context) -> None:
        functions = context.clients.functions
        where = {"FunctionName": self.function, "Qualifier": self.alias}
        context.call(
            functions.put_provisioned_concurrency_config,
            **where,
            ProvisionedConcurrentExecutions=self.provisioned,
        )
        deadline = context.clock() + _PROVISIONING_TIMEOUT
        while True:
            state = functions.get_provisioned_concurrency_config(**where)
            if state["Status"] == "READY":
                return
            if state["Status"] == "FAILED" or context.clock() > deadline:
                reason = state.get("StatusReason", state["Status"])
                raise CloudError(
                    f"{self.name} did not get its provisioned concurrency: {reason}",
                    hint="a lower --provisioned-concurrency, or facectl doctor",
                )
            ready = state.get("AllocatedProvisionedConcurrentExecutions", 0)
            context.tell(f"{ready} of {self.provisioned} environments are warm")
            context.sleep(_POLL_INTERVAL)


def desired(state: DesiredState) -> Iterator[Alias]:
    """One alias for each function; none without provisioned concurrency."""
    count = state.sizing.provisioned_concurrency
    if count is not None:
        for function in FUNCTIONS:
            yield Alias(function, ALIAS, count)
