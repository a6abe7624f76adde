"""Checks images that are given by URI: Lambda takes one platform, from ECR of its own region."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_denied
from facectl.deploy.recipe import Architecture
from facectl.errors import CloudError, InputError

_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MANIFESTS = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]
_PLATFORMS: dict[str, Architecture] = {"amd64": "x86_64", "arm64": "arm64"}


def check_image(clients: Clients, uri: str, architecture: Architecture) -> str | None:
    """Check an image that Lambda is to run; None, or why it could not be looked at.

    Raises InputError if Lambda would refuse it or could not start it. Source: AWS Lambda
    Developer Guide, "Create a Lambda function using a container image".
    """
    place = _URI.fullmatch(uri)
    region = clients.deployment.region
    if place is None or place["region"] != region:
        raise InputError(
            f"{uri}: Lambda takes images from Amazon ECR in the function's region, {region}",
            hint=f"docker push {clients.account}.dkr.ecr.{region}.amazonaws.com/NAME:TAG",
        )
    if place["account"] != clients.account:
        return f"{uri} is of another account: its architecture was not checked"
    try:
        found = _platform(clients, uri, place)
    except CloudError as error:
        if is_denied(error):
            return f"{uri}: these credentials may not read it, so its architecture was not checked"
        raise
    if found != architecture:
        platform = next(name for name, known in _PLATFORMS.items() if known == architecture)
        raise InputError(
            f"{uri} is built for {found}, but the functions run on {architecture}",
            hint=f"facectl deploy --architecture {found}"
            if found in _PLATFORMS.values()
            else f"docker buildx build --platform linux/{platform}",
        )
    return None


def _platform(clients: Clients, uri: str, place: re.Match[str]) -> str:
    """The architecture of an image, as Lambda names it."""
    repository, ecr = place["repository"], clients.ecr
    image: Any = (
        {"imageDigest": place["digest"]}
        if place["digest"]
        else {"imageTag": place["tag"] or "latest"}
    )
    with cloud_errors(f"looking up the image {uri}", clients.deployment):
        images = ecr.batch_get_image(
            repositoryName=repository, imageIds=[image], acceptedMediaTypes=_MANIFESTS
        )["images"]
        if not images:
            raise InputError(
                f"There is no image {uri}",
                hint=f"aws ecr describe-images --repository-name {repository}",
            )
        manifest = json.loads(images[0]["imageManifest"])
        if "manifests" in manifest:
            raise InputError(
                f"{uri} holds images of several platforms, and Lambda takes one of one platform",
                hint="docker buildx build --platform linux/amd64 --provenance=false",
            )
        url = ecr.get_download_url_for_layer(
            repositoryName=repository, layerDigest=manifest["config"]["digest"]
        )["downloadUrl"]
    try:
        answer = httpx.get(url, follow_redirects=True, timeout=30).raise_for_status()
        name = str(answer.json()["architecture"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise CloudError(
            f"reading the configuration of {uri}: {type(error).__name__}: {error}",
            hint="facectl deploy   again",
        ) from error
    return _PLATFORMS.get(name, name)
