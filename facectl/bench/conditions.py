"""The conditions of a run: computer, deployment, weights, frames and workload."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.bench.run import Load
from facectl.deploy.access import read_account
from facectl.deploy.resources import Context, Function
from facectl.errors import CloudError
from facectl.naming import FUNCTIONS
from lambda_src.settings import available_threads


def machine() -> dict[str, Any]:
    """This computer, its load average and the versions."""
    return {
        "facectl": metadata.version("facectl"),
        "python": platform.python_version(),
        "computer": f"{platform.system()} {platform.machine()}, {available_threads({})} cores",
        "load average before": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else None,
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def deployed(clients: Clients) -> dict[str, Any]:
    """The deployment: region, weights, and size of its functions."""
    deployment = clients.deployment
    place = f"AWS, {deployment.region}"
    if deployment.target == "local":
        place = f"local cloud, MiniStack {_version('ministack')}"
    facts = {
        "target": place,
        "deployment": deployment.asu_id,
        "weights": ("synthetic, " if deployment.synthetic else "") + _short(deployment.space),
        "precision": deployment.precision or "unknown",
    }
    for name, function in functions(clients).items():
        facts[name] = f"{function.memory} MB, {function.architecture}, {function.packaging}"
        if function.reserved_concurrency is not None:
            facts[name] += f", reserved concurrency {function.reserved_concurrency}"
    return facts


def functions(clients: Clients) -> dict[str, Function]:
    """The deployed functions by name; without those that can't be read."""
    found = {}
    try:
        with cloud_errors("reading the functions", clients.deployment):
            context = Context(clients, read_account(clients))
            for name in FUNCTIONS:
                function = Function.find(context, name)
                if function is not None:
                    found[name] = function
    except CloudError:
        # A client with permission only to send frames can still measure.
        return found
    return found


def sent(load: Load, source: str) -> dict[str, Any]:
    """The source, encoding and workload of the frames."""
    encoding = load.request_options.encoding
    side = "original size" if encoding.max_side is None else f"at most {encoding.max_side} px"
    size = load.request_options.min_face_size
    smallest = "" if size is None else f", faces of at least {size} px"
    return {
        "source": source,
        "frames": f"{side}, JPEG quality {encoding.quality}, "
        f"max faces {load.request_options.max_faces}{smallest}",
        "workload": str(load.workload),
    }


def _short(space: str | None) -> str:
    """An embedding space with its digest cut to 12 characters."""
    digest, _, preprocessing = (space or "unknown").partition("/")
    return f"{digest[:12]}/{preprocessing}" if preprocessing else digest


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"
