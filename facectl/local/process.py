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

from facectl import paths, records
from facectl.context import LOCAL_ACCOUNT, Deployment
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
# How long a live process has to answer, and one that does not answer to save its state: on a
# busy machine a working one needs seconds.
_SILENT_SECONDS = 30.0
_HEALTH_SECONDS = 2.0
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

    def healthy(self, timeout: float = _HEALTH_SECONDS) -> bool:
        """Whether it answers as MiniStack does, within `timeout` seconds."""
        try:
            answer = httpx.get(
                f"{self.endpoint_url}/_ministack/ready", timeout=timeout, trust_env=False
            )
            return answer.status_code == 200 and "status" in answer.json()
        except (httpx.HTTPError, ValueError):
            return False

    def responds(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Whether its process lives and answers within 30 s; it may be busy, or still starting."""
        deadline = clock() + _SILENT_SECONDS
        while find() == self:
            if self.healthy(max(deadline - clock(), _HEALTH_SECONDS)):
                return True
            if clock() >= deadline:
                return False
            sleep(_POLL_SECONDS)
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


def ensure(
    port: int | None = None, *, progress: Callable[[str], None] = lambda _: None
) -> tuple[LocalCloud, Restored | None]:
    """The running local cloud, and None; or a new one, and what it restored of its last run.

    A process that is alive has 30 s to answer; only then it is replaced, which the
    second value reports. `progress` gets a line for each wait. The port is by default
    that of the last run. Raises InputError if a local cloud runs at another port, and
    whatever `start` raises.
    """
    cloud, silent = find(), None
    while cloud is not None and cloud != silent:
        progress(f"Waiting for the answer of the local cloud (process {cloud.pid})")
        if cloud.responds():
            _require_port(cloud, port)
            return cloud, None
        # It may have ended, or another command may have replaced it in the meantime.
        silent, cloud = cloud, find()
    replaced = None if cloud is None else cloud.pid
    last = state.read()
    if port is None:
        port = DEFAULT_PORT if last is None else last.port
    progress("Starting the local cloud")
    cloud, prepared = _start(LocalSettings(port=port))
    return cloud, Restored(prepared, cloud.ask(INVENTORY_PATH), replaced)


def _require_port(cloud: LocalCloud, port: int | None) -> None:
    if port not in (None, cloud.port):
        raise InputError(
            f"The local cloud already runs at {cloud.endpoint_url}, not at port {port}",
            hint=f"facectl local down; facectl local up --port {port}",
        )


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


def deployments() -> list[Deployment]:
    """The recorded deployments to this local cloud, whether it runs or not.

    Deployments to another endpoint are left out.
    """
    ports = {known.port for known in (find(), state.read()) if known is not None}
    endpoints = {LocalSettings(port=port).endpoint_url for port in ports or {DEFAULT_PORT}}
    return [
        each
        for each in records.read_all()
        if isinstance(each, Deployment)
        and each.target == "local"
        and (each.endpoint_url is None or each.endpoint_url.rstrip("/") in endpoints)
    ]


def down() -> int:
    """Save the state and stop the local cloud; returns the number of stopped processes.

    Raises CloudError if the state can't be saved: the cloud then keeps running,
    unless it does not respond.
    """
    cloud = find()
    if cloud is not None and cloud.responds():
        failed = cloud.ask(SAVE_PATH)["failed"]
        if failed:
            raise _unsaved("The local cloud still runs, because its state can't be saved", failed)
    ended = stop()
    saved = state.read()
    if cloud is not None and (saved is None or not saved.ended or saved.failed):
        reasons = saved.failed if saved is not None else ()
        raise _unsaved("The local cloud ended before all of its last state was saved", reasons)
    return ended


def forget() -> int:
    """Stop the local cloud and delete its state; returns the number of stopped processes.

    The records of its deployments are deleted too. What was to be forgotten in their
    galleries' buckets is gone with the buckets.
    """
    # Slow to import, and no other function needs it.
    from facectl.gallery import forgetting

    gone = deployments()
    ended = stop(save=False)
    state.forget()
    for each in gone:
        forgetting.bucket_gone(each.asu_id, each.names.bucket(LOCAL_ACCOUNT, each.region))
        records.forget(each.key)
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
