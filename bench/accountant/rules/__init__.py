"""Accounting rules by name, and figures that know theirs.

| rule | counts |
| --- | --- |
| `full` | every operator: synaptic MAC and AC, element-wise work, neurons, pooling, bytes |
| `literature` | E = E_mac FLOP of real-valued layers + E_ac sum_l rate_l T FLOP_l (arXiv 2209.15425, 2307.01694 and most others) |
| `literature-ac`, `literature-once` | the same with every operation at E_ac; with the first layer's MACs counted once |
| `syops` | what syops-counter 0.0.5 reports |
| `neurobench` | what NeuroBench 2.3.0 reports (arXiv 2304.04640) |
| `simple-memory` | operations and a price for each byte (SpikingJelly 2.0.0) |
| `lemaire`, `lemaire-authors` | Lemaire et al. (arXiv 2210.13107): by its equations; by the authors' code; SRAM a line through 13.2 pJ |
| `lemaire-piecewise` | the same with SRAM through 0 pJ (SpikingJelly 2.0.0) |
| `neuromc`, `neuromc-spikingjelly` | NeuroMC, a dense accelerator; as SpikingJelly 2.0.0 reads it |
| `fsvae` | additions and products as the code of FSVAE and PRIME counts them (arXiv 2110.00375, 2407.18625) |
| `prime-macro` | PRIME's macro of resistive memory (arXiv 2407.18625): its prices were not found |
| `spikesim`, `spikesim-event` | SpikeSim's crossbars; SpikingJelly 2.0.0's extension by events |
| `loihi` | Loihi's events (Davies et al. 2018, table 2) |
| `keras-spiking-DEVICE` | the table of keras-spiking 0.3.0 |
| `yan` | the quantised twin and where moving spikes costs more than moving its activations (arXiv 2409.08290); no total |
"""

from __future__ import annotations

from collections.abc import Sequence

from retable.bench.accountant.rules import keras_spiking
from retable.bench.accountant.rules.counted import (
    Fsvae,
    Full,
    Literature,
    LiteratureAllAC,
    LiteratureOnce,
    NeuroBench,
    Syops,
)
from retable.bench.accountant.rules.figure import Figure, Rule, RuleMismatchError
from retable.bench.accountant.rules.keras_spiking import KerasSpiking
from retable.bench.accountant.rules.lemaire import Lemaire, LemaireAuthors, LemairePiecewise
from retable.bench.accountant.rules.loihi import Loihi
from retable.bench.accountant.rules.model import Bill, Model
from retable.bench.accountant.rules.neuromc import NeuroMC, NeuroMCSpikingJelly
from retable.bench.accountant.rules.simple_memory import SimpleMemory
from retable.bench.accountant.rules.spikesim import PrimeMacro, SpikeSim, SpikeSimEvent
from retable.bench.accountant.rules.yan import Yan
from retable.bench.errors import BenchError, UnknownNameError, nearest

__all__ = [
    "RULES",
    "Bill",
    "Figure",
    "Fsvae",
    "Full",
    "KerasSpiking",
    "Lemaire",
    "LemaireAuthors",
    "LemairePiecewise",
    "Literature",
    "LiteratureAllAC",
    "LiteratureOnce",
    "Loihi",
    "Model",
    "NeuroBench",
    "NeuroMC",
    "NeuroMCSpikingJelly",
    "PrimeMacro",
    "Rule",
    "RuleMismatchError",
    "SimpleMemory",
    "SpikeSim",
    "SpikeSimEvent",
    "Syops",
    "Yan",
    "resolve",
]

_COUNTED: tuple[type[Rule], ...] = (Full, Literature, LiteratureAllAC, LiteratureOnce, Syops, NeuroBench, Fsvae)
_MODELS: tuple[type[Rule], ...] = (
    *(SimpleMemory, Lemaire, LemaireAuthors, LemairePiecewise, NeuroMC, NeuroMCSpikingJelly),
    *(SpikeSim, SpikeSimEvent, PrimeMacro, Loihi, *keras_spiking.ON_DEVICE, Yan),
)
RULES: dict[str, type[Rule]] = {rule.NAME: rule for rule in (*_COUNTED, *_MODELS)}


def resolve(rules: Sequence[str | Rule]) -> dict[str, Rule]:
    """Rules by name, from names (with the usual options) and rules; raises UnknownNameError, or BenchError for a name twice."""
    found: dict[str, Rule] = {}
    for rule in rules:
        if isinstance(rule, str):
            if rule not in RULES:
                raise UnknownNameError(f"unknown accounting rule {rule!r}{nearest(rule, list(RULES))}")
            rule = RULES[rule]()
        if rule.NAME in found:
            raise BenchError(f"rules names {rule.NAME!r} twice; an account holds each rule once")
        found[rule.NAME] = rule
    if not found:
        raise BenchError(f"rules is empty; it takes at least one of {', '.join(RULES)}")
    return found
