"""`facectl deploy`: create or update everything, and wait until it answers."""

from __future__ import annotations

from typing import Annotated

import typer

from facectl.cli.options import Json, with_overrides
from facectl.console import err, print_json
from facectl.context import Overrides, resolve

ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Installed model, by name or space; else the one built last."),
]
Memory = Annotated[int, typer.Option("--memory", min=512, max=10240, help="MB per function.")]
Timeout = Annotated[
    int, typer.Option("--timeout", min=1, max=900, help="Seconds that a function may take.")
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, max=10, help="Faces' messages taken at once.")
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
Adopt = Annotated[
    bool, typer.Option("--adopt", help="Take over resources that facectl did not make.")
]
NoNames = Annotated[
    bool, typer.Option("--no-names", help="Keep the names of those seen out of the logs.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the steps and change nothing.")]


@with_overrides
def deploy(
    overrides: Overrides,
    model: ModelName = None,
    memory: Memory = 3008,
    timeout: Timeout = 60,
    batch_size: BatchSize = 10,
    reserved_concurrency: Reserved = None,
    max_concurrency: MaxConcurrency = None,
    adopt: Adopt = False,
    no_names: NoNames = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Create or update the functions, queues, URL and trigger, and wait until they answer.

    Run again, it changes what differs, and nothing where nothing does.

    [bold]Examples[/bold]

    facectl deploy --asu-id 1225754101 --target local

    facectl deploy --memory 4096 --dry-run
    """
    from facectl.deploy import deployer, report
    from facectl.deploy.models import Sizing
    from facectl.models import store

    sizing = Sizing(
        memory=memory,
        timeout=timeout,
        batch_size=batch_size,
        reserved_concurrency=reserved_concurrency,
        max_concurrency=max_concurrency,
    )
    with err.status("Reading what is deployed"):
        deployment = deployer.located(resolve(overrides), overrides.endpoint_url)
        work = deployer.draft(
            deployment, store.find(model), sizing, adopt=adopt, log_names=not no_names
        )
    if dry_run:
        if json:
            print_json([report.step_facts(step) for step in work.steps])
        else:
            report.show_plan(work.steps)
        return
    with report.progress(work.steps) as watch:
        deployer.perform(work, watch)
    with err.status("Waiting until both functions answer"):
        deployment = deployer.finish(work)
        probed = deployer.check(work, deployment)
    if json:
        print_json(report.deployment_facts(deployment, work.steps, probed))
    else:
        report.show_deployment(deployment, work.steps, probed)
