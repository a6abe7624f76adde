"""The resources that a deployment is to have, in the order in which they can be made. No I/O."""

from __future__ import annotations

import os
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
    Cloud,
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
    Trigger,
)
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names

# AWS's advice for queues that trigger functions is 5 at least: a throttled delivery counts.
# Source: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", configuration.
MAX_RECEIVES = 5
_DAY = 86_400
_RETENTION = 4 * _DAY
_DEAD_LETTER_RETENTION = 14 * _DAY
_LOG_DAYS = 14
# SQS's longest: an empty answer costs as much as a full one.
_LONG_POLL = 20
# A client that does not know another's message takes it and leaves it: it is
# hidden from its owner for this long (the course's workload generator does so).
_RESPONSE_VISIBILITY = 1
# AWS's advice for queues that trigger functions: room for the retries of a throttled batch.
_VISIBILITY_TIMEOUTS = 6
# Only a zip has a runtime; MiniStack runs every Python one with its own interpreter.
_RUNTIME = "python3.12"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be deployed, and where.

    `environment` are variables for both functions (where the model is).
    `role_arn` is used where roles can't be made.
    """

    names: Names
    account: Account
    cloud: Cloud
    packages: Packages
    sizing: Sizing = field(default_factory=Sizing)
    environment: Mapping[str, str] = field(default_factory=dict)
    role_arn: str | None = None
    auth: Auth | None = None
    demo: bool = False


def cloud(target: Target, packaging: Packaging | None = None) -> Cloud:
    """What the target is like; `packaging` where it is not the target's own."""
    if target == "aws":
        return Cloud(
            target="aws",
            packaging=packaging or "image",
            auth="iam",
            detection_concurrency=None,
            recognition_concurrency=10,
            threads=None,
            https_only=True,
            batches_by_name=False,
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Cloud(
        target="local",
        packaging=packaging or "zip",
        auth="none",
        # Every worker holds a model and computes: more of them than cores would only
        # take turns. Each stage has its own cap, so that neither can starve the other.
        detection_concurrency=max(2, cores or 1),
        recognition_concurrency=2,
        threads=1,
        https_only=False,
        batches_by_name=True,
    )


def resources(wish: Wish) -> tuple[Resource, ...]:
    """Everything the wish needs; each resource after those it refers to."""
    names, owner = wish.names, wish.names.asu_id
    roles = () if wish.role_arn else _roles(wish)
    return (
        Bucket(names.bucket(wish.account.number, wish.account.region), owner),
        *_queues(wish),
        *(
            LogGroup(Names.log_group(function), owner, _LOG_DAYS)
            for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
        ),
        *roles,
        *_images(wish),
        _detection(wish),
        _recognition(wish),
        *_aliases(wish),
        FunctionUrl(DETECTION_FUNCTION, _auth(wish), _qualifier(wish)),
        *(_public_access(_qualifier(wish)) if _auth(wish) == "none" else ()),
        _trigger(wish),
    )


def _trigger(wish: Wish) -> Trigger:
    sizing = wish.sizing
    most = _given(sizing.max_concurrency, wish.cloud.recognition_concurrency)
    return Trigger(
        function=RECOGNITION_FUNCTION,
        queue=wish.account.queue_arn(wish.names.request_queue),
        owner=wish.names.asu_id,
        batch_size=sizing.batch_size,
        # A window would hold back the first face of every batch.
        window=0,
        max_concurrency=None if sizing.pollers else most,
        qualifier=_qualifier(wish),
        pollers=sizing.pollers,
    )


def _aliases(wish: Wish) -> Iterator[Alias]:
    count = wish.sizing.provisioned_concurrency
    if count is not None:
        for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION):
            yield Alias(function, ALIAS, count)


def _qualifier(wish: Wish) -> str:
    # Lambda keeps environments warm for versions alone.
    return "" if wish.sizing.provisioned_concurrency is None else ALIAS


def _auth(wish: Wish) -> Auth:
    return wish.auth or wish.cloud.auth


def _given(value: int | None, default: int | None) -> int | None:
    return default if value is None else value


def _queues(wish: Wish) -> tuple[Queue, ...]:
    names, account, owner = wish.names, wish.account, wish.names.asu_id

    def policy(queue: str) -> str:
        return policies.https_only(queue, account) if wish.cloud.https_only else ""

    timeout = wish.sizing.timeout
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


def _roles(wish: Wish) -> tuple[Role, ...]:
    names, account = wish.names, wish.account
    trust = policies.lambda_trust()
    detection = policies.detection(names, account)
    recognition = policies.recognition(names, account, batches_by_name=wish.cloud.batches_by_name)
    return (
        Role(names.detection_role, names.asu_id, trust, detection),
        Role(names.recognition_role, names.asu_id, trust, recognition),
    )


def _images(wish: Wish) -> Iterator[Repository | Image]:
    for package in (wish.packages.detection, wish.packages.recognition):
        if package.image is not None:
            yield Repository(package.image.repository, wish.names.asu_id)
            yield package.image


def _detection(wish: Wish) -> Function:
    return _function(
        wish,
        DETECTION_FUNCTION,
        wish.packages.detection,
        wish.names.detection_role,
        _given(wish.sizing.reserved_concurrency, wish.cloud.detection_concurrency),
    )


def _recognition(wish: Wish) -> Function:
    # Bounded by the trigger: a reserved concurrency below it would send messages back.
    return _function(
        wish, RECOGNITION_FUNCTION, wish.packages.recognition, wish.names.recognition_role, None
    )


def _function(wish: Wish, name: str, package: Package, role: str, reserved: int | None) -> Function:
    zipped = package.packaging == "zip"
    return Function(
        name=name,
        owner=wish.names.asu_id,
        packaging=package.packaging,
        code=package.digest,
        handler=f"lambda_src.{name.removeprefix('face-')}.handler" if zipped else "",
        runtime=_RUNTIME if zipped else "",
        role=wish.role_arn or wish.account.role_arn(role),
        memory=wish.sizing.memory,
        timeout=wish.sizing.timeout,
        architecture=wish.sizing.architecture,
        environment=_environment(wish),
        reserved_concurrency=reserved,
        archive=package.archive,
        demo=wish.demo,
    )


def _environment(wish: Wish) -> dict[str, str]:
    names, account = wish.names, wish.account
    threads = wish.cloud.threads
    return {
        "FACECTL_REQUEST_QUEUE_URL": account.queue_url(names.request_queue),
        "FACECTL_RESPONSE_QUEUE_URL": account.queue_url(names.response_queue),
        "FACECTL_GALLERY_BUCKET": names.bucket(account.number, account.region),
        "FACECTL_MAX_RECEIVES": str(MAX_RECEIVES),
        "FACECTL_VISIBILITY_TIMEOUT": str(_VISIBILITY_TIMEOUTS * wish.sizing.timeout),
        **({} if threads is None else {"FACECTL_THREADS": str(threads)}),
        **wish.environment,
    }


def _public_access(qualifier: str) -> tuple[Permission, ...]:
    """Both statements that a URL without authentication needs since October 2025.

    Source: AWS Lambda Developer Guide, "Control access to Lambda function URLs".
    """
    # MiniStack has one policy for a function and its aliases, AWS one for each.
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
