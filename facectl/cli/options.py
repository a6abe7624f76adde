"""Options that several commands share, each declared once; a command declares its own inline.

The decorators at the end turn the deployment options into the deployment.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar, get_type_hints

import typer

from facectl.console import note
from facectl.context import Deployment, Overrides, resolve
from facectl.errors import CloudError
from facectl.local.settings import DEFAULT_PORT

P = ParamSpec("P")
R = TypeVar("R")
Chosen = TypeVar("Chosen")

# Help panels.
DEPLOYMENT = "Deployment"
FRAMES = "Frames"
SCHEDULE = "Schedule"
REQUESTS = "Requests"
TARGETS = "Baseline and targets"
OUTPUT = "Output"
VISITS = "Visits"
PAGE = "Page"

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmations.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only report; change nothing.")]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="First destroy another ASU ID's deployment in this account and region."
    ),
]
LocalPort = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=1,
        max=65535,
        help="Port of the local cloud on 127.0.0.1; default: that of its last run, else "
        f"{DEFAULT_PORT}.",
    ),
]

# Models and galleries.
InstalledModel = Annotated[
    str | None,
    typer.Argument(help="Name or embedding space of a model; default: the one built last."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="vggface2, casia-webface, synthetic (untrained), or a FILE with a state dict or a "
        "trace; default: the first of them that can be downloaded.",
    ),
]
Person = Annotated[str, typer.Argument(help="A name in the gallery.")]
StrangerGroup = Annotated[
    str, typer.Argument(metavar="GROUP", help="A group, as s-12 of `facectl strangers list`.")
]
HtmlReport = Annotated[Path, typer.Option("--html", help="HTML report to write.")]

# Requests with frames.
MaxSide = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        min=16,
        help="Scale the longest side down to N pixels.",
        rich_help_panel=REQUESTS,
    ),
]
Quality = Annotated[
    int,
    typer.Option(
        "--quality",
        min=1,
        max=100,
        help="JPEG quality; image files that are not scaled are sent unchanged.",
        rich_help_panel=REQUESTS,
    ),
]
MaxFaces = Annotated[
    int,
    typer.Option(
        "--max-faces",
        min=1,
        max=100,
        help="Keep the N largest faces of a frame.",
        rich_help_panel=REQUESTS,
    ),
]
MinFaceSize = Annotated[
    int | None,
    typer.Option(
        "--min-face-size",
        min=12,
        max=1000,
        help="Smallest face that is looked for, in pixels of the sent frame; default that of the "
        "deployment, 20. Larger is faster.",
        rich_help_panel=REQUESTS,
    ),
]

# The page of `watch` and `demo --watch`.
OpenPage = Annotated[
    bool,
    typer.Option("--open/--no-open", help="Open the page in the browser.", rich_help_panel=PAGE),
]

Reply = Annotated[
    Literal["shared", "private"],
    typer.Option(
        "--reply",
        help="Where answers go: the response queue, or a queue of this client's own, which is "
        "deleted at the end.",
        rich_help_panel=REQUESTS,
    ),
]

Detect = Annotated[
    Literal["cloud", "edge"],
    typer.Option(
        "--detect",
        help="Where faces are detected: by face-detection, or on this computer, which then sends "
        "only crops.",
        rich_help_panel=REQUESTS,
    ),
]

# The load of a benchmark.
BenchSource = Annotated[
    list[str] | None,
    typer.Argument(
        help="Video, image, folder, pattern, camera index, or URL; default: the demo clip."
    ),
]
FrameCount = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--frames",
        min=1,
        help="Number of frames; a short source is repeated.",
        rich_help_panel=SCHEDULE,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=0.001,
        help="Open loop: frames per second, default 1.",
        rich_help_panel=SCHEDULE,
    ),
]
FramesInFlight = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        max=256,
        help="Closed loop: frames in flight; an answer releases the next frame.",
        rich_help_panel=SCHEDULE,
    ),
]
Warmup = Annotated[
    int,
    typer.Option(
        "--warmup", min=0, help="Warm-up frames first, not counted.", rich_help_panel=SCHEDULE
    ),
]
PurgeFirst = Annotated[
    bool, typer.Option("--purge", help="Empty both queues first.", rich_help_panel=REQUESTS)
]
AnswerTimeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.5,
        help="Seconds until a frame without an answer counts as unanswered.",
        rich_help_panel=REQUESTS,
    ),
]
PriceFile = Annotated[
    Path | None,
    typer.Option(
        "--price-file", help="Price table (JSON); default: facectl's own.", rich_help_panel=TARGETS
    ),
]

# Logs and dead letters.
Since = Annotated[
    str, typer.Option("--since", help="Start time: 10m, 2h ago, 1d, 2026-03-01T12:00.")
]
Until = Annotated[str | None, typer.Option("--until", help="End time; default now.")]
FunctionName = Annotated[
    str | None, typer.Option("--function", help="Only one function: detection or recognition.")
]
DeadLetterIds = Annotated[
    list[str] | None, typer.Argument(help="Request or message ids, or --all.")
]
AllDeadLetters = Annotated[bool, typer.Option("--all", help="Every message.")]

# `with_deployment` and its neighbors add these to a command; the names are those of `Overrides`.
_DEPLOYMENT_OPTIONS = {
    "asu_id": Annotated[
        str | None,
        typer.Option(
            "--asu-id", envvar="FACECTL_ASU_ID", help="ASU ID.", rich_help_panel=DEPLOYMENT
        ),
    ],
    "target": Annotated[
        Literal["aws", "local"] | None,
        typer.Option(
            "--target",
            envvar="FACECTL_TARGET",
            help="AWS or the local cloud.",
            rich_help_panel=DEPLOYMENT,
        ),
    ],
    "region": Annotated[
        str | None,
        typer.Option(
            "--region", envvar="FACECTL_REGION", help="AWS region.", rich_help_panel=DEPLOYMENT
        ),
    ],
    "profile": Annotated[
        str | None,
        typer.Option(
            "--profile", envvar="FACECTL_PROFILE", help="AWS profile.", rich_help_panel=DEPLOYMENT
        ),
    ],
    "endpoint_url": Annotated[
        str | None,
        typer.Option(
            "--endpoint-url",
            envvar="FACECTL_ENDPOINT_URL",
            help="Address of the AWS API.",
            rich_help_panel=DEPLOYMENT,
        ),
    ],
    "account": Annotated[
        str | None,
        typer.Option(
            "--account",
            envvar="FACECTL_ACCOUNT",
            metavar="DIGITS",
            help="AWS account.",
            rich_help_panel=DEPLOYMENT,
        ),
    ],
}


def with_overrides(command: Callable[Concatenate[Overrides, P], R]) -> Callable[..., R]:
    """Add the deployment options to a command, which gets them as its first argument."""
    return _with_options(command, lambda overrides: overrides)


def with_deployment(command: Callable[Concatenate[Deployment, P], R]) -> Callable[..., R]:
    """Add the deployment options to a command, which gets the deployment as its first argument."""
    return _with_options(command, resolve)


def reads_deployment(command: Callable[Concatenate[Deployment, P], R]) -> Callable[..., R]:
    """As `with_deployment`, for a command that reads the cloud: refuse another account.

    In another account it would find nothing, without an error.
    """
    return _with_options(command, lambda overrides: _with_account(resolve(overrides)))


def changes_deployment(command: Callable[Concatenate[Deployment, P], R]) -> Callable[..., R]:
    """As `with_deployment`, for a command with side effects: print the deployment first."""
    return _with_options(command, lambda overrides: announced(resolve(overrides)))


def announced(deployment: Deployment, *, offline: bool = False) -> Deployment:
    """Print on stderr the deployment that a command acts on; return it with its account.

    `offline`: while AWS does not answer, the recorded account counts. Raises InputError if the
    credentials belong to another account.
    """
    from facectl.aws_errors import is_transient

    try:
        found = _with_account(deployment)
    except CloudError as error:
        if not offline or deployment.account is None or not is_transient(error):
            raise
        found = deployment
    print_deployment(found)
    return found


def print_deployment(deployment: Deployment) -> None:
    """Print on stderr the deployment that a command acts on."""
    text = f"Deployment: ASU ID {deployment.key}"
    if deployment.profile and deployment.target == "aws":
        text = f"{text}, profile {deployment.profile}"
    note(text)


def _with_account(deployment: Deployment) -> Deployment:
    from facectl.aws import with_account

    return with_account(deployment)


def _with_options(
    command: Callable[Concatenate[Chosen, P], R], choose: Callable[[Overrides], Chosen]
) -> Callable[..., R]:
    """Replace the first parameter by the deployment options; `choose` makes its argument.

    A parameter whose type is a dataclass is replaced by the dataclass's fields.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    bundles: dict[str, type[Any]] = {
        each.name: each.annotation
        for each in own
        if isinstance(each.annotation, type) and is_dataclass(each.annotation)
    }

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> R:
        given = {name: kwargs.pop(name) for name in _DEPLOYMENT_OPTIONS}
        bundled: dict[str, Any] = {
            name: kind(**{field.name: kwargs.pop(field.name) for field in fields(kind)})
            for name, kind in bundles.items()
        }
        kwargs.update(bundled)
        return command(choose(Overrides(**given)), *args, **kwargs)

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in _DEPLOYMENT_OPTIONS.items()
    ]
    expanded = [
        replaced
        for each in own
        for replaced in (_options_of(each.annotation) if each.name in bundles else [each])
    ]
    # Typer reads both.
    wrapper.__signature__ = inspect.Signature([*expanded, *options])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in [*expanded, *options]}
    return wrapper


def _options_of(bundle: type[Any]) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters of a command."""
    kinds = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default,
            annotation=kinds[field.name],
        )
        for field in fields(bundle)
    ]
