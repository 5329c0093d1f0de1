"""From a metric's number to its Measurement: unit, direction, version and exactness are those of the metric's class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retable.bench.metrics.rows import Rows, blocks
from retable.bench.record import Measurement

if TYPE_CHECKING:
    import numpy as np

LEAST_SAMPLES = 2
"""Fewer samples than this have no spread, no covariance and no neighbour: the metric is absent."""


def measured(metric: Any, value: float, **rest: Any) -> Measurement:
    """A number; `rest` are further fields of Measurement (n, floor, samples, details)."""
    return Measurement(
        value=float(value),
        unit=metric.UNIT,
        direction=metric.DIRECTION,
        version=metric.VERSION,
        exact=metric.EXACT,
        **rest,
    )


def absent(metric: Any, reason: str, **rest: Any) -> Measurement:
    """No number, and the sentence that says why."""
    return Measurement(
        value=None,
        reason=reason,
        unit=metric.UNIT,
        direction=metric.DIRECTION,
        version=metric.VERSION,
        exact=metric.EXACT,
        **rest,
    )


def unusable(values: np.ndarray | Rows | Sequence[float], what: str, least: int = LEAST_SAMPLES) -> str | None:
    """Why `values` (samples along the first axis) cannot be summarised, or None when they can."""
    import numpy as np

    array = values if isinstance(values, Rows) else np.asarray(values)
    if len(array) < least:
        return f"{len(array)} {what}, at least {least} are needed"
    spoilt = sum(int((~np.isfinite(block.reshape(len(block), -1)).all(axis=1)).sum()) for block in blocks(array))
    return f"{spoilt} of {len(array)} {what} are not finite" if spoilt else None
