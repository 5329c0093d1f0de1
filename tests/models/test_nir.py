"""NIR out and back: spikes bit by bit, and what it has no words for by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from retable.models.spiking.exchange import Chain, NotInNIRError, fixed_point, from_nir, to_nir
from retable.models.spiking.neurons import IF, ILIF, LIF, PLIF, Integrator

nir = pytest.importorskip("nir")


def chain(neuron: nn.Module, read_out: nn.Module | None = None, groups: int = 2) -> Chain:
    torch.manual_seed(7)
    layers = {
        "conv": nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=groups),
        "act": neuron,
        "pool": nn.AvgPool2d(2),
        "flat": nn.Flatten(),
        "fc": nn.Linear(6 * 4, 5, bias=False),
        "out": read_out or LIF(threshold=0.25),
    }
    network = Chain()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network.eval()


def events(steps: int = 6) -> torch.Tensor:
    return torch.randint(0, 3, (steps, 3, 2, 8, 8), generator=torch.Generator().manual_seed(8)).float()


@pytest.mark.parametrize(
    "neuron",
    [
        IF(threshold=0.5),
        LIF(threshold=0.4),
        LIF(4 / 3, threshold=0.3, decay_input=False),
        LIF(3.0, threshold=0.3, v_reset=-0.125),
        LIF(threshold=0.3, strict=True),
        PLIF(2.5, threshold=0.3),
    ],
    ids=repr,
)
def test_a_network_comes_back_with_the_same_spikes(neuron: nn.Module) -> None:
    network, x = chain(neuron), events()
    back = from_nir(to_nir(network, (2, 8, 8)))
    with torch.no_grad():
        fired = network[:2](x)
        assert 0 < fired.mean() < 1
        assert torch.equal(back[:2](x), fired)
        assert torch.equal(back(x), network(x))


def test_a_threshold_that_is_met_exactly_fires_on_both_sides() -> None:
    network = Chain(nn.Linear(1, 1, bias=False), IF(threshold=0.75))
    nn.init.ones_(network[0].weight)
    x = torch.tensor([0.25, 0.5, 0.75, 0.749]).view(4, 1, 1)
    back = from_nir(to_nir(network, (1,)))
    with torch.no_grad():
        assert network(x).flatten().tolist() == back(x).flatten().tolist() == [0, 1, 1, 0]
    threshold = to_nir(network, (1,)).nodes["1"].v_threshold
    assert 0 < 0.75 - threshold.item() < 1e-7  # NIR fires above its threshold


def test_potentials_come_back_too() -> None:
    for read_out in (Integrator(4.0), Integrator(None)):
        network, x = chain(LIF(threshold=0.3), read_out), events()
        with torch.no_grad():
            assert torch.equal(from_nir(to_nir(network, (2, 8, 8)))(x), network(x))


def test_a_file_is_the_graph(tmp_path: Path) -> None:
    if importlib.util.find_spec("h5py") is None:
        pytest.skip("writing NIR files needs h5py")
    network, x = chain(LIF(threshold=0.3), groups=1), events()  # nir 1.0.8 types grouped convolutions by one group
    nir.write(tmp_path / "net.nir", to_nir(network, (2, 8, 8)))
    with torch.no_grad():
        assert torch.equal(from_nir(nir.read(tmp_path / "net.nir"))(x), network(x))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (LIF(v_reset=None), "layer 1: NIR has no word for a soft reset"),
        (ILIF(), "layer 1: NIR has no word for ILIF"),
        (nn.BatchNorm1d(4), "layer 1: NIR has no word for BatchNorm1d; fold it"),
        (nn.Softmax(-1), "layer 1: NIR has no word for Softmax"),
    ],
)
def test_what_nir_cannot_say_is_named(layer: nn.Module, reason: str) -> None:
    network = Chain(nn.Linear(4, 4), layer).eval()
    if isinstance(layer, nn.BatchNorm1d):
        layer.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(NotInNIRError, match=reason):
        to_nir(network, (4,))


def test_graphs_that_are_no_chains_and_neurons_that_differ_are_refused() -> None:
    graph = to_nir(Chain(nn.Linear(4, 4), LIF()), (4,))
    graph.nodes["1"].tau[0] = 3.0
    with pytest.raises(NotInNIRError, match="differ from each other"):
        from_nir(graph)
    graph = to_nir(Chain(nn.Linear(4, 4), LIF()), (4,))
    graph.edges.append(("input", "1"))
    with pytest.raises(NotInNIRError, match="branches"):
        from_nir(graph)
    graph = to_nir(Chain(nn.Linear(4, 4), LIF()), (4,))
    graph.nodes["1"].v_leak[:] = 0.5
    with pytest.raises(NotInNIRError, match="leak to where they reset"):
        from_nir(graph)


def test_fixed_point_names_each_layer_s_shift_and_what_it_loses() -> None:
    network = Chain(nn.Linear(2, 1, bias=False), LIF(threshold=0.7), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.3]]))
        network[2].weight.fill_(-2.0)
    first, last = fixed_point(to_nir(network, (2,)), bits=8)
    assert (first.layer, first.shift, last.shift) == ("0", -6, -5)  # 127 steps of 1/128 do not reach 1, nor of 1/64 2
    assert first.weight_error == pytest.approx(abs(round(0.3 * 64) / 64 - 0.3), abs=1e-7)
    assert first.threshold_error == pytest.approx(abs(round(0.7 * 64) / 64 - 0.7), abs=1e-6)
    assert (last.weight_error, last.threshold_error) == (0, None)
