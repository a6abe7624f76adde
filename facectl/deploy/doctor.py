"""Checks what a deployment needs: one result per check, with the next command."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

from facectl.aws import Clients, cloud_errors
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy import preflight
from facectl.deploy.deployer import Plan, check, desired_state
from facectl.deploy.docker import Docker
from facectl.deploy.options import Options
from facectl.deploy.preflight import CheckResult
from facectl.deploy.resources.queues import queue_facts
from facectl.errors import FacectlError
from facectl.gallery import store as galleries
from facectl.models import store as models

# Space for two images with their layers and for building them, by builder.
_DISK_GB = {"direct": 1.5, "docker": 5.0}


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
        checks += [(name, partial(_preflight, each)) for name, each in preflight.checks().items()]
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


def _preflight(check_one: preflight.Check, deployment: Deployment) -> CheckResult:
    """One of the checks that a deploy runs too."""
    return check_one(Clients(deployment), remembered.recall(deployment))


def _not_deployed(_deployment: Deployment) -> CheckResult:
    return CheckResult("deployment", "warning", "nothing is deployed yet", "facectl deploy")


def _model(deployment: Deployment) -> CheckResult:
    model = models.deployed(deployment)
    models.verify(model)
    if model.synthetic:
        text = f"{model.path.name} is synthetic: its names mean nothing"
        return CheckResult("model", "warning", text, "facectl models build")
    return CheckResult("model", "ok", f"{model.path.name}, every file matches its manifest")


def _gallery(deployment: Deployment) -> CheckResult:
    space = models.deployed(deployment).space
    gallery = galleries.Store.find(deployment.asu_id)
    if gallery is None:
        text = "nobody is enrolled: every face will be Unknown"
        return CheckResult("gallery", "warning", text, "facectl gallery enroll NAME IMAGE")
    with closing(gallery):
        gallery.check_space(space)
        return CheckResult("gallery", "ok", f"{len(gallery.people())} names")


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
    model = models.deployed(deployment)
    clients = Clients(replace(deployment, space=model.space))
    options = remembered.recall(deployment)
    desired = desired_state(clients, model, options)
    took = check(Plan(clients, Options(), desired, {}, ()), clients.deployment)
    text = (
        f"face-detection answered after {took.detection:.1f} s, "
        f"face-recognition after {took.recognition:.1f} s"
    )
    return CheckResult("probe", "ok", text)
