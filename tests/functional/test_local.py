"""The local cloud's process, with MiniStack and with other processes in its place."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from driver import free_port
from typer.testing import CliRunner

from facectl.cli.app import app
from facectl.errors import CloudError, InputError
from facectl.local import process
from facectl.local.settings import (
    LocalSettings,
    environment,
    folder,
    log_file,
    services_folder,
    temporary_folder,
)

run = CliRunner().invoke


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def cloud(port: int):
    yield process.start(LocalSettings(port=port))[0]
    process.stop()


def listening_addresses(pid: int) -> set[str]:
    return {
        connection.laddr.ip
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def test_it_listens_only_on_loopback_and_leaves_no_files_when_stopped(port: int) -> None:
    cloud, _ = process.start(LocalSettings(port=port))
    assert cloud.healthy()
    assert listening_addresses(cloud.pid) == {"127.0.0.1"}
    assert process.find() == cloud

    assert process.stop() == 1

    assert not psutil.pid_exists(cloud.pid)
    assert not temporary_folder().exists()
    assert process.find() is None
    assert process.stop() == 0


def test_a_second_up_keeps_the_process(port: int) -> None:
    first = run(app, ["local", "up", "--port", str(port)])
    pid = process.find().pid
    second = run(app, ["local", "up"])
    down = run(app, ["local", "down"])

    assert (first.exit_code, second.exit_code, down.exit_code) == (0, 0, 0)
    assert first.stdout == f"The local cloud started: http://127.0.0.1:{port} (process {pid})\n"
    assert second.stdout == (
        f"The local cloud is already running: http://127.0.0.1:{port} (process {pid})\n"
    )
    assert down.stdout == "The local cloud stopped, 1 process\n"
    assert run(app, ["local", "down"]).stdout == "The local cloud was not running\n"


def test_another_port_is_an_error_while_it_runs(cloud: process.LocalCloud) -> None:
    with pytest.raises(InputError, match=f"already runs at {cloud.endpoint_url}, not at port 1"):
        process.ensure(1)


class SlowCloud:
    """A live local cloud that answers `needs` seconds after a request, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, needs: float) -> None:
        self.cloud = process.LocalCloud(os.getpid(), 4566, 0.0)
        self.alive, self.needs, self.now = True, needs, 0.0
        monkeypatch.setattr(process, "find", lambda: self.cloud if self.alive else None)
        monkeypatch.setattr(process.httpx, "get", self.get)

    def get(self, url: str, *, timeout: float, trust_env: bool) -> httpx.Response:
        self.now += min(timeout, self.needs)
        if timeout < self.needs:
            raise httpx.ReadTimeout("it is busy")
        return httpx.Response(200, json={"status": "ready"})

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def responds(self) -> bool:
        return self.cloud.responds(clock=lambda: self.now, sleep=self.sleep)


def test_a_busy_cloud_is_waited_for_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowCloud(monkeypatch, needs=20.0)
    monkeypatch.setattr(process, "start", lambda *_: pytest.fail("it was replaced"))
    lines: list[str] = []

    assert process.ensure(progress=lines.append) == (slow.cloud, None)
    assert lines == [f"Waiting for the answer of the local cloud (process {os.getpid()})"]


def test_a_cloud_has_thirty_seconds_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowCloud(monkeypatch, needs=29.0)
    assert slow.responds()
    assert slow.now == 29.0

    slow = SlowCloud(monkeypatch, needs=1000.0)
    assert not slow.responds()
    assert 30.0 <= slow.now <= 32.0

    slow.alive = False
    before = slow.now
    assert not slow.responds()
    assert slow.now == before


def test_a_cloud_that_still_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowCloud(monkeypatch, needs=0.0)
    refused = [httpx.ConnectError("refused")] * 50

    def get(url: str, *, timeout: float, trust_env: bool) -> httpx.Response:
        if refused:
            raise refused.pop()
        return slow.get(url, timeout=timeout, trust_env=trust_env)

    monkeypatch.setattr(process.httpx, "get", get)
    assert slow.responds()
    assert slow.now == pytest.approx(5.0)


def test_a_port_in_use_is_an_error_that_names_the_option() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {taken} on 127.0.0.1") as caught:
            process.start(LocalSettings(port=taken))
    assert "facectl local up --port" in str(caught.value.hint)
    assert not (folder() / "process.json").exists()


def test_an_error_without_ministack_names_the_extra(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed") as caught:
        process.start(LocalSettings(port=port))
    assert caught.value.hint == "pip install 'facectl[local]'"


def test_a_cloud_that_stops_while_starting_is_reported_with_its_log(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ministack.py").write_text("raise SystemExit('the disk is on fire')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CloudError, match=r"stopped while starting\.\nthe disk is on fire"):
        process.start(LocalSettings(port=port))
    assert process.find() is None


def test_a_cloud_that_never_answers_is_stopped_after_a_minute(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ministack.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    now = iter(range(0, 1000, 20))
    waited: list[float] = []
    with pytest.raises(CloudError, match=r"did not answer .* within 60 s"):
        process.start(LocalSettings(port=port), clock=lambda: next(now), sleep=waited.append)
    assert len(waited) == 3
    assert process.stop() == 0


def test_down_stops_workers_whose_parent_was_killed(cloud: process.LocalCloud) -> None:
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env=environment(LocalSettings()),
        start_new_session=True,
    )
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    main = psutil.Process(cloud.pid)
    try:
        main.kill()
        main.wait(600)
        # Popen has waited for exec, so the process has its environment with the folder.
        assert process.stop() == 1
        assert orphan.poll() is not None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_reused_pid_is_not_the_cloud() -> None:
    folder().mkdir(parents=True)
    remembered = {"pid": os.getpid(), "port": 4566, "created": time.time() - 1e6}
    (folder() / "process.json").write_text(json.dumps(remembered))
    assert process.find() is None
    assert process.stop() == 0
    assert psutil.pid_exists(os.getpid())


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"pid": 1}', '{"pid": "x", "port": 1, "created": 2}']
)
def test_a_damaged_process_file_counts_as_no_cloud(text: str) -> None:
    folder().mkdir(parents=True)
    (folder() / "process.json").write_text(text)
    assert process.find() is None


def test_the_users_variables_do_not_reach_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere.example")
    monkeypatch.setenv("AUTH", "true")
    monkeypatch.setenv("STATE_DIR", "/elsewhere")
    monkeypatch.setenv("LAMBDA_EXECUTOR", "docker")
    started_with = environment(LocalSettings(port=4600))
    assert started_with["AUTH"] == "false"
    assert started_with["BIND_HOST"] == "127.0.0.1"
    assert not {name for name in started_with if name.startswith("AWS_")}
    assert started_with["STATE_DIR"] == str(services_folder())
    assert "LAMBDA_EXECUTOR" not in started_with


def test_status_shows_address_and_workers(cloud: process.LocalCloud) -> None:
    shown = run(app, ["local", "status", "--json"])
    assert json.loads(shown.stdout) == {
        "running": True,
        "healthy": True,
        "endpoint_url": cloud.endpoint_url,
        "port": cloud.port,
        "pid": cloud.pid,
        "workers": 0,
        "log": str(log_file()),
    }
    assert cloud.endpoint_url in run(app, ["local", "status"]).stdout


def test_status_without_a_cloud() -> None:
    shown = run(app, ["local", "status"])
    assert (shown.exit_code, shown.stdout) == (
        4,
        "The local cloud is not running; `facectl local up` starts it\n",
    )
    assert json.loads(run(app, ["local", "status", "--json"]).stdout) == {"running": False}


def test_healthy_is_false_for_another_server(port: int) -> None:
    cloud = process.LocalCloud(os.getpid(), port, 0.0)
    assert not cloud.healthy()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(2000):
            try:
                httpx.get(f"http://127.0.0.1:{port}/", timeout=60)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert not cloud.healthy()
    finally:
        server.kill()
        server.wait()
