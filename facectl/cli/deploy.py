"""`facectl deploy`: create or update everything, and wait until it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facectl.cli.options import Json, Replace, Yes, announced, with_overrides
from facectl.console import err
from facectl.context import Overrides, resolve

if TYPE_CHECKING:
    from facectl.deploy.deployer import Plan
    from facectl.deploy.models import Step

ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Installed model, by name or space; else the one built last."),
]
Memory = Annotated[
    int | None,
    typer.Option("--memory", min=512, max=10240, help="MB per function, 3008 at first."),
]
Timeout = Annotated[
    int | None,
    typer.Option("--timeout", min=1, max=900, help="Seconds per function, 60 at first."),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, max=10, help="Messages recognised at once, 10 at first."),
]
Reserved = Annotated[
    int | None,
    typer.Option(
        "--reserved-concurrency", min=1, help="Frames looked at at once; more are answered 429."
    ),
]
MaxConcurrency = Annotated[
    int | None,
    typer.Option("--max-concurrency", min=2, max=1000, help="Batches recognised at once."),
]
Provisioned = Annotated[
    int | None,
    typer.Option(
        "--provisioned-concurrency",
        min=1,
        help="Environments of each function that are kept warm, and paid for while they idle.",
    ),
]
Pollers = Annotated[
    str | None,
    typer.Option(
        "--pollers",
        metavar="LEAST:MOST",
        help="Pollers of the trigger that are paid for, instead of --max-concurrency.",
    ),
]
Adopt = Annotated[
    bool, typer.Option("--adopt", help="Take over resources that facectl did not make.")
]
AuthOption = Annotated[
    Literal["iam", "none"] | None,
    typer.Option("--auth", help="Who may call the URL: signed requests (AWS), or anyone (local)."),
]
RoleArn = Annotated[
    str | None,
    typer.Option("--role-arn", help="A role for both functions, where none can be made."),
]
PackageOption = Annotated[
    Literal["zip", "image"] | None,
    typer.Option("--package", help="Images (AWS), or zips of the code (local)."),
]
ArchitectureOption = Annotated[
    Literal["x86_64", "arm64"] | None,
    typer.Option("--architecture", help="Of the functions, x86_64 at first."),
]
ImageUri = Annotated[
    list[str] | None,
    typer.Option("--image-uri", help="FUNCTION=URI of an image to use; twice. Builds nothing."),
]
BaseImage = Annotated[
    str | None,
    typer.Option("--base-image", envvar="FACECTL_BASE_IMAGE", help="Python image to build on."),
]
PackageIndex = Annotated[
    str | None,
    typer.Option("--package-index", envvar="FACECTL_PACKAGE_INDEX", help="Where pip looks."),
]
LogNames = Annotated[
    bool | None,
    typer.Option("--names/--no-names", help="Whether logs may say who was seen; at first yes."),
]
Reset = Annotated[bool, typer.Option("--reset", help="Forget the options of earlier runs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the steps and change nothing.")]


@with_overrides
def deploy(
    overrides: Overrides,
    model: ModelName = None,
    memory: Memory = None,
    timeout: Timeout = None,
    batch_size: BatchSize = None,
    reserved_concurrency: Reserved = None,
    provisioned_concurrency: Provisioned = None,
    max_concurrency: MaxConcurrency = None,
    pollers: Pollers = None,
    auth: AuthOption = None,
    role_arn: RoleArn = None,
    package: PackageOption = None,
    architecture: ArchitectureOption = None,
    image_uri: ImageUri = None,
    base_image: BaseImage = None,
    package_index: PackageIndex = None,
    names: LogNames = None,
    adopt: Adopt = False,
    replace: Replace = False,
    reset: Reset = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Create or update the functions, queues, URL and trigger, and wait until they answer.

    Run again, it changes what differs, and nothing where nothing does. Options that are not
    said stay as they were said last; --reset forgets them. An account and region hold one
    deployment: that of a demo is removed first, any other one only with --replace.

    [bold]Examples[/bold]

    facectl deploy --asu-id 1225754101 --target local

    facectl deploy --asu-id 1225754101 --target aws --dry-run

    facectl deploy --auth none --reserved-concurrency 5
    """
    from facectl.cli.gallery import rebuild
    from facectl.deploy import deployer, report
    from facectl.deploy.options import Options, parse_pollers
    from facectl.models import store

    options = Options(
        memory=memory,
        timeout=timeout,
        batch_size=batch_size,
        reserved_concurrency=reserved_concurrency,
        provisioned_concurrency=provisioned_concurrency,
        max_concurrency=max_concurrency,
        pollers=None if pollers is None else parse_pollers(pollers),
        auth=auth,
        role_arn=role_arn,
        packaging=package,
        architecture=architecture,
        base_image=base_image,
        package_index=package_index,
        image_uris=tuple(image_uri or ()),
        adopt=adopt,
        log_names=names,
    )
    deployment = announced(resolve(overrides, new=True))
    with err.status("Reading what is deployed"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        work = deployer.prepare(
            deployment, store.find(model), options, reset=reset, replace_others=replace
        )
    report.warn(work)
    if dry_run:
        rebuild.tell(work.gallery, line=False)
        report.show_plan(work.steps, gallery=work.gallery, json=json)
        return
    confirm_removals(work, yes=yes)
    confirm_replacements(work.steps, yes=yes)
    rebuild.embed_for_deploy(work, asked=model is not None, yes=yes)
    with report.progress(work.steps) as progress:
        deployer.apply(work, progress)
    with err.status("Waiting until both functions answer"):
        deployment = deployer.finish(work)
        probed = deployer.check(work, deployment)
    report.show_deployment(deployment, work, probed, json=json)


def confirm_removals(work: Plan, *, yes: bool) -> None:
    """Say which deployment is removed first; ask, unless it is a demo's."""
    for removal in work.removals:
        other, count = removal.clients.deployment, len(removal.steps)
        if other.demo:
            err.print(f"The demo {other.key} is removed first: {count} resources", soft_wrap=True)
        elif not yes:
            question = f"This destroys {other.key} first, {count} resources. Go on?"
            typer.confirm(question, abort=True, err=True)


def confirm_replacements(steps: Sequence[Step], *, yes: bool) -> None:
    """Ask before a function, or its URL, is deleted and made anew."""
    from facectl.deploy.models import Function, FunctionUrl, Replace

    replaced = [
        f"{step.resource.kind} {step.resource.name}"
        for step in steps
        if isinstance(step, Replace) and isinstance(step.resource, (Function, FunctionUrl))
    ]
    if replaced and not yes:
        question = f"{', '.join(replaced)} must be deleted and made anew: the URL changes. Go on?"
        typer.confirm(question, abort=True, err=True)
