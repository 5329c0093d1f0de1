"""Published energy models as rules: hand counts, no figure that depends on the batch, and gaps that are named."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from retable.bench.accountant import Account, Accountant, costs
from retable.bench.accountant.names import RuleName
from retable.bench.accountant.rules import (
    RULES,
    Figure,
    Lemaire,
    LemairePiecewise,
    Loihi,
    Model,
    NeuroMC,
    RuleMismatchError,
    SimpleMemory,
    SpikeSim,
    SpikeSimEvent,
)
from retable.bench.accountant.rules.yan import Yan, rate_bounds, twin_bits
from retable.models.spiking.marks import spikes
from retable.models.spiking.neurons import IF, ILIF, LIF

MODELS = [name for name, rule in RULES.items() if issubclass(rule, Model)]


def test_names_that_can_be_declared_are_the_rules_there_are() -> None:
    assert set(get_args(RuleName)) == set(RULES)


class Coded(nn.Module):
    """Real images, a convolution at every step, LIF, a strided convolution, IF, and a linear layer over T steps."""

    def __init__(self, T: int = 3) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.T = T
        self.conv1, self.norm, self.act1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), LIF(threshold=0.3)
        self.conv2, self.act2 = nn.Conv2d(4, 6, 3, 2, 1), IF(threshold=0.2)
        self.fc = nn.Linear(6 * 9, 5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        x = self.act1(self.norm(self.conv1(x.flatten(0, 1))).unflatten(0, (self.T, -1)))
        x = self.act2(self.conv2(x.flatten(0, 1)).unflatten(0, (self.T, -1)))
        return self.fc(x.flatten(2)).mean(0)


def account(model: nn.Module, *batches: Tensor, rules: tuple[object, ...] = tuple(MODELS)) -> Account:
    with torch.no_grad(), Accountant(model, rules=rules) as accountant:  # type: ignore[arg-type]
        for batch in batches:
            model(batch)
    return accountant.result(samples=sum(map(len, batches)))


def images(n: int) -> Tensor:
    return torch.rand(n, 2, 6, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("rule", [rule for rule in MODELS if not RULES[rule]().as_run])  # a reading of one call's run
def test_no_figure_depends_on_how_samples_are_batched(rule: str) -> None:
    net, x = Coded(), images(6)
    whole, parts = account(net, x), account(net, *x.split([2, 4]))
    for name, figure in whole.figures[rule].items():
        assert parts.figure(rule, name).value == pytest.approx(figure.value, rel=1e-9), name


def linear(x: Tensor, outputs: int = 3, bias: bool = False) -> nn.Module:
    """A linear layer on marked spikes (T, B, N)."""
    layer = nn.Linear(x.shape[-1], outputs, bias=bias)

    class Marked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = layer, LIF()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.layer(spikes(x)))

    return Marked()


TWO_STEPS = torch.tensor([[[1.0, 0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]]])
"""Three spikes of four inputs over two steps."""


def priced(rule: Model, model: nn.Module, x: Tensor) -> tuple[dict[str, dict[str, float]], Account]:
    with torch.no_grad(), Accountant(model, rules=(rule,)) as accountant:
        model(x)
    found = accountant.result(samples=1)
    assert found.census is not None
    return rule.bill(found.census).pJ, found


def test_simple_memory_by_hand() -> None:
    pJ, _ = priced(SimpleMemory(), linear(TWO_STEPS, bias=True), TWO_STEPS)
    synops, outputs, updates = 3 * 3, 2 * 3, 2 * 3
    assert pJ["layer"] == pytest.approx(
        {"mac": 0, "ac": 0.9 * synops, "parameters": 24.96 * 4 * (synops + outputs), "states": 0}
    )
    assert pJ["act"] == pytest.approx(
        {"mac": 0, "ac": 0.9 * 6 * updates, "parameters": 0, "states": 24.96 * 8 * updates}
    )


def test_lemaire_by_hand() -> None:
    pJ, found = priced(Lemaire(), linear(TWO_STEPS, bias=True), TWO_STEPS)
    fired = found.neurons[-1].spikes
    word = lambda words: 1.09e-5 * words * 32 + 13.2  # noqa: E731
    assert pJ["layer"] == pytest.approx(
        {
            "inputs": 3 * word(1000),
            "outputs": fired * word(1000),
            "weights": 3 * 3 * word(12),
            "bias": 6 * word(3),
            "potentials": 2 * (9 + 6) * word(3),
            "operations": (9 + 6 + fired) * 0.1 + 6 * 3.2,
            "addressing": 9 * 0.1,
        }
    )


def test_a_larger_memory_costs_more_in_one_reading_and_saturates_in_the_other() -> None:
    line, pieces = Lemaire(), LemairePiecewise()
    assert line.word(0) == 13.2
    assert pieces.word(0) == 0
    assert [pieces.word(n * 1024) for n in (8, 32, 1024, 4096)] == pytest.approx([10, 20, 100, 100])
    assert pieces.word(20 * 1024) == pytest.approx(15)
    assert Lemaire(sram="packed", bits=8).word(1e6) == pytest.approx(10 / 8)


@pytest.mark.parametrize(
    ("width", "addition"), [("saturation", 0.1), ("linear", 0.03 + 8 * 0.07 / 24), ("as published", 0.1)]
)
def test_operations_of_another_width(width: str, addition: float) -> None:
    assert Lemaire(bits=16, add=width).prices[0] == pytest.approx(addition)  # type: ignore[arg-type]
    quadratic = lambda bits: Lemaire(bits=bits, mul="quadratic").prices[1]  # noqa: E731
    assert (quadratic(8), quadratic(32)) == pytest.approx((0.2, 3.1))


def test_loihi_by_hand() -> None:
    pJ, found = priced(Loihi(hops_x=2, hops_y=1), linear(TWO_STEPS), TWO_STEPS)
    fired = found.neurons[-1].spikes
    assert pJ["layer"] == pytest.approx({"synapses": 23.6 * 9, "traffic": 3 * (1.7 + 6 + 4)})
    assert pJ["act"] == pytest.approx({"neurons": 81 * fired + 52 * (6 - fired)})


def test_keras_spiking_by_hand() -> None:
    rule = RULES["keras-spiking-loihi"]()
    pJ, _ = priced(rule, linear(TWO_STEPS), TWO_STEPS)  # type: ignore[arg-type]
    assert pJ["layer"] == pytest.approx({"synapses": 12 * 27.1 * (3 / 8) * 2})
    assert pJ["act"] == pytest.approx({"neurons": 3 * 81 * 2})
    pJ, _ = priced(RULES["keras-spiking-gpu"](), linear(TWO_STEPS), TWO_STEPS)  # type: ignore[arg-type]
    assert (pJ["layer"]["synapses"], pJ["act"]["neurons"]) == pytest.approx((12 * 300, 3 * 300))


def test_neuromc_knows_no_spikes_but_their_width() -> None:
    dark, lit = (priced(NeuroMC(), linear(x), x)[0] for x in (torch.zeros(2, 1, 4), torch.ones(2, 1, 4)))
    assert dark == lit
    real = priced(NeuroMC(), nn.Sequential(nn.Linear(4, 3, bias=False)), torch.zeros(2, 1, 4))[0]
    assert real["0"]["mac"] == pytest.approx(24 * 1.36)
    assert lit["layer"]["mac"] == pytest.approx(24 * 0.58225)


def test_training_costs_gradients_of_weights_and_of_inputs_behind_the_first_layer() -> None:
    net, x = Coded(), images(1)
    inference, training = (priced(NeuroMC(phase=phase), net, x)[0] for phase in ("inference", "training"))  # type: ignore[arg-type]
    macs = lambda layer: training[layer]["mac"] - inference[layer]["mac"]  # noqa: E731
    assert macs("conv1") == pytest.approx(3 * 36 * 4 * 18 * 1.36)  # the weights' alone, of real inputs
    assert macs("conv2") == pytest.approx(3 * 9 * 6 * 36 * (1.36 + 0.58225))


def test_a_crossbar_costs_by_its_tiles_and_by_events_no_more() -> None:
    net, x = Coded(), images(2)
    found = account(net, x, rules=(SpikeSim(), SpikeSimEvent()))
    assert found.census is not None
    dense, event = (rule.bill(found.census) for rule in (SpikeSim(), SpikeSimEvent()))
    assert dense.total("cycles") == 3 * 2 * (36 + 9)
    assert dense.left_out.keys() == {"fc"}
    assert event.term() <= dense.term() * (1 + 1e-12)
    assert sum(event.pJ["conv1"].values()) == pytest.approx(sum(dense.pJ["conv1"].values()))  # real values: dense
    assert SpikeSim(crossbar=4).bill(found.census).total("cycles") == 3 * 2 * (36 + 2 * 9)


def test_the_twin_and_the_bounds() -> None:
    assert [twin_bits(T) for T in (1, 2, 3, 4, 7, 8)] == [1, 2, 2, 3, 3, 4]
    assert rate_bounds(0.6, 4) == pytest.approx((0.1, 0.4))
    assert Yan().movement_crossover(5) == pytest.approx(0.05)
    _, found = priced(Yan(), linear(TWO_STEPS), TWO_STEPS)
    assert found.figure("yan", "rate").value == 3 / 8
    assert "energy" not in found.figures["yan"]


def test_a_neuron_of_ones_own_counts_as_the_package_s() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            v, fired = torch.zeros_like(x[0]), []
            for current in x:
                v = v + (current - v) / 2
                fired.append((v >= 1).to(x.dtype))
                v = v * (1 - fired[-1])
            return spikes(torch.stack(fired))

    class Net(nn.Module):
        def __init__(self, act: nn.Module) -> None:
            super().__init__()
            torch.manual_seed(4)
            self.fc1, self.act, self.fc2 = nn.Linear(4, 5), act, nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.act(self.fc1(x)))

    x = torch.rand(3, 2, 4) * 6
    own, theirs = (account(Net(act), x) for act in (Own(), LIF()))
    assert own.neurons[0].spikes == theirs.neurons[0].spikes > 0
    for rule in ("lemaire", "lemaire-piecewise", "loihi", "neuromc", "keras-spiking-loihi"):
        assert own.figure(rule, "energy").value == pytest.approx(theirs.figure(rule, "energy").value, rel=1e-9), rule


# what a rule cannot price


def test_integer_spikes_are_real_values_where_a_model_knows_binary_ones_alone() -> None:
    class Integers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.fc = ILIF(), nn.Linear(3, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.act(x))

    found = account(Integers(), torch.tensor([[[9.0, 2.0, 0.0]]]))
    assert found.census is not None
    simple, lemaire = SimpleMemory().bill(found.census), Lemaire().bill(found.census)
    assert simple.total("mac") == 6
    (layer,) = found.census.synapses()
    assert (layer.input.form, layer.input.spikes, layer.input.events) == ("integers", 6, 2)
    assert lemaire.pJ["fc"]["addressing"] == pytest.approx(6 * 2 * 0.1)


def test_products_that_a_model_has_no_formula_for_make_it_a_lower_bound() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.fc = LIF(), nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            s = self.act(x)
            return self.fc(s) @ s.mT

    found = account(Attention(), torch.rand(2, 1, 3, 4) * 3)
    energy = found.figure("lemaire", "energy")
    whole, product = 2 * 3 * 4 * 4, 2 * 3 * 3 * 4
    assert energy.uncounted == pytest.approx(product / (whole + product))
    assert energy.at_least
    assert str(energy).startswith("at least")
    assert not found.figure("neuromc", "energy").at_least


def test_every_table_says_where_its_prices_hold_and_what_they_leave_out() -> None:
    for table in costs.tables().values():
        assert table.source
        assert table.unpriced
        assert (table.evidence in ("measured", "simulated", "secondary"), table.scope in ("per-term", "all-in")) == (
            True,
            True,
        )


def test_figures_of_two_models_refuse_and_name_their_scopes() -> None:
    a = Figure(1.0, "mJ/sample", Loihi(), "loihi-2018")
    b = Figure(1.0, "mJ/sample", SimpleMemory(), SimpleMemory().label)
    assert (a.scope, b.scope) == ("per-term", "all-in")
    with pytest.raises(RuleMismatchError, match=r"loihi-2018 \(per-term\).*all-in"):
        a + b
    with pytest.raises(RuleMismatchError):
        _ = a / Figure(1.0, "mJ/sample", Loihi(hops_x=1), "loihi-2018")
