"""Checks what a deployment needs: one result per check, with the next command."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

from facectl.aws import Clients, cloud_errors, is_denied, with_account
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy.access import (
    MISSING_ROLE_HINT,
    PUBLIC_CONCURRENCY,
    check_pollers,
    concurrency_limit,
    half_of,
    is_learner_lab,
)
from facectl.deploy.deployer import Plan, check, desired_state
from facectl.deploy.docker import Docker
from facectl.deploy.options import Options
from facectl.deploy.permissions import actions
from facectl.deploy.resources.queues import queue_facts
from facectl.errors import CloudError, FacectlError, InputError
from facectl.gallery import store as galleries
from facectl.models import store as models

Verdict = Literal["ok", "warning", "problem"]

# Space for two images with their layers and for building them, by builder.
_DISK_GB = {"direct": 1.5, "docker": 5.0}
_ASSUMED = re.compile(r"arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/.+")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check; `next` is the command to run."""

    check: str
    verdict: Verdict
    text: str
    next: str | None = None


Check = Callable[[Deployment], CheckResult]


def examine(deployment: Deployment) -> Iterator[CheckResult]:
    """Run the checks in order and yield each result as soon as it is known."""
    for name, check_one in _checks(deployment):
        yield _run_check(name, check_one, deployment)


def _run_check(name: str, check_one: Check, deployment: Deployment) -> CheckResult:
    try:
        return check_one(deployment)
    except FacectlError as error:
        return CheckResult(name, "problem", str(error), error.hint)


def _checks(deployment: Deployment) -> list[tuple[str, Check]]:
    options = remembered.recall(deployment)
    checks: list[tuple[str, Check]] = [("model", _model), ("gallery", _gallery)]
    if deployment.target == "aws":
        checks += [
            ("credentials", _credentials),
            ("region", _region),
            ("permissions", _permissions),
            ("quotas", _quotas),
        ]
    else:
        checks.append(("local cloud", _local_cloud))
    if deployment.target == "aws" or options.packaging == "image":
        checks.append(("disk", _disk))
    # The local cloud runs images with Docker, whoever built them.
    if options.builder == "docker" or (
        deployment.target == "local" and options.packaging == "image"
    ):
        checks.append(("docker", _docker))
    if deployment.function_url is None:
        return [*checks, ("deployment", _not_deployed)]
    return [*checks, ("queues", _queues), ("probe", _probe)]


def _not_deployed(_deployment: Deployment) -> CheckResult:
    return CheckResult("deployment", "warning", "nothing is deployed yet", "facectl deploy")


def _model(deployment: Deployment) -> CheckResult:
    model = models.find(deployment.space)
    models.verify(model)
    if model.synthetic:
        text = f"{model.path.name} is synthetic: its names mean nothing"
        return CheckResult("model", "warning", text, "facectl models build --weights vggface2")
    return CheckResult("model", "ok", f"{model.path.name}, every file matches its manifest")


def _gallery(deployment: Deployment) -> CheckResult:
    space = models.find(deployment.space).space
    gallery = galleries.Store.find(deployment.asu_id)
    if gallery is None:
        text = "nobody is enrolled: every face will be Unknown"
        return CheckResult("gallery", "warning", text, "facectl gallery enroll NAME IMAGE")
    with closing(gallery):
        gallery.check_space(space)
        return CheckResult("gallery", "ok", f"{len(gallery.people())} names")


def _credentials(deployment: Deployment) -> CheckResult:
    clients = Clients(with_account(deployment))
    chosen = remembered.recall(deployment)
    if is_learner_lab(clients.identity) and chosen.role_arn is None:
        hint = MISSING_ROLE_HINT.format(account=clients.account)
        text = f"{clients.identity}: a learner lab can't create roles"
        return CheckResult("credentials", "warning", text, hint)
    return CheckResult("credentials", "ok", clients.identity)


def _region(deployment: Deployment) -> CheckResult:
    known = Clients(deployment).regions()
    if deployment.region not in known:
        raise InputError(f"Lambda has no region {deployment.region!r}", hint="--region us-east-1")
    return CheckResult("region", "ok", deployment.region)


def _permissions(deployment: Deployment) -> CheckResult:
    clients = Clients(deployment)
    principal = _principal(clients.identity)
    if principal is None:
        return CheckResult("permissions", "ok", "the root user is allowed everything")
    chosen = remembered.recall(deployment)
    needed = actions(makes_roles=chosen.role_arn is None)
    try:
        pages = clients.iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=principal, ActionNames=list(needed)
        )
        with cloud_errors("simulating permissions", deployment):
            results: list[Any] = [each for page in pages for each in page["EvaluationResults"]]
    except CloudError as error:
        if is_denied(error):
            text = "these credentials may not simulate their permissions"
            return CheckResult("permissions", "warning", text, "facectl deploy --dry-run")
        raise
    denied = [each["EvalActionName"] for each in results if each["EvalDecision"] != "allowed"]
    if denied:
        text = f"not allowed: {', '.join(sorted(denied))}"
        return CheckResult("permissions", "problem", text, f"allow them for {principal}")
    return CheckResult("permissions", "ok", f"all {len(needed)} that a deploy needs")


def _quotas(deployment: Deployment) -> CheckResult:
    clients = Clients(deployment)
    limit = concurrency_limit(clients)
    if limit is None:
        text = "these credentials may not read the concurrency limit"
        return CheckResult("quotas", "warning", text, "allow lambda:GetAccountSettings")
    text = f"the concurrency limit is {limit}"
    options = remembered.recall(deployment)
    if options.pollers is not None:
        check_pollers(options.pollers, limit)
    chosen = options.max_concurrency if options.pollers is None else None
    if chosen is not None and chosen > half_of(limit):
        text += f", and --max-concurrency {chosen} leaves face-detection fewer than half of them"
        return CheckResult(
            "quotas", "warning", text, f"facectl deploy --max-concurrency {half_of(limit)}"
        )
    if limit <= PUBLIC_CONCURRENCY:
        hint = "request an increase: Service Quotas, AWS Lambda, Concurrent executions"
        return CheckResult("quotas", "warning", text, hint)
    return CheckResult("quotas", "ok", text)


def _local_cloud(deployment: Deployment) -> CheckResult:
    clients = Clients(deployment)
    with cloud_errors("calling the local cloud", deployment):
        clients.sqs.list_queues()
    return CheckResult("local cloud", "ok", f"answers at {deployment.endpoint_url}")


def _docker(_deployment: Deployment) -> CheckResult:
    docker = Docker.find()
    text = f"{docker.command} {docker.client_version}, engine {docker.server_version}"
    if docker.builder == "buildx":
        return CheckResult("docker", "ok", f"{text}, buildx")
    builds = "plain BuildKit" if docker.builder == "buildkit" else "its classic builder"
    hint = "install docker-buildx-plugin to build for other processors"
    return CheckResult(
        "docker", "ok", f"{text}, builds with {builds} for this computer alone", hint
    )


def _disk(deployment: Deployment) -> CheckResult:
    needed = _DISK_GB[remembered.recall(deployment).build.builder]
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.1f} GB free for {folder}"
    if free < needed:
        return CheckResult("disk", "problem", text, f"make {needed:.1f} GB free")
    return CheckResult("disk", "ok", text)


def _queues(deployment: Deployment) -> CheckResult:
    clients = Clients(deployment)
    names = deployment.names
    held: list[str] = []
    for name in (names.request_queue, names.response_queue, names.dead_letter_queue):
        with cloud_errors(f"reading {name}", deployment):
            url = clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]
            counts = queue_facts(clients, url)
        if total := sum(counts.values()):
            held.append(f"{name} holds {total}")
    if held:
        return CheckResult(
            "queues", "warning", "; ".join(held), "facectl tail   or   facectl purge"
        )
    return CheckResult("queues", "ok", "empty")


def _probe(deployment: Deployment) -> CheckResult:
    model = models.find(deployment.space)
    clients = Clients(replace(deployment, space=model.space))
    options = remembered.recall(deployment)
    desired = desired_state(clients, model, options)
    took = check(Plan(clients, Options(), desired, {}, ()), clients.deployment)
    text = (
        f"face-detection answered after {took.detection:.1f} s, "
        f"face-recognition after {took.recognition:.1f} s"
    )
    return CheckResult("probe", "ok", text)


def _principal(identity: str) -> str | None:
    """The user or role whose policies apply to a session; None for the root user."""
    if identity.endswith(":root"):
        return None
    assumed = _ASSUMED.fullmatch(identity)
    if assumed is None:
        return identity
    partition, account, role = assumed.groups()
    return f"arn:{partition}:iam::{account}:role/{role}"
