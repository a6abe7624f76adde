"""The gallery on a real local cloud: refresh, damaged versions, deletion of a person."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from driver import Facectl, eventually, sample
from PIL import Image

from lambda_src.gallery.parts import manifest_key

pytestmark = pytest.mark.e2e

NAME = "Colonel / Collins 🚀"


@pytest.fixture
def people(deployed: Facectl, portrait: Path, tmp_path: Path) -> Iterator[Path]:
    """A tree with one person, whose photographs are enrolled for the test."""
    folder = tmp_path / "people"
    # A slash can't be in a folder's name: renamed after enrollment.
    (folder / "Colonel").mkdir(parents=True)
    with Image.open(portrait) as image:
        image.save(folder / "Colonel" / "1.png")
        image.resize((420, 420)).save(folder / "Colonel" / "2.jpg", quality=90)
    deployed("gallery", "enroll", folder)
    deployed("gallery", "rename", "Colonel", NAME)
    yield folder
    deployed("gallery", "remove", NAME, "--forget", expect=None)


@pytest.fixture
def s3(deployed: Facectl) -> tuple[Any, str]:
    """A client of the local cloud's S3, and the deployment's bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=deployed.json("context")["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_session_token=None,
    )
    [bucket] = [b["Name"] for b in client.list_buckets()["Buckets"] if "-e2e-" in b["Name"]]
    return client, bucket


def answer(deployed: Facectl, photo: Path, out: Path) -> str:
    deployed("send", photo, "--out", out)
    [line] = out.read_text().splitlines()
    return str(json.loads(line)["result"])


def soon(ask: Callable[[], str], wanted: str) -> str:
    """The answer once it is the wanted one."""
    return eventually(ask, lambda found: found == wanted)


def test_a_folder_is_enrolled_once_and_recognised_soon(
    deployed: Facectl, people: Path, tmp_path: Path
) -> None:
    photo = people / "Colonel" / "2.jpg"
    out = tmp_path / "results.jsonl"
    assert soon(lambda: answer(deployed, photo, out), NAME) == NAME
    facts = deployed.json("gallery", "status")
    assert facts["problems"] == []
    assert facts["here"]["version"] == facts["published"]["version"]


def test_a_damaged_object_is_refused_and_the_last_version_stays_in_use(
    deployed: Facectl, people: Path, tmp_path: Path, s3: tuple[Any, str]
) -> None:
    client, bucket = s3
    photo, out = people / "Colonel" / "2.jpg", tmp_path / "results.jsonl"
    assert soon(lambda: answer(deployed, photo, out), NAME) == NAME
    space = deployed.json("gallery", "status")["published"]["space"]
    client.put_object(Bucket=bucket, Key=manifest_key(space), Body=b"broken")
    # Longer than the function waits until it looks again.
    for _ in range(4):
        time.sleep(2)
        assert answer(deployed, photo, out) == NAME
    facts = deployed.json("gallery", "status", expect=1)
    assert "is refused" in facts["problems"][0]
    deployed("gallery", "publish")
    assert deployed.json("gallery", "status")["problems"] == []


def test_a_forgotten_person_is_in_no_object_and_no_result(
    deployed: Facectl, people: Path, tmp_path: Path, s3: tuple[Any, str]
) -> None:
    client, bucket = s3
    photo, out = people / "Colonel" / "2.jpg", tmp_path / "results.jsonl"
    assert soon(lambda: answer(deployed, photo, out), NAME) == NAME
    deployed("gallery", "remove", NAME, "--forget")
    for item in client.list_objects_v2(Bucket=bucket, Prefix="gallery/")["Contents"]:
        data = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        assert b"Colonel" not in data
    [file] = (deployed.home / "data" / "galleries").glob("e2e.db")
    assert b"Colonel" not in file.read_bytes()
    assert soon(lambda: answer(deployed, photo, out), "Unknown") == "Unknown"


def test_a_folder_with_unusable_photographs(deployed: Facectl, tmp_path: Path) -> None:
    folder = tmp_path / "crowd"
    (folder / "Six").mkdir(parents=True)
    (folder / "Six" / "six.jpg").write_bytes(sample("six-faces.jpg").read_bytes())
    (folder / "Six" / "cut.jpg").write_bytes(sample("six-faces.jpg").read_bytes()[:2000])
    facts = deployed.json("gallery", "enroll", folder, expect=2)
    assert [finding["kind"] for finding in facts["findings"]] == ["unreadable", "several_faces"]
    assert facts["findings"][1]["figure"] == 6
    assert facts["enrolled"] == {}
