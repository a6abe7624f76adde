"""Where an imported gallery comes from, and which gallery it goes into."""

from __future__ import annotations

from pathlib import Path

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import GalleryError, InputError
from facectl.gallery import exchange
from facectl.gallery.exchange import Foreign
from facectl.gallery.store import Store

# Lineage and version of a published gallery.
Origin = tuple[str, int]


def read(
    deployment: Deployment,
    source: Path | None,
    preprocessing: str | None,
    weights: str,
    published: bool,
) -> tuple[Foreign, Origin | None]:
    """The gallery to import, its space known; raises InputError, GalleryError, ModelError."""
    if published == (source is not None):
        raise InputError(
            "say what to import: a file, a folder, or --published",
            hint="facectl gallery import --help",
        )
    if source is None:
        foreign, lineage, version = exchange.published(Clients(deployment))
        return foreign, (lineage, version)
    foreign = exchange.read(source)
    if preprocessing is None:
        if foreign.space is None:
            raise InputError(
                f"{source} does not say how its faces were prepared, and embeddings of different "
                "preparations can't be compared",
                hint=f"facectl gallery import {source} --preprocessing cse546",
            )
        return foreign, None
    space, synthetic = exchange.space_of(weights, preprocessing)
    if foreign.space not in (None, space):
        raise GalleryError(
            f"{source} is of embedding space {foreign.space}, not of {space}",
            hint=f"facectl gallery import {source}",
        )
    return Foreign(foreign.names, foreign.embeddings, space, synthetic), None


def store_for(deployment: Deployment, foreign: Foreign, origin: Origin | None) -> Store:
    """The gallery that the imported one goes into; raises GalleryError for another space."""
    space = str(foreign.space)
    if deployment.space is not None and deployment.space != space:
        raise GalleryError(
            f"the imported gallery is of embedding space {space}, the deployed model of "
            f"{deployment.space}: their embeddings can't be compared",
            hint="facectl models build --help, then facectl deploy with the gallery's model",
        )
    store = Store.for_space(deployment.asu_id, space, synthetic=foreign.synthetic)
    if origin is not None:
        store.adopt(*origin)
    return store
