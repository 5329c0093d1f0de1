"""Synapses that a mask takes away, FSVAE's own count, and prices that were not found: all against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.bench.accountant import Accountant, costs
from retable.bench.errors import BenchError
from retable.models.prime.config import CLASSIFICATION, CONV_NEURON, Array, Convolution
from retable.models.prime.network import Network
from retable.models.prime.neurons import Fire
from retable.models.prime.topology import Conv2d, ConvTranspose2d, Linear
from retable.models.vision.layers import each_step


class Net(nn.Module):
    """Neurons, then one layer over time."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.fire, self.layer = Fire(CONV_NEURON), layer

    def forward(self, x_TBC: Tensor) -> Tensor:
        s = self.fire(x_TBC)
        return each_step(s.flatten(2) if isinstance(self.layer, Linear) else s, self.layer)


def counted(net: nn.Module, x: Tensor, samples: int, rules: Any = ("full", "literature")) -> Any:
    with torch.no_grad(), Accountant(net, rules=rules) as accountant:
        net(x)
    return accountant.result(samples=samples)


def pairs(layer: Any, spikes_TB: Tensor) -> tuple[list[float], float]:
    """(spike, synapse) pairs by step, and all pairs of a position and a synapse that is there."""
    mask = layer.mask()
    run: Any = {
        Linear: lambda s, w: F.linear(s.flatten(1), w),
        Conv2d: lambda s, w: F.conv2d(s, w, None, layer.stride, layer.padding) if isinstance(layer, Conv2d) else None,
        ConvTranspose2d: lambda s, w: F.conv_transpose2d(s, w, None, layer.stride, layer.padding, layer.stride - 1),
    }[type(layer)]
    by_step = [float(run(s, mask).sum()) for s in spikes_TB]
    dense = float(run(torch.ones_like(spikes_TB[0]), mask).sum()) * len(spikes_TB)
    return by_step, dense


@given(
    kind=st.sampled_from(["linear", "conv", "transposed"]),
    sparsity=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 50),
)
@settings(deadline=None, max_examples=25)
def test_only_synapses_that_are_there_cost(kind: str, sparsity: float, seed: int) -> None:
    torch.manual_seed(seed)
    array = replace(CLASSIFICATION, sparsity=sparsity)
    layer: Any = {
        "linear": lambda: Linear(array, 2 * 5 * 5, 7, bias=False),
        "conv": lambda: Conv2d(array, 2, 3, 3, stride=2, padding=1, bias=False),
        "transposed": lambda: ConvTranspose2d(array, 2, 3, stride=2),
    }[kind]()
    net, x = Net(layer), torch.randn(4, 3, 2, 5, 5)
    by_step, dense = pairs(layer, net.fire(x))
    account = counted(net, x, samples=3)
    rows = [row.work for row in account.rows if row.layer == "layer"]
    assert sum(work.ac for work in rows) == sum(by_step)
    assert sum(work.dense for work in rows) == dense
    assert [work.ac_by_step for work in rows if work.ac_by_step] == (
        [tuple(map(round, by_step))] if sum(by_step) else []
    )
    assert account.figure("full", "mac").value == 0
    assert not account.uncounted
    assert not account.lost_marks


def test_real_input_costs_a_product_for_each_synapse_that_is_there() -> None:
    layer = Conv2d(CLASSIFICATION, 2, 3, 3, padding=1, bias=False)
    x = torch.rand(4, 2, 6, 6)
    account = counted(nn.Sequential(layer), x, samples=4)
    assert account.figure("full", "mac").value == float(F.conv2d(torch.ones(1, 2, 6, 6), layer.mask(), padding=1).sum())
    twin = counted(nn.Sequential(Conv2d(Array(kind="weights"), 2, 3, 3, padding=1, bias=False)), x, samples=4)
    assert account.figure("full", "mac").value < twin.figure("full", "mac").value


def test_a_network_s_neurons_are_known_and_cost_their_recursion() -> None:
    account = counted(Net(Linear(CLASSIFICATION, 50, 7, bias=False)), torch.randn(4, 3, 2, 5, 5), samples=1)
    (neurons,) = account.neurons
    (work,) = [row.work for row in account.rows if row.operator == "retable.rectify_and_fire"]
    elements = 4 * 3 * 50
    assert (neurons.steps, neurons.neurons) == (4, 50)
    assert (work.add, work.mul, work.compare) == (elements, 2 * elements, 2 * elements)


def test_fsvae_counts_sums_of_inputs_masks_or_not() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 2, 6, 6)
    for layer, fan in (
        (Conv2d(CLASSIFICATION, 2, 3, 3, stride=2, padding=1, bias=False), 9 * 3 / 4),
        (ConvTranspose2d(CLASSIFICATION, 2, 3, stride=2), 9 * 3 * 4),
        (Linear(CLASSIFICATION, 72, 5, bias=False), 5),
    ):
        net = Net(layer)
        spikes, out = net.fire(x), net(x)
        account = counted(net, x, samples=3, rules=("fsvae",))
        adds = float(spikes.sum()) * fan + out.numel() + x.numel()
        assert account.figure("fsvae", "adds").value == pytest.approx(adds / 3)
        assert account.figure("fsvae", "muls").value == (spikes == 0).sum() / 3
    with pytest.raises(BenchError, match="operations alone, without their energy"):
        account.figure("fsvae", "energy")
    negative = counted(
        nn.Sequential(Conv2d(CLASSIFICATION, 1, 2, 3, bias=False)), -torch.ones(1, 1, 5, 5), 1, ("fsvae",)
    )
    assert negative.figure("fsvae", "adds").value == -25 * 9 * 2 + 2 * 9  # real values count by their sum


def test_crossbars_are_read_whatever_the_mask() -> None:
    x = torch.randn(4, 3, 70, 5, 5)
    found = []
    for array in (CLASSIFICATION, Array(kind="weights")):
        net = Net(Conv2d(array, 70, 65, 3, padding=1, bias=False))
        found.append(counted(net, x, samples=3, rules=("spikesim",)).figure("spikesim", "energy"))
    assert found[0].value == pytest.approx(2 * 2 * 25 * 4 * 828.486e-9, rel=1e-6)
    assert found[0] == found[1]


def test_a_pruned_linear_layer_has_the_outputs_that_it_has() -> None:
    account = counted(Net(Linear(CLASSIFICATION, 50, 7)), torch.randn(4, 3, 2, 5, 5), 3, ("yan",))
    (layer,) = account.census.synapses()
    assert layer.outputs == 4 * 3 * 7


def test_prices_that_were_not_found_make_no_energy() -> None:
    account = counted(Net(Linear(CLASSIFICATION, 50, 7)), torch.randn(4, 3, 2, 5, 5), 3, ("prime-macro",))
    with pytest.raises(BenchError, match=r"prices of prime-40nm were not found: htree, .*rram_crossbar, adc"):
        account.figure("prime-macro", "energy")
    assert [name for name, table in costs.tables().items() if table.not_found] == ["prime-40nm"]


def test_pooled_spikes_cost_an_accumulate_for_each_spike_in_their_window() -> None:
    """Means of four spikes are no spikes: 3/4 costs the three accumulates that it stands for, and not one."""
    torch.manual_seed(0)
    network = Network((2, 12, 12), 3, (Convolution(4, 3, padding=1), Convolution(5, 3))).eval()
    x = torch.poisson(torch.full((2, 3, 2, 12, 12), 0.3))
    with torch.no_grad(), Accountant(network) as accountant:
        accountant.mark(x, high=int(x.max()))
        network(x)
    account = accountant.result(samples=2)
    second = [row.work for row in account.rows if row.layer == "features.conv1"]
    spikes = 4 * F.avg_pool2d(network.spikes(x)["features.conv0"].flatten(0, 1), 2)
    assert set(spikes.unique().tolist()) >= {0.0, 1.0, 2.0}
    mask = network.masks()["features.conv1"]
    assert sum(work.ac for work in second) == float(F.conv2d(spikes, mask).sum().detach())
    assert sum(work.mac for work in second) == 0
