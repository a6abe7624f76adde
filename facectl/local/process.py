"""Starts, finds and stops the one MiniStack process of this user.

MiniStack's workers are found by `TMPDIR` in their environment, which is this user's
folder for temporary files. They inherit it, so they are found even after MiniStack
has crashed, and no other program has it.
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
from facectl.local.state import Prepared, Restored

_START_SECONDS = 60.0
_POLL_SECONDS = 0.1
_STOP_SECONDS = 5.0
# Images in a repository can be large, so saving the state can take long.
_SAVE_SECONDS = 120.0
# The time in which a live process must answer, and in which one that does not answer must
# save its state: on a busy machine a working process needs seconds.
_SILENT_SECONDS = 30.0
_HEALTH_SECONDS = 2.0
# A later process can have the same pid, but not the same start time.
_SAME_START_SECONDS = 1.0
_LOG_LINES = 5


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """A running MiniStack; `created` is its start time in seconds since 1970."""

    pid: int
    port: int
    created: float

    @property
    def endpoint_url(self) -> str:
        return LocalSettings(port=self.port).endpoint_url

    def healthy(self, timeout: float = _HEALTH_SECONDS) -> bool:
        """Whether MiniStack answers at the port, within `timeout` seconds."""
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

    def post(self, path: str) -> Any:
        """The JSON that `facectl.local.saving` answers at a path; raises CloudError."""
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
    """The local cloud if its process is alive, else None."""
    try:
        cloud = LocalCloud(**json.loads(_state_file().read_text()))
        process = psutil.Process(cloud.pid)
        same = abs(process.create_time() - cloud.created) < _SAME_START_SECONDS
        # A stopped process is a zombie until its parent reads its exit code.
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
    cloud, prepared = start(LocalSettings(port=port))
    return cloud, Restored(prepared, cloud.post(INVENTORY_PATH), replaced)


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
) -> tuple[LocalCloud, Prepared]:
    """Start MiniStack and wait until it answers; returns it with the state that it restored.

    Raises InputError if MiniStack is not installed or the port is taken, and
    CloudError with the end of its log if it stops or does not answer in time.
    """
    _require_installed()
    # Workers of a killed MiniStack would keep the port, and count as workers of the new one.
    stop()
    _require_free(settings.port)
    try:
        prepared = state.prepare(settings.port)
        cloud = _spawn(settings)
    except OSError as error:
        raise CloudError(
            f"The local cloud can't write to {folder()}: {error}",
            hint="free disk space, then: facectl local up   "
            "(facectl local down --forget deletes the local cloud's state)",
        ) from error
    deadline = clock() + _START_SECONDS
    try:
        while not cloud.healthy():
            if find() is None:
                raise CloudError(f"MiniStack stopped while starting.{_log_end()}", hint=_log_hint())
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
            # It never ran, so the saved state is still the last one.
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
        failed = cloud.post(SAVE_PATH)["failed"]
        if failed:
            raise _unsaved(
                "The local cloud keeps running, because its state can't be saved", failed
            )
    stopped = stop()
    saved = state.read()
    if cloud is not None and (saved is None or not saved.ended or saved.failed):
        reasons = saved.failed if saved is not None else ()
        raise _unsaved(
            "The local cloud stopped before its last state was saved completely", reasons
        )
    return stopped


def forget() -> int:
    """Stop the local cloud and delete its state; returns the number of stopped processes.

    The records of its deployments are deleted too, and so are the pending deletions in
    their galleries' buckets.
    """
    # Slow to import, and no other function needs it.
    from facectl.gallery import forgetting

    deployed = deployments()
    stopped = stop(save=False)
    state.delete()
    for each in deployed:
        forgetting.bucket_gone(each.asu_id, each.names.bucket(LOCAL_ACCOUNT, each.region))
        records.forget(each.key)
    return stopped


def stop(*, save: bool = True) -> int:
    """Stop MiniStack and its workers, and delete their files; returns the number of processes.

    With `save`, MiniStack stops first and has time to save its state.
    """
    cloud = find()
    processes = _processes()
    if save and cloud is not None:
        _stop_saving(cloud)
    _kill(processes)
    # A worker that was being started while MiniStack stopped is found only now.
    late = _processes()
    _kill(late)
    shutil.rmtree(temporary_folder(), ignore_errors=True)
    _state_file().unlink(missing_ok=True)
    return len(processes) + len(late)


def _stop_saving(cloud: LocalCloud) -> None:
    """Terminate MiniStack, and wait until it has stopped, or has saved its last state."""
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
        hint="free disk space, then: facectl local down   "
        "(facectl local down --forget deletes the unsaved state)"
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
    # No other user may read the log and the functions' code and data.
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
        # Another user's process, or one that has just stopped.
        return False


def _kill(processes: list[psutil.Process]) -> None:
    # psutil compares start times before it sends a signal, so a reused pid is safe.
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_STOP_SECONDS)


def _log_end() -> str:
    """The last lines of MiniStack's log, to follow a message; empty if it has none."""
    try:
        text = log_file().read_text(errors="replace").strip()
    except OSError:
        return ""
    return "\n" + "\n".join(text.splitlines()[-_LOG_LINES:]) if text else ""


def _log_hint() -> str:
    return f"less {log_file()}"
