"""`facectl doctor`: what could be in the way, one line a check."""

from __future__ import annotations

from dataclasses import asdict, replace

import typer

from facectl import records
from facectl.cli.options import Json, say_where, with_overrides
from facectl.console import err, out, print_json
from facectl.context import Deployment, Overrides, resolve
from facectl.errors import ExitCode

_MARKS = {"ok": "[green]ok[/green]", "warning": "[yellow]warning[/yellow]"}


@with_overrides
def doctor(overrides: Overrides, json: Json = False) -> None:
    """Check credentials, permissions, Docker, quotas, queues, and send a probe frame.

    The exit code is 1 where a check found a problem.

    [bold]Examples[/bold]

    facectl doctor

    facectl doctor --asu-id 1225754101 --target aws --json
    """
    from facectl.deploy import deployer
    from facectl.deploy.doctor import CheckResult, examine

    findings: list[CheckResult] = []
    deployment = _meant(overrides)
    say_where(deployment)
    with err.status("Looking"):
        deployment = deployer.located(deployment, overrides.endpoint_url)
        for finding in examine(deployment):
            findings.append(finding)
            if not json:
                mark = _MARKS.get(finding.verdict, f"[red]{finding.verdict}[/red]")
                out.print(f"{mark} {finding.check}:", end=" ")
                out.print(finding.text, markup=False, soft_wrap=True)
                if finding.next:
                    out.print(f"    next: {finding.next}", markup=False, soft_wrap=True)
    if json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(ExitCode.FOUND)


def _meant(overrides: Overrides) -> Deployment:
    """The deployment, or one that might be: what it needs can be checked before there is one."""
    if overrides.asu_id is None and not records.known():
        return resolve(replace(overrides, asu_id="none"))
    return resolve(overrides)
