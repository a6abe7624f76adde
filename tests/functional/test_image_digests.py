"""Images are pinned to digests: base images in the record, given images by their tag."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.stub import Stubber
from image_files import send_base
from moto import mock_aws
from registry_server import running_registry

from facectl.aws import Clients
from facectl.container_images import build as builds
from facectl.container_images.blobs import sha256
from facectl.container_images.layers import files_layer
from facectl.container_images.registries import Registry
from facectl.context import Deployment
from facectl.deploy.direct import Destination, Reports, send
from facectl.deploy.image_digests import resolved
from facectl.deploy.options import Options, recall, remember
from facectl.deploy.recipe import BuildOptions, Recipe
from facectl.errors import CloudError, InputError
from lambda_src.vision.store import MANIFEST, Model

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture
def clients() -> Iterator[Clients]:
    with mock_aws():
        yield Clients(Deployment(asu_id="42", target="aws"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def push(clients: Clients, repository: str, tag: str, content: str) -> str:
    """Push an image to ECR; returns its digest."""
    answer = clients.ecr.put_image(
        repositoryName=repository,
        imageManifest=json.dumps({"schemaVersion": 2, "config": {"digest": content}}),
        imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
        imageTag=tag,
    )
    return answer["image"]["imageId"]["imageDigest"]


def test_a_tag_that_is_pushed_again_is_another_image(clients: Clients) -> None:
    clients.ecr.create_repository(repositoryName="mine")
    given = Options(image_uris=(f"face-detection={HOST}/mine:latest",))
    first = push(clients, "mine", "latest", "sha256:1")
    assert resolved(clients, given).image_uris == (f"face-detection={HOST}/mine@{first}",)
    second = push(clients, "mine", "latest", "sha256:2")
    assert second != first
    assert resolved(clients, given).image_uris == (f"face-detection={HOST}/mine@{second}",)


@pytest.mark.parametrize(
    "uri",
    [
        f"{HOST}/missing:latest",
        f"{HOST}/mine@sha256:{'0' * 64}",
        f"{HOST.replace('us-east-1', 'eu-west-1')}/mine:latest",
        "public.ecr.aws/x/y:1",
        "no-uri",
    ],
)
def test_what_ecr_does_not_tell_stays_as_given(clients: Clients, uri: str) -> None:
    given = (f"face-detection={uri}",)
    assert resolved(clients, Options(image_uris=given)).image_uris == given


def test_a_repository_that_may_only_be_pulled_stays_as_given(clients: Clients) -> None:
    given = (f"face-detection={HOST}/theirs:1",)
    with Stubber(clients.ecr) as stub:
        stub.add_client_error("describe_images", "AccessDeniedException", "not yours")
        assert resolved(clients, Options(image_uris=given)).image_uris == given
        stub.add_client_error("describe_images", "ServerException", "later")
        with pytest.raises(CloudError, match="later"):
            resolved(clients, Options(image_uris=given))


def test_a_base_image_stays_until_a_rebuild(clients: Clients, address: str) -> None:
    registry = Registry(address, plain=True)
    old = sha256(send_base(registry, "pinned", "1"))
    first = resolved(clients, Options(base_image=f"{address}/pinned:1"))
    assert (first.base_digest, first.base_python) == (old, "3.12")
    remember(clients.deployment, first)

    # The tag is moved to another image.
    send_base(registry, "pinned", "1", "arm64")
    later = Options(memory=1024).over(recall(clients.deployment))
    assert resolved(clients, later).base_digest == old
    with pytest.raises(InputError, match="is for linux/arm64"):
        resolved(clients, Options(rebuild=True).over(recall(clients.deployment)))
    renewed = Options(rebuild=True, architecture="arm64").over(recall(clients.deployment))
    assert resolved(clients, renewed).base_digest not in (None, old)


def test_another_base_image_is_not_pinned_to_the_first(clients: Clients, address: str) -> None:
    send_base(Registry(address, plain=True), "second", "1")
    earlier = Options(base_image="first", base_digest=sha256(b""), base_python="3.10")
    chosen = Options(base_image=f"{address}/second:1").over(earlier)
    assert (chosen.base_digest, chosen.base_python) == (None, None)
    assert resolved(clients, chosen).base_python == "3.12"
    assert Options(base_image="first").over(earlier).base_digest == sha256(b"")


@pytest.mark.parametrize("options", [Options(builder="docker"), Options(packaging="zip")])
def test_no_registry_is_asked_where_nothing_is_built_directly(
    clients: Clients, options: Options
) -> None:
    asked = replace(options, base_image="127.0.0.1:9/none:1")
    assert resolved(clients, asked) == asked


def test_a_rebuild_with_docker_is_refused(clients: Clients) -> None:
    with pytest.raises(InputError, match="--rebuild looks for a newer base image") as caught:
        resolved(clients, Options(builder="docker", rebuild=True))
    assert "docker pull" in str(caught.value.hint)


@pytest.fixture
def without_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One small file instead of the packages, which come from an index."""
    file = tmp_path / "package.py"
    file.write_text("X = 1")
    layer = files_layer({"/opt/python/package.py": file})
    monkeypatch.setattr(builds, "packages_layer", lambda *_: layer)


def send_as(address: str, tag: str, model: Model, python: str = "3.12") -> list[str]:
    """Build face-detection and send it; returns what was noted."""
    digest = sha256(send_base(Registry(address, plain=True), "base", "1"))
    options = BuildOptions(base_image=f"{address}/base:1", base_digest=digest, base_python=python)
    to = Destination(address, "detection", tag, "recognition", True, lambda: ("AWS", "x"))
    notes: list[str] = []
    recipe = Recipe("face-detection", model, options)
    send(recipe, to, Reports(lambda _line: None, notes.append))
    return notes


@pytest.mark.usefixtures("without_packages")
def test_a_second_image_sends_only_what_differs(address: str, model: Model) -> None:
    first, again = send_as(address, "one", model)[-1], send_as(address, "one", model)[-1]
    assert re.search(rf" MB over {address}/base:1, 0\.\d of 0\.\d MB sent$", first)
    assert ", 0.0 of " in again
    model.file(MANIFEST).write_text("changed")
    send_as(address, "two", model)
    registry = Registry(address, plain=True)
    one, two = (
        json.loads(registry.manifest("detection", tag)[0])["layers"] for tag in ("one", "two")
    )
    # The base, packages, the model and code.
    assert [a == b for a, b in zip(one, two, strict=True)] == [True, True, False, True]


@pytest.mark.usefixtures("without_packages")
def test_it_is_told_that_packages_are_not_compiled(address: str, model: Model) -> None:
    told = send_as(address, "untold", model, python="3.97")[0]
    assert told.startswith("Cold starts take longer: the packages are not compiled")
    assert "no Python 3.97" in told
