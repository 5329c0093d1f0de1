"""SpikeVoice (arXiv 2408.00788): its neuron, one STSA block, and the whole model, on every backend that runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.common import backends
from retable.models.spikevoice.attention import lif as lif_neuron
from retable.models.spikevoice.block import STSABlock
from retable.models.spikevoice.losses import losses
from retable.models.spikevoice.network import Output, SpikeVoice
from retable.models.spikevoice.sizes import Config
from retable.models.spikevoice.variance import NEUTRAL, Control, Targets
from retable.models.spiking.neurons import Neuron
from tests.parity.close import assert_close, close_gradients, summed_terms
from tests.parity.conftest import Golden

OUTPUT: dict[str, float] = {"rtol": 0, "atol": 1e-5}
GRADIENT: dict[str, float] = {"rtol": 1e-4, "atol": 1e-6}


def on_every_backend(check: Callable[[Golden], None]) -> Callable[[Golden], None]:
    def checked(golden: Golden) -> None:
        ran = 0
        for name in ("reference", "numba", "triton"):
            if backends.missing(name, "cpu") is None:
                with backends.using(name):  # type: ignore[arg-type]
                    check(golden)
                ran += 1
        assert ran

    return checked


def lif(golden: Golden) -> None:
    arrays = golden.tensors("")
    x = arrays["x"].requires_grad_()
    spikes, potentials = lif_neuron().run(x, potentials="all")
    assert torch.equal(spikes, arrays["spikes"])
    assert_close(potentials, arrays["v_seq"], "potentials", **OUTPUT)
    (spikes * arrays["w"]).sum().backward()
    assert_close(x.grad, arrays["grad_x"], "gradient of x", **GRADIENT)


def stsa_block(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    sizes = Config(T=c["T"], d=c["d_model"], heads=c["n_head"], filter=c["d_inner"], kernels=tuple(c["kernel"]))
    block = STSABlock(sizes).train()
    block.load_state_dict(golden.tensors("sd/"))
    x, pad_BL = arrays["x"].requires_grad_(), arrays["mask"][0]
    with spikes_of(block) as fired, summed_terms(block) as terms:
        out = block(x, pad_BL)
    for name, expected in golden.tensors("spk/").items():
        _same_spikes(name, fired[name.replace(".attention.", ".")], expected, c["B"])
    assert_close(out, arrays["y_train"], "y_train", **OUTPUT)
    (out * arrays["w"]).sum().backward()
    assert_close(x.grad, arrays["grad_x"], "gradient of x", **GRADIENT)
    _same_gradients(block, golden, terms)
    for name, expected in golden.tensors("after/").items():
        assert_close(block.state_dict()[name], expected, name, **OUTPUT)
    with torch.no_grad():
        assert_close(block.eval()(x, pad_BL), arrays["y_eval"], "y_eval", **OUTPUT)


def model(golden: Golden) -> None:
    c, inputs = golden.config, golden.tensors("in/")
    network = _network(golden)
    targets = Targets(durations=inputs["d"], pitch=inputs["p"], energy=inputs["e"])
    network.load_state_dict(golden.tensors("sd/"))
    with spikes_of(network) as fired, summed_terms(network) as terms:
        out = _run(network.train(), inputs, targets, NEUTRAL)
    for name, rate in golden.tensors("rate/").items():
        assert_close(fired[name.replace(".attention.", ".")].mean(), rate, f"rate of {name}", **OUTPUT)
    _same_output(out, golden, "train")
    found = losses(out, inputs["mel"], targets, network.config)
    parts = (found.total, found.mel, found.mel_post, found.pitch, found.energy, found.duration)
    assert_close(torch.stack(parts), golden.tensors("")["losses"], "losses", **OUTPUT)
    found.total.backward()
    _same_gradients(network, golden, terms)
    network.load_state_dict(golden.tensors("sd/"))
    passes: dict[str, tuple[Targets | None, Control]] = {
        "eval_tf": (targets, NEUTRAL),
        "eval_free": (None, NEUTRAL),
        "eval_ctrl": (None, Control(duration=c.get("d_control", 1.7), pitch=c.get("p_control", 1.3))),
    }
    for name, (given, control) in passes.items():
        with torch.no_grad():
            _same_output(_run(network.eval(), inputs, given, control), golden, name)


def _network(golden: Golden) -> SpikeVoice:
    c = golden.config
    sizes, predictor, embedding = (
        c["model"][part] for part in ("transformer", "variance_predictor", "variance_embedding")
    )
    features = c["preprocess"]["preprocessing"]
    state = golden.tensors("sd/")
    config = Config(
        T=c["model"]["T"],
        d=sizes["encoder_hidden"],
        heads=sizes["encoder_head"],
        decoder_heads=sizes["decoder_head"],
        encoder_blocks=sizes["encoder_layer"],
        decoder_blocks=sizes["decoder_layer"],
        filter=sizes["conv_filter_size"],
        kernels=tuple(sizes["conv_kernel_size"]),
        predictor=predictor["filter_size"],
        predictor_kernel=predictor["kernel_size"],
        bins=embedding["n_bins"],
        pitch_level=_level(features["pitch"]["feature"]),
        energy_level=_level(features["energy"]["feature"]),
        pitch_spacing=embedding["pitch_quantization"],
        energy_spacing=embedding["energy_quantization"],
        postnet=c["postnet_dim"],
        mels=features["mel"]["n_mel_channels"],
        symbols=c["n_symbols"],
        speakers=len(state["speaker_emb.weight"]) if c["model"]["multi_speaker"] else 0,
        longest=c["model"]["max_seq_len"],
    )
    bounds = {name: tuple(c["stats"][name][:2]) for name in ("pitch", "energy")}
    network = SpikeVoice(config, **bounds)
    for name in ("encoder.position_enc", "decoder.position_enc"):
        assert_close(network.state_dict()[name], state[name], name, **OUTPUT)
    for name in ("pitch", "energy"):
        key = f"variance_adaptor.{name}_bins"
        assert_close(network.state_dict()[key], state[key], key, rtol=1e-6, atol=1e-6)
    return network


def _level(feature: str) -> Any:
    return feature.removesuffix("_level")


def _run(network: SpikeVoice, inputs: dict[str, Tensor], targets: Targets | None, control: Control) -> Output:
    frames = int(inputs["M"]) if targets is not None else None
    out: Output = network(
        inputs["texts"], inputs["src_lens"], targets, speakers_B=inputs["spk"], frames=frames, control=control
    )
    return out


def _same_output(out: Output, golden: Golden, which: str) -> None:
    found = {
        "mel": out.mel,
        "mel_post": out.mel_post,
        "pitch": out.pitch,
        "energy": out.energy,
        "log_dur": out.log_durations,
        "d_rounded": out.durations,
        "src_mask": out.pad_BL,
        "mel_mask": out.pad_BM,
        "mel_lens": out.lengths,
    }
    for name, value in found.items():
        assert_close(value, golden.tensors(f"{which}/")[name], f"{which}/{name}", **OUTPUT)


def _same_gradients(network: nn.Module, golden: Golden, terms: Mapping[str, Tensor]) -> None:
    """A parameter that nothing reaches has the gradient 0 in the fixture."""
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    expected = golden.tensors("grad/")
    assert not any(bool(value.any()) for name, value in expected.items() if name not in reached)
    close_gradients(network, {name: expected[name] for name in reached & set(expected)}, terms, GRADIENT["rtol"])


def _same_spikes(name: str, found: Tensor, expected: Tensor, B: int) -> None:
    """Ours have no heads; the released order of heads is head-major, its transposed convolutions are alike."""
    if "slf_attn" in name and "lif_" in name:
        heads = expected.shape[1] // B
        expected = expected.unflatten(1, (heads, B)).permute(0, 2, 3, 1, 4).flatten(3)
    assert torch.equal(found.to(expected.dtype), expected), f"spikes of {name}"


@contextmanager
def spikes_of(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The spikes of every neuron in the passes inside, by its name."""
    fired: dict[str, Tensor] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, Neuron):

            def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                fired[name] = output.detach()

            handles.append(module.register_forward_hook(keep))
    try:
        yield fired
    finally:
        for handle in handles:
            handle.remove()


ADAPTERS = {
    name: on_every_backend(check) for name, check in {"lif": lif, "stsa_block": stsa_block, "model": model}.items()
}
