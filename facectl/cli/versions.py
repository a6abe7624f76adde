"""`facectl versions` and `facectl rollback`: the recorded deploys, and going back to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from facectl.cli.deploy import apply_and_check, confirm_replacements
from facectl.cli.options import DryRun, Json, Yes, announced, with_overrides
from facectl.console import err, note, out, print_json, say
from facectl.context import Overrides, resolve

if TYPE_CHECKING:
    from facectl.deploy.versions import Damaged, Version


@with_overrides
def versions(overrides: Overrides, json: Json = False) -> None:
    """List the last ten deploys whose functions answered, the newest first.

    They are recorded in the deployment's bucket, so every computer lists the same.

    [bold]Example[/bold]

    facectl versions
    """
    from facectl.aws import Clients
    from facectl.deploy import deployer
    from facectl.deploy import versions as recorded

    deployment = announced(resolve(overrides))
    with err.status("Reading the recorded deploys"):
        found = recorded.read(Clients(deployer.located(deployment, overrides.endpoint_url)))
    if json:
        print_json([_facts(each, found) for each in found])
        return
    if not found:
        say("No deploy is recorded  Next: facectl deploy")
        return
    table = Table("Version", "Time (UTC)", "Model", "Code", "Changes", box=None)
    for each in found:
        table.add_row(str(each.number), *map(Text, _row(each, found)))
    out.print(table)


@with_overrides
def rollback(
    overrides: Overrides,
    version: Annotated[
        int | None,
        typer.Argument(
            min=1, help="A version's number; default: the newest that differs from the functions."
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Deploy the images, options and model of a recorded version again.

    Builds nothing. As after a deploy, both functions must answer. If the version's model has
    another embedding space, the gallery is embedded again for it.

    [bold]Examples[/bold]

    facectl rollback

    facectl rollback 3 --dry-run
    """
    from facectl.cli import deploy_report
    from facectl.cli.gallery import rebuild as galleries
    from facectl.deploy import deployer
    from facectl.deploy import rollback as rollbacks

    deployment = announced(resolve(overrides))
    with err.status("Reading what is deployed"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        planned = rollbacks.prepare(deployment, version)
    plan = planned.plan
    chosen = planned.version
    note(f"Back to version {chosen.number} of {_time(chosen)} UTC, model {_model(chosen)}")
    if planned.gallery is not None:
        note(planned.gallery)
    deploy_report.warn_preflight(plan)
    deploy_report.warn_public_url(plan)
    deploy_report.warn_key_change(plan)
    if dry_run:
        galleries.describe(plan.gallery, summary=False)
        deploy_report.show_plan(plan.steps, gallery=plan.gallery, json=json)
        return
    confirm_replacements(plan.steps, yes=yes)
    galleries.embed_for_deploy(plan, requested=True, yes=yes)
    deployment, probed = apply_and_check(plan)
    deploy_report.show_deployment(deployment, plan, probed, json=json)


def _facts(each: Version | Damaged, found: list[Version | Damaged]) -> dict[str, Any]:
    from facectl.deploy.versions import Damaged

    if isinstance(each, Damaged):
        return {"version": each.number, "problem": each.problem}
    return {**each.facts(), "changes": _changes(each, found)}


def _row(each: Version | Damaged, found: list[Version | Damaged]) -> tuple[str, ...]:
    from facectl.deploy.versions import Damaged

    if isinstance(each, Damaged):
        return "-", "-", "-", each.problem
    changes = ", ".join(_changes(each, found)) or "-"
    if each.rollback_to is not None:
        changes = f"back to version {each.rollback_to}: {changes}"
    return _time(each), _model(each), _code(each), changes


def _changes(each: Version, found: list[Version | Damaged]) -> list[str]:
    """How a version differs from the one before it; the first one from the defaults."""
    from facectl.deploy.versions import Damaged, changes

    older = [other for other in found if other.number < each.number]
    before = older[0] if older else None
    return changes(None if isinstance(before, Damaged) else before, each)


def _time(version: Version) -> str:
    return version.time[:16].replace("T", " ")


def _model(version: Version) -> str:
    return f"{version.content.model.name}, {version.content.model.precision}"


def _code(version: Version) -> str:
    """The digests of the images, shortened, or that of the zip."""
    content = version.content
    if content.packaging == "zip":
        return f"zip {next(iter(content.code.values()))[:12]}"
    parts = [
        f"{function.removeprefix('face-')} {(digest.partition(':')[2] or content.code[function])}"
        for function, digest in content.digests.items()
    ]
    return "\n".join(part[:26] for part in parts)
