"""Blocks, the head and merged convolutions against the released code, in float64."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spikeyolo import layers
from retable.models.spikeyolo.head import Detect
from tests.parity.close import assert_close
from tests.parity.conftest import Golden

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
PIXELS = {"rtol": 1e-5, "atol": 5e-4}


def built(golden: Golden) -> nn.Module:
    """The module that the fixture names; its sizes are those of its weights."""
    name, shape = golden.path.stem.removeprefix("block_"), {k: v.shape for k, v in golden.tensors("sd/").items()}
    neuron = layers.neuron_of("ilif", golden.config["D"])
    text = golden.config["block"]

    def option(letter: str, default: int) -> int:
        found = re.search(rf"_[a-z0-9]*?{letter}(\d+)", f"_{text.partition('_')[2]}")
        return int(found.group(1)) if found else default

    if name.startswith("BNAndPad"):
        return layers.BNAndPad(shape["bn.weight"][0])
    if name.startswith("RepConv"):
        return layers.RepConv(shape["body.0.weight"][0], shape["body.2.1.weight"][0])
    if name.startswith("SepRepConv"):
        out, cin, *_ = shape["body.1.0.weight"]
        return layers.SepRepConv(cin, out)
    if name.startswith("SepConv"):
        return layers.SepConv(shape["pwconv1.weight"][1], shape["dwconv2.weight"][2], neuron)
    if name.startswith("DownSampling"):
        out, cin, k, _ = shape["encode_conv.weight"]
        return layers.DownSampling(cin, out, k, option("s", 2), option("p", 1), neuron, first="first" in name)
    if name.startswith("SNNBlock1"):
        out, cin, *_ = shape["conv1.conv.weight"]
        return layers.SNNBlock1(cin, out // cin, neuron, shape["Conv.dwconv2.weight"][2])
    if name.startswith("SNNBlock2"):
        out, cin, *_ = shape["conv1.body.2.1.weight"]
        return layers.SNNBlock2(cin, out // cin, neuron, shape["Conv.dwconv2.weight"][2])
    if name.startswith("SpikeConvWithoutBN"):
        return layers.SpikeConvWithoutBN(shape["conv.weight"][1], shape["conv.weight"][0], neuron)
    if name.startswith(("SpikeConv", "StandardConv")):
        out, cin, k, _ = shape["conv.weight"]
        return layers.SpikeConv(cin, out, k, neuron, option("s", 1))
    if name.startswith("SpikeSPPF"):
        return layers.SPPF(2 * shape["cv1.conv.weight"][0], shape["cv2.conv.weight"][0], neuron, option("k", 5))
    assert name.startswith("SpikeDetect"), f"no module for the block {name}"
    inputs = golden.tensors("in/")
    return Detect(
        shape["cv3.0.2.conv.weight"][0],
        [inputs[f"x{i}"].shape[2] for i in range(3)],
        lambda cin, cout, k: layers.SpikeConv(cin, cout, k, neuron),
        lambda cin, cout: layers.SpikeConvWithoutBN(cin, cout, neuron),
    )


def run(module: nn.Module, inputs: list[Tensor], mode: str) -> list[Tensor]:
    if not isinstance(module, Detect):
        return [module(*inputs)]
    maps = module(inputs)
    return maps if mode == "train" else [module.decoded(maps), *maps]


def check_block(golden: Golden) -> None:
    module, want = built(golden), golden.tensors("")
    state = golden.tensors("sd/")
    own = module.state_dict()
    module.load_state_dict({"dfl.conv.weight": own["dfl.conv.weight"], **state} if "dfl.conv.weight" in own else state)
    module.double()
    for mode in ("eval", "train"):
        module.train(mode == "train").zero_grad()
        inputs = [want[f"in/x{i}"].double().requires_grad_() for i in range(9) if f"in/x{i}" in want]
        outputs = run(module, inputs, mode)
        loss: Any = 0
        for i, output in enumerate(outputs):
            in_pixels = PIXELS if isinstance(module, Detect) and mode == "eval" and i == 0 else TOLERANCE
            assert_close(output, want[f"out/{mode}{i}"].double(), f"{mode} output {i}", **in_pixels)
            loss = loss + (output * want[f"in/r_{mode}{i}"].double()).sum()
        loss.backward()
        for key, gradient in want.items():
            if key.startswith(f"grad/{mode}_"):
                name = key.removeprefix(f"grad/{mode}_")
                got = inputs[int(name[1:])].grad if re.fullmatch(r"x\d", name) else module.get_parameter(name).grad
                scale = max(1.0, float(gradient.abs().max()))
                assert_close(got, gradient.double(), f"{mode} gradient of {name}", rtol=1e-5, atol=1e-5 * scale)
    state = module.state_dict()
    for key, after in golden.tensors("bn_after/").items():
        assert_close(state[key], after.double(), f"{key} after a step", **TOLERANCE)


def check_merge(golden: Golden) -> None:
    cases = golden.config["cases"]
    assert cases
    for case in cases:
        want = {name: value.double() for name, value in golden.tensors(f"{case}/").items()}
        shape = {name.removeprefix("sd/"): value.shape for name, value in want.items() if name.startswith("sd/")}
        module: layers.RepConv | layers.SepRepConv
        if case.startswith("RepConv"):
            module = layers.RepConv(shape["body.0.weight"][0], shape["body.2.1.weight"][0])
        else:
            module = layers.SepRepConv(shape["body.1.0.weight"][1], shape["body.1.0.weight"][0])
        module.load_state_dict(golden.tensors(f"{case}/sd/"))
        module.double().eval()
        merged = module.merged()
        assert merged.bias is not None
        assert_close(merged.weight, want["merged_weight"], f"{case} weight", **TOLERANCE)
        assert_close(merged.bias, want["merged_bias"], f"{case} bias", **TOLERANCE)
        for form in (module, merged):
            with torch.no_grad():
                assert_close(form(want["in"]), want["out"], f"{case} output", **TOLERANCE)


ADAPTERS = {"block": check_block, "repconv_merge": check_merge}
