"""The tables and sentences of a plan, for the terminal and for HTML."""

from __future__ import annotations

import math

from facectl.plan import limits
from facectl.plan.cost import NOT_COUNTED, UTILISATION
from facectl.plan.formulas import environments_seconds
from facectl.plan.planner import Plan
from facectl.plan.scenarios import Result
from facectl.reports.tables import MISSING, Table

_PRICE_NAMES = {
    "lambda_tiers": "Lambda's tiers",
    "poller_hour": "provisioned pollers",
    "s3_million_gets": "S3",
    "log_gb": "CloudWatch Logs",
    "transfer_gb": "data transfer",
    "rekognition_image": "Rekognition",
    "machines": "rented machines",
}


def heading(plan: Plan) -> str:
    """The load as a sentence."""
    load, settings = plan.load, plan.capacity.settings
    return (
        f"{load.cameras:,} cameras with {load.fps:g} frames/s and {load.faces:g} faces a frame, "
        f"{load.hours:g} hours a day: {amount(load.frames_a_month)} frames a month, at the peak "
        f"{load.peak_rate:,.0f} a second. Functions of {settings.memory} MB, "
        f"{settings.architecture}, {settings.precision}"
    )


def needs(plan: Plan) -> Table:
    """What a deployment needs at the peak, the limit of AWS, and how long it takes to scale."""
    count = plan.capacity.deployments
    whose = "" if count == 1 else f" by each of {count} deployments"
    columns = ("", "needed", "limit of AWS", "scales in")
    rows = [*_executions(plan), *_rates(plan)]
    return Table(f"Needed at the peak{whose}", columns, rows)


def _executions(plan: Plan) -> list[tuple[str, str, str, str]]:
    """The rows of the executions and of what starts them."""
    one = plan.one
    functions = {
        "face-detection": (one.detection, one.detection_peak),
        "face-recognition": (one.recognition, one.recognition_peak),
    }
    reserved = f", {one.reserved:,} reserved for detection" if one.needs_reservation else ""
    pollers = one.pollers
    return [
        *(
            (
                name,
                f"{mean:,.0f} at once, at most {most:,}",
                "1,000 more in 10 s",
                seconds(environments_seconds(most)),
            )
            for name, (mean, most) in functions.items()
        ),
        (
            "quota of executions",
            f"{one.quota:,}{reserved}",
            f"{limits.DEFAULT_CONCURRENCY:,} by default",
            "at once" if one.quota <= limits.DEFAULT_CONCURRENCY else "ask AWS, days",
        ),
        (
            "pollers",
            pollers.flag,
            _ramp(plan),
            seconds(pollers.seconds_to(min(one.recognition_peak, pollers.most_batches))),
        ),
    ]


def _rates(plan: Plan) -> list[tuple[str, str, str, str]]:
    """The rows of the messages, requests and reads."""
    one = plan.one
    return [
        (
            "messages in flight",
            f"{one.messages_in_flight:,.0f}",
            f"{limits.MESSAGES_IN_FLIGHT:,}",
            MISSING,
        ),
        (
            "POSTs",
            f"{one.load.peak_rate:,.0f}/s of {one.request_bytes / 1024:,.0f} kB",
            f"{limits.REQUESTS_PER_EXECUTION * one.reserved:,}/s, 6 MB",
            MISSING,
        ),
        (
            "reads of the gallery",
            f"{one.gallery_checks:,.0f}/s, at start {_start_reads(plan):,.0f}/s",
            f"{limits.S3_GETS_PER_SECOND:,}/s",
            MISSING,
        ),
    ]


def _ramp(plan: Plan) -> str:
    if plan.one.pollers.max_concurrency is not None:
        return f"5, +300/min to {limits.MOST_BATCHES:,}"
    return f"{plan.one.pollers.first_batches:,.0f}, +1,000/min"


def _start_reads(plan: Plan) -> float:
    """Galleries read a second while environments start."""
    return min(float(plan.one.recognition_peak), limits.ENVIRONMENTS_PER_SECOND)


def cost_parts(plan: Plan) -> Table:
    """The cost of a month by service, and beside it Rekognition and rented machines."""
    currency = plan.cost.currency
    rows = [
        (name, money(cost), f"{cost / plan.cost.total:.0%}")
        for name, cost in sorted(plan.cost.parts.items(), key=lambda part: -part[1])
    ]
    rows.append(("this pipeline", money(plan.cost.total), "100%"))
    own = len(rows) - 1
    beside = {"Amazon Rekognition": plan.rekognition}
    if plan.machines is not None:
        beside[f"rented machines, {plan.machines.type}"] = plan.machines.cost
    rows += [(name, money(cost), _times(cost / plan.cost.total)) for name, cost in beside.items()]
    return Table("Cost of a month", ("", currency, "share"), rows, marked={own})


def cost_sentences(plan: Plan) -> list[str]:
    """What the cost consists of, a sentence each."""
    prices = plan.prices
    own = (
        f"1,000 frames cost {plan.cost.thousand:.4f} {plan.cost.currency}. Prices of "
        f"{prices.prices.region}, {prices.prices.date} and {prices.date}, without {NOT_COUNTED}"
    )
    lines = [
        own,
        *_unconfirmed(plan),
        "Rekognition: one SearchFacesByImage per frame, which searches the largest face",
    ]
    if plan.machines is None:
        lines.append(
            f"Rented machines: no price for {plan.capacity.settings.architecture} in the table"
        )
    else:
        machines = plan.machines
        lines.append(
            f"Rented machines: {machines.at_peak:,} of {machines.vcpus} vCPUs at the peak, "
            f"{machines.mean:,.0f} on average, {UTILISATION:.0%} busy, only while cameras send; "
            "without queue, load balancer and operation"
        )
    return lines


def changes(plan: Plan) -> Table:
    """What each change costs in a month; `notes` has its conditions."""
    rows = [
        (
            each.name,
            money(each.cost),
            f"{each.cost / plan.cost.total:.0%}",
            f"{each.seconds * 1e3:.0f}",
        )
        for each in plan.variants
    ]
    columns = ("", plan.cost.currency, "of this plan", "ms in functions")
    return Table("A month with a change", columns, rows)


def notes(plan: Plan) -> list[str]:
    """The conditions of the changes, as a sentence."""
    texts = [f"{each.name}, {each.note}" for each in plan.variants if each.note]
    return ["Conditions: " + "; ".join(texts)] if texts else []


def halving(plan: Plan) -> str:
    """What halves the cost, as a sentence."""
    found = plan.halving
    if found is None:
        return "No single change that facectl has halves the cost"
    return f"Half of the cost: {found.name}, {money(found.cost)} {plan.cost.currency} a month"


def behaviour(plan: Plan) -> Table:
    """What the simulations found, a row for each scenario."""
    events = plan.events
    names = {
        "day": "the day",
        "burst": f"{events.burst:g} x the peak for a minute",
        "outage": f"SQS fails for {events.outage:g} min",
    }
    rows = [
        (
            names[name],
            *(seconds(result.percentile(rank)) for rank in (50, 95, 99)),
            f"{result.backlog.max():,.0f}",
            amount(float(result.failed.sum()) + result.dead),
            _recovery(result),
        )
        for name, result in plan.results.items()
    ]
    columns = ("", "p50", "p95", "p99", "backlog", "lost", "recovered in")
    return Table("Simulated, end to end", columns, rows)


def _recovery(result: Result) -> str:
    if result.disturbed_until is None:
        return MISSING
    recovery = result.recovery
    if recovery == 0:
        return "at once"
    return "not within 30 min" if recovery is None else seconds(recovery)


def sources(plan: Plan) -> Table:
    """Where the service times and prices are from."""
    rows = [("service times", plan.capacity.times.source)]
    rows += [(name.replace("_", " "), each.text) for name, each in plan.prices.sources.items()]
    return Table("Sources", ("", ""), rows, words=True)


def _unconfirmed(plan: Plan) -> list[str]:
    """Which prices of the plan were not confirmed, in one sentence; none without any."""
    parts = {name: cost for name, cost in plan.cost.parts.items() if cost}
    used = {
        "poller_hour": "provisioned pollers" in parts,
        "s3_million_gets": "S3 gallery checks" in parts,
        "log_gb": "CloudWatch Logs" in parts,
        "transfer_gb": "data transfer out" in parts,
        "machines": plan.machines is not None,
    }
    found: dict[str, list[str]] = {}
    for name, each in plan.prices.sources.items():
        if each.confirmed != "yes" and used.get(name, True):
            found.setdefault(each.confirmed, []).append(_PRICE_NAMES.get(name, name))
    texts = [
        f"{text} {', '.join(found[confirmed])}"
        for confirmed, text in (("no", "not confirmed are those of"), ("partly", "partly those of"))
        if confirmed in found
    ]
    return [f"Of these prices, {'; '.join(texts)}"] if texts else []


def _times(ratio: float) -> str:
    """A ratio in per cent, from two on as a multiple."""
    return f"{ratio:.0%}" if ratio < 2 else f"{ratio:.3g} x"


def seconds(value: float) -> str:
    """A time with its unit, two or three digits."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "never"
    if value >= 120:
        return f"{value / 60:.0f} min"
    if value >= 10:
        return f"{value:.0f} s"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def money(value: float) -> str:
    """An amount of money, to the cent below 100."""
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def amount(value: float) -> str:
    """A number of frames, in millions or billions from there on."""
    for limit, word in ((1e9, "billion"), (1e6, "million")):
        if value >= limit:
            return f"{value / limit:.3g} {word}"
    return f"{value:,.0f}"
