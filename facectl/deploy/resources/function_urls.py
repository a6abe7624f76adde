"""The Function URL of face-detection, and the policy statements that make it public."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from facectl.aws import unless_missing
from facectl.deploy.models import ALIAS, Auth, DesiredState
from facectl.deploy.resources.base import Attached, Context, Key, canonical
from facectl.deploy.resources.functions import Function, at, qualified, qualifier_in
from facectl.naming import DETECTION_FUNCTION

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import GetFunctionUrlConfigResponseTypeDef

# Statements with other names were not added by facectl and are ignored, unless they make the URL
# public: CloudFormation and Terraform give them names of their own.
_STATEMENT_PREFIX = "facectl-"


@dataclass(frozen=True, slots=True)
class FunctionUrl(Attached):
    """The Function URL of `function`, or of its alias `qualifier`."""

    kind: ClassVar[str] = "function URL"
    fixed: ClassVar[frozenset[str]] = frozenset({"qualifier"})
    function: str
    auth: Auth
    qualifier: str = ""

    @property
    def name(self) -> str:
        # Without the qualifier: a function has one URL, which can move.
        return self.function

    @property
    def parent(self) -> Key:
        return Function.kind, self.function

    @classmethod
    def find(cls, context: Context, function: str, preferred: str = "") -> FunctionUrl | None:
        """The URL at the qualifier `preferred`, or else the one at the other qualifier."""
        for qualifier in (preferred, "" if preferred else ALIAS):
            answer = _configuration(context, function, qualifier)
            if answer is not None:
                return cls(function, "none" if answer["AuthType"] == "NONE" else "iam", qualifier)
        return None

    @staticmethod
    def address(context: Context, function: str) -> str | None:
        """The URL of a function; on the local cloud, the address at which it answers."""
        answer = _configuration(context, function, ALIAS) or _configuration(context, function, "")
        if answer is None:
            return None
        url, endpoint = answer["FunctionUrl"], context.clients.deployment.endpoint_url
        if endpoint is None:
            return url
        # MiniStack returns an AWS host name that does not resolve; it serves the URL id here.
        identifier = url.partition("://")[2].partition(".")[0]
        return f"{endpoint}/_aws/lambda-url/{identifier}/"

    def read(self, context: Context) -> FunctionUrl | None:
        return self.find(context, self.function, self.qualifier)

    def create(self, context: Context) -> None:
        create = context.clients.functions.create_function_url_config
        context.call(create, **at(self.function, self.qualifier), AuthType=self.auth_type)

    def update(self, context: Context, _actual: FunctionUrl) -> None:
        update = context.clients.functions.update_function_url_config
        context.call(update, **at(self.function, self.qualifier), AuthType=self.auth_type)

    def delete(self, context: Context) -> None:
        delete = context.clients.functions.delete_function_url_config
        where = at(self.function, self.qualifier)
        context.retry(lambda: unless_missing(delete, **where))

    def facts(self, context: Context) -> dict[str, Any]:
        url = self.address(context, self.function)
        return {} if url is None else {"url": url}

    @property
    def auth_type(self) -> Literal["NONE", "AWS_IAM"]:
        """The authentication as Lambda names it."""
        return "NONE" if self.auth == "none" else "AWS_IAM"


@dataclass(frozen=True, slots=True)
class Permission(Attached):
    """One statement of the resource policy of `function`, or of its alias `qualifier`.

    A statement with the content of one of facectl's is that one, whatever its name is.
    """

    kind: ClassVar[str] = "permission"
    pruned: ClassVar[bool] = True
    function: str
    statement: str
    action: str
    principal: str
    condition: str
    qualifier: str = ""
    # The name that it has in the policy, if it is another one.
    sid: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        return f"{qualified(self.function, self.qualifier)}/{self.statement}"

    @property
    def parent(self) -> Key:
        return Function.kind, self.function

    @classmethod
    def find_all(cls, context: Context, function: str, qualifier: str = "") -> list[Permission]:
        """The policy statements that facectl adds to the function, or to its alias."""
        answer = unless_missing(context.clients.functions.get_policy, **at(function, qualifier))
        statements = json.loads(answer["Policy"])["Statement"] if answer else []
        ours = {each.content: each.statement for each in _public(qualifier)}
        found = [
            cls(
                function=function,
                statement=statement.get("Sid", ""),
                action=statement["Action"],
                principal=_principal(statement["Principal"]),
                condition=canonical(statement.get("Condition", {})),
                qualifier=qualifier,
            )
            for statement in statements
            # MiniStack returns the statements of aliases with those of the function.
            if qualifier_in(statement.get("Resource", "")) == qualifier
        ]
        known = [
            replace(each, statement=ours.get(each.content, each.statement), sid=each.statement)
            for each in found
        ]
        return [each for each in known if each.statement.startswith(_STATEMENT_PREFIX)]

    @property
    def content(self) -> tuple[str, ...]:
        """What it allows, without its name."""
        return self.function, self.action, self.principal, self.condition

    def current(self, context: Context) -> Permission | None:
        found = self.find_all(context, self.function, self.qualifier)
        return next((each for each in found if each.name == self.name), None)

    def arguments(self) -> Any:
        """The arguments of Lambda's API, apart from the function and the name."""
        condition = json.loads(self.condition)
        conditions: dict[str, Any] = {}
        if "StringEquals" in condition:
            auth_type = condition["StringEquals"]["lambda:FunctionUrlAuthType"]
            conditions["FunctionUrlAuthType"] = auth_type
        if "Bool" in condition:
            conditions["InvokedViaFunctionUrl"] = True
        return {"Action": self.action, "Principal": self.principal, **conditions}

    def create(self, context: Context) -> None:
        context.call(
            context.clients.functions.add_permission,
            **at(self.function, self.qualifier),
            StatementId=self.statement,
            **self.arguments(),
        )

    def update(self, context: Context, actual: Permission) -> None:
        # Lambda can't update a statement in place.
        actual.delete(context)
        self.create(context)

    def delete(self, context: Context) -> None:
        remove = context.clients.functions.remove_permission
        where = at(self.function, self.qualifier)
        context.retry(
            lambda: unless_missing(remove, **where, StatementId=self.sid or self.statement)
        )


def desired(state: DesiredState) -> Iterator[FunctionUrl | Permission]:
    """The URL; without authentication first both statements that it needs since October 2025.

    They take seconds to have an effect, so they precede the URL.
    Source: AWS Lambda Developer Guide, "Control access to Lambda function URLs".
    """
    qualifier = state.qualifier
    if state.url_auth == "none":
        yield from _public(qualifier)
    yield FunctionUrl(DETECTION_FUNCTION, state.url_auth, qualifier)


def _public(qualifier: str) -> Iterator[Permission]:
    # MiniStack keeps one policy per function, AWS one per function and alias.
    suffix = f"-{qualifier}" if qualifier else ""
    yield Permission(
        DETECTION_FUNCTION,
        f"{_STATEMENT_PREFIX}public-url{suffix}",
        "lambda:InvokeFunctionUrl",
        "*",
        canonical({"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}),
        qualifier,
    )
    yield Permission(
        DETECTION_FUNCTION,
        f"{_STATEMENT_PREFIX}public-invoke{suffix}",
        "lambda:InvokeFunction",
        "*",
        canonical({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
        qualifier,
    )


def _configuration(
    context: Context, function: str, qualifier: str
) -> GetFunctionUrlConfigResponseTypeDef | None:
    read = context.clients.functions.get_function_url_config
    return unless_missing(read, **at(function, qualifier))


def _principal(principal: str | dict[str, str]) -> str:
    if isinstance(principal, str):
        return principal
    return next(iter(principal.values()))
