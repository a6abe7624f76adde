"""The steps of `facectl demo`, each with its progress on stderr; each equals a command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from facectl import records
from facectl.cli.models import build_progress
from facectl.console import err, note
from facectl.context import Deployment, Overrides, resolve
from facectl.demo import clip
from facectl.deploy import deployer
from facectl.deploy.deployer import Plan
from facectl.gallery import enrollment, rebuild
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import PhotographEncoder
from facectl.local import process
from facectl.models import builder
from facectl.naming import DEMO_ASU_ID
from lambda_src.vision.store import Model


def model(weights: str | None) -> Model:
    """The model of these weights, by default the best one that can be had."""
    found = builder.ensure(weights, progress=build_progress())
    note(f"The weights are {found.weights}")
    return found


def demo_deployment(asu_id: str) -> Deployment:
    """The demo's deployment; a recorded deployment of the user is not marked as a demo."""
    deployment = resolve(Overrides(asu_id, "local"))
    demo = asu_id == DEMO_ASU_ID or deployment.demo or records.recall(deployment.key) is None
    return replace(deployment, demo=demo)


def plan(
    deployment: Deployment, chosen: Model, port: int | None, *, replace_others: bool = False
) -> Plan:
    """Start the local cloud if it is not running, and plan the deployment."""
    with err.status("Starting the local cloud") as status:
        _, restored = process.ensure(port, progress=status.update)
    for problem in restored.problems() if restored is not None else ():
        note(problem)
    with err.status("Reading what is deployed"):
        return deployer.prepare(deployer.located(deployment), chosen, replace_others=replace_others)


def check(plan: Plan) -> Deployment:
    """Record the deployment and wait until both functions answer."""
    with err.status("Waiting until both functions answer"):
        deployment = deployer.finish(plan)
        deployer.check(plan, deployment)
    return deployment


def enroll_portrait(asu_id: str, chosen: Model, folder: Path) -> None:
    """Enroll the clip's person from her portrait unless she is enrolled; does not publish."""
    photo = clip.portrait_file(folder)
    _rebuild(asu_id, chosen)
    with err.status(f"Enrolling {clip.NAME}"):
        enrollment.ensure(asu_id, chosen, clip.NAME, photo)


def _rebuild(asu_id: str, chosen: Model) -> None:
    """Rebuild a gallery of another model; people without photographs stay in older versions."""
    work = rebuild.plan_local(asu_id, EmbeddingSpace.of(chosen))
    if work is None:
        return
    with err.status("Embedding the gallery again for this model"):
        work.embed(lambda: PhotographEncoder(chosen))
        work.commit()
    if work.dropped:
        note(f"Only in older versions, because a photograph is missing: {', '.join(work.dropped)}")
