"""Whether each claim is as strong as it says, and weaker than the one that it stands beside."""

from __future__ import annotations

from collections.abc import Sequence

from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import nearest
from retable.bench.suite import Claim

RANK = {"property": 3, "number": 3, "size": 2, "direction": 1}
"""What says more has the higher rank."""


def check_strengths(claims: Sequence[Claim], nodes: Sequence[Node]) -> None:
    """Raises DeclarationError for a strength that the predicate does not have, and for a link that does not weaken."""
    named = {claim.name: claim for claim in claims}
    for claim, node in zip(claims, nodes, strict=True):
        own = node.value
        if problem := _beyond(claim):
            raise own.get("strength", node).error(f"claim {claim.name!r}: {problem}")
        if not claim.weakens:
            if claim.because:
                raise own["because"].error(f"claim {claim.name!r} has 'because', but weakens no other")
            continue
        whole = named.get(claim.weakens)
        if whole is None or whole is claim:
            raise own["weakens"].error(
                f"no other claim is called {claim.weakens!r}{nearest(claim.weakens, list(named))}"
            )
        if not claim.because:
            raise node.error(f"claim {claim.name!r} weakens {whole.name!r} and needs its reason: 'because'")
        if RANK[claim.strength] > RANK[whole.strength]:
            raise own["weakens"].error(
                f"claim {claim.name!r} is a {claim.strength} and cannot weaken {whole.name!r}, a {whole.strength}"
            )


def _beyond(claim: Claim) -> str:
    """Why the predicate is not of the strength stated, or the empty text."""
    if claim.strength == "number" and (claim.bound is None or claim.bound.equals is None):
        return "a 'number' needs 'equals', the paper's own figure"
    if claim.bound is None and claim.strength == "size":
        return "an ordering has no size; it is a 'direction'"
    if claim.strength == "direction" and claim.bound is not None and claim.bound.equals is not None:
        return "a 'direction' has no value to equal"
    return ""
