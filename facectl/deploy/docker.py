"""Runs the docker command: builds, inspects and pushes images."""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import psutil

from facectl.errors import CloudError, InputError

# Receives every line that a build or a push prints.
Tell = Callable[[str], None]
Builder = Literal["buildx", "buildkit", "classic"]

_LAST_LINES = 12
# From this version on, BuildKit needs the buildx plugin.
_WITHOUT_BUILDKIT = 23
_PLATFORMS = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
}
_INSTALL = "--builder direct, --image-uri, or install Docker (docs.docker.com/engine/install)"


@dataclass(frozen=True, slots=True)
class Docker:
    """A docker command with a running engine."""

    command: str
    client_version: str
    server_version: str
    builder: Builder

    @classmethod
    def find(cls) -> Docker:
        """The docker command on PATH.

        Raises InputError if there is none, CloudError if the engine does not answer.
        """
        command = shutil.which("docker")
        if command is None:
            raise InputError("There is no docker command to build images with", hint=_INSTALL)
        result = _run([command, "version", "--format", "{{json .}}"])
        try:
            versions = json.loads(result.stdout)
            client, server = versions["Client"]["Version"], versions["Server"]["Version"]
        except (ValueError, KeyError, TypeError) as error:
            said = (result.stderr or result.stdout).strip().splitlines()
            reason = " ".join(said[-2:]) or "it printed nothing"
            raise CloudError(
                f"No Docker engine answers {command}: {reason}",
                hint="start Docker, or pass --image-uri",
            ) from error
        return cls(command, client, server, _builder(command, client))

    def build(
        self, folder: Path, uri: str, arguments: Mapping[str, str], target: str, tell: Tell
    ) -> None:
        """Build `folder` as `uri` for the platform `target`.

        Raises CloudError with the last lines of the build.
        """
        if self.builder != "buildx" and target != (here := _platform()):
            raise InputError(
                f"Building {target} images on {here} needs Docker's buildx plugin",
                hint="install docker-buildx-plugin, or choose another --architecture",
            )
        options = [f"--tag={uri}", *(f"--build-arg={k}={v}" for k, v in arguments.items())]
        if self.builder == "buildx":
            # Lambda takes one manifest, not an index of attestations (docker/buildx#1533).
            options += ["--load", "--provenance=false", "--sbom=false", f"--platform={target}"]
            what = [self.command, "buildx", "build", "--progress=plain", *options, str(folder)]
        else:
            plain = ["--progress=plain"] if self.builder == "buildkit" else []
            what = [self.command, "build", *plain, *options, str(folder)]
        kit = {"DOCKER_BUILDKIT": "0" if self.builder == "classic" else "1"}
        _stream(what, f"building {uri}", tell, kit)

    def has(self, uri: str) -> bool:
        """Whether the engine has the image."""
        return _run([self.command, "image", "inspect", uri]).returncode == 0

    def size(self, uri: str) -> int | None:
        """The uncompressed size of an image in bytes; None if the engine does not have it."""
        answer = _run([self.command, "image", "inspect", "--format", "{{.Size}}", uri])
        digits = answer.stdout.strip()
        return int(digits) if digits.isdecimal() else None

    def remove(self, repository: str) -> None:
        """Remove every tag of a repository from the engine, except images in use."""
        form = "{{.Repository}}:{{.Tag}}"
        only = f"reference={repository}"
        listing = _run([self.command, "image", "ls", "--format", form, "--filter", only])
        for image in listing.stdout.split():
            _run([self.command, "image", "rm", image])

    def push(self, uri: str, login: tuple[str, str], tell: Tell) -> None:
        """Push an image with (user, password), which are not stored; raises CloudError."""
        registry = uri.partition("/")[0]
        secret = base64.b64encode(":".join(login).encode()).decode()
        with TemporaryDirectory(prefix="facectl-docker-") as folder:
            config = Path(folder) / "config.json"
            config.touch(mode=0o600)
            config.write_text(json.dumps({"auths": {registry: {"auth": secret}}}))
            # A separate configuration does not contain the user's Docker context.
            own = {"DOCKER_CONFIG": folder, **self._host()}
            _stream([self.command, "push", uri], f"pushing {uri}", tell, own)

    def bridge_address(self) -> str:
        """The address at which containers reach this computer; empty if none is needed.

        An engine in a virtual machine (Docker Desktop) has no bridge here and
        forwards its containers to this computer's loopback.
        """
        form = '{{index .Options "com.docker.network.bridge.name"}}'
        result = _run([self.command, "network", "inspect", "bridge", "--format", form])
        addresses = psutil.net_if_addrs().get(result.stdout.strip(), [])
        return next((each.address for each in addresses if each.family == socket.AF_INET), "")

    def _host(self) -> dict[str, str]:
        form = "{{.Endpoints.docker.Host}}"
        answer = _run([self.command, "context", "inspect", "--format", form])
        return {"DOCKER_HOST": host} if (host := answer.stdout.strip()) else {}


def _builder(command: str, version: str) -> Builder:
    if _run([command, "buildx", "version"]).returncode == 0:
        return "buildx"
    major = version.partition(".")[0]
    return "buildkit" if major.isdecimal() and int(major) < _WITHOUT_BUILDKIT else "classic"


def _platform() -> str:
    return _PLATFORMS.get(platform.machine().lower(), f"linux/{platform.machine()}")


def _run(what: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(what, capture_output=True, text=True, check=False)  # noqa: S603


def _stream(what: list[str], doing: str, tell: Tell, environment: Mapping[str, str]) -> None:
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 - the command that PATH names, without a shell
        what,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    ) as process:
        for line in process.stdout or ():
            said = [*said[1 - _LAST_LINES :], line.rstrip()]
            tell(line.strip())
    if process.returncode != 0:
        raise CloudError(f"{doing} failed:\n" + "\n".join(said), hint="facectl doctor")
