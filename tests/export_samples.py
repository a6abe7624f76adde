"""The options with which templates are tested, and what a deploy makes with them."""

from __future__ import annotations

from dataclasses import replace

from facectl.aws import Clients
from facectl.deploy import deployer
from facectl.deploy.models import DesiredState, Package, Packages, Restored
from facectl.deploy.options import Options
from facectl.naming import FUNCTIONS
from lambda_src.vision.store import Model

TAG = "0123456789abcdef"


def options_of(number: str) -> dict[str, Options]:
    """Sets of options in an account, in which every option is set at least once."""
    return {
        "defaults": Options(max_concurrency=7),
        "public": Options(
            auth="none", reserved_concurrency=3, max_concurrency=4, memory=1024, timeout=30,
            batch_size=3, architecture="arm64", log_names=False, metrics=True,
        ),
        "everything": Options(
            auth="none", alarms="a@example.com", provisioned_concurrency=1, pollers=(2, 5),
            reserved_concurrency=4, boundary=f"arn:aws:iam::{number}:policy/Bound",
            kms_key=f"arn:aws:kms:us-east-1:{number}:key/abc",
        ),
        "given": Options(
            max_concurrency=5, role_arn=f"arn:aws:iam::{number}:role/LabRole",
            image_uris=tuple(f"{function}=registry.example/{function}:1" for function in FUNCTIONS),
        ),
    }  # fmt: skip


def image_uris(number: str) -> dict[str, str]:
    """The URIs of images in an account's repositories, by function."""
    registry = f"{number}.dkr.ecr.us-east-1.amazonaws.com"
    return {function: f"{registry}/{function}:{TAG}" for function in FUNCTIONS}


def deployed_by_facectl(clients: Clients, model: Model, options: Options) -> DesiredState:
    """What a deploy makes, with images of a fixed tag instead of built ones."""
    if not options.image_uris:
        detection, recognition = (
            Package("image", uri, tag=TAG) for uri in image_uris(clients.account).values()
        )
        options = replace(options, restored=Restored(1, Packages(detection, recognition)))
    return deployer.desired_state(clients, model, options)
