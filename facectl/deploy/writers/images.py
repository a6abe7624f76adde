"""The ECR repositories and the images in them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from facectl.aws import unless_missing
from facectl.deploy.docker import Docker
from facectl.deploy.models import Image, Repository
from facectl.deploy.recipe import LARGEST, PLATFORMS, Recipe
from facectl.deploy.writers.base import Writer, tags
from facectl.errors import CloudError, FacectlError, InputError

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import TagTypeDef


class RepositoryWriter(Writer[Repository]):
    """One repository per function."""

    def create(self, wanted: Repository) -> None:
        self.context.clients.ecr.create_repository(
            repositoryName=wanted.name,
            imageTagMutability="IMMUTABLE" if wanted.immutable else "MUTABLE",
            tags=self._tags(wanted),
        )
        self._expire(wanted)

    def update(self, wanted: Repository, found: Repository) -> None:
        ecr = self.context.clients.ecr
        if wanted.immutable != found.immutable:
            ecr.put_image_tag_mutability(
                repositoryName=wanted.name,
                imageTagMutability="IMMUTABLE" if wanted.immutable else "MUTABLE",
            )
        if wanted.kept != found.kept:
            self._expire(wanted)
        if wanted.owner != found.owner:
            arn = self.context.account.repository_arn(wanted.name)
            ecr.tag_resource(resourceArn=arn, tags=self._tags(wanted))

    def delete(self, found: Repository) -> None:
        ecr = self.context.clients.ecr
        unless_missing(ecr.delete_repository, repositoryName=found.name, force=True)
        try:
            Docker.find().remove(self.context.account.image_uri(found.name))
        except FacectlError as error:
            # Without an engine there is nothing of it on this computer.
            self.context.tell(str(error))

    def _expire(self, wanted: Repository) -> None:
        self.context.clients.ecr.put_lifecycle_policy(
            repositoryName=wanted.name, lifecyclePolicyText=expiry(wanted.kept)
        )

    @staticmethod
    def _tags(wanted: Repository) -> list[TagTypeDef]:
        return [{"Key": name, "Value": value} for name, value in tags(wanted.owner).items()]


class ImageWriter(Writer[Image]):
    """Builds an image where the engine does not hold it already, and pushes it."""

    def create(self, wanted: Image) -> None:
        if wanted.recipe is None:
            raise CloudError(
                f"The image {wanted.name} is gone from the registry", hint="facectl deploy"
            )
        docker = Docker.find()
        uri = self.context.account.image_uri(wanted.name)
        if not docker.has(uri):
            self._build(docker, uri, wanted.recipe)
        size = docker.size(uri)
        if size is None:
            raise CloudError(f"Docker built {uri} and does not have it", hint="facectl doctor")
        if size > LARGEST:
            raise InputError(
                f"The image {uri} is {size / 1e9:.1f} GB, Lambda takes {LARGEST / 1e9:.1f}",
                hint="choose a smaller --base-image",
            )
        self.context.note(
            f"{wanted.name}: {size / 1e6:.0f} MB{_over_base(docker, wanted.recipe, size)}"
        )
        docker.push(uri, self._login(), self.context.tell)

    def update(self, wanted: Image, _found: Image) -> None:
        # Its name is its content: there is nothing that could differ.
        self.create(wanted)

    def delete(self, found: Image) -> None:
        unless_missing(
            self.context.clients.ecr.batch_delete_image,
            repositoryName=found.repository,
            imageIds=[{"imageTag": found.tag}],
        )

    def _build(self, docker: Docker, uri: str, recipe: Recipe) -> None:
        with TemporaryDirectory(prefix="facectl-image-") as folder:
            recipe.write(Path(folder))
            docker.build(
                Path(folder),
                uri,
                recipe.options.arguments,
                PLATFORMS[recipe.options.architecture],
                self.context.tell,
            )

    def _login(self) -> tuple[str, str]:
        granted = self.context.clients.ecr.get_authorization_token()["authorizationData"]
        user, _, password = (
            base64.b64decode(granted[0]["authorizationToken"]).decode().partition(":")
        )
        return user, password


def _over_base(docker: Docker, recipe: Recipe, size: int) -> str:
    base = docker.size(recipe.base_image)
    return "" if base is None else f", {(size - base) / 1e6:.0f} MB over {recipe.base_image}"


def expiry(kept: int) -> str:
    """The lifecycle policy that keeps so many images: storage is paid by the gigabyte and month."""
    rule = {
        "rulePriority": 1,
        "description": "Made by facectl",
        "selection": {
            "tagStatus": "any",
            "countType": "imageCountMoreThan",
            "countNumber": kept,
        },
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]})
