"""Both images are built, pushed to the local registry and run as container functions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import docker
from driver import Facectl, eventually, free_port

from lambda_src.vision.store import DETECTION, RECOGNITION

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]

# What the images may add to their base, in bytes: 15 MB less where the model is int8.
LARGEST = {"face-detection": 110e6, "face-recognition": 215e6}
NETWORKS = {"face-detection": DETECTION, "face-recognition": RECOGNITION}
ADMIN = "/2015-03-31/functions/function/invocations"


def image_of(facectl: Facectl, function: str) -> str:
    """The URI of the image that a function runs."""
    status = facectl.json("status")
    tags = [each["name"] for each in status["resources"] if each["kind"] == "image"]
    tag = next(name for name in tags if name.startswith(f"{function}:"))
    registry = facectl.json("local", "status")["endpoint_url"].partition("://")[2]
    return f"{registry}/{tag}"


def run_in(image: str, *command: str) -> str:
    done = docker("run", "--rm", "--entrypoint", command[0], image, *command[1:])
    assert done.returncode == 0, done.stderr
    return done.stdout


def image_ids() -> set[str]:
    """The images of the engine, layers of builds too; it lists those of one second in any order."""
    return set(docker("images", "--all", "--no-trunc", "--quiet").stdout.split())


def test_images_are_built_pushed_and_answer(deployed: Facectl) -> None:
    status = deployed.json("status")
    assert not status["drift"]
    images = [each for each in status["resources"] if each["kind"] == "image"]
    assert [each["facts"]["digest"][:7] for each in images] == ["sha256:", "sha256:"]
    running = docker("ps", "--format", "{{.Image}}").stdout.split()
    assert {image_of(deployed, function) for function in LARGEST} <= set(running)


def test_a_second_run_builds_and_changes_nothing(deployed: Facectl) -> None:
    before = image_ids()
    again = deployed("deploy")
    assert again.stdout.startswith("Nothing to change\n")
    assert image_ids() == before


def test_a_lost_image_is_sent_again_without_its_layers(deployed: Facectl) -> None:
    endpoint = deployed.json("local", "status")["endpoint_url"]
    images = [each for each in deployed.json("status")["resources"] if each["kind"] == "image"]
    name, digest = images[0]["name"], images[0]["facts"]["digest"]
    repository = name.partition(":")[0]
    path = f"/v2/{repository}/manifests/{digest}"
    # MiniStack answers when it has time.
    assert httpx.delete(endpoint + path, timeout=600).status_code == 202

    again = deployed("deploy")
    assert f"create image {name}" in again.stderr
    assert ", 0.0 of " in again.stderr
    assert {each["facts"]["digest"] for each in images} == {
        each["facts"]["digest"]
        for each in deployed.json("status")["resources"]
        if each["kind"] == "image"
    }


def test_the_enrolled_person_is_recognised(deployed: Facectl, portrait: Path) -> None:
    deployed("gallery", "enroll", "Eileen", portrait)
    results = deployed.home / "results.jsonl"

    def answer() -> str:
        deployed("send", portrait, "--detail", "--out", results)
        (line,) = results.read_text().splitlines()
        return str(json.loads(line)["result"])

    # A running function asks for a new gallery every ten seconds.
    eventually(answer, lambda found: found == "Eileen")


@pytest.mark.parametrize("function", LARGEST)
def test_size_over_the_base_is_bounded(deployed: Facectl, base_image: str, function: str) -> None:
    def size(image: str) -> int:
        return int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout)

    assert size(image_of(deployed, function)) - size(base_image) <= LARGEST[function]


@pytest.mark.parametrize("function", LARGEST)
def test_image_has_the_verified_networks_and_no_torch(deployed: Facectl, function: str) -> None:
    image = image_of(deployed, function)
    path = Path(deployed("models", "path").stdout.strip())
    manifest = json.loads((path / "manifest.json").read_text())
    wanted = {name: manifest["files"][name]["sha256"] for name in NETWORKS[function]}
    sums = run_in(image, "sh", "-c", "sha256sum /opt/facectl/model/*").split()
    found = {Path(name).name: digest for digest, name in zip(sums[::2], sums[1::2], strict=True)}
    assert found.pop("manifest.json")
    assert found == wanted
    listed = run_in(
        image, "python", "-c",
        "import importlib.util as u; print([n for n in "
        "('torch', 'facenet_pytorch', 'boto3', 'facectl') if u.find_spec(n)])",
    )  # fmt: skip
    assert listed.strip() == "[]"


@pytest.mark.parametrize("function", LARGEST)
def test_image_runs_as_an_unprivileged_user(deployed: Facectl, function: str) -> None:
    assert run_in(image_of(deployed, function), "id", "-u").strip() == "1000"


@pytest.fixture
def read_only(deployed: Facectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A function alone on a read-only file system, under the emulator that is in the image."""
    port = free_port()
    started = docker(
        "run", "--rm", "--detach", "--read-only", "--tmpfs=/tmp",
        "--publish", f"127.0.0.1:{port}:8080",
        "--env", "AWS_ACCESS_KEY_ID=x", "--env", "AWS_SECRET_ACCESS_KEY=x",
        image_of(deployed, request.param),
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    try:
        yield f"http://127.0.0.1:{port}{ADMIN}"
    finally:
        docker("kill", container)


def invoke(url: str, event: dict[str, Any]) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        try:
            return dict(httpx.post(url, json=event, timeout=600).json())
        except httpx.TransportError:
            return None

    answer = eventually(ask, lambda given: given is not None)
    assert answer is not None
    return answer


@pytest.mark.parametrize("read_only", ["face-detection"], indirect=True)
def test_detection_runs_on_a_read_only_file_system(read_only: str) -> None:
    event = {"requestContext": {"http": {"method": "POST"}}, "body": "not JSON"}
    answer = invoke(read_only, event)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"]["code"] == "bad_json"


@pytest.mark.parametrize("read_only", ["face-recognition"], indirect=True)
def test_recognition_runs_on_a_read_only_file_system(read_only: str) -> None:
    assert invoke(read_only, {"Records": []}) == {"batchItemFailures": []}


DIGEST = """
import sys
from pathlib import Path
from facectl.deploy.direct import base_image, built
from facectl.deploy.recipe import BuildOptions, Recipe
from lambda_src.vision.store import Model
assert str(Path(sys.argv[1])) in sys.modules["facectl"].__file__
options = BuildOptions(base_image=sys.argv[3])
base = base_image(sys.argv[3], options)
options = BuildOptions(base_image=sys.argv[3], base_digest=base.digest, base_python=base.python)
model = Model(Path(sys.argv[2]), "a/facenet", "facenet", True, "synthetic")
for function in ("face-detection", "face-recognition"):
    recipe = Recipe(function, model, options)
    print(recipe.tag, built(recipe).digest)
"""


def test_two_checkouts_give_the_same_digests(
    deployed: Facectl, base_archive: Path, tmp_path: Path
) -> None:
    """Two folders, two umasks, two times, two caches, and the digests of what is deployed."""
    root = Path(__file__).parents[2]
    path = Path(deployed("models", "path").stdout.strip())
    printed = set()
    for name, mask in (("one", 0o022), ("two", 0o077)):
        checkout = tmp_path / name / "facectl"
        for part in ("facectl", "lambda_src", "dockerfiles"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / part, checkout / part, ignore=ignored)
        model = shutil.copytree(path, tmp_path / name / "model")
        for file in (*checkout.rglob("*"), *model.iterdir()):
            os.utime(file, (mask * 1e6, mask * 1e6))
        done = subprocess.run(
            [sys.executable, "-c", DIGEST, checkout, model, base_archive],
            env={
                **deployed.environment(),
                "FACECTL_HOME": str(tmp_path / name / "home"),
                "PYTHONPATH": str(checkout),
                "PYTHONHASHSEED": str(mask),
            },
            cwd=tmp_path / name,
            umask=mask,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    (same,) = printed
    images = [each for each in deployed.json("status")["resources"] if each["kind"] == "image"]
    assert same.split() == [
        word
        for each in images
        for word in (each["name"].partition(":")[2], each["facts"]["digest"])
    ]


LISTING = """
import hashlib, os, pathlib
for place in ("/opt/python", "/opt/facectl", "/var/task"):
    for path in sorted(pathlib.Path(place).rglob("*")):
        if path.is_file():
            # Byte code has the version of the compiler in it.
            data = b"" if path.suffix == ".pyc" else path.read_bytes()
            print(path, hashlib.sha256(data).hexdigest())
"""
SETTINGS = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir")


def test_both_builders_make_the_same_functions(
    deployed: Facectl, base_image: str, base_archive: Path, portrait: Path
) -> None:
    def made() -> dict[str, tuple[str, dict[str, Any]]]:
        found = {}
        for function in LARGEST:
            image = image_of(deployed, function)
            (described,) = json.loads(docker("image", "inspect", image).stdout)
            settings = {name: described["Config"][name] for name in SETTINGS}
            # Docker writes its default where the base image has no PATH.
            settings["Env"] = [each for each in settings["Env"] if not each.startswith("PATH=")]
            found[function] = (run_in(image, "python", "-c", LISTING), settings)
        return found

    direct = made()
    deployed("deploy", "--builder", "docker", "--base-image", base_image, "--yes")
    assert made() == direct
    deployed("send", portrait)
    deployed("deploy", "--builder", "direct", "--base-image", base_archive, "--yes")
    assert made() == direct


def test_return_to_zip_packages_asks_first(deployed: Facectl) -> None:
    refused = deployed("deploy", "--package", "zip", expect=1)
    assert "must be deleted and created again" in refused.stderr
    assert not deployed.json("status")["drift"]

    changed = deployed.json("deploy", "--package", "zip", "--yes")
    replaced = [step["name"] for step in changed["steps"] if step["action"] == "replace"]
    assert replaced == [
        "face-detection",
        "face-recognition",
        "box-req-queue → face-recognition",
    ]
    assert deployed("deploy").stdout.startswith("Nothing to change")


def test_destroy_and_down_remove_images_and_containers(
    deployed: Facectl, base_archive: Path
) -> None:
    registry = deployed.json("local", "status")["endpoint_url"].partition("://")[2]

    def held(what: str) -> list[str]:
        form = {"ps": "{{.Image}}", "images": "{{.Repository}}"}[what]
        listed = docker(what, "--format", form).stdout.split()
        return [image for image in listed if image.startswith(registry)]

    build = ("--package", "image", "--base-image", base_archive, "--yes")
    deployed("deploy", *build)
    deployed("destroy")
    assert (held("ps"), held("images")) == ([], [])

    deployed("deploy", "--asu-id", "box", "--target", "local", *build)
    assert len(held("ps")) == 2
    deployed("local", "down")
    assert held("ps") == []
