"""SpikeLM (arXiv 2406.03287): neurons, spiking linear layers, attention and both models, on every backend that runs here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common import backends
from retable.models.spikelm.bert import (
    BertForPreTraining,
    BertForSequenceClassification,
    Config,
    Layer,
    SelfAttention,
    SpikingLinear,
    task_loss,
)
from retable.models.spikelm.checkpoint import from_released
from retable.models.spikelm.neurons import Elastic, Neurons, measuring
from retable.models.spiking.operators import elastic
from tests.parity.close import assert_close
from tests.parity.conftest import Golden

EXACT: dict[str, float] = {"rtol": 1e-6, "atol": 1e-6}
WHOLE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-4}


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


def neuron_step(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    x, alpha = arrays["input"].requires_grad_(), arrays["alpha"].reshape(1).requires_grad_()
    if c["input_bits"] == 32:
        out = x
    else:
        out = elastic(x[None], alpha, binary=c["input_bits"] == 1)[0]
    assert_close(out, arrays["out/0"], "spikes", **EXACT)
    _gradients((out * arrays.get("outweight/0", 0)).sum(), arrays, {"input": x, "alpha": alpha}, **EXACT)


def alpha_init(golden: Golden) -> None:
    arrays = golden.tensors("")
    neuron = Elastic(1, binary=golden.config["input_bits"] == 1)
    for i, after in (("", "alpha_after"), ("2", "alpha_after2")):
        with measuring(neuron):
            out = neuron(arrays[f"input{i}"][None])[0]
        assert_close(neuron.alpha_T[0], arrays[after], after, **EXACT)
        assert_close(out, arrays[f"out/{1 if i else 0}"], "spikes", **EXACT)


def neuron(golden: Golden) -> None:
    _linear(golden, **EXACT)


def spike_linear(golden: Golden) -> None:
    _linear(golden, **WHOLE)


def _linear(golden: Golden, **tolerance: float) -> None:
    c, outputs = golden.config, len(golden.arrays["sd/bias"])
    inputs = golden.arrays["sd/weight"].shape[1]
    model = SpikingLinear(inputs, outputs, _neurons(c))
    _calibrated(golden, model, **tolerance)
    x = golden.tensors("")["input"].requires_grad_()
    _one_output(golden, model(x), {"input": x, **dict(model.named_parameters())}, **tolerance)


def self_attention(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    model = SelfAttention(_config(c), _neurons(c)).eval()
    _calibrated(golden, model, **WHOLE)
    x = arrays["input"].requires_grad_()
    out, probabilities = model.attend(x, arrays["attention_mask"])
    assert_close(probabilities, arrays["out/attentions"], "attentions", **WHOLE)
    _one_output(golden, out, {"input": x, **dict(model.named_parameters())}, **WHOLE)


def bert_layer(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    model = Layer(_config(c), _neurons(c)).eval()
    _calibrated(golden, model, **WHOLE)
    x = arrays["input"].requires_grad_()
    if "out/attentions" in arrays:
        with torch.no_grad():
            probabilities = model.attention.self.attend(x, arrays["attention_mask"])[1]
        assert_close(probabilities, arrays["out/attentions"], "attentions", **WHOLE)
    _one_output(golden, model(x, arrays["attention_mask"]), {"input": x, **dict(model.named_parameters())}, **WHOLE)


def bert_pretraining(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    model = BertForPreTraining(_config(c), _neurons(c)).eval()
    _whole_calibrated(golden, model, model.bert)
    states = model.bert.states(arrays["input_ids"], arrays["attention_mask"], arrays["token_type_ids"])
    for i, state in enumerate(states):
        if f"out/hidden_states.{i}" in arrays:
            assert_close(state, arrays[f"out/hidden_states.{i}"], f"hidden state {i}", **WHOLE)
    words, follows = model.words(states[-1]), model.follows(states[-1])
    assert_close(words, arrays["out/prediction_logits"], "words", **WHOLE)
    assert_close(follows, arrays["out/seq_relationship_logits"], "follows", **WHOLE)
    loss = F.cross_entropy(words.flatten(0, 1), arrays["labels"].flatten())
    loss = loss + F.cross_entropy(follows, arrays["next_sentence_label"].flatten())
    assert_close(loss, arrays["out/loss"], "loss", **WHOLE)
    _gradients(loss, arrays, dict(model.named_parameters()), **WHOLE)


def bert_seqcls(golden: Golden) -> None:
    c, arrays = golden.config, golden.tensors("")
    model = BertForSequenceClassification(_config(c), _neurons(c), len(arrays["sd/classifier.bias"]))
    _whole_calibrated(golden, model.eval(), model.bert)
    logits = model(arrays["input_ids"], arrays["attention_mask"], arrays["token_type_ids"])
    assert_close(logits, arrays["out/logits"], "logits", **WHOLE)
    loss = task_loss(logits, arrays["labels"])
    assert_close(loss, arrays["out/loss"], "loss", **WHOLE)
    _gradients(loss, arrays, dict(model.named_parameters()), **WHOLE)


def _neurons(c: dict[str, Any]) -> Neurons:
    """As released: keys and values have two bits whatever the inputs have."""
    kind: Any = {1: "sign", 2: "elastic", 32: "none"}[c.get("input_bits", 2)]
    return Neurons(kind, c["T"], two_bit_operands=True)


def _config(c: dict[str, Any]) -> Config:
    taken = "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings"
    sizes = {name: c[name] for name in f"{taken} type_vocab_size hidden_act".split()}
    return Config(**sizes, dropout=0.0)


def _calibrated(golden: Golden, model: nn.Module, **tolerance: float) -> None:
    """From the state before, our first pass has to find the amplitudes of the state after; then take that one."""
    arrays = golden.tensors("")
    before, after = (from_released(golden.tensors(prefix)) for prefix in ("sd_before/", "sd/"))
    model.load_state_dict(before)
    with measuring(model), torch.no_grad():
        if "attention_mask" in arrays:
            out = model(arrays["calib_input"], arrays["attention_mask"])
        else:
            out = model(arrays["calib_input"])
    _same_amplitudes(model, after)
    assert_close(out, arrays["calib_out"], "calibrating output", **tolerance)
    model.load_state_dict(after)


def _whole_calibrated(golden: Golden, model: nn.Module, bert: nn.Module) -> None:
    """The state before holds the amplitudes alone: the weights are those of the state after."""
    arrays = golden.tensors("")
    before, after = (from_released(golden.tensors(prefix)) for prefix in ("sd_before/", "sd/"))
    model.load_state_dict(after)
    if "calib_input_ids" in arrays:
        assert before
        model.load_state_dict(after | before)
        ids = arrays["calib_input_ids"]
        mask, types = (arrays.get(f"calib_{name}") for name in ("attention_mask", "token_type_ids"))
        with measuring(model), torch.no_grad():
            bert(ids, torch.ones_like(ids) if mask is None else mask, torch.zeros_like(ids) if types is None else types)
        _same_amplitudes(model, after)
        model.load_state_dict(after)


def _same_amplitudes(model: nn.Module, after: dict[str, Tensor]) -> None:
    found = {name: buffer for name, buffer in model.named_buffers() if name.endswith("alpha_T")}
    assert found
    for name, amplitude in found.items():
        assert_close(amplitude, after[name], name, rtol=1e-5, atol=1e-6)


def _one_output(golden: Golden, out: Tensor, inputs: dict[str, Tensor], **tolerance: float) -> None:
    arrays = golden.tensors("")
    assert_close(out, arrays["out/0"], "out", **tolerance)
    _gradients((out * arrays["outweight/0"]).sum(), arrays, inputs, **tolerance)


def _gradients(loss: Tensor, arrays: dict[str, Tensor], inputs: dict[str, Tensor], **tolerance: float) -> None:
    wanted = [name.removeprefix("grad/") for name in arrays if name.startswith("grad/")]
    if not wanted:
        return
    gradients = torch.autograd.grad(loss, [inputs[name] for name in wanted])
    for name, gradient in zip(wanted, gradients, strict=True):
        expected = arrays[f"grad/{name}"]
        assert_close(gradient.reshape(expected.shape), expected, f"gradient of {name}", **tolerance)


ADAPTERS = {
    name: on_every_backend(check)
    for name, check in {
        "neuron_step": neuron_step,
        "alpha_init": alpha_init,
        "neuron": neuron,
        "spike_linear": spike_linear,
        "self_attention": self_attention,
        "bert_layer": bert_layer,
        "bert_pretraining": bert_pretraining,
        "bert_seqcls": bert_seqcls,
    }.items()
}
