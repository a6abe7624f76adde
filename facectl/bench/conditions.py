"""What a run was measured on: without it a figure is a number."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.bench.run import Load
from facectl.deploy.deployer import read_account
from facectl.deploy.models import Function
from facectl.deploy.reader import Reader
from facectl.errors import CloudError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION


def machine() -> dict[str, Any]:
    """This computer, and how busy it is already."""
    return {
        "facectl": metadata.version("facectl"),
        "python": platform.python_version(),
        "computer": f"{platform.system()} {platform.machine()}, {_cores()} cores",
        "load average before": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else None,
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def deployed(clients: Clients) -> dict[str, Any]:
    """The deployment: where, with which weights, and how large its functions are."""
    deployment = clients.deployment
    place = f"AWS, {deployment.region}"
    if deployment.target == "local":
        place = f"local cloud, MiniStack {_version('ministack')}"
    facts = {
        "target": place,
        "deployment": deployment.asu_id,
        "weights": ("synthetic, " if deployment.synthetic else "") + _short(deployment.space),
    }
    for name, function in functions(clients).items():
        facts[name] = f"{function.memory} MB, {function.architecture}, {function.packaging}"
        if function.reserved_concurrency is not None:
            facts[name] += f", at most {function.reserved_concurrency} at once"
    return facts


def functions(clients: Clients) -> dict[str, Function]:
    """Both functions as they are deployed; those that can be read."""
    found = {}
    try:
        with cloud_errors("reading the functions", clients.deployment):
            reader = Reader(clients, read_account(clients))
            for name in (DETECTION_FUNCTION, RECOGNITION_FUNCTION):
                function = reader.function(name)
                if function is not None:
                    found[name] = function
    except CloudError:
        # A client that may only send frames measures them all the same.
        return found
    return found


def sent(load: Load, source: str) -> dict[str, Any]:
    """What was sent, and how."""
    encoding = load.request_options.encoding
    side = "as they are" if encoding.max_side is None else f"at most {encoding.max_side} px"
    return {
        "source": source,
        "frames": f"{side}, JPEG quality {encoding.quality}, "
        f"max faces {load.request_options.max_faces}",
        "workload": str(load.workload),
    }


def _short(space: str | None) -> str:
    """An embedding space by the beginning of its digest."""
    digest, _, preprocessing = (space or "unknown").partition("/")
    return f"{digest[:12]}/{preprocessing}" if preprocessing else digest


def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of another installation"
