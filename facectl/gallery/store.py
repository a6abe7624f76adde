"""The gallery file of each deployment on this computer, of which the bucket holds the copy."""

from __future__ import annotations

from pathlib import Path

from facectl import paths
from facectl.errors import GalleryError
from lambda_src.gallery import Gallery, GalleryFormatError
from lambda_src.vision.store import Model

# Euclidean distance of L2-normalised embeddings. FaceNet's authors report 1.242
# for the squared distance on LFW (Schroff et al. 2015, section 5.6), 1.11 here;
# 1.0 keeps strangers out at the price of some missed friends.
_THRESHOLD = 1.0


def path(asu_id: str) -> Path:
    """Where the gallery of a deployment is kept."""
    return paths.data_dir() / "galleries" / f"{asu_id}.npz"


def empty(model: Model) -> Gallery:
    """A gallery without people, for the embeddings of this model."""
    return Gallery(model.space, _THRESHOLD, synthetic=model.synthetic)


def load(asu_id: str) -> Gallery | None:
    """The gallery of a deployment, None before anyone is enrolled; raises GalleryError."""
    file = path(asu_id)
    try:
        return Gallery.parse(file.read_bytes())
    except FileNotFoundError:
        return None
    except GalleryFormatError as error:
        raise GalleryError(
            f"{file} is damaged: {error}",
            hint=f"move {file} away, then: facectl gallery enroll NAME IMAGE",
        ) from error


def load_for(asu_id: str, model: Model) -> Gallery:
    """The gallery to add to; raises GalleryError for one of another space."""
    gallery = load(asu_id)
    if gallery is None:
        return empty(model)
    check_space(gallery, model.space, asu_id)
    return gallery


def check_space(gallery: Gallery, space: str, asu_id: str) -> None:
    """Raise GalleryError unless the gallery's embeddings were made by the model of `space`."""
    if gallery.space != space:
        raise GalleryError(
            f"the gallery {path(asu_id)} is of embedding space {gallery.space}, the model of "
            f"{space}: their embeddings can't be compared",
            hint=(
                "deploy the gallery's own model (facectl models list), or move the gallery away "
                "and enrol again: facectl gallery enroll NAME IMAGE"
            ),
        )


def save(asu_id: str, gallery: Gallery) -> Path:
    """Write the gallery; the old one stays until the new one is on the disk."""
    file = path(asu_id)
    with paths.atomic_write(file) as stream:
        stream.write(gallery.serialise())
    return file


def set_aside(asu_id: str) -> Path:
    """Move the gallery of a deployment away, so that a new one can begin; where it is now."""
    file = path(asu_id)
    gallery = load(asu_id)
    space = "damaged" if gallery is None else gallery.space[:8]
    return file.replace(file.with_name(f"{file.stem}.{space}.npz"))
