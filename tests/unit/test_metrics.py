"""`facectl deploy --metrics`: log lines in CloudWatch's embedded metric format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_stages import SETTINGS, Queues, detect_stage, face, picture, recognise_stage, record

from facectl.cli.log_lines import as_json, readable
from facectl.deploy.options import Options, of_record, recorded
from facectl.deploy.resources.dashboards import _own_graphs
from facectl.logs.events import LogEvent
from facectl.logs.parse import Line, parse
from lambda_src import log, metrics
from lambda_src.contract import UNKNOWN, FrameRequest

DOCS = Path(__file__).parents[2] / "docs"
# The units of the specification that the functions use.
UNITS = {"Milliseconds", "Count"}


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_metrics", metrics.members)


def check(text: str) -> dict[str, float]:
    """Check a line against the format's rules; returns its metrics.

    Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format", its JSON schema
    and the text above it: members that the objects do not define are not allowed in `_aws`.
    """
    assert len(text) <= 256 * 1024
    root = json.loads(text)
    metadata = root["_aws"]
    assert set(metadata) == {"Timestamp", "CloudWatchMetrics"}
    assert type(metadata["Timestamp"]) is int
    found: dict[str, float] = {}
    for directive in metadata["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert re.fullmatch(r"[\w./#:-]{1,255}", directive["Namespace"])
        assert not directive["Namespace"].startswith("AWS/")
        assert len(directive["Dimensions"]) >= 1
        for dimensions in directive["Dimensions"]:
            assert 1 <= len(dimensions) <= 30
            for name in dimensions:
                assert isinstance(root[name], str)
                assert 1 <= len(root[name]) <= 1024
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert 1 <= len(metric["Name"]) <= 1024
            assert metric["Unit"] in UNITS
            value = root[metric["Name"]]
            assert type(value) in (int, float)
            found[metric["Name"]] = value
    return found


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The last line of each stage."""
    written = capsys.readouterr().out.splitlines()
    return {json.loads(line)["stage"]: line for line in written}


def test_a_frame_with_a_face_has_durations_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    detect_stage(Queues(), face(0, 40)).process(FrameRequest("r", "f", picture()), init_ms=300.0)
    line = lines(capsys)["detection"]
    found = check(line)
    assert set(found) == set(metrics.METRICS["detection"])
    assert (found["faces"], found["no_face"]) == (1, 0)
    written = json.loads(line)
    at = written["_aws"]["Timestamp"]
    assert parsed(line).at == pytest.approx(at / 1000, abs=0.002)


def test_a_frame_without_a_face_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    detect_stage(Queues()).process(FrameRequest("r", "f", picture()))
    found = check(lines(capsys)["detection"])
    assert (found["faces"], found["no_face"]) == (0, 1)
    assert "crop_ms" not in found


@pytest.mark.parametrize("log_names", [True, False])
def test_known_and_unknown_faces_are_counted_without_names(
    capsys: pytest.CaptureFixture[str], *, log_names: bool
) -> None:
    stage = recognise_stage(Queues(), settings=replace(SETTINGS, log_names=log_names))
    stage.process([record("a", 10, 30)])
    written = lines(capsys)
    found = check(written["recognition"])
    assert set(found) == set(metrics.METRICS["recognition"]) - {"error_results"}
    assert (found["named"], found["unknown"]) == (1, 1)
    directive = json.loads(written["recognition"])["_aws"]
    assert "Ada" not in json.dumps(directive)
    assert "_aws" not in written["received"]


@pytest.mark.parametrize("names", [["Ada", "Bob", UNKNOWN], [UNKNOWN] * 3, []])
@pytest.mark.parametrize("log_names", [True, False])
def test_every_face_of_a_frame_is_known_or_unknown(*, names: list[str], log_names: bool) -> None:
    matches = [{"name": each} if log_names else {"known": each != UNKNOWN} for each in names]
    found = metrics.members("recognition", {"matches": matches, "embed_ms": 1.5}, 1)
    known = len(names) - names.count(UNKNOWN)
    assert (found["named"], found["unknown"]) == (known, names.count(UNKNOWN))


def test_a_result_of_error_is_counted_and_a_retry_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recognise_stage(Queues()).process([record("c", 0, receives=5)])
    assert check(lines(capsys)["recognition"]) == {"error_results": 1}
    recognise_stage(Queues()).process([record("b", 0)])
    assert "_aws" not in lines(capsys)["recognition"]


def test_the_init_phase_has_a_duration_and_a_failed_one_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.info("init", None, duration_ms=812.3, threads=2)
    assert check(capsys.readouterr().out) == {"duration_ms": 812.3}
    log.error("init", None, error="ModelStoreError", message="no model")
    assert "_aws" not in capsys.readouterr().out


def test_the_lines_are_unchanged_without_metrics(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_metrics", None)
    detect_stage(Queues()).process(FrameRequest("r", "f", picture()))
    written = json.loads(lines(capsys)["detection"])
    assert not {"_aws", "no_face"} & set(written)


@pytest.mark.parametrize(("value", "loaded"), [("1", True), ("0", False), (None, False)])
def test_the_module_is_loaded_only_with_the_variable(value: str | None, *, loaded: bool) -> None:
    code = (
        "import sys; from lambda_src import log; "
        "log.info('detection', 'r', faces=0, detect_ms=1.5); "
        "sys.exit('lambda_src.metrics' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(DOCS.parent)}
    if value is not None:
        environment[log.METRICS_VARIABLE] = value
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == loaded, done.stderr
    assert ("_aws" in done.stdout) == loaded


def parsed(text: str) -> Line:
    at = json.loads(text)["_aws"]["Timestamp"]
    return parse(LogEvent("face-detection", "stream", at, text))


def test_the_directive_is_not_part_of_a_shown_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("detection", "r", faces=0, detect_ms=1.5)
    line = parsed(capsys.readouterr().out)
    assert (line.stage, line.request_id, line.number("detect_ms")) == ("detection", "r", 1.5)
    assert "_aws" not in readable(line).plain
    assert "_aws" not in as_json(line)


def test_the_option_is_remembered_and_recorded() -> None:
    options = Options(memory=2048).over(Options(metrics=True))
    assert options.environment == {"FACECTL_METRICS": "1"}
    assert of_record(recorded(options)).environment == options.environment
    assert Options(metrics=False).over(options).environment == {}


def test_the_dashboard_shows_every_metric_once() -> None:
    shown = [
        (namespace, stage, name)
        for _, graph, _ in _own_graphs()
        for namespace, name, _, _, _, stage in graph
    ]
    # The init phase is of both functions.
    wanted = [
        ("facectl", stage, name)
        for stage, names in metrics.METRICS.items()
        for name in names
        for _ in range(2 if stage == "init" else 1)
    ]
    assert sorted(shown) == sorted(wanted)


def test_the_documented_cost_is_that_of_the_metrics() -> None:
    count = sum(map(len, metrics.METRICS.values())) + 1
    text = " ".join((DOCS / "AWS.md").read_text().split())
    assert f"{count} metrics" in text
    # $0.30 a month each. Source: Amazon CloudWatch pricing, "Metrics".
    assert f"${count * 0.30:.2f} a month" in text
