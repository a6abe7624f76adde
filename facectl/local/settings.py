"""What the local cloud is started with, and where it keeps its things."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facectl import paths

DEFAULT_PORT = 4566
LOOPBACK = "127.0.0.1"

# The functions' workers inherit MiniStack's environment: only what a program needs
# to run at all goes in, so that neither the user's AWS settings nor the names of
# MiniStack's own options can reach it by chance.
_INHERITED = frozenset(
    {
        "DOCKER_HOST",
        "DYLD_LIBRARY_PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "SYSTEMROOT",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How the local cloud is started.

    `evaluate_iam`: policies and roles are enforced, as on AWS; otherwise any
    credentials may do anything.
    """

    port: int = DEFAULT_PORT
    evaluate_iam: bool = False

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def environment(
        self, inherited: Mapping[str, str], temporary: Path, state: Path
    ) -> dict[str, str]:
        """MiniStack's environment.

        `temporary` becomes the place of all its temporary files, `state` of
        what it saves and restores.
        """
        return {
            **{name: value for name, value in inherited.items() if name in _INHERITED},
            "TMPDIR": str(temporary),
            "GATEWAY_PORT": str(self.port),
            # The default is every interface of the machine.
            "BIND_HOST": LOOPBACK,
            # Queue URLs carry this name; 'localhost' may mean ::1, where nothing listens.
            "MINISTACK_HOST": LOOPBACK,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            # A worker that idles between two videos keeps its loaded model.
            "LAMBDA_WARM_TTL_SECONDS": "900",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "objects"),
            "AUTH": "true" if self.evaluate_iam else "false",
        }


def folder() -> Path:
    """Where the process, its log and its temporary files are kept."""
    return paths.state_dir() / "local"


def log_file() -> Path:
    """MiniStack's output since it was started last."""
    return folder() / "ministack.log"


def temporary_folder() -> Path:
    """The temporary files of MiniStack and of its workers; also what marks a process as ours."""
    return folder() / "tmp"


def state_folder() -> Path:
    """What is restored when the local cloud is started again."""
    return folder() / "state"


def services_folder() -> Path:
    """The state of MiniStack's services, one file each."""
    return state_folder() / "services"


def environment(settings: LocalSettings) -> dict[str, str]:
    """The environment that MiniStack is started with from this process."""
    return settings.environment(os.environ, temporary_folder(), state_folder())
