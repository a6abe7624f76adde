"""The images of a deployment: built from a recipe, or given as URIs."""

from __future__ import annotations

from facectl.deploy.models import Account, Image, Package
from facectl.deploy.recipe import NETWORKS, BuildOptions, Recipe
from facectl.errors import InputError
from lambda_src.vision.store import Model


def image_package(function: str, model: Model, options: BuildOptions, account: Account) -> Package:
    """The package of a function whose image is built if the registry lacks it."""
    recipe = Recipe(function, model, options)
    image = Image(function, recipe.tag, recipe)
    return Package("image", account.image_uri(image.name), image=image)


def given_packages(uris: tuple[str, ...]) -> dict[str, Package]:
    """The packages of existing images, given as FUNCTION=URI; raises InputError."""
    found = {}
    for text in uris:
        function, _, uri = text.partition("=")
        if function not in NETWORKS or not uri:
            raise InputError(
                f"--image-uri {text!r} is not FUNCTION=URI with one of {', '.join(NETWORKS)}"
            )
        found[function] = Package("image", uri)
    if found and set(found) != set(NETWORKS):
        missing = ", ".join(set(NETWORKS) - set(found))
        raise InputError(f"--image-uri is needed for both functions, {missing} has none")
    return found
