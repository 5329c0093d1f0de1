"""Where a spiking layer stops winning: the closed forms of the field's layers, and networks as they run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from retable.bench.accountant import Account, Accountant
from retable.bench.accountant.census import Census, Geometry, Neurons, Operand, Synapses
from retable.bench.accountant.crossover import Crossover, crossover, scaled, twin
from retable.bench.accountant.rules import RULES, Rule
from retable.models.spiking.neurons import LIF

RATE = 0.125
LINEAR = Geometry("linear", 512, 512, weights=512 * 512, bias=512)
CONVOLUTION = Geometry("convolution", 64, 64, (3, 3), (1, 1), weights=64 * 64 * 9, bias=64)


def layer_of(geometry: Geometry, positions: int, steps: int) -> Census:
    """A biased layer with LIF neurons that fire as often as their inputs, padding taken as inside."""
    inputs, outputs = (n * positions * steps for n in (geometry.channels_in, geometry.channels_out))
    products = outputs * geometry.channels_in * max(1, geometry.taps)
    layer = Synapses(
        *("layer", "aten", geometry),
        input=Operand("binary", inputs, inputs * RATE, inputs * RATE),
        calls=1,
        outputs=outputs,
        whole=products,
        dense=products,
        met_events=products * RATE,
        met=products * RATE,
        steps_marked=steps,
    )
    fired = outputs * RATE
    layer.neurons = Neurons("act", True, True, steps=steps, calls=1, updates=outputs, events=fired, spikes=fired)
    layer.neurons.source, layer.neurons.direct = layer, True
    return Census((layer, layer.neurons), samples=1)


@pytest.mark.parametrize(
    ("name", "geometry", "positions", "steps", "rate"),
    [
        *[("literature", g, n, T, 4.6 / 0.9 / T) for g, n in ((LINEAR, 1), (CONVOLUTION, 1024)) for T in (1, 4)],
        *[("simple-memory", CONVOLUTION, 1024, T, r) for T, r in ((1, 1.033), (4, 0.254))],
        *[("simple-memory", LINEAR, 1, T, r) for T, r in ((1, 1.033), (4, 0.254))],
        *[("lemaire-piecewise", CONVOLUTION, 1024, T, r) for T, r in ((1, 0.666), (4, 0.165))],
        *[("lemaire-piecewise", LINEAR, 1, T, r) for T, r in ((1, 0.981), (4, 0.244))],
        *[("lemaire-authors", CONVOLUTION, 1024, T, r) for T, r in ((1, 0.664), (4, 0.165))],
        *[("lemaire-authors", LINEAR, 1, T, r) for T, r in ((1, 0.821), (4, 0.205))],
    ],
)
def test_the_crossover_of_one_layer_is_its_closed_form(
    name: str, geometry: Geometry, positions: int, steps: int, rate: float
) -> None:
    found = crossover(layer_of(geometry, positions, steps), RULES[name]())
    assert isinstance(found, Crossover)
    assert found.rate == pytest.approx(rate, abs=6e-4)
    assert found.measured == pytest.approx(RATE)
    assert (found.ratio < 1) == (found.measured < found.rate)


@pytest.mark.parametrize(
    ("geometry", "positions", "steps", "ratio"),
    [(CONVOLUTION, 1024, 1, 0.575), (CONVOLUTION, 1024, 4, 2.30), (LINEAR, 1, 1, 0.862), (LINEAR, 1, 4, 3.45)],
)
def test_a_dense_accelerator_has_a_ratio_and_no_crossover(
    geometry: Geometry, positions: int, steps: int, ratio: float
) -> None:
    census = layer_of(geometry, positions, steps)
    layer = next(census.synapses())
    layer.calls, layer.steps_marked = steps, 1  # a call a step, each of which reads all weights
    assert layer.neurons is not None
    layer.neurons.calls, layer.neurons.steps = steps, 1
    found = crossover(census, RULES["neuromc-spikingjelly"]())
    assert isinstance(found, Crossover)
    assert found.rate is None
    assert "at every rate" in found.reason
    assert found.ratio == pytest.approx(ratio, rel=4e-3)


class Net(nn.Module):
    """Real images once, T equal steps, a convolution, attention of spikes, and a read-out."""

    def __init__(self, T: int = 4, threshold: float = 0.4) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.T = T
        self.conv1, self.act1 = nn.Conv2d(2, 4, 3, padding=1), LIF(threshold=threshold)
        self.conv2, self.act2 = nn.Conv2d(4, 6, 3, padding=1), LIF(threshold=threshold)
        self.q, self.actq = nn.Linear(6, 6), LIF(threshold=threshold / 4)
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        s = self.act1(self.conv1(x).expand(self.T, -1, -1, -1, -1))
        s = self.act2(self.conv2(s.flatten(0, 1)).unflatten(0, (self.T, -1))).flatten(3).mT
        q = self.actq(self.q(s))
        return self.head((q.mT @ s).flatten(2)).mean(0)


def account(net: nn.Module, *rules: str | Rule) -> Account:
    x = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(6))
    with torch.no_grad(), Accountant(net, rules=rules) as accountant:
        net(x)
    return accountant.result(samples=2)


@pytest.mark.parametrize("rule", ["literature", "simple-memory", "lemaire", "lemaire-piecewise"])
def test_at_the_crossover_a_network_costs_what_its_twin_does(rule: str) -> None:
    found = account(Net(), "literature", "simple-memory", "lemaire", "lemaire-piecewise")
    assert found.census is not None
    at = crossover(found.census, RULES[rule]())
    assert isinstance(at, Crossover)
    assert at.rate
    there = crossover(scaled(found.census, at.rate / at.measured), RULES[rule]())
    assert isinstance(there, Crossover)
    assert there.ratio == pytest.approx(1)
    assert there.rate == pytest.approx(at.rate)


def test_the_literature_s_energy_is_that_of_its_rule() -> None:
    found = account(Net(), "literature", "simple-memory")
    assert found.census is not None
    at = crossover(found.census, RULES["literature"]())
    assert isinstance(at, Crossover)
    dense = sum(layer.whole for layer in twin(found.census).synapses())
    of_twin = 4.6e-9 * dense / found.samples
    assert at.ratio == pytest.approx(found.figure("literature", "energy").value / of_twin)


def test_the_twin_is_the_network_of_one_step() -> None:
    four, one = (account(Net(T), "simple-memory").census for T in (4, 1))
    assert four is not None
    assert one is not None
    sizes = lambda census: [(s.layer, s.whole, s.outputs, s.input.elements, s.calls) for s in twin(census).synapses()]  # noqa: E731
    assert sizes(four) == sizes(one)
    assert not twin(four).spiking
    assert {s.input.form for s in twin(four).synapses()} == {"real"}


def test_what_has_no_crossover_says_why() -> None:
    census = layer_of(LINEAR, 1, 4)
    assert "no price for an ANN" in str(crossover(census, RULES["loihi"]()))
    silent = account(Net(threshold=1e6), "simple-memory").census
    assert silent is not None
    assert "no neuron fired" in str(crossover(silent, RULES["simple-memory"]()))
    ann = replace(census, layers=(replace(next(census.synapses()), input=Operand("real", 4.0, 4.0), neurons=None),))
    assert "no spikes enter" in str(crossover(ann, RULES["simple-memory"]()))


def test_a_network_that_costs_more_when_silent_never_wins() -> None:
    census = layer_of(replace(LINEAR, channels_in=1, weights=512), 1, 64)
    found = crossover(census, RULES["simple-memory"]())
    assert isinstance(found, Crossover)
    assert found.rate == 0
    assert found.ratio > 1
