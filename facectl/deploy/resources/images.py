"""The ECR repositories of the functions, and the images in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from facectl.aws import unless_missing
from facectl.deploy.direct import Destination, Reports, send
from facectl.deploy.docker import Docker
from facectl.deploy.logins import ecr_login, logins
from facectl.deploy.models import Account, DesiredState
from facectl.deploy.recipe import LARGEST, NETWORKS, PLATFORMS, Recipe
from facectl.deploy.resources.base import (
    Attached,
    Context,
    Key,
    Tagged,
    owner_tag,
    policy,
    tag_list,
)
from facectl.errors import CloudError, FacectlError, InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageDetailTypeDef


@dataclass(frozen=True, slots=True)
class Repository(Tagged):
    """The ECR repository of a function's images.

    `immutable`: tags can't be overwritten. `kept`: the number of newest images to keep.
    `scan_on_push`: ECR looks for published vulnerabilities. `lambda_pulls`: its policy
    lets this account's functions pull images; Lambda adds that itself only if the caller may.
    """

    kind: ClassVar[str] = "repository"
    shared: ClassVar[bool] = True
    immutable: bool = True
    kept: int = 10
    scan_on_push: bool = True
    lambda_pulls: bool = True

    def read(self, context: Context) -> Repository | None:
        ecr = context.clients.ecr
        answer = unless_missing(ecr.describe_repositories, repositoryNames=[self.name])
        if answer is None:
            return None
        arn = context.account.repository_arn(self.name)
        tags = unless_missing(ecr.list_tags_for_resource, resourceArn=arn)
        if tags is None:
            return None
        expiry = unless_missing(ecr.get_lifecycle_policy, repositoryName=self.name)
        rules = json.loads(expiry["lifecyclePolicyText"])["rules"] if expiry else []
        found = answer["repositories"][0]
        return Repository(
            name=self.name,
            owner=owner_tag(tags["tags"]),
            immutable=found.get("imageTagMutability") == "IMMUTABLE",
            kept=rules[0]["selection"].get("countNumber", 0) if rules else 0,
            scan_on_push=found.get("imageScanningConfiguration", {}).get("scanOnPush", False),
            lambda_pulls=any(
                _allows_lambda(statement, context.account)
                for statement in self._statements(context)
            ),
        )

    def create(self, context: Context) -> None:
        context.clients.ecr.create_repository(
            repositoryName=self.name,
            imageTagMutability=self.mutability,
            imageScanningConfiguration={"scanOnPush": self.scan_on_push},
            tags=tag_list(self.owner),
        )
        self._expire_images(context)
        self._let_lambda_pull(context, [])

    def update(self, context: Context, actual: Repository) -> None:
        ecr = context.clients.ecr
        if self.immutable != actual.immutable:
            ecr.put_image_tag_mutability(
                repositoryName=self.name, imageTagMutability=self.mutability
            )
        if self.kept != actual.kept:
            self._expire_images(context)
        if self.scan_on_push != actual.scan_on_push:
            ecr.put_image_scanning_configuration(
                repositoryName=self.name,
                imageScanningConfiguration={"scanOnPush": self.scan_on_push},
            )
        if self.lambda_pulls != actual.lambda_pulls:
            self._let_lambda_pull(context, self._statements(context))
        if self.owner != actual.owner:
            arn = context.account.repository_arn(self.name)
            ecr.tag_resource(resourceArn=arn, tags=tag_list(self.owner))

    def delete(self, context: Context) -> None:
        unless_missing(context.clients.ecr.delete_repository, repositoryName=self.name, force=True)
        try:
            Docker.find().remove(context.account.image_uri(self.name))
        except FacectlError as error:
            # Without a Docker engine there are no local images to remove.
            context.tell(str(error))

    def _statements(self, context: Context) -> list[dict[str, Any]]:
        """The statements of the repository's policy."""
        found = unless_missing(context.clients.ecr.get_repository_policy, repositoryName=self.name)
        statements = json.loads(found["policyText"]).get("Statement", []) if found else []
        return statements if isinstance(statements, list) else [statements]

    def _let_lambda_pull(self, context: Context, statements: list[dict[str, Any]]) -> None:
        """Put the statement for Lambda into the policy, beside those of others."""
        own = lambda_statement(context.account)
        others = [each for each in statements if each.get("Sid") != own["Sid"]]
        context.clients.ecr.set_repository_policy(
            repositoryName=self.name, policyText=policy(*others, own)
        )

    @property
    def mutability(self) -> Literal["IMMUTABLE", "MUTABLE"]:
        """Whether tags can be overwritten, as ECR names it."""
        return "IMMUTABLE" if self.immutable else "MUTABLE"

    def _expire_images(self, context: Context) -> None:
        context.clients.ecr.put_lifecycle_policy(
            repositoryName=self.name, lifecyclePolicyText=self.lifecycle_policy
        )

    @property
    def lifecycle_policy(self) -> str:
        """The policy that expires images, JSON: ECR bills storage per GB-month."""
        rule = {
            "rulePriority": 1,
            "description": "Made by facectl",
            "selection": {
                "tagStatus": "any",
                "countType": "imageCountMoreThan",
                "countNumber": self.kept,
            },
            "action": {"type": "expire"},
        }
        return json.dumps({"rules": [rule]})


@dataclass(frozen=True, slots=True)
class Image(Attached):
    """A pushed image; its tag is the hash of what it is built from.

    `digest`: the one that was recorded when it was deployed, empty if none was; then any is right.
    `recipe`: the inputs of its build; None for an image that was read from ECR.
    """

    kind: ClassVar[str] = "image"
    repository: str
    tag: str
    recipe: Recipe | None = field(default=None, repr=False, compare=False)
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def parent(self) -> Key:
        return Repository.kind, self.repository

    def read(self, context: Context) -> Image | None:
        details = self._details(context)
        if details is None:
            return None
        digest = details.get("imageDigest", "") if self.digest else ""
        return Image(self.repository, self.tag, digest=digest)

    def create(self, context: Context) -> None:
        """Build the image and push it; Docker builds only what its engine does not have."""
        if self.recipe is None:
            raise CloudError(
                f"The image {self.name} is missing from the registry", hint="facectl deploy"
            )
        if self.recipe.options.builder == "direct":
            other = next(name for name in NETWORKS if name != self.repository)
            to = Destination(
                context.account.registry, self.repository, self.tag, other, _plain(context),
                lambda: ecr_login(context.clients),
            )  # fmt: skip
            reports = Reports(context.tell, context.note, context.count)
            send(self.recipe, to, reports, logins(context.clients))
            return
        docker = Docker.find()
        uri = context.account.image_uri(self.name)
        if not docker.has(uri):
            _build(docker, uri, self.recipe, context)
        size = docker.size(uri)
        if size is None:
            raise CloudError(f"Docker built {uri} but does not list it", hint="facectl doctor")
        if size > LARGEST:
            raise InputError(
                f"The image {uri} is {size / 1e9:.1f} GB, Lambda takes {LARGEST / 1e9:.1f}",
                hint="choose a smaller --base-image",
            )
        context.note(f"{self.name}: {size / 1e6:.0f} MB{_over_base(docker, self.recipe, size)}")
        docker.push(uri, ecr_login(context.clients), context.tell)

    def update(self, context: Context, _actual: Image) -> None:
        # Somebody gave the tag to another image; a tag can't be overwritten.
        self.delete(context)
        self.create(context)

    def delete(self, context: Context) -> None:
        unless_missing(
            context.clients.ecr.batch_delete_image,
            repositoryName=self.repository,
            imageIds=[{"imageTag": self.tag}],
        )

    def facts(self, context: Context) -> dict[str, Any]:
        details = self._details(context)
        if details is None:
            return {}
        pushed = details.get("imagePushedAt")
        return {
            "digest": details.get("imageDigest"),
            "pushed": pushed.isoformat() if pushed is not None else None,
            "bytes": details.get("imageSizeInBytes"),
        }

    def _details(self, context: Context) -> ImageDetailTypeDef | None:
        answer = unless_missing(
            context.clients.ecr.describe_images,
            repositoryName=self.repository,
            imageIds=[{"imageTag": self.tag}],
        )
        return answer["imageDetails"][0] if answer and answer["imageDetails"] else None


def desired(state: DesiredState) -> Iterator[Repository | Image]:
    """The repository and the image of each function whose image facectl builds."""
    packages = state.packages
    for function, package in (
        (DETECTION_FUNCTION, packages.detection),
        (RECOGNITION_FUNCTION, packages.recognition),
    ):
        if package.tag:
            yield Repository(function, state.names.asu_id)
            yield Image(function, package.tag, package.recipe, package.recorded)


def _build(docker: Docker, uri: str, recipe: Recipe, context: Context) -> None:
    with TemporaryDirectory(prefix="facectl-image-") as folder:
        recipe.write(Path(folder))
        docker.build(
            Path(folder),
            uri,
            recipe.options.arguments,
            PLATFORMS[recipe.options.architecture],
            context.tell,
        )


def _plain(context: Context) -> bool:
    """Whether the registry speaks HTTP, as the local cloud's does."""
    deployment = context.clients.deployment
    return deployment.target == "local" and str(deployment.endpoint_url).startswith("http://")


def lambda_statement(account: Account) -> dict[str, Any]:
    """The statement that Lambda adds itself. Source: Lambda Developer Guide, "Amazon ECR
    permissions".
    """
    return {
        "Sid": "LambdaECRImageRetrievalPolicy",
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Condition": {"StringLike": {"aws:sourceArn": account.function_arn("*")}},
    }


def _allows_lambda(statement: dict[str, Any], account: Account) -> bool:
    wanted = lambda_statement(account)
    given = statement.get("Action", [])
    actions = {given} if isinstance(given, str) else set(given)
    return actions >= set(wanted["Action"]) and all(
        statement.get(part) == wanted[part] for part in ("Effect", "Principal", "Condition")
    )


def _over_base(docker: Docker, recipe: Recipe, size: int) -> str:
    """How much larger the image is than its base; empty if the engine does not have the base."""
    base = docker.size(recipe.base_image)
    return "" if base is None else f", {(size - base) / 1e6:.0f} MB over {recipe.base_image}"
