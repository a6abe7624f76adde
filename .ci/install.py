"""Installs facectl into a virtual environment: with uv where it can be had, otherwise with pip.

    python .ci/install.py .venv local

Creates the environment if it is missing, and installs this folder's project. uv resolves and
unpacks in parallel, which takes a tenth of pip's time. It does not read pip's configuration
(index mirrors, constraints, certificates), so it gets the same as variables; where it fails
nevertheless, pip installs.
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
# uv's variable for each option of pip, and what separates its values.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
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


def uv_environment(pip: Mapping[str, list[str]]) -> dict[str, str]:
    """The environment with which uv installs as pip is configured to.

    Not as arguments: addresses of indexes may hold passwords, and other users can read those.
    """
    # pip takes the best version of all indexes, uv by default that of the first with any.
    environment = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, (name, separator) in VARIABLES.items():
        if option in pip:
            environment[name] = separator.join(pip[option])
    return environment


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
        settings = pip_settings(listed)
        command = [uv, "pip", "install", "--quiet", "--python", str(python)]
        # The one option for which uv has no variable.
        if settings.get("no-index", ["false"])[0].lower() in {"1", "true", "yes", "on"}:
            command.append("--no-index")
        command += ["--editable", project]
        if run(command, uv_environment(settings)).returncode == 0:
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
