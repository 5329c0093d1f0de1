"""The rules of syops-counter and NeuroBench: where they miscount, by hand, and live where the packages are installed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from retable.bench.accountant import Account, Accountant
from retable.models.spiking.neurons import IF, ILIF
from tests.bench.accountant.counting import full


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def packages(net: nn.Module, x: Tensor) -> Account:
    with torch.no_grad(), Accountant(net, rules=("full", "syops", "neurobench")) as accountant:
        net(x)
    return accountant.result(samples=len(x))


class IntegerNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neuron, self.fc = ILIF(), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.neuron(x[None])[0])


def test_integer_spikes_are_accumulates_where_the_packages_see_macs() -> None:
    account = packages(IntegerNet(), torch.tensor([[0.0, 1.0, 3.2, 9.0]]))  # spikes 0, 1, 3, 4
    assert full(account, "ac", "mac", "effective") == (8 * 3, 0, 3 * 3)
    assert (account.figure("syops", "mac").value, account.figure("syops", "ac").value) == (12, 4)  # 4: the neuron
    assert account.figure("neurobench", "effective_macs").value == 9


class AttentionNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = IF(), IF()

    def forward(self, x: Tensor) -> Tensor:
        return (self.q(x[None]) @ self.k(x[None]).mT)[0]


def test_attention_products_are_counted_where_the_packages_see_nothing() -> None:
    account = packages(AttentionNet(), torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]))
    # spikes 101 and 100: column 0 meets 2 x 2 times, column 2 once
    assert full(account, "ac", "effective", "dense") == (5, 5, 12)
    assert account.figure("syops", "ac").value == 12  # the neurons alone
    assert account.figure("neurobench", "dense").value == 0


def test_a_real_input_of_zeros_is_no_spike_where_the_packages_see_one() -> None:
    layer = nn.Linear(4, 3, bias=False)
    account = packages(nn.Sequential(layer), torch.zeros(2, 4))
    assert full(account, "mac", "ac", "effective") == (12, 0, 0)
    assert account.figure("syops", "mac").value == 0
    assert account.figure("neurobench", "effective_macs").value == 0
    silent = packages(IntegerNet(), torch.zeros(2, 4))
    assert full(silent, "mac", "ac", "effective") == (0, 0, 0)


def test_the_packages_rules_reach_nested_modules() -> None:
    x, layer, act = torch.rand(3, 4), nn.Linear(4, 4), nn.ReLU()
    flat = packages(nn.Sequential(layer, act), x)
    nested = packages(nn.Sequential(nn.Sequential(nn.Sequential(layer), act)), x)
    assert flat.figure("neurobench", "dense").value == 16
    for rule in ("syops", "neurobench"):
        values = [{name: f.value for name, f in account.figures[rule].items()} for account in (flat, nested)]
        assert values[0] == values[1]


def test_a_layer_of_two_parents_counts_twice_in_each_package() -> None:
    layer, x = nn.Linear(4, 4, bias=False), torch.rand(3, 4)
    account = packages(nn.Sequential(nn.Sequential(layer), nn.Sequential(layer)), x)
    assert account.figure("full", "dense").value == 2 * 16  # two calls
    assert account.figure("neurobench", "dense").value == 4 * 16  # two calls, seen under two parents
    assert account.figure("syops", "total").value == 4 * 16


def test_weights_that_are_pruned_between_two_batches_are_counted_as_they_are() -> None:
    layer, x = nn.Linear(4, 4, bias=False), torch.rand(1, 4) + 1
    with torch.no_grad(), Accountant(net := nn.Sequential(layer), rules=("neurobench",)) as accountant:
        net(x)
        layer.weight[:, :2] = 0
        net(x)
    account = accountant.result(samples=2)
    assert account.figure("neurobench", "effective_macs").value == (16 + 8) / 2
    assert account.figure("neurobench", "connection_sparsity").value == 0.5


# the packages themselves, where they are installed


class PlainNet(nn.Module):
    """Real values, padding, strides, group norm, sparse weights, a shared linear layer and several activations."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(2, 6, 3, stride=2, padding=2, dilation=2)
        self.norm, self.relu, self.pool = nn.GroupNorm(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.up, self.fc, self.sigmoid = nn.Upsample(scale_factor=2), nn.Linear(24, 24), nn.Sigmoid()
        self.one = nn.Conv1d(6, 4, 2)
        with torch.no_grad():
            self.fc.weight.mul_(torch.rand(24, 24) > 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.up(self.relu(self.norm(self.conv(x)))))
        y = self.fc(self.relu(self.fc(x.flatten(1))))
        return self.one(self.sigmoid(y).unflatten(1, (6, 4)))


class ThresholdNet(nn.Module):
    """Binary activations in plain torch, which the packages tell by their values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.conv1(x) > 0.1).float()
        x = (self.pool(self.conv2(x)) > 0).float()
        return self.fc(x.flatten(1))


class SharedNet(nn.Module):
    """One linear layer and one ReLU below two parents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        layer, act = nn.Linear(8, 8), nn.ReLU()
        self.left, self.right = nn.Sequential(layer, nn.Sequential(act)), nn.Sequential(act, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


@pytest.mark.oracle("syops")
@pytest.mark.parametrize("model", [PlainNet, ThresholdNet, SharedNet])
def test_the_syops_rule_is_what_the_package_reports(model: type[nn.Module]) -> None:
    from syops.engine import get_syops_pytorch

    net, x = model().eval(), images(6, seed=2)
    with torch.no_grad(), Accountant(net, rules=("syops",)) as accountant:
        for batch in x.split(2):
            net(batch)
    account = accountant.result(samples=6)
    loader = [(batch, None) for batch in x.split(2)]
    (total, ac, mac, _), params = get_syops_pytorch(net, (2, 8, 8), loader, print_per_layer_stat=False)
    got = {name: figure.value for name, figure in account.figures["syops"].items()}
    assert (got["total"], got["mac"], got["params"]) == (total, mac, params)
    assert got["ac"] == pytest.approx(ac, rel=1e-6)


class SharedNet(nn.Module):
    """One linear layer and one ReLU below two parents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        layer, act = nn.Linear(8, 8), nn.ReLU()
        self.left, self.right = nn.Sequential(layer, nn.Sequential(act)), nn.Sequential(act, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


@pytest.mark.oracle("neurobench")
@pytest.mark.parametrize("model", [PlainNet, ThresholdNet, SharedNet])
def test_the_neurobench_rule_is_what_the_package_reports(model: type[nn.Module]) -> None:
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import TorchModel
    from torch.utils.data import DataLoader, TensorDataset

    net, x = model().eval(), images(6, seed=2)
    with torch.no_grad(), Accountant(net, rules=("neurobench",)) as accountant:
        for batch in x.split(4):
            net(batch)
    account = accountant.result(samples=6)
    loader = DataLoader(TensorDataset(x, torch.zeros(6)), batch_size=4)
    metrics = [[ConnectionSparsity, Footprint, ParameterCount], [ActivationSparsity, SynapticOperations]]
    with torch.no_grad():
        want = Benchmark(TorchModel(net), loader, [], [], metrics).run(quiet=True)
    got = {name: figure.value for name, figure in account.figures["neurobench"].items()}
    operations = want["SynapticOperations"]
    assert got["effective_macs"] == operations["Effective_MACs"]
    assert got["effective_acs"] == operations["Effective_ACs"]
    assert got["dense"] == operations["Dense"]
    assert got["activation_sparsity"] == pytest.approx(want["ActivationSparsity"], rel=1e-12)
    assert got["connection_sparsity"] == want["ConnectionSparsity"]
    assert (got["footprint"], got["parameter_count"]) == (want["Footprint"], want["ParameterCount"])
