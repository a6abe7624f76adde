"""`facectl status`: drift of every resource, queue counts, last errors."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from facectl.cli.options import Json, announced, with_overrides
from facectl.console import err, out, print_json, say
from facectl.context import Overrides, resolve
from facectl.errors import ExitCode

if TYPE_CHECKING:
    from facectl.context import Deployment
    from facectl.deploy.rollback import RolledBack
    from facectl.deploy.status import ResourceStatus, Status
    from facectl.export.changes import Advice

_COLOURS = {"ok": "green", "missing": "red", "differs": "yellow"}


@with_overrides
def status(overrides: Overrides, json: Json = False) -> None:
    """Show every resource of the deployment, and its drift from the last deploy or rollback.

    The exit code is 1 if a resource differs. `facectl deploy` repairs it; for a deployment that a
    template of `facectl export` made, it prints what to run instead.

    [bold]Examples[/bold]

    facectl status

    facectl status --json
    """
    from facectl.aws import Clients
    from facectl.deploy import deployer, options, rollback
    from facectl.deploy.status import inspect
    from facectl.models import store

    # `announced` checks the account: in another one every resource would be missing.
    deployment = announced(resolve(overrides))
    with err.status("Reading the deployment"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        back = rollback.standing(deployment)
        if back is None:
            chosen, model = options.recall(deployment), store.deployed(deployment)
        else:
            chosen, model = rollback.expected(deployment, back)
        found = inspect(Clients(deployment), model, chosen)
    advice = _advice(found, deployment, back)
    if json:
        facts = {"name": model.path.name, "precision": model.precision, "space": model.space}
        told = [asdict(each) for each in advice]
        print_json(
            {
                "asu_id": deployment.asu_id,
                "model": facts,
                "rolled_back": back and {"version": back.version, "from": back.before},
                **found.as_dict(),
                "advice": told,
            }
        )
    else:
        say(f"Model {model.path.name}, {model.precision}")
        if back is not None:
            say(back.text.capitalize())
        _show(found)
        _show_advice(found, advice)
    if found.drift:
        raise typer.Exit(ExitCode.FOUND)


def _show(found: Status) -> None:
    table = Table("kind", "name", "state", "detail")
    for each in found.resources:
        colour = _COLOURS.get(each.state, "red")
        table.add_row(each.kind, each.name, f"[{colour}]{each.state}[/{colour}]", _detail(each))
    out.print(table)
    for queue in found.replies:
        ended = ", of a client that was killed: facectl purge" if queue.expired(time.time()) else ""
        say(f"Reply queue {queue.name}: {queue.messages} messages{ended}")
    for error in found.errors:
        say(f"Last error of {error.function}, {error.time:%Y-%m-%d %H:%M:%S} UTC: {error.message}")


def _advice(found: Status, deployment: Deployment, back: RolledBack | None) -> list[Advice]:
    """What to run against the drift; empty without drift."""
    from facectl.export import changes

    if found.template is not None:
        return changes.advice(found.template, deployment, found)
    if not found.drift:
        return []
    if back is None:
        return [changes.Advice("Drift found", ("facectl deploy",))]
    number = back.record.number
    return [
        changes.Advice("Drift found", (f"facectl rollback {number}",)),
        changes.Advice("Or, with the code and model of this computer", ("facectl deploy",)),
    ]


def _show_advice(found: Status, advice: list[Advice]) -> None:
    from facectl.export import changes

    if not found.drift:
        say("No drift")
    elif found.template is None:
        say("\n".join(f"{each.when}: {each.commands[0]}" for each in advice))
    else:
        made = changes.owner(found.template)
        say(f"Drift found. {made} made this deployment: change it there, not by facectl deploy")
        for each in advice:
            say(f"{each.when}:")
            for command in each.commands:
                say(f"  {command}")


def _detail(each: ResourceStatus) -> str:
    from facectl.deploy.status import short_digest

    facts: dict[str, Any] = dict(each.facts)
    if digest := facts.get("digest"):
        facts["digest"] = short_digest(digest)
    details = [f"{c.attribute} {c.before[:40]} → {c.after[:40]}" for c in each.changes]
    details += [
        f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None
    ]
    return ", ".join(details)
