"""For every test: a home folder, fake credentials, limits against hanging, scheduling."""

from __future__ import annotations

import functools
import os
import pickle
import signal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader
from driver import isolate, models_home
from fault_table import print_table
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# The same examples in every run, however long each takes: what a run finds, the next finds
# too. `pytest --hypothesis-profile=default` looks at others.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

# Seconds after which a test counts as hung. They are no measure of speed: on two cores
# with much other work every one of these tests takes several times longer than alone.
HUNG_SECONDS = {"e2e": 1800, "faults": 1800, "oracle": 1800, "container": 1800}
# Tests that share what is costly to make run on one worker. The modules of e2e that only
# use a deployment share one local cloud; each of the others has its own.
ON_ONE_WORKER = {"test_models_cli", "test_bench_html", "test_cpu_families"}
USE_ONE_CLOUD = {
    "test_bad_requests",
    "test_bench",
    "test_gallery",
    "test_many_clients",
    "test_pipeline",
    "test_visits",
}


class Scheduler(LoadScopeScheduling):
    """Gives each worker the next test, or the next group of tests that share something."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.partition("::")[0])
        folder, module = path.parent.name, path.stem
        if folder in {"faults", "container"}:
            return folder
        if folder == "e2e":
            return folder if module in USE_ONE_CLOUD else module
        return module if module in ON_ONE_WORKER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler | None:
    return Scheduler(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_configure() -> None:
    """Have the commands that tests run depend neither on the terminal nor on the shell."""
    read_service_models_once()
    # A console that is made while they are set keeps that width for good.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # A shell has what it puts into the background ignore Ctrl-C, and children inherit it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def read_service_models_once() -> None:
    """Keep the files that describe AWS's services, which each session of boto3 reads again.

    A third of the time of a test with moto went there. moto changes the description of SQS, so
    each session gets its own copy of it.
    """
    read = functools.cache(JSONFileLoader().load_file)
    pickled = functools.cache(lambda file_path: pickle.dumps(read(file_path)))

    def load(_: JSONFileLoader, file_path: str) -> Any:
        if "sqs" in Path(file_path).parts:
            return pickle.loads(pickled(file_path))  # noqa: S301 - made two lines above
        return read(file_path)

    JSONFileLoader.load_file = load  # type: ignore[method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its limit against hanging."""
    for item in items:
        folder = item.path.parent.name
        if item.get_closest_marker("timeout") is None and folder in HUNG_SECONDS:
            item.add_marker(pytest.mark.timeout(HUNG_SECONDS[folder]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    print_table(terminalreporter)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run's that all of its workers see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def models_folder(shared_folder: Path) -> Path:
    """A home with a synthetic model, built once per run; `link_models` lends it to another."""
    return models_home(shared_folder)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FACECTL_HOME below tmp_path and fake AWS credentials."""
    return isolate(monkeypatch, tmp_path / "facectl-home")
