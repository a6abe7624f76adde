"""`facectl bench` on a real local cloud: baseline, sweep, and no leftovers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import Facectl, eventually, sample

from facectl.aws import Clients
from facectl.context import Deployment

pytestmark = pytest.mark.e2e


@pytest.fixture
def clients(deployed: Facectl) -> Clients:
    endpoint = deployed.json("context")["endpoint_url"]
    return Clients(Deployment("e2e", "local", endpoint_url=endpoint))


def standing(clients: Clients) -> list[str]:
    """The names of everything that has to do with a floor."""
    names: list[Any] = [f["FunctionName"] for f in clients.functions.list_functions()["Functions"]]
    names += clients.sqs.list_queues().get("QueueUrls", [])
    names += [role["RoleName"] for role in clients.iam.list_roles()["Roles"]]
    names += [group["logGroupName"] for group in clients.logs.describe_log_groups()["logGroups"]]
    mappings = clients.functions.list_event_source_mappings()["EventSourceMappings"]
    names += [mapping["FunctionArn"] for mapping in mappings]
    return sorted(str(name) for name in names if "floor" in str(name))


@pytest.fixture(autouse=True)
def nothing_left(clients: Clients) -> Iterator[None]:
    yield
    assert standing(clients) == []


def test_pipeline_and_baseline(deployed: Facectl, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    arguments = ("bench", sample("faces-1080p.mp4"), "--floor", "-c", 1, "-n", 20)
    data = deployed.json(*arguments, "--max-side", 640, "--warmup", 4, "--purge", "--html", page)
    figures, floor = data["figures"], data["floor"]
    assert (figures["answered"], floor["answered"]) == (20, 20)
    assert data["met"] is True
    stages = figures["stages_s"]["mean_of_all"]
    assert sum(stages.values()) == pytest.approx(figures["end_to_end_s"]["warm"]["mean"], abs=1e-4)
    # Tens of milliseconds of computing against none; how much that is, is the machine's affair.
    assert stages["detect"] > floor["stages_s"]["mean_of_all"]["detect"]
    assert stages["embed"] > floor["stages_s"]["mean_of_all"]["embed"]
    # One computer, one clock.
    clock = data["clock"]
    assert abs(clock["client_minus_sqs_ms"]) <= clock["uncertainty_ms"] + 2
    assert data["cost"]["per_1000_frames"] > 0
    assert data["conditions"]["face-detection"].startswith("1769 MB")
    assert page.stat().st_size > 10_000


def test_cold_starts_are_reported_separately(deployed: Facectl, clients: Clients) -> None:
    # A new configuration ends the warm workers.
    for seconds in (55, 60):
        for function in ("face-detection", "face-recognition"):
            clients.functions.update_function_configuration(FunctionName=function, Timeout=seconds)
    figures = deployed.json("bench", sample("six-faces.jpg"), "-c", 1, "-n", 6, "--purge")[
        "figures"
    ]
    cold, warm = (figures["end_to_end_s"][name] for name in ("cold", "warm"))
    assert (cold["count"], warm["count"]) == (1, 5)
    assert cold["mean"] > warm["mean"]
    starts = figures["cold_starts_ms"]
    assert set(starts) == {"face-detection", "face-recognition"}
    assert all(100 < start["mean"] < 1e3 * cold["mean"] for start in starts.values())


def test_a_sweep_restores_the_memory_sizes(deployed: Facectl, clients: Clients) -> None:
    def memory() -> list[int]:
        names = ("face-detection", "face-recognition")
        functions = clients.functions
        return [
            functions.get_function_configuration(FunctionName=name)["MemorySize"] for name in names
        ]

    before = memory()
    video = sample("faces-1080p.mp4")
    swept = deployed.json(
        *("bench", "sweep", video, "--memory", "1024,1769", "-n", 3, "-c", 1, "--warmup", 2),
        *("--max-side", 640, "--purge"),
    )
    assert [each["memory_mb"] for each in swept] == [1024, 1769]
    assert [each["figures"]["answered"] for each in swept] == [3, 3]
    assert all("1024 MB" in swept[0]["conditions"][name] for name in ("face-detection",))
    assert memory() == before


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_baseline_is_removed(deployed: Facectl, clients: Clients, blow: int) -> None:
    command = [Path(sys.executable).with_name("facectl"), "bench", "--floor", "--purge"]
    process = subprocess.Popen(
        [*command, str(sample("faces-1080p.mp4")), "--rate", "2", "--json"],
        env=deployed.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: standing(clients), lambda names: "face-detection-floor" in names)
    # At whatever it is by then.
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(blow)
    out, told = process.communicate(timeout=900)
    # 130 while it deploys or warms up, 3 with a report of what was measured after that.
    assert process.returncode in (3, 130), told
    assert out == "" or json.loads(out)["complete"] is False
