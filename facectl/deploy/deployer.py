"""Runs a deployment: plan the steps, apply them, check that both functions answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from facectl import records
from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_denied
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy import planner, versions
from facectl.deploy.access import read_account, recognition_concurrency, reserved_for_public
from facectl.deploy.desired import cloud, readable, resources
from facectl.deploy.docker import Docker
from facectl.deploy.executor import apply_step
from facectl.deploy.image_digests import resolved
from facectl.deploy.models import OFF, DesiredState, Package, Packages
from facectl.deploy.options import Options
from facectl.deploy.packages import packages
from facectl.deploy.planner import ActualState, owners, without
from facectl.deploy.preflight import CheckResult, preflight
from facectl.deploy.probe import Probed, probe, request_queue
from facectl.deploy.reader import read_resources
from facectl.deploy.resources import Context, Function, FunctionUrl, Queue, Trigger
from facectl.deploy.steps import Delete, Replace, Step, Update
from facectl.errors import CloudError, InputError, NotRunningError
from facectl.gallery import publish, rebuild
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import PhotographEncoder
from facectl.gallery.rebuild import Rebuild
from facectl.local import process, relay
from facectl.naming import DETECTION_FUNCTION
from facectl.stream import reply_queues
from facectl.stream.delivery import FunctionUrlClient
from facectl.stream.responses import ResponseQueue
from lambda_src.vision.store import MANIFEST, Model


class Progress:
    """Receives the progress of steps; this base class ignores it."""

    def __call__(self, step: Step, done: bool) -> None:
        """A step starts (`done` false) or is complete."""

    def tell(self, line: str) -> None:
        """A transient status line of a long step."""

    def note(self, line: str) -> None:
        """A line about a step to keep in the output."""

    def count(self, done: int, total: int) -> None:
        """The bytes that a step has sent, and those that it sends; also from other threads."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Desired state, actual state, and the steps from actual to desired.

    `gallery` is the gallery rebuild that the model needs; None if none is needed.
    """

    clients: Clients
    options: Options
    desired: DesiredState
    actual: ActualState
    steps: tuple[Step, ...]
    removes: bool = False
    # Removals of other deployments, applied first; `steps` starts with their steps.
    removals: tuple[Plan, ...] = ()
    model: Model | None = None
    gallery: Rebuild | None = None
    # The results of the preflight checks that are no reason to stop.
    warnings: tuple[CheckResult, ...] = ()


def located(deployment: Deployment, endpoint_url: str | None = None) -> Deployment:
    """The deployment with the endpoint of the running local cloud.

    An `endpoint_url` given by the user is kept. Raises NotRunningError if no local cloud runs.
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
    """Read the actual state and plan a deployment; unset options default to the last deploy's.

    The plan first removes another ASU ID's deployment in the same account and region if it
    is a demo or `replace_others` is true. With `rebuilds`, the plan embeds a gallery again
    that has another embedding space than the model; otherwise the caller does. Raises
    CloudError if a resource belongs to another deployment, and the error of the first
    preflight check that finds a problem.
    """
    earlier = remembered.recall(deployment)
    if reset:
        # The alarms of an earlier deploy are removed.
        earlier = Options(alarms=None if earlier.alarms is None else OFF)
    options = earlier if options is None else options.over(earlier)
    clients = Clients(
        replace(deployment, space=model.space, synthetic=model.synthetic, precision=model.precision)
    )
    found = preflight(clients, options) if deployment.target == "aws" else ()
    warnings = tuple(result for result in found if result.verdict == "warning")
    options = resolved(clients, options)
    desired = desired_state(clients, model, options)
    actual = read(clients, desired)
    removals = _removals(clients, actual, replace_others=replace_others)
    removal_steps = tuple(step for removal in removals for step in removal.steps)
    steps = planner.plan(resources(desired), without(actual, removal_steps), adopt=options.adopt)
    space = EmbeddingSpace.of(model)
    gallery = rebuild.plan_local(deployment.asu_id, space) if rebuilds else None
    return Plan(
        clients, options, desired, actual, (*removal_steps, *steps), removals=removals, model=model,
        gallery=gallery, warnings=warnings,
    )  # fmt: skip


def _removals(clients: Clients, actual: ActualState, *, replace_others: bool) -> tuple[Plan, ...]:
    """The removal plans of other ASU IDs' deployments, whose functions have the same names."""
    here = clients.deployment
    removals = []
    for asu_id, tagged in owners(actual).items():
        if asu_id == here.asu_id:
            continue
        other = replace(here, asu_id=asu_id, function_url=None, auth=None)
        record = records.recall(other.key)
        demo = tagged or (record is not None and record.demo)
        if not (demo or replace_others):
            raise CloudError(
                f"This account and region hold the deployment of ASU ID {other.key}: "
                "there can be only one deployment",
                hint=f"facectl deploy {here.key.flags} --replace   destroys it first   "
                f"or   facectl destroy {other.key.flags}",
            )
        removals.append(prepare_removal(replace(other, demo=demo)))
    return tuple(removals)


def desired_state(clients: Clients, model: Model, options: Options) -> DesiredState:
    """The desired state for the options and the model."""
    deployment = clients.deployment
    target = cloud(deployment.target, options.packaging)
    sizing = options.sizing
    if target.target == "local":
        _check_local(options)
    account = read_account(clients)
    auth = options.auth or target.auth
    if target.target == "aws" and auth == "none" and sizing.reserved_concurrency is None:
        sizing = replace(sizing, reserved_concurrency=reserved_for_public(clients))
    if target.target == "aws" and sizing.pollers is None:
        chosen, default = sizing.max_concurrency, target.recognition_concurrency
        most = recognition_concurrency(clients, chosen, default)
        sizing = replace(sizing, max_concurrency=most)
    code = packages(model, options, account, zipped=target.packaging == "zip")
    return DesiredState(
        names=deployment.names,
        account=account,
        cloud=target,
        packages=versions.with_digests(clients, code),
        sizing=sizing,
        demo=deployment.demo,
        environment={
            **(model_environment(model) if target.packaging == "zip" else {}),
            **options.environment,
        },
        role_arn=options.role_arn,
        boundary=options.boundary,
        auth=auth,
        alarms=options.alarms,
        kms_key=options.key_in(account),
    )


def _check_local(options: Options) -> None:
    """Check that the local cloud has what the options ask for; raises InputError."""
    if options.pollers is not None:
        raise InputError("The local cloud has no provisioned pollers", hint="--max-concurrency")
    if options.alarms not in (None, OFF):
        raise InputError("The local cloud has no alarms: it sends no mail", hint="--target aws")
    if options.kms_key not in (None, OFF):
        raise InputError("The local cloud encrypts nothing", hint="--target aws")


def read(clients: Clients, desired: DesiredState) -> ActualState:
    """The actual state of the desired resources."""
    with cloud_errors("reading what is deployed", clients.deployment):
        return read_resources(Context(clients, desired.account), readable(desired))


def prepare_removal(deployment: Deployment) -> Plan:
    """Read the actual state and plan the deletion of every resource with the deployment's tag."""
    clients = Clients(deployment)
    # Include the repositories: an earlier deploy may have used images.
    package = Package("image", "", tag="none")
    desired = DesiredState(
        deployment.names,
        read_account(clients),
        cloud(deployment.target),
        Packages(package, package),
        alarms=OFF,
    )
    options = remembered.recall(deployment)
    try:
        actual = read(clients, desired)
    except CloudError as error:
        # Who deploys with an existing role may not be allowed to read other roles, and who
        # deploys without alarms may not be allowed to read alarms.
        known = replace(desired, role_arn=options.role_arn, alarms=options.alarms)
        if not is_denied(error) or readable(known) == readable(desired):
            raise
        actual = read(clients, known)
    steps = planner.plan_removal(actual, deployment.asu_id)
    steps = (*steps, *_reply_queue_removals(clients))
    return Plan(clients, Options(), desired, actual, steps, removes=True)


def _reply_queue_removals(clients: Clients) -> list[Delete]:
    """The deletions of the reply queues, those of clients that still run too."""
    try:
        names = reply_queues.found(clients)
    except CloudError as error:
        # Who has a policy of an earlier version may not list queues, and has made none of these.
        if is_denied(error):
            return []
        raise
    owner = clients.deployment.asu_id
    queues = reply_queues.inspect(clients, names)
    return [
        Delete(Queue(each.name, owner, visibility_timeout=0, retention=0, deleting=each.deleting))
        for each in queues
    ]


def is_being_deleted(step: Step) -> bool:
    """Whether a step waits for a queue that an earlier destroy deleted and SQS still shows."""
    return isinstance(step, Delete) and isinstance(step.resource, Queue) and step.resource.deleting


def apply(plan: Plan, progress: Progress | None = None) -> None:
    """Apply the steps in order; after an interruption, a new plan has the remaining steps."""
    if plan.gallery is not None and plan.model is not None:
        model = plan.model
        # In memory; `_publish_gallery` stores it, before the functions change.
        plan.gallery.embed(lambda: PhotographEncoder(model))
    if not plan.removes:
        # Before anything is created, so that an interrupted deploy can be resumed or destroyed.
        remembered.remember(plan.clients.deployment, plan.options)
    reporter = Progress() if progress is None else progress
    own = plan.steps
    for removal in plan.removals:
        apply(removal, progress)
        records.forget(removal.clients.deployment.key)
        own = own[len(removal.steps) :]
    context = Context(
        plan.clients, plan.desired.account, tell=reporter.tell, note=reporter.note,
        count=reporter.count,
    )  # fmt: skip
    waits = plan.gallery is not None or any(map(_changes_function, own))
    for step in own:
        if waits and isinstance(step.resource, Function):
            waits = False
            _publish_gallery(plan)
        reporter(step, False)
        apply_step(step, context)
        reporter(step, True)
    if waits:
        _publish_gallery(plan)


def _changes_function(step: Step) -> bool:
    return isinstance(step, (Update, Replace)) and isinstance(step.resource, Function)


def _publish_gallery(plan: Plan) -> None:
    """Store the rebuilt gallery and publish it for the new functions.

    The bucket has one object per embedding space, so the running functions
    keep reading their own.
    """
    if plan.gallery is not None:
        plan.gallery.commit()
    publish.publish_local(plan.clients, ahead=True)


def finish(plan: Plan) -> Deployment:
    """Record the deployment with its Function URL, and publish its gallery, if any."""
    before = plan.clients.deployment
    with cloud_errors("reading the Function URL", before):
        url = FunctionUrl.address(Context(plan.clients, plan.desired.account), DETECTION_FUNCTION)
    if url is None:
        raise CloudError("face-detection has no Function URL", hint="facectl deploy")
    deployment = replace(before, function_url=url, auth=plan.desired.auth)
    records.remember(deployment)
    publish.publish_local(plan.clients)
    if not plan.options.image_uris:
        # Images given by URI may contain facectl 1, which reads the old gallery object.
        publish.retire_old(plan.clients)
    return deployment


def check(plan: Plan, deployment: Deployment) -> Probed:
    """Wait until functions and trigger are ready, then send a probe to both functions.

    Raises CloudError if one does not become ready or does not answer.
    """
    context = Context(plan.clients, plan.desired.account)
    wanted = resources(plan.desired)
    functions = [each for each in wanted if isinstance(each, Function)]
    with cloud_errors("waiting for the functions and the trigger", deployment):
        for resource in wanted:
            if isinstance(resource, (Function, Trigger)):
                resource.wait(context)
        idle = any(function.is_idle(context) for function in functions)
    if plan.desired.cloud.target == "local" and plan.desired.cloud.packaging == "image":
        relay_for_containers(deployment)
    try:
        return _probe(plan, deployment, context)
    except CloudError:
        if not idle:
            raise
    # The probe failed because it woke a function up.
    with cloud_errors("waiting for the functions", deployment):
        for function in functions:
            function.wait(context)
    return _probe(plan, deployment, context)


def _probe(plan: Plan, deployment: Deployment, context: Context) -> Probed:
    sign = plan.clients.sign if deployment.signs else None
    url = FunctionUrlClient(str(deployment.function_url), connections=1, sign=sign)
    try:
        return probe(
            url,
            ResponseQueue(plan.clients),
            request_queue(plan.clients, plan.desired.account),
            space=str(deployment.space),
            clock=context.clock,
            sleep=context.sleep,
        )
    finally:
        url.close()


def record(plan: Plan) -> None:
    """Record a deploy whose functions answer, for `facectl rollback`; raises CloudError."""
    if plan.model is not None:
        versions.record(plan.clients, plan.desired, plan.options, plan.model)


def relay_for_containers(deployment: Deployment) -> None:
    """Start a relay through which Docker containers reach the local cloud."""
    address = Docker.find().bridge_address()
    running = process.find()
    if address and running is not None and running.endpoint_url == deployment.endpoint_url:
        relay.ensure(address, running.port)


def model_environment(model: Model) -> dict[str, str]:
    """The environment variables with which local functions find the model.

    The digest changes when a model is rebuilt in the same folder; this changes the
    configuration, so workers with the old model are stopped.
    """
    manifest = (model.path / MANIFEST).read_bytes()
    return {
        "FACECTL_MODEL_DIR": str(model.path.absolute()),
        "FACECTL_MODEL_DIGEST": hashlib.sha256(manifest).hexdigest()[:16],
    }
