"""Metrics over timed decoding steps: how the cost of one more token depends on how many came before (task `decode`).

Evidence: `lengths` in tokens, and `milliseconds[model][length]`, one entry a round, for models `method` and `rival`.
Round i of both was timed back to back, so comparisons between the two are medians of paired ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

Model = Literal["method", "rival"]


@dataclass(frozen=True, kw_only=True)
class DecodeMilliseconds:
    """`decode_ms[length]`: median time of the method's step after `length` tokens, for the whole batch."""

    NAME: ClassVar[str] = "decode_ms"
    TIMED: ClassVar[bool] = True

    length: int

    UNIT: ClassVar[str] = "ms"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if self.length not in evidence.lengths:
            timed = ", ".join(map(str, evidence.lengths)) or "none"
            return absent(self, f"no steps were timed after {self.length} tokens (timed: {timed})")
        if reason := _missing_rounds(evidence, "method", self.length):
            return absent(self, reason)
        steps = _steps(evidence, "method", self.length)
        lower, upper = np.quantile(steps, [0.25, 0.75])
        return measured(
            self,
            np.median(steps),
            n=len(steps),
            samples=tuple(steps.tolist()),
            details={"rounds": len(steps), "quartile_1": float(lower), "quartile_3": float(upper)} | _batch(evidence),
        )


@dataclass(frozen=True, kw_only=True)
class DecodeGrowth:
    """Median step time after the longest context over that after the shortest: 1 is a cost that does not grow."""

    NAME: ClassVar[str] = "decode_growth"
    TIMED: ClassVar[bool] = True

    of: Model = "method"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if len(evidence.lengths) < 2:
            return absent(self, f"growth needs two context lengths, {len(evidence.lengths)} was timed")
        shortest, longest = min(evidence.lengths), max(evidence.lengths)
        for length in (shortest, longest):
            if reason := _missing_rounds(evidence, self.of, length):
                return absent(self, reason)
        short, long = (_steps(evidence, self.of, length) for length in (shortest, longest))
        return measured(
            self,
            np.median(long) / np.median(short),
            n=min(len(short), len(long)),
            details={"of": self.of, "shortest": shortest, "longest": longest} | _batch(evidence),
        )


@dataclass(frozen=True, kw_only=True)
class DecodeRatio:
    """The rival's step time over the method's after the longest context: median of paired rounds."""

    NAME: ClassVar[str] = "decode_ratio"
    TIMED: ClassVar[bool] = True

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if not evidence.lengths:
            return absent(self, "no steps were timed")
        longest = max(evidence.lengths)
        if reason := _unpaired(evidence, longest):
            return absent(self, reason)
        ratios = _ratios(evidence, longest)
        return measured(
            self,
            np.median(ratios),
            n=len(ratios),
            samples=tuple(ratios.tolist()),
            details={"rounds": len(ratios), "length": longest} | _batch(evidence),
        )


@dataclass(frozen=True, kw_only=True)
class CrossoverLength:
    """Context length from which on the method's step is the faster one, interpolated between the measured lengths.

    The ratio rival/method is taken as a power of the length between two neighbours. Absent where the method is faster
    at every measured length, or not faster at the longest.
    """

    NAME: ClassVar[str] = "crossover_length"
    TIMED: ClassVar[bool] = True

    UNIT: ClassVar[str] = "tokens"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        lengths = sorted(evidence.lengths)
        if len(lengths) < 2:
            return absent(self, f"a crossover needs two context lengths, {len(lengths)} was timed")
        for length in lengths:
            if reason := _unpaired(evidence, length):
                return absent(self, reason)
        lead = np.array([np.log(np.median(_ratios(evidence, length))) for length in lengths])
        if lead[-1] <= 0:
            return absent(self, f"the method is not faster at the longest measured context, {lengths[-1]} tokens")
        if (lead > 0).all():
            return absent(self, f"the method is faster at every measured context, from {lengths[0]} tokens on")
        last = int(np.flatnonzero(lead <= 0)[-1])
        share = -lead[last] / (lead[last + 1] - lead[last])
        crossing = np.exp((1 - share) * np.log(lengths[last]) + share * np.log(lengths[last + 1]))
        return measured(
            self,
            crossing,
            n=min(len(_ratios(evidence, length)) for length in lengths),
            details={
                "after": lengths[last],
                "before": lengths[last + 1],
                "sign_changes": int((np.diff(lead > 0)).sum()),
            }
            | _batch(evidence),
        )


def _steps(evidence: Any, model: Model, length: int) -> np.ndarray:
    import numpy as np

    return np.asarray(evidence.milliseconds[model][length], dtype=np.float64)


def _ratios(evidence: Any, length: int) -> np.ndarray:
    """rival / method of each round."""
    ratios: np.ndarray = _steps(evidence, "rival", length) / _steps(evidence, "method", length)
    return ratios


def _missing_rounds(evidence: Any, model: Model, length: int) -> str | None:
    steps = evidence.milliseconds.get(model, {}).get(length, [])
    if reason := unusable(steps, f"timed steps of the {model} after {length} tokens"):
        return reason
    return None if min(steps) > 0 else f"a step of the {model} after {length} tokens took no measurable time"


def _unpaired(evidence: Any, length: int) -> str | None:
    for model in ("method", "rival"):
        if reason := _missing_rounds(evidence, model, length):
            return reason
    method, rival = (len(_steps(evidence, model, length)) for model in ("method", "rival"))
    return None if method == rival else f"{method} rounds of the method and {rival} of the rival cannot be paired"


def _batch(evidence: Any) -> dict[str, str | float | int]:
    return {"batch_size": evidence.batch_size} if hasattr(evidence, "batch_size") else {}
