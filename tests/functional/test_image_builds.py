"""Images are built from a base, pinned packages, code and a model, the same everywhere."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_files import LAYER, config, send_base, tar_of, write_archive, write_layout
from registry_server import running_registry

from facectl.container_images import build as build_module
from facectl.container_images import layers, packages
from facectl.container_images.bases import BaseImage, open_base
from facectl.container_images.blobs import Blob, sha256
from facectl.container_images.build import BuiltImage, Parts, build
from facectl.container_images.packages import compiler, packages_layer
from facectl.container_images.registries import Registry
from facectl.deploy.recipe import BuildOptions, Recipe, dockerfiles
from facectl.errors import FacectlError, InputError
from lambda_src.vision.store import Model

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def read(blob: Blob, offset: int = 0) -> bytes:
    with blob.read(offset) as pieces:
        return b"".join(pieces)


def entries(blob: Blob) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(read(blob)))) as archive:
        return {member.name: member for member in archive}


# Base images.


def test_an_image_is_read_from_an_oci_layout(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "base", "amd64", "arm64")
    for architecture in ("amd64", "arm64"):
        base = open_base(str(folder), architecture)
        assert base.config["architecture"] == architecture
        assert base.digest == sha256((folder / "index.json").read_bytes())
        (layer,) = base.layers
        assert gzip.decompress(read(layer.compressed().blob)) == LAYER
        assert base.python == "3.12"


def test_an_image_is_read_from_a_tar_of_an_oci_layout(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "base", "arm64")
    files = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*") if file.is_file()
    }  # fmt: skip
    archive = tmp_path / "base.tar"
    archive.write_bytes(tar_of(files))
    (layer,) = open_base(str(archive), "arm64").layers
    packed = read(layer.compressed().blob)
    assert gzip.decompress(packed) == LAYER
    assert read(layer.blob, 7) == packed[7:]


def test_an_image_is_read_from_an_archive_of_docker_save(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "base.tar")
    base = open_base(str(archive), "amd64")
    (layer,) = base.layers
    assert not layer.gzipped
    packed = layer.compressed()
    assert gzip.decompress(read(packed.blob)) == LAYER
    assert (packed.diff_id, packed.unpacked) == (sha256(LAYER), len(LAYER))
    assert sha256(read(packed.blob)) == packed.blob.digest


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def test_an_image_is_read_from_a_registry(address: str) -> None:
    registry = Registry(address, plain=True)
    made = send_base(registry, "base", "1")
    base = open_base(f"{address}/base:1", "amd64")
    assert base.digest == sha256(made)
    (layer,) = base.layers
    assert gzip.decompress(read(layer.blob)) == LAYER
    assert read(layer.blob, 10) == read(layer.blob)[10:]
    # A newer image with this tag changes nothing until it is asked for.
    send_base(registry, "base", "1", "arm64")
    assert open_base(f"{address}/base:1", "amd64", base.digest).digest == base.digest
    with pytest.raises(InputError, match="is for linux/arm64, the functions are for linux/amd64"):
        open_base(f"{address}/base:1", "amd64")


def test_an_unknown_reference_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"base has no image none") as caught:
        open_base(f"{address}/base:none", "amd64")
    assert "--rebuild" in str(caught.value.hint)


def test_python_is_found_among_the_files_where_no_variable_names_it(tmp_path: Path) -> None:
    described = json.loads(config())
    described["config"]["Env"] = ["PATH=/usr/bin"]
    archive = write_archive(tmp_path / "base.tar", **{"abc.json": json.dumps(described).encode()})
    assert open_base(str(archive), "amd64").python == "3.12"


def test_a_base_without_python_is_refused(tmp_path: Path) -> None:
    layer = tar_of({"etc/os-release": b"x"})
    described = json.loads(config(layer=layer))
    described["config"]["Env"] = []
    archive = write_archive(
        tmp_path / "base.tar",
        **{"abc.json": json.dumps(described).encode(), "1/layer.tar": layer},
    )
    with pytest.raises(InputError, match="has no Python 3"):
        _ = open_base(str(archive), "amd64").python


def bad_base(kind: str, folder: Path) -> Path:  # noqa: PLR0911 - one per kind
    if kind == "missing":
        return folder / "none.tar"
    if kind == "other architecture":
        return write_archive(folder / "base.tar", "arm64")
    if kind == "no platform in the index":
        return write_layout(folder / "base", "amd64", "arm64", platform=False)
    if kind == "other platforms in the index":
        return write_layout(folder / "base", "arm64")
    if kind == "zstd":
        kind_of_layer = "application/vnd.oci.image.layer.v1.tar+zstd"
        return write_layout(folder / "base", "amd64", layer_type=kind_of_layer)
    if kind == "bad digest":
        layout = write_layout(folder / "base", "amd64")
        (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
        name = manifest["digest"].partition(":")[2]
        (layout / "blobs" / "sha256" / name).write_text("{}")
        return layout
    if kind == "traversal":
        layout = write_layout(folder / "base", "amd64")
        index = json.loads((layout / "index.json").read_text())
        index["manifests"][0]["digest"] = "sha256:../../../etc/passwd"
        (layout / "index.json").write_text(json.dumps(index))
        return layout
    archive = write_archive(folder / "base.tar")
    data = archive.read_bytes()
    archive.write_bytes(
        {"truncated": data[:1500], "not a tar": b"no"}.get(kind, tar_of({"a": b""}))
    )
    return archive


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", "There is no base image"),
        ("other architecture", "is for linux/arm64, the functions are for linux/amd64"),
        ("no platform in the index", "is not for linux/amd64"),
        ("other platforms in the index", "is not for linux/amd64, but for linux/arm64"),
        ("zstd", r"tar\+zstd, which AWS Lambda does not take"),
        ("bad digest", "has another content"),
        ("traversal", "is not a sha256 digest"),
        ("truncated", "is damaged|has no manifest|neither"),
        ("not a tar", "is damaged"),
        ("empty", "is neither an OCI layout nor an archive"),
    ],
)
def test_bad_base_images_are_refused(kind: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        open_base(str(bad_base(kind, tmp_path)), "amd64")


def test_a_layer_that_differs_from_its_configuration_is_refused(tmp_path: Path) -> None:
    other = {"1/layer.tar": tar_of({"usr/bin/python3.12": b"other"})}
    (layer,) = open_base(str(write_archive(tmp_path / "base.tar", **other)), "amd64").layers
    with pytest.raises(InputError, match="another content than its configuration"):
        layer.compressed()


# Packages: a wheel of our own, from a folder instead of an index.


def write_wheel(folder: Path, platform: str, text: str = "VALUE = {1, 'a'}\n") -> str:
    """A wheel of `tiny` 1.0 for the platform; returns its sha256."""
    folder.mkdir(exist_ok=True)
    files = {
        "tiny/__init__.py": text,
        "tiny/types.pyi": "VALUE: set",
        "tiny/tests/__init__.py": "",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: cp312-cp312-{platform}\n",
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    rows = io.StringIO()
    for name in [*files, "tiny-1.0.dist-info/RECORD"]:
        csv.writer(rows, lineterminator="\n").writerow([name, "", ""])
    files["tiny-1.0.dist-info/RECORD"] = rows.getvalue()
    file = folder / f"tiny-1.0-cp312-cp312-{platform}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which is all that pip knows."""
    folder = tmp_path / "wheels"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


def pinned(tmp_path: Path, *hashes: str) -> Path:
    file = tmp_path / "requirements.txt"
    file.write_text("tiny==1.0 " + " ".join(f"--hash=sha256:{each}" for each in hashes) + "\n")
    return file


PRUNE = dockerfiles() / "prune.py"


@pytest.mark.parametrize(
    ("architecture", "platform"),
    [("amd64", "manylinux_2_28_x86_64"), ("arm64", "manylinux2014_aarch64")],
)
def test_packages_are_of_the_platform_and_pruned(
    wheels: Path, tmp_path: Path, architecture: str, platform: str
) -> None:
    found = write_wheel(wheels, platform)
    layer = packages_layer(pinned(tmp_path, found), PRUNE, (architecture, "3.12"), None)
    names = {name for name, member in entries(layer.blob).items() if member.isfile()}
    compiled = {name for name in names if name.endswith(".pyc")}
    assert bool(compiled) == (compiler("3.12") is not None)
    assert names - compiled == {
        "opt/python/tiny/__init__.py",
        "opt/python/tiny-1.0.dist-info/METADATA",
        "opt/python/tiny-1.0.dist-info/WHEEL",
        "opt/python/tiny-1.0.dist-info/entry_points.txt",
    }


def test_a_wheel_for_another_platform_only_is_refused(wheels: Path, tmp_path: Path) -> None:
    requirements = pinned(tmp_path, write_wheel(wheels, "manylinux_2_28_x86_64"))
    with pytest.raises(InputError, match=r"on aarch64: there is no wheel of tiny==1\.0"):
        packages_layer(requirements, PRUNE, ("arm64", "3.12"), None)


def test_a_wheel_for_another_python_only_is_refused(wheels: Path, tmp_path: Path) -> None:
    requirements = pinned(tmp_path, write_wheel(wheels, "manylinux_2_28_x86_64"))
    with pytest.raises(InputError, match=r"Python 3\.13 on x86_64: there is no wheel"):
        packages_layer(requirements, PRUNE, ("amd64", "3.13"), None)


def test_a_wheel_with_another_hash_is_refused(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, "manylinux_2_28_x86_64")
    with pytest.raises(InputError, match="a wheel has another content than the one"):
        packages_layer(pinned(tmp_path, "0" * 64), PRUNE, ("amd64", "3.12"), None)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * 100)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layers, "write_tar", full)
    with pytest.raises(InputError, match=r"can't be written to .*: No space left") as caught:
        layers.files_layer({"/opt/weights": file})
    assert "make room" in str(caught.value.hint)
    assert "full" in str(packages._failure("installing", "OSError: [Errno 28] No space left"))


def test_a_failure_of_pip_shows_its_last_lines() -> None:
    found = packages._failure("installing", "\n".join(f"line {n}" for n in range(20)))
    assert isinstance(found, FacectlError)
    assert "line 19" in str(found)
    assert "line 1\n" not in str(found)


# The whole image.


def parts(folder: Path, requirements: Path) -> Parts:
    folder.mkdir()
    sources = {}
    for name, text in {"handler.py": "X = {1, 2, 'b'}\n", "entrypoint.sh": "exec python\n"}.items():
        (folder / name).write_text(text)
        sources[name] = folder / name
    (folder / "weights").write_bytes(b"weights")
    return Parts(
        code={
            "/var/task/lambda_src/handler.py": sources["handler.py"],
            "/opt/facectl/entrypoint.sh": sources["entrypoint.sh"],
        },
        model={"/opt/facectl/model/weights": folder / "weights"},
        requirements=requirements,
        prune=PRUNE,
        handler="lambda_src.handler.run",
    )


def base_for(tmp_path: Path, python: str = "3.12") -> BaseImage:
    described = json.loads(config(Volumes={"/data": {}}, Entrypoint=["old"]))
    described["config"]["Env"] = ["PATH=/usr/bin", f"PYTHON_VERSION={python}.1", "HOME=/root"]
    data = {"abc.json": json.dumps(described).encode()}
    return open_base(str(write_archive(tmp_path / "base.tar", **data)), "amd64")


@pytest.fixture
def image(wheels: Path, tmp_path: Path) -> BuiltImage:
    requirements = pinned(tmp_path, write_wheel(wheels, "manylinux_2_28_x86_64"))
    return build(base_for(tmp_path), "amd64", parts(tmp_path / "sources", requirements))


def blob_of(image: BuiltImage, digest: str) -> bytes:
    return next(read(blob) for blob in image.blobs if blob.digest == digest)


def test_the_manifest_names_the_layers_and_the_configuration(image: BuiltImage) -> None:
    manifest = json.loads(image.manifest)
    described = json.loads(blob_of(image, manifest["config"]["digest"]))
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert len(manifest["layers"]) == 4
    unpacked = [gzip.decompress(blob_of(image, each["digest"])) for each in manifest["layers"]]
    assert described["rootfs"]["diff_ids"] == [sha256(data) for data in unpacked]
    assert [len(blob_of(image, each["digest"])) for each in manifest["layers"]] == [
        each["size"] for each in manifest["layers"]
    ]
    assert len(described["history"]) == 4
    assert described["config"] == {
        "Env": [
            "PATH=/usr/bin", "PYTHON_VERSION=3.12.1", "HOME=/tmp",
            "PYTHONPATH=/var/task:/opt/python", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1",
        ],
        "WorkingDir": "/var/task",
        "User": "1000:1000",
        "Entrypoint": ["/bin/sh", "/opt/facectl/entrypoint.sh"],
        "Cmd": ["lambda_src.handler.run"],
    }  # fmt: skip


def test_entries_are_sorted_with_fixed_times_owners_and_modes(image: BuiltImage) -> None:
    for described in json.loads(image.manifest)["layers"][1:]:
        data = blob_of(image, described["digest"])
        # A header of gzip without a name, a time, or the operating system.
        assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
            members = archive.getmembers()
        names = [member.name for member in members]
        assert names == sorted(names)
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
        assert {m.mode for m in members if m.isfile()} == {0o644}
        assert {m.mode for m in members if m.isdir()} == {0o755}


def test_a_file_and_its_folders_are_in_one_layer(image: BuiltImage) -> None:
    code = json.loads(image.manifest)["layers"][-1]["digest"]
    found = entries(next(blob for blob in image.blobs if blob.digest == code))
    names = [name for name in found if not name.endswith(".pyc") and "__pycache__" not in name]
    assert names == [
        "opt", "opt/facectl", "opt/facectl/entrypoint.sh",
        "var", "var/task", "var/task/lambda_src", "var/task/lambda_src/handler.py",
    ]  # fmt: skip


def test_the_same_inputs_give_the_same_digest(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = pinned(tmp_path, write_wheel(wheels, "manylinux_2_28_x86_64"))
    digests = set()
    for user, mask in (("one", 0o022), ("two", 0o077)):
        monkeypatch.setenv("FACECTL_HOME", str(tmp_path / f"home-{user}"))
        monkeypatch.setenv("PYTHONHASHSEED", "7" if user == "one" else "8")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1" if user == "one" else "2000000000")
        before = os.umask(mask)
        try:
            made = parts(tmp_path / user, requirements)
            for file in (*made.code.values(), *made.model.values()):
                os.utime(file, (time.time() - mask, time.time() - mask))
                file.chmod(0o777 & ~mask)
            digests.add(build(base_for(tmp_path), "amd64", made).digest)
        finally:
            os.umask(before)
    assert len(digests) == 1


def test_byte_code_is_the_same_in_each_run(tmp_path: Path) -> None:
    seen = set()
    for seed in ("1", "2", "3"):
        folder = tmp_path / seed
        folder.mkdir()
        (folder / "code.py").write_text("def f(x):\n    return x in {'a', 'b', 'c', 1, 2, 3}\n")
        os.environ["PYTHONHASHSEED"] = seed
        try:
            packages.compile_all(sys.executable, folder)
        finally:
            del os.environ["PYTHONHASHSEED"]
        (compiled,) = folder.rglob("*.pyc")
        seen.add(compiled.read_bytes())
    assert len(seen) == 1


def test_a_damaged_layer_of_the_cache_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"w" * 1000)
    first = layers.files_layer({"/opt/weights": file})
    (packed,) = (Path(os.environ["FACECTL_HOME"]) / "cache" / "layers").glob("*.tar.gz")
    packed.write_bytes(b"damaged")
    again = layers.files_layer({"/opt/weights": file})
    assert again.blob.digest == first.blob.digest
    assert sha256(read(again.blob)) == first.blob.digest


def some_layers(tmp_path: Path, count: int) -> tuple[list[layers.Layer], Path]:
    """Different layers, and the folder of the cache."""
    found = []
    for number in range(count):
        file = tmp_path / "weights"
        file.write_text(str(number))
        found.append(layers.files_layer({"/opt/weights": file}))
    return found, Path(os.environ["FACECTL_HOME"]) / "cache" / "layers"


def test_old_layers_leave_the_cache(tmp_path: Path) -> None:
    _, folder = some_layers(tmp_path, 20)
    yesterday = time.time() - 86_400
    for packed in folder.glob("*.tar.gz"):
        os.utime(packed, (yesterday, yesterday))
    (tmp_path / "weights").write_text("new")
    newest = layers.files_layer({"/opt/weights": tmp_path / "weights"})
    assert len(list(folder.glob("*.tar.gz"))) == len(list(folder.glob("*.json"))) == 16
    assert read(newest.blob)


def test_no_layer_of_a_large_image_leaves_the_cache_before_it_is_sent(tmp_path: Path) -> None:
    """A base image of `docker save` may have more layers than the cache keeps."""
    found, folder = some_layers(tmp_path, 30)
    assert len(list(folder.glob("*.tar.gz"))) == 30
    assert all(sha256(read(layer.blob)) == layer.blob.digest for layer in found)


# What both builders share.


@pytest.mark.parametrize("function", ["face-detection", "face-recognition"])
def test_the_dockerfiles_say_the_same(function: str, model: Model) -> None:
    text = (dockerfiles() / f"{function}.Dockerfile").read_text().replace("\\\n", " ")
    said = dict(re.findall(r"^(ENV|WORKDIR|USER|ENTRYPOINT|CMD) (.*)$", text, re.MULTILINE))
    made = Recipe(function, model, BuildOptions()).parts
    variables = dict(each.split("=", 1) for each in said["ENV"].split())
    assert variables == build_module.ENVIRONMENT
    assert said["WORKDIR"] == build_module.WORKING_DIRECTORY
    assert said["USER"] == build_module.USER
    assert json.loads(said["ENTRYPOINT"]) == list(build_module.ENTRYPOINT)
    assert json.loads(said["CMD"]) == [made.handler]
    assert "python prune.py python" in text
    places = {str(Path(name).parent) for name in (*made.code, *made.model)}
    assert {"/opt/facectl", "/opt/facectl/model", "/var/task/lambda_src"} <= places


def tag(model: Model, **options: Any) -> str:
    return Recipe("face-detection", model, BuildOptions(**options)).tag


def test_the_tag_of_a_direct_build_changes_with_everything_that_goes_in(model: Model) -> None:
    first = {"base_digest": sha256(b"1"), "base_python": "3.12"}
    tags = {
        tag(model, **first),
        tag(model, **first, builder="docker"),
        tag(model, **first, architecture="arm64"),
        tag(model, **{**first, "base_digest": sha256(b"2")}),
        tag(model, **{**first, "base_python": "3.10"}),
    }
    assert len(tags) == 5
    # The name of the base is not part of it: its digest is.
    assert tag(model, **first, base_image="mirror.example/python") == tag(model, **first)


def test_code_is_compiled_by_a_python_of_that_version_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiler(HERE) == sys.executable
    monkeypatch.setenv("PATH", str(tmp_path))
    command = tmp_path / "python3.99"
    command.write_text("#!/bin/sh\necho pyenv: not installed >&2\nexit 127\n")
    command.chmod(0o755)
    assert compiler("3.99") is None
    assert compiler("3.98") is None
