"""README's code blocks in README's order: the demo, then the user's own deployment."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import Facectl, free_port, sample
from readme import block

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.demo import clip

pytestmark = pytest.mark.e2e

# README's commands run here with weights that need no download; the demo gets a free port.
SYNTHETIC = ["--weights", "synthetic"]


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory):
    """The command in an empty home folder."""
    command = Facectl(tmp_path_factory.mktemp("stranger"), timeout=300)
    yield command
    command("local", "down", expect=None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_then_the_users_own_video(stranger: Facectl) -> None:
    port = free_port()
    demo = stranger("demo", *SYNTHETIC, "--port", port)
    assert demo.stderr.startswith("Deployment: ASU ID demo on local, us-east-1, account 0000")
    assert functions(stranger) == {"facectl:asu-id": "demo", "facectl:demo": "true"}

    clip.portrait_file(stranger.home)
    shutil.copy(sample("faces-1080p.mp4"), stranger.home / "video.mp4")
    commands = block("Your own video")
    names = [" ".join(command[:2]) for command in commands]
    assert names[:3] == ["models build", "local up", "deploy --asu-id"]
    assert names[-1] == "local down"
    outputs = {}
    for command in commands[:-1]:
        extra = SYNTHETIC if command[:2] == ["models", "build"] else []
        outputs[" ".join(command[:2])] = stranger(*command, *extra)
    deployed = outputs["deploy --asu-id"]
    assert (
        "The demo demo on local, us-east-1, account 000000000000 is removed first"
        in deployed.stderr
    )
    assert functions(stranger) == {"facectl:asu-id": "1225754101"}
    [context] = stranger.json("context", "list")
    assert (context["asu_id"], context["target"], context["current"]) == (
        "1225754101",
        "local",
        True,
    )
    assert (stranger.home / "seen.mp4").stat().st_size > 0

    # The demo does not destroy the user's deployment.
    refused = stranger("demo", *SYNTHETIC, expect=4)
    assert "hold the deployment of ASU ID 1225754101 on local" in refused.stderr
    again = stranger("demo", *SYNTHETIC, "--replace", "--yes")
    assert "Boxes and names are drawn in" in again.stdout
    assert functions(stranger) == {"facectl:asu-id": "demo", "facectl:demo": "true"}
    assert [each["asu_id"] for each in stranger.json("context", "list")] == ["demo"]
    stranger(*commands[-1])


def functions(command: Facectl) -> dict[str, str]:
    """The tags of the two functions, which are equal."""
    endpoint = command.json("local", "status")["endpoint_url"]
    aws = Clients(Deployment("x", "local", endpoint_url=endpoint)).functions
    tags = [
        aws.get_function(FunctionName=name)["Tags"]
        for name in ("face-detection", "face-recognition")
    ]
    assert tags[0] == tags[1], json.dumps(tags)
    return tags[0]
