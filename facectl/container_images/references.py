"""References to images, such as `public.ecr.aws/docker/library/python:3.12-slim-bookworm`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from facectl.errors import InputError

# Source: the reference grammar of the CNCF Distribution project.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*")
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# A name without a registry is one of Docker Hub, whose API has another host name.
_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io"}
HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry: by its digest if it has one, else by its tag."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference in a text, as Docker reads it; raises InputError."""
        name, _, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, path = first, rest
        else:
            registry, path = HUB_API, name
        repository, colon, tag = path.partition(":")
        if registry in _HUB:
            registry = HUB_API
            repository = repository if "/" in repository else f"library/{repository}"
        if not digest and not colon:
            tag = "latest"
        valid = (
            _REGISTRY.fullmatch(registry)
            and _REPOSITORY.fullmatch(repository)
            and (not colon or _TAG.fullmatch(tag))
            and (not digest or _DIGEST.fullmatch(digest))
            and ("@" not in text or digest)
        )
        if not valid:
            raise InputError(
                f"{text!r} is not the reference of an image",
                hint="--base-image public.ecr.aws/docker/library/python:3.12-slim-bookworm",
            )
        return cls(registry, repository, tag, digest)

    @property
    def version(self) -> str:
        """The digest, or the tag of a reference without a digest."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"
