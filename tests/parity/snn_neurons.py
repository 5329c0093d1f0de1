"""Neurons and surrogate derivatives against the papers' code, on every backend that runs here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retable.models.common import backends
from retable.models.spiking import neurons
from retable.models.spiking.surrogates import Surrogate
from tests.parity.close import close
from tests.parity.conftest import Golden


def check_surrogates(golden: Golden) -> None:
    arrays = golden.tensors("")
    for function in golden.config["functions"]:
        for alpha in golden.config["alphas"]:
            got = Surrogate(function, alpha).derivative(arrays["x"])
            close(got, arrays[f"{function}/alpha{alpha}/grad"], 1e-5, f"{function} {alpha}")
            for backend in running():
                x = arrays["x"][None].clone().requires_grad_()
                neuron = neurons.Neuron(
                    0.0, 1.0, decay_input=False, surrogate=Surrogate(function, alpha), backend=backend
                )
                spike = neuron(x + 1)
                assert torch.equal(spike[0], arrays["spike"]), f"{function} on {backend}"
                spike.sum().backward()
                close(x.grad[0], arrays[f"{function}/alpha{alpha}/grad"], 1e-4, f"{function} {alpha} on {backend}")


def running() -> list[backends.Backend]:
    """The backends that can run on this machine's CPU tensors."""
    names: tuple[backends.Backend, ...] = ("reference", "numba", "triton")
    return [name for name in names if backends.missing(name, "cpu") is None]


def check_neurons(golden: Golden) -> None:
    for i in range(golden.config["cases"]):
        case = f"case{i:02d}/"
        for backend in running():
            check_neuron(golden.part(case), golden.tensors(case), backend, f"case {i} on {backend}")


def build(config: dict[str, Any], backend: backends.Backend) -> neurons.Neuron:
    common = {name: config[name] for name in ("tau", "decay_input", "detach_reset", "v_reset") if name in config}
    if "v_threshold" in config:
        common["threshold"] = config["v_threshold"]
    if "surrogate" in config:
        common["surrogate"] = Surrogate(config["surrogate"], config["alpha"])
    if config["neuron"] == "ilif":
        return neurons.ILIF(levels=config["max_spike_count"], **common, backend=backend)
    if config["neuron"].endswith("_nonspiking"):
        return neurons.Integrator(config.get("tau"), backend=backend)
    return {"if": neurons.IF, "lif": neurons.LIF, "plif": neurons.PLIF}[config["neuron"]](**common, backend=backend)


def check_neuron(config: dict[str, Any], want: dict[str, Tensor], backend: backends.Backend, what: str) -> None:
    neuron, x = build(config, backend), want["x"].clone().requires_grad_()
    if "w" in want:
        with torch.no_grad():
            neuron.w.copy_(want["w"])
    spikes, potentials = [], []
    v = None
    for chunk in x.split(config.get("chunks", len(x))):
        s, v_seq = neuron.run(chunk, v, "all")
        v = v_seq[-1]
        spikes.append(s)
        potentials.append(v_seq)
    spike, v_seq = torch.cat(spikes), torch.cat(potentials)
    if "y" in want:
        close(v_seq, want["y"], 2e-5, what)
        (v_seq * want["c"]).sum().backward()
    else:
        assert torch.equal(spike, want["spike"]), f"the spikes of {what} differ"
        close(v_seq, want["v_seq"], 2e-5, what)
        ((spike * want["c"]).sum() + (v_seq[-1] * want["d"]).sum()).backward()
    close(x.grad, want["grad_x"], 1e-4, what)
    if "grad_w" in want:
        close(neuron.w.grad, want["grad_w"], 1e-4, what)


ADAPTERS = {"neurons": check_neurons, "surrogates": check_surrogates}
