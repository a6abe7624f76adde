"""Options that several commands share, each declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

import typer

from facectl import context
from facectl.console import err
from facectl.context import Deployment, Overrides

P = ParamSpec("P")
R = TypeVar("R")

_PANEL = "Deployment"

AsuId = Annotated[
    str | None,
    typer.Option("--asu-id", envvar="FACECTL_ASU_ID", help="ASU ID.", rich_help_panel=_PANEL),
]
TargetOption = Annotated[
    Literal["aws", "local"] | None,
    typer.Option(
        "--target", envvar="FACECTL_TARGET", help="AWS or the local cloud.", rich_help_panel=_PANEL
    ),
]
Region = Annotated[
    str | None,
    typer.Option("--region", envvar="FACECTL_REGION", help="AWS region.", rich_help_panel=_PANEL),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", envvar="FACECTL_PROFILE", help="AWS profile.", rich_help_panel=_PANEL
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        envvar="FACECTL_ENDPOINT_URL",
        help="Address of the AWS API.",
        rich_help_panel=_PANEL,
    ),
]
Account = Annotated[
    str | None,
    typer.Option(
        "--account",
        envvar="FACECTL_ACCOUNT",
        metavar="DIGITS",
        help="AWS account.",
        rich_help_panel=_PANEL,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmations.")]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="First destroy another ASU ID's deployment in this account and region."
    ),
]


def _overrides(
    asu_id: AsuId = None,
    target: TargetOption = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    account: Account = None,
) -> Overrides:
    return Overrides(asu_id, target, region, profile, endpoint_url, account)


def announced(deployment: Deployment) -> Deployment:
    """Print on stderr the deployment a command acts on; return it with its account.

    Raises InputError if the credentials belong to another account.
    """
    found = _with_account(deployment)
    print_deployment(found)
    return found


def print_deployment(deployment: Deployment) -> None:
    """Print on stderr the deployment a command acts on."""
    text = f"Deployment: ASU ID {deployment.key}"
    if deployment.profile and deployment.target == "aws":
        text = f"{text}, profile {deployment.profile}"
    err.print(text, soft_wrap=True, markup=False)


def with_overrides(command: Callable[Concatenate[Overrides, P], R]) -> Callable[..., R]:
    """Add the deployment options to a command, which gets them as its first argument."""
    options = inspect.signature(_overrides, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> R:
        given = {name: kwargs.pop(name) for name in options}
        return command(_overrides(**given), *args, **kwargs)

    signature = inspect.Signature(
        [*own, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in options.values())]
    )
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return wrapper


def with_deployment(command: Callable[Concatenate[Deployment, P], R]) -> Callable[..., R]:
    """Add the deployment options to a command, which gets the deployment as its first argument."""

    return _resolved(command, context.resolve)


def reads_deployment(command: Callable[Concatenate[Deployment, P], R]) -> Callable[..., R]:
    """As `with_deployment`, for a command that reads the cloud: refuse another account.

    In another account it would find nothing, without an error.
    """
    return _resolved(command, lambda overrides: _with_account(context.resolve(overrides)))


def changes_deployment(command: Callable[Concatenate[Deployment, P], R]) -> Callable[..., R]:
    """As `with_deployment`, for a command with side effects: print the deployment first."""
    return _resolved(command, lambda overrides: announced(context.resolve(overrides)))


def _with_account(deployment: Deployment) -> Deployment:
    from facectl.aws import with_account

    return with_account(deployment)


def _resolved(
    command: Callable[Concatenate[Deployment, P], R], choose: Callable[[Overrides], Deployment]
) -> Callable[..., R]:
    def resolved(overrides: Overrides, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return command(choose(overrides), *args, **kwargs)

    functools.update_wrapper(resolved, command)
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    first = inspect.Parameter("overrides", inspect.Parameter.POSITIONAL_ONLY)
    resolved.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return with_overrides(resolved)
