"""STFN, GC-SNN and GA-SNN against the paper's equations, evaluated in float64 (no code was released)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.stfn.dynamics import Dynamics
from retable.models.stfn.graph import Graph, neighbourhoods
from retable.models.stfn.layers import GraphAttention, SpikingLayer
from retable.models.stfn.network import SpikingGNN
from retable.models.stfn.readout import LinearHead
from tests.parity.close import close
from tests.parity.conftest import Golden

FORWARD, GRADIENT = 2e-5, 1e-4


def check_stfn(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    assert config["constant_input"] == (want["X"].dim() == 2)
    dynamics = Dynamics(
        decay=config["decay"],
        threshold=config["v_threshold"],
        rho=config["rho"],
        eps=config["eps"],
        window=config["rect_width"],
    )
    graph = neighbourhoods(want["A"].nonzero().T, config["N"], config["self_loops"])
    P_NN = torch.zeros_like(want["P"]).index_put((graph.i_E, graph.j_E), graph.symmetric_weights())
    close(P_NN, want["P"], FORWARD, "P")
    check_convolution(config, want, dynamics, graph)
    check_attention(config, want, dynamics, graph)


def check_convolution(config: dict, want: dict[str, Tensor], dynamics: Dynamics, graph: Graph) -> None:
    depth = sum(name.startswith("W") and name[1:].isdigit() for name in want)
    hidden = tuple(want[f"W{i + 1}"].shape[1] for i in range(depth))
    net = SpikingGNN(config["C"], config["classes"], hidden, T=config["T"], dynamics=dynamics)
    names = {"W": "aggregate.W", "b": "aggregate.b", "lam": "norm.lam", "gam": "norm.gam"}
    keys = {f"{short}{i + 1}": f"layers.{i}.{name}" for i in range(depth) for short, name in names.items()}
    keys |= {"Wo": "readout.head.W", "bo": "readout.head.b"}
    net.load_state_dict({name: want[key] for key, name in keys.items()})
    seen = watch(net)
    logits = net(want["X"], graph)
    for i in range(1, depth + 1):
        check_layer(seen, f"layers.{i - 1}", {what: want[f"{what}{i}"] for what in "SYH"})
    close(logits, want["logits"], FORWARD, "logits")
    close(net.steps(want["X"], graph)[-1], want["logits"], FORWARD, "logits by step")
    loss = F.cross_entropy(logits[want["mask"]], want["y"][want["mask"]], reduction="sum")
    close(loss, want["loss"], FORWARD, "loss")
    loss.backward()
    parameters = dict(net.named_parameters())
    for key, name in keys.items():
        close(parameters[name].grad, want[f"grad/{key}"], GRADIENT, f"grad/{key}")


def check_attention(config: dict, want: dict[str, Tensor], dynamics: Dynamics, graph: Graph) -> None:
    layer = SpikingLayer("attention", config["C"], config["H"], dynamics)
    attention = layer.aggregate
    assert isinstance(attention, GraphAttention)
    attention.slope = config["leaky_slope"]
    head = LinearHead(config["H"], config["classes"], "glorot")
    head.load_state_dict({"W": want["Wo"], "b": want["bo"]})
    layer.load_state_dict(
        {"aggregate.W": want["W1"], "aggregate.a": want["a1"], "norm.lam": want["lam1"], "norm.gam": want["gam1"]}
    )
    x = want["X"] if want["X"].dim() == 3 else want["X"][None]
    alpha = torch.zeros(len(x), config["N"], config["N"])
    alpha[:, graph.i_E, graph.j_E] = attention.coefficients(x @ attention.W, graph).detach()
    close(alpha.expand_as(want["ga/alpha"]), want["ga/alpha"], FORWARD, "ga/alpha")
    seen = watch(layer)
    spikes = layer(x, graph, config["T"])
    check_layer(seen, "", {what: want[f"ga/{what}"] for what in "SYH"})
    loss = head(spikes.mean(0)).square().sum()
    close(loss, want["ga/loss"], FORWARD, "ga/loss")
    loss.backward()
    parameters = {"W1": attention.W, "a1": attention.a, "lam1": layer.norm.lam, "gam1": layer.norm.gam}
    for key, parameter in parameters.items():
        close(parameter.grad, want[f"ga/grad/{key}"], GRADIENT, f"ga/grad/{key}")


def watch(network: nn.Module) -> dict[str, Tensor]:
    """Outputs of the modules by name, filled by a forward pass."""
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output}))
    return seen


def check_layer(seen: dict[str, Tensor], layer: str, want: dict[str, Tensor]) -> None:
    prefix = f"{layer}." if layer else ""
    close(seen[f"{prefix}aggregate"].expand_as(want["S"]), want["S"], FORWARD, f"S of {layer}")
    close(seen[f"{prefix}norm"].expand_as(want["Y"]), want["Y"], FORWARD, f"Y of {layer}")
    assert torch.equal(seen[f"{prefix}neuron"], want["H"]), f"the spikes of {layer or 'the attention layer'} differ"


ADAPTERS = {"stfn_equations": check_stfn}
