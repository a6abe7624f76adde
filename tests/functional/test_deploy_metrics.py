"""`--metrics`: a variable of both functions, their graphs in the dashboard, and their drift."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from test_deploy_command import FIRST, built, cloud
from test_model_change import done
from test_versions import listed, no_downloads

from facectl.aws import Clients
from facectl.deploy.models import DesiredState
from facectl.deploy.resources import dashboards
from facectl.naming import FUNCTIONS
from lambda_src.log import METRICS_VARIABLE

__all__ = ["built", "cloud", "no_downloads"]
# A dashboard with up to 50 metrics is one of the free ones. Source: Amazon CloudWatch pricing.
FREE_METRICS = 50


def variables(clients: Clients, name: str) -> dict[str, str]:
    found = clients.functions.get_function_configuration(FunctionName=name)
    return found["Environment"]["Variables"]


def switched(clients: Clients) -> set[str | None]:
    return {variables(clients, name).get(METRICS_VARIABLE) for name in FUNCTIONS}


def test_metrics_are_a_variable_of_both_functions(cloud: Clients) -> None:
    done(*FIRST)
    assert switched(cloud) == {None}
    planned = done("deploy", "--metrics", "--dry-run").stdout
    assert planned.count(f"({METRICS_VARIABLE} none → 1)") == len(FUNCTIONS)
    done("deploy", "--metrics")
    assert switched(cloud) == {"1"}
    assert "Nothing to change" in done("deploy").stdout
    assert listed()[0]["changes"] == ["metrics default → yes"]


def test_a_variable_that_somebody_removed_is_drift(cloud: Clients) -> None:
    done(*FIRST, "--metrics")
    kept = variables(cloud, FUNCTIONS[0])
    del kept[METRICS_VARIABLE]
    cloud.functions.update_function_configuration(
        FunctionName=FUNCTIONS[0], Environment={"Variables": kept}
    )
    done("deploy")
    assert switched(cloud) == {"1"}


def test_a_rollback_ends_and_restores_the_metrics(cloud: Clients) -> None:
    done(*FIRST)
    done("deploy", "--metrics")
    done("rollback", "1")
    assert switched(cloud) == {None}
    done("rollback", "2")
    assert switched(cloud) == {"1"}
    done("deploy", "--no-metrics")
    assert switched(cloud) == {None}


@pytest.mark.parametrize("metrics", [True, False])
def test_the_dashboard_has_their_graphs(desired: DesiredState, *, metrics: bool) -> None:
    environment = {METRICS_VARIABLE: "1"} if metrics else {}
    state = dataclasses.replace(desired, alarms="a@example.com", environment=environment)
    [dashboard] = dashboards.desired(state)
    widgets: list[Any] = json.loads(dashboard.body)["widgets"]
    graphs = [each["properties"] for each in widgets if each["type"] == "metric"]
    shown = [metric for graph in graphs for metric in graph["metrics"]]
    assert ("facectl" in {metric[0] for metric in shown}) == metrics
    assert len(shown) <= FREE_METRICS
    places = {(each["x"], each["y"]) for each in widgets}
    assert len(places) == len(widgets)
    assert all(metric[2::2] for metric in shown)
