"""Installs facectl into a virtual environment: with uv where it can be had, otherwise with pip.

    python install.py .venv local

Creates the environment if it is missing. uv resolves and unpacks in parallel, which takes a
tenth of pip's time. It does not read pip's configuration (index mirrors, constraints,
certificates), so it gets the same from here; where it fails nevertheless, pip installs.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

QUIET = ("--quiet", "--disable-pip-version-check")
# From the weakest to the strongest, as pip orders them.
SECTIONS = ("global", "install", ":env:")
FLAGS = {
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pip_settings(listed: str) -> dict[str, list[str]]:
    """What `pip config list` prints, as the values of each option; they have no spaces."""
    found: dict[str, list[str]] = {}
    for section in SECTIONS:
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                found[key[len(section) + 1 :]] = str(ast.literal_eval(value)).split()
    return found


def uv_settings(pip: Mapping[str, list[str]]) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment with which uv installs as pip is configured to.

    Addresses of indexes may hold passwords, which other users could read in arguments.
    """
    # pip takes the best version of all indexes, uv by default that of the first with any.
    arguments = ["--index-strategy", "unsafe-best-match"]
    for option, flag in FLAGS.items():
        for value in pip.get(option, []):
            arguments += [flag, value]
    if pip.get("no-index", ["false"])[0].lower() in {"1", "true", "yes", "on"}:
        arguments.append("--no-index")
    environment = {}
    for option, name in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "ALL_PROXY"),
    ):
        if option in pip:
            environment[name] = " ".join(pip[option])
    return arguments, environment


def find_uv(python: Path, run: Run) -> str | None:
    """uv's path: of this computer, of the environment, or installed into it; None without it."""
    own = python.with_name("uv")
    if (found := shutil.which("uv")) is not None:
        return found
    if not own.exists():
        # A release without a wheel for this computer would be built for minutes.
        run([str(python), "-m", "pip", "install", *QUIET, "--only-binary", "uv", "uv"])
    return str(own) if own.exists() else None


def install(folder: Path, extras: str, run: Run) -> bool:
    """Install this project with extras (`a,b`) into an environment; whether it succeeded."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    project = f".[{extras}]"
    if (uv := find_uv(python, run)) is not None:
        listed = run([str(python), "-m", "pip", "config", "list"]).stdout
        arguments, environment = uv_settings(pip_settings(listed))
        command = [uv, "pip", "install", "--quiet", "--python", str(python), *arguments]
        if run([*command, "--editable", project], environment).returncode == 0:
            return True
        print("uv can't install it: installing with pip", flush=True)
    # Compiling every module takes longer than compiling those that are imported.
    pip = [str(python), "-m", "pip", "install", *QUIET, "--no-compile", "--editable", project]
    finished = run(pip)
    if finished.returncode != 0:
        print(finished.stderr, file=sys.stderr)
    return finished.returncode == 0


def run_command(
    command: list[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep its output."""
    return subprocess.run(
        command, env={**os.environ, **(environment or {})}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip


if __name__ == "__main__":
    target, wanted = sys.argv[1:]
    sys.exit(0 if install(Path(target), wanted, run_command) else 1)
