"""Installs facectl on the oldest and the newest supported Python, deploys locally, sends a frame.

Run by .ci/run with the Python of .venv, which builds the model: the installations that
are tested have no torch. A Python that neither this machine has nor uv can bring is
skipped with the reason, and the next newest one takes its place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Seconds after which a command counts as hung.
HUNG = 1200
UV_SECONDS = 120


def supported() -> list[int]:
    """The minor versions that pyproject.toml names, oldest first."""
    text = (ROOT / "pyproject.toml").read_text()
    return sorted(int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", text))


def is_python(command: str, minor: int) -> bool:
    """Whether a command is that Python; a version manager may put one in PATH that is not."""
    asked = "import sys, venv; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [command, "-c", asked], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.split() == ["3", str(minor)]


def candidates(minor: int) -> Iterator[str]:
    """Where that Python may be on this machine."""
    yield f"python3.{minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"), reverse=True))
    yield sys.executable


def brought(minor: int, folder: Path) -> str:
    """That Python, brought by uv; raises RuntimeError with the reason where it can't be had."""
    uv = shutil.which("uv")
    if uv is None:
        subprocess.run([sys.executable, "-m", "venv", folder / "uv"], check=True, timeout=HUNG)
        uv = str(folder / "uv" / "bin" / "uv")
        pip = [folder / "uv" / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"]
        if subprocess.run(pip, capture_output=True, timeout=HUNG, check=False).returncode != 0:
            raise RuntimeError("not on this machine, and uv can't be installed")
    environment = {**os.environ, "UV_PYTHON_INSTALL_DIR": str(folder / "pythons")}
    install = [uv, "python", "install", "--no-bin", f"3.{minor}"]
    try:
        done = subprocess.run(
            install,
            env=environment,
            capture_output=True,
            text=True,
            timeout=UV_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError("not on this machine, and uv's download does not come") from None
    found = sorted((folder / "pythons").glob(f"cpython-3.{minor}*/bin/python3.{minor}"))
    if done.returncode != 0 or not found:
        raise RuntimeError("not on this machine, and uv can't download it here")
    return str(found[-1])


def interpreter(minor: int, folder: Path) -> str:
    """A command that is that Python; raises RuntimeError with the reason where there is none."""
    for command in candidates(minor):
        if is_python(command, minor):
            return command
    return brought(minor, folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(*command: object, home: Path | None = None) -> str:
    """What a command prints; ends this script where it fails."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "FACECTL_", "PYTHON"))
    }
    words = list(map(str, command))
    done = subprocess.run(
        words,
        env={**own, **({} if home is None else {"FACECTL_HOME": str(home)})},
        cwd=home or ROOT,
        capture_output=True,
        text=True,
        timeout=HUNG,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check(command: str, minor: int, folder: Path, models: Path, frame: Path) -> None:
    """Install facectl on that Python without torch, deploy to the local cloud and send a frame."""
    venv, home = folder / f"venv-3.{minor}", folder / f"home-3.{minor}"
    run(command, "-m", "venv", venv)
    run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", f"{ROOT}[local]")
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(models / "data" / "models")
    facectl = venv / "bin" / "facectl"
    assert "deploy" in run(facectl, "--help", home=home)
    run(facectl, "local", "up", "--port", free_port(), home=home)
    try:
        run(facectl, "deploy", "--asu-id", "pythons", "--target", "local", home=home)
        run(facectl, "send", frame, "--out", home / "results.jsonl", home=home)
    finally:
        run(facectl, "local", "down", home=home)
    [answer] = map(json.loads, (home / "results.jsonl").read_text().splitlines())
    assert (answer["status"], answer["result"]) == ("answered", "Unknown"), answer
    print(
        f"Python 3.{minor}: installed, deployed to the local cloud, one frame answered", flush=True
    )


def main() -> None:
    oldest, *others = supported()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        models = folder / "models"
        models.mkdir()
        facectl = Path(sys.executable).with_name("facectl")
        run(facectl, "models", "build", "--weights", "synthetic", home=models)
        picture = "import pathlib, facectl.demo.clip as c; print(c.portrait_file(pathlib.Path()))"
        frame = models / run(sys.executable, "-c", picture, home=models).strip()
        for wanted in ([oldest], reversed(others)):
            for minor in wanted:
                try:
                    command = interpreter(minor, folder)
                except RuntimeError as reason:
                    print(f"Python 3.{minor}: skipped, {reason}", flush=True)
                    continue
                check(command, minor, folder, models, frame)
                break


if __name__ == "__main__":
    main()
