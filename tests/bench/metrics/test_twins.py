"""Metrics of a network against its ANN twin: measured, from shapes alone, and where there is nothing to say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retable.bench.accountant import Accountant
from retable.bench.errors import BenchError
from retable.bench.metrics.operations import Energy
from retable.bench.metrics.twins import CrossoverRate, EnergyOverTwin, InputRate, RulesWon
from retable.bench.tasks.count import Count
from retable.models.spiking.neurons import LIF

RULES = ("literature", "simple-memory", "lemaire", "neuromc", "loihi")


class Net(nn.Module):
    """Four equal steps: linear, LIF, linear, LIF, linear, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Linear(6, 8), LIF(threshold=0.2), nn.Linear(8, 8), LIF(threshold=0.2), nn.Linear(8, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.expand(4, *x.shape)).mean(0)


def evidence(model: nn.Module, x: Tensor, rules: tuple[str, ...] = RULES) -> Any:
    with torch.no_grad(), Accountant(model, rules=rules) as accountant:
        model(x)
    return SimpleNamespace(account=accountant.result(samples=len(x)), why_no_account="")


@pytest.fixture(scope="module")
def measured() -> Any:
    return evidence(Net(), torch.rand(5, 6, generator=torch.Generator().manual_seed(2)))


def test_a_network_wins_where_its_rate_is_below_the_crossover(measured: Any) -> None:
    rate = InputRate().measure(measured).value
    assert rate is not None
    won = 0
    for rule in ("literature", "simple-memory", "lemaire"):
        at, ratio = (metric(rule=rule).measure(measured).value for metric in (CrossoverRate, EnergyOverTwin))  # type: ignore[arg-type]
        assert at is not None
        assert ratio is not None
        assert (rate < at) == (ratio < 1)
        won += ratio < 1
    dense = EnergyOverTwin(rule="neuromc").measure(measured)
    assert dense.value is not None
    found = RulesWon().measure(measured)
    assert found.value == won + (dense.value < 1)
    assert found.details["rules"] == 4  # Loihi prices no ANN


def test_what_no_rate_decides_is_absent_with_the_reason(measured: Any) -> None:
    assert "at every rate" in str(CrossoverRate(rule="neuromc").measure(measured).reason)
    assert "no price for an ANN" in str(EnergyOverTwin(rule="loihi").measure(measured).reason)
    assert "has no rule 'lemaire-authors'" in str(CrossoverRate(rule="lemaire-authors").measure(measured).reason)
    without = evidence(Net(), torch.rand(2, 6), rules=("full",))
    assert "hold no energy model" in str(InputRate().measure(without).reason)
    ann = evidence(nn.Sequential(nn.Linear(6, 3)), torch.rand(2, 6))
    for metric in (InputRate(), CrossoverRate(rule="lemaire"), RulesWon()):
        assert "no spikes enter" in str(metric.measure(ann).reason)


def test_shapes_alone_tell_the_crossover_and_no_rate() -> None:
    method = SimpleNamespace(build=lambda data: Net())
    counted = Count(sample=(6,), rules=RULES).evidence(method, {}, seed=0, device="cpu")  # type: ignore[arg-type]
    at = CrossoverRate(rule="simple-memory").measure(counted)
    assert at.details["rates"] == "the same in every layer"
    # by hand: real 48 products four times, and 88 driven by spikes; biases and states of 16 neurons a step
    mac, ac = 4.6 + 24.96 * 4, 0.9 + 24.96 * 4
    of_twin = (48 + 88) * mac + 19 * 24.96 * 4
    silent = 4 * (48 * mac + 19 * 24.96 * 4 + 16 * (6 * 0.9 + 24.96 * 8))
    assert at.value == pytest.approx(max(0.0, (of_twin - silent) / (4 * 88 * ac)))
    literature = CrossoverRate(rule="literature").measure(counted).value
    assert literature == pytest.approx(max(0.0, (136 - 4 * 48) * 4.6 / (4 * 88 * 0.9)))
    assert EnergyOverTwin(rule="neuromc").measure(counted).value is not None
    for metric in (InputRate(), EnergyOverTwin(rule="lemaire"), RulesWon()):
        assert "from its shapes alone" in str(metric.measure(counted).reason)


def test_a_sample_is_run_to_be_counted() -> None:
    with pytest.raises(BenchError, match="belong together"):
        Count(sample=(3, 8, 8))
    plain = Count().evidence(SimpleNamespace(build=lambda data: Net()), {}, seed=0, device="cpu")
    assert "runs no sample" in str(InputRate().measure(plain).reason)


def test_an_energy_that_lacks_something_says_so_and_names_its_prices() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.mT

    found = Energy(rule="lemaire").measure(evidence(nn.Sequential(nn.Linear(6, 6), Product()), torch.rand(1, 4, 6)))
    assert found.details["at_least"] == pytest.approx(4 * 4 * 6 / (4 * 6 * 6 + 4 * 4 * 6))
    assert "secondary constants" in str(found.details["prices"])
    whole = Energy(rule="lemaire").measure(evidence(nn.Sequential(nn.Linear(6, 6)), torch.rand(1, 6)))
    assert "at_least" not in whole.details
