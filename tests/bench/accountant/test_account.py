"""The energy account as a whole: its figures, layers and neurons, and that figures of two rules do not mix."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.bench.accountant import Accountant, costs
from retable.bench.accountant.rules import Figure, Full, Literature, RuleMismatchError
from retable.bench.errors import BenchError, UnknownNameError
from retable.models.spiking.neurons import IF, ILIF, LIF
from tests.bench.accountant.counting import Lambda, counted, full, row, spikes


class SpikingNet(nn.Module):
    """conv - bn - LIF - average pool - grouped conv - bn - LIF - linear over T equal steps."""

    def __init__(self, T: int = 4, repeat_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.T, self.repeat_first = T, repeat_first
        self.conv1, self.bn1, self.act1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), LIF()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm2d(6), LIF()
        self.fc = nn.Linear(6 * 2 * 2, 5)
        nn.init.constant_(self.bn1.bias, 1.5)
        nn.init.constant_(self.bn2.bias, 1.0)
        self.eval()

    def over_time(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def forward(self, x: Tensor) -> Tensor:
        steps = lambda x: x.unsqueeze(0).repeat(self.T, *[1] * x.dim())  # noqa: E731
        if self.repeat_first:
            x = self.over_time(self.bn1, self.over_time(self.conv1, steps(x)))
        else:
            x = steps(self.bn1(self.conv1(x)))
        x = self.act2(self.over_time(self.bn2, self.over_time(self.conv2, self.pool(self.act1(x)))))
        return self.fc(x.flatten(2)).mean(0)

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_samples_batches_and_gradients_do_not_change_a_figure() -> None:
    net, x = SpikingNet(), images(6)
    accounts = []
    for batches in ([x], x.split(2), x.split([1, 5]), [x.flip(0)]):
        with torch.no_grad(), Accountant(net) as accountant:
            for batch in batches:
                net(batch)
        accounts.append(accountant.result(samples=6))
    with Accountant(net) as accountant:
        net(x)
    accounts.append(accountant.result(samples=6))
    with torch.inference_mode(), Accountant(net) as accountant:
        net(x)
    accounts.append(accountant.result(samples=6))
    assert accounts[0].neurons[0].spikes > 0
    for other in accounts[1:]:
        for rule, named in accounts[0].figures.items():
            for name, figure in named.items():
                if not name.startswith("bytes"):  # weights are read once a batch
                    assert other.figure(rule, name).value == pytest.approx(figure.value, rel=1e-12), (rule, name)
        assert [(n.layer, n.rate, n.silent) for n in other.neurons] == [
            (n.layer, n.rate, n.silent) for n in accounts[0].neurons
        ]


def test_the_literature_rule_is_rate_times_flop() -> None:
    net, x = SpikingNet(), images(3)
    with torch.no_grad(), Accountant(net) as accountant:
        net(x)
    account = accountant.result(samples=3)
    with torch.no_grad():
        s1 = net.act1(net.over_time(net.bn1, net.over_time(net.conv1, x.unsqueeze(0).repeat(4, 1, 1, 1, 1))))
        pooled = net.pool(s1)
        s2 = net.act2(net.over_time(net.bn2, net.over_time(net.conv2, pooled)))
    conv1, conv2, fc = 9 * 2 * 4 * 64, 9 * 2 * 6 * 4, 24 * 5
    sop = float(pooled.mean()) * 4 * conv2 + float(s2.mean()) * 4 * fc
    assert account.figure("literature", "mac").value == 4 * conv1
    assert account.figure("literature", "sop").value == pytest.approx(sop, rel=1e-6)
    assert account.figure("literature", "flop").value == 4 * (conv1 + conv2 + fc)
    assert account.figure("literature", "energy").value == pytest.approx((4.6 * 4 * conv1 + 0.9 * sop) * 1e-9, rel=1e-6)
    layers = account.layers("literature")
    assert layers["conv1"].value == pytest.approx(4.6 * 4 * conv1 * 1e-9)
    assert sum(layers.values()) / account.figure("literature", "energy") == pytest.approx(1)


@pytest.mark.parametrize("repeat_first", [True, False])
def test_the_first_layer_counts_once_or_every_step_however_it_was_run(repeat_first: bool) -> None:
    net, x = SpikingNet(repeat_first=repeat_first), images(3)
    once = 9 * 2 * 4 * 64
    for option, steps in ((True, 4), (False, 1), (None, 4 if repeat_first else 1)):
        with torch.no_grad(), Accountant(net, rules=(Literature(first_layer_per_step=option),)) as accountant:
            net(x)
        assert accountant.result(samples=3).figure("literature", "mac").value == steps * once


def test_a_first_layer_in_a_loop_over_time_is_not_guessed_at() -> None:
    layer, neuron = nn.Linear(4, 3), LIF()
    model = Lambda(lambda x: [neuron(layer(x)[None]) for _ in range(4)], layer=layer, neuron=neuron)
    with pytest.raises(BenchError, match="first_layer_per_step: layer ran on 4 rows a sample"):
        counted(model, torch.rand(1, 4), rules=(Literature(first_layer_per_step=False),))
    assert counted(model, torch.rand(1, 4)).figure("literature", "mac").value == 4 * 12


def test_prices_are_those_of_the_table() -> None:
    net, x = SpikingNet(), images(2)
    energies = {}
    for rule in (Literature(), Literature(all_ac=True), Literature(costs="45nm-int8")):
        with torch.no_grad(), Accountant(net, rules=(rule,)) as accountant:
            net(x)
        account = accountant.result(samples=2)
        energies[str(rule)] = account.figure("literature", "energy").value
    mac, sop = (account.figure("literature", name).value for name in ("mac", "sop"))
    assert energies["literature"] == pytest.approx((4.6 * mac + 0.9 * sop) * 1e-9)
    assert energies["literature(all_ac=True)"] == pytest.approx(0.9 * (mac + sop) * 1e-9)
    assert energies["literature(costs=45nm-int8)"] == pytest.approx((0.23 * mac + 0.03 * sop) * 1e-9)


def test_a_module_called_twice_counts_twice() -> None:
    layer, x = nn.Linear(4, 4, bias=False), spikes((2, 4), (0, 1), 1)
    once = counted(layer, x, marked=(0, 1))
    twice = counted(Lambda(lambda x: (layer(x), layer(x)), layer=layer), x, marked=(0, 1))
    assert full(twice, "ac", "dense") == tuple(2 * v for v in full(once, "ac", "dense"))
    assert [(r.layer, r.work.calls) for r in twice.rows] == [("layer", 2)]


def test_neurons_report_rates_silence_and_saturation() -> None:
    x = torch.tensor([[0.0, 9.0, 1.2], [0.0, 9.0, 0.0]])  # (samples, neurons): silent, always on, once
    account = counted(nn.Sequential(IF()), x.unsqueeze(0).repeat(2, 1, 1))
    (neurons,) = account.neurons
    assert (neurons.layer, neurons.neurons, neurons.steps, neurons.spikes) == ("0", 3, 2, 6)
    assert (neurons.rate, neurons.nonzero, neurons.sparsity) == (0.5, 0.5, 0.5)
    assert (neurons.silent, neurons.saturated) == (1 / 3, 1 / 3)
    assert neurons.rate_by_step == (0.5, 0.5)
    (levels,) = counted(nn.Sequential(ILIF()), torch.tensor([[[9.0, 0.0, 2.0]]])).neurons
    assert (levels.rate, levels.nonzero, levels.silent, levels.saturated, levels.high) == (2.0, 2 / 3, 1 / 3, 1 / 3, 4)


def test_an_operator_without_a_rule_is_named_with_its_share() -> None:
    x = torch.rand(3, 4)
    account = counted(lambda x: torch.linalg.inv(x[:, :3]) + 1, x)
    (uncounted,) = account.uncounted  # nine elements and a flag
    assert (uncounted.operator, uncounted.calls, uncounted.elements) == ("aten.linalg_inv_ex", 1, 10)
    assert account.uncounted_share == {"calls": 0.5, "elements": 10 / 19}
    assert row(account, "aten.linalg_inv_ex").written > 0
    assert account.as_dict()["uncounted"][0]["operator"] == "aten.linalg_inv_ex"


def test_a_fused_encoder_layer_is_counted_in_parts() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    account = counted(layer, torch.rand(2, 6, 8))
    assert account.uncounted == ()
    assert full(account, "dense") == (2 * 6 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 2 * 6 * 6 * 8,)
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_energy_names_the_operations_that_have_no_price() -> None:
    energy = counted(torch.exp, torch.rand(3, 4)).figure("full", "energy")
    assert (energy.value, energy.missing) == (0, (("special", 12),))
    assert energy.as_dict()["without_price"] == {"special": 12}


def test_an_account_is_json() -> None:
    net = SpikingNet()
    with torch.no_grad(), Accountant(net, rules=("full", "literature", "syops", "neurobench")) as accountant:
        net(images(2))
    text = json.dumps(accountant.result(samples=2).as_dict(), allow_nan=False)
    assert {"full", "literature", "syops", "neurobench"} == json.loads(text)["figures"].keys()


def test_nothing_to_count_is_an_error() -> None:
    accountant = Accountant(nn.Identity())
    with pytest.raises(BenchError, match="nothing was counted"):
        accountant.result(samples=1)
    with pytest.raises(BenchError, match="samples must be at least 1"):
        accountant.result(samples=0)
    with pytest.raises(UnknownNameError, match="did you mean 'literature'"):
        Accountant(nn.Identity(), rules=("litrature",))
    with pytest.raises(UnknownNameError, match="unknown cost table"):
        costs.table("28nm")


def test_an_exception_in_the_model_leaves_no_hooks_behind() -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("inside")

    model = Lambda(fail)
    with pytest.raises(RuntimeError, match="inside"), Accountant(model):
        model(torch.rand(1))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


# figures


def test_figures_of_one_rule_add_and_compare() -> None:
    a, b = (Figure(value, "mJ/sample", Full(), "45nm-fp32") for value in (1.0, 2.0))
    assert (a + b).value == 3
    assert (b - a) == a
    assert sum([a, b]) == a + b
    assert b / a == 2
    assert a < b
    assert a * 2 == b


@pytest.mark.parametrize(
    "other",
    [
        Figure(1.0, "mJ/sample", Literature(), "45nm-fp32"),
        Figure(1.0, "mJ/sample", Full(fold_batch_norm=False), "45nm-fp32"),
        Figure(1.0, "mJ/sample", Full(), "45nm-int8"),
        Figure(1.0, "operations/sample", Full(), "45nm-fp32"),
    ],
)
def test_figures_of_two_rules_do_not_mix(other: Figure) -> None:
    figure = Figure(1.0, "mJ/sample", Full(), "45nm-fp32")
    for operation in ("__add__", "__sub__", "__truediv__", "__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
        with pytest.raises(RuleMismatchError):
            getattr(figure, operation)(other)
