"""A deployment from beginning to end: draft what is left to do, do it, see that it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from facectl import records
from facectl.aws import Clients, cloud_errors
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy.access import check_roles, recognition_concurrency, reserved_for_public
from facectl.deploy.desired import DesiredState, cloud, resources
from facectl.deploy.docker import Docker
from facectl.deploy.executor import apply_step
from facectl.deploy.images import given_packages, image_package
from facectl.deploy.models import Account, Function, Image, Package, Packages, Step, Update
from facectl.deploy.models import Replace as ReplaceStep
from facectl.deploy.options import Options
from facectl.deploy.packages import zip_package
from facectl.deploy.planner import Found, owners, plan, plan_removal, without
from facectl.deploy.probe import Probed, probe, request_queue
from facectl.deploy.reader import Reader
from facectl.deploy.writers.base import Context
from facectl.errors import CloudError, InputError, NotRunningError
from facectl.gallery import publish, rebuild
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import PhotographEncoder
from facectl.gallery.rebuild import Rebuild
from facectl.local import process, relay
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.stream.delivery import FunctionUrlClient
from facectl.stream.responses import ResponseQueue
from lambda_src.vision.store import MANIFEST, Model


class Progress:
    """Hears of the steps as they are done; this one keeps silent."""

    def __call__(self, step: Step, done: bool) -> None:
        """A step begins, or is done."""

    def tell(self, line: str) -> None:
        """What a long step is at."""

    def note(self, line: str) -> None:
        """What is worth keeping of a step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wished for, what was found, and the steps that are left between the two.

    `gallery` is the rebuild that the model needs, None where it needs none.
    """

    clients: Clients
    options: Options
    desired: DesiredState
    found: Found
    steps: tuple[Step, ...]
    removes: bool = False
    # Of other deployments, which come first; `steps` begins with their steps.
    removals: tuple[Plan, ...] = ()
    model: Model | None = None
    gallery: Rebuild | None = None


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


def prepare(
    deployment: Deployment,
    model: Model,
    options: Options | None = None,
    *,
    reset: bool = False,
    replace_others: bool = False,
    rebuilds: bool = True,
) -> Plan:
    """Read what is there and plan the rest, with the options of earlier runs where none are said.

    A deployment of another ASU ID in this place is removed first where it is
    a demo, or with `replace_others`. A gallery of another embedding space
    than the model's is planned to be embedded again, unless not `rebuilds`:
    then the caller brings it to the model's space. Raises CloudError where a
    resource is somebody else's.
    """
    earlier = Options() if reset else remembered.recall(deployment)
    options = earlier if options is None else options.over(earlier)
    clients = Clients(replace(deployment, space=model.space, synthetic=model.synthetic))
    check_roles(clients, options)
    desired = desired_state(clients, model, options)
    found = read(clients, desired)
    removals = _removals(clients, found, replace_others=replace_others)
    first = tuple(step for removal in removals for step in removal.steps)
    steps = plan(resources(desired), without(found, first), adopt=options.adopt)
    space = EmbeddingSpace.of(model)
    gallery = rebuild.plan_local(deployment.asu_id, space) if rebuilds else None
    return Plan(
        clients, options, desired, found, (*first, *steps), removals=removals, model=model,
        gallery=gallery,
    )  # fmt: skip


def _removals(clients: Clients, found: Found, *, replace_others: bool) -> tuple[Plan, ...]:
    """The removal of each other ASU ID's deployment whose functions have the same names."""
    here = clients.deployment
    drafts = []
    for asu_id, tagged in owners(found).items():
        if asu_id == here.asu_id:
            continue
        other = replace(here, asu_id=asu_id, function_url=None, auth=None)
        record = records.recall(other.key)
        demo = tagged or (record is not None and record.demo)
        if not (demo or replace_others):
            raise CloudError(
                f"This place belongs to the deployment of ASU ID {other.key}: "
                "one account and region holds one deployment",
                hint=f"facectl deploy {here.key.flags} --replace   destroys it first   "
                f"or   facectl destroy {other.key.flags}",
            )
        drafts.append(prepare_removal(replace(other, demo=demo)))
    return tuple(drafts)


def desired_state(clients: Clients, model: Model, options: Options) -> DesiredState:
    """The deployment that the options ask for."""
    deployment, account = clients.deployment, account_of(clients)
    target = cloud(deployment.target, options.packaging)
    packages = _packages(model, options, account, zipped=target.packaging == "zip")
    sizing = options.sizing
    if target.target == "local" and sizing.pollers is not None:
        raise InputError("The local cloud has no pollers to pay for", hint="--max-concurrency")
    auth = options.auth or target.auth
    if target.target == "aws" and auth == "none" and sizing.reserved_concurrency is None:
        sizing = replace(sizing, reserved_concurrency=reserved_for_public(clients))
    if target.target == "aws" and sizing.pollers is None:
        chosen, default = sizing.max_concurrency, target.recognition_concurrency
        most = recognition_concurrency(clients, chosen, default)
        sizing = replace(sizing, max_concurrency=most)
    return DesiredState(
        names=deployment.names,
        account=account,
        cloud=target,
        packages=packages,
        sizing=sizing,
        demo=deployment.demo,
        environment={
            **(model_environment(model) if target.packaging == "zip" else {}),
            **options.environment,
        },
        role_arn=options.role_arn,
        auth=auth,
    )


def read(clients: Clients, desired: DesiredState) -> Found:
    """What is there of what is wished for."""
    with cloud_errors("reading what is deployed", clients.deployment):
        return Reader(clients, desired.account).read(resources(desired))


def prepare_removal(deployment: Deployment) -> Plan:
    """Read what is there and plan the removal of all that carries the deployment's tag."""
    clients = Clients(deployment)
    # Whatever the functions run, there may be repositories.
    detection, recognition = (
        Package("image", "", image=Image(function, "none"))
        for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
    )
    desired = DesiredState(
        deployment.names,
        account_of(clients),
        cloud(deployment.target),
        Packages(detection, recognition),
    )
    found = read(clients, desired)
    steps = plan_removal(found, deployment.asu_id)
    return Plan(clients, Options(), desired, found, steps, removes=True)


def apply(work: Plan, progress: Progress | None = None) -> None:
    """Carry the steps out in order; a second draft finds what an interruption left."""
    embed_gallery(work)
    if not work.removes:
        # Before anything is made: an interrupted run is gone on with, or destroyed, by its name.
        remembered.remember(work.clients.deployment, work.options)
    hears = Progress() if progress is None else progress
    own = work.steps
    for removal in work.removals:
        apply(removal, progress)
        records.forget(removal.clients.deployment.key)
        own = own[len(removal.steps) :]
    context = Context(work.clients, work.desired.account, tell=hears.tell, note=hears.note)
    waits = work.gallery is not None or any(map(_changes_function, own))
    for step in own:
        if waits and isinstance(step.resource, Function):
            waits = False
            _hand_over_gallery(work)
        hears(step, False)
        apply_step(step, context)
        hears(step, True)
    if waits:
        _hand_over_gallery(work)


def embed_gallery(work: Plan, progress: Callable[[], None] = lambda: None) -> None:
    """Embed what the rebuild of a draft asks for and is not embedded yet; in memory."""
    if work.gallery is not None and work.model is not None:
        model = work.model
        work.gallery.embed(lambda: PhotographEncoder(model), progress)


def _changes_function(step: Step) -> bool:
    return isinstance(step, (Update, ReplaceStep)) and isinstance(step.resource, Function)


def _hand_over_gallery(work: Plan) -> None:
    """Store the rebuilt gallery and publish it for the functions as they will be.

    Each embedding space has an object of its own in the bucket, so the
    functions that still run go on with theirs.
    """
    if work.gallery is not None:
        work.gallery.commit()
    publish.publish_local(work.clients, ahead=True)


def finish(work: Plan) -> Deployment:
    """Write the deployment's URL down, and publish the gallery where there is one."""
    before = work.clients.deployment
    with cloud_errors("asking for the Function URL", before):
        url = Reader(work.clients, work.desired.account).address(DETECTION_FUNCTION)
    if url is None:
        raise CloudError("face-detection has no Function URL", hint="facectl deploy")
    deployment = replace(before, function_url=url, auth=work.desired.auth)
    records.remember(deployment)
    publish.publish_local(work.clients)
    if not work.options.image_uris:
        # Given images may be of facectl 1; all others read the gallery of their model.
        publish.retire_old(work.clients)
    return deployment


def check(work: Plan, deployment: Deployment) -> Probed:
    """Have both functions answer a probe; raises CloudError where one does not."""
    if work.desired.cloud.target == "local" and work.desired.cloud.packaging == "image":
        open_way_for_containers(deployment)
    sign = work.clients.sign if deployment.signs else None
    url = FunctionUrlClient(str(deployment.function_url), connections=1, sign=sign)
    try:
        return probe(
            url,
            ResponseQueue(work.clients),
            request_queue(work.clients, work.desired.account),
            space=str(deployment.space),
        )
    finally:
        url.close()


def open_way_for_containers(deployment: Deployment) -> None:
    """Let the containers of this computer reach the local cloud."""
    address = Docker.find().bridge_address()
    running = process.find()
    if address and running is not None and running.endpoint_url == deployment.endpoint_url:
        relay.ensure(address, running.port)


def account_of(clients: Clients) -> Account:
    """The account that the credentials belong to."""
    region, endpoint = clients.deployment.region, clients.deployment.endpoint_url
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return Account(
        number=clients.account,
        region=region,
        queue_endpoint=clients.sqs.meta.endpoint_url.rstrip("/"),
        registry=f"{clients.account}.dkr.ecr.{region}.{domain}"
        if endpoint is None
        else endpoint.partition("://")[2].rstrip("/"),
        partition=clients.partition,
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


def _packages(model: Model, options: Options, account: Account, *, zipped: bool) -> Packages:
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
