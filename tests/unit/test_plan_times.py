"""Service times: distributions, memory and precision, and reports of `facectl bench`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plan_samples import ROUND, bench_report

from facectl.errors import InputError
from facectl.plan.inputs import Settings
from facectl.plan.local_times import local_times
from facectl.plan.times import DEFAULT, Duration, from_bench


def written(tmp_path: Path, report: Any) -> Path:
    file = tmp_path / "bench.json"
    file.write_text(report if isinstance(report, str) else json.dumps(report))
    return file


@pytest.mark.parametrize("duration", [Duration(0.2, 0.5), Duration.of([0.1, 0.2, 0.3])])
def test_samples_have_the_mean(duration: Duration) -> None:
    drawn = duration.draw(np.random.default_rng(1), 200_000)
    assert drawn.mean() == pytest.approx(0.2, rel=0.01)
    assert drawn.std() == pytest.approx(duration.cv * 0.2, rel=0.02)
    assert duration.scaled(3).draw(np.random.default_rng(1), 9).max() <= 3 * drawn.max()


def test_a_duration_without_variation_is_constant() -> None:
    assert set(Duration(0.2).draw(np.random.default_rng(1), 5)) == {0.2}
    assert set(Duration(0.0, 1.0).draw(np.random.default_rng(1), 5)) == {0.0}


def test_less_memory_is_slower_and_more_is_faster_with_a_limit() -> None:
    half, one, six = (
        DEFAULT.with_settings(Settings(memory=memory, precision="fp32"))
        for memory in (885, 1769, 10_240)
    )
    assert one.detect.mean == pytest.approx(DEFAULT.detect.mean)
    assert half.detect.mean == pytest.approx(2 * one.detect.mean, rel=0.01)
    # Amdahl: what does not run in parallel remains.
    assert 0.56 * one.detect.mean < six.detect.mean < one.detect.mean
    assert six.embed.mean < one.embed.mean
    # One face with int8 is hardly faster on several threads.
    sizes = (1769, 10_240)
    one, six = (DEFAULT.with_settings(Settings(memory=memory)) for memory in sizes)
    assert 0.8 * one.embed.mean < six.embed.mean < one.embed.mean


def test_int8_makes_only_the_embedder_faster() -> None:
    fast = ROUND.with_settings(Settings(memory=1769, precision="int8"))
    assert fast.embed.mean == pytest.approx(0.318 * 0.04)
    assert fast.detect == ROUND.detect


def test_recognition_of_a_batch() -> None:
    # 10 ms and one face of 40 ms; each further face takes half as long.
    assert ROUND.recognition(1, 1) == pytest.approx(0.05)
    assert ROUND.recognition(10, 1) == pytest.approx(0.01 + 0.04 * 5.5)
    assert ROUND.recognition(1, 0) == pytest.approx(0.01)


def test_a_report_of_int8_is_planned_with_the_times_that_it_has(tmp_path: Path) -> None:
    times = from_bench(written(tmp_path, bench_report(precision="int8")))
    measured = Settings(memory=1769, precision="int8")
    assert times.with_settings(measured).embed.mean == pytest.approx(0.03)
    assert times.recognise_overhead == pytest.approx(0.012)
    slower = replace(measured, precision="fp32")
    assert times.with_settings(slower).embed.mean == pytest.approx(0.03 / 0.318)


def test_times_of_a_report(tmp_path: Path) -> None:
    times = from_bench(written(tmp_path, bench_report()))
    assert times.detect.mean == pytest.approx(0.05)
    assert times.embed.mean == pytest.approx(0.03)
    # Billed 60 and 42 ms; the rest of the invocations.
    assert times.detect_overhead == pytest.approx(0.01)
    assert times.recognise_overhead == pytest.approx(0.012)
    # The local cloud does not show AWS's network and cold starts.
    assert (times.post, times.detect_start) == (DEFAULT.post, DEFAULT.detect_start)
    assert "bench.json: local cloud" in times.source
    assert times.warnings == ()


def test_a_report_of_aws_has_its_network_and_starts_too(tmp_path: Path) -> None:
    times = from_bench(written(tmp_path, bench_report(target="AWS, us-east-1")))
    assert times.post.mean == pytest.approx(0.005)
    assert times.answer.mean == pytest.approx(0.052)
    assert times.detect_start.mean == pytest.approx(0.9)
    assert times.recognise_start == DEFAULT.recognise_start
    # 1,024 MB is 0.58 of a vCPU: on one vCPU it takes 0.58 of the time.
    assert times.detect.mean == pytest.approx(0.05 * 1024 / 1769)


def test_a_report_with_contention_is_used_with_a_warning(tmp_path: Path) -> None:
    file = written(tmp_path, bench_report(workload="closed loop, 8 in flight"))
    [warning] = from_bench(file).warnings
    assert "facectl bench -c 1" in warning


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is no report of facectl bench"),
        ("null", "is no report of facectl bench"),
        ("{}", "is no report of facectl bench: 'format'"),
        ({**bench_report(), "format": "facectl-plan/1"}, "its format is 'facectl-plan/1'"),
        (bench_report(3), "it has 3 usable frames with the time of detect"),
        ({**bench_report(), "requests": [{}] * 40}, "is no report of facectl bench"),
        ({**bench_report(), "requests": "no"}, "is no report of facectl bench"),
        ({**bench_report(), "conditions": {}}, "is no report of facectl bench"),
    ],
)
def test_another_file_is_refused_with_the_next_command(
    tmp_path: Path, report: Any, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        from_bench(written(tmp_path, report))
    assert told in str(caught.value)
    assert "bench.json" in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("facectl bench -c 1")


def test_impossible_times_in_a_report_are_refused(tmp_path: Path) -> None:
    report = bench_report()
    for row in report["requests"]:
        row["stages_s"] = {**row["stages_s"], "embed": -1.0}
    with pytest.raises(InputError, match="usable frames with the time of embed"):
        from_bench(written(tmp_path, report))


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        from_bench(tmp_path / "none.json")


def test_the_times_of_the_local_model_add_up_to_those_of_the_report() -> None:
    times = local_times(bench_report(), client=0.01, platform=0.02)
    # The POST of the client: until the handler, the detection, and the rest.
    assert times.request + times.detect.mean + times.detect_end == pytest.approx(0.07)
    assert times.request + times.respond == pytest.approx(0.005)
    billed = times.dispatch + times.embed.mean + times.respond + times.recognise_end
    assert billed == pytest.approx(0.042)
    assert (times.client, times.platform) == (0.01, 0.02)


def test_the_local_model_needs_frames_with_faces() -> None:
    with pytest.raises(ValueError, match="no warm frame with a face"):
        local_times({**bench_report(), "requests": []})
