"""`facectl destroy`: remove everything that deploy made."""

from __future__ import annotations

import typer

from facectl import records
from facectl.cli.options import Json, Yes, announced, with_overrides
from facectl.console import err, out, print_json
from facectl.context import Overrides, resolve
from facectl.errors import NotRunningError


@with_overrides
def destroy(overrides: Overrides, yes: Yes = False, json: Json = False) -> None:
    """Remove everything that deploy made for an ASU ID in one place, and nothing else.

    [bold]Examples[/bold]

    facectl destroy

    facectl destroy --asu-id 1225754101 --target aws --yes
    """
    from facectl.deploy import deployer, report
    from facectl.local.settings import state_folder

    deployment = announced(resolve(overrides, new=True))
    try:
        with err.status("Reading what is deployed"):
            work = deployer.prepare_removal(deployer.located(deployment, overrides.endpoint_url))
    except NotRunningError:
        # What `facectl local down` kept would be there again after `up`.
        if deployment.target != "local" or state_folder().exists():
            raise
        records.forget(deployment.key)
        if json:
            print_json({"asu_id": deployment.asu_id, "steps": []})
        else:
            out.print("The local cloud is not running, so nothing of it is left")
        return
    if work.steps and deployment.target == "aws" and not yes:
        report.show_plan(work.steps)
        typer.confirm(f"Delete all this in {deployment.region}?", abort=True, err=True)
    with report.progress(work.steps) as progress:
        deployer.apply(work, progress)
    records.forget(deployment.key)
    if json:
        print_json(
            {
                "asu_id": deployment.asu_id,
                "steps": [report.step_facts(step) for step in work.steps],
            }
        )
    else:
        out.print(f"{len(work.steps)} resources removed" if work.steps else "Nothing was there")
