"""Steps and deployments as a reader sees them: on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from facectl.console import err, out, print_json
from facectl.context import Deployment
from facectl.deploy import deployer
from facectl.deploy.deployer import Plan
from facectl.deploy.models import Step, changes
from facectl.deploy.probe import Probed
from facectl.gallery.rebuild import Rebuild

_SHORT = 60
# Dollars, x86, us-east-1, by AWS's price page.
_GB_SECOND = 0.0000166667
_WARM_GB_SECOND = 0.0000041667


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


def show_plan(steps: Sequence[Step], *, gallery: Rebuild | None = None, json: bool = False) -> None:
    """The steps that a run would take, the gallery's before them."""
    if json:
        print_json(plan_facts(steps, gallery))
        return
    for line in ([gallery.line] if gallery else []) + [step_line(step) for step in steps]:
        out.print(f"  {line}", markup=False, soft_wrap=True)
    count = len(steps) + (gallery is not None)
    out.print(f"{count} steps" if count else "Nothing to change")


def plan_facts(steps: Sequence[Step], gallery: Rebuild | None) -> list[dict[str, Any]]:
    """The steps of a run for machines, the gallery's before them."""
    return ([gallery.facts()] if gallery else []) + [step_facts(step) for step in steps]


class StepProgress(deployer.Progress):
    """A bar over the steps, each of which stays as a line when it is done."""

    def __init__(self, bar: Progress, count: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=count, visible=count > 0)
        self._doing = ""

    def __call__(self, step: Step, done: bool) -> None:
        """A step began, or ended."""
        if done:
            self._bar.advance(self._task)
            self._bar.console.print(f"  {step_line(step)}", markup=False, soft_wrap=True)
            return
        self._doing = f"{step.verb} {step.resource.kind} {step.resource.name}"
        self._bar.update(self._task, description=self._doing)

    def tell(self, line: str) -> None:
        """What the step is at: a layer that is pushed, a stage of a build."""
        if line:
            self._bar.update(self._task, description=f"{self._doing}  {_short(line)}")

    def note(self, line: str) -> None:
        """What stays of the step: the size of an image."""
        self._bar.console.print(f"    {line}", markup=False, soft_wrap=True)


@contextmanager
def progress(steps: Sequence[Step]) -> Iterator[StepProgress]:
    """The progress of the steps on stderr."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        yield StepProgress(bar, len(steps))


def deployment_facts(deployment: Deployment, work: Plan, probed: Probed) -> dict[str, Any]:
    """What was deployed, for machines."""
    names, steps = deployment.names, plan_facts(work.steps, work.gallery)
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
        "steps": steps,
        "probe_s": {
            "detection": round(probed.detection, 3),
            "recognition": round(probed.recognition, 3),
        },
    }


def show_deployment(
    deployment: Deployment, work: Plan, probed: Probed, *, json: bool = False
) -> None:
    """What was deployed, and how long the first answers took."""
    if json:
        print_json(deployment_facts(deployment, work, probed))
        return
    names, count = deployment.names, len(plan_facts(work.steps, work.gallery))
    done = f"{count} steps done" if count else "Nothing to change: all is as it should be"
    out.print(done)
    out.print(f"URL             {deployment.function_url}", soft_wrap=True)
    out.print(f"request queue   {names.request_queue} (dead letters: {names.dead_letter_queue})")
    out.print(f"response queue  {names.response_queue}")
    out.print(
        f"both functions answer: face-detection after {probed.detection:.1f} s, "
        f"face-recognition after {probed.recognition:.1f} s",
        soft_wrap=True,
    )
    if deployment.target == "aws":
        out.print(f"idle cost       {idle_cost(work)}", markup=False, soft_wrap=True)
    if deployment.synthetic:
        out.print(
            "The model's weights are synthetic: it was never trained, and its names mean nothing",
            soft_wrap=True,
        )


def idle_cost(work: Plan) -> str:
    """What the deployment costs while nothing is sent, in words."""
    sizing = work.desired.sizing
    told = ["nothing, apart from $0.10 per GB of images and month"]
    if sizing.provisioned_concurrency is not None:
        # Of both functions.
        memory = 2 * sizing.provisioned_concurrency * sizing.memory / 1024
        told = [f"${memory * _WARM_GB_SECOND * 86400:.2f} a day for warm environments"]
    if sizing.pollers is not None:
        told.append(f"{sizing.pollers[0]} pollers at AWS's price of provisioned mode")
    return ", and ".join(told)


def warn(work: Plan) -> None:
    """Say on stderr what a URL that anyone may call can cost."""
    desired = work.desired
    if desired.cloud.target != "aws" or desired.auth != "none":
        return
    most = desired.sizing.reserved_concurrency
    if most is None:
        bound = "only the account's concurrency limit bounds it"
    else:
        hourly = most * desired.sizing.memory / 1024 * 3600 * _GB_SECOND
        bound = f"at most {most} frames at once, ${hourly:.2f} an hour for face-detection"
    err.print(
        f"[yellow]Warning:[/yellow] anyone who learns the URL can call it and spend your money: "
        f"{bound}. `facectl deploy --auth iam` closes it.",
        soft_wrap=True,
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
