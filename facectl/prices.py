"""What AWS charges, in US dollars, region us-east-1, without the free tier.

Source: the price pages of AWS Lambda and Amazon SQS, as of the day below.
"""

from __future__ import annotations

DATE = "2026-11-23"

# By architecture, for each second of a gigabyte.
LAMBDA_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
LAMBDA_REQUEST = 0.20 / 1_000_000
