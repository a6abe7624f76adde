"""The baseline and the sweep on moto's AWS: resources they create, and their cleanup."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bench_fakes import Clip
from bench_samples import answered, report_of, run_with
from moto_account import apply, found

from facectl import prices
from facectl.aws import Clients
from facectl.bench.baseline import baseline_resources, deployed_baseline
from facectl.bench.benchmark import BenchmarkOptions
from facectl.bench.report import BenchmarkReport
from facectl.bench.run import Load
from facectl.bench.sweep import sizes_of, sweep
from facectl.bench.workload import Workload
from facectl.deploy.executor import apply_step
from facectl.deploy.models import DesiredState
from facectl.deploy.planner import plan
from facectl.deploy.resources import Context
from facectl.errors import CloudError, InputError
from facectl.stream.sender import RequestOptions

SETTINGS = BenchmarkOptions(
    Load(Clip(1), 10, RequestOptions(), Workload(1)), "clip", prices.CURRENT
)


class Silent:
    """A watch that nobody looks at."""

    def tell(self, sentence: str) -> None:
        """Nothing."""

    @contextmanager
    def status(self, doing: str) -> Iterator[Callable[[str], None]]:
        yield lambda _: None

    @contextmanager
    def frames(self, load: Load, doing: str) -> Iterator[Callable[[Any], None]]:
        yield lambda _: None


def functions(clients: Clients) -> dict[str, Any]:
    answer = clients.functions.list_functions()
    return {function["FunctionName"]: function for function in answer["Functions"]}


def everything(clients: Clients) -> list[str]:
    mappings = clients.functions.list_event_source_mappings()["EventSourceMappings"]
    return sorted(
        [
            *functions(clients),
            *clients.sqs.list_queues().get("QueueUrls", []),
            *(role["RoleName"] for role in clients.iam.list_roles()["Roles"]),
            *(group["logGroupName"] for group in clients.logs.describe_log_groups()["logGroups"]),
            *(mapping["FunctionArn"] for mapping in mappings),
            *(bucket["Name"] for bucket in clients.s3.list_buckets()["Buckets"]),
        ]
    )


def test_a_baseline_has_the_pipelines_shape_and_names_of_its_own(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    clients = context.clients
    before = everything(clients)
    with deployed_baseline(clients) as baseline:
        there = functions(clients)
        pipeline, noop = there["face-detection"], there["face-detection-floor"]
        assert noop["Handler"] == "lambda_src.noop.detection"
        assert noop["PackageType"] == "Zip"
        for shared in ("MemorySize", "Timeout", "Architectures"):
            assert noop[shared] == pipeline[shared]
        environment = noop["Environment"]["Variables"]
        assert environment["FACECTL_REQUEST_QUEUE_URL"].endswith("-floor-req-queue")
        role = noop["Role"].rpartition("/")[2]
        policy = clients.iam.get_role_policy(RoleName=role, PolicyName="facectl")["PolicyDocument"]
        assert "/aws/lambda/face-detection-floor:*" in json.dumps(policy)
        assert "-floor-resp-queue" in json.dumps(policy)
        assert baseline.queue().name.endswith("-floor-resp-queue")
        assert baseline.url
    assert everything(clients) == before


def test_a_baseline_is_removed_after_an_error_and_after_ctrl_c(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    before = everything(context.clients)
    for error in (CloudError("it died"), KeyboardInterrupt()):
        with pytest.raises(type(error)), deployed_baseline(context.clients):
            raise error
        assert everything(context.clients) == before
    assert apply(context, desired) == []


@pytest.mark.parametrize("steps", [1, 5, 9])
def test_what_a_killed_process_left_is_taken_over(
    context: Context, desired: DesiredState, steps: int
) -> None:
    apply(context, desired)
    before = everything(context.clients)
    wanted = baseline_resources(context.clients, context.account)
    for step in plan(wanted, {})[:steps]:
        apply_step(step, context)
    assert everything(context.clients) != before
    with deployed_baseline(context.clients):
        pass
    assert everything(context.clients) == before


def test_without_a_pipeline_there_is_no_baseline(context: Context) -> None:
    with pytest.raises(InputError, match="no shape"), deployed_baseline(context.clients):
        pass


def test_a_sweep_measures_each_size_and_ends_as_it_began(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    seen: list[list[int]] = []

    def measure(clients: Clients, _: BenchmarkOptions, __: object) -> BenchmarkReport:
        seen.append([function["MemorySize"] for function in functions(clients).values()])
        return report_of(run_with([answered(0, 0.2)]))

    swept = sweep(context.clients, (1024, 1769), SETTINGS, Silent(), measure=measure)
    assert seen == [[1024, 1024], [1769, 1769]]
    assert [each.memory for each in swept] == [1024, 1769]
    assert found(context, desired)
    assert apply(context, desired) == []


@pytest.mark.parametrize("error", [CloudError("it died"), KeyboardInterrupt()])
def test_a_sweep_that_breaks_ends_as_it_began(
    context: Context, desired: DesiredState, error: BaseException
) -> None:
    apply(context, desired)

    def measure(*_: object) -> BenchmarkReport:
        raise error

    with pytest.raises(type(error)):
        sweep(context.clients, (1024,), SETTINGS, Silent(), measure=measure)
    assert apply(context, desired) == []


def test_a_sweep_stops_at_a_run_that_ended_early(context: Context, desired: DesiredState) -> None:
    apply(context, desired)

    def measure(*_: object) -> BenchmarkReport:
        return report_of(run_with([answered(0, 0.2)], ended="stopped by Ctrl-C"))

    assert len(sweep(context.clients, (1024, 1769), SETTINGS, Silent(), measure=measure)) == 1
    assert apply(context, desired) == []


def test_sizes() -> None:
    assert sizes_of("1024,1769, 3008,1024") == (1024, 1769, 3008)
    for wrong in ("", "1024;1769", "511", "10241"):
        with pytest.raises(InputError, match="--memory"):
            sizes_of(wrong)
