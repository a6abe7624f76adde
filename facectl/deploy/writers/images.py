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

    def create(self, desired: Repository) -> None:
        self.context.clients.ecr.create_repository(
            repositoryName=desired.name,
            imageTagMutability="IMMUTABLE" if desired.immutable else "MUTABLE",
            tags=self._tags(desired),
        )
        self._expire(desired)

    def update(self, desired: Repository, actual: Repository) -> None:
        ecr = self.context.clients.ecr
        if desired.immutable != actual.immutable:
            ecr.put_image_tag_mutability(
                repositoryName=desired.name,
                imageTagMutability="IMMUTABLE" if desired.immutable else "MUTABLE",
            )
        if desired.kept != actual.kept:
            self._expire(desired)
        if desired.owner != actual.owner:
            arn = self.context.account.repository_arn(desired.name)
            ecr.tag_resource(resourceArn=arn, tags=self._tags(desired))

    def delete(self, actual: Repository) -> None:
        ecr = self.context.clients.ecr
        unless_missing(ecr.delete_repository, repositoryName=actual.name, force=True)
        try:
            Docker.find().remove(self.context.account.image_uri(actual.name))
        except FacectlError as error:
            # Without a Docker engine there are no local images to remove.
            self.context.tell(str(error))

    def _expire(self, desired: Repository) -> None:
        self.context.clients.ecr.put_lifecycle_policy(
            repositoryName=desired.name, lifecyclePolicyText=expiry(desired.kept)
        )

    @staticmethod
    def _tags(desired: Repository) -> list[TagTypeDef]:
        return [{"Key": name, "Value": value} for name, value in tags(desired.owner).items()]


class ImageWriter(Writer[Image]):
    """Builds an image if the Docker engine does not have it, and pushes it."""

    def create(self, desired: Image) -> None:
        if desired.recipe is None:
            raise CloudError(
                f"The image {desired.name} is missing from the registry", hint="facectl deploy"
            )
        docker = Docker.find()
        uri = self.context.account.image_uri(desired.name)
        if not docker.has(uri):
            self._build(docker, uri, desired.recipe)
        size = docker.size(uri)
        if size is None:
            raise CloudError(f"Docker built {uri} but does not list it", hint="facectl doctor")
        if size > LARGEST:
            raise InputError(
                f"The image {uri} is {size / 1e9:.1f} GB, Lambda takes {LARGEST / 1e9:.1f}",
                hint="choose a smaller --base-image",
            )
        self.context.note(
            f"{desired.name}: {size / 1e6:.0f} MB{_over_base(docker, desired.recipe, size)}"
        )
        docker.push(uri, self._login(), self.context.tell)

    def update(self, desired: Image, _found: Image) -> None:
        # The tag is a hash of the content, so an image with this tag never differs.
        self.create(desired)

    def delete(self, actual: Image) -> None:
        unless_missing(
            self.context.clients.ecr.batch_delete_image,
            repositoryName=actual.repository,
            imageIds=[{"imageTag": actual.tag}],
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
    """The lifecycle policy that keeps the newest `kept` images: ECR bills storage per GB-month."""
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
