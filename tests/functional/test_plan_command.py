"""`facectl plan` on the command line: one screen, JSON, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plan_samples import bench_report
from typer.testing import CliRunner

from facectl.cli.app import app
from facectl.errors import InputError

SMALL = ("plan", "--cameras", "20", "--hours", "1", "--outage", "2")


def run(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "100"}).invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def planned(*arguments: str) -> dict[str, Any]:
    found = json.loads(run(*SMALL, "--json", *arguments))
    assert isinstance(found, dict)
    return found


def test_the_plan_fits_one_screen() -> None:
    lines = run(*SMALL).splitlines()
    assert len(lines) <= 70
    text = "\n".join(lines)
    for word in (
        "20 cameras with 2 frames/s",
        "Needed at the peak",
        "Cost of a month",
        "Amazon Rekognition",
        "rented machines",
        "send --detect edge",
        "Half of the cost: ",
        "Simulated, end to end",
        "SQS fails for 2 min",
        "Service times: facectl's own figures",
    ):
        assert word in text


def test_json_has_the_whole_plan_and_is_the_same_for_a_seed() -> None:
    plan = planned("--seed", "7")
    assert plan == planned("--seed", "7")
    assert plan["format"] == "facectl-plan/1"
    assert plan["load"]["cameras"] == 20
    assert plan["month"]["total"] == pytest.approx(sum(plan["month"]["parts"].values()), abs=0.1)
    assert set(plan["simulations"]) == {"day", "burst", "outage"}
    assert plan["simulations"]["day"]["frames"] == pytest.approx(20 * 2 * 3600, rel=0.02)
    assert plan["simulations"]["day"]["p50_s"] < plan["simulations"]["day"]["p99_s"]
    assert plan["of_each_deployment"]["concurrency_quota"] == 1000
    assert {each["name"] for each in plan["changes"]} >= {"--fps 1", "send --detect edge"}
    assert all(plan["month"]["sources"].values())
    assert plan["month"]["confirmed"]["rekognition_image"] == "no"
    assert plan["month"]["sources"]["rekognition_image"].startswith("not confirmed: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "not confirmed are those of Rekognition; partly those of CloudWatch Logs"),
        (
            ("--pollers", "2:20"),
            "not confirmed are those of provisioned pollers, Rekognition; partly those of",
        ),
    ],
)
def test_prices_that_were_not_confirmed_are_named_if_they_are_used(
    arguments: tuple[str, ...], told: str
) -> None:
    assert f"Of these prices, {told}" in " ".join(run(*SMALL, *arguments).split())


def test_a_hundred_thousand_cameras_are_planned_as_several_deployments() -> None:
    plan = planned("--cameras", "100000")
    assert plan["deployments"] > 1
    assert plan["of_each_deployment"]["cameras"] * plan["deployments"] >= 100_000
    assert any("each in its own account or region" in each for each in plan["warnings"])


def test_an_account_with_few_executions_is_warned_about() -> None:
    plan = planned("--cameras", "1000", "--concurrency-limit", "50")
    assert any("fewer than the" in each for each in plan["warnings"])
    assert plan["simulations"]["day"]["failed"] > 0


def test_a_frame_that_a_function_url_refuses_is_warned_about() -> None:
    plan = planned("--frame-kb", "9000")
    assert any("--max-side 1920" in each for each in plan["warnings"])


def test_the_service_times_of_a_report_are_used(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(bench_report()))
    times = planned("--memory", "1769", "--from", str(file))["service_times"]
    assert times["detection_s"] == pytest.approx(0.06)
    assert times["source"].startswith("bench.json: local cloud")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--cameras", "0"), "--cameras 0"),
        (("--fps", "-1"), "--fps -1"),
        (("--hours", "30"), "--hours 30"),
        (("--faces", "-2"), "--faces -2"),
        (("--memory", "64"), "--memory 64"),
        (("--day-curve", "sunny"), "--day-curve 'sunny'"),
        (("--pollers", "1:2"), "--pollers '1:2'"),
        (("--burst", "0"), "--burst 0"),
        (("--outage", "-1"), "--outage -1"),
        (("--crashes", "2"), "--crashes 2"),
        (("--region", "eu-west-1"), "none of eu-west-1"),
        (("--from", "none.json"), "none.json can't be read"),
        (("--concurrency-limit", "0"), "--concurrency-limit 0"),
    ],
)
def test_bad_input_is_an_error_with_the_next_command(arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, [*SMALL, *arguments], catch_exceptions=False)
    assert told in str(caught.value)
    assert caught.value.hint


def test_the_error_is_printed_without_a_traceback() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("facectl"), "plan", "--cameras", "0"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--cameras 0" in done.stderr
    assert "Next: facectl plan --cameras 1000" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        CliRunner().invoke(
            app, [*SMALL, "--html", str(tmp_path / "file" / "p.html")], catch_exceptions=False
        )
