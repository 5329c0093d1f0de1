"""What a row's number can be before anything has run: the range of its metric, caps that the task sets, ties between rows.

A metric says it itself, as class attributes: `RANGE`, lowest and highest; `QUALITY`, whether a row can be dead by it;
`FOLLOWS`, of arithmetic of a row's parameters, from what. The tables below are of metrics that were measured before they
could say so: their sources are part of every key, and an attribute more would make all their numbers stale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from retable.bench.declare.params import build, build_metric
from retable.bench.suite import Claim, Entry, Suite

LARGE = 1e12
PERCENT, SHARE, POSITIVE, ANY = (0.0, 100.0), (0.0, 1.0), (1e-9, LARGE), (-LARGE, LARGE)
NEAR = 0.8
"""A radius beyond this share of the largest that can be certified asks for votes without a single dissent."""
RANGES = {
    "accuracy": PERCENT,
    "clean_accuracy": PERCENT,
    "robust_accuracy": PERCENT,
    "few_shot": PERCENT,
    "certified_accuracy_l2": PERCENT,
    "certified_accuracy_l1": PERCENT,
    "zero_shot": PERCENT,
    "zero_shot_official": PERCENT,
    "load_saving": (-LARGE, 100.0),
    "hole_gain": (-LARGE, 100.0),
    "exit_cost": (-100.0, 100.0),
    "exit_gain": (-100.0, 100.0),
    "exit_excess": (-100.0, LARGE),
    "noise_cost": (-100.0, 100.0),
    "glue": (-100.0, 100.0),
    "matthews": (-100.0, 100.0),
    "class_accuracy": SHARE,
    "map": SHARE,
    "map50": SHARE,
    "mos_proxy": (1.0, 5.0),
    "inception_score": (1.0, LARGE),
    "perplexity": (1.0, LARGE),
    "masking_failures": (0.0, 8.0),
    "separation_gain": ANY,
    "length_gap": (0.0, LARGE),
    "features_moved": (0.0, LARGE),
    "tensors_changed": (0.0, LARGE),
    "crossover_rate": (0.0, LARGE),
}
"""By metric; every other one can be any positive number."""
QUALITY = frozenset(
    {
        "accuracy",
        "accuracy_last_epoch",
        "clean_accuracy",
        "robust_accuracy",
        "robust_area",
        "class_accuracy",
        "few_shot",
        "zero_shot",
        "zero_shot_official",
        "glue",
        "map",
        "map50",
        "perplexity",
        "nll",
        "fd",
        "fid",
        "inception_score",
        "inpaint_error",
        "mel_l1",
        "mos_proxy",
    }
)
"""Metrics by which a row can be dead: no better than what has learned nothing. They leave this table when they are revised."""
FROM_PARAMETERS = {"ace": "the bits, steps and shares that the row itself sets"}
"""Metrics that are arithmetic of a method's parameters, by what they follow from."""
SHARED = {"spikeyolo-binary-steps": ("trained", ("spikes_per_sample", "acs", "spikes", "firing_rate"))}
"""Methods that take numbers over from a fitted method they build on: its role, and the metrics that are the same by construction."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """All that a row's number can be; `why` names what limits it further than its metric."""

    low: float
    high: float
    why: str = ""


def base(metric: str) -> str:
    """The name without its brackets."""
    return metric.partition("[")[0]


def tells_quality(metric: str) -> bool:
    """Whether a row can be dead by this metric."""
    return bool(_says(metric, "QUALITY", base(metric) in QUALITY))


def _says(metric: str, attribute: str, otherwise: Any) -> Any:
    return getattr(type(build_metric(metric)), attribute, otherwise)


def reach(entry: Entry, metric: str) -> Reach:
    """What the metric can be of this row."""
    if base(metric) == "crossover_length" and entry.task is not None:
        lengths = build("task", entry.task).lengths
        return Reach(low=min(lengths), high=max(lengths), why=f"it lies between the lengths that are timed, {lengths}")
    low, high = _says(metric, "RANGE", RANGES.get(base(metric), POSITIVE))
    return Reach(low=low, high=high)


def tie(claim: Claim, suite: Suite) -> str:
    """Why the numbers that a claim compares cannot move against each other, or the empty text."""
    metric, rows = base(claim.metric), [suite.entry(name) for name in claim.entries]
    if source := _says(rows[0].own(claim.metric), "FOLLOWS", FROM_PARAMETERS.get(metric, "")):
        return f"{claim.metric} follows from {source}"
    for row in rows:
        role, shared = SHARED.get(row.method.use, ("", ())) if row.method else ("", ())
        if role and metric in shared and any(other.method == row.method.needs[role] for other in rows if row.method):
            return f"{row.name} takes {claim.metric} over from the row it is compared with: it expands the same values"
    for index, row in enumerate(rows):
        for other in rows[index + 1 :]:
            if (row.method, row.dataset, row.task) == (other.method, other.dataset, other.task):
                return f"{row.name} and {other.name} are the same case"
    return cap(claim, rows)


def cap(claim: Claim, rows: list[Entry]) -> str:
    """Certificates end at a radius that the number of votes sets; near it they count votes, not robustness."""
    if base(claim.metric) != "certified_accuracy_l2":
        return ""
    radius = build_metric(claim.metric).radius
    for row in rows:
        largest = _largest_radius(row)
        if radius > NEAR * largest:
            return f"a radius of {radius:g} is at the cap of {row.name}, which cannot certify beyond {largest:.4g}"
    return ""


def _largest_radius(row: Entry) -> float:
    """sigma / sqrt(T) Phi^-1(alpha^(1/n)): what n equal votes certify (arXiv 1902.02918; T fresh draws in 2407.20099)."""
    if row.method is None or row.task is None:
        return math.inf
    method: Any = build("method", row.method)
    task: Any = build("task", row.task)
    sigma = task.sigma if task.sigma is not None else getattr(method, "sigma", 0.0)
    draws = getattr(method, "steps", 1) if getattr(method, "per_step", False) and task.sigma is None else 1
    return float(sigma / math.sqrt(draws) * NormalDist().inv_cdf(task.alpha ** (1 / task.n)))
