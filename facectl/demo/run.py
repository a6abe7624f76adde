"""The demonstration's steps, each what the command of its name does."""

from __future__ import annotations

from pathlib import Path

from facectl import context
from facectl.console import err
from facectl.context import Deployment
from facectl.demo import clip
from facectl.deploy import deployer, report
from facectl.errors import ModelError
from facectl.gallery import enrol, rebuild
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import Enroller
from facectl.local import process
from facectl.models import builder
from lambda_src.vision.store import Model


def model(weights: str) -> tuple[Model, str | None]:
    """The model of these weights, and why it is a synthetic one where they can't be had."""
    try:
        return builder.ensure(weights), None
    except ModelError as error:
        return builder.ensure(builder.SYNTHETIC), str(error)


def pipeline(asu_id: str, chosen: Model, port: int | None) -> Deployment:
    """The pipeline on the local cloud, which is started first where it does not run."""
    with err.status("Starting the local cloud"):
        process.ensure(port)
    remembered = context.recall(asu_id)
    if remembered is None or remembered.target != "local":
        remembered = Deployment(asu_id, "local")
    with err.status("Reading what is deployed"):
        work = deployer.draft(deployer.located(remembered), chosen)
    with report.progress(work.steps) as watch:
        deployer.perform(work, watch)
    with err.status("Waiting until both functions answer"):
        deployment = deployer.finish(work)
        deployer.check(work, deployment)
    return deployment


def enrol_portrait(asu_id: str, chosen: Model, folder: Path) -> None:
    """Enrol the clip's person from her portrait, unless she is; deploying publishes it."""
    photo = clip.portrait_file(folder)
    _rebuild(asu_id, chosen)
    with err.status(f"Enrolling {clip.NAME}"):
        enrol.ensure(asu_id, chosen, clip.NAME, photo)


def _rebuild(asu_id: str, chosen: Model) -> None:
    """Embed a gallery of another model again; whom it can't have stays in the older versions."""
    work = rebuild.plan_local(asu_id, EmbeddingSpace.of(chosen))
    if work is None:
        return
    with err.status("Embedding the gallery again for this model"):
        work.embed(lambda: Enroller(chosen))
        work.commit()
    if work.dropped:
        err.print(
            f"Without a photograph, so in older versions alone: {', '.join(work.dropped)}",
            soft_wrap=True,
            markup=False,
        )
