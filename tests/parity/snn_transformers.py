"""The spiking Transformers of the survey against the released code: blocks and whole networks, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import PLIF
from retable.models.vision import meta_spikeformer, qkformer, spike_driven, spikformer
from retable.models.vision.layers import Neuron, lif
from tests.parity.close import close, close_gradients, summed_terms
from tests.parity.conftest import Adapter, Golden

OUTPUT, GRADIENT = 2e-5, 1e-4
Config = Mapping[str, Any]
Build = Callable[[Config, Tensor], nn.Module]
"""The module of a fixture, from its config and its input."""


def check(build: Build, golden: Golden) -> None:
    config, arrays = golden.config, golden.tensors("")
    state = golden.tensors("sd/")
    module = build(config, arrays["x"])

    module.load_state_dict(state, strict=True)
    with torch.no_grad():
        same(first(module.eval()(arrays["x"])), arrays["y_eval"], "y_eval")

    module.load_state_dict(state, strict=True)
    x = arrays["x"].clone().requires_grad_()
    with summed_terms(module) as terms:
        y = first(module.train()(x))
        (y * arrays["c"]).sum().backward()
    same(y, arrays["y_train"], "y_train")
    close(x.grad, arrays["grad_x"], GRADIENT, "grad_x")
    close_gradients(module, golden.tensors("grad/"), terms, GRADIENT)

    buffers = dict(module.named_buffers())
    for name, value in golden.tensors("after/").items():
        close(buffers[name].double(), value.double(), OUTPUT, f"{name} after the pass")


def same(actual: Tensor, expected: Tensor, what: str) -> None:
    """Sums of spikes are integers and must be equal; anything else within the tolerance."""
    if torch.equal(expected, expected.round()):
        assert torch.equal(actual, expected), f"{what}: {int((actual != expected).sum())} spikes differ"
    else:
        close(actual, expected, OUTPUT, what)


def first(output: Any) -> Tensor:
    """The fixtures hold the first of a pair of logits."""
    return output[0] if isinstance(output, tuple) else output


def neuron(config: Config) -> Neuron:
    if config.get("spike_mode", "lif") == "plif":
        return partial(PLIF, tau=2.0, detach_reset=True)
    return lif


def network(config: Config, x: Tensor) -> dict[str, Any]:
    """The constructor arguments that all networks share; event frames bring their own time."""
    return {
        "in_channels": x.shape[-3],
        "num_classes": config["num_classes"],
        "image_size": tuple(x.shape[-2:]),
        "T": config["T"],
        "num_heads": config["num_heads"],
        "mlp_ratio": config["mlp_ratio"],
        "neuron": neuron(config),
    }


class PerStep(nn.Module):
    """A network by its logits of every step; its parameters keep their names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.__dict__["network"] = network
        self._modules, self._parameters, self._buffers = network._modules, network._parameters, network._buffers

    def train(self, mode: bool = True) -> PerStep:
        self.network.train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.network.steps(x)


def sdt_model(config: Config, x: Tensor) -> nn.Module:
    model = spike_driven.SpikeDrivenTransformer(
        **network(config, x),
        embed_dims=config["embed_dims"],
        depths=config["depths"],
        pooling_stat=config["pooling_stat"],
        dvs_mode=config.get("dvs", config.get("dvs_mode", False)),
    )
    return PerStep(model) if config.get("TET") else model


def qkformer_depths(config: Config) -> tuple[int, int, int]:
    """The released code counts one block in the first stage, two in the second and the rest in the last."""
    return 1, 2, config["depths"] - 3


BUILD: dict[str, Build] = {
    "spikformer_ssa": lambda c, x: spikformer.SSA(c["dim"], c["num_heads"], c.get("scale", 0.125), neuron=neuron(c)),
    "spikformer_mlp": lambda c, x: spikformer.MLP(c["dim"], c["hidden"], neuron(c)),
    "spikformer_block": lambda c, x: spikformer.Block(c["dim"], c["num_heads"], c["mlp_ratio"], neuron=neuron(c)),
    "spikformer_sps": lambda c, x: spikformer.SPS(
        x.shape[2], c["embed_dims"], c.get("pooling_stat", "1111"), neuron(c)
    ),
    "spikformer_model": lambda c, x: spikformer.Spikformer(
        **network(c, x),
        embed_dims=c["embed_dims"],
        depths=c["depths"],
        pooling_stat=c.get("pooling_stat", "1111"),
        scale=c.get("scale", 0.125),
    ),
    "sdt_attention": lambda c, x: spike_driven.SDSA(c["dim"], c["num_heads"], c.get("dvs", False), neuron(c)),
    "sdt_mlp": lambda c, x: spike_driven.MembraneMLP(c["dim"], c["hidden"], neuron(c)),
    "sdt_block": lambda c, x: spike_driven.Block(
        c["dim"], c["num_heads"], c.get("mlp_ratio", 4), c.get("dvs", False), neuron(c)
    ),
    "sdt_sps": lambda c, x: spike_driven.MembraneSPS(x.shape[2], c["embed_dims"], c["pooling_stat"], neuron(c)),
    "sdt_model": sdt_model,
    "sdtv2_repconv": lambda c, x: meta_spikeformer.RepConv(c["dim"]),
    "sdtv2_sepconv": lambda c, x: meta_spikeformer.SepConv(c["dim"], c["expansion"], c["kernel"], neuron(c)),
    "sdtv2_convblock": lambda c, x: meta_spikeformer.ConvBlock(c["dim"], c["mlp_ratio"], neuron(c)),
    "sdtv2_attention": lambda c, x: meta_spikeformer.Attention(c["dim"], c["num_heads"], c["scale"], neuron(c)),
    "sdtv2_block": lambda c, x: meta_spikeformer.Block(c["dim"], c["num_heads"], c["mlp_ratio"], neuron=neuron(c)),
    "sdtv2_downsample": lambda c, x: meta_spikeformer.DownSampling(
        c["in_channels"], c["embed_dims"], c["kernel"], c["stride"], c["padding"], c["first_layer"], neuron(c)
    ),
    "sdtv2_model": lambda c, x: meta_spikeformer.MetaSpikeFormer(
        **network(c, x), embed_dim=c["embed_dim"], kd=c.get("kd", False)
    ),
    "qkformer_token_attention": lambda c, x: qkformer.TokenAttention(c["dim"], c["num_heads"], neuron(c)),
    "qkformer_token_block": lambda c, x: qkformer.TokenBlock(c["dim"], c["num_heads"], c["mlp_ratio"], neuron(c)),
    "qkformer_ssa_block": lambda c, x: qkformer.SSABlock(
        c["dim"], c["num_heads"], c["mlp_ratio"], protocol="official", neuron=neuron(c)
    ),
    "qkformer_patch_init": lambda c, x: qkformer.PatchEmbedInit(x.shape[2], c["embed_dims"], neuron=neuron(c)),
    "qkformer_patch_stage": lambda c, x: qkformer.PatchEmbeddingStage(c["embed_dims"], neuron=neuron(c)),
    "qkformer_model": lambda c, x: qkformer.QKFormer(
        **network(c, x), embed_dims=c["embed_dims"], depths=qkformer_depths(c), protocol="official"
    ),
}
ADAPTERS: dict[str, Adapter] = {kind: partial(check, build) for kind, build in BUILD.items()}
