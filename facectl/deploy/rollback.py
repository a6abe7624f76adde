"""Plans a deploy of a recorded version: its images or code, its options and its model.

Only reads. What the version needs and no longer exists is an error before the first change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import deployer, versions
from facectl.deploy import options as remembered
from facectl.deploy.access import read_account
from facectl.deploy.deployer import Plan
from facectl.deploy.desired import cloud
from facectl.deploy.image_digests import image_digest
from facectl.deploy.models import OFF, Account, Package, Packages, Restored
from facectl.deploy.options import Options
from facectl.deploy.resources import Alias, Function, FunctionUrl, Trigger
from facectl.deploy.versions import Content, Version
from facectl.errors import CloudError, InputError, ModelError
from facectl.gallery import publish, rebuild
from facectl.gallery.changes import EmbeddingSpace
from facectl.models import store
from facectl.naming import DETECTION_FUNCTION, FUNCTIONS, RECOGNITION_FUNCTION
from lambda_src.vision.store import Model

_OTHERS = "facectl versions   lists the others   or   facectl deploy"


@dataclass(frozen=True, slots=True)
class Rollback:
    """The plan that goes back to a version; `gallery`: what changes about the gallery, if known."""

    version: Version
    plan: Plan
    gallery: str | None = None


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A rollback that no recorded deploy followed, to `version`; `record` has its content.

    `before`: the version that it replaced; None: a deploy that was not recorded.
    """

    version: int
    before: int | None
    record: Version

    @property
    def text(self) -> str:
        """Such as `version 1, rolled back from version 2`."""
        before = "a deploy that was not recorded"
        if self.before is not None:
            before = f"version {self.before}"
        return f"version {self.version}, rolled back from {before}"


def standing(deployment: Deployment) -> RolledBack | None:
    """The rollback whose version is deployed; None if the last deploy was none.

    The record in the account tells it on every computer. Going back to the newest recorded version,
    after a deploy that failed, is not recorded again: this computer remembers it.
    """
    found = versions.newest(Clients(deployment), 2)
    if not found:
        return None
    newest = found[0]
    if newest.rollback_to is not None:
        before = found[1].number if len(found) > 1 else None
        return RolledBack(newest.rollback_to, before, newest)
    if remembered.rolled_back(deployment) == newest.number:
        return RolledBack(newest.number, None, newest)
    return None


def expected(deployment: Deployment, back: RolledBack) -> tuple[Options, Model]:
    """What a rollback deployed: options with images or code, and the model.

    Raises InputError if this facectl does not know an option of the version, ModelError if
    functions without images need a model that is not on this computer.
    """
    clients, content = Clients(deployment), back.record.content
    account = read_account(clients)
    detection, recognition = (_deployed(account, content, function) for function in FUNCTIONS)
    restored = Restored(back.version, Packages(detection, recognition))
    model = _installed(back.record)
    if model is None and content.packaging == "zip":
        model = store.find(content.model.space, content.model.precision)
    options = replace(_set_options(clients, back.record), restored=restored)
    return options, model or _elsewhere(back.record)


def _deployed(account: Account, content: Content, function: str) -> Package:
    """The package of a function as a record says that it was deployed; it may be gone."""
    if content.packaging == "zip":
        return Package("zip", content.code[function])
    uri = _current(account, content.code[function])
    tag = uri.removeprefix(account.image_uri(f"{function}:"))
    if tag == uri:
        return Package("image", uri)
    return Package("image", uri, tag=tag, recorded=content.digests[function])


def prepare(deployment: Deployment, number: int | None = None) -> Rollback:
    """Plan to go back to a recorded version; default: the newest that differs from the functions.

    Raises InputError if there is no such version, CloudError if an image or the code of the
    version no longer exists, ModelError if this computer lacks a model that it needs.
    """
    clients = Clients(deployment)
    found = versions.read(clients)
    usable = [each for each in found if isinstance(each, Version)]
    if number is not None:
        return _planned(deployment, _chosen(found, number), usable)
    for version in usable:
        planned = _planned(deployment, version, usable)
        kinds = (Alias, Function, FunctionUrl, Trigger)
        if any(isinstance(step.resource, kinds) for step in planned.plan.steps):
            return planned
    raise InputError(
        "No recorded version differs from what is deployed" if usable else "No deploy is recorded",
        hint="facectl versions" if usable else "facectl deploy",
    )


def _chosen(found: list[Version | versions.Damaged], number: int) -> Version:
    for each in found:
        if each.number == number:
            if isinstance(each, Version):
                return each
            raise CloudError(each.problem, hint=_OTHERS)
    numbers = ", ".join(str(each.number) for each in reversed(found))
    raise InputError(
        f"There is no version {number}: " + (f"recorded are {numbers}" if found else "none is"),
        hint="facectl versions",
    )


def _planned(deployment: Deployment, version: Version, usable: list[Version]) -> Rollback:
    clients = Clients(deployment)
    options = _options(clients, version)
    if options.alarms is None and any(each.content.options.get("alarms") for each in usable):
        # Another version, perhaps deployed from another computer, made alarms: they are removed.
        options = replace(options, alarms=OFF)
    model = _model(deployment, version)
    plan = deployer.prepare(deployment, model, options, reset=True)
    if plan.gallery is not None or version.content.model.space == usable[0].content.model.space:
        return Rollback(version, plan)
    there = publish.facts(plan.clients)["gallery"]
    return Rollback(version, plan, f"The gallery of model {version.content.model.name}: {there}")


def _options(clients: Clients, version: Version) -> Options:
    """The options of a version, with its packages; raises InputError, CloudError."""
    options = _set_options(clients, version)
    if version.content.packaging == "zip":
        package = versions.package(clients, version)
        if package is None:
            raise _gone(version, "its code is not in the bucket any more")
        packages = Packages(package, package)
        return replace(options, restored=Restored(version.number, packages))
    account = read_account(clients)
    pinned = {function: _pinned(account, version, function) for function in FUNCTIONS}
    detection, recognition = (
        _image(clients, account, version, function, pinned[function])
        for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
    )
    return replace(
        options,
        image_uris=tuple(f"{function}={uri}" for function, uri in pinned.items()),
        restored=Restored(version.number, Packages(detection, recognition)),
    )


def _set_options(clients: Clients, version: Version) -> Options:
    """The options of a version, and of its time; raises InputError for unknown ones."""
    try:
        today = versions.defaults(cloud(clients.deployment.target))
        options = remembered.of_record(version.content.to_restore(today))
    except (ValueError, InputError) as error:
        raise InputError(
            f"The options of version {version.number} can't be used: {error}", hint=_OTHERS
        ) from error
    own = remembered.recall(clients.deployment)
    return replace(options, package_index=own.package_index)


def _pinned(account: Account, version: Version, function: str) -> str:
    """The URI of a function's image by its digest, or as it was deployed without one."""
    uri = _current(account, version.content.code[function])
    digest = version.content.digests[function]
    if not digest:
        return uri
    registry, _, path = uri.partition("/")
    return f"{registry}/{path.partition('@')[0].partition(':')[0]}@{digest}"


def _current(account: Account, uri: str) -> str:
    """The URI with today's port of the local cloud's registry."""
    registry, _, path = uri.partition("/")
    host, _, port = registry.partition(":")
    same = port and host == account.registry.partition(":")[0]
    return f"{account.registry}/{path}" if same else uri


def _image(
    clients: Clients, account: Account, version: Version, function: str, pinned: str
) -> Package:
    """The package of a function's image; raises CloudError if ECR no longer has it."""
    if image_digest(clients, pinned) == "":
        raise _gone(
            version,
            f"ECR no longer has its image {pinned}: it was deleted, or is not among the newest "
            "that the repository keeps",
        )
    uri = _current(account, version.content.code[function])
    tag = uri.removeprefix(account.image_uri(f"{function}:"))
    digest = version.content.digests[function]
    if tag != uri and digest and image_digest(clients, uri) == digest:
        # As facectl deployed it: its repository stays part of the deployment.
        return Package("image", uri, tag=tag, recorded=digest)
    return Package("image", pinned)


def _model(deployment: Deployment, version: Version) -> Model:
    """The installed model of a version.

    Images contain their model: a version with images needs none on this computer, unless the
    gallery must be embedded again. Raises ModelError.
    """
    same = _installed(version)
    if same is not None:
        store.verify(same)
        return same
    wanted, model = version.content.model, _elsewhere(version)
    space = EmbeddingSpace.of(model)
    zipped = version.content.packaging == "zip"
    if zipped or rebuild.plan_local(deployment.asu_id, space) is not None:
        why = "the functions read it from there" if zipped else "the gallery is of another model"
        raise ModelError(
            f"Version {version.number} needs model {wanted.name}, {wanted.precision}, on this "
            f"computer: {why}",
            hint=rebuild.build_command(space),
        )
    return model


def _installed(version: Version) -> Model | None:
    """The model of a version, not verified; None if it is not installed."""
    wanted = version.content.model
    same = [
        model
        for model in store.installed()
        if (model.space, model.precision) == (wanted.space, wanted.precision)
    ]
    return min(same, key=lambda model: model.path.name != wanted.name) if same else None


def _elsewhere(version: Version) -> Model:
    """The model of a version, which is not on this computer."""
    wanted = version.content.model
    preprocessing = wanted.space.partition("/")[2]
    return Model(
        store.folder() / wanted.name, wanted.space, preprocessing, wanted.synthetic, "",
        wanted.precision,
    )  # fmt: skip


def _gone(version: Version, why: str) -> CloudError:
    return CloudError(
        f"Can't go back to version {version.number} of {version.time[:16]}: {why}", hint=_OTHERS
    )
