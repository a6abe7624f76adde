"""`facectl deploy`: create or update all resources, and check that the functions answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facectl.cli.options import DryRun, Json, Replace, Yes, announced, with_overrides
from facectl.console import err, note
from facectl.context import Deployment, Overrides, resolve
from facectl.errors import CloudError

if TYPE_CHECKING:
    from facectl.deploy.deployer import Plan
    from facectl.deploy.probe import Probed
    from facectl.deploy.steps import Step


@with_overrides
def deploy(
    overrides: Overrides,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Name or embedding space of a model; default: the one built last."
        ),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option("--memory", min=512, max=10240, help="MB per function; default 3008."),
    ] = None,
    timeout: Annotated[
        int | None,
        typer.Option(
            "--timeout", min=1, max=900, help="Timeout per function in seconds; default 60."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=10,
            help="Messages per invocation of face-recognition; default 10.",
        ),
    ] = None,
    reserved_concurrency: Annotated[
        int | None,
        typer.Option(
            "--reserved-concurrency",
            min=1,
            help="Concurrency of face-detection; more frames are throttled (429).",
        ),
    ] = None,
    provisioned_concurrency: Annotated[
        int | None,
        typer.Option(
            "--provisioned-concurrency",
            min=1,
            help="Warm environments per function, billed while idle.",
        ),
    ] = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            "--max-concurrency",
            min=2,
            max=1000,
            help="Concurrency of face-recognition, in batches.",
        ),
    ] = None,
    pollers: Annotated[
        str | None,
        typer.Option(
            "--pollers",
            metavar="LEAST:MOST",
            help="Provisioned pollers of the trigger, each for 10 batches at once, "
            "instead of --max-concurrency.",
        ),
    ] = None,
    auth: Annotated[
        Literal["iam", "none"] | None,
        typer.Option(
            "--auth", help="Authentication of the URL; default iam on AWS, none on local."
        ),
    ] = None,
    role_arn: Annotated[
        str | None,
        typer.Option(
            "--role-arn", help="Existing role for both functions, instead of creating roles."
        ),
    ] = None,
    boundary: Annotated[
        str | None,
        typer.Option(
            "--boundary", metavar="ARN", help="Permissions boundary of the roles that it creates."
        ),
    ] = None,
    package: Annotated[
        Literal["zip", "image"] | None,
        typer.Option("--package", help="Code package; image on AWS; default zip on local."),
    ] = None,
    architecture: Annotated[
        Literal["x86_64", "arm64"] | None,
        typer.Option("--architecture", help="Processor of the functions; default x86_64."),
    ] = None,
    image_uri: Annotated[
        list[str] | None,
        typer.Option(
            "--image-uri", help="Existing image, FUNCTION=URI, once per function; builds none."
        ),
    ] = None,
    builder: Annotated[
        Literal["direct", "docker"] | None,
        typer.Option(
            "--builder",
            envvar="FACECTL_BUILDER",
            help="Builds the images; default direct, which needs no Docker engine.",
        ),
    ] = None,
    base_image: Annotated[
        str | None,
        typer.Option(
            "--base-image",
            envvar="FACECTL_BASE_IMAGE",
            help="Base image of the build: of a registry, an OCI layout, or an archive of "
            "`docker save`.",
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Build on the newest version of the base image."),
    ] = False,
    package_index: Annotated[
        str | None,
        typer.Option(
            "--package-index", envvar="FACECTL_PACKAGE_INDEX", help="Package index URL for pip."
        ),
    ] = None,
    names: Annotated[
        bool | None,
        typer.Option("--names/--no-names", help="Log recognized names; default --names."),
    ] = None,
    alarms: Annotated[
        str | None,
        typer.Option(
            "--alarms",
            metavar="EMAIL",
            help="Mail alarms to EMAIL, with a dashboard, and a budget for --auth none (AWS); "
            "off removes them.",
        ),
    ] = None,
    min_face_size: Annotated[
        int | None,
        typer.Option(
            "--min-face-size",
            min=12,
            max=1000,
            help="Smallest face that is looked for, in pixels; default 20. Larger is faster.",
        ),
    ] = None,
    kms_key: Annotated[
        str | None,
        typer.Option(
            "--kms-key",
            metavar="ARN",
            help="Encrypt queues, bucket and logs with this KMS key (AWS); off removes it.",
        ),
    ] = None,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Take over existing resources that facectl did not create."),
    ] = False,
    replace: Replace = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Reset options of earlier deploys to their defaults.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Create or update the functions, queues, URL and trigger, and check that they answer.

    A second run changes only what differs. Options that are not given keep the value of the
    last deploy; --reset restores the defaults. An account and region hold one deployment:
    a demo is removed first, any other deployment only with --replace.

    [bold]Examples[/bold]

    facectl deploy --asu-id 1225754101 --target local

    facectl deploy --asu-id 1225754101 --target aws --dry-run

    facectl deploy --auth none --max-concurrency 2
    """
    from facectl.cli import deploy_report
    from facectl.cli.gallery import rebuild as galleries
    from facectl.deploy import deployer
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
        boundary=boundary,
        packaging=package,
        architecture=architecture,
        base_image=base_image,
        package_index=package_index,
        image_uris=tuple(image_uri or ()),
        adopt=adopt,
        log_names=names,
        builder=builder,
        rebuild=rebuild,
        alarms=alarms,
        kms_key=kms_key,
        min_face_size=min_face_size,
    )
    deployment = announced(resolve(overrides, new=True))
    with err.status("Reading what is deployed"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        plan = deployer.prepare(
            deployment, store.find(model), options, reset=reset, replace_others=replace
        )
    deploy_report.warn_preflight(plan)
    deploy_report.warn_public_url(plan)
    if dry_run:
        galleries.describe(plan.gallery, summary=False)
        deploy_report.show_plan(plan.steps, gallery=plan.gallery, json=json)
        return
    confirm_removals(plan, yes=yes)
    confirm_replacements(plan.steps, yes=yes)
    galleries.embed_for_deploy(plan, requested=model is not None, yes=yes)
    deployment, probed = apply_and_check(plan)
    deploy_report.show_deployment(deployment, plan, probed, json=json)


def apply_and_check(plan: Plan) -> tuple[Deployment, Probed]:
    """Apply a plan, wait until both functions answer, and record the deploy.

    The hint of a failure names the command that goes back to the last recorded deploy.
    """
    from facectl.cli import deploy_report
    from facectl.deploy import deployer, versions

    try:
        with deploy_report.progress(plan.steps) as progress:
            deployer.apply(plan, progress)
        with err.status("Waiting for both functions to answer"):
            deployment = deployer.finish(plan)
            probed = deployer.check(plan, deployment)
    except CloudError as error:
        last, restored = versions.last(plan.clients), plan.options.restored
        if last is not None and (restored is None or restored.version != last.number):
            back = f"facectl rollback {last.number}"
            error.hint = f"{error.hint}   or   {back}" if error.hint else back
        raise
    deployer.record(plan)
    return deployment, probed


def confirm_removals(plan: Plan, *, yes: bool) -> None:
    """Print which deployment is removed first; ask for confirmation unless it is a demo."""
    for removal in plan.removals:
        other, count = removal.clients.deployment, len(removal.steps)
        if other.demo:
            note(f"The demo {other.key} is removed first: {count} resources")
        elif not yes:
            question = f"This destroys {other.key} first, {count} resources. Continue?"
            typer.confirm(question, abort=True, err=True)


def confirm_replacements(steps: Sequence[Step], *, yes: bool) -> None:
    """Ask for confirmation before a function or its URL is deleted and created again."""
    from facectl.deploy.resources import Function, FunctionUrl
    from facectl.deploy.steps import Replace

    replaced = [
        f"{step.resource.kind} {step.resource.name}"
        for step in steps
        if isinstance(step, Replace)
        and isinstance(step.resource, (Function, FunctionUrl))
        # A function that Lambda could not create has never had a URL.
        and not (isinstance(step.actual, Function) and step.actual.failed)
    ]
    if replaced and not yes:
        question = (
            f"{', '.join(replaced)} must be deleted and created again: the URL changes. Continue?"
        )
        typer.confirm(question, abort=True, err=True)
