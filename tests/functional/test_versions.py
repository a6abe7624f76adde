"""Recorded deploys and going back to them, with moto for AWS and a stand-in for Docker."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto_account import ASU_ID
from test_deploy_command import FIRST, built, cloud, facectl, failing
from test_model_change import NEW, OLD, done, install, people, published, state

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import deployer, preflight, versions
from facectl.deploy import rollback as rollbacks
from facectl.deploy.models import DesiredState, Package, Packages
from facectl.deploy.options import Options
from facectl.deploy.versions import Damaged, Version
from facectl.errors import CloudError, InputError, ModelError, UnansweredError
from facectl.gallery.bucket import GalleryBucket
from lambda_src.vision.store import Model

__all__ = ["built", "cloud", "people"]

RECOGNITION = "face-recognition"
REPOSITORIES = ("face-detection", RECOGNITION)


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has no download of an image's configuration, which the preflight check reads."""
    monkeypatch.setattr(preflight, "check_image", lambda *_: None)


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done("versions", "--json").stdout)
    return found


def function(clients: Clients, name: str = RECOGNITION) -> tuple[int, str]:
    """Memory and image of a function."""
    found = clients.functions.get_function(FunctionName=name)
    return found["Configuration"]["MemorySize"], found["Code"]["ImageUri"]


def new_code(name: str = "tiny", space: str = OLD) -> None:
    """Have the next deploy build other images."""
    install(name, space)


def put(clients: Clients, number: int, data: bytes) -> None:
    bucket = GalleryBucket(clients)
    bucket.delete([f"deployments/{number:06d}.json"])
    bucket.write(f"deployments/{number:06d}.json", data)


def record_of(clients: Clients, number: int) -> dict[str, Any]:
    found = GalleryBucket(clients).read(f"deployments/{number:06d}.json")
    assert found is not None
    data: dict[str, Any] = json.loads(found[0])
    return data


def test_each_deploy_is_recorded_in_the_account(
    cloud: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*FIRST, "--package-index", "https://user:secret@index.example/simple")
    done("deploy", "--memory", "4096", "--pollers", "2:10", "--no-names")
    done("deploy")
    second, first = listed()
    assert (first["version"], second["version"]) == (1, 2)
    assert first["model"] == {
        "name": "tiny",
        "space": OLD,
        "precision": "fp32",
        "synthetic": False,
    }
    assert set(first["digests"]) == set(REPOSITORIES)
    assert all(digest.startswith("sha256:") for digest in first["digests"].values())
    assert second["changes"] == [
        "log names default → no",
        "memory default → 4096",
        "pollers default → 2:10",
    ]
    assert second["options"]["pollers"] == [2, 10]
    assert "secret" not in json.dumps(record_of(cloud, 1))

    # A computer that has never deployed.
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "other"))
    there = facectl("versions", "--json", "--asu-id", "42", "--target", "aws")
    assert json.loads(there.stdout) == [second, first]
    table = facectl("versions", "--asu-id", "42", "--target", "aws").stdout
    assert "tiny, fp32" in table
    assert first["digests"][RECOGNITION].removeprefix("sha256:")[:12] in table


@pytest.mark.usefixtures("cloud")
def test_without_a_deploy_nothing_is_listed_and_nothing_goes_back() -> None:
    empty = facectl("versions", "--asu-id", "42", "--target", "aws")
    assert empty.stdout.startswith("No deploy is recorded")
    refused = facectl("rollback", "--asu-id", "42", "--target", "aws")
    assert isinstance(refused.exception, InputError)
    assert refused.exception.hint == "facectl deploy"


def test_rollback_deploys_the_earlier_images_and_options_and_builds_nothing(
    cloud: Clients, built: Path
) -> None:
    done(*FIRST, "--memory", "4096")
    before = function(cloud)
    new_code()
    done("deploy", "--memory", "2048")
    assert function(cloud)[0] == 2048
    assert function(cloud)[1] != before[1]
    images = built.read_text()
    changed = listed()[0]["changes"]
    assert changed == ["detection image", "recognition image", "memory 4096 → 2048"]

    planned = done("rollback", "--dry-run")
    assert "Back to version 1 of " in planned.stderr
    assert "memory 2048 → 4096" in planned.stdout
    assert function(cloud)[0] == 2048

    done("rollback")
    assert function(cloud) == before
    assert built.read_text() == images
    third = listed()[0]
    assert third["rollback_to"] == 1
    assert third["digests"] == listed()[2]["digests"]
    # The options are those of later deploys too, and the newest differing version is the second.
    assert "memory" not in done("deploy", "--dry-run").stdout
    done("rollback")
    assert function(cloud)[0] == 2048


def test_rollback_takes_a_version_by_its_number(cloud: Clients) -> None:
    for memory in ("1024", "2048", "4096"):
        done(*FIRST, "--memory", memory)
    done("rollback", "1")
    assert function(cloud)[0] == 1024
    missing = facectl("rollback", "9")
    assert isinstance(missing.exception, InputError)
    assert str(missing.exception) == "There is no version 9: recorded are 1, 2, 3, 4"


@pytest.mark.usefixtures("cloud")
def test_a_rollback_to_what_is_deployed_has_nothing_to_do() -> None:
    done(*FIRST)
    refused = facectl("rollback")
    assert isinstance(refused.exception, InputError)
    assert "No recorded version differs from what is deployed" in str(refused.exception)
    assert done("rollback", "1").stdout.startswith("Nothing to change")
    assert len(listed()) == 1


def test_a_failed_deploy_offers_the_rollback_and_is_not_recorded(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*FIRST)
    before = function(cloud)
    new_code()
    with monkeypatch.context() as patch:
        patch.setattr(deployer, "check", failing(UnansweredError("no answer", hint="facectl logs")))
        failed = facectl("deploy")
    assert isinstance(failed.exception, UnansweredError)
    assert failed.exception.hint == "facectl logs   or   facectl rollback 1"
    assert function(cloud) != before
    assert [each["version"] for each in listed()] == [1]

    done("rollback")
    assert function(cloud) == before


@pytest.mark.usefixtures("cloud")
def test_a_first_deploy_that_fails_offers_no_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployer, "check", failing(UnansweredError("no answer", hint="logs")))
    failed = facectl(*FIRST)
    assert isinstance(failed.exception, UnansweredError)
    assert failed.exception.hint == "logs"


@pytest.mark.parametrize("with_repository", [False, True])
def test_an_image_that_ecr_no_longer_has_is_said_before_the_first_change(
    cloud: Clients, *, with_repository: bool
) -> None:
    done(*FIRST)
    digest = listed()[0]["digests"][RECOGNITION]
    new_code()
    done("deploy", "--memory", "2048")
    before = function(cloud)
    if with_repository:
        cloud.ecr.delete_repository(repositoryName=RECOGNITION, force=True)
    else:
        cloud.ecr.batch_delete_image(repositoryName=RECOGNITION, imageIds=[{"imageDigest": digest}])
    refused = facectl("rollback", "1")
    assert isinstance(refused.exception, CloudError)
    assert "Can't go back to version 1" in str(refused.exception)
    assert "ECR no longer has its image" in str(refused.exception)
    assert digest in str(refused.exception)
    assert function(cloud) == before
    assert '"memory": 2048' in json.dumps(listed()[0])
    assert done("deploy", "--dry-run").exit_code == 0


def retag(cloud: Clients, repository: str, tag: str) -> None:
    """Give an image the tag `kept` instead of its own."""
    image = cloud.ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])
    cloud.ecr.put_image(
        repositoryName=repository,
        imageManifest=image["images"][0]["imageManifest"],
        imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
        imageTag="kept",
    )
    cloud.ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": tag}])


def test_a_tag_that_was_removed_is_replaced_by_the_digest(cloud: Clients) -> None:
    done(*FIRST)
    first = listed()[0]
    tag = first["code"][RECOGNITION].rpartition(":")[2]
    new_code()
    done("deploy")
    retag(cloud, RECOGNITION, tag)
    done("rollback", "1")
    assert function(cloud)[1].endswith(f"{RECOGNITION}@{first['digests'][RECOGNITION]}")
    assert listed()[0]["digests"] == first["digests"]


def test_going_back_to_another_space_embeds_the_gallery_again(people: Path) -> None:
    done("deploy", "--model", "other")
    assert state() == (2, NEW, {"Ada": 2, "Grace": 1})
    back = done("rollback", "1")
    assert "Back to version 1 of " in back.stderr
    assert "gallery: re-embed 0 photographs of 2 people for model tiny, 3 embedded earlier" in (
        back.stderr
    )
    assert state() == (3, OLD, {"Ada": 2, "Grace": 1})
    assert published() == (3, OLD)
    assert listed()[0]["changes"][-1] == "model other, fp32 → tiny, fp32"
    # A rollback of the gallery to a version of another model deploys that model.
    done("gallery", "rollback", "2", "--yes")
    assert [each["model"]["name"] for each in listed()] == ["other", "tiny", "other", "tiny"]


def test_a_computer_without_gallery_and_model_says_what_the_functions_read(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("deploy", "--model", "other")
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "elsewhere"))
    back = done("rollback", "1", "--asu-id", "42", "--target", "aws")
    assert "The gallery of model tiny: version 1 with 2 people" in back.stderr
    assert published() == (1, OLD)


def test_a_gallery_that_must_be_embedded_again_needs_the_model(
    people: Path, tmp_path: Path
) -> None:
    done("deploy", "--model", "other")
    home = next(tmp_path.rglob("models/tiny"), None) or next(tmp_path.parent.rglob("models/tiny"))
    home.rename(home.with_name(".tiny"))
    refused = facectl("rollback", "1")
    assert isinstance(refused.exception, ModelError)
    assert "Version 1 needs model tiny, fp32, on this computer" in str(refused.exception)
    assert state() == (2, NEW, {"Ada": 2, "Grace": 1})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "JSONDecodeError"),
        (b"[]", "it is damaged, or of a newer version of facectl"),
        (b'{"format": 2}', "it is damaged, or of a newer version of facectl"),
        (b'{"format": 1}', "KeyError"),
    ],
)
def test_a_damaged_record_is_listed_and_not_deployed(
    cloud: Clients, data: bytes, problem: str
) -> None:
    done(*FIRST)
    done("deploy", "--memory", "2048")
    put(cloud, 1, data)
    assert problem in listed()[1]["problem"]
    assert "can't be read" in done("versions").stdout
    refused = facectl("rollback", "1")
    assert isinstance(refused.exception, CloudError)
    assert problem in str(refused.exception)
    done("deploy", "--memory", "4096")
    assert [each["version"] for each in listed()] == [3, 2, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"alarm": "a@example.com"},
        {"role_arn": "no"},
        {"pollers": 7},
        {"pollers": [2]},
        {"memory": "4096"},
        {"memory": True},
        {"auth": "open"},
        {"restored": 1},
    ],
)
def test_options_of_another_facectl_are_refused(cloud: Clients, options: dict[str, Any]) -> None:
    done(*FIRST)
    done("deploy", "--memory", "2048")
    put(cloud, 1, json.dumps({**record_of(cloud, 1), "options": options}).encode())
    refused = facectl("rollback", "1")
    assert isinstance(refused.exception, InputError)
    assert "The options of version 1 can't be used" in str(refused.exception)
    assert function(cloud)[0] == 2048


def test_a_deploy_that_cannot_be_recorded_says_so(
    cloud: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = ClientError(
        {"Error": {"Code": "AccessDenied", "Message": "deployments/*"}}, "PutObject"
    )
    monkeypatch.setattr(GalleryBucket, "swap", failing(denied))
    failed = facectl(*FIRST)
    assert isinstance(failed.exception, CloudError)
    assert "Both functions answer, but the deploy is not recorded" in str(failed.exception)
    assert "AccessDenied" in str(failed.exception)
    assert function(cloud)[0] == 1769


@pytest.fixture
def tiny(tmp_path: Path) -> Model:
    return Model(tmp_path / "tiny", OLD, "facenet", False, "vggface2")


@pytest.fixture
def bucket(clients: Clients) -> GalleryBucket:
    found = GalleryBucket(clients)
    clients.s3.create_bucket(Bucket=found.name)
    return found


def zipped(desired: DesiredState, code: bytes) -> DesiredState:
    package = Package.zipped(code)
    return dataclasses.replace(desired, packages=Packages(package, package))


def test_the_last_ten_are_kept_with_their_code(
    clients: Clients, desired: DesiredState, bucket: GalleryBucket, tiny: Model
) -> None:
    for number in range(12):
        state = zipped(desired, b"old" if number < 3 else b"new")
        versions.record(clients, state, Options(memory=1024 + number), tiny)
    found = versions.read(clients)
    assert [each.number for each in found] == list(range(12, 2, -1))
    assert len(bucket.listed("deployments/packages/")) == 2
    oldest = found[-1]
    assert isinstance(oldest, Version)
    assert versions.package(clients, oldest) == Package.zipped(b"old")
    versions.record(clients, zipped(desired, b"new"), Options(), tiny)
    assert len(bucket.listed("deployments/packages/")) == 1
    assert versions.package(clients, oldest) is None


def test_two_computers_take_different_numbers(
    clients: Clients,
    desired: DesiredState,
    bucket: GalleryBucket,
    tiny: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions.record(clients, desired, Options(memory=1024), tiny)
    numbers, stale = versions._numbers, [[]]
    monkeypatch.setattr(
        versions, "_numbers", lambda bucket: stale.pop() if stale else numbers(bucket)
    )
    second = versions.record(clients, desired, Options(memory=2048), tiny)
    assert second.number == 2
    assert [each.number for each in versions.read(clients)] == [2, 1]


def test_code_that_is_not_in_the_bucket_is_said(
    clients: Clients, desired: DesiredState, bucket: GalleryBucket, tiny: Model
) -> None:
    versions.record(clients, desired, Options(), tiny)
    bucket.delete([item.key for item in bucket.listed("deployments/packages/")])
    with pytest.raises(CloudError, match="its code is not in the bucket any more"):
        rollbacks.prepare(Deployment(asu_id=ASU_ID, target="aws"), 1)


def test_a_record_under_another_number_is_damaged(
    clients: Clients, desired: DesiredState, bucket: GalleryBucket, tiny: Model
) -> None:
    versions.record(clients, desired, Options(), tiny)
    put(clients, 2, json.dumps(record_of(clients, 1)).encode())
    newest = versions.read(clients)[0]
    assert isinstance(newest, Damaged)
    assert "it is of version 1" in newest.problem
    last = versions.last(clients)
    assert last is not None
    assert last.number == 1
