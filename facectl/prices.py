"""Prices of AWS without the free tier, from a replaceable file.

`prices.json` in this package has the prices of region us-east-1 with their
date; source: the price pages of AWS Lambda and Amazon SQS. Its section `plan`
has those that only `facectl plan` needs, `deployment` those of `facectl deploy`. Each of
these has its source, and whether another publication confirmed it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from facectl.errors import InputError

_OWN = Path(__file__).with_name("prices.json")
# Upper limits of usage in a month, ascending, with the price of a unit below each; the
# limit of the last is None.
Tiers = Sequence[tuple[float | None, float]]
_Table = TypeVar("_Table")


@dataclass(frozen=True, slots=True)
class Prices:
    """A price table. SQS counts each `sqs_request_kb` kilobytes of a message as a request."""

    date: str
    region: str
    currency: str
    lambda_gb_second: Mapping[str, float]
    lambda_million_requests: float
    sqs_million_requests: float
    sqs_request_kb: float


Confirmed = Literal["yes", "partly", "no"]
_PREFIXES: Mapping[Confirmed, str] = {
    "yes": "",
    "partly": "partly confirmed: ",
    "no": "not confirmed: ",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a price is from, and whether it was confirmed."""

    source: str
    confirmed: Confirmed = "yes"

    def __post_init__(self) -> None:
        if self.confirmed not in _PREFIXES or not isinstance(self.source, str):
            raise ValueError(f"{self.source!r} is no source, with `confirmed` yes, partly or no")

    @property
    def text(self) -> str:
        """The source, after `not confirmed: ` or `partly confirmed: `."""
        return f"{_PREFIXES[self.confirmed]}{self.source}"

    @classmethod
    def parse(cls, data: str | Mapping[str, Any]) -> Source:
        """The source of a table; in tables of earlier versions it is text alone."""
        if not isinstance(data, str):
            return cls(**data)
        for confirmed, prefix in _PREFIXES.items():
            if prefix and data.startswith(prefix):
                return cls(data.removeprefix(prefix), confirmed)
        return cls(data)


@dataclass(frozen=True, slots=True)
class Machine:
    """A rented machine: its type, vCPUs and price of an hour."""

    type: str
    vcpus: int
    hour: float


@dataclass(frozen=True, slots=True)
class PlanPrices:
    """The prices of `facectl plan`, of the same region as `prices`.

    `lambda_tiers`: by architecture, factors on the GB-second by GB-seconds of a month.
    `poller_hour`: one provisioned poller. `sources`: where each price is from.
    """

    prices: Prices
    date: str
    lambda_tiers: Mapping[str, Tiers]
    poller_hour: float
    s3_million_gets: float
    log_gb: Tiers
    transfer_gb: Tiers
    rekognition_image: Tiers
    machines: Mapping[str, Machine]
    sources: Mapping[str, Source]


@dataclass(frozen=True, slots=True)
class DeploymentPrices:
    """The prices of what a deployment costs beside its frames.

    `provisioned_gb_second`: by architecture, a warm environment. The others are of an hour or a
    month of one poller, GB of images, alarm, metric, dashboard and key.
    """

    date: str
    provisioned_gb_second: Mapping[str, float]
    poller_hour: float
    image_gb_month: float
    alarm_month: float
    metric_month: float
    dashboard_month: float
    key_month: float
    sources: Mapping[str, Source]

    def told(self, name: str) -> str:
        """What to say beside a figure that is computed with a price; empty if it is confirmed."""
        confirmed = self.sources[name].confirmed
        return "" if confirmed == "yes" else f" ({_PREFIXES[confirmed].partition(':')[0]})"


def tiered(units: float, tiers: Tiers) -> float:
    """The price of the units of a month."""
    total = used = 0.0
    for limit, price in tiers:
        upper = units if limit is None else min(units, limit)
        total += max(0.0, upper - used) * price
        used = max(used, upper)
    return total


def load(file: Path | None = None) -> Prices:
    """The prices of a file, or facectl's own; raises InputError if it is not a price table."""
    return _read(file, _prices)


def load_deployment() -> DeploymentPrices:
    """The prices of a deployment, of facectl's own table."""
    return _read(None, _deployment_prices)


def load_plan(file: Path | None = None, region: str | None = None) -> PlanPrices:
    """The prices of `facectl plan`; raises InputError if the file lacks them or this region."""
    table = _read(file, _plan_prices)
    if region is not None and region != table.prices.region:
        raise InputError(
            f"{_OWN if file is None else file} has the prices of {table.prices.region}, "
            f"none of {region}",
            hint=f"--region {table.prices.region}, or --price-file with a table of {region}",
        )
    return table


def _read(file: Path | None, parse: Callable[[dict[str, Any]], _Table]) -> _Table:
    file = _OWN if file is None else file
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    try:
        return parse(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file} is no price table: {error}",
            hint=f"write one like {_OWN}",
        ) from error


def _prices(data: dict[str, Any]) -> Prices:
    read: dict[str, Any] = {each.name: data[each.name] for each in fields(Prices)}
    prices = Prices(**read)
    _check(prices)
    return prices


def _plan_prices(data: dict[str, Any]) -> PlanPrices:
    prices = _prices(data)
    if "plan" not in data:
        raise ValueError("its section plan is missing, with the prices of facectl plan")
    plan = data["plan"]
    read = {each.name: plan[each.name] for each in fields(PlanPrices) if each.name != "prices"}
    read["machines"] = {name: Machine(**each) for name, each in plan["machines"].items()}
    read["sources"] = _sources(plan)
    for name in ("log_gb", "transfer_gb", "rekognition_image"):
        _check_tiers(name, plan[name])
    for architecture in prices.lambda_gb_second:
        _check_tiers(f"lambda_tiers.{architecture}", plan["lambda_tiers"][architecture])
    for name in ("poller_hour", "s3_million_gets"):
        _check_number(name, plan[name])
    for machine in read["machines"].values():
        _check_number(f"machines.{machine.type}", machine.hour)
        if machine.vcpus < 1:
            raise ValueError(f"machines.{machine.type} has {machine.vcpus} vCPUs")
    return PlanPrices(prices=prices, **read)


def _sources(section: Mapping[str, Any]) -> dict[str, Source]:
    return {name: Source.parse(each) for name, each in section["sources"].items()}


def _deployment_prices(data: dict[str, Any]) -> DeploymentPrices:
    section = data["deployment"]
    return DeploymentPrices(**{**section, "sources": _sources(section)})


def _check_tiers(name: str, tiers: Sequence[Sequence[float | None]]) -> None:
    limits = [limit for limit, _ in tiers]
    for _, price in tiers:
        _check_number(name, price)
    bounds = [limit for limit in limits[:-1] if limit is not None]
    if not limits or limits[-1] is not None or len(bounds) < len(limits) - 1:
        raise ValueError(f"{name} needs a last tier without a limit")
    if bounds != sorted(bounds):
        raise ValueError(f"the limits of {name} are not ascending")


def _check_number(name: str, price: Any) -> None:
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < 1e9:
        raise ValueError(f"{name} is {price!r}, not a price")


def _check(prices: Prices) -> None:
    numbers = {f"lambda_gb_second.{name}": price for name, price in prices.lambda_gb_second.items()}
    numbers |= {
        each.name: getattr(prices, each.name) for each in fields(Prices) if each.type == "float"
    }
    for name, price in numbers.items():
        _check_number(name, price)
    if not prices.lambda_gb_second:
        raise ValueError("lambda_gb_second has no architecture")
    if prices.sqs_request_kb == 0:
        raise ValueError("sqs_request_kb is 0")


CURRENT = load()
DATE = CURRENT.date
# For a GB-second, by architecture.
LAMBDA_GB_SECOND = CURRENT.lambda_gb_second
LAMBDA_REQUEST = CURRENT.lambda_million_requests / 1_000_000
SQS_MILLION_REQUESTS = CURRENT.sqs_million_requests
# Receives in 30 days: Lambda polls an idle queue with five long polls of 20 s at a time.
# Source: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", polling behaviour.
IDLE_RECEIVES = 5 * 30 * 86400 // 20
