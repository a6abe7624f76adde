"""`facectl edge install`: the unit file, as systemd itself reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from stream_stub import run

from facectl import records
from facectl.context import Deployment
from facectl.edge.unit import Unit
from facectl.errors import InputError, ModelError
from facectl.models import store
from lambda_src.vision.store import NETWORKS


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    """A file of cameras in a folder whose name systemd would expand; a model, and a deployment."""
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": False, "weights": "vggface2"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
    home = "http://127.0.0.1:9"
    records.remember(
        Deployment(asu_id="42", target="local", endpoint_url=home, account="000000000000")
    )
    folder = tmp_path / "front door 100%i $HOME"
    folder.mkdir()
    path = folder / "cameras.yaml"
    path.write_text("cameras: [{name: door, source: 'rtsp://camera.local/1', fps: 2}]")
    return path


def test_the_unit_runs_the_cameras_on_this_computer(cameras: Path) -> None:
    done = run(
        "edge", "install", cameras, "--dry-run", "--memory", 300, "--", "--visits", "v.jsonl"
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    (command,) = (line for line in lines if line.startswith("ExecStart="))
    escaped = str(cameras).replace("%", "%%").replace("$", "$$")
    assert command.endswith(
        f'send --cameras "{escaped}" --detect edge --rows 0 --reconnect inf --visits v.jsonl'
    )
    for line in ("MemoryMax=300M", "Restart=always", "StartLimitIntervalSec=0"):
        assert line in lines
    assert "Environment=FACECTL_ASU_ID=42" in lines
    assert not any("AWS_" in line or "testing" in line for line in lines)


def verified(folder: Path, text: str) -> str:
    """What systemd says about a unit file."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this computer")
    path = folder / "facectl-edge.service"
    path.write_text(text)
    done = subprocess.run(
        [program, "verify", "--man=no", path],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return "\n".join(line for line in done.stderr.splitlines() if "facectl-edge" in line)


@pytest.mark.parametrize("scope", ["--user", "--system"])
def test_systemd_accepts_the_unit(cameras: Path, tmp_path: Path, scope: str) -> None:
    done = run("edge", "install", cameras, "--dry-run", scope)
    assert done.exit_code == 0, done.output
    assert verified(tmp_path, done.stdout) == ""
    # It would have told of a mistake.
    assert "MemoryMaximum" in verified(tmp_path, done.stdout.replace("MemoryMax", "MemoryMaximum"))


def test_it_is_written_where_systemd_looks(
    cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = run("edge", "install", cameras, "--name", "door")
    assert done.exit_code == 0, done.output
    path = tmp_path / "config" / "systemd" / "user" / "facectl-door.service"
    assert "--detect edge" in path.read_text()
    assert f"Written: {path}\n" in done.stdout
    assert "systemctl --user enable --now facectl-door.service" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a b"], "can't name a unit"),
        (["--name", "../evil"], "can't name a unit"),
        (["--", "--detect", "cloud"], "not for the service to choose"),
        (["--", "--resume"], "not for the service to choose"),
        (["--", "--out", "a\nExecStartPre=/bin/evil"], "can't be in a unit file"),
    ],
)
def test_what_cannot_be_a_unit_is_refused(
    cameras: Path, arguments: list[str], message: str
) -> None:
    done = run("edge", "install", cameras, "--dry-run", *arguments)
    assert isinstance(done.exception, InputError), done.output
    assert message in str(done.exception)


def test_a_wrong_file_and_a_missing_model_are_found_before_the_service(
    cameras: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = cameras.with_name("wrong.yaml")
    wrong.write_text("cameras: [{name: door}]")
    assert isinstance(run("edge", "install", wrong, "--dry-run").exception, InputError)
    shutil.rmtree(store.find().path)
    missing = run("edge", "install", cameras, "--dry-run").exception
    assert isinstance(missing, ModelError)


def test_a_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(blocked))
    with pytest.raises(InputError, match="can't be written"):
        Unit("edge", [], {}, tmp_path).install()
