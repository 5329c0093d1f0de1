"""Numbers whose unit is easily mistaken: a sentence for one that must be of another unit, with what was probably meant."""

from __future__ import annotations

import math

GREYS = 255


def of_pixels(name: str, value: float, *, most: float = 1.0, closed: bool = False) -> str:
    """What is wrong with a distance in units of pixels in [0, 1], the empty string for nothing; `most` itself is one if `closed`."""
    if 0 <= value < most or (closed and value == most):
        return ""
    meant = f"; did you mean {value:g}/{GREYS} = {value / GREYS:.6g}?" if most <= value <= GREYS * most else ""
    return f"`{name}` must lie between 0 and {most:g}, pixels are 0 to 1, not be {value:g}{meant}"


def of_shares(name: str, value: float) -> str:
    """What is wrong with a share from 0 to 1, the empty string for nothing."""
    if 0 <= value <= 1:
        return ""
    meant = f"; did you mean {value:g} % = {value / 100:g}?" if 1 < value <= 100 else ""
    return f"`{name}` must lie between 0 and 1, not be {value:g}{meant}"


def of_risk(name: str, value: float) -> str:
    """What is wrong with a probability to err, above 0 and below 1/2, the empty string for nothing."""
    if 0 < value < 0.5:
        return ""
    meant = ""
    if 0.5 <= value < 1:
        meant = f"; did you mean 1 - {value:g} = {1 - value:.4g}?"
    elif 1 <= value < 50:
        meant = f"; did you mean {value:g} % = {value / 100:g}?"
    told = f"{value:g}" if math.isfinite(value) else str(value)
    return f"`{name}` must lie strictly between 0 and 1/2, not be {told}{meant}"
