"""Users and passwords of `docker login`, from Docker's configuration file.

Source: Docker CLI reference, "docker login", and "Credential helpers" in the documentation of
docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from facectl.container_images.references import HUB_API
from facectl.errors import InputError

# The user and the password for a registry; None: there are none, so it is asked as anybody.
Logins = Callable[[str], "tuple[str, str] | None"]

# Docker's name for Docker Hub in its configuration.
_HUB = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[\w-]+", re.ASCII)
_HELPER_SECONDS = 60
# Of a helper that runs and has nothing (docker-credential-helpers, `credentials.ErrNotFound`).
_NOT_FOUND = "credentials not found"
# A helper answers this user with a token that must be exchanged first, as an entry does with
# `identitytoken`.
_TOKEN_USER = "<token>"  # noqa: S105 - a name


def docker_login(host: str) -> tuple[str, str] | None:
    """What `docker login` recorded for a registry; None if nothing.

    A credential helper is executed only if the configuration names one for the registry, or for
    all. Raises InputError for a configuration that can't be read, and if a helper fails.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    found = _read(path)
    name = _HUB if host == HUB_API else host
    helper = _mapping(found, "credHelpers").get(name) or found.get("credsStore")
    if helper:
        return _of_helper(str(helper), name)
    for known, entry in _mapping(found, "auths").items():
        if _host(known) == _host(name) and isinstance(entry, dict):
            return _of_entry(entry, path, host)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON", hint="docker login") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a configuration of Docker", hint="docker login")
    return data


def _mapping(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def _host(name: str) -> str:
    """The registry in a key of `auths`, which may be a URL with a version of the API."""
    return name.rpartition("://")[2].partition("/")[0]


def _of_entry(entry: Mapping[str, Any], path: Path, host: str) -> tuple[str, str] | None:
    if entry.get("identitytoken"):
        raise _token_error(host)
    if entry.get("username"):
        return str(entry["username"]), str(entry.get("password", ""))
    if not entry.get("auth"):
        return None
    try:
        text = base64.b64decode(str(entry["auth"]), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    user, colon, password = text.partition(":")
    if not colon:
        raise InputError(f"The entry of {host} in {path} is damaged", hint=f"docker login {host}")
    return user, password.strip("\0")


def _of_helper(helper: str, name: str) -> tuple[str, str] | None:
    hint = f"docker login {_host(name)}"
    if not _HELPER.fullmatch(helper):
        raise InputError(f"The credential helper {helper!r} has no valid name", hint=hint)
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(  # noqa: S603 - the name is checked above
            [command, "get"],
            input=name,
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command} can't be run: {error}", hint=hint) from error
    if done.returncode:
        if _NOT_FOUND in done.stdout + done.stderr:
            return None
        said = (done.stdout or done.stderr).strip()[:200]
        raise InputError(f"{command} has no password for {_host(name)}: {said}", hint=hint)
    try:
        answer = json.loads(done.stdout)
        user, password = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{command} answered no user and password", hint=hint) from error
    if user == _TOKEN_USER:
        raise _token_error(_host(name))
    return user, password


def _token_error(host: str) -> InputError:
    return InputError(
        f"`docker login` recorded a token for {host}, which facectl can't use",
        hint=f"docker login {host}, with a user and a password or access token   "
        "or   --base-image FILE of `docker save`",
    )
