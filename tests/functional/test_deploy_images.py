"""Images: what their tag depends on, how they are built and pushed, with a stand-in for Docker."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.deploy import access
from facectl.deploy.docker import Docker
from facectl.deploy.executor import apply_step
from facectl.deploy.packages import given_packages, image_package
from facectl.deploy.planner import plan
from facectl.deploy.recipe import BuildOptions, Recipe
from facectl.deploy.resources import Context, Image, Repository
from facectl.deploy.steps import Create, Delete, changes
from facectl.errors import CloudError, InputError
from lambda_src.vision.store import DETECTION, MANIFEST, RECOGNITION, Model

FUNCTIONS = ("face-detection", "face-recognition")

# Does what it is told by files beside it, and writes down what it was asked.
STAND_IN = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
told = json.loads((here / "told.json").read_text())
arguments = sys.argv[1:]
asked = {{"arguments": arguments, "kit": os.environ.get("DOCKER_BUILDKIT")}}
if "DOCKER_CONFIG" in os.environ:
    config = pathlib.Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    asked["config"] = json.loads(config.read_text())
if arguments[0] == "build" or arguments[:2] == ["buildx", "build"]:
    context = pathlib.Path(arguments[-1])
    asked["files"] = sorted(str(p.relative_to(context)) for p in context.rglob("*") if p.is_file())
with (here / "asked.jsonl").open("a") as log:
    log.write(json.dumps(asked) + "\\n")
name = " ".join(arguments[:2])
if name.startswith("version"):
    print(json.dumps({{"Client": {{"Version": told["client"]}}, "Server": told["server"]}}))
    print("the engine is not there", file=sys.stderr)
elif name == "buildx version":
    sys.exit(0 if told["buildx"] else 1)
elif name == "image inspect":
    if "--format" in arguments:
        print(told["size"])
    else:
        sys.exit(0 if told["has"] else 1)
elif name == "image ls":
    print("\\n".join(told["images"]))
elif name.startswith("push"):
    print("layer 1: Pushed")
    sys.exit(told["push"])
elif "build" in arguments:
    print("step 1/1")
    sys.exit(told["build"])
elif name == "context inspect":
    print("unix:///var/run/docker.sock")
"""


class StandIn:
    """The stand-in in PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = folder / "docker"
        self.command.write_text(STAND_IN.format(python=sys.executable))
        self.command.chmod(self.command.stat().st_mode | stat.S_IXUSR)
        self.tell()

    def tell(self, **told: Any) -> None:
        usual = {
            "client": "28.2.2",
            "server": {"Version": "28.2.2"},
            "buildx": True,
            "has": False,
            "images": [],
            "size": 300_000_000,
            "push": 0,
            "build": 0,
        }
        (self.folder / "told.json").write_text(json.dumps({**usual, **told}))

    def asked(self, word: str) -> list[dict[str, Any]]:
        log = self.folder / "asked.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [asked for line in lines if word in (asked := json.loads(line))["arguments"]]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return StandIn(folder)


@pytest.fixture
def context() -> Iterator[Context]:
    with mock_aws():
        clients = Clients(Deployment(asu_id="42", target="aws"))
        yield Context(clients, access.read_account(clients))


def tag(model: Model, function: str = "face-detection", **options: Any) -> str:
    return recipe(model, function, **options).tag


def recipe(model: Model, function: str = "face-detection", **options: Any) -> Recipe:
    return Recipe(function, model, BuildOptions(builder="docker", **options))


def test_the_tag_is_of_the_content_alone(model: Model) -> None:
    before = tag(model)
    os.utime(model.file(MANIFEST), (0, 0))
    assert tag(model) == before
    assert tag(model, package_index="https://mirror.example/simple") == before
    assert len(before) == 16


def test_the_tag_changes_with_everything_that_goes_in(model: Model) -> None:
    tags = {
        tag(model),
        tag(model, "face-recognition"),
        tag(model, architecture="arm64"),
        tag(model, base_image="python:3.13-slim"),
    }
    model.file(DETECTION[0]).write_text("other weights")
    tags.add(tag(model))
    assert len(tags) == 5


def test_each_image_holds_its_own_networks(model: Model, tmp_path: Path) -> None:
    held = {}
    for function in FUNCTIONS:
        folder = tmp_path / function
        folder.mkdir()
        recipe(model, function).write(folder)
        held[function] = {path.name for path in (folder / "model").iterdir()}
        assert (folder / "lambda_src" / "contract.py").exists()
        assert not list(folder.rglob("*.pyc"))
    assert held == {
        "face-detection": {MANIFEST, *DETECTION},
        "face-recognition": {MANIFEST, *RECOGNITION},
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_files_of_an_image_are_locked_and_without_torch(model: Model, function: str) -> None:
    files = dict(recipe(model, function).files())
    locked = files["requirements.txt"].read_text()
    assert "torch" not in locked
    assert "awslambdaric==" in locked
    pins = [line for line in locked.splitlines() if "==" in line]
    assert all(line.endswith("\\") for line in pins), "every pin goes on with its hashes"
    dockerfile = files["Dockerfile"].read_text()
    assert "--require-hashes" in dockerfile
    assert "USER 1000:1000" in dockerfile
    assert f"lambda_src.{function.removeprefix('face-')}.handler" in dockerfile


def make(docker: StandIn, context: Context, model: Model, **options: Any) -> Image:
    account = context.account
    package = image_package(
        "face-detection", model, BuildOptions(builder="docker", **options), account
    )
    assert package.digest == account.image_uri(f"face-detection:{package.tag}")
    image = Image("face-detection", package.tag, package.recipe)
    apply_step(Create(Repository("face-detection", "42")), context)
    apply_step(Create(image), context)
    return image


def test_buildx_builds_one_manifest_without_attestations(
    docker: StandIn, context: Context, model: Model
) -> None:
    image = make(docker, context, model, base_image="base:1", package_index="https://i.example")
    uri = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{image.name}"
    (build,) = docker.asked("build")
    assert build["arguments"][:-1] == [
        "buildx",
        "build",
        "--progress=plain",
        f"--tag={uri}",
        "--build-arg=BASE_IMAGE=base:1",
        "--build-arg=PIP_INDEX_URL=https://i.example",
        "--load",
        "--provenance=false",
        "--sbom=false",
        "--platform=linux/amd64",
    ]
    assert "Dockerfile" in build["files"]
    assert not Path(build["arguments"][-1]).exists()
    (push,) = docker.asked("push")
    assert push["arguments"] == ["push", uri]


def test_the_registrys_password_is_in_no_argument(
    docker: StandIn, context: Context, model: Model
) -> None:
    make(docker, context, model)
    (push,) = docker.asked("push")
    ((registry, entry),) = push["config"]["auths"].items()
    assert registry == "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    assert base64.b64decode(entry["auth"]).decode().startswith("AWS:")
    assert entry["auth"] not in json.dumps(push["arguments"])


@pytest.mark.parametrize(("client", "kit"), [("20.10.24", "1"), ("28.2.2", "0")])
def test_without_buildx_the_engines_own_builder_is_used(
    docker: StandIn, context: Context, model: Model, client: str, kit: str
) -> None:
    docker.tell(client=client, buildx=False)
    make(docker, context, model)
    (build,) = docker.asked("build")
    assert build["arguments"][0] == "build"
    assert build["kit"] == kit
    assert not [word for word in build["arguments"] if word.startswith("--provenance")]


def test_another_processor_needs_buildx(docker: StandIn, context: Context, model: Model) -> None:
    docker.tell(buildx=False)
    with pytest.raises(InputError, match="needs Docker's buildx plugin"):
        make(docker, context, model, architecture="arm64")


def test_an_image_that_the_engine_holds_is_only_pushed(
    docker: StandIn, context: Context, model: Model
) -> None:
    docker.tell(has=True)
    make(docker, context, model)
    assert docker.asked("build") == []
    assert len(docker.asked("push")) == 1


def test_the_size_is_told(docker: StandIn, context: Context, model: Model) -> None:
    notes: list[str] = []
    make(docker, dataclasses.replace(context, note=notes.append), model, base_image="base:1")
    assert notes == [f"face-detection:{tag(model, base_image='base:1')}: 300 MB, 0 MB over base:1"]


def test_an_image_in_the_registry_is_neither_built_nor_pushed(
    docker: StandIn, context: Context, model: Model
) -> None:
    image = make(docker, context, model)
    context.clients.ecr.put_image(
        repositoryName=image.repository,
        imageManifest=json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:0"}}),
        imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
        imageTag=image.tag,
    )
    there = image.read(context)
    assert there is not None
    assert plan([image], {(there.kind, there.name): there}) == ()


def test_a_push_that_is_cut_off_says_so_and_is_done_again(
    docker: StandIn, context: Context, model: Model
) -> None:
    docker.tell(push=1)
    with pytest.raises(CloudError, match=r"pushing .* failed:\nlayer 1: Pushed"):
        make(docker, context, model)
    assert Image("face-detection", tag(model)).read(context) is None


def test_a_build_that_fails_shows_its_last_lines(
    docker: StandIn, context: Context, model: Model
) -> None:
    docker.tell(build=1)
    with pytest.raises(CloudError, match=r"building .* failed:\nstep 1/1"):
        make(docker, context, model)
    assert docker.asked("push") == []


def test_an_image_over_lambdas_limit_is_not_pushed(
    docker: StandIn, context: Context, model: Model
) -> None:
    docker.tell(size=11 * 1024**3)
    with pytest.raises(InputError, match=r"is 11.8 GB, Lambda takes 10.7"):
        make(docker, context, model)
    assert docker.asked("push") == []


def test_no_docker_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no docker command") as caught:
        Docker.find()
    assert "--image-uri" in str(caught.value.hint)


def test_no_engine(docker: StandIn) -> None:
    docker.tell(server=None)
    with pytest.raises(CloudError, match=r"No Docker engine answers .*: the engine is not there"):
        Docker.find()


def test_a_refused_login_names_what_was_tried(
    docker: StandIn, context: Context, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stubber(context.clients.ecr) as stub:
        stub.add_response("create_repository", {})
        stub.add_response("put_lifecycle_policy", {})
        stub.add_response("set_repository_policy", {})
        stub.add_client_error("get_authorization_token", "AccessDeniedException", "not you")
        with pytest.raises(CloudError, match=r"create image face-detection:\w+: AccessDenied"):
            make(docker, context, model)


def test_a_repository_takes_its_images_on_this_computer_along(
    docker: StandIn, context: Context, model: Model
) -> None:
    image = make(docker, context, model)
    uri = context.account.image_uri(image.name)
    docker.tell(images=[uri])
    apply_step(Delete(Repository("face-detection", "42")), context)
    (listed,) = docker.asked("ls")
    assert listed["arguments"][-1] == f"reference={uri.rpartition(':')[0]}"
    assert [asked["arguments"] for asked in docker.asked("rm")] == [["image", "rm", uri]]


def test_a_repository_goes_without_docker_too(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    apply_step(Create(Repository("face-detection", "42")), context)
    apply_step(Delete(Repository("face-detection", "42")), context)
    assert Repository("face-detection", "42").read(context) is None


def test_repositories_drift_is_repaired(context: Context) -> None:
    wanted = Repository("face-detection", "42")
    apply_step(Create(wanted), context)
    assert wanted.read(context) == wanted
    ecr = context.clients.ecr
    ecr.put_image_tag_mutability(repositoryName="face-detection", imageTagMutability="MUTABLE")
    ecr.delete_lifecycle_policy(repositoryName="face-detection")
    ecr.put_image_scanning_configuration(
        repositoryName="face-detection", imageScanningConfiguration={"scanOnPush": False}
    )
    other = {"Sid": "Mine", "Effect": "Allow", "Principal": "*", "Action": "ecr:ListImages"}
    mine = json.dumps({"Version": "2012-10-17", "Statement": [other]})
    ecr.set_repository_policy(repositoryName="face-detection", policyText=mine)
    drifted = wanted.read(context)
    assert drifted is not None
    (step,) = plan([wanted], {(drifted.kind, drifted.name): drifted})
    assert {change.attribute for change in changes(step)} == {
        "immutable", "kept", "scan on push", "lambda pulls",
    }  # fmt: skip
    apply_step(step, context)
    assert wanted.read(context) == wanted
    found = json.loads(ecr.get_repository_policy(repositoryName="face-detection")["policyText"])
    assert found["Statement"][0] == other
    assert found["Statement"][1] == {
        "Sid": "LambdaECRImageRetrievalPolicy",
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Condition": {
            "StringLike": {"aws:sourceArn": "arn:aws:lambda:us-east-1:123456789012:function:*"}
        },
    }


@pytest.mark.parametrize(
    ("uris", "text"),
    [
        (("face-detection",), "is not FUNCTION=URI"),
        (("face-detection=",), "is not FUNCTION=URI"),
        (("detection=a",), "is not FUNCTION=URI"),
        (("face-detection=a",), "face-recognition has none"),
    ],
)
def test_image_uris_are_for_both_functions(uris: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        given_packages(uris)


def test_given_images_are_used_as_they_are() -> None:
    given = given_packages(("face-detection=a:1", "face-recognition=b:2"))
    assert {function: package.digest for function, package in given.items()} == {
        "face-detection": "a:1",
        "face-recognition": "b:2",
    }
    assert all(package.recipe is None for package in given.values())
