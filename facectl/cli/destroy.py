"""`facectl destroy`: delete all resources of a deployment."""

from __future__ import annotations

import typer

from facectl import records
from facectl.cli.options import Json, Yes, announced, with_overrides
from facectl.console import err, print_json, say
from facectl.context import Overrides, resolve
from facectl.errors import NotRunningError


@with_overrides
def destroy(overrides: Overrides, yes: Yes = False, json: Json = False) -> None:
    """Delete all resources of a deployment, and nothing else.

    [bold]Examples[/bold]

    facectl destroy

    facectl destroy --asu-id 1225754101 --target aws --yes
    """
    from facectl.cli import deploy_report
    from facectl.deploy import deployer
    from facectl.local.settings import state_folder

    deployment = announced(resolve(overrides, new=True))
    try:
        with err.status("Reading what is deployed"):
            plan = deployer.prepare_removal(deployer.located(deployment, overrides.endpoint_url))
    except NotRunningError:
        # State kept by `facectl local down` would be restored by `facectl local up`.
        if deployment.target != "local" or state_folder().exists():
            raise
        records.forget(deployment.key)
        if json:
            print_json({"asu_id": deployment.asu_id, "steps": [], "deleted_before": []})
        else:
            say("The local cloud is not running and has no saved state: nothing to delete")
        return
    # SQS shows queues for up to a minute after an earlier destroy. Their steps wait for that.
    waits = [step for step in plan.steps if deployer.is_being_deleted(step)]
    steps = [step for step in plan.steps if step not in waits]
    if steps:
        deploy_report.warn_template(plan)
    if steps and deployment.target == "aws" and not yes:
        deploy_report.show_plan(steps)
        typer.confirm(f"Delete these resources in {deployment.region}?", abort=True, err=True)
    with deploy_report.progress(plan.steps) as progress:
        deployer.apply(plan, progress)
    records.forget(deployment.key)
    if json:
        print_json(
            {
                "asu_id": deployment.asu_id,
                "steps": [deploy_report.step_facts(step) for step in steps],
                "deleted_before": [step.resource.name for step in waits],
            }
        )
        return
    say(f"{len(steps)} resources removed" if steps else "Nothing to remove")
    if waits:
        say(f"SQS has finished deleting {len(waits)} queues of an earlier destroy")
