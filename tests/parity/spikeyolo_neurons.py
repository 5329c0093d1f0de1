"""Both I-LIF neurons and the binary steps of inference, on every backend that runs here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retable.models.common import backends
from retable.models.spikeyolo.layers import NeuronKind, neuron_of
from retable.models.spikeyolo.virtual import VirtualSteps, binary_steps
from retable.models.spiking.neurons import ILIF
from tests.parity.close import assert_close
from tests.parity.conftest import Golden
from tests.parity.snn_neurons import running


def check_neuron(want: dict[str, Tensor], suffix: str, x_suffix: str, kind: NeuronKind, D: int) -> None:
    for backend in running():
        with backends.using(backend):
            x = want[f"in/x_{x_suffix}"].clone().requires_grad_()
            neuron = neuron_of(kind, D)()
            assert isinstance(neuron, ILIF)
            spikes, v = neuron.run(x)
            assert torch.equal(spikes, want[f"out/spk_{suffix}"]), f"spikes {suffix} on {backend}"
            if f"out/v_{suffix}" in want:
                assert v is not None
                assert_close(v, want[f"out/v_{suffix}"], f"v {suffix} on {backend}", rtol=0, atol=1e-6)
            (spikes * want[f"in/r_{x_suffix}"]).sum().backward()
            assert_close(x.grad, want[f"grad/x_{suffix}"], f"gradient {suffix} on {backend}", rtol=0, atol=1e-6)
    virtual = VirtualSteps(neuron)
    T = len(x)
    binary = virtual(x.detach()).unflatten(0, (T, D))
    assert torch.equal(binary.sum(1), spikes.detach())


def check_ilif(golden: Golden) -> None:
    want = golden.tensors("")
    for T in golden.config["Ts"]:
        for D in golden.config["D"]:
            check_neuron(want, f"T{T}_D{D}", f"T{T}", "ilif", D)


def check_gen1(golden: Golden) -> None:
    want = golden.tensors("")
    for T in golden.config["Ts"]:
        check_neuron(want, f"T{T}", f"T{T}", "ilif-gen1", golden.config["D"])


def check_binary(golden: Golden) -> None:
    want = golden.tensors("")
    for D in golden.config["D"]:
        spikes, neuron = want[f"out/int_D{D}"], neuron_of("ilif", D)()
        assert isinstance(neuron, ILIF)
        assert torch.equal(neuron(want[f"in/x_D{D}"]), spikes)
        binary = binary_steps(spikes, D)
        assert torch.equal(binary.byte(), want[f"out/bin_D{D}"])
        weight = want["in/weight"]
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2, bias=False)
        conv.weight.data = weight
        for got in (
            VirtualSteps(neuron).through(conv, want[f"in/x_D{D}"]),
            F.conv2d(spikes.flatten(0, 1), weight, padding=1).unflatten(0, spikes.shape[:2]),
        ):
            assert_close(got, want[f"out/conv_D{D}"], f"convolution, D={D}", rtol=1e-5, atol=1e-5)


ADAPTERS = {"ilif_neuron": check_ilif, "gen1_neuron": check_gen1, "binary_expansion": check_binary}
