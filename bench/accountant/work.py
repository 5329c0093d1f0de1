"""What an operator did: operations by kind, as every rule needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass
class Work:
    """Sums over calls. A synapse is one product of an activation with a weight or with another activation.

    Synapses: `dense` all of them but those with padding; `effective` those whose activations are not zero; `mac` the dense
    ones of real operands; `ac` the accumulates of spike operands, |v| for a spike of value v. Element by element: `add`,
    `mul`, `compare`, and `special` (exponential, logarithm, root, division, trigonometric). `read` and `written` are bytes.
    For the literature's rule: `flop_mac` dense MACs with padding of real-valued operators, `flop_spike` those of operators
    that spikes enter, `sop` the latter times the rate. `norm_add`, `norm_mul` are batch normalisation that folds.
    """

    calls: int = 0
    dense: int = 0
    effective: int = 0
    mac: int = 0
    ac: int = 0
    add: int = 0
    mul: int = 0
    compare: int = 0
    special: int = 0
    read: int = 0
    written: int = 0
    flop_mac: int = 0
    flop_spike: int = 0
    sop: float = 0.0
    norm_add: int = 0
    norm_mul: int = 0
    ac_by_step: tuple[int, ...] | None = ()
    """`ac` by time step; None where the steps of a call were not known, () while there are none."""

    def plus(self, **counts: int) -> Work:
        """The same with so many more of some kinds."""
        self += Work(**counts)  # type: ignore[arg-type]
        return self

    def __iadd__(self, other: Work) -> Work:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ac_by_step = _by_step(self, other)
        return self


_SUMS = tuple(field.name for field in fields(Work) if field.name != "ac_by_step")


def _by_step(mine: Work, other: Work) -> tuple[int, ...] | None:
    a, b = mine.ac_by_step, other.ac_by_step
    if a is None or b is None:
        return None
    if not a or not b:
        return a or b
    return tuple(x + y for x, y in zip(a, b, strict=True)) if len(a) == len(b) else None


def steps(values: Iterable[float]) -> tuple[int, ...] | None:
    """Counts by step; one step is not knowing them."""
    counts = tuple(round(value) for value in values)
    return counts if len(counts) > 1 else None
