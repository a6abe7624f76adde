"""Service times of the pipeline: read from `facectl bench --json`, or facectl's own figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.bench.compare import FORMAT
from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.plan.inputs import Precision, Settings
from lambda_src.settings import MB_PER_VCPU

_HINT = "facectl bench -c 1 -n 200 --max-side 640 --json > bench.json, then --from bench.json"
# Fewer frames do not show the tail of a distribution.
_FEWEST = 20
# The share of the work that a second thread takes over (Amdahl's law), from the times with one
# and two threads: detection 33.8 and 26.4 ms at 640x360, embedding one face 29.2 and 20.4 ms with
# fp32, 9.3 and 8.5 ms with int8 (docs/PERFORMANCE.md).
_DETECTION_PARALLEL = 0.44
_EMBEDDING_PARALLEL: dict[Precision, float] = {"fp32": 0.6, "int8": 0.17}
# Time of int8 divided by that of fp32, one face: 9.3 and 29.2 ms (docs/PERFORMANCE.md).
_INT8 = 0.318


@dataclass(frozen=True, slots=True)
class Duration:
    """A random time in seconds: measured samples, or else log-normal with this mean and CV.

    `cv`: the coefficient of variation, standard deviation divided by the mean.
    """

    mean: float
    cv: float = 0.0
    samples: tuple[float, ...] = ()

    @classmethod
    def of(cls, samples: Sequence[float]) -> Duration:
        """The duration that was measured; needs at least one sample."""
        values = np.asarray(samples, dtype=np.float64)
        mean = float(values.mean())
        cv = float(values.std()) / mean if mean > 0 else 0.0
        return cls(mean, cv, tuple(float(value) for value in values))

    def scaled(self, factor: float) -> Duration:
        """The duration with every sample multiplied."""
        return Duration(self.mean * factor, self.cv, tuple(each * factor for each in self.samples))

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Independent samples."""
        if self.samples:
            return generator.choice(np.asarray(self.samples), size=count)
        if self.cv <= 0 or self.mean <= 0:
            return np.full(count, self.mean)
        variance = math.log(1 + self.cv**2)
        return generator.lognormal(
            math.log(self.mean) - variance / 2, math.sqrt(variance), size=count
        )


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """The times of one frame in seconds, on one vCPU.

    `detect`: decode, detect, crop. `embed`: one face with fp32; each further face of a batch takes
    `further_face` of it. `detect_overhead`, `recognise_overhead`: the rest of an
    invocation, per invocation. `post`: network and Function URL. `poll`: from the
    request queue to the handler, without a backlog. `answer`: from the response queue
    to the client. The starts are cold starts. `assumed`: what was not measured on AWS.
    """

    detect: Duration
    embed: Duration
    further_face: float
    detect_overhead: float
    recognise_overhead: float
    post: Duration
    poll: Duration
    answer: Duration
    detect_start: Duration
    recognise_start: Duration
    source: str
    warnings: tuple[str, ...] = ()

    def with_settings(self, settings: Settings) -> ServiceTimes:
        """The times with the functions' memory and precision; arm64 keeps those of x86_64."""
        vcpus = settings.memory / MB_PER_VCPU
        parallel = _EMBEDDING_PARALLEL[settings.precision]
        embed = self.embed.scaled(_time_factor(vcpus, parallel))
        if settings.precision == "int8":
            embed = embed.scaled(_INT8)
        # Below one vCPU the overhead grows too: it is computing for the most part.
        overhead = max(1.0, 1 / vcpus)
        return replace(
            self,
            detect=self.detect.scaled(_time_factor(vcpus, _DETECTION_PARALLEL)),
            embed=embed,
            detect_overhead=self.detect_overhead * overhead,
            recognise_overhead=self.recognise_overhead * overhead,
        )

    @property
    def detection(self) -> float:
        """Mean billed seconds of one frame in face-detection."""
        return self.detect.mean + self.detect_overhead

    def recognition(self, messages: float, faces: float) -> float:
        """Mean billed seconds of a batch of `messages` with `faces` faces each."""
        return self.recognise_overhead + self.embedding_factor(messages * faces) * self.embed.mean

    def embedding_factor(self, faces: float) -> float:
        """The time of embedding several faces at once, as a multiple of one face's."""
        if faces <= 1:
            return faces
        return 1.0 + (faces - 1.0) * self.further_face


def _time_factor(vcpus: float, parallel: float) -> float:
    """Time with `vcpus` as a multiple of that with one: Amdahl's law above one, a share below."""
    return 1 / vcpus if vcpus < 1 else (1 - parallel) + parallel / vcpus


# Measured on the local cloud and by `make bench-vision`: docs/PERFORMANCE.md and
# benchmarks/README.md. What only AWS can show is assumed, and docs/CAPACITY.md says so.
DEFAULT = ServiceTimes(
    # Decode 2.1 ms, detect 33.8, cut and encode a crop 1.6.
    detect=Duration(0.0375, 0.15),
    embed=Duration(0.029, 0.12),
    # A batch of 8 against one face, int8, one thread: 59.7 and 9.3 ms.
    further_face=0.77,
    detect_overhead=0.011,
    recognise_overhead=0.009,
    post=Duration(0.040, 0.5),
    poll=Duration(0.020, 0.5),
    answer=Duration(0.040, 0.5),
    # Until the first answer 0.24 and 0.28 s; that an environment takes a second before is assumed.
    detect_start=Duration(1.24, 0.3),
    recognise_start=Duration(1.28, 0.3),
    source="facectl's own figures: docs/PERFORMANCE.md and benchmarks/README.md, one thread",
)


def from_bench(file: Path) -> ServiceTimes:
    """The times of a report of `facectl bench --json`; raises InputError.

    Computing times and the rest of an invocation are taken from the report. Network,
    polls and cold starts of AWS are those of the report only if it ran on AWS.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}", hint=_HINT) from error
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}", hint=_HINT) from error
    try:
        return _times_of(data, file)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file} is no report of facectl bench: {error}", hint=_HINT) from error


def _times_of(data: Mapping[str, Any], file: Path) -> ServiceTimes:
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, this version reads {FORMAT!r}")
    warm = [row for row in data["requests"] if row["status"] == "answered" and not row["cold"]]
    stages = {
        name: [float(row["stages_s"][name]) for row in warm if name in row["stages_s"]]
        for name in ("post", "detect", "request_queue", "embed", "response_queue", "poll")
    }
    for name in ("detect", "embed"):
        if len(stages[name]) < _FEWEST or not all(0 < each < 900 for each in stages[name]):
            raise ValueError(
                f"it has {len(stages[name])} usable frames with the time of {name}, "
                f"a plan needs {_FEWEST}"
            )
    conditions = data["conditions"]
    detect, embed = Duration.of(stages["detect"]), Duration.of(stages["embed"])
    billed = billed_seconds(data)
    times = replace(
        DEFAULT,
        detect=detect,
        # `embed` is that of fp32, whatever was measured; `with_settings` computes int8's from it.
        embed=embed.scaled(1 / _INT8) if conditions.get("precision") == "int8" else embed,
        detect_overhead=_overhead(billed, DETECTION_FUNCTION, detect),
        recognise_overhead=_overhead(billed, RECOGNITION_FUNCTION, embed),
        source=f"{file.name}: {conditions['target']}, {conditions['workload']}, "
        f"{len(warm)} frames, measured {str(conditions['measured'])[:10]}",
    )
    if str(conditions["target"]).startswith("AWS"):
        return _one_vcpu(_with_waits(times, stages, data), conditions)
    return replace(times, warnings=_contention(str(conditions["workload"])))


def _with_waits(
    times: ServiceTimes, stages: Mapping[str, Sequence[float]], data: Mapping[str, Any]
) -> ServiceTimes:
    """The times with the network, polls and cold starts of a run on AWS."""
    answer = [sum(pair) for pair in zip(stages["response_queue"], stages["poll"], strict=False)]
    starts = data["figures"]["cold_starts_ms"]
    found = {
        "post": Duration.of(stages["post"]) if stages["post"] else times.post,
        "poll": Duration.of(stages["request_queue"]) if stages["request_queue"] else times.poll,
        "answer": Duration.of(answer) if answer else times.answer,
    }
    for name, function in (
        ("detect_start", DETECTION_FUNCTION),
        ("recognise_start", RECOGNITION_FUNCTION),
    ):
        if function in starts:
            found[name] = Duration(float(starts[function]["mean"]) / 1e3, 0.3)
    return replace(times, **found)  # type: ignore[arg-type]


def _one_vcpu(times: ServiceTimes, conditions: Mapping[str, Any]) -> ServiceTimes:
    """Times measured on functions of the report's memory, as they would be on one vCPU."""
    found = re.match(r"(\d+) MB", str(conditions.get(DETECTION_FUNCTION, "")))
    vcpus = int(found.group(1)) / MB_PER_VCPU if found else 1.0
    parallel = _EMBEDDING_PARALLEL["int8" if conditions.get("precision") == "int8" else "fp32"]
    return replace(
        times,
        detect=times.detect.scaled(1 / _time_factor(vcpus, _DETECTION_PARALLEL)),
        embed=times.embed.scaled(1 / _time_factor(vcpus, parallel)),
    )


def billed_seconds(data: Mapping[str, Any]) -> dict[str, float]:
    """Billed seconds of one frame by function, from the report's cost; empty without a cost."""
    cost = data.get("cost")
    if cost is None:
        return {}
    seconds = {}
    for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION):
        size = re.match(r"(\d+) MB, (\w+)", str(data["conditions"].get(function, "")))
        part = cost["parts_per_1000_frames"].get(function)
        if size is not None and part is not None:
            price = cost["prices"]["lambda_gb_second"][size.group(2)]
            seconds[function] = part / 1000 / price / (int(size.group(1)) / 1024)
    return seconds


def _overhead(billed: Mapping[str, float], function: str, stage: Duration) -> float:
    """Billed seconds beyond the measured stage; facectl's own figure without a cost."""
    if function in billed:
        return max(0.0, billed[function] - stage.mean)
    own = {
        DETECTION_FUNCTION: DEFAULT.detect_overhead,
        RECOGNITION_FUNCTION: DEFAULT.recognise_overhead,
    }
    return own[function]


def _contention(workload: str) -> tuple[str, ...]:
    if workload.startswith("closed loop, 1 in flight"):
        return ()
    warning = (
        "The report is of the local cloud with several frames at once, which share its cores: the "
        "service times include waiting for a core. Measure with facectl bench -c 1"
    )
    return (warning,)
