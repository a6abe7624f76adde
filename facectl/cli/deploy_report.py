"""Prints plans and deployments, as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from facectl.console import err, print_json, say
from facectl.context import Deployment
from facectl.deploy import deployer
from facectl.deploy.deployer import Plan
from facectl.deploy.desired import resources
from facectl.deploy.probe import Probed
from facectl.deploy.resources import Alarm, LogGroup, Queue
from facectl.deploy.status import template_of
from facectl.deploy.steps import Step, changes
from facectl.export import changes as changes_of_templates
from facectl.gallery.rebuild import Rebuild
from facectl.prices import (
    IDLE_RECEIVES,
    LAMBDA_GB_SECOND,
    SQS_MILLION_REQUESTS,
    load_deployment,
)

_SHORT = 60
# Between two lines about the bytes that were sent, where there is no bar.
_LINE_SECONDS = 10.0


def step_line(step: Step) -> str:
    """One step as text, with its changes: `update queue x (visibility timeout 30 → 360)`."""
    text = ", ".join(f"{c.attribute} {_short(c.before)} → {_short(c.after)}" for c in changes(step))
    return f"{step.verb} {step.resource.kind} {step.resource.name}" + (f" ({text})" if text else "")


def step_facts(step: Step) -> dict[str, Any]:
    """One step as JSON data."""
    return {
        "action": step.verb,
        "kind": step.resource.kind,
        "name": step.resource.name,
        "changes": [
            {"attribute": c.attribute, "before": c.before, "after": c.after} for c in changes(step)
        ],
    }


def show_plan(steps: Sequence[Step], *, gallery: Rebuild | None = None, json: bool = False) -> None:
    """Print the steps of a plan, after its gallery rebuild."""
    if json:
        print_json(plan_facts(steps, gallery))
        return
    for line in ([gallery.summary] if gallery else []) + [step_line(step) for step in steps]:
        say(f"  {line}")
    count = len(steps) + (gallery is not None)
    say(f"{count} steps" if count else "Nothing to change")


def plan_facts(steps: Sequence[Step], gallery: Rebuild | None) -> list[dict[str, Any]]:
    """The steps of a plan as JSON data, after its gallery rebuild."""
    return ([gallery.facts()] if gallery else []) + [step_facts(step) for step in steps]


class _Amount(ProgressColumn):
    """The bytes and the speed of a task that counts bytes, the steps of another one."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = MofNCompleteColumn()
        self._bytes, self._speed = DownloadColumn(), TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        """The text of one task."""
        if not task.fields.get("counts_bytes"):
            return self._steps.render(task)
        return Text.assemble(self._bytes.render(task), "  ", self._speed.render(task))


def columns() -> tuple[ProgressColumn, ...]:
    """The columns of the bars of a deploy."""
    return SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), _Amount()


class StepProgress(deployer.Progress):
    """A progress bar over the steps, and one over the bytes that a step sends.

    Prints a line for each completed step. Where no terminal shows the bars, it prints how much
    was sent, every ten seconds.
    """

    def __init__(
        self, bar: Progress, count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bar = bar
        self._clock = clock
        self._task = bar.add_task("", total=count, visible=count > 0)
        self._doing = ""
        self._sending: TaskID | None = None
        # When the last line about bytes was printed, and of how many.
        self._told = (clock(), 0)

    def __call__(self, step: Step, done: bool) -> None:
        """A step started (`done` false) or is complete."""
        self._told = (self._clock(), 0)
        if done:
            if self._sending is not None:
                self._bar.remove_task(self._sending)
                self._sending = None
            self._bar.advance(self._task)
            self._bar.console.print(f"  {step_line(step)}", markup=False, soft_wrap=True)
            return
        self._doing = f"{step.verb} {step.resource.kind} {step.resource.name}"
        self._bar.update(self._task, description=self._doing)

    def tell(self, line: str) -> None:
        """Show a transient line, such as a pushed layer or a build stage."""
        if line:
            self._bar.update(self._task, description=f"{self._doing}  {_short(line)}")

    def note(self, line: str) -> None:
        """Print a line to keep, such as the size of an image."""
        self._bar.console.print(f"    {line}", markup=False, soft_wrap=True)

    def count(self, done: int, total: int) -> None:
        """Show how many bytes of how many were sent, and the speed."""
        if not self._bar.console.is_terminal:
            self._tell_bytes(done, total)
            return
        if self._sending is None:
            self._sending = self._bar.add_task("    sending", total=total, counts_bytes=True)
        self._bar.update(self._sending, completed=done, total=total)

    def _tell_bytes(self, done: int, total: int) -> None:
        now, (before, had) = self._clock(), self._told
        if now < before + _LINE_SECONDS:
            return
        self._told = (now, done)
        speed = max(0, done - had) / (now - before)
        self.note(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB sent, {speed / 1e6:.1f} MB/s")


@contextmanager
def progress(steps: Sequence[Step]) -> Iterator[StepProgress]:
    """Show the progress of the steps on stderr."""
    with Progress(*columns(), console=err, transient=True) as bar:
        yield StepProgress(bar, len(steps))


def deployment_facts(deployment: Deployment, plan: Plan, probed: Probed) -> dict[str, Any]:
    """A deployment as JSON data."""
    names, steps = deployment.names, plan_facts(plan.steps, plan.gallery)
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
        "precision": deployment.precision,
        "changed": bool(steps),
        "steps": steps,
        "probe_s": {
            "detection": round(probed.detection, 3),
            "recognition": round(probed.recognition, 3),
        },
    }


def show_deployment(
    deployment: Deployment, plan: Plan, probed: Probed, *, json: bool = False
) -> None:
    """Print the deployment and the response times of the probe."""
    if json:
        print_json(deployment_facts(deployment, plan, probed))
        return
    names, count = deployment.names, len(plan_facts(plan.steps, plan.gallery))
    say(f"{count} steps done" if count else "Nothing to change")
    say(f"URL             {deployment.function_url}")
    say(f"request queue   {names.request_queue} (dead letters: {names.dead_letter_queue})")
    say(f"response queue  {names.response_queue}")
    say(
        f"both functions answer: face-detection after {probed.detection:.1f} s, "
        f"face-recognition after {probed.recognition:.1f} s"
    )
    if deployment.target == "aws":
        say(f"idle cost       {idle_cost(plan)}")
    if deployment.synthetic:
        say("The model's weights are synthetic (untrained): its names mean nothing")


def idle_cost(plan: Plan) -> str:
    """The idle cost of the deployment, as text."""
    sizing = plan.desired.sizing
    prices = load_deployment()
    told = prices.told
    costs = [f"${prices.image_gb_month:.2f} per GB of images and month{told('image_gb_month')}"]
    if sizing.provisioned_concurrency is not None:
        # For both functions.
        memory = 2 * sizing.provisioned_concurrency * sizing.memory / 1024
        second = memory * prices.provisioned_gb_second[sizing.architecture]
        costs.insert(
            0, f"${second * 86400:.2f} a day for warm environments{told('provisioned_gb_second')}"
        )
    if sizing.pollers is not None:
        day = sizing.pollers[0] * 24 * prices.poller_hour
        costs.append(f"${day:.2f} a day for {sizing.pollers[0]} pollers{told('poller_hour')}")
    else:
        cost = IDLE_RECEIVES / 1_000_000 * SQS_MILLION_REQUESTS
        costs.append(
            f"${cost:.2f} a month for {IDLE_RECEIVES:,} receives of the trigger "
            "(SQS's first million a month is free)"
        )
    if alarms := sum(isinstance(each, Alarm) for each in resources(plan.desired)):
        month = alarms * prices.alarm_month
        costs.append(f"${month:.2f} a month for {alarms} alarms{told('alarm_month')}")
    if plan.desired.kms_key:
        costs.append(f"${prices.key_month:.2f} a month for the key{told('key_month')}")
    return ", and ".join((", ".join(costs[:-1]), costs[-1]))


def warn_preflight(plan: Plan) -> None:
    """Print the warnings of the preflight checks on stderr."""
    for result in plan.warnings:
        err.print(f"[yellow]Warning:[/yellow] {escape(result.text)}", soft_wrap=True)
        if result.next:
            err.print(f"  Next: {escape(result.next)}", soft_wrap=True)


def warn_template(plan: Plan) -> None:
    """Print a warning on stderr if a template made what the plan changes or removes."""
    template = template_of(plan.actual)
    if template is not None and plan.steps:
        err.print(
            f"[yellow]Warning:[/yellow] {escape(changes_of_templates.owner(template))} made this "
            "deployment, and does not know what facectl changes in it: change and remove it there "
            "instead. `facectl status` says how",
            soft_wrap=True,
        )


def warn_key_change(plan: Plan) -> None:
    """Print a warning on stderr if messages and log lines stay under another KMS key."""
    kept = {
        resource.kms_key
        for resource in plan.actual.values()
        if isinstance(resource, (Queue, LogGroup))
    } - {"", plan.desired.kms_key}
    for key in sorted(kept):
        err.print(
            f"[yellow]Warning:[/yellow] messages and log lines keep the key that they were written "
            f"with, {escape(key)}, which the functions may no longer use: stop sending, run "
            "`facectl purge` first, and keep that key enabled for 14 days",
            soft_wrap=True,
        )


def warn_public_url(plan: Plan) -> None:
    """Print a warning about the possible cost of a public URL on stderr."""
    desired = plan.desired
    if desired.cloud.target != "aws" or desired.auth != "none":
        return
    most = desired.sizing.reserved_concurrency
    if most is None:
        bound = "only the account's concurrency limit bounds it"
    else:
        hourly = most * desired.sizing.memory / 1024 * 3600 * LAMBDA_GB_SECOND["x86_64"]
        bound = f"at most {most} frames at once, ${hourly:.2f} an hour for face-detection"
    err.print(
        f"[yellow]Warning:[/yellow] anyone who learns the URL can call it and spend your money: "
        f"{bound}. `facectl deploy --auth iam` closes it.",
        soft_wrap=True,
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
