"""Prices of AWS Lambda and SQS without the free tier, from a replaceable file.

`prices.json` in this package has the prices of region us-east-1 with their
date; source: the price pages of AWS Lambda and Amazon SQS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from facectl.errors import InputError

_OWN = Path(__file__).with_name("prices.json")


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


def load(file: Path | None = None) -> Prices:
    """The prices of a file, or facectl's own; raises InputError if it is not a price table."""
    file = _OWN if file is None else file
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    try:
        read: dict[str, Any] = {each.name: data[each.name] for each in fields(Prices)}
        prices = Prices(**read)
        _check(prices)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file} is no price table: {error}",
            hint=f"write one like {_OWN}",
        ) from error
    return prices


def _check(prices: Prices) -> None:
    numbers = {f"lambda_gb_second.{name}": price for name, price in prices.lambda_gb_second.items()}
    numbers |= {
        each.name: getattr(prices, each.name) for each in fields(Prices) if each.type == "float"
    }
    for name, price in numbers.items():
        if isinstance(price, bool) or not isinstance(price, (int, float)) or price < 0:
            raise ValueError(f"{name} is {price!r}, not a price")
    if not prices.lambda_gb_second:
        raise ValueError("lambda_gb_second has no architecture")
    if prices.sqs_request_kb == 0:
        raise ValueError("sqs_request_kb is 0")


CURRENT = load()
DATE = CURRENT.date
# For a GB-second, by architecture.
LAMBDA_GB_SECOND = CURRENT.lambda_gb_second
LAMBDA_REQUEST = CURRENT.lambda_million_requests / 1_000_000
# For a GB-second of provisioned concurrency: US dollars, x86, us-east-1. Not in the file,
# because a benchmark is not charged with it.
LAMBDA_PROVISIONED_GB_SECOND = 0.0000041667
SQS_MILLION_REQUESTS = CURRENT.sqs_million_requests
# Receives in 30 days: Lambda polls an idle queue with five long polls of 20 s at a time.
# Source: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", polling behaviour.
IDLE_RECEIVES = 5 * 30 * 86400 // 20
