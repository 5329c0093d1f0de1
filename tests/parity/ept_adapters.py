"""EPT (arXiv 2407.01003): attention, backbones, heads, metrics and training against the published code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retable.bench.datasets import labels as counted
from retable.models.ept import attention
from retable.models.ept.classifier import Head, Prepared, TunedClassifier
from retable.models.ept.recipe import Recipe
from retable.models.ept.sizes import ViTSize
from retable.models.ept.training import loss_of, make_optimizer, multi_label_loss, probabilities, set_rate, step
from retable.models.ept.tuning import EPT, VPT, Tuning
from retable.models.ept.vit import Attention, VisionTransformer
from tests.parity.close import assert_close
from tests.parity.conftest import Golden

TENSOR = {"rtol": 1e-4, "atol": 1e-5}
TRAINED = {"rtol": 1e-3, "atol": 1e-5}
EXACT = {"rtol": 1e-9, "atol": 1e-9}
ARCH = {"embed_dims": "width", "num_layers": "depth", "num_heads": "heads", "feedforward_channels": "mlp"}
OPTIONS = {"img_size": "image_size", "patch_size": "patch", "in_channels": "in_channels"}
SWITCHES = {"qkv_bias": "qkv_bias", "final_norm": "final_norm"}
OF_TUNINGS = ("arch", "prompt_length", "prompt_layers", "out_indices", "prompt_init")
"""How prompts start is read by nobody: a fixture holds what they are."""


def vit_size(options: dict[str, Any]) -> ViTSize:
    """All of the published options that have a meaning here; one that has none is an error and not ignored."""
    known = OPTIONS | SWITCHES
    if unknown := set(options) - set(known) - set(OF_TUNINGS):
        raise KeyError(f"options of the fixture that nothing here reads: {sorted(unknown)}")
    own = {known[name]: side(value) for name, value in options.items() if name in known}
    return ViTSize(**{ARCH[name]: value for name, value in options["arch"].items()}, **own)


def side(value: int | list[int]) -> int:
    """Of a square, however it is written."""
    height, width = value if isinstance(value, list) else (value, value)
    assert height == width, f"{value} is no square"
    return height


def out_indices(options: dict[str, Any]) -> list[int]:
    wanted = options.get("out_indices", -1)
    return [wanted] if isinstance(wanted, int) else list(wanted)


def plain(options: dict[str, Any], size: ViTSize, prompt: Tensor | None) -> Tuning:
    assert prompt is None
    return Tuning()


def ept(options: dict[str, Any], size: ViTSize, prompt: Tensor | None, form: str = "scaled") -> Tuning:
    layers = options.get("prompt_layers") or range(size.depth)
    return filled(EPT(size.tokens, options["prompt_length"], layers, form=form), prompt)


def literal_ept(options: dict[str, Any], size: ViTSize, prompt: Tensor | None) -> Tuning:
    return ept(options, size, prompt, "literal")


def vpt(options: dict[str, Any], size: ViTSize, prompt: Tensor | None) -> Tuning:
    return filled(VPT(size.width, options["prompt_length"], options.get("prompt_layers") or (0,)), prompt)


def filled(tuning: Any, prompt: Tensor | None) -> Tuning:
    assert prompt is not None
    assert tuning.prompt.shape == prompt.shape
    tuning.prompt.data.copy_(prompt)
    return tuning


def loaded(golden: Golden, size: ViTSize) -> tuple[VisionTransformer, Tensor | None]:
    """The fixture's backbone with its own keys, and the prompts that stand among them."""
    state = golden.tensors("sd/")
    prompt = state.pop("prompt", None)
    network = VisionTransformer(size)
    network.load_state_dict(state)
    return network, prompt


def check_backbone(golden: Golden, *ways: Any) -> None:
    for way in ways:
        options = golden.config["model_kwargs"]
        size = vit_size(options)
        network, prompt = loaded(golden, size)
        tuning = way(options, size, prompt)
        x = golden.tensors("")["input"].clone().requires_grad_()
        outputs = network.outputs(x, tuning, out_indices(options))
        wanted, weights = golden.tensors("out/"), golden.tensors("outweight/")
        assert len(outputs) == len(wanted)
        for i, out in enumerate(outputs):
            assert_close(out, wanted[str(i)], f"out/{i} ({way.__name__})", **TENSOR)
        sum((out * weights[str(i)]).sum() for i, out in enumerate(outputs)).backward()
        parameters = dict(network.named_parameters()) | dict(tuning.named_parameters()) | {"input": x}
        for name, gradient in golden.tensors("grad/").items():
            assert_close(parameters[name].grad, gradient, f"grad/{name} ({way.__name__})", **TENSOR)
        check_trainable(golden, network, tuning)


def check_trainable(golden: Golden, network: VisionTransformer, tuning: Tuning) -> None:
    """A tuning trains what the published code trains; the plain backbone is what Full trains all of."""
    names = [name for name, _ in (tuning if list(tuning.parameters()) else network).named_parameters()]
    assert sorted(golden.config["trainable"]) == sorted(names)


def check_ept(golden: Golden) -> None:
    check_backbone(golden, ept, literal_ept)


def check_vpt(golden: Golden) -> None:
    check_backbone(golden, vpt)


def check_vit(golden: Golden) -> None:
    check_backbone(golden, plain)


def check_attention(golden: Golden) -> None:
    config, want, state = golden.config, golden.tensors(""), golden.tensors("sd/")
    size = ViTSize(width=config["embed"], depth=1, heads=config["heads"], mlp=config["embed"], patch=1, image_size=1)
    for form in ("scaled", "literal"):
        norm = nn.LayerNorm(size.width, eps=config["ln_eps"])
        norm.load_state_dict({name.removeprefix("ln1."): state[name] for name in state if name.startswith("ln1.")})
        attn = Attention(size)
        attn.load_state_dict({name.removeprefix("attn."): state[name] for name in state if name.startswith("attn.")})
        tuning = EPT(config["tokens"], config["prompt_length"], [0], form=form)
        tuning.prompt.data.copy_(want["prompt_layer"][None])
        x = want["input"].clone().requires_grad_()
        out = attn(norm(x), tuning, 0)
        assert_close(out, want["output"], f"output ({form})", **TENSOR)
        (out * want["outweight"]).sum().backward()
        assert_close(x.grad, want["grad/input"], f"grad/input ({form})", **TENSOR)
        assert_close(tuning.prompt.grad[0], want["grad/prompt_layer"], f"grad/prompt ({form})", **TENSOR)
        assert_close(attn.qkv.weight.grad, want["grad/qkv_weight"], f"grad/qkv ({form})", **TENSOR)
    S, P = want["logits"], want["prompt_layer"]
    q, k, _ = attn.qkv(norm(x)).unflatten(-1, (3, size.heads, -1)).permute(2, 0, 3, 1, 4)
    assert_close(attention.logits(q, k), S, "logits", **TENSOR)
    assert_close(attention.kept_attention(S, P), want["attn_weights"], "attn_weights", **TENSOR)
    assert_close(attention.row_scale(S, P), want["row_scale"], "row_scale", **TENSOR)


def check_head(golden: Golden) -> None:
    options, want, state = golden.config["head"], golden.tensors(""), golden.tensors("sd/")
    multi_label = {"MultiLabelLinearClsHead": True, "LinearClsHead": False}[options["type"]]
    head = Head(options["in_channels"], options["num_classes"])
    head.load_state_dict(state)
    x = want["input"].clone().requires_grad_()
    logits = head(x)
    assert_close(logits, want["logits"], "logits", **TENSOR)
    assert_close(probabilities(logits, multi_label), want["pred"], "pred", **TENSOR)
    loss = options.get("loss", {}).get("loss_weight", 1.0) * loss_of(logits, want["target"])
    assert_close(loss, want["loss"], "loss", **TENSOR)
    loss.backward()
    gradients = {"input": x.grad, "fc.weight": head.fc.weight.grad, "fc.bias": head.fc.bias.grad}
    for name, gradient in golden.tensors("grad/").items():
        assert_close(gradients[name], gradient, f"grad/{name}", **TENSOR)


def check_multi_label_metrics(golden: Golden) -> None:
    want = golden.arrays
    scores, labels = want["scores"], want["labels"]
    found = counted.found_at(scores, labels)
    by_name = {"CP": found.cp, "CR": found.cr, "CF1": found.cf1, "OP": found.op, "OR": found.or_, "OF1": found.of1}
    got = [by_name[name] for name in golden.config["perf_order"]]
    np.testing.assert_allclose(got, want["perf_thr05"], rtol=1e-6)
    ap = counted.average_precisions(scores, labels)
    for name in ("ap_per_class", "ap_stable_sort"):
        if name in want:
            np.testing.assert_allclose(ap, want[name], **EXACT)
    if "mAP_percent" in want:
        np.testing.assert_allclose(100 * ap.mean(), want["mAP_percent"], **EXACT)
    for name, first in (("ap_ties_worst", 0), ("ap_ties_best", 1)):
        if name in want:
            np.testing.assert_allclose(ap_of_ties(scores, labels, first), want[name], **EXACT)
    if "auc_per_class_percent" in want:
        auc = 100 * counted.aucs(scores, labels)
        np.testing.assert_allclose(auc, want["auc_per_class_percent"], **EXACT)
        np.testing.assert_allclose(np.nanmean(auc), want["auc_multilabel_percent"], **EXACT)
    missing = golden.config["missing"]
    if missing is not None:
        assert ap[missing] == 0
        assert np.isnan(counted.aucs(scores, labels)[missing])


def ap_of_ties(scores: np.ndarray, labels: np.ndarray, first: int) -> np.ndarray:
    """AP where images with (1) or without (0) the label stand first among equal scores."""
    found = []
    for k in range(scores.shape[1]):
        order = np.argsort(labels[:, k] != first, kind="stable")
        found.append(counted.average_precisions(scores[order, k : k + 1], labels[order, k : k + 1])[0])
    return np.array(found)


def check_multi_class_metrics(golden: Golden) -> None:
    want = golden.arrays
    hot = counted.one_hot(want["labels"], want["logits"].shape[1])
    accuracy = 100 * (want["logits"].argmax(1) == want["labels"]).mean()
    np.testing.assert_allclose(accuracy, want["accuracy_percent"], rtol=1e-6)
    for name, given in (("auc_of_probs_percent", "probs"), ("auc_of_logits_percent", "logits")):
        auc = 100 * counted.aucs(counted.official_scores(want[given]), hot)
        np.testing.assert_allclose(auc.mean(), want[name], **EXACT)


def check_training(golden: Golden) -> None:
    """The published trajectory, step by step; everything but prompts and head stays as it was, bit for bit."""
    config, want = golden.config, golden.tensors("")
    options = {name: config[name] for name in ("arch", "img_size", "patch_size", "prompt_length")}
    options |= {name: config[name] for name in ("prompt_layers", "in_channels") if name in config}
    size = vit_size(options)
    network, prompt = loaded(golden, size)
    head = Head(size.width, config["num_classes"])
    head.load_state_dict(golden.tensors("head/"))
    model = TunedClassifier(Prepared(network), ept(options, size, prompt), head)
    recipe = Recipe(epochs=config["epochs"], lr=config["lr"], weight_decay=config["weight_decay"])
    optimizer = make_optimizer(model, recipe)
    assert config["momentum"] == optimizer.defaults["momentum"]
    losses, rates = [], []
    for i, (images, targets) in enumerate(zip(want["images"], want["targets"], strict=True)):
        set_rate(optimizer, recipe.lr_at(i // config["batches_per_epoch"], i))
        rates.append(optimizer.param_groups[0]["lr"])
        loss = multi_label_loss(model(images), targets) if targets.dim() == 2 else loss_of(model(images), targets)
        losses.append(step(model, optimizer, loss, None, i))
    np.testing.assert_allclose(losses, golden.arrays["losses"], rtol=1e-3)
    np.testing.assert_allclose(rates[:: config["batches_per_epoch"]], golden.arrays["lrs"], rtol=1e-6)
    final = {"prompt": model.tuning.prompt} | {f"fc.{name}": value for name, value in model.head.fc.named_parameters()}
    for name, value in golden.tensors("final/").items():
        assert_close(final[name], value, f"final/{name}", **TRAINED)
    for name, before in network.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], before), f"{name} moved"


ADAPTERS = {
    "ept_": check_ept,
    "ept_attention": check_attention,
    "head_": check_head,
    "metrics_multiclass": check_multi_class_metrics,
    "metrics_multilabel": check_multi_label_metrics,
    "train_sgd": check_training,
    "vit_": check_vit,
    "vpt_": check_vpt,
}
