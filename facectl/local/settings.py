"""The settings of the local cloud, and its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from facectl import paths

DEFAULT_PORT = 4566
LOOPBACK = "127.0.0.1"

# The variables that MiniStack gets from this process, and the functions' workers from
# MiniStack: only what any program needs, so that neither the user's AWS settings nor
# variables that are options of MiniStack reach it.
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
    """The settings of the local cloud.

    `evaluate_iam`: policies and roles are enforced, as on AWS; otherwise every call
    is allowed.
    """

    port: int = DEFAULT_PORT
    evaluate_iam: bool = False

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def folder() -> Path:
    """The folder of the process's log, state and temporary files."""
    return paths.state_dir() / "local"


def log_file() -> Path:
    """MiniStack's output since its last start."""
    return folder() / "ministack.log"


def temporary_folder() -> Path:
    """The temporary files of MiniStack and its workers, which are found by this path."""
    return folder() / "tmp"


def state_folder() -> Path:
    """The state that a start restores."""
    return folder() / "state"


def services_folder() -> Path:
    """The state of MiniStack's services, one file per service."""
    return state_folder() / "services"


def environment(settings: LocalSettings) -> dict[str, str]:
    """The environment with which this process starts MiniStack."""
    return {
        **{name: value for name, value in os.environ.items() if name in _INHERITED},
        "TMPDIR": str(temporary_folder()),
        "GATEWAY_PORT": str(settings.port),
        # The default is every interface of the machine.
        "BIND_HOST": LOOPBACK,
        # In queue URLs; 'localhost' may resolve to ::1, where nothing listens.
        "MINISTACK_HOST": LOOPBACK,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        # A worker keeps its loaded model between two videos.
        "LAMBDA_WARM_TTL_SECONDS": "900",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(services_folder()),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state_folder() / "objects"),
        "AUTH": "true" if settings.evaluate_iam else "false",
    }
