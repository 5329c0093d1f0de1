"""Values of a suite file by what they mean: texts on one line, quantities with units, numbers as printed, bounds."""

from __future__ import annotations

from typing import Any

from retable.bench.declare.printed import printed
from retable.bench.declare.shapes import ABSENT
from retable.bench.declare.strict_yaml import Node
from retable.bench.suite import Bound, Reported, Statistics, Tolerance

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
LEAST_EFFECT = 0.05
"""In standard deviations: what two and a half thousand seeds show."""


def nodes(own: dict[str, Node], key: str) -> list[Node]:
    return own[key].value if key in own and own[key].value is not ABSENT else []


def mapping(own: dict[str, Node], key: str) -> dict[str, Node]:
    return own[key].value if key in own else {}


def text(own: dict[str, Node], key: str) -> str:
    """A text on one line, empty where it is not given."""
    return " ".join(own[key].value.split()) if key in own else ""


def plain_tuple(node: Node) -> tuple[Any, ...]:
    return tuple(item.value for item in node.value)


def quantity(node: Node, units: dict[str, int]) -> float:
    digits = node.value.rstrip("abcdefghijklmnopqrstuvwxyzBGMT ")
    amount = float(digits) * units[node.value[len(digits) :].strip()]
    if not amount:
        raise node.error(f"{node.value!r} leaves nothing to run with")
    return amount


def reported(node: Node) -> Reported:
    """A number as the paper prints it."""
    if isinstance(node.value, str):
        return printed(node.text.strip())
    return Reported(value=float(node.value), text=node.text.strip())


def statistics(own: dict[str, Node]) -> Statistics:
    given = {key: share(own[key]) for key in ("alpha", "power") if key in own}
    limits = {"alpha": (0.0, 0.5), "power": (0.5, 1.0)}
    for key, value in given.items():
        low, high = limits[key]
        if not low < value < high:
            raise own[key].error(f"{key!r} must lie between {low:.0%} and {high:.0%}, not at {value:.4%}")
    effect = own["effect"].value if "effect" in own and own["effect"].value is not ABSENT else None
    if effect is not None and effect < LEAST_EFFECT:
        raise own["effect"].error(f"an 'effect' below {LEAST_EFFECT:g} standard deviations needs thousands of seeds")
    return Statistics(**given, effect=None if effect is None else float(effect))


def share(node: Node) -> float:
    return float(node.value.rstrip("% ")) / 100 if isinstance(node.value, str) else float(node.value)


def tolerance(node: Node) -> Tolerance:
    return Tolerance(relative=share(node)) if isinstance(node.value, str) else Tolerance(absolute=float(node.value))


def bound(node: Node) -> Bound:
    own = node.value
    if "equals" not in own:
        if "tolerance" in own:
            raise own["tolerance"].error("a tolerance goes with 'equals' only")
        return Bound(**{key: float(own[key].value) for key in ("at_least", "at_most") if key in own})
    equals = float(own["equals"].value)
    reach = own["tolerance"].value if "tolerance" in own else 0
    if isinstance(reach, str):
        reach = abs(equals) * float(reach.rstrip("% ")) / 100
    return Bound(equals=equals, tolerance=float(reach))
