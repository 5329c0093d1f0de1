"""The spike rate at which a spiking network stops costing less than its ANN twin, under a rule.

The twin has the same layers and weights, takes real values and runs once: ReLU (free here) in place of neurons. With every
layer's spikes scaled by a common factor s the network's energy is E(s) = c + b s + a s^2 under each of these rules (a is not
zero where spikes meet spikes), so the factor at which it equals the twin's, and with it the rate, has a closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from retable.bench.accountant import costs
from retable.bench.accountant.census import SPIKES, Beside, Census, Layer, Neurons, Operand, Synapses
from retable.bench.accountant.rules import Lemaire, LemairePiecewise, Literature, NeuroMC, Rule, SimpleMemory
from retable.bench.accountant.rules.model import Model

WITH_A_TWIN = (Literature, SimpleMemory, Lemaire, LemairePiecewise, NeuroMC)
"""Rules that price an ANN as well as a spiking network."""


@dataclass(frozen=True)
class Crossover:
    """`rate` and `measured` are spikes an input and step, over all layers that spikes enter.

    `ratio` is the network's energy over its twin's as measured. `rate` is None, with the reason, where no rate decides;
    0 where the network costs more even without a spike.
    """

    rule: str
    measured: float
    ratio: float
    rate: float | None
    reason: str = ""


def crossover(census: Census, rule: Rule) -> Crossover | str:
    """The crossover under a rule, or the sentence that says why there is none to speak of."""
    if not isinstance(rule, WITH_A_TWIN):
        return f"the rule {rule} has no price for an ANN"
    measured = input_rate(census)
    if measured is None:
        return "no spikes enter a layer of the model"
    energy = lambda one: _energy(one, rule)  # noqa: E731
    whole, of_twin = energy(census), energy(twin(census))
    if not measured:
        return "no neuron fired: a silent network has no rate to scale"
    silent, half = energy(scaled(census, 0)), energy(scaled(census, 0.5))
    found = Crossover(str(rule), measured, whole / of_twin, None)
    if math.isclose(whole, silent, rel_tol=1e-12):
        return replace(found, reason=f"spikes play no part under the rule {rule}: the ratio holds at every rate")
    if silent >= of_twin:
        return replace(found, rate=0.0)
    factor = _root(2 * (whole + silent - 2 * half), 4 * half - whole - 3 * silent, silent - of_twin)
    return replace(found, rate=factor * measured)


def input_rate(census: Census) -> float | None:
    """Spikes an input and step, over all layers that spikes enter; None where there are none."""
    spiking = [layer for layer in census.synapses() if _driven(layer)]
    elements = sum(layer.input.elements for layer in spiking)
    return sum(layer.input.spikes for layer in spiking) / elements if elements and census.spiking else None


def _root(a: float, b: float, c: float) -> float:
    """The positive s with a s^2 + b s + c = 0; c is below zero."""
    if abs(a) * 1e12 < abs(b):  # rounding
        return -c / b if b else math.inf
    return (-b + math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)


def _driven(layer: Synapses) -> bool:
    return layer.input.form in SPIKES and layer.other is None


def _energy(census: Census, rule: Rule) -> float:
    if isinstance(rule, Literature):
        return _operations(census, rule)
    assert isinstance(rule, Model)
    return rule.bill(census).term()


def _operations(census: Census, rule: Literature) -> float:
    """E_mac FLOP of real-valued layers + E_ac rate FLOP of the others, as the rule counts them."""
    prices, total = costs.table(rule.costs), 0.0
    for layer in census.synapses():
        driver = _driver(layer)
        if driver is None:
            total += prices["ac" if rule.all_ac else "mac"] * layer.whole
        else:
            total += prices["ac"] * layer.whole * driver.spikes / max(1, driver.elements)
    return total


def _driver(layer: Synapses) -> Operand | None:
    """The operand whose spikes drive a layer, None where real values do."""
    operands = [layer.input] if layer.other is None else [layer.input, layer.other]
    return next((operand for operand in operands if operand.form in SPIKES), None)


def twin(census: Census) -> Census:
    """The ANN of the same layers, one pass of real values."""
    layers: list[Layer] = []
    longest = max((census.steps(layer) for layer in census.synapses()), default=1.0)
    for layer in census.layers:
        if isinstance(layer, Synapses):
            layers.append(_once(layer, census.steps(layer)))
        elif isinstance(layer, Beside):
            steps = longest if layer.rows >= longest * census.samples else 1
            parts = {"elements": layer.elements / steps, "outputs": layer.outputs / steps, "rows": layer.rows / steps}
            calls = max(1, layer.calls / steps) if layer.calls > census.batches else layer.calls
            layers.append(replace(layer, **parts, calls=calls, spikes=None))  # type: ignore[arg-type]
    return replace(census, layers=tuple(layers))


def _once(layer: Synapses, steps: float) -> Synapses:
    def real(operand: Operand) -> Operand:
        return Operand("real", operand.elements / steps, operand.elements / steps)

    return replace(
        layer,
        input=real(layer.input),
        other=None if layer.other is None else real(layer.other),
        outputs=layer.outputs / steps,
        whole=layer.whole / steps,
        dense=layer.dense / steps,
        met_events=layer.dense / steps,
        met=0,
        calls=layer.calls * layer.steps / steps,
        steps_marked=1,
        neurons=None,
        patches=None,
    )


def uniform(census: Census, rate: float = 1.0) -> Census:
    """The same network if every input that spikes drive had this rate: what needs no training to know.

    Neurons fire at it too; products take padding as inside, since no spike has a place.
    """
    copies: dict[int, Neurons] = {}
    for neurons in census.neurons():
        copies[id(neurons)] = replace(neurons, events=neurons.updates * rate, spikes=neurons.updates * rate)

    def at_rate(operand: Operand) -> Operand:
        spikes = operand.elements * rate
        return replace(operand, events=spikes, spikes=spikes) if operand.form in SPIKES else operand

    layers: list[Layer] = []
    for layer in census.layers:
        if isinstance(layer, Neurons):
            layers.append(copies[id(layer)])
        elif isinstance(layer, Beside):
            layers.append(layer if layer.spikes is None else replace(layer, spikes=2 * layer.outputs * rate))
        else:
            operands = [operand for operand in (layer.input, layer.other) if operand is not None]
            met = layer.dense * rate ** sum(operand.form in SPIKES for operand in operands)
            layers.append(
                replace(
                    layer,
                    input=at_rate(layer.input),
                    other=None if layer.other is None else at_rate(layer.other),
                    met=met if _driver(layer) else 0,
                    met_events=met,
                    neurons=None if layer.neurons is None else copies[id(layer.neurons)],
                )
            )
    return replace(census, layers=tuple(layers))


def scaled(census: Census, factor: float) -> Census:
    """The same network with `factor` times as many spikes in every layer."""
    copies: dict[int, Neurons] = {}
    for neurons in census.neurons():
        copies[id(neurons)] = replace(neurons, events=neurons.events * factor, spikes=neurons.spikes * factor)

    def fewer(operand: Operand) -> Operand:
        known = operand.form in SPIKES
        return replace(operand, events=operand.events * factor, spikes=operand.spikes * factor) if known else operand

    layers: list[Layer] = []
    for layer in census.layers:
        if isinstance(layer, Neurons):
            layers.append(copies[id(layer)])
        elif isinstance(layer, Beside):
            layers.append(layer if layer.spikes is None else replace(layer, spikes=layer.spikes * factor))
        else:
            operands = [operand for operand in (layer.input, layer.other) if operand is not None]
            power = sum(operand.form in SPIKES for operand in operands)
            layers.append(
                replace(
                    layer,
                    input=fewer(layer.input),
                    other=None if layer.other is None else fewer(layer.other),
                    met=layer.met * factor**power,
                    met_events=layer.met_events * factor**power,
                    neurons=None if layer.neurons is None else copies[id(layer.neurons)],
                )
            )
    return replace(census, layers=tuple(layers))
