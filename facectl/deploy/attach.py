"""Reads a deployment that something else made: a template, or facectl on another computer."""

from __future__ import annotations

from dataclasses import replace

from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_denied
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy.access import read_account
from facectl.deploy.models import ALIAS, Sizing
from facectl.deploy.options import Options
from facectl.deploy.packages import packages
from facectl.deploy.resources import (
    Alias,
    Context,
    Function,
    FunctionUrl,
    Queue,
    Role,
    Subscription,
    Trigger,
)
from facectl.errors import CloudError
from facectl.naming import DETECTION_FUNCTION, FUNCTIONS, RECOGNITION_FUNCTION
from lambda_src.log import METRICS_VARIABLE
from lambda_src.vision.store import Model

_HINT = "facectl export cloudformation   or   facectl deploy"


def find(deployment: Deployment, model: Model | None) -> tuple[Deployment, Options]:
    """The deployment with its Function URL and authentication, and the options that it has.

    `model`: what its images contain; None if it is not known. The options of an earlier record
    that AWS does not tell, those of builds, are kept. Raises CloudError if a function, its URL
    or the trigger is missing or belongs to another ASU ID.
    """
    clients = Clients(deployment)
    context = Context(clients, read_account(clients))
    with cloud_errors("reading the deployment", deployment):
        found = [_function(context, name) for name in FUNCTIONS]
        url = FunctionUrl.find(context, DETECTION_FUNCTION, ALIAS)
        address = FunctionUrl.address(context, DETECTION_FUNCTION)
        queue = context.account.queue_arn(deployment.names.request_queue)
        trigger = Trigger.find(context, queue, RECOGNITION_FUNCTION)
        if url is None or trigger is None:
            what = "face-detection has no Function URL" if url is None else "there is no trigger"
            raise CloudError(f"The deployment is not complete: {what}", hint=_HINT)
        options = _options(context, found[0], trigger)
    earlier = remembered.recall(deployment)
    options = replace(
        options,
        auth=url.auth,
        builder=earlier.builder,
        base_image=earlier.base_image,
        package_index=earlier.package_index,
        base_digest=earlier.base_digest,
        base_python=earlier.base_python,
    )
    if model is not None:
        deployment = replace(
            deployment, space=model.space, synthetic=model.synthetic, precision=model.precision
        )
    images = tuple(f"{each.name}={each.code}" for each in found if each.packaging == "image")
    if images and not _is_built_here(context, found, model, options):
        options = replace(options, image_uris=images)
    return replace(deployment, function_url=address, auth=url.auth), options


def _function(context: Context, name: str) -> Function:
    deployment = context.clients.deployment
    found = Function.find(context, name)
    if found is None:
        raise CloudError(f"There is no function {name} in {deployment.key}", hint=_HINT)
    if found.owner != deployment.asu_id:
        whose = f"of ASU ID {found.owner}" if found.owner else "not of facectl: it has no owner tag"
        raise CloudError(
            f"The function {name} is {whose}",
            hint=f"--asu-id {found.owner}" if found.owner else "facectl deploy --adopt",
        )
    return found


def _options(context: Context, function: Function, trigger: Trigger) -> Options:
    """The options that the resources of a deployment have; the defaults are left out."""
    names = context.clients.deployment.names
    alias = Alias.find(context, function.name)
    own = context.account.role_arn(names.detection_role) == function.role
    role = Role(names.detection_role, None, "", "").read(context) if own else None
    queue = Queue(names.request_queue, None, 0, 0).read(context)
    key = queue.kms_key if queue is not None else ""
    defaults = Sizing()

    def unless_default(name: str, value: int) -> int | None:
        return None if value == getattr(defaults, name) else value

    return Options(
        memory=unless_default("memory", function.memory),
        timeout=unless_default("timeout", function.timeout),
        batch_size=unless_default("batch_size", trigger.batch_size),
        architecture=None if function.architecture == "x86_64" else function.architecture,
        reserved_concurrency=function.reserved_concurrency,
        provisioned_concurrency=None if alias is None else alias.provisioned,
        max_concurrency=trigger.max_concurrency,
        pollers=trigger.pollers,
        role_arn=None if own else function.role,
        boundary=role.boundary or None if role is not None else None,
        packaging="zip" if function.packaging == "zip" else None,
        log_names=False if function.environment.get("FACECTL_LOG_NAMES") == "0" else None,
        metrics=True if METRICS_VARIABLE in function.environment else None,
        min_face_size=_whole(function.environment.get("FACECTL_MIN_FACE_SIZE")),
        alarms=_email(context),
        kms_key=key or None,
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _email(context: Context) -> str | None:
    """The address that alarms are sent to; None without alarms, or if it may not be read."""
    topic = context.clients.deployment.names.alarm_topic
    try:
        with cloud_errors("reading the topic of the alarms", context.clients.deployment):
            found = Subscription(topic, "").read(context)
    except CloudError as error:
        if is_denied(error):
            return None
        raise
    return None if found is None else found.email


def _is_built_here(
    context: Context, found: list[Function], model: Model | None, options: Options
) -> bool:
    """Whether this computer would build the images of the functions: their tags say so."""
    if model is None:
        return False
    built = packages(model, options, context.account, zipped=False)
    return [each.code for each in found] == [built.detection.digest, built.recognition.digest]
