"""An image that was changed behind facectl's back has another digest than the recorded one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_deploy_command import FIRST, built, cloud, facectl
from test_model_change import done
from test_versions import listed, new_code, no_downloads, put

from facectl.aws import Clients
from facectl.context import Deployment

__all__ = ["built", "cloud", "no_downloads"]

RECOGNITION = "face-recognition"
MEDIA = "application/vnd.docker.distribution.manifest.v2+json"


def tag() -> str:
    return str(listed()[0]["code"][RECOGNITION]).rpartition(":")[2]


def digest_in_ecr(clients: Clients, name: str) -> str:
    found = clients.ecr.describe_images(repositoryName=RECOGNITION, imageIds=[{"imageTag": name}])
    return found["imageDetails"][0]["imageDigest"]


def running(clients: Clients) -> str:
    """The digest of the image that the function runs."""
    found = clients.functions.get_function(FunctionName=RECOGNITION)
    return found["Code"]["ResolvedImageUri"].partition("@")[2]


def move_tag(clients: Clients, name: str, config: str = "sha256:other") -> str:
    """Give the tag of a function's image to another one, as somebody else may; its digest."""
    clients.ecr.batch_delete_image(repositoryName=RECOGNITION, imageIds=[{"imageTag": name}])
    clients.ecr.put_image(
        repositoryName=RECOGNITION,
        imageManifest=json.dumps({"schemaVersion": 2, "config": {"digest": config}}),
        imageManifestMediaType=MEDIA,
        imageTag=name,
    )
    return digest_in_ecr(clients, name)


def take_again(clients: Clients, uri: str) -> None:
    clients.functions.update_function_code(FunctionName=RECOGNITION, ImageUri=uri)


def test_a_tag_that_names_another_image_is_found_and_renewed(cloud: Clients, built: Path) -> None:
    done(*FIRST)
    name, right = tag(), listed()[0]["digests"][RECOGNITION]
    other = move_tag(cloud, name)
    assert other != right

    status = facectl("status")
    assert "Drift found" in status.output
    planned = done("deploy", "--dry-run").stdout
    assert f"update image {RECOGNITION}:{name} (digest {other[:50]}" in planned
    done("deploy")
    assert digest_in_ecr(cloud, name) == running(cloud) == right
    assert done("deploy").stdout.startswith("Nothing to change")


def test_a_function_that_took_the_other_image_is_found_and_renewed(cloud: Clients) -> None:
    done(*FIRST)
    uri, right = listed()[0]["code"][RECOGNITION], listed()[0]["digests"][RECOGNITION]
    name = tag()
    other = move_tag(cloud, name)
    take_again(cloud, uri)
    assert running(cloud) == other
    # Somebody repairs ECR alone.
    move_tag(cloud, name, f"sha256:{name}")
    planned = json.loads(done("deploy", "--dry-run", "--json").stdout)
    changes = [{"attribute": "digest", "before": other, "after": right}]
    assert planned == [
        {"action": "update", "kind": "function", "name": RECOGNITION, "changes": changes}
    ]
    done("deploy")
    assert running(cloud) == right


def test_an_image_that_is_pushed_again_is_taken_by_its_function(cloud: Clients) -> None:
    """A build with Docker has another digest each time, and Lambda needs an image that exists."""
    done(*FIRST)
    cloud.ecr.batch_delete_image(repositoryName=RECOGNITION, imageIds=[{"imageTag": tag()}])
    planned = done("deploy", "--dry-run").stdout
    assert f"create image {RECOGNITION}:{tag()}" in planned
    assert f"update function {RECOGNITION} (image older → pushed again)" in planned
    done("deploy")
    assert running(cloud) == digest_in_ecr(cloud, tag())
    assert done("deploy").stdout.startswith("Nothing to change")


@pytest.mark.parametrize("record", [b"{", None])
def test_without_a_record_every_digest_is_right(cloud: Clients, record: bytes | None) -> None:
    done(*FIRST)
    name = tag()
    move_tag(cloud, name)
    bucket = Clients(Deployment("42", "aws")).s3
    if record is None:
        found = bucket.list_objects_v2(Bucket="facectl-42-123456789012-us-east-1")["Contents"]
        for each in found:
            if each["Key"].startswith("deployments/"):
                bucket.delete_object(Bucket="facectl-42-123456789012-us-east-1", Key=each["Key"])
    else:
        put(cloud, 1, record)
    assert done("deploy", "--dry-run").stdout.startswith("Nothing to change")


def test_a_rollback_finds_a_function_that_runs_another_image(cloud: Clients) -> None:
    done(*FIRST)
    uri, right, name = listed()[0]["code"][RECOGNITION], listed()[0]["digests"], tag()
    move_tag(cloud, name)
    take_again(cloud, uri)
    new_code()
    move_tag(cloud, name, f"sha256:{name}")
    done("rollback", "1")
    assert running(cloud) == right[RECOGNITION]
