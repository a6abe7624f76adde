"""Starts, finds and stops the one MiniStack process of this user.

A process is ours when its environment names our folder for temporary files:
MiniStack's workers inherit it, so that they are found even after MiniStack
itself has died, and no other program's process can be taken for one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil

from facectl import paths
from facectl.errors import CloudError, InputError
from facectl.local import state
from facectl.local.restore import Restored
from facectl.local.saving import INVENTORY_PATH, SAVE_PATH
from facectl.local.settings import (
    DEFAULT_PORT,
    LOOPBACK,
    LocalSettings,
    environment,
    folder,
    log_file,
    temporary_folder,
)

_START_SECONDS = 60.0
_POLL_SECONDS = 0.1
_STOP_SECONDS = 5.0
# How long writing the state may take: images in a repository can be large.
_SAVE_SECONDS = 120.0
# The timeout if it no longer responds.
_SILENT_SECONDS = 10.0
# Two processes can have one pid, one after the other, but not one start time as well.
_SAME_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """The MiniStack that was started: `created` is its start time in seconds since 1970."""

    pid: int
    port: int
    created: float

    @property
    def endpoint_url(self) -> str:
        return LocalSettings(port=self.port).endpoint_url

    def healthy(self) -> bool:
        """Whether it answers as MiniStack does."""
        try:
            answer = httpx.get(f"{self.endpoint_url}/_ministack/ready", timeout=2, trust_env=False)
            return answer.status_code == 200 and "status" in answer.json()
        except (httpx.HTTPError, ValueError):
            return False

    def ask(self, path: str) -> Any:
        """The answer of the part of the local cloud that saves its state; raises CloudError."""
        try:
            answer = httpx.post(
                f"{self.endpoint_url}{path}", timeout=_SAVE_SECONDS, trust_env=False
            )
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise CloudError(
                f"The local cloud at {self.endpoint_url} does not answer: {error}",
                hint=_log_hint(),
            ) from error


def find() -> LocalCloud | None:
    """The local cloud if its process is alive; None otherwise, whatever was written down."""
    try:
        cloud = LocalCloud(**json.loads(_state_file().read_text()))
        process = psutil.Process(cloud.pid)
        same = abs(process.create_time() - cloud.created) < _SAME_START_SECONDS
        # The parent of a process that has ended sees it until it asks for its exit code.
        alive = process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return cloud if same and alive else None


def ensure(port: int | None = None) -> tuple[LocalCloud, Restored | None]:
    """The running local cloud, started where none runs, with what it has again of its last run.

    The second value is None where it ran already. The port is the one of the
    last run unless another is asked for. Raises InputError where one runs at
    another port than the one asked for, and whatever `start` raises.
    """
    cloud = find()
    if cloud is None or not cloud.healthy():
        last = state.read()
        remembered = DEFAULT_PORT if last is None else last.port
        cloud, prepared = _start(LocalSettings(port=remembered if port is None else port))
        return cloud, Restored(prepared, cloud.ask(INVENTORY_PATH))
    if port not in (None, cloud.port):
        raise InputError(
            f"The local cloud already runs at {cloud.endpoint_url}, not at port {port}",
            hint=f"facectl local down; facectl local up --port {port}",
        )
    return cloud, None


def start(
    settings: LocalSettings,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> LocalCloud:
    """Start MiniStack with its saved state and wait until it answers.

    Raises InputError where MiniStack is not installed or the port is taken,
    CloudError with the end of its log where it dies or stays silent.
    """
    return _start(settings, clock=clock, sleep=sleep)[0]


def _start(
    settings: LocalSettings,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[LocalCloud, state.Prepared]:
    _require_installed()
    # What a killed predecessor left would keep the port, or be counted as ours later.
    stop()
    _require_free(settings.port)
    try:
        prepared = state.prepare(settings.port)
        cloud = _spawn(settings)
    except OSError as error:
        raise CloudError(
            f"The local cloud can't write to {folder()}: {error}",
            hint="facectl local up, once there is room; facectl local down --forget makes some",
        ) from error
    deadline = clock() + _START_SECONDS
    try:
        while not cloud.healthy():
            if find() is None:
                raise CloudError(f"MiniStack ended while starting.{_log_end()}", hint=_log_hint())
            if clock() > deadline:
                raise CloudError(
                    f"MiniStack did not answer at {cloud.endpoint_url} "
                    f"within {_START_SECONDS:.0f} s.{_log_end()}",
                    hint=_log_hint(),
                )
            sleep(_POLL_SECONDS)
    except BaseException:
        stop(save=False)
        if prepared.saved is not None:
            # It did not run, so what was saved is still the last state.
            state.write(replace(prepared.saved, port=settings.port))
        raise
    return cloud, prepared


def down(*, forget: bool = False) -> int:
    """Save the state, or delete it, and end the local cloud; returns how many processes ended.

    Raises CloudError where the state can't be saved: the cloud runs on then,
    unless it does not answer at all.
    """
    if forget:
        ended = stop(save=False)
        state.forget()
        return ended
    cloud = find()
    if cloud is not None and cloud.healthy():
        failed = cloud.ask(SAVE_PATH)["failed"]
        if failed:
            raise _unsaved("The local cloud still runs, because its state can't be saved", failed)
    ended = stop()
    saved = state.read()
    if cloud is not None and (saved is None or not saved.ended or saved.failed):
        reasons = saved.failed if saved is not None else ()
        raise _unsaved("The local cloud ended before all of its last state was saved", reasons)
    return ended


def stop(*, save: bool = True) -> int:
    """End MiniStack and its workers and remove what they left; returns how many processes ended.

    MiniStack ends first and has time to save its state, unless nothing is to be saved.
    """
    cloud = find()
    processes = _processes()
    if save and cloud is not None:
        _end_saving(cloud)
    _end(processes)
    # A worker that was being started while its parent died is seen only now.
    late = _processes()
    _end(late)
    shutil.rmtree(temporary_folder(), ignore_errors=True)
    _state_file().unlink(missing_ok=True)
    return len(processes) + len(late)


def _end_saving(cloud: LocalCloud) -> None:
    """Ask MiniStack to end, and wait until it has, or has saved its last state at least."""
    deadline = time.monotonic() + (_SAVE_SECONDS if cloud.healthy() else _SILENT_SECONDS)
    try:
        process = psutil.Process(cloud.pid)
        process.terminate()
        while process.is_running() and time.monotonic() < deadline:
            saved = state.read()
            if saved is not None and saved.ended:
                break
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(_POLL_SECONDS)
    except psutil.NoSuchProcess:
        return


def _unsaved(what: str, reasons: Sequence[str]) -> CloudError:
    more = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return CloudError(
        f"{what}: {reasons[0]}{more}" if reasons else what,
        hint="facectl local down, once there is room; "
        "facectl local down --forget deletes the unsaved state"
        if find() is not None
        else "facectl local up",
    )


def workers() -> int:
    """The number of worker processes of the local cloud."""
    cloud = find()
    return sum(process.pid != cloud.pid for process in _processes()) if cloud else 0


def _state_file() -> Path:
    return folder() / "process.json"


def _spawn(settings: LocalSettings) -> LocalCloud:
    temporary_folder().mkdir(parents=True, exist_ok=True)
    # The log, and the functions' code and data, are nobody else's.
    folder().chmod(0o700)
    log_file().touch(mode=0o600)
    with log_file().open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "facectl.local.guarded"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(settings),
            cwd=folder(),
            start_new_session=True,
            umask=0o077,
        )
    cloud = LocalCloud(process.pid, settings.port, psutil.Process(process.pid).create_time())
    with paths.atomic_write(_state_file()) as stream:
        stream.write(json.dumps(asdict(cloud)).encode())
    return cloud


def _require_installed() -> None:
    if find_spec("ministack") is None:
        raise InputError(
            "The local cloud needs MiniStack, which is not installed in this environment",
            hint="pip install 'facectl[local]'",
        )


def _require_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"Port {port} on {LOOPBACK} can't be used for the local cloud: {error}",
                hint=f"facectl local up --port {port + 1 if port < 65535 else 4567}",
            ) from error


def _processes() -> list[psutil.Process]:
    mark = str(temporary_folder())
    return [process for process in psutil.process_iter() if _is_marked(process, mark)]


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get("TMPDIR") == mark
    except (psutil.Error, OSError):
        # Another user's process, or one that has just ended.
        return False


def _end(processes: list[psutil.Process]) -> None:
    # psutil compares start times before it signals, so a reused pid is left alone.
    for process in processes:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=_STOP_SECONDS)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=_STOP_SECONDS)


def _quietly(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return


def _log_end(lines: int = 5) -> str:
    try:
        text = log_file().read_text(errors="replace").strip()
    except OSError:
        return ""
    return "\n" + "\n".join(text.splitlines()[-lines:]) if text else ""


def _log_hint() -> str:
    return f"less {log_file()}"
