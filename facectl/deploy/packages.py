"""The code of the functions: a zip of `lambda_src`, images to build, or images given as URIs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import lambda_src
from facectl.deploy.models import Account, Package, Packages
from facectl.deploy.options import Options
from facectl.deploy.recipe import NETWORKS, BuildOptions, Recipe
from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from lambda_src.vision.store import Model

# The earliest date in the zip format.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16
_UNIX = 3
_BOTH = " ".join(f"--image-uri {function}=URI" for function in NETWORKS)


def packages(model: Model, options: Options, account: Account, *, zipped: bool) -> Packages:
    """The packages that the options ask for; raises InputError."""
    if options.restored is not None:
        return options.restored.packages
    given = given_packages(options.image_uris)
    if given:
        return Packages(given[DETECTION_FUNCTION], given[RECOGNITION_FUNCTION])
    if zipped:
        package = zip_package()
        return Packages(package, package)
    return Packages(
        image_package(DETECTION_FUNCTION, model, options.build, account),
        image_package(RECOGNITION_FUNCTION, model, options.build, account),
    )


def zip_package(sources: Path | None = None) -> Package:
    """The functions' code as a zip with `lambda_src` at its root, and Lambda's digest of it.

    Reproducible: equal sources give equal bytes.
    """
    root = Path(lambda_src.__file__).parent if sources is None else sources
    stream = io.BytesIO()
    # Not compressed: compressors of different versions give different bytes.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(root.rglob("*.py")):
            info = zipfile.ZipInfo(f"lambda_src/{file.relative_to(root).as_posix()}", _DATE)
            info.external_attr = _MODE
            # The default depends on the operating system.
            info.create_system = _UNIX
            archive.writestr(info, file.read_bytes())
    return Package.zipped(stream.getvalue())


def image_package(function: str, model: Model, options: BuildOptions, account: Account) -> Package:
    """The package of a function whose image is built if the registry lacks it."""
    recipe = Recipe(function, model, options)
    uri = account.image_uri(f"{function}:{recipe.tag}")
    return Package("image", uri, tag=recipe.tag, recipe=recipe)


def given_packages(uris: tuple[str, ...]) -> dict[str, Package]:
    """The packages of existing images, given as FUNCTION=URI; raises InputError."""
    found = {}
    for text in uris:
        function, _, uri = text.partition("=")
        if function not in NETWORKS or not uri:
            raise InputError(
                f"--image-uri {text!r} is not FUNCTION=URI with one of {', '.join(NETWORKS)}",
                hint=_BOTH,
            )
        found[function] = Package("image", uri)
    if found and set(found) != set(NETWORKS):
        missing = ", ".join(set(NETWORKS) - set(found))
        raise InputError(
            f"--image-uri is needed for both functions, {missing} has none", hint=_BOTH
        )
    return found
