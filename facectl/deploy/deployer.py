"""A deployment from beginning to end: draft what is left to do, do it, see that it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from facectl import context as deployments
from facectl.aws import Clients, cloud_errors
from facectl.context import Deployment
from facectl.deploy.desired import Wish, cloud, resources
from facectl.deploy.executor import carry_out
from facectl.deploy.models import Account, Package, Packages, Sizing, Step
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import plan, plan_removal
from facectl.deploy.probe import Probed, probe, request_queue
from facectl.deploy.reader import Reader
from facectl.deploy.writers.base import Context
from facectl.errors import CloudError, InputError, NotRunningError
from facectl.gallery import publish, store
from facectl.local import process
from facectl.naming import DETECTION_FUNCTION
from facectl.stream.delivery import FunctionUrl
from facectl.stream.responses import ResponseQueue
from lambda_src.vision.store import MANIFEST, Model

# The functions' environment where their logs may not say who was seen.
NO_NAMES = {"FACECTL_LOG_NAMES": "0"}

# Told of every step when it begins (False) and when it is done (True).
Watcher = Callable[[Step, bool], None]


@dataclass(frozen=True, slots=True)
class Draft:
    """What is left to do for a deployment."""

    clients: Clients
    account: Account
    steps: tuple[Step, ...]


def located(deployment: Deployment, endpoint_url: str | None = None) -> Deployment:
    """The deployment with the address of the local cloud that runs now.

    `endpoint_url` is what the user said. Raises NotRunningError where no local cloud runs.
    """
    if deployment.target != "local" or endpoint_url is not None:
        return deployment
    running = process.find()
    if running is None:
        raise NotRunningError("The local cloud is not running", hint="facectl local up")
    return replace(deployment, endpoint_url=running.endpoint_url)


def draft(
    deployment: Deployment,
    model: Model,
    sizing: Sizing | None = None,
    *,
    adopt: bool = False,
    log_names: bool = True,
) -> Draft:
    """Read what is there and plan the rest; `log_names`: whether logs may say who was seen.

    Raises GalleryError where the gallery is of another embedding space than
    the model, CloudError where a resource is somebody else's.
    """
    if deployment.target == "aws":
        raise InputError(
            "AWS needs container images, which this version does not build",
            hint="facectl deploy --target local",
        )
    gallery = store.load(deployment.asu_id)
    if gallery is not None:
        store.check_space(gallery, model.space, deployment.asu_id)
    clients = Clients(replace(deployment, space=model.space, synthetic=model.synthetic))
    package = zip_package()
    wish = Wish(
        names=deployment.names,
        account=account_of(clients),
        cloud=cloud(deployment.target),
        packages=Packages(package, package),
        sizing=Sizing() if sizing is None else sizing,
        environment={**model_environment(model), **({} if log_names else NO_NAMES)},
    )
    return Draft(clients, wish.account, steps(clients, wish, adopt=adopt))


def draft_removal(deployment: Deployment) -> Draft:
    """Read what is there and plan the removal of all that carries the deployment's tag."""
    clients = Clients(deployment)
    nothing = Package("zip", "")
    wish = Wish(
        deployment.names, account_of(clients), cloud(deployment.target), Packages(nothing, nothing)
    )
    with cloud_errors("reading what is deployed", deployment):
        found = Reader(clients, wish.account).read(resources(wish))
    return Draft(clients, wish.account, plan_removal(found, deployment.asu_id))


def steps(clients: Clients, wish: Wish, *, adopt: bool = False) -> tuple[Step, ...]:
    """The steps from what is there to what is wished for."""
    wanted = resources(wish)
    with cloud_errors("reading what is deployed", clients.deployment):
        found = Reader(clients, wish.account).read(wanted)
    return plan(wanted, found, adopt=adopt)


def perform(work: Draft, watch: Watcher = lambda _step, _done: None) -> None:
    """Carry the steps out in order; a second draft finds what an interruption left."""
    context = Context(work.clients, work.account)
    for step in work.steps:
        watch(step, False)
        carry_out(step, context)
        watch(step, True)


def finish(work: Draft) -> Deployment:
    """Write the deployment down, with its URL, and publish the gallery where there is one."""
    before = work.clients.deployment
    with cloud_errors("asking for the Function URL", before):
        url = Reader(work.clients, work.account).address(DETECTION_FUNCTION)
    if url is None:
        raise CloudError("face-detection has no Function URL", hint="facectl deploy")
    deployment = replace(before, function_url=url)
    deployments.remember(deployment)
    publish.publish_local(work.clients)
    return deployment


def check(work: Draft, deployment: Deployment) -> Probed:
    """Have both functions answer a probe; raises CloudError where one does not."""
    url = FunctionUrl(str(deployment.function_url), connections=1)
    try:
        return probe(
            url,
            ResponseQueue(work.clients),
            request_queue(work.clients, work.account),
            space=str(deployment.space),
        )
    finally:
        url.close()


def account_of(clients: Clients) -> Account:
    """The account that the credentials belong to."""
    return Account(
        number=clients.account,
        region=clients.deployment.region,
        queue_endpoint=clients.sqs.meta.endpoint_url.rstrip("/"),
    )


def model_environment(model: Model) -> dict[str, str]:
    """What tells functions on this computer where the model is.

    The digest changes when a model is built anew in the same folder, and with
    it the configuration: workers that hold the old one are ended.
    """
    manifest = (model.path / MANIFEST).read_bytes()
    return {
        "FACECTL_MODEL_DIR": str(model.path.absolute()),
        "FACECTL_MODEL_DIGEST": hashlib.sha256(manifest).hexdigest()[:16],
    }
