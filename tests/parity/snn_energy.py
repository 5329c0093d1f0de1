"""The energy account under the rules `syops` and `neurobench` against what the two packages report for a small net."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retable.bench.accountant import Accountant
from retable.models.spiking.neurons import LIF
from tests.parity.close import close, close_count
from tests.parity.conftest import Golden


class StepLIF(nn.Module):
    """A LIF (tau 2, hard reset) that takes one step (B, ...) a call and keeps its potential."""

    def __init__(self) -> None:
        super().__init__()
        self._lif = [LIF()]  # in a list: a part of this module, not a module of its own
        self.v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        spikes, self.v = self._lif[0].run(x[None], self.v)
        return spikes[0]


class EnergyNet(nn.Module):
    """conv - bn - act - average pool - grouped conv - bn - act - max pool - linear - act - linear, T times; mean over T."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        c1, c2, self.T, self.ann = config["c1"], config["c2"], config["T"], config["ann"]
        self.conv1, self.bn1 = nn.Conv2d(3, c1, 3, padding=1, bias=False), nn.BatchNorm2d(c1)
        self.pool1 = nn.AvgPool2d(2)
        self.conv2, self.bn2 = nn.Conv2d(c1, c2, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(c2)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(c2 * (config["res"] // 8) ** 2, 16)
        self.fc2 = nn.Linear(16, config["classes"], bias=False)
        self.act1, self.act2, self.act3 = (nn.ReLU() if self.ann else StepLIF() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for act in (self.act1, self.act2, self.act3):
            act.v = None
        return torch.stack([self.step(x) for _ in range(self.T)]).mean(0)

    def step(self, x: Tensor) -> Tensor:
        x = self.pool1(self.act1(self.bn1(self.conv1(x))))
        x = self.pool2(self.act2(self.bn2(self.conv2(x))))
        return self.fc2(self.act3(self.fc1(x.flatten(1))))


def check_energy(golden: Golden) -> None:
    net = EnergyNet(golden.config)
    net.load_state_dict(golden.tensors("sd/"))
    net.eval()
    arrays = golden.tensors("")
    with torch.no_grad(), Accountant(net, rules=("syops", "neurobench", "full")) as accountant:
        y = net(arrays["x"])
    close(y, arrays["y"], 2e-5, "the net's output")
    account = accountant.result(samples=golden.config["batch"])
    check_syops(golden.config["syops"], account)
    check_neurobench(golden.config["neurobench"], account)
    assert not account.uncounted
    assert not account.lost_marks


def check_syops(want: dict[str, Any], account: Any) -> None:
    got = {name: figure.value for name, figure in account.figures["syops"].items()}
    assert got["total"] == want["total_ops"]
    assert got["mac"] == want["macs"]
    assert got["ac"] == pytest.approx(want["acs"], rel=1e-6)
    assert got["params"] == want["params"]
    assert got["energy"] == pytest.approx(want["energy_mJ"], rel=1e-6)
    modules = account.details["syops"]["modules"]
    assert modules.keys() == want["per_module_sums_over_batch_and_time"].keys()
    for name, sums in want["per_module_sums_over_batch_and_time"].items():
        assert modules[name] == pytest.approx(sums, rel=1e-6), name


def check_neurobench(want: dict[str, Any], account: Any) -> None:
    got = {name: figure.value for name, figure in account.figures["neurobench"].items()}
    assert got["dense"] == want["Dense"]
    close_count(got["effective_macs"], want["Effective_MACs"], want["Dense"], "effective multiplications")
    assert got["effective_acs"] == pytest.approx(want["Effective_ACs"], rel=1e-6)
    close_count(got["activation_sparsity"], want["activation_sparsity"], 1, "the share of activations that are 0")
    assert got["connection_sparsity"] == want["connection_sparsity"]
    assert got["footprint"] == want["footprint_bytes"]
    assert got["parameter_count"] == want["parameter_count"]


ADAPTERS = {"energy": check_energy}
