"""PRIME (arXiv 2407.18625): masks, neurons, both networks and both stop rules against the released code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.bench.tasks.early_stop import changes, confidences, exits, settled
from retable.models.common import backends
from retable.models.prime import blocks, vae
from retable.models.prime.checkpoint import own_keys
from retable.models.prime.config import CLASSIFICATION, INPAINTING, VAE_NEURON, Array, Convolution, VAEConfig
from retable.models.prime.network import Network, cross_entropy, tet
from retable.models.prime.neurons import Fire
from retable.models.prime.topology import Conv2d, ConvTranspose2d, Linear, Synapses, kept
from tests.parity.close import assert_close, close
from tests.parity.conftest import Adapter, Golden

OUTPUT = {"rtol": 0.0, "atol": 1e-5}
GRADIENT = 1e-4
"""Of the largest entry."""


def array_of(golden: Golden, base: Array) -> Array:
    """Masked where the fixture has scores, with its sparsity."""
    masked = any(re.search(r"[./]scores$", name) for name in golden.arrays)
    return replace(
        base, sparsity=golden.config.get("sparsity", base.sparsity), kind="topology" if masked else "weights"
    )


def network_of(golden: Golden) -> Network:
    config = golden.config
    convolutions = [
        Convolution(*(int(n) for n in re.findall(r"\d+", text)[1:]), pooled=i in config["pooling_pos"])
        for i, text in enumerate(config["conv_size"] or ())
    ]
    _, *hidden, classes = config["fc_size"]
    network = Network(golden.arrays["x"].shape[2:], classes, convolutions, hidden, array_of(golden, CLASSIFICATION))
    network.load_state_dict(golden.tensors("sd/"))
    return network.eval()


def check_classifier(golden: Golden) -> None:
    want, network = golden.tensors(""), network_of(golden)
    x = want["x"].clone().requires_grad_()
    spikes = network.spikes(x)
    logits_TBK = network.steps(x)
    assert len(logits_TBK) == golden.config["T"]
    assert_close(logits_TBK.transpose(0, 1), want["outs"], "outs", **OUTPUT)
    assert_close(network(x), want["out"], "out", **OUTPUT)
    readout = list(spikes)[-1]
    for name, emitted in spikes.items():
        expected = want[f"spk/{name}"]
        if name == readout:
            assert_close(emitted.transpose(0, 1), expected, f"potentials of {name}", **OUTPUT)
        else:
            assert torch.equal(emitted.detach().transpose(0, 1), expected), f"the spikes of {name} differ"
    for name, mask in network.masks().items():
        assert torch.equal(mask.detach(), want[f"mask/{name}"].to(mask.dtype)), f"the mask of {name} differs"
    network(x).sum().backward()
    close(x.grad, want["grad_x"], GRADIENT, "grad_x")
    for name, expected in golden.tensors("grad/").items():
        close(network.get_parameter(name).grad, expected, GRADIENT, f"grad/{name}")
    if "ce" in want:
        assert_close(cross_entropy(logits_TBK, want["target"]), want["ce"], "ce", **OUTPUT)
        assert_close(tet(logits_TBK, want["target"]), want["tet"], "tet", **OUTPUT)
    if "ee_steps" in want:
        check_early_exit(logits_TBK.detach(), want, golden.config)


def check_early_exit(logits_TBK: Tensor, want: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Threshold 0.8 at temperature 2 unless the fixture says others; the two confidences are those at the exit."""
    first_TN, second_TN = confidences(logits_TBK, temperature=config.get("temperature", 2.0))
    steps_N = exits(first_TN, config.get("threshold", 0.8))
    assert steps_N.tolist() == want["ee_steps"].tolist()
    means_TBK = logits_TBK.cumsum(0) / torch.arange(1, len(logits_TBK) + 1)[:, None, None]
    at = torch.from_numpy(steps_N) - 1, torch.arange(len(steps_N))
    assert_close(means_TBK[at], want["ee_out"], "ee_out", **OUTPUT)
    for name, found in (("ee_conf1", first_TN), ("ee_conf2", second_TN)):
        assert_close(torch.from_numpy(found)[at], want[name], name, **OUTPUT)


def time_first(x: Tensor) -> Tensor:
    """The fixtures' last axis is time."""
    return x.movedim(-1, 0)


def check_layers(golden: Golden) -> None:
    for kind in ("lin", "conv", "tr"):
        check_block(golden, kind)
    want = golden.tensors("")
    x = want["lif/x"].clone().requires_grad_()
    spikes = Fire(VAE_NEURON)(time_first(x))
    assert torch.equal(spikes.detach(), time_first(want["lif/y"]))
    spikes.sum().backward()
    close(x.grad, want["lif/grad_x"], GRADIENT, "lif/grad_x")
    assert_close(blocks.post_synaptic(time_first(want["psp/x"])), time_first(want["psp/y"]), "psp", **OUTPUT)
    output = blocks.MembraneOutput(golden.config["T"])
    for suffix in ("", "_short"):
        got = output(time_first(want[f"memout/x{suffix}"]))
        assert_close(got, want[f"memout/y{suffix}"], f"memout{suffix}", **OUTPUT)
    for name in [name for name in want if name.startswith("subnet/") and name.endswith("_scores")]:
        case = name.removesuffix("_scores")
        mask = kept(want[name], float(want[f"{case}_sparsity"]))
        assert torch.equal(mask, want[f"{case}_mask"]), f"the mask of {case} differs"


def block_of(kind: str, array: Array, weight: Tensor, wide: Tensor, narrow: Tensor) -> blocks.Block:
    """One block; its stride is the ratio of the sides of its input and output, the linear one's alpha is 2."""
    if kind == "lin":
        out, into = weight.shape
        return blocks.Block(Linear(array, into, out), out, alpha=2.0)
    stride, kernel = -(-wide.shape[2] // narrow.shape[2]), weight.shape[2]
    if kind == "conv":
        out, into = weight.shape[:2]
        return blocks.Block(Conv2d(array, into, out, kernel, stride, kernel // 2), out)
    into, out = weight.shape[:2]
    return blocks.Block(ConvTranspose2d(array, into, out, kernel, stride), out)


def check_block(golden: Golden, kind: str) -> None:
    want, state = golden.tensors(f"{kind}/"), golden.tensors(f"{kind}/sd/")
    x = want["x"].clone().requires_grad_()
    sides = (want["x"], want["y_train"])
    block = block_of(kind, array_of(golden, INPAINTING), state["weight"], *(sides if kind == "conv" else sides[::-1]))
    named = own_keys({f"block.{key}": value for key, value in state.items()})
    block.load_state_dict({key.removeprefix("block."): value for key, value in named.items()})
    spikes = block.train()(time_first(x))
    assert torch.equal(spikes.detach(), time_first(want["y_train"])), f"the spikes of {kind} differ in training"
    spikes.sum().backward()
    close(x.grad, want["grad_x"], GRADIENT, f"{kind}/grad_x")
    synapses: Synapses = block.synapses
    gradients = {"scores": synapses.scores, "bn.weight": block.bn.weight, "bn.bias": block.bn.bias}
    for name, parameter in gradients.items():
        assert parameter is not None
        close(parameter.grad, want[f"grad/{name}"].view_as(parameter), GRADIENT, f"{kind}/grad/{name}")
    assert synapses.bias is not None
    # behind a normalisation the bias has no gradient but that of rounding
    assert float(synapses.bias.grad.abs().max()) < GRADIENT * float(want["grad/bn.bias"].abs().max())
    for name in ("running_mean", "running_var"):
        assert_close(getattr(block.bn, name), want[f"{name}_after"], f"{kind}/{name}", **OUTPUT)
    assert torch.equal(block.eval()(time_first(x)).detach(), time_first(want["y_eval"])), f"{kind} differs in eval"


def recorded(rows: Tensor) -> Any:
    """An index source that hands out the fixture's draws, one row a call, and knows how many are left."""
    left: Iterator[Tensor] = iter(rows)

    def draws(count: int, k: int) -> Tensor:
        row = next(left)
        assert row.shape == (count,)
        assert int(row.max()) < k
        return row

    return draws


def vae_of(golden: Golden) -> vae.SpikingVAE:
    state, config = own_keys(golden.tensors("sd/")), golden.config
    encoder = sorted(key for key in state if re.fullmatch(r"encoder\.\d+\.synapses\.weight", key))
    sizes = VAEConfig(
        T=config["n_steps"],
        channels=tuple(len(state[key]) for key in encoder),
        latent=config["latent_dim"],
        k=config["k"],
        in_channels=config["in_channels"],
        image_size=config["input_size"],
    )
    model = vae.SpikingVAE(sizes, array_of(golden, INPAINTING))
    model.load_state_dict(state)
    return model


def check_vae(golden: Golden) -> None:
    want, config = golden.tensors(""), golden.config
    model = vae_of(golden).train()
    filling = model(want["x"], draws=recorded(want["rand_train"]))
    check_filling(filling, want, "train")
    recon = F.mse_loss(filling.image, want["target"])
    losses = {
        "recon": recon,
        "mmd": vae.mmd(filling.q_TBCk, filling.p_TBCk),
        "kld": vae.kld(filling.q_TBCk, filling.p_TBCk),
        "kld_total": recon + vae.divergence(filling, "kld"),
        "loss": recon + vae.divergence(filling, config["loss_func"]),
    }
    for name, value in losses.items():
        if name in want:
            torch.testing.assert_close(value.detach(), want[name], rtol=1e-5, atol=1e-5, msg=f"{name} {value}")
    losses["loss"].backward()
    gradients = own_keys(golden.tensors("grad/"))
    for name, expected in gradients.items():
        got = model.get_parameter(name).grad
        if name.endswith("synapses.bias"):  # behind a normalisation: no gradient but that of rounding
            beside = gradients[name.replace("synapses.bias", "bn.bias")]
            assert got is None or float(got.abs().max()) < GRADIENT * max(1e-30, float(beside.abs().max()))
        else:
            close(got, expected, GRADIENT, f"grad/{name}")
    model = vae_of(golden).eval()
    with torch.no_grad():
        check_filling(model(want["x"], draws=recorded(want["rand_eval"])), want, "eval")
        image, z_TBC = model.sample(len(want["sample_x"]), recorded(want["rand_sample"]))
    assert_close(image, want["sample_x"], "sample_x", **OUTPUT)
    assert torch.equal(z_TBC, time_first(want["sample_z"]).float())


def check_filling(filling: vae.Filling, want: dict[str, Tensor], mode: str) -> None:
    for name, spikes in (("q_z", filling.q_TBCk), ("p_z", filling.p_TBCk), ("z", filling.z_TBC)):
        assert torch.equal(spikes.detach(), time_first(want[f"{name}_{mode}"]).float()), f"{name}_{mode} differs"
    assert_close(filling.image, want[f"x_recon_{mode}"], f"x_recon_{mode}", **OUTPUT)


@torch.no_grad()
def check_vae_early_stop(golden: Golden) -> None:
    """Every prefix afresh, with draws of its own and an attenuated readout, one image at a time."""
    want, T = golden.tensors(""), golden.config["n_steps"]
    model = vae_of(golden).eval()
    for i, x in enumerate(want["x"]):
        draws, steps = recorded(want[f"rand_{i}"]), int(want["steps"][i])
        images = torch.stack([model(x[None], T=n, draws=draws).image for n in range(1, steps + 1)])
        unseen = images.new_full((T - steps, *images.shape[1:]), 2.0)  # what the rule must not need to look at
        change = changes(torch.cat((images, unseen)).numpy())
        assert settled(change, golden.config.get("threshold", 0.2)).tolist() == [steps]
        torch.testing.assert_close(float(change[steps - 1, 0]), float(want["diff"][i]), rtol=1e-5, atol=1e-5)
        assert_close(images[-1, 0], want["x_recon"][i], f"x_recon {i}", **OUTPUT)


def check_stop_rule(golden: Golden) -> None:
    change = changes(golden.arrays["images"].swapaxes(0, 1))
    stopped = settled(change, float(golden.arrays["threshold"]))
    assert stopped.tolist() == golden.arrays["steps"].tolist()
    last = torch.from_numpy(change[stopped - 1, range(len(stopped))])
    torch.testing.assert_close(last.float(), golden.tensors("")["last_diff"], rtol=1e-5, atol=1e-5)


def on_both(check: Adapter) -> Adapter:
    """The neurons' definition and their compiled form."""

    def run(golden: Golden) -> None:
        for backend in ("reference", "numba"):
            with backends.using(backend):
                check(golden)

    return run


ADAPTERS = {
    "cls_": on_both(check_classifier),
    "vae_layers": on_both(check_layers),
    "vae_": on_both(check_vae),
    "vae_early_stop": on_both(check_vae_early_stop),
    "inpaint_stop_rule": check_stop_rule,
}
