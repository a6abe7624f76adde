"""The desired resources of a deployment, in creation order. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from facectl.context import Target
from facectl.deploy import policies
from facectl.deploy.models import (
    ALIAS,
    Account,
    Alias,
    Auth,
    Bucket,
    Function,
    FunctionUrl,
    Image,
    LogGroup,
    Package,
    Packages,
    Packaging,
    Permission,
    Queue,
    Repository,
    Resource,
    Role,
    Sizing,
    TargetCloud,
    Trigger,
)
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from lambda_src.settings import usable_cores

# AWS recommends at least 5 for queues that trigger functions: a throttled delivery counts.
# Source: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", configuration.
MAX_RECEIVES = 5
_DAY = 86_400
_RETENTION = 4 * _DAY
_DEAD_LETTER_RETENTION = 14 * _DAY
_LOG_DAYS = 14
# SQS's maximum: an empty response costs as much as a full one.
_LONG_POLL = 20
# A client that receives another client's response and does not delete it hides it from
# its owner for this long (the course's workload generator does so).
_RESPONSE_VISIBILITY = 1
# Times the function's timeout, as AWS recommends: leaves time to retry a throttled batch.
_VISIBILITY_TIMEOUTS = 6
# Only zips have a runtime; MiniStack runs every Python runtime with its own interpreter.
_RUNTIME = "python3.12"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The inputs that determine the desired resources.

    `environment`: variables for both functions (the model's folder). `role_arn`: an
    existing role for both functions, instead of creating roles.
    """

    names: Names
    account: Account
    cloud: TargetCloud
    packages: Packages
    sizing: Sizing = field(default_factory=Sizing)
    environment: Mapping[str, str] = field(default_factory=dict)
    role_arn: str | None = None
    auth: Auth | None = None
    demo: bool = False


def cloud(target: Target, packaging: Packaging | None = None) -> TargetCloud:
    """The properties of a target; `packaging` overrides its default."""
    if target == "aws":
        return TargetCloud(
            target="aws",
            packaging=packaging or "image",
            auth="iam",
            detection_concurrency=None,
            recognition_concurrency=10,
            threads=None,
            https_only=True,
            batches_by_name=False,
        )
    return TargetCloud(
        target="local",
        packaging=packaging or "zip",
        auth="none",
        # Workers are CPU-bound: more than the cores gain nothing. Each stage has its own
        # limit, so that neither starves the other.
        detection_concurrency=max(2, usable_cores() or 1),
        recognition_concurrency=2,
        threads=1,
        https_only=False,
        batches_by_name=True,
    )


def resources(desired: DesiredState) -> tuple[Resource, ...]:
    """All desired resources; each follows the resources it refers to."""
    names, owner = desired.names, desired.names.asu_id
    roles = () if desired.role_arn else _roles(desired)
    return (
        Bucket(names.bucket(desired.account.number, desired.account.region), owner),
        *_queues(desired),
        *(
            LogGroup(Names.log_group(function), owner, _LOG_DAYS)
            for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
        ),
        *roles,
        *_images(desired),
        _detection(desired),
        _recognition(desired),
        *_aliases(desired),
        FunctionUrl(DETECTION_FUNCTION, _auth(desired), _qualifier(desired)),
        *(_public_access(_qualifier(desired)) if _auth(desired) == "none" else ()),
        _trigger(desired),
    )


def _trigger(desired: DesiredState) -> Trigger:
    sizing = desired.sizing
    most = _value_or(sizing.max_concurrency, desired.cloud.recognition_concurrency)
    return Trigger(
        function=RECOGNITION_FUNCTION,
        queue=desired.account.queue_arn(desired.names.request_queue),
        owner=desired.names.asu_id,
        batch_size=sizing.batch_size,
        # A batching window would delay the first face of every batch.
        window=0,
        max_concurrency=None if sizing.pollers else most,
        qualifier=_qualifier(desired),
        pollers=sizing.pollers,
    )


def _aliases(desired: DesiredState) -> Iterator[Alias]:
    count = desired.sizing.provisioned_concurrency
    if count is not None:
        for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION):
            yield Alias(function, ALIAS, count)


def _qualifier(desired: DesiredState) -> str:
    # Provisioned concurrency needs a version or an alias.
    return "" if desired.sizing.provisioned_concurrency is None else ALIAS


def _auth(desired: DesiredState) -> Auth:
    return desired.auth or desired.cloud.auth


def _value_or(value: int | None, default: int | None) -> int | None:
    return default if value is None else value


def _queues(desired: DesiredState) -> tuple[Queue, ...]:
    names, account, owner = desired.names, desired.account, desired.names.asu_id

    def policy(queue: str) -> str:
        return policies.https_only(queue, account) if desired.cloud.https_only else ""

    timeout = desired.sizing.timeout
    return (
        Queue(
            name=names.dead_letter_queue,
            owner=owner,
            visibility_timeout=30,
            retention=_DEAD_LETTER_RETENTION,
            policy=policy(names.dead_letter_queue),
        ),
        Queue(
            name=names.request_queue,
            owner=owner,
            visibility_timeout=_VISIBILITY_TIMEOUTS * timeout,
            retention=_RETENTION,
            dead_letters_to=account.queue_arn(names.dead_letter_queue),
            max_receives=MAX_RECEIVES,
            policy=policy(names.request_queue),
        ),
        Queue(
            name=names.response_queue,
            owner=owner,
            visibility_timeout=_RESPONSE_VISIBILITY,
            retention=_RETENTION,
            receive_wait=_LONG_POLL,
            policy=policy(names.response_queue),
        ),
    )


def _roles(desired: DesiredState) -> tuple[Role, ...]:
    names, account = desired.names, desired.account
    trust = policies.lambda_trust()
    detection = policies.detection(names, account)
    recognition = policies.recognition(
        names, account, batches_by_name=desired.cloud.batches_by_name
    )
    return (
        Role(names.detection_role, names.asu_id, trust, detection),
        Role(names.recognition_role, names.asu_id, trust, recognition),
    )


def _images(desired: DesiredState) -> Iterator[Repository | Image]:
    packages = desired.packages
    for function, package in (
        (DETECTION_FUNCTION, packages.detection),
        (RECOGNITION_FUNCTION, packages.recognition),
    ):
        if package.tag:
            yield Repository(function, desired.names.asu_id)
            yield Image(function, package.tag, package.recipe)


def _detection(desired: DesiredState) -> Function:
    return _function(
        desired,
        DETECTION_FUNCTION,
        desired.packages.detection,
        desired.names.detection_role,
        _value_or(desired.sizing.reserved_concurrency, desired.cloud.detection_concurrency),
    )


def _recognition(desired: DesiredState) -> Function:
    # The trigger limits it: a lower reserved concurrency would throttle deliveries.
    return _function(
        desired,
        RECOGNITION_FUNCTION,
        desired.packages.recognition,
        desired.names.recognition_role,
        None,
    )


def _function(
    desired: DesiredState, name: str, package: Package, role: str, reserved: int | None
) -> Function:
    zipped = package.packaging == "zip"
    return Function(
        name=name,
        owner=desired.names.asu_id,
        packaging=package.packaging,
        code=package.digest,
        handler=f"lambda_src.{name.removeprefix('face-')}.handler" if zipped else "",
        runtime=_RUNTIME if zipped else "",
        role=desired.role_arn or desired.account.role_arn(role),
        memory=desired.sizing.memory,
        timeout=desired.sizing.timeout,
        architecture=desired.sizing.architecture,
        environment=_environment(desired),
        reserved_concurrency=reserved,
        archive=package.archive,
        demo=desired.demo,
    )


def _environment(desired: DesiredState) -> dict[str, str]:
    names, account = desired.names, desired.account
    threads = desired.cloud.threads
    return {
        "FACECTL_REQUEST_QUEUE_URL": account.queue_url(names.request_queue),
        "FACECTL_RESPONSE_QUEUE_URL": account.queue_url(names.response_queue),
        "FACECTL_GALLERY_BUCKET": names.bucket(account.number, account.region),
        "FACECTL_MAX_RECEIVES": str(MAX_RECEIVES),
        "FACECTL_VISIBILITY_TIMEOUT": str(_VISIBILITY_TIMEOUTS * desired.sizing.timeout),
        **({} if threads is None else {"FACECTL_THREADS": str(threads)}),
        **desired.environment,
    }


def _public_access(qualifier: str) -> tuple[Permission, ...]:
    """Both statements that a URL without authentication needs since October 2025.

    Source: AWS Lambda Developer Guide, "Control access to Lambda function URLs".
    """
    # MiniStack keeps one policy per function, AWS one per function and alias.
    suffix = f"-{qualifier}" if qualifier else ""
    return (
        Permission(
            DETECTION_FUNCTION,
            f"facectl-public-url{suffix}",
            "lambda:InvokeFunctionUrl",
            "*",
            policies.canonical({"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}),
            qualifier,
        ),
        Permission(
            DETECTION_FUNCTION,
            f"facectl-public-invoke{suffix}",
            "lambda:InvokeFunction",
            "*",
            policies.canonical({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
            qualifier,
        ),
    )
