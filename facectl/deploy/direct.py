"""Builds the image of a function without a Docker engine, and sends it to the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from facectl.container_images.bases import BaseImage, is_file, open_base
from facectl.container_images.build import BuiltImage, build
from facectl.container_images.logins import Logins, docker_login
from facectl.container_images.registries import Login, Registry
from facectl.container_images.uploads import Target, send_image
from facectl.deploy.recipe import IMAGE_ARCHITECTURES, LARGEST, BuildOptions, Recipe
from facectl.errors import InputError


@dataclass(frozen=True, slots=True)
class Destination:
    """A tag in a repository. `other`: the repository that has the same base image.

    `login`: the user and password of the registry; `plain`: HTTP instead of HTTPS.
    """

    registry: str
    repository: str
    tag: str
    other: str
    plain: bool
    login: Login = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reports:
    """`tell` receives transient progress, `note` lines to keep.

    `count` receives the bytes that were sent and those to be sent.
    """

    tell: Callable[[str], None]
    note: Callable[[str], None]
    count: Callable[[int, int], None] = lambda _done, _total: None


def base_image(name: str, options: BuildOptions, logins: Logins = docker_login) -> BaseImage:
    """The base image of that name: of the pinned digest, if the options have one.

    Raises InputError, CloudError.
    """
    architecture = IMAGE_ARCHITECTURES[options.architecture]
    base = open_base(name, architecture, "" if is_file(name) else options.base_digest, logins)
    if options.base_digest not in ("", base.digest):
        raise InputError(f"The base image {name} has changed", hint="facectl deploy --rebuild")
    return base


def built(recipe: Recipe, logins: Logins = docker_login) -> BuiltImage:
    """The image of a recipe; raises InputError, CloudError."""
    base = base_image(recipe.base_image, recipe.options, logins)
    return build(base, IMAGE_ARCHITECTURES[recipe.options.architecture], recipe.parts)


def send(recipe: Recipe, to: Destination, reports: Reports, logins: Logins = docker_login) -> None:
    """Build the image of a recipe and send what the registry lacks of it.

    `logins`: the users and passwords of base images. Raises InputError, CloudError.
    """
    reports.tell(f"building on {recipe.base_image}")
    image = built(recipe, logins)
    if image.size > LARGEST:
        raise InputError(
            f"The image of {to.repository} is {image.size / 1e9:.1f} GB, Lambda takes "
            f"{LARGEST / 1e9:.1f}",
            hint="choose a smaller --base-image",
        )
    if not recipe.options.compiled:
        reports.note(
            f"Cold starts take longer: the packages are not compiled, because this computer "
            f"has no Python {recipe.options.base_python}, which the base image has"
        )
    reports.tell(f"sending to {to.registry}")
    registry = Registry(to.registry, login=to.login, plain=to.plain)
    try:
        sent = send_image(
            Target(registry, to.repository, to.other),
            to.tag,
            image.manifest,
            image.blobs,
            reports.count,
        )
    finally:
        registry.close()
    reports.note(
        f"{to.repository}:{to.tag}: {image.added / 1e6:.0f} MB over {recipe.base_image}, "
        f"{sent / 1e6:.1f} of {image.size / 1e6:.1f} MB sent"
    )
