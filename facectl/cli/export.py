"""`facectl export` and `facectl push`: a deployment as a template, and its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from facectl.cli import deploy_options as shared
from facectl.cli.options import Json, announced, with_overrides
from facectl.console import err, note, print_json, say, warn
from facectl.context import Deployment, Overrides, resolve
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.deploy.options import Options

Format = Literal["cloudformation", "terraform"]


@with_overrides
def export(
    overrides: Overrides,
    form: Annotated[Format, typer.Argument(metavar="FORMAT", help="cloudformation or terraform.")],
    resource_choices: shared.ResourceChoices,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write instead of stdout; of Terraform: *.tf.json."),
    ] = None,
    architecture: shared.ImageArchitecture = None,
) -> None:
    """Print what `facectl deploy` makes on AWS as a CloudFormation or Terraform template.

    For those who may not run deploy tools. Calls nothing; the template is for any account and
    region. Options of earlier deploys have no effect. Without --image-uri, the images come with
    `facectl push` into the repositories of the template. docs/DEPLOYMENT.md has all steps.

    [bold]Examples[/bold]

    facectl export cloudformation --asu-id 1225754101 --out facectl.json

    facectl export terraform --asu-id 1225754101 --alarms you@example.com --out main.tf.json
    """
    from facectl.deploy.options import Options

    options = replace(resource_choices.options(), architecture=architecture)
    options = options.over(Options())
    deployment = _on_aws(overrides)
    document = _document(form, deployment, options)
    if options.auth == "none" and options.reserved_concurrency is None:
        warn(
            "Anyone who learns the URL can call it and spend your money: only the account's "
            "concurrency limit bounds it. --reserved-concurrency bounds it further."
        )
    if out is None:
        print_json(document)
        return
    _write(form, out, document)
    _tell_next(form, out, deployment, given=bool(options.image_uris))


def _on_aws(overrides: Overrides) -> Deployment:
    if overrides.target == "local":
        raise InputError(
            "Templates and pushed images are for AWS, not for the local cloud",
            hint="--target aws   or   facectl deploy --target local",
        )
    return resolve(replace(overrides, target="aws"), new=True)


def _document(form: Format, deployment: Deployment, options: Options) -> dict[str, Any]:
    from facectl.deploy.access import check_warm
    from facectl.export import cloudformation, terraform
    from facectl.export.state import desired_state, given_images

    check_warm(options)
    images = given_images(options)
    if form == "cloudformation":
        state = desired_state(deployment, options, cloudformation.DIALECT)
        return cloudformation.template(state, images)
    return terraform.configuration(desired_state(deployment, options, terraform.DIALECT), images)


def _write(form: Format, out: Path, document: dict[str, Any]) -> None:
    import json

    from facectl.export.terraform import SUFFIX
    from facectl.paths import write_text

    if form == "terraform" and not out.name.endswith(SUFFIX):
        raise InputError(
            f"Terraform reads JSON from files named *{SUFFIX} only, not {out.name}",
            hint=f"--out {out.name.partition('.')[0] or 'main'}{SUFFIX}",
        )
    text = json.dumps(document, indent=2) + "\n"
    write_text(out, text, mode=0o644, hint=f"facectl export {form}   prints it on stdout")


def _tell_next(form: Format, out: Path, deployment: Deployment, *, given: bool) -> None:
    """Print the commands that make the deployment, on stderr."""
    from facectl.export import changes

    if form == "cloudformation":
        stack, file = changes.stack_name(deployment), str(out)
        push = [
            changes.update_stack(deployment, stack, file),
            changes.update_images(deployment, stack, file),
        ]
    else:
        targets = " ".join(f"-target=aws_ecr_repository.{n}" for n in ("detection", "recognition"))
        push = [
            f"terraform apply {targets}",
            changes.push_variables(deployment),
            "terraform apply",
        ]
    commands = push[:1] if given and form == "cloudformation" else push[-1:] if given else push
    initialise = ["terraform init"] if form == "terraform" else []
    note("Next:")
    for command in [*initialise, *commands, f"facectl context add {deployment.key.flags}"]:
        note(f"  {command}")


@with_overrides
def push(
    overrides: Overrides,
    model: shared.Model = None,
    architecture: shared.ImageArchitecture = None,
    builder: shared.ImageBuilder = None,
    base_image: shared.BaseImageName = None,
    rebuild: shared.Rebuild = False,
    package_index: shared.PackageIndex = None,
    json: Json = False,
) -> None:
    """Build the images of both functions and push them to ECR, without deploying them.

    Prints their URIs as parameters of `facectl export cloudformation`; --json prints them as
    variables of `facectl export terraform`. The repositories must exist: a stack without images
    has them. An image that ECR has is neither built nor sent.

    [bold]Examples[/bold]

    facectl push --asu-id 1225754101 --target aws

    facectl push --json > images.auto.tfvars.json
    """
    from facectl.cli import deploy_report
    from facectl.deploy import push as pushing
    from facectl.deploy.options import Options
    from facectl.export import cloudformation, terraform
    from facectl.models import store

    deployment = announced(_on_aws(overrides))
    options = Options(
        architecture=architecture,
        base_image=base_image,
        package_index=package_index,
        builder=builder,
        rebuild=rebuild,
    )
    with err.status("Reading the repositories"):
        found = pushing.prepare(deployment, store.find(model), options)
    with deploy_report.progress(found.steps) as progress:
        pushing.apply(found, progress)
    if json:
        print_json({terraform.IMAGES[name]: uri for name, uri in found.uris.items()})
        return
    for name, uri in found.uris.items():
        say(f"{cloudformation.IMAGES[name]}={uri}")
