"""The networks of the energy fixtures, layer by layer, and their account."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retable.bench.accountant import Account, Accountant
from retable.bench.accountant.rules import Rule
from retable.models.spiking.neurons import IF, LIF, Neuron
from tests.parity.conftest import Golden


class Keeping(nn.Module):
    """A neuron that hands on its potential."""

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self._neuron = [neuron]  # in a list: a part of this module, not a module of its own

    def forward(self, x: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self._neuron[0].run(x, v)


class Net(nn.Module):
    """Layers by name in order, each on the outputs that it names; (T, B, ...) at once or, `step_mode` s, step by step."""

    def __init__(self, network: dict[str, Any]) -> None:
        super().__init__()
        self.plan, self.single = network["layers"], network["step_mode"] == "s"
        for layer in self.plan:
            module = _module(layer["op"], layer["args"])
            if module is not None:
                self.add_module(layer["name"], module)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if not self.single:
            return self.run(x, {})
        potentials: dict[str, Tensor | None] = {}
        steps = [self.run(x[t : t + 1], potentials) for t in range(len(x))]
        return {name: torch.cat([step[name] for step in steps]) for name in steps[0]}

    def run(self, x: Tensor, potentials: dict[str, Tensor | None]) -> dict[str, Tensor]:
        made = {"input": x}
        for layer in self.plan:
            inputs = [made[name] for name in layer["inputs"]]
            module = getattr(self, layer["name"], None)
            if isinstance(module, Keeping):
                out, potentials[layer["name"]] = module(inputs[0], potentials.get(layer["name"]))
            elif isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.AvgPool2d | nn.MaxPool2d):
                out = module(inputs[0].flatten(0, 1)).unflatten(0, x.shape[:2])
            elif module is not None:
                out = module(inputs[0])
            else:
                out = _between(layer["op"], layer["args"], inputs)
            made[layer["name"]] = out
        return made


def _module(op: str, args: dict[str, Any]) -> nn.Module | None:
    if op in ("lif", "if"):
        options = {"threshold": args["v_threshold"], "v_reset": args["v_reset"]}
        return Keeping(IF(**options) if op == "if" else LIF(args["tau"], decay_input=args["decay_input"], **options))
    kinds = {
        "conv2d": nn.Conv2d,
        "linear": nn.Linear,
        "batchnorm2d": nn.BatchNorm2d,
        "avgpool2d": nn.AvgPool2d,
        "maxpool2d": nn.MaxPool2d,
        "relu": nn.ReLU,
    }
    return kinds[op](**args) if op in kinds else None


def _between(op: str, args: dict[str, Any], inputs: list[Tensor]) -> Tensor:
    if op == "flatten":
        return inputs[0].flatten(2)
    if op == "add":
        return inputs[0] + inputs[1]
    if op == "scale":
        return inputs[0] * args["value"]
    assert op in ("matmul", "matmul_t"), op
    return inputs[0] @ (inputs[1].transpose(-2, -1) if op == "matmul_t" else inputs[1])


def network_of(golden: Golden) -> dict[str, Any]:
    network: dict[str, Any] = json.loads(str(golden.arrays["network"]))
    return network


def account_of(golden: Golden, rules: Sequence[str | Rule]) -> Account:
    """The account of one run over the whole batch; what every layer gives must be what the fixture holds."""
    network = network_of(golden)
    net = Net(network)
    net.load_state_dict({name.replace("/", "."): value for name, value in golden.tensors("w/").items()}, strict=False)
    net.eval()
    x = torch.from_numpy(golden.arrays["input"])
    with torch.no_grad(), Accountant(net, rules=rules) as accountant:
        if network["input"] == "spikes":
            accountant.mark(x, steps=1 if network["step_mode"] == "s" else len(x))
        made = net(x)
    for name, want in golden.tensors("y/").items():
        torch.testing.assert_close(made[name], want.to(made[name].dtype), rtol=0, atol=1e-6, msg=name)
    return accountant.result(samples=network["batch"])
