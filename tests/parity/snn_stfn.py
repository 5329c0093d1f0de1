"""STFN, GC-SNN and GA-SNN against the paper's equations, evaluated in float64 (no code was released)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retable.models.stfn.stfn import (
    Dynamics,
    GraphAttention,
    Layer,
    SpikingGNN,
    neighbourhood,
    propagation,
    summed_cross_entropy,
)
from tests.parity.close import close
from tests.parity.conftest import Golden

FORWARD, GRADIENT = 2e-5, 1e-4


def check_stfn(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    dynamics = Dynamics(
        decay=config["decay"],
        threshold=config["v_threshold"],
        rho=config["rho"],
        eps=config["eps"],
        window=config["rect_width"],
    )
    edges = neighbourhood(want["A"].nonzero().T, config["N"], config["self_loops"])
    close(propagation(edges, config["N"]).to_dense(), want["P"], FORWARD, "P")
    check_convolution(config, want, dynamics, edges)
    check_attention(config, want, dynamics, edges)


def check_convolution(config: dict, want: dict[str, Tensor], dynamics: Dynamics, edges: Tensor) -> None:
    net = SpikingGNN(config["C"], config["classes"], (config["H"],) * 2, T=config["T"], dynamics=dynamics)
    names = {"W": "aggregate.W", "b": "aggregate.b", "lam": "norm.lam", "gam": "norm.gam"}
    keys = {f"{short}{i + 1}": f"layers.{i}.{name}" for i in range(2) for short, name in names.items()}
    state = {name: want[key] for key, name in keys.items()}
    net.load_state_dict({**state, "readout.weight": want["Wo"].T, "readout.bias": want["bo"]})
    seen = watch(net)
    logits = net(want["X"], edges)
    for i in (1, 2):
        check_layer(seen, f"layers.{i - 1}", {what: want[f"{what}{i}"] for what in "SYH"})
    close(logits, want["logits"], FORWARD, "logits")
    loss = summed_cross_entropy(logits, want["y"], want["mask"])
    close(loss, want["loss"], FORWARD, "loss")
    loss.backward()
    parameters = dict(net.named_parameters())
    for key, name in keys.items():
        close(parameters[name].grad, want[f"grad/{key}"], GRADIENT, f"grad/{key}")
    close(net.readout.weight.grad.T, want["grad/Wo"], GRADIENT, "grad/Wo")
    close(net.readout.bias.grad, want["grad/bo"], GRADIENT, "grad/bo")


def check_attention(config: dict, want: dict[str, Tensor], dynamics: Dynamics, edges: Tensor) -> None:
    layer = Layer("attention", config["C"], config["H"], dynamics)
    attention = layer.aggregate
    assert isinstance(attention, GraphAttention)
    assert attention.slope == config["leaky_slope"]
    layer.load_state_dict(
        {"aggregate.W": want["W1"], "aggregate.a": want["a1"], "norm.lam": want["lam1"], "norm.gam": want["gam1"]}
    )
    x = want["X"] if want["X"].dim() == 3 else want["X"][None]
    alpha = torch.zeros(len(x), config["N"], config["N"])
    alpha[:, edges[0], edges[1]] = attention.coefficients(x @ attention.W, edges).detach()
    close(alpha.expand_as(want["ga/alpha"]), want["ga/alpha"], FORWARD, "ga/alpha")
    seen = watch(layer)
    spikes = layer(x, edges, propagation(edges, config["N"]), config["T"])
    check_layer(seen, "", {what: want[f"ga/{what}"] for what in "SYH"})
    loss = (spikes.mean(0) @ want["Wo"] + want["bo"]).square().sum()
    close(loss, want["ga/loss"], FORWARD, "ga/loss")
    loss.backward()
    for key, parameter in {
        "W1": attention.W,
        "a1": attention.a,
        "lam1": layer.norm.lam,
        "gam1": layer.norm.gam,
    }.items():
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
    close(seen[f"{prefix}norm"], want["Y"], FORWARD, f"Y of {layer}")
    assert torch.equal(seen[f"{prefix}neuron"], want["H"]), f"the spikes of {layer or 'the attention layer'} differ"


ADAPTERS = {"stfn_equations": check_stfn}
