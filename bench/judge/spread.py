"""Spread: the three reasons why a number is not known exactly, kept apart because more effort at one leaves the others.

Between seeds: what another seed would have given (more repetitions help). Sampling: what other test samples would have
given to the same models (more test data help). Non-determinism: what the same seed gives when it runs again.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean, stdev
from typing import Any

from retable.bench.record import Measurement, Record
from retable.bench.suite import Suite

MULTIPLES = (1.0, 100.0)
"""A metric over samples is their mean, or their mean in per cent; a perplexity is the exponential of it."""
LARGEST_LOG = 700.0
LEAST_SHARED = 2
"""Samples of which a number can be a share; of one it is only 0 or 1."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of one metric of one row, in the metric's unit; None is what is not known.

    `seeds` is the standard deviation between repetitions, `sampling` the standard error of one repetition for the size of
    its test set, `repeats` the largest difference between runs of one seed (a certificate's), relative to the number.
    """

    mean: float
    n: int
    seeds: float | None
    sampling: float | None
    repeats: float | None


def spread(found: Sequence[Measurement], repeats: float | None = None) -> Spread | None:
    """What the repetitions of one row say of one metric; None where none of them has a number."""
    values = [measured.value for measured in found if measured.value is not None]
    if not values:
        return None
    exact = all(measured.exact for measured in found)
    errors = [sampling_error(measured) for measured in found if measured.value is not None]
    known = [error for error in errors if error is not None]
    return Spread(
        mean=fmean(values),
        n=len(values),
        seeds=stdev(values) if len(values) > 1 else 0.0 if exact else None,
        sampling=math.sqrt(fmean(error**2 for error in known)) if len(known) == len(errors) else None,
        repeats=repeats,
    )


def sampling_error(measured: Measurement) -> float | None:
    """Standard error of one number for its finite test set: the metric's own, or that of a mean over its samples.

    None for what is neither: of a distance between distributions the samples do not tell it.
    """
    if measured.value is None:
        return None
    if measured.exact:
        return 0.0
    samples = measured.samples
    if samples is not None and len(samples) > 1:
        mean = fmean(samples)
        for multiple in MULTIPLES:
            if math.isclose(multiple * mean, measured.value, rel_tol=1e-9, abs_tol=1e-12):
                return multiple * stdev(samples) / math.sqrt(len(samples))
        if mean < LARGEST_LOG and math.isclose(math.exp(mean), measured.value, rel_tol=1e-9):
            return measured.value * stdev(samples) / math.sqrt(len(samples))  # the delta method
    stated = measured.details.get("standard_error")
    return float(stated) if isinstance(stated, int | float) else None


def cautious_error(found: Sequence[Measurement]) -> float:
    """Standard error that all repetitions of one row share, since their test set is the same; 0 where none is known.

    That of a share of n samples keeps a width at 0 and at 1, where its own samples do not differ (Agresti and Coull:
    two hits and two misses more).
    """
    shares = [_share(measured) for measured in found]
    if all(share is not None for share in shares) and any(
        measured.unit == "%" or share not in (0, 1) for measured, share in zip(found, shares, strict=True)
    ):
        errors = [_share_error(measured, share or 0.0) for measured, share in zip(found, shares, strict=True)]
    else:
        errors = [sampling_error(measured) or 0.0 for measured in found]
    return math.sqrt(fmean(error**2 for error in errors)) if errors else 0.0


def _share(measured: Measurement) -> float | None:
    """None unless the number is so many of n samples: a whole number of n-ths, or of n-ths in per cent.

    Of a number without a unit 0 and 1 alone do not tell a share from a count.
    """
    n = measured.n or len(measured.samples or ())
    if measured.value is None or measured.exact or n < LEAST_SHARED:
        return None
    share = measured.value / (100.0 if measured.unit == "%" else 1.0)
    whole = math.isclose(share * n, round(share * n), rel_tol=1e-9, abs_tol=1e-9)
    return share if 0 <= share <= 1 and whole else None


def _share_error(measured: Measurement, share: float) -> float:
    n = measured.n or len(measured.samples or ())
    chance = (share * n + 2) / (n + 4)
    steps = 0.5 / n  # a share moves by whole samples
    return (100.0 if measured.unit == "%" else 1.0) * (math.sqrt(chance * (1 - chance) / n) + steps)


def of_records(records: Sequence[Record], certificates: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """By metric, for the repetitions of one row; `certificates` as the store keeps them."""
    repeated: dict[str, Mapping[str, float]] = {
        certificate["key"]: certificate["differences"]
        for certificate in certificates
        if certificate["kind"] == "repeat"
    }
    found: dict[str, Spread] = {}
    for metric in dict.fromkeys(name for record in records for name in record.metrics):
        measured = [record.metrics[metric] for record in records if metric in record.metrics]
        again = [repeated[record.key][metric] for record in records if metric in repeated.get(record.key, {})]
        if (one := spread(measured, max(again) if again else None)) is not None:
            found[metric] = one
    return found


def spreads_csv(
    suite: Suite, results: Mapping[tuple[str, int], Record], certificates: Sequence[Mapping[str, Any]]
) -> str:
    """One line a number: mean, seeds, and the three spreads; what is not known is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["entry", "metric", "mean", "n", "between_seeds", "sampling_error", "between_runs_relative"])
    for entry in suite.entries:
        records = [results[entry.name, n] for n in entry.repetitions if (entry.name, n) in results]
        for metric, one in of_records(records, certificates).items():
            kinds = ("" if kind is None else kind for kind in (one.seeds, one.sampling, one.repeats))
            writer.writerow([entry.name, metric, one.mean, one.n, *kinds])
    return text.getvalue()


def describe(name: str, one: Spread) -> str:
    """One line for `bench show`."""

    def told(value: float | None, why: str) -> str:
        return why if value is None else f"{value:.3g}"

    seeds = told(one.seeds, "unknown (one seed)")
    sampling = told(one.sampling, "unknown (the metric is no mean over samples)")
    repeats = "unknown (see `bench run --repeat 2`)" if one.repeats is None else f"{one.repeats:.2g} of the number"
    repeats = "none" if one.repeats == 0 else repeats
    return f"{name}: between seeds {seeds}; sampling {sampling}; between runs of one seed {repeats}"
