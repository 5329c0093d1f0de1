"""Energy of convolutions on crossbars of memristors: prices of a macro as data (`macros.yaml`), each with its source.

    activations = sum over convolutions of ceil(C_in / X) ceil(C_out / X) output positions, a step and sample
    E = h_tree + fetch + neuron + tile_buffer + q k^2 read + q^2 (converter + multiplexer) + q (16 subtract + accumulate)

X is the side of a crossbar, q = X / `columns_a_converter`. This is SpikeSim's model (arXiv 2210.12899): a crossbar is read at
every step whatever its input, so spikes save nothing and steps do. A price that was not found stays so, and the macro then has
no energy. Modules go by the name of their class; what is no convolution has no price in the model and is named.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from retable.bench.accountant.costs import PICOJOULES_A_MILLIJOULE
from retable.bench.accountant.report import ENERGY
from retable.bench.accountant.rules import Figure, Memristor, Rule
from retable.bench.declare import strict_yaml
from retable.bench.errors import UnknownNameError, nearest

NOT_FOUND = "not found"
PRICES = ("h_tree", "fetch", "neuron", "tile_buffer", "read", "converter", "multiplexer", "subtract", "accumulate")
PRICED, OTHERS = ("Conv2d",), ("Linear", "ConvTranspose2d")


@dataclass(frozen=True)
class Macro:
    """Prices in pJ; None is not found. `grade` says where they are from: silicon, simulated."""

    name: str
    source: str
    grade: str
    crossbar: int | None
    columns_a_converter: int | None
    pJ: dict[str, float | None]

    @property
    def unknown(self) -> list[str]:
        """What nobody stated."""
        sizes = {"crossbar": self.crossbar, "columns_a_converter": self.columns_a_converter}
        return [name for name, value in {**sizes, **self.pJ}.items() if value is None]

    def activation(self, kernel: int) -> float:
        """pJ of one crossbar at one position and step."""
        assert self.crossbar is not None
        assert self.columns_a_converter is not None
        p = {name: price or 0.0 for name, price in self.pJ.items()}
        q = self.crossbar / self.columns_a_converter
        shared = p["h_tree"] + p["fetch"] + p["neuron"] + p["tile_buffer"]
        converted = q**2 * (p["converter"] + p["multiplexer"])
        return shared + q * kernel**2 * p["read"] + converted + q * (16 * p["subtract"] + p["accumulate"])


@cache
def macros() -> dict[str, Macro]:
    """All macros by name."""
    stored = strict_yaml.load(Path(__file__).with_name("macros.yaml")).plain()

    def known(value: Any) -> Any:
        return None if value == NOT_FOUND else value

    return {
        name: Macro(
            name=name,
            source=entry["source"],
            grade=entry["grade"],
            crossbar=known(entry["crossbar"]),
            columns_a_converter=known(entry["columns_a_converter"]),
            pJ={price: known(entry["pJ"][price]) for price in PRICES},
        )
        for name, entry in stored.items()
    }


def macro(name: str) -> Macro:
    """The macro of that name; raises UnknownNameError."""
    if name not in macros():
        raise UnknownNameError(f"unknown macro {name!r}{nearest(name, list(macros()))}")
    return macros()[name]


class MemristorCounter:
    """Positions of convolutions by their sizes, and synapses of what has no price."""

    def __init__(self, model: nn.Module) -> None:
        self._positions: Counter[tuple[int, int, int]] = Counter()
        self._without: Counter[str] = Counter()

    def finished(self, module: nn.Module, inputs: tuple[Any, ...], output: Any, fired: bool) -> None:
        """One call of a module."""
        weight, kind = getattr(module, "weight", None), type(module).__name__
        if not isinstance(weight, Tensor) or not isinstance(output, Tensor):
            return
        if kind in PRICED:
            c_out, c_in, kernel, _ = weight.shape
            self._positions[c_in, c_out, kernel] += output.numel() // c_out
        elif kind in OTHERS:
            self._without[kind] += len(inputs[0]) * weight.numel()

    def figures(self, rule: Rule, samples: int) -> dict[str, Figure]:
        assert isinstance(rule, Memristor)
        priced = macro(rule.macro)
        if priced.unknown:
            return {}
        X = priced.crossbar or 1
        energy = activations = 0.0
        for (c_in, c_out, kernel), positions in self._positions.items():
            count = math.ceil(c_in / X) * math.ceil(c_out / X) * positions
            activations += count
            energy += count * priced.activation(kernel)
        without = tuple((f"synapses of {kind}", n / samples) for kind, n in self._without.items())
        return {
            "activations": Figure(activations / samples, "activations/sample", rule),
            "energy": Figure(energy / PICOJOULES_A_MILLIJOULE / samples, ENERGY, rule, priced.name, without),
        }

    def details(self, rule: Rule, samples: int) -> dict[str, Any]:
        """Why a macro has no energy."""
        assert isinstance(rule, Memristor)
        priced = macro(rule.macro)
        if not priced.unknown:
            return {"source": priced.source, "grade": priced.grade}
        why = f"the macro {priced.name} has no energy, its {', '.join(priced.unknown)} were not found: {priced.source}"
        return {"energy": {"absent": why}}
