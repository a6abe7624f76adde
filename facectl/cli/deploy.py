"""`facectl deploy`: create or update all resources, and check that the functions answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facectl.cli import deploy_options as shared
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
    resource_choices: shared.ResourceChoices,
    model: shared.Model = None,
    package: Annotated[
        Literal["zip", "image"] | None,
        typer.Option(
            "--package",
            help="Code package; image on AWS; default zip on local.",
            rich_help_panel=shared.IMAGES,
        ),
    ] = None,
    architecture: shared.ImageArchitecture = None,
    builder: shared.ImageBuilder = None,
    base_image: shared.BaseImageName = None,
    rebuild: shared.Rebuild = False,
    package_index: shared.PackageIndex = None,
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
    from facectl.models import store

    options = dataclasses.replace(
        resource_choices.options(),
        packaging=package,
        architecture=architecture,
        base_image=base_image,
        package_index=package_index,
        adopt=adopt,
        builder=builder,
        rebuild=rebuild,
    )
    deployment = announced(resolve(overrides, new=True))
    with err.status("Reading what is deployed"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        plan = deployer.prepare(
            deployment, store.find(model), options, reset=reset, replace_others=replace
        )
    _tell_forward(deployment, plan, reset=reset)
    deploy_report.warn_preflight(plan)
    deploy_report.warn_public_url(plan)
    deploy_report.warn_key_change(plan)
    deploy_report.warn_template(plan)
    if dry_run:
        galleries.describe(plan.gallery, summary=False)
        deploy_report.show_plan(plan.steps, gallery=plan.gallery, json=json)
        return
    confirm_removals(plan, yes=yes)
    confirm_replacements(plan.steps, yes=yes)
    galleries.embed_for_deploy(plan, requested=model is not None, yes=yes)
    deployment, probed = apply_and_check(plan)
    deploy_report.show_deployment(deployment, plan, probed, json=json)


def _tell_forward(deployment: Deployment, plan: Plan, *, reset: bool) -> None:
    """Say what a deploy after a rollback deploys."""
    from facectl.deploy import options, rollback

    back = rollback.standing(deployment)
    if back is None or plan.model is None or not plan.steps:
        return
    kept = ""
    if options.rolled_back(deployment) is not None and not reset:
        kept = f", with the options of version {back.version} (--reset: the defaults)"
    note(
        f"Forward from {back.text}: to the code of this computer and model "
        f"{plan.model.path.name}, {plan.model.precision}{kept}"
    )


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
