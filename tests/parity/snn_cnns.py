"""Spiking CNNs, SpikingResformer's parts and the QCFS conversion against the papers' code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from retable.models.common import backends
from retable.models.vision import ms_resnet, qcfs, sew_resnet, spikingresformer
from tests.parity.close import close, close_gradients, summed_terms
from tests.parity.conftest import Golden
from tests.parity.snn_neurons import running

FORWARD, GRADIENT = 2e-5, 1e-4


def on_every_backend(check: Callable[[Golden], None]) -> Callable[[Golden], None]:
    def checked(golden: Golden) -> None:
        for backend in running():
            with backends.using(backend):
                check(golden)

    return checked


def load(golden: Golden, module: nn.Module) -> nn.Module:
    module.load_state_dict(golden.tensors("sd/"), strict=True)
    return module


def check_module(golden: Golden, module: nn.Module, exact: bool = False) -> None:
    """Eval and training output, gradients of `(y_train * c).sum()` and running statistics."""
    want = golden.tensors("")
    check_output(load(golden, module).eval()(want["x"]), want["y_eval"], exact, "y_eval")
    module.train()
    x = want["x"].clone().requires_grad_()
    with summed_terms(module) as terms:
        y = module(x)
        (y * want["c"]).sum().backward()
    check_output(y, want["y_train"], exact, "y_train")
    close(x.grad, want["grad_x"], GRADIENT, "grad_x")
    close_gradients(module, golden.tensors("grad/"), terms, GRADIENT)
    state = module.state_dict()
    for key, after in golden.tensors("after/").items():
        close(state[key], after, FORWARD, f"after/{key}")


def check_output(actual: Tensor, expected: Tensor, exact: bool, what: str) -> None:
    if exact:
        assert torch.equal(actual, expected), f"the spikes of {what} differ"
    else:
        close(actual, expected, FORWARD, what)


@on_every_backend
def check_sew(golden: Golden) -> None:
    config = golden.config
    kind = "bottleneck" if config["kind"] == "sew_bottleneck" else "basic"
    connect = config["connect_f"].lower()
    block = sew_resnet.Block(config["inplanes"], config["planes"], config["stride"], kind, connect)
    check_module(golden, block, exact=True)
    assert (block.downsample is not None) == config.get("downsample", False)


@on_every_backend
def check_ms_block(golden: Golden) -> None:
    config = golden.config
    sizes = config["in_channels"], config["out_channels"], config["stride"]
    check_module(golden, ms_resnet.Block(*sizes, pooled_shortcut=config["kind"] == "ms_basic104"))


@on_every_backend
def check_ms_neuron(golden: Golden) -> None:
    check_module(golden, ms_resnet.stbp(), exact=True)


@on_every_backend
def check_dssa(golden: Golden) -> None:
    config = golden.config
    H, W = golden.tensors("")["x"].shape[3:]
    assert (H // config["patch_size"]) * (W // config["patch_size"]) == config["length"]
    assert config["momentum"] == spikingresformer.MOMENTUM
    check_module(golden, spikingresformer.DSSA(config["dim"], config["num_heads"], config["patch_size"]))


@on_every_backend
def check_gwffn(golden: Golden) -> None:
    config = golden.config
    check_module(golden, spikingresformer.GWFFN(config["dim"], config["ratio"], config["group_size"]))


def check_qcfs_activation(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    for prefix, module in (
        ("", qcfs.QCFS(config["lam"], config["L"])),
        ("tcl_", qcfs.TCL(config["lam"])),
    ):
        x = want["x"].clone().requires_grad_()
        y = module(x)
        close(y, want[f"{prefix}y"], FORWARD, f"{prefix}y")
        (y * want["c"]).sum().backward()
        close(x.grad, want[f"{prefix}grad_x"], GRADIENT, f"{prefix}grad_x")
        close(module.up.grad, want[f"{prefix}grad_lambda"], GRADIENT, f"{prefix}grad_lambda")


@on_every_backend
def check_qcfs_net(golden: Golden) -> None:
    config, want = golden.config, golden.tensors("")
    ann = qcfs.VGG(
        in_channels=want["x"].shape[1],
        num_classes=config["classes"],
        widths=((config["c1"],), (config["c2"],)),
        hidden=(config["fc"],),
        image_size=config["res"],
        activation=lambda: qcfs.QCFS(L=config["L"]),
    )
    load(golden, ann).eval()
    assert [module.up.item() for module in qcfs.activations(ann).values()] == config["lambdas"]
    x = want["x"].clone().requires_grad_()
    y = ann(x)
    close(y, want["ann_out"], FORWARD, "ann_out")
    (y * want["c"]).sum().backward()
    close(x.grad, want["grad_x"], GRADIENT, "grad_x")
    for name, parameter in ann.named_parameters():
        close(parameter.grad, want[f"grad/{name}"], GRADIENT, f"grad/{name}")
    check_converted(qcfs.convert(ann, config["T"]), want)


@torch.no_grad()
def check_converted(snn: qcfs.Converted, want: dict[str, Tensor]) -> None:
    rates: list[Tensor] = []

    def note(neuron: nn.Module, args: object, output: Tensor) -> None:
        assert isinstance(neuron, qcfs.ConvertedIF)
        spikes_TB = (output / neuron.threshold).unflatten(0, (neuron.T, -1))
        rates.append(spikes_TB.flatten(1).double().mean(1))

    for module in snn.modules():
        if isinstance(module, qcfs.ConvertedIF):
            module.register_forward_hook(note)
    steps = snn.steps(want["x"])
    close(steps, want["snn_steps"], FORWARD, "snn_steps")
    close(qcfs.running_mean(steps), want["snn_mean"], FORWARD, "snn_mean")
    close(torch.stack(rates, 1), want["rates"], 1e-6, "rates")


ADAPTERS = {
    "sew": check_sew,
    "ms_basic": check_ms_block,
    "ms_neuron": check_ms_neuron,
    "spikingresformer_dssa": check_dssa,
    "spikingresformer_gwffn": check_gwffn,
    "qcfs_activation": check_qcfs_activation,
    "qcfs_net": check_qcfs_net,
}
