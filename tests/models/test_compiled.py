"""`torch.compile` of every method's forward pass and training step: machine code gives what eager gives.

In double precision, so that a spike on one side of its threshold stays there; the compiler reads what operators return by the
shapes, types and strides of their fakes. BENCH_COMPILE=aot_eager traces forward and backward and compiles nothing, in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from retable.bench.declare.params import build
from retable.bench.run.seeds import seeded
from retable.bench.run.short_fits import SEED, SHORT_FITS, _data, _model
from retable.bench.suite import Component

BACKEND = os.environ.get("BENCH_COMPILE", "inductor")
SAMPLES = 3
IN_SINGLE = ("gptq", "omniquant", "spikellm", "tiny-llama")
"""Of transformers' LLaMA, whose norms and softmax are in single precision whatever comes in."""
Call = Callable[[Any, Any], Callable[[], Any]]
"""(model, data) -> the forward pass of a training step, ready to be called."""


def pixels(data: Any) -> Tensor:
    return torch.from_numpy(data.train.images(np.arange(SAMPLES)))


def classes(model: Any, data: Any) -> Callable[[], Any]:
    x = model.prepare(pixels(data)).double()
    return lambda: model.steps(x)


def maps(model: Any, data: Any) -> Callable[[], Any]:
    x = model.prepare(pixels(data)).double()
    return lambda: model(x)


def filled(model: Any, data: Any) -> Callable[[], Any]:
    from retable.models.prime.inpainter import damaged

    x = damaged(model.prepare(pixels(data)), (6, 10)).double()
    return lambda: model.network(x, scheduled=0.0)


def sentences(model: Any, data: Any) -> Callable[[], Any]:
    ids, mask, types = model.tokenizer(data.train.first[:SAMPLES])
    return lambda: model(ids, mask, types)


def nodes(model: Any, data: Any) -> Callable[[], Any]:
    x, graph = model.prepare(data, "cpu")
    x = x.double()
    return lambda: model.steps(x, graph)


def spoken(model: Any, data: Any) -> Callable[[], Any]:
    batch = model.prepare([data.train[0]])
    return lambda: model(batch)


def tuned(model: Any, data: Any) -> Callable[[], Any]:
    x = model.classifier.prepare(torch.from_numpy(data.held_out.images(np.arange(SAMPLES)))).double()
    model.classifier.train()
    return lambda: model.classifier(x)


def backbone(model: Any, data: Any) -> Callable[[], Any]:
    x = model.prepare(torch.from_numpy(data.held_out.images(np.arange(SAMPLES)))).double()
    return lambda: model.network(x)


def tokens(model: Any, data: Any) -> Callable[[], Any]:
    drawn = torch.randint(0, 100, (2, 16), generator=torch.Generator().manual_seed(0))
    return lambda: model(drawn)


def coded(model: Any, data: Any) -> Callable[[], Any]:
    x = (pixels(data).double() / 127.5 - 1).expand(-1, 3, -1, -1)
    return lambda: model(x)


def drawn(model: Any, data: Any) -> Callable[[], Any]:
    labels = torch.arange(2)
    known = torch.randint(0, 16, (2, 63), generator=torch.Generator().manual_seed(0))
    return lambda: model.stage2(labels, known)


CALLS: dict[str, Call] = {
    **dict.fromkeys(("spikformer", "sdt", "qkformer", "meta-spikeformer", "spikingresformer"), classes),
    **dict.fromkeys(("sew-resnet", "ms-resnet", "qcfs", "rsc-snn", "e-rsct", "prime"), classes),
    **dict.fromkeys(("spikeyolo", "plain-spiking-yolo"), maps),
    "prime-inpainting": filled,
    "spiking-bert": sentences,
    **dict.fromkeys(("gcn", "gat", "gc-snn", "ga-snn"), nodes),
    "spikevoice": spoken,
    "vit": backbone,
    **dict.fromkeys(("linear-probe", "mlp-3", "partial-1", "bias-tuning", "full-tuning"), tuned),
    **dict.fromkeys(("visual-prompting", "vpt", "ept", "lora", "adaptformer"), tuned),
    "vq-tokenizer": coded,
    **dict.fromkeys(("aim", "aim of Mamba-1 layers", "transformer"), drawn),
    **dict.fromkeys(("tiny-llama", "omniquant", "spikellm", "gptq"), tokens),
}
FITTED = (tuned, sentences, tokens, drawn, spoken)
"""What is only whole after a fit: heads by the data, tokenizers, layers that were quantised."""


def made(name: str) -> Any:
    """A model with random weights where it can be built so, else after its short fit."""
    if CALLS[name] in FITTED:
        return _model(name)
    short = SHORT_FITS[name]
    method: Any = build("method", Component(use=short.use or name, params=short.params))
    with seeded(SEED):
        return method.build(_data(short.dataset.use))


def step(call: Callable[[], Any], model: nn.Module) -> list[Tensor]:
    """Outputs, and the gradients of their squares."""
    torch.manual_seed(0)
    outputs = [leaf for leaf in leaves(call()) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = sum(output.square().mean() for output in outputs)
    if not trained or not isinstance(loss, Tensor) or not loss.requires_grad:
        return [output.detach() for output in outputs]
    grads = torch.autograd.grad(loss, trained, allow_unused=True)
    return [*(output.detach() for output in outputs), *(grad for grad in grads if grad is not None)]


def leaves(found: Any) -> list[Any]:
    """Tensors of a structure, dataclasses among them."""
    if hasattr(found, "__dataclass_fields__"):
        found = [getattr(found, name) for name in found.__dataclass_fields__]
    return tree_leaves(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # inductor compiles SpikeYOLO for minutes
@pytest.mark.parametrize("name", sorted(CALLS))
def test_compiled_code_gives_what_eager_gives(name: str) -> None:
    model = made(name).double().train()
    call = CALLS[name](model, _data(SHORT_FITS[name].dataset.use))
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    torch._dynamo.reset()
    with torch._inductor.config.patch(fallback_random=True):
        eager = step(call, model)
        for buffer, value in before:  # SpikeYOLO's frames are the running means, which a step moves
            buffer.copy_(value)
        compiled = step(torch.compile(call, backend=BACKEND), model)
    assert len(compiled) == len(eager)
    rtol, atol = (1e-4, 2e-6) if name in IN_SINGLE else (1e-6, 1e-9)
    for want, got in zip(eager, compiled, strict=True):
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol)


def test_every_method_with_a_network_is_compiled() -> None:
    """Variants on other data share the network; quantisers share their layers with omniquant, spikellm or gptq."""
    rest = {"spikeyolo-binary-steps", "rtn", "pb-llm", "smoothquant", "spikellm-ternary"}
    assert set(SHORT_FITS) - set(CALLS) - rest == {name for name in SHORT_FITS if " of " in name} - set(CALLS)
