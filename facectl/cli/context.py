"""`facectl context list | use | show | add`: the deployment that commands act on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from facectl import records
from facectl.cli import deploy_options as shared
from facectl.cli.options import Json, announced, with_deployment, with_overrides
from facectl.console import note, out, print_fields, print_json
from facectl.context import Deployment, Key, Overrides, resolve
from facectl.errors import ExitCode, InputError

app = typer.Typer(invoke_without_command=True)


@app.callback()
@with_overrides
def context(overrides: Overrides, command: typer.Context, json: Json = False) -> None:
    """Show or choose the deployment that commands act on.

    Order: flags (--asu-id, --target, --region, --account), then variables (FACECTL_ASU_ID, ...),
    then the current deployment, which the last `deploy` or `context use` set.
    [bold]facectl context[/bold] is [bold]facectl context show[/bold].

    [bold]Examples[/bold]

    facectl context

    facectl context list

    facectl context use 1225754101 --target aws
    """
    if command.invoked_subcommand is None:
        _show(resolve(overrides), json=json)


@app.command()
@with_deployment
def show(deployment: Deployment, json: Json = False) -> None:
    """Show the deployment that commands act on.

    [bold]Examples[/bold]

    facectl context show

    facectl context show --asu-id 1225754101 --target aws --json
    """
    _show(deployment, json=json)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the deployments that are remembered on this computer; * marks the current one.

    [bold]Examples[/bold]

    facectl context list

    facectl context list --json
    """
    read = records.read_all()
    found = [each for each in read if isinstance(each, Deployment)]
    problems = [each for each in read if isinstance(each, InputError)]
    # A damaged current record is one of the problems.
    current = None
    with suppress(InputError):
        current = records.current()
    if json:
        print_json([_facts(each, current) for each in found])
    else:
        table = Table("", "ASU ID", "target", "region", "account", "profile", "", box=None)
        for each in found:
            mark = "*" if each.key == current else ""
            account, demo = each.key.account or "-", "demo" if each.demo else ""
            profile = escape(each.profile or "-")
            table.add_row(mark, each.asu_id, each.target, each.region, account, profile, demo)
        out.print(table)
    for problem in problems:
        note(f"{problem}\n  Next: {problem.hint}", style="red")
    if problems:
        raise typer.Exit(ExitCode.INPUT)


@app.command()
@with_overrides
def use(
    overrides: Overrides,
    name: Annotated[
        str | None, typer.Argument(metavar="ASU_ID", help="ASU ID, instead of --asu-id.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a remembered deployment the current one.

    [bold]Examples[/bold]

    facectl context use 1225754101

    facectl context use 1225754101 --target aws --region eu-west-1
    """
    if name is not None:
        overrides = replace(overrides, asu_id=name)
    deployment = resolve(overrides)
    key = records.find(deployment.key)
    if key is None:
        raise InputError(
            f"No deployment {deployment.key} is remembered on this computer",
            hint="facectl context list",
        )
    records.use(key)
    _show(records.read(key), json=json)


@app.command()
@with_overrides
def add(
    overrides: Overrides,
    model: shared.Model = None,
    json: Json = False,
) -> None:
    """Remember a deployment that a template, or facectl on another computer, made.

    Reads its options and its URL from AWS, for `status`, `send` and the other commands, and makes
    it the current one. Run it again after a change of the template.

    [bold]Example[/bold]

    facectl context add --asu-id 1225754101 --target aws --region us-east-1
    """
    from facectl.deploy import attach, deployer
    from facectl.deploy.options import remember_found
    from facectl.models import store

    deployment = announced(resolve(overrides, new=True))
    deployment = deployer.located(deployment, overrides.endpoint_url)
    known = None if model is None and not store.installed() else store.find(model)
    deployment, options = attach.find(deployment, known)
    remember_found(deployment, options)
    _show(deployment, json=json)


def _show(deployment: Deployment, *, json: bool) -> None:
    facts = _facts(deployment, records.current())
    if json:
        print_json(facts)
        return
    print_fields(facts.items())


def _facts(deployment: Deployment, current: Key | None) -> dict[str, object]:
    return {
        **asdict(deployment),
        "account": deployment.key.account,
        "current": deployment.key == current,
    }
