"""The demonstration's steps, each what the command of its name does."""

from __future__ import annotations

from pathlib import Path

from facectl import context
from facectl.console import err
from facectl.context import Deployment
from facectl.demo import clip
from facectl.deploy import deployer, report
from facectl.errors import ModelError
from facectl.gallery import enrol, store
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
    _make_room(asu_id, chosen)
    photo = clip.portrait_file(folder)
    with err.status(f"Enrolling {clip.NAME}"):
        enrol.ensure(asu_id, chosen, clip.NAME, photo)


def _make_room(asu_id: str, chosen: Model) -> None:
    """Keep a gallery of other weights, but out of the way: its embeddings can't be compared."""
    gallery = store.Store.find(asu_id)
    if gallery is None:
        return
    space = gallery.space
    gallery.close()
    if space != chosen.space:
        kept = store.set_aside(asu_id)
        err.print(f"The gallery of other weights is kept as {kept}", soft_wrap=True, markup=False)
