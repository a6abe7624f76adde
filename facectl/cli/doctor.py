"""`facectl doctor`: check what a deployment needs, one line per check."""

from __future__ import annotations

from dataclasses import asdict, replace

import typer

from facectl import records
from facectl.cli.options import Json, print_deployment, with_overrides
from facectl.console import err, out, print_json, say
from facectl.context import Deployment, Overrides, resolve
from facectl.errors import ExitCode

_MARKS = {"ok": "[green]ok[/green]", "warning": "[yellow]warning[/yellow]"}


@with_overrides
def doctor(overrides: Overrides, json: Json = False) -> None:
    """Check credentials, permissions, quotas, queues, and send a probe frame.

    The exit code is 1 if a check found a problem.

    [bold]Examples[/bold]

    facectl doctor

    facectl doctor --asu-id 1225754101 --target aws --json
    """
    from facectl.deploy import deployer
    from facectl.deploy.doctor import examine
    from facectl.deploy.preflight import CheckResult

    findings: list[CheckResult] = []
    deployment = _checked_deployment(overrides)
    print_deployment(deployment)
    with err.status("Checking"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        for finding in examine(deployment):
            findings.append(finding)
            if not json:
                mark = _MARKS.get(finding.verdict, f"[red]{finding.verdict}[/red]")
                out.print(f"{mark} {finding.check}:", end=" ")
                say(finding.text)
                if finding.next:
                    say(f"    next: {finding.next}")
    if json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(ExitCode.FOUND)


def _checked_deployment(overrides: Overrides) -> Deployment:
    """The deployment to check; a placeholder without an ASU ID if there is none yet."""
    if overrides.asu_id is None and not records.known():
        return resolve(replace(overrides, asu_id="none"))
    return resolve(overrides)
