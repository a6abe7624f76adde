"""Steps and deployments as a reader sees them: on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from facectl.console import err, out
from facectl.context import Deployment
from facectl.deploy.deployer import Watcher
from facectl.deploy.models import Step, changes
from facectl.deploy.probe import Probed

_SHORT = 60


def step_line(step: Step) -> str:
    """One step in words, with its differences: `update queue x (visibility timeout 30 → 360)`."""
    told = ", ".join(f"{c.attribute} {_short(c.before)} → {_short(c.after)}" for c in changes(step))
    return f"{step.verb} {step.resource.kind} {step.resource.name}" + (f" ({told})" if told else "")


def step_facts(step: Step) -> dict[str, Any]:
    """One step for machines."""
    return {
        "action": step.verb,
        "kind": step.resource.kind,
        "name": step.resource.name,
        "changes": [
            {"attribute": c.attribute, "before": c.before, "after": c.after} for c in changes(step)
        ],
    }


def show_plan(steps: Sequence[Step]) -> None:
    """The steps that a run would take."""
    for step in steps:
        out.print(f"  {step_line(step)}", markup=False, soft_wrap=True)
    out.print(f"{len(steps)} steps" if steps else "Nothing to change")


@contextmanager
def progress(steps: Sequence[Step]) -> Iterator[Watcher]:
    """A bar on stderr over the steps, each of which stays as a line when it is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=len(steps), visible=bool(steps))

        def watch(step: Step, done: bool) -> None:
            if done:
                bar.advance(task)
                bar.console.print(f"  {step_line(step)}", markup=False, soft_wrap=True)
            else:
                what = f"{step.verb} {step.resource.kind} {step.resource.name}"
                bar.update(task, description=what)

        yield watch


def deployment_facts(
    deployment: Deployment, steps: Sequence[Step], probed: Probed
) -> dict[str, Any]:
    """What was deployed, for machines."""
    names = deployment.names
    return {
        "asu_id": deployment.asu_id,
        "target": deployment.target,
        "region": deployment.region,
        "function_url": deployment.function_url,
        "queues": {
            "request": names.request_queue,
            "response": names.response_queue,
            "dead_letter": names.dead_letter_queue,
        },
        "space": deployment.space,
        "synthetic": deployment.synthetic,
        "changed": bool(steps),
        "steps": [step_facts(step) for step in steps],
        "probe_s": {
            "detection": round(probed.detection, 3),
            "recognition": round(probed.recognition, 3),
        },
    }


def show_deployment(deployment: Deployment, steps: Sequence[Step], probed: Probed) -> None:
    """What was deployed, for people."""
    names = deployment.names
    done = f"{len(steps)} steps done" if steps else "Nothing to change: all is as it should be"
    out.print(done)
    out.print(f"URL             {deployment.function_url}", soft_wrap=True)
    out.print(f"request queue   {names.request_queue} (dead letters: {names.dead_letter_queue})")
    out.print(f"response queue  {names.response_queue}")
    out.print(
        f"both functions answer: face-detection after {probed.detection:.1f} s, "
        f"face-recognition after {probed.recognition:.1f} s",
        soft_wrap=True,
    )
    if deployment.synthetic:
        out.print(
            "The model's weights are synthetic: it was never trained, and its names mean nothing",
            soft_wrap=True,
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
