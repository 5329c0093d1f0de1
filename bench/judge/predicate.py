"""A claim's predicate in words, and what it says of an estimate: what stands beside every verdict."""

from __future__ import annotations

from retable.bench.suite import Bound, Claim

_SIGNS = {"ratio": " / ", "difference": " - "}


def predicate(claim: Claim) -> str:
    """`accuracy of a / of b >= 0.92`: what is compared with what, as the judge does it."""
    if claim.kind == "ordering":
        return f"{claim.metric}: {' < '.join(claim.entries)}"
    if claim.kind == "mean":
        return f"mean {claim.metric} of {', '.join(claim.entries)} {bounded(claim.bound)}"
    if claim.kind == "correlation":
        return f"correlation of {claim.metric} {_with(claim)}"
    rows = _SIGNS.get(claim.kind, " ").join(f"of {name}" for name in claim.entries)
    return f"{claim.metric} {rows} {bounded(claim.bound)}"


def compared(claim: Claim) -> str:
    """The predicate of a comparison without what is measured: `a < b`, `a / b >= 3`."""
    if claim.kind == "ordering":
        return " < ".join(claim.entries)
    if claim.kind == "correlation":
        return _with(claim)
    return f"{_SIGNS.get(claim.kind, ' ').join(claim.entries)} {bounded(claim.bound)}"


def _with(claim: Claim) -> str:
    return f"with {'log ' * claim.log}{claim.against} over {', '.join(claim.entries)} {bounded(claim.bound)}"


def bounded(bound: Bound | None) -> str:
    """`= 12.9 ± 0.05`, `>= 3`, `<= 3`."""
    if bound is None:
        return ""
    if bound.equals is not None:
        return f"= {bound.equals:.10g}{f' ± {bound.tolerance:.4g}' if bound.tolerance else ''}"
    return f">= {bound.at_least:.10g}" if bound.at_least is not None else f"<= {bound.at_most:.10g}"


def statement(claim: Claim) -> str:
    """All that a claim says, on one line: what its digest is of. How strong that is called is no part of it."""
    seeds = f"{claim.min_seeds} seed{'s' * (claim.min_seeds != 1)} at least"
    beside = f"; not of {claim.control}" if claim.control else ""
    return f"{claim.text} [{predicate(claim)}{beside}; {seeds}; at {', '.join(claim.profiles)}]"
