"""Masks, neurons, networks and training of PRIME."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.registry import resolve
from retable.models.common import backends
from retable.models.common.errors import CheckpointError
from retable.models.prime import config as sizes
from retable.models.prime.checkpoint import own_keys
from retable.models.prime.config import (
    CLASSIFICATION,
    INPAINTING,
    VAE_NEURON,
    Array,
    Convolution,
    NeuronConfig,
)
from retable.models.prime.method import Prime, PrimeInpainting
from retable.models.prime.network import Network
from retable.models.prime.neurons import Fire, Readout
from retable.models.prime.topology import Conv2d, ConvTranspose2d, Linear, Synapses, kept, reading
from retable.models.prime.vae import SpikingVAE

SMALL: dict[str, Any] = {
    "convolutions": (Convolution(4, 3, padding=1), Convolution(6, 3)),
    "T": 5,
    "epochs": 3,
    "batch_size": 20,
    "lr": 1e-2,
}
SMALL_VAE: dict[str, Any] = {
    "channels": (4, 4),
    "latent": 6,
    "k": 3,
    "T": 4,
    "hole": (3, 5),
    "epochs": 2,
    "batch_size": 20,
    "lr": 5e-3,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def events(train: int = 60, held_out: int = 20) -> ImageData:
    """Three classes by where the events are."""
    rng = np.random.default_rng(0)

    def split(count: int) -> ArraySplit:
        labels = np.arange(count, dtype=np.int64) % 3
        pixels = rng.poisson(0.1, (count, 5, 2, 10, 10))
        for i, label in enumerate(labels):
            pixels[i, ..., 3 * label : 3 * label + 3] += rng.poisson(1.0, (5, 2, 10, 3))
        return ArraySplit(pixels=pixels.astype(np.uint8), labels=labels)

    return ImageData(name="e", train=split(train), held_out=split(held_out), num_classes=3, image_shape=(5, 2, 10, 10))


def stripes(train: int = 60, held_out: int = 12) -> ImageData:
    """Vertical or horizontal stripes, three equal channels."""
    lines = np.tile(np.array([0, 255], np.uint8), 4)
    both = np.stack([np.tile(lines, (8, 1)), np.tile(lines[:, None], (1, 8))])

    def split(count: int) -> ArraySplit:
        labels = np.arange(count, dtype=np.int64) % 2
        return ArraySplit(pixels=np.repeat(both[labels][:, None], 3, axis=1), labels=labels)

    return ImageData(name="s", train=split(train), held_out=split(held_out), num_classes=2, image_shape=(3, 8, 8))


@pytest.mark.parametrize("synapses", ["topology", "random", "weights"])
def test_a_classifier_fits_comes_back_and_learns_what_it_says(synapses: Any) -> None:
    assert resolve("method", "prime") is Prime
    data, method = events(), Prime(**SMALL, synapses=synapses)
    fitted, log = method.fit(data, {}, seed=1, device="cpu")
    again = method.load(fitted.state_dict(), data, {}, device="cpu")
    two, _ = method.fit(data, {}, seed=1, device="cpu")
    x = fitted.prepare(torch.from_numpy(data.held_out.images(np.arange(20))))
    assert torch.equal(again.steps(x), fitted.steps(x))
    assert torch.equal(two.steps(x), fitted.steps(x))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        start = method.build(data).state_dict()
    moved = {
        name.rpartition(".")[2] for name, value in fitted.state_dict().items() if not torch.equal(value, start[name])
    }
    assert moved == {"topology": {"scores"}, "random": set(), "weights": {"weight"}}[synapses]
    assert (log["steps"] > 0) == (synapses != "random")
    assert sum(p.numel() for p in fitted.parameters_counted()) == 2 * 4 * 9 + 4 * 6 * 9 + 6 * 3


def test_learned_masks_beat_random_ones_on_the_same_conductances() -> None:
    data = events()
    x, labels = torch.from_numpy(data.held_out.images(np.arange(20))), torch.from_numpy(data.held_out.labels)

    def accuracy(synapses: Any) -> float:
        one = {"convolutions": (Convolution(8),), "T": 5, "epochs": 20, "batch_size": 20, "lr": 3e-2}
        model, _ = Prime(**one, synapses=synapses).fit(data, {}, seed=0, device="cpu")
        return float((model(model.prepare(x)).argmax(-1) == labels).float().mean())

    assert accuracy("topology") > accuracy("random") + 0.3


@given(
    n=st.integers(1, 60), sparsity=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0]), seed=st.integers(0, 99)
)
@settings(deadline=None, max_examples=60)
def test_a_mask_keeps_what_is_not_below_the_k_th_smallest(n: int, sparsity: float, seed: int) -> None:
    scores = torch.randn(n, generator=seeded(seed))
    k = 1 + round((n - 1) * sparsity)
    mask = kept(scores, sparsity)
    assert int(mask.sum()) == n - k + 1
    assert scores[mask == 1].abs().min() >= max([*scores[mask == 0].abs().tolist(), 0.0])


def test_masks_round_to_even_and_keep_ties() -> None:
    assert int(kept(torch.arange(1.0, 5), 0.5).sum()) == 2  # k = 1 + round(1.5) = 3
    assert int(kept(torch.arange(1.0, 7), 0.5).sum()) == 4  # k = 1 + round(2.5) = 3: half to even
    assert kept(torch.tensor([1.0, -2, 2, 3]), 0.5).tolist() == [0, 1, 1, 1]


def test_every_score_learns_straight_through_the_mask_and_conductances_do_not() -> None:
    torch.manual_seed(0)
    layer = Linear(CLASSIFICATION, 6, 4, bias=False)
    x = torch.randn(3, 6)
    layer(x).sum().backward()
    assert layer.scores is not None
    expected = x.sum(0) * layer.weight.detach() * 0.01 * layer.scores.detach().sign()
    assert torch.allclose(layer.scores.grad, expected, atol=1e-6)
    assert layer.weight.grad is None
    assert "weight" in layer.state_dict()
    assert torch.equal(layer.effective() != 0, layer.mask() == 1)


def test_conductances_have_the_arrays_deviation_and_twins_that_of_torch() -> None:
    torch.manual_seed(0)
    for array, deviation in ((CLASSIFICATION, 6.352), (INPAINTING, 6.91593)):
        assert float(Linear(array, 200, 200).weight.detach().std()) == pytest.approx(deviation, rel=0.02)
        for layer in (Conv2d(array, 8, 8, 3), ConvTranspose2d(array, 8, 8)):
            assert layer.scores is not None
            assert float(layer.scores.detach().abs().max()) <= 1 / 72**0.5
    torch.manual_seed(1)
    twin, own = Conv2d(Array(kind="weights"), 3, 4, 5, padding=1), nn.Conv2d(3, 4, 5, padding=1)
    assert twin.weight.requires_grad
    assert twin.scores is None
    assert float(twin.weight.detach().abs().max()) <= 1 / 75**0.5
    twin.load_state_dict(own.state_dict())
    x = torch.randn(2, 3, 9, 9)
    assert torch.allclose(twin(x), own(x))


def test_reads_are_noisy_by_their_size_anew_and_only_inside_the_block() -> None:
    torch.manual_seed(0)
    layer = Linear(replace(CLASSIFICATION, sparsity=0.0), 300, 300, bias=False)
    quiet = layer.effective()
    with reading(nn.Sequential(layer), 0.2):
        one, two = layer.effective(), layer.effective()
    assert torch.equal(layer.effective(), quiet)
    assert not torch.equal(one, two)
    assert float(((one - quiet) / quiet).std()) == pytest.approx(0.2, rel=0.02)


def plain_neuron(x: Tensor, config: NeuronConfig) -> Tensor:
    """The recursion in torch's own words, with the surrogate's window as a clipped ramp."""

    def spike(u: Tensor) -> Tensor:
        ramp = (u - config.centre).clamp(-0.5, 0.5)
        return (u > config.threshold).float() + (ramp - ramp.detach())

    u = s = torch.zeros_like(x[0])
    spikes = []
    for x_t in x:
        u = u * (1 - s) * config.leak + x_t
        u = F.leaky_relu(u, config.slope)
        s = spike(u)
        spikes.append(s)
    return torch.stack(spikes)


@pytest.mark.parametrize("config", [sizes.CONV_NEURON, sizes.HIDDEN_NEURON, VAE_NEURON], ids=str)
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_neuron_is_its_recursion(config: NeuronConfig, backend: Any) -> None:
    x = torch.randn(7, 5, 900, generator=seeded())
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn(x.shape, generator=seeded(1))
    with backends.using(backend):
        spikes, expected = Fire(config)(one), plain_neuron(two, config)
    assert torch.equal(spikes, expected)
    (spikes * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.allclose(one.grad, two.grad, atol=1e-6)
    with backends.using(backend):
        assert torch.equal(Fire(config)(x.movedim(-1, 0)), Fire(config)(x.movedim(-1, 0).contiguous()))
    head, state = Fire(config).run(x[:3], None)
    tail, _ = Fire(config).run(x[3:], state)
    assert torch.equal(torch.cat((head, tail)), spikes)


def test_a_neuron_fires_strictly_keeps_a_fifth_and_rectifies_what_it_keeps() -> None:
    fire = Fire(sizes.CONV_NEURON)
    assert fire(torch.tensor([[0.2], [0.17]])).flatten().tolist() == [0, 1]  # 0.2 does not fire; 0.04 + 0.17 does
    assert fire(torch.tensor([[-1.0], [0.21]])).flatten().tolist() == [0, 0]  # -0.1 is kept, not -1: 0.19
    assert fire(torch.tensor([[-1.0], [0.23]])).flatten().tolist() == [0, 1]
    assert fire(torch.tensor([[9.0], [0.19]])).flatten().tolist() == [1, 0]  # reset to 0


def test_the_two_surrogates_stand_in_different_places() -> None:
    def slope_at(u: float, config: NeuronConfig) -> float:
        x = torch.full((1, 1), u, requires_grad=True)
        Fire(config)(x).sum().backward()
        return float(x.grad)

    assert [slope_at(u, VAE_NEURON) for u in (-0.45, 0.45, 0.6)] == [1, 1, 0]
    assert [slope_at(u, sizes.CONV_NEURON) for u in (0.1, 0.6, 0.75)] == [1, 1, 0]
    assert slope_at(-0.29, sizes.CONV_NEURON) == pytest.approx(0.1)  # behind the rectifier it is at -0.029


def test_the_readout_integrates_without_leak_through_a_rectifier() -> None:
    x = torch.tensor([[1.0], [-3.0], [1.0]])
    assert torch.allclose(Readout()(x).flatten(), torch.tensor([1.0, -0.2, 0.8]))


def test_published_sizes() -> None:
    with torch.device("meta"):
        conv = Network((2, 34, 34), 10, sizes.NMNIST_CONV)
        mlp = Network((2312,), 10, hidden=sizes.NMNIST_MLP)
        base, large = SpikingVAE(), SpikingVAE(sizes.PRUNING_FSVAE_LARGE)
        dense = SpikingVAE(array=Array(kind="weights"))

    def synapses(network: nn.Module) -> int:
        return sum(m.weight.numel() for m in network.modules() if isinstance(m, Synapses) and m.scores is not None)

    assert [synapses(n) for n in (conv, mlp, base, large)] == [42_840, 643_000, 177_728, 1_046_080]
    assert sum(p.numel() for p in base.parameters() if p.requires_grad) == 3_182_081
    assert sum(p.numel() for p in base.parameters() if not p.requires_grad) == 177_728
    assert sum(p.numel() for p in dense.parameters()) == 3_182_081
    assert len(base.state_dict()) == 112


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our autoencoder's state dict as it would have been released."""
    named = {}
    for key, value in state.items():
        key = key.replace(".synapses.", ".").replace(".layers.layers.", ".layers.")
        if value.dim() == 4:
            value = value[..., None]
        if key.endswith(".coef"):
            value = value.view(1, 1, 1, 1, -1)
        if key.endswith(".initial_input"):
            value = value.view(1, -1, 1)
        named[key] = value
    return named


def test_released_state_dicts_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    classifier, data = Prime().build(None), events()
    torch.save(classifier.network.state_dict(), tmp_path / "nmnist.pth")
    loaded, log = Prime(weights="nmnist.pth").fit(None, {}, seed=0, device="cpu")
    assert set(classifier.network.state_dict()) == {
        f"{layer}.{name}"
        for layer in ("features.conv0", "features.conv1", "classifier.linear0")
        for name in ("scores", "weight")
    }
    assert log == {"weights": "nmnist.pth"}
    x = torch.poisson(torch.full((2, 3, 2, 34, 34), 0.2))
    assert torch.equal(loaded(x), classifier(x))
    with pytest.raises(CheckpointError, match=r"nmnist.pth: features.conv0.weight has the shape"):
        Prime(**SMALL, weights="nmnist.pth").fit(data, {}, seed=0, device="cpu")

    small = {**SMALL_VAE, "hole": (3, 5)}
    model = PrimeInpainting(**small).build(stripes())
    released = official(model.network.state_dict())
    assert released["encoder.0.weight"].dim() == 5
    assert torch.equal(own_keys(released)["encoder.0.synapses.weight"], model.network.encoder[0].synapses.weight)
    torch.save(released, tmp_path / "vae.pth")
    again, _ = PrimeInpainting(**small, weights="vae.pth").fit(stripes(), {}, seed=5, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        (Prime, {"sparsity": 1.5}, "`sparsity` must lie between 0 and 1"),
        (Prime, {"read_noise": -0.1}, "`read_noise` must be at least 0"),
        (Prime, {"lr": 0.0}, "`lr` must be above 0"),
        (Prime, {"T": 0}, "must be at least 1"),
        (PrimeInpainting, {"hole": (5, 5)}, "`hole` is its first row and the one behind its last"),
        (PrimeInpainting, {"epochs": 0}, "`epochs` must be at least 1"),
        (PrimeInpainting, {"k": 0}, "`k` and all `channels` must be at least 1"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(method: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        method(**options)


def test_data_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="holds still images; prime takes frames of events"):
        Prime(**SMALL).build(stripes())
    with pytest.raises(ValueError, match="must hold square still images"):
        PrimeInpainting(**SMALL_VAE).build(events())
    with pytest.raises(ValueError, match="reaches beyond images of 8 pixels"):
        PrimeInpainting(**{**SMALL_VAE, "hole": (3, 9)}).build(stripes())
    with pytest.raises(ValueError, match="cannot be halved"):
        PrimeInpainting(**{**SMALL_VAE, "channels": (4, 4, 4, 4)}).build(stripes())


def test_operators_keep_torchs_contract() -> None:
    x, v = torch.randn(3, 4, requires_grad=True), torch.zeros(4)
    neuron = torch.ops.retable.rectify_and_fire.default
    torch.library.opcheck(
        neuron, (x, v, 0.2, 0.2, 0.1, 0.2, "reference"), test_utils=("test_schema", "test_faketensor")
    )
    topology = torch.ops.retable.topology.default
    W, S = torch.randn(3, 4), torch.randn(3, 4, requires_grad=True)
    torch.library.opcheck(topology, (W, S, 0.01, 0.5), test_utils=("test_schema", "test_faketensor"))
