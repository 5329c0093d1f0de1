"""What a post-training pipeline does, without torch: suites check these values before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Pair = Literal["qkv", "out", "fc1", "qkt"]
Weights = Literal["uniform", "ternary", "binary"]
Channels = Literal["saliency", "random"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Widths, neurons, and how weights are found. 16 bits leave weights or activations as they are.

    Activations: `steps` T (a power of two) for the share 1 - `low_p` of channels, by `channels`; `low_p` 1 is one step for
    all. Weights: a column is salient for `weight_salient` of them (`by_element`: of all elements) and gets `weight_steps`
    merged steps; with `salient_bits` that many bits instead. `ternary` and `binary` weights have no `wbits`.
    Before: `let` are the pairs that the equivalent transformation scales, from max|x|^alpha / max|W|^(1 - alpha); `lwc`
    clips weights by learned shares. Both learn for `epochs`; `aug_loss` adds the error against what the full-precision layer
    makes of the quantised inputs. `parameters` is a published `omni_parameters.pth` below $BENCH_DATA, taken instead of
    learning. `gptq` rounds column by column with second-order corrections.
    `protocol` `official` takes a key's range over the sequence, `corrected` over the token. `layers` quantises only that
    many of the first layers; `samples` windows of `window` tokens calibrate.
    """

    wbits: int = 4
    abits: int = 16
    weights: Weights = "uniform"
    group_size: int | None = None
    steps: int = 1
    low_p: float = 1.0
    channels: Channels = "saliency"
    weight_salient: float = 0.0
    weight_steps: int = 1
    salient_bits: int | None = None
    by_element: bool = False
    gptq: bool = False
    let: tuple[Pair, ...] = ()
    alpha: float = 0.75
    lwc: bool = False
    epochs: int = 0
    let_lr: float = 1e-3
    lwc_lr: float = 1e-2
    aug_loss: bool = False
    parameters: str | None = None
    protocol: Literal["official", "corrected"] = "official"
    layers: int | None = None
    samples: int = 16
    window: int = 128

    def __post_init__(self) -> None:
        for name in ("wbits", "abits"):
            if not 2 <= getattr(self, name) <= 16:
                raise ValueError(f"`{name}` must lie between 2 and 16, not be {getattr(self, name)}")
        for name in ("steps", "weight_steps"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"`{name}` must be a power of two, not {value}")
        if self.abits < 16 and self.abits + max(self.addbit, 1) > 16:
            raise ValueError(f"`abits` {self.abits} with `steps` {self.steps} needs more than 16 bits")
        for name, low in (("low_p", 0), ("weight_salient", 0), ("alpha", 0)):
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must lie between 0 and 1, not be {getattr(self, name)}")
        for name in ("samples", "window"):
            if getattr(self, name) < (1 if name == "samples" else 2):
                raise ValueError(
                    f"`{name}` must be at least {1 if name == 'samples' else 2}, not {getattr(self, name)}"
                )
        for name in ("epochs", "let_lr", "lwc_lr"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0, not {getattr(self, name)}")
        if self.layers is not None and self.layers < 1:
            raise ValueError(f"`layers` must be at least 1, not {self.layers}")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if (self.steps > 1) != (self.low_p < 1):
            raise ValueError("`steps` above 1 and `low_p` below 1 go together: both say that some channels are salient")
        if (self.weight_steps > 1 or self.salient_bits is not None) != (self.weight_salient > 0):
            raise ValueError("`weight_salient` above 0 needs `weight_steps` or `salient_bits`, and they need it")
        if self.weights != "uniform" and (self.lwc or self.group_size):
            raise ValueError(f"{self.weights} weights take neither `lwc` nor `group_size`")
        if self.group_size and (self.gptq or self.weight_salient):
            raise ValueError("`group_size` goes with rounding to nearest and no salient weights")
        if self.epochs and not (self.let or self.lwc):
            raise ValueError("`epochs` has nothing to learn without `let` or `lwc`")
        if self.parameters is not None and (self.epochs or not (self.let or self.lwc)):
            raise ValueError("`parameters` replace learning: they go with `let` or `lwc` and with `epochs` 0")
        if self.aug_loss and not self.epochs:
            raise ValueError("`aug_loss` has no effect without `epochs`")
        if self.gptq and (self.let or self.lwc):
            raise ValueError("`gptq` finds the weights itself: it goes with neither `let` nor `lwc`")

    @property
    def addbit(self) -> int:
        """log2 T of the activations."""
        return self.steps.bit_length() - 1
