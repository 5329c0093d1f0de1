"""Rules that are read off operators (ours, the literature's) or off module calls (two packages, as they are)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from retable.bench.accountant import costs
from retable.bench.accountant.rules.figure import Rule


@dataclass(frozen=True)
class Full(Rule):
    """Ours, with nothing left out.

    A spike operand costs |v| accumulates for each synapse it meets, a zero none; a real operand costs its dense MACs (the
    MACs that a zero-skipping unit would do are the figure `effective`). Padding is no work. `fold_batch_norm` takes
    batch normalisation in evaluation mode as part of the weights before it, which costs nothing.
    """

    NAME: ClassVar[str] = "full"
    fold_batch_norm: bool = True
    costs: str = costs.DEFAULT


@dataclass(frozen=True)
class Literature(Rule):
    """SOP_l = rate_l T FLOP_l with rate = sum / numel of the spikes that enter layer l; real-valued layers at MAC.

    FLOP is the dense MAC count with padding; batch norm, biases, neurons and element-wise work are free, but for the mask
    of spike-driven attention. `first_layer_per_step` None takes the first layer as it was run; True and False count it T
    times or once, however it was run. `all_ac` prices every operation as an accumulate (as Spikformer's paper does).
    """

    NAME: ClassVar[str] = "literature"
    first_layer_per_step: bool | None = None
    all_ac: bool = False
    costs: str = costs.DEFAULT


@dataclass(frozen=True)
class LiteratureAllAC(Literature):
    """The same with every operation priced as an accumulate, real-valued layers too (arXiv 2209.15425, table 2)."""

    NAME: ClassVar[str] = "literature-ac"
    all_ac: bool = True


@dataclass(frozen=True)
class LiteratureOnce(Literature):
    """The same with the first layer's MACs counted once, however many steps repeat them."""

    NAME: ClassVar[str] = "literature-once"
    first_layer_per_step: bool | None = False


@dataclass(frozen=True)
class Syops(Rule):
    """syops-counter 0.0.5; its energy is 4.6 pJ a MAC and 0.9 pJ an AC."""

    NAME: ClassVar[str] = "syops"


@dataclass(frozen=True)
class NeuroBench(Rule):
    """NeuroBench 2.3.0; it reports no energy."""

    NAME: ClassVar[str] = "neurobench"


@dataclass(frozen=True)
class Fsvae(Rule):
    """FSVAE's own count, with its peculiarities; it names no energy."""

    NAME: ClassVar[str] = "fsvae"
