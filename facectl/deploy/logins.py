"""Users and passwords for the registries of base images: of ECR by AWS, of others by Docker."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

from facectl.aws import Clients, cloud_errors
from facectl.container_images.logins import Logins, docker_login
from facectl.errors import CloudError, InputError

_ECR = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


def ecr_login(clients: Clients) -> tuple[str, str]:
    """User and password for the registries of ECR in the region that these credentials may use."""
    granted = clients.ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(granted[0]["authorizationToken"]).decode().partition(":")
    return user, password


def logins(clients: Clients) -> Logins:
    """The logins of base images: for ECR with the deployment's credentials, else of Docker.

    On the local target, whose credentials are no account's, all are Docker's.
    """
    deployment = clients.deployment

    def find(host: str) -> tuple[str, str] | None:
        ecr = _ECR.fullmatch(host)
        if ecr is None or deployment.target == "local":
            return docker_login(host)
        there = clients
        if ecr.group(1) != deployment.region:
            there = Clients(replace(deployment, region=ecr.group(1)))
        try:
            with cloud_errors(f"asking for a password for {host}", there.deployment):
                return ecr_login(there)
        except CloudError as error:
            raise InputError(str(error), hint=error.hint) from error

    return find
