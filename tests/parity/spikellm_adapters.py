"""SpikeLLM (arXiv 2407.04752): quantiser, spiking products, saliency and the whole layer-by-layer pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retable.models.spikellm import gif, pipeline, saliency
from retable.models.spikellm.layers import Neurons, SpikingLinear, SpikingMatmul
from retable.models.spikellm.quantizer import Quantizer
from retable.models.spikellm.recipe import Recipe
from tests.parity.close import assert_close
from tests.parity.conftest import Golden

FORWARD: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}
PRODUCT: dict[str, float] = {"rtol": 1e-4, "atol": 1e-4}


def quantizer(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    q = Quantizer(
        bits=c["effective_bits"],
        symmetric=c.get("symmetric", False),
        zero_point=not c.get("disable_zero_point", False),
        group_size=c.get("group_size"),
    )
    x = arrays["input"].requires_grad_()
    clips = [arrays[f"sd/{side}_factor"].requires_grad_() for side in ("upbound", "lowbound") if c.get("lwc")]
    out = q(x, *clips)
    assert_close(out, arrays["out/0"], "out", **FORWARD)
    if q.bits < 16:
        span = q.range(q.rows(x), *clips)
        assert_close(span.scale, arrays["out/scale"], "scale", **FORWARD)
        assert (span.low, span.high) == (c["qmin"], c["qmax"])
        if span.zero is not None:
            assert_close(span.zero, arrays["out/zero_point"], "zero point", rtol=0, atol=0)
    wanted = {"input": x} | dict(zip(("upbound_factor", "lowbound_factor"), clips, strict=False))
    _gradients(out, arrays, wanted)


def spike_quant_linear(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    act, weight_quant = c["act_quant"], c["weight_quant"]
    linear = nn.Linear(*reversed(arrays["sd/weight"].shape))
    linear.load_state_dict({"weight": arrays["sd/weight"], "bias": arrays["sd/bias"]})
    layer = SpikingLinear(linear, Neurons(bits=act["n_bits"], addbit=act["addbit"]))
    S_BNC = saliency.linear_saliency(arrays["calib_inputs"], linear.weight.detach())
    assert_close(S_BNC.mean(0, keepdim=True), arrays["saliency_mean_over_samples"], "saliency", rtol=1e-4, atol=1e-4)
    channel = pipeline.channel_saliency(layer, arrays["calib_inputs"], linear.weight.detach())
    assert_close(channel[0], arrays["channel_saliency"], "channel saliency", rtol=1e-4, atol=1e-5)
    layer.mask_low_mse.copy_(saliency.ordinary_mask(channel, act["low_p"]))
    assert torch.equal(layer.mask_low_mse, arrays["sd/mask_low_mse"])

    x = arrays["input"].requires_grad_()
    assert_close(layer(x), arrays["out/fp"], "full precision", **PRODUCT)
    upper, lower = (arrays[f"sd/weight_quantizer.{side}_factor"].requires_grad_() for side in ("upbound", "lowbound"))
    rounded = Quantizer(bits=weight_quant["n_bits"], group_size=weight_quant["group_size"])(linear.weight, upper, lower)
    layer.quantising = True
    out = torch.func.functional_call(layer, {"weight": rounded}, (x,))
    assert_close(out, arrays["out/0"], "out", **PRODUCT)
    _gradients(out, arrays, {"input": x, "weight_quantizer.upbound_factor": upper})

    high = Quantizer(bits=act["n_bits"] + act["addbit"]).range(x)
    q = high.integers(x).detach()
    assert torch.equal(q, arrays["int/high"])
    q = q * ~layer.mask_low_mse
    assert torch.equal(q, arrays["int/high_masked"])
    assert gif.steps_of(act["addbit"]) == c["steps"]
    assert 2 ** act["n_bits"] == c["step_levels"]
    for backend in ("reference", "numba", "triton"):
        fired = gif.spikes(q, act["n_bits"], c["steps"], backend)  # type: ignore[arg-type]
        assert torch.equal(fired, arrays["spikes"].to(fired)), backend
        assert torch.equal(fired.sum(0) - q, arrays["spike_sum_minus_int"].to(fired)), backend


def saliency_linear(golden: Golden) -> None:
    arrays = golden.tensors("")
    channel = saliency.linear_saliency(arrays["inputs"], arrays["weight"]).mean((0, 1))
    assert_close(channel[None], arrays["channel_saliency"], "channel saliency", rtol=1e-4, atol=1e-5)
    for name, mask in golden.tensors("mask_low/").items():
        assert torch.equal(saliency.ordinary_mask(channel, float(name))[None, None], mask), name


def matmul(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    kind = c["kind"].removeprefix("matmul_")
    quant = c["x2_quant"]
    product = SpikingMatmul(c["heads"], c["head_dim"], kind, Neurons(bits=quant["n_bits"], addbit=quant["addbit"]))
    assert quant["n_bits"] + product.ADDBIT == c["effective_high_bits"]
    pairs = zip(arrays["calib_x1"].split(1), arrays["calib_x2"].split(1), strict=True)
    channel = torch.stack([pipeline.channel_saliency(product, *pair) for pair in pairs]).mean(0)
    expected = arrays["channel_saliency"].double()
    assert_close(channel.reshape(expected.shape), expected, "channel saliency", rtol=1e-4, atol=1e-6)
    product.mask_low_mse.copy_(saliency.ordinary_mask(channel, quant["low_p"]))
    assert torch.equal(product.mask_low_mse, arrays["sd/mask_low_mse"])
    product.quantising = True
    x1, x2 = arrays["x1"].requires_grad_(), arrays["x2"].requires_grad_()
    out = product(x1, x2)
    assert_close(out, arrays["out/0"], "out", **PRODUCT)
    _gradients(out, arrays, {"x1": x1, "x2": x2})


def whole_pipeline(golden: Golden) -> None:
    c = golden.config
    model, logs = _quantised(golden)
    learns = bool(c["let_lr"] or c["lwc_lr"])
    arrays = golden.tensors("")
    if not learns:
        _check_structure(golden, model, logs)
    losses = torch.tensor([loss for log in logs for loss in log.losses])
    assert_close(losses, arrays["losses"].to(losses).flatten(), "losses", rtol=0.02 if learns else 1e-3, atol=1e-8)
    tokens, seqlen = arrays["eval_tokens"].long(), c["seqlen"]
    with torch.no_grad():
        logits = model(tokens[:, :seqlen]).logits
    if not learns:
        assert_close(logits, arrays["out/quant_logits"], "logits", rtol=0, atol=1e-2)
    ppl = _perplexity(model, tokens, seqlen)
    assert abs(ppl / float(arrays["out/quant_ppl"]) - 1) < (0.03 if learns else 0.01)


def _quantised(golden: Golden) -> tuple[Any, list[pipeline.LayerLog]]:
    """The fixture's model, checked at full precision, then quantised by its options."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c, arrays = golden.config, golden.tensors("")
    model = LlamaForCausalLM(LlamaConfig(**c["llama"], tie_word_embeddings=False, max_position_embeddings=2048)).eval()
    model.load_state_dict(golden.tensors("sd/"))
    tokens, seqlen = arrays["eval_tokens"].long(), c["seqlen"]
    with torch.no_grad():
        assert_close(model(tokens[:, :seqlen]).logits, arrays["out/fp_logits"], "fp logits", rtol=1e-3, atol=1e-3)
    assert abs(_perplexity(model, tokens, seqlen) / float(arrays["out/fp_ppl"]) - 1) < 1e-3
    spiking = c["low_p"] < 1
    recipe = Recipe(
        wbits=c["wbits"],
        abits=c["abits"],
        group_size=c["group_size"],
        steps=2 ** c["addbit"] if spiking else 1,
        low_p=c["low_p"],
        let=("qkv", "out", "fc1", "qkt") if c["let"] else (),
        alpha=c["alpha"],
        lwc=c["lwc"],
        epochs=c["epochs"],
        let_lr=c["let_lr"],
        lwc_lr=c["lwc_lr"],
        samples=c["nsamples"],
        window=c["seqlen"],
    )
    return model, pipeline.quantise(model, arrays["calib_tokens"].long(), recipe)


def _check_structure(golden: Golden, model: Any, logs: list[pipeline.LayerLog]) -> None:
    """Masks exact; first scales, clipping and the weights of the layers that the fixture holds."""
    for name, mask in golden.tensors("mask/").items():
        assert torch.equal(model.get_submodule(name).mask_low_mse, mask), name
    for name, expected in golden.tensors("omni/").items():
        layer, _, parameter = name.partition(".")
        if parameter.endswith("_shift"):
            assert not expected.any(), f"{name}: LLaMA's shifts are zeros"
        else:
            assert_close(logs[int(layer)].learned[parameter], expected, name, rtol=1e-4, atol=1e-5)
    for name, expected in golden.tensors("quant/").items():
        actual = model.get_parameter(name).detach()
        # A weight on a rounding boundary may fall on either side; no other difference is allowed.
        apart = (actual - expected).abs() > 1e-4
        assert float(apart.float().mean()) < 2e-3, f"{name}: {int(apart.sum())} weights differ"


def _perplexity(model: Any, tokens: Tensor, seqlen: int) -> float:
    """Windows of `seqlen` without overlap, the remainder dropped: exp of the mean of their mean cross entropies."""
    windows = tokens[0, : tokens.shape[1] // seqlen * seqlen].view(-1, seqlen)
    losses = []
    with torch.no_grad():
        for window in windows.split(1):
            logits = model(window).logits[:, :-1]
            losses.append(float(nn.functional.cross_entropy(logits.flatten(0, 1).float(), window[0, 1:])))
    return float(np.exp(np.mean(losses)))


def _gradients(out: Tensor, arrays: dict[str, Tensor], inputs: dict[str, Tensor]) -> None:
    wanted = {name: tensor for name, tensor in inputs.items() if f"grad/{name}" in arrays}
    found = torch.autograd.grad((out * arrays["outweight/0"]).sum(), list(wanted.values()))
    for (name, _), gradient in zip(wanted.items(), found, strict=True):
        assert_close(gradient, arrays[f"grad/{name}"], f"gradient of {name}", **PRODUCT)


ADAPTERS = {
    "quantizer": quantizer,
    "spike_quant_linear": spike_quant_linear,
    "saliency_linear": saliency_linear,
    "matmul": matmul,
    "pipeline": whole_pipeline,
}
