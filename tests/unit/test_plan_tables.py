"""How the figures of a plan are written."""

from __future__ import annotations

import math

import pytest
from plan_samples import ONE_VCPU, ROUND, load

from facectl.plan import tables
from facectl.plan.inputs import Settings
from facectl.plan.planner import Events, Plan, make_plan
from facectl.prices import load_plan


def made(cameras: int = 20, settings: Settings = ONE_VCPU) -> Plan:
    return make_plan(load(cameras, hours=0.2), settings, ROUND, load_plan(), Events(outage=1))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0204, "20 ms"),
        (1.04, "1.0 s"),
        (59.6, "60 s"),
        (600.0, "10 min"),
        (math.nan, "-"),
        (math.inf, "never"),
    ],
)
def test_times(value: float, text: str) -> None:
    assert tables.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0"), (1234.0, "1,234"), (1.51e6, "1.51 million"), (2e9, "2 billion")]
)
def test_amounts(value: float, text: str) -> None:
    assert tables.amount(value) == text


def test_money() -> None:
    assert (tables.money(6.985), tables.money(12_345.6)) == ("6.99", "12,346")


def test_every_row_has_every_column() -> None:
    plan = made()
    for table in (
        tables.needs(plan),
        tables.cost_parts(plan),
        tables.changes(plan),
        tables.behaviour(plan),
        tables.sources(plan),
    ):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_marked_row_is_the_sum() -> None:
    plan = made()
    table = tables.cost_parts(plan)
    [row] = [table.rows[number] for number in table.marked]
    assert row[:2] == ("this pipeline", tables.money(plan.cost.total))


def test_the_account_is_asked_for_more_only_beyond_the_default() -> None:
    quota = {row[0]: row for row in tables.needs(made()).rows}["quota of executions"]
    assert quota[1:] == ("1,000", "1,000 by default", "at once")
    large = {row[0]: row for row in tables.needs(made(10_000)).rows}["quota of executions"]
    assert "reserved for detection" in large[1]
    assert large[3] == "ask AWS, days"


def test_chosen_pollers_are_shown_with_their_ramp() -> None:
    plan = made(settings=Settings(memory=1769, pollers=(2, 20)))
    row = {each[0]: each for each in tables.needs(plan).rows}["pollers"]
    assert row[1:3] == ("--pollers 2:20", "20, +1,000/min")


def test_half_of_the_cost_is_named() -> None:
    plan = made()
    assert plan.halving is not None
    assert tables.halving(plan).startswith(f"Half of the cost: {plan.halving.name}, ")
