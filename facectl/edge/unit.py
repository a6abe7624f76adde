"""The systemd unit that sends cameras from the start of a computer on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facectl.errors import InputError
from facectl.paths import atomic_write

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Megabytes above which systemd ends the process and starts it again.
DEFAULT_MEMORY = 400


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit `facectl-NAME.service` that runs `arguments` of facectl.

    `system`: for the whole computer, run by `user`; else for the user who installs it.
    `environment` are variables that the command needs, `memory` its limit in MB.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    memory: int = DEFAULT_MEMORY
    system: bool = False
    user: str | None = None

    @property
    def file_name(self) -> str:
        return f"facectl-{self.name}.service"

    @property
    def path(self) -> Path:
        """Where systemd looks for it."""
        if self.system:
            return Path("/etc/systemd/system") / self.file_name
        config = os.environ.get("XDG_CONFIG_HOME")
        base = Path(config) if config else Path.home() / ".config"
        return base / "systemd" / "user" / self.file_name

    @property
    def activation(self) -> str:
        """The command that starts it now and with the computer."""
        scope = "sudo systemctl" if self.system else "systemctl --user"
        return f"{scope} daemon-reload && {scope} enable --now {self.file_name}"

    def text(self) -> str:
        """The unit file."""
        variables = [f"Environment={_quoted(f'{k}={v}')}" for k, v in self.environment.items()]
        command = " ".join(map(_quoted, [_program(), *self.arguments]))
        lines = [
            "[Unit]",
            f"Description=facectl: cameras of {_plain(self.name)}",
            "Documentation=man:systemd.service(5)",
            "Wants=network-online.target",
            "After=network-online.target",
            # It is started again however often it ends: a camera or the network may be away.
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=exec",
            *([f"User={self.user}"] if self.system and self.user else []),
            f"WorkingDirectory={_plain(str(self.folder))}",
            *variables,
            f"ExecStart={command}",
            # Ctrl-C, after which it prints its report.
            "KillSignal=SIGINT",
            "TimeoutStopSec=30",
            "Restart=always",
            "RestartSec=10",
            f"MemoryMax={self.memory}M",
            "Nice=5",
            "NoNewPrivileges=yes",
            "",
            "[Install]",
            f"WantedBy={'multi-user.target' if self.system else 'default.target'}",
            "",
        ]
        return "\n".join(lines)

    def install(self) -> None:
        """Write the unit file; raises InputError where that is not allowed."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path) as stream:
                stream.write(self.text().encode())
        except OSError as error:
            hint = "sudo facectl edge install --system   or   without --system"
            raise InputError(
                f"{self.path} can't be written: {error.strerror}", hint=hint
            ) from error


def checked_name(name: str) -> str:
    """The name of a unit; raises InputError for one that systemd would not take."""
    if _NAME.fullmatch(name) is None:
        raise InputError(f"{name!r} can't name a unit: letters, digits, '-' or '_'")
    return name


def _program() -> str:
    """The path of the facectl that runs now."""
    own = Path(sys.executable).with_name("facectl")
    return str(own) if own.exists() else shutil.which("facectl") or "facectl"


def _quoted(text: str) -> str:
    """A word of a unit file: quoted, with systemd's own `%` and `$` escaped.

    Source: systemd.service(5), "Command lines", and systemd.syntax(7), "Quoting".
    """
    if not text.isprintable():
        raise InputError(f"{text!r} can't be in a unit file")
    escaped = text.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return escaped if shlex.quote(text) == text and escaped == text else f'"{escaped}"'


def _plain(text: str) -> str:
    if not text.isprintable():
        raise InputError(f"{text!r} can't be in a unit file")
    return text.replace("%", "%%")
