"""The percentile of samples, for benchmarks and for logs."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The smallest sample that at least `rank` per cent of the samples do not exceed.

    `ordered` ascending. The nearest-rank definition: the result is always one of the
    samples. Raises ValueError without samples or for a rank outside 0 to 100.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one sample")
    if not 0 <= rank <= 100:
        raise ValueError(f"a percentile is between 0 and 100, not {rank}")
    # 99.9 % of 1000 is 999.0000000000001 in floating point, and must not be rounded up.
    position = math.ceil(len(ordered) * rank / 100 - 1e-9)
    return ordered[max(0, position - 1)]
