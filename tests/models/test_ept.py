"""Prompted attention, the ways to tune a backbone, and what tuning leaves as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.models.common.errors import CheckpointError
from retable.models.ept import attention, method
from retable.models.ept.checkpoint import digest, load_backbone, official_keys
from retable.models.ept.classifier import Head, Prepared, TunedClassifier
from retable.models.ept.recipe import Recipe
from retable.models.ept.sizes import VIT_SIZES, ViTSize
from retable.models.ept.training import fit_draw, loss_of, make_optimizer
from retable.models.ept.tuning import EPT, INITS, VP, VPT, AdaptFormer, Bias, Full, LoRA, Partial, Tuning
from retable.models.ept.vit import VisionTransformer

SMALL = ViTSize(width=16, depth=3, heads=2, mlp=32, patch=4, image_size=12)
N = SMALL.tokens


def network(size: ViTSize = SMALL, seed: int = 0) -> VisionTransformer:
    """Random weights of which none is at its default."""
    torch.manual_seed(seed)
    vit = VisionTransformer(size)
    for parameter in vit.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return vit.eval()


def drawn(tuning: Any, scale: float = 1.0) -> Any:
    """The tuning with numbers that are all far from 0."""
    for parameter in tuning.parameters():
        parameter.data.normal_(std=scale)
    return tuning


def images(count: int = 2, size: int = 12) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


ALL_LAYERS = range(SMALL.depth)
TUNINGS: dict[str, Any] = {
    "none": Tuning,
    "ept": lambda: EPT(N, 5, ALL_LAYERS),
    "ept-multiply-concat": lambda: EPT(N, 5, ALL_LAYERS, "multiply-concat"),
    "ept-add": lambda: EPT(N, N, ALL_LAYERS, "add"),
    "ept-multiply": lambda: EPT(N, N, ALL_LAYERS, "multiply"),
    "vpt-deep": lambda: VPT(16, 3, ALL_LAYERS),
    "vpt-shallow": lambda: VPT(16, 3),
    "vp": lambda: VP(16, 4, ALL_LAYERS, N),
    "adapter": lambda: AdaptFormer(16, 3, 4, 0.1),
    "lora": lambda: LoRA(16, 3, 2, 2),
    "full": Full,
    "partial": lambda: Partial(3),
    "bias": Bias,
}


# prompts inside the attention


def qkv(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = torch.randn(3, 2, 2, 7, 4, generator=torch.Generator().manual_seed(seed)).double()
    return q * 3, k, v


@given(seed=st.integers(0, 1000), length=st.integers(1, 9), reach=st.floats(0.0, 40.0))
@settings(deadline=None, max_examples=40)
def test_the_closed_form_is_the_literal_one_and_only_shrinks(seed: int, length: int, reach: float) -> None:
    q, k, v = qkv(seed)
    P = reach * torch.randn(7, length, generator=torch.Generator().manual_seed(seed + 1)).double()
    torch.testing.assert_close(attention.scaled(q, k, v, P), attention.literal(q, k, v, P), rtol=1e-9, atol=1e-11)
    r = attention.row_scale(attention.logits(q, k), P)
    torch.testing.assert_close(attention.kept_attention(attention.logits(q, k), P).sum(-1), r)
    assert (r >= 0).all()
    assert (r <= 1).all()


@given(seed=st.integers(0, 1000), length=st.integers(2, 9))
@settings(deadline=None, max_examples=20)
def test_one_column_does_what_many_do(seed: int, length: int) -> None:
    """The prompt length is no capacity: d_p columns are one column with their logsumexp."""
    vit = network(seed=seed % 7).double()
    many = drawn(EPT(N, length, ALL_LAYERS)).double()
    one = EPT(N, 1, ALL_LAYERS).double()
    one.prompt.data.copy_(many.prompt.logsumexp(-1, keepdim=True))
    x = images().double()
    torch.testing.assert_close(vit(x, one), vit(x, many), rtol=1e-9, atol=1e-11)


def test_prompts_stand_before_the_softmax_and_are_not_scaled_by_the_head_s_width() -> None:
    q, k, v = qkv(0)
    P = torch.randn(7, 2).double()
    S = q @ k.transpose(-1, -2) / 2  # E = 4
    weights = torch.cat([S.exp(), P.exp().expand(2, 2, 7, 2)], -1)
    wanted = (weights / weights.sum(-1, keepdim=True))[..., :7] @ v
    torch.testing.assert_close(attention.scaled(q, k, v, P), wanted)


@pytest.mark.parametrize("offset", [-1e4, -float("inf")])
def test_prompts_far_below_the_logits_are_the_frozen_backbone_bit_for_bit(offset: float) -> None:
    vit, x = network(), images()
    away = EPT(N, 3, ALL_LAYERS)
    away.prompt.data.fill_(offset)
    assert torch.equal(vit(x, away), vit(x))
    assert not torch.equal(vit(x, drawn(EPT(N, 3, ALL_LAYERS))), vit(x))


def test_large_logits_and_prompts_do_not_overflow() -> None:
    q, k, v = (part.float() * 200 for part in qkv(3))
    P = torch.full((7, 3), 5e4)
    for join in (attention.scaled, attention.literal):
        assert join(q, k, v, P).isfinite().all()


def test_each_query_token_and_layer_has_a_row_of_its_own_which_heads_share() -> None:
    vit, x = network(), images()
    with torch.no_grad():
        tuning = drawn(EPT(N, 2, [1]))
        q, k, v = qkv(4)
        P = torch.zeros(7, 2).double()
        P[3] = 2
        moved = attention.scaled(q, k, v, P) - attention.scaled(q, k, v, torch.zeros(7, 2).double())
        assert (moved.abs().amax((0, 1, 3)) > 0).tolist() == [i == 3 for i in range(7)]
        assert (moved[:, :, 3].abs().amax((0, 2)) > 0).all()
        layer0, layer1, _ = vit.outputs(x, tuning, [0, 1, 2])
        plain0, plain1, _ = vit.outputs(x, None, [0, 1, 2])
        assert torch.equal(layer0, plain0)
        assert not torch.equal(layer1, plain1)


def test_multiply_concat_gives_each_token_the_reach_of_its_logits() -> None:
    q, k, v = qkv(5)
    S, P = attention.logits(q, k), torch.randn(7, 2).double()
    tuning = EPT(7, 2, [0], "multiply-concat")
    tuning.prompt.data = P[None]
    alpha = (S.max(-1).values - S.min(-1).values)[..., None]
    weights = torch.cat([alpha * P, S], -1).softmax(-1)[..., 2:]
    torch.testing.assert_close(tuning.attend(0, q, k, v), weights @ v)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: EPT(N, 2, [0, 2]), "consecutive"),
        (lambda: EPT(N, 2, [0], "add"), f"a length of {N}"),
        (lambda: VPT(16, 2, [1, 2]), "from 0"),
        (lambda: VP(16, N, [0], N), f"below {N}"),
        (lambda: network()(images(size=16), drawn(EPT(N, 2, [0]))), "cannot be resized"),
    ],
)
def test_what_cannot_be_prompted_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_images_of_another_size_get_a_resized_position_table() -> None:
    vit = network()
    assert vit(images(size=16)).shape == (2, 16)
    assert vit(images(size=16), drawn(VPT(16, 2))).isfinite().all()


# the other tunings


def test_deep_prompts_are_overwritten_by_each_layer_and_shallow_ones_evolve() -> None:
    vit, x = network(), images()
    deep, seen = drawn(VPT(16, 2, ALL_LAYERS)), []
    for layer in vit.layers:
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    vit(x, deep)
    for layer, tokens in enumerate(seen):
        assert tokens.shape[1] == N + 2
        torch.testing.assert_close(tokens[:, 1:3], deep.prompt[layer].expand(2, 2, 16))
    seen.clear()
    vit(x, drawn(VPT(16, 2)))
    assert [tokens.shape[1] for tokens in seen] == [N + 2] * 3


def test_visual_prompts_add_to_the_first_patches_of_each_layer() -> None:
    tuning, x = drawn(VP(16, 4, ALL_LAYERS, N)), torch.randn(2, N, 16)
    for layer in ALL_LAYERS:
        change = tuning.tokens(layer, x) - x
        torch.testing.assert_close(change[:, 1:5], tuning.prompt[layer].expand(2, 4, 16))
        assert not change[:, 0].any()
        assert not change[:, 5:].any()


def test_adapters_and_low_rank_changes_start_from_the_frozen_backbone() -> None:
    vit, x = network(), images()
    for tuning in (AdaptFormer(16, 3, 4, 0.1), LoRA(16, 3, 2, 2)):
        torch.testing.assert_close(vit(x, tuning), vit(x))


def test_low_rank_changes_of_queries_and_values_are_peft_s() -> None:
    peft = pytest.importorskip("peft")
    vit = network(replace(SMALL, depth=1))
    ours = drawn(LoRA(16, 1, 2, 6.0))
    split = nn.ModuleDict({name: nn.Linear(16, 16) for name in "qkv"})
    for name, weight, bias in zip("qkv", *(p.data.chunk(3) for p in vit.layers[0].attn.qkv.parameters()), strict=True):
        split[name].load_state_dict({"weight": weight, "bias": bias})
    theirs = peft.get_peft_model(split, peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q", "v"])).base_model.model
    for i, name in enumerate("qv"):
        theirs[name].lora_A["default"].weight.data.copy_(ours.A[0, i])
        theirs[name].lora_B["default"].weight.data.copy_(ours.B[0, i])
    y = torch.randn(2, N, 16)
    wanted = torch.cat([theirs[name](y) for name in "qkv"], dim=-1)
    torch.testing.assert_close(ours.qkv(0, y, vit.layers[0].attn.qkv), wanted)


def test_adapters_stand_beside_the_feed_forward_net() -> None:
    vit = network()
    tuning = drawn(AdaptFormer(16, 3, 4, 0.5))
    y = torch.randn(2, N, 16)
    ffn = vit.layers[1].ffn
    bottleneck = torch.relu(y @ tuning.down[1].weight.T + tuning.down[1].bias)
    wanted = ffn(y) + 0.5 * (bottleneck @ tuning.up[1].weight.T + tuning.up[1].bias)
    torch.testing.assert_close(tuning.ffn(1, y, ffn), wanted)


# what is trained

B16_TUNED = {
    "linear": 0,
    "ept": 12 * 197 * 100,
    "vpt": 12 * 100 * 768,
    "adapter": 12 * (2 * 768 * 64 + 64 + 768),
    "bias": 12 * (2304 + 768 + 3072 + 768 + 2 * 768) + 768 + 768,
    "full": 85_798_656,
    "lora": 12 * 2 * 2 * 8 * 768,
    "partial": 7_087_872,
    "vp": 12 * 10 * 768,
    "mlp": 2 * (768 * 768 + 768),
}
WAYS: dict[str, Any] = {
    "linear": method.LinearProbe,
    "ept": method.EmbeddedPrompts,
    "vpt": lambda **rest: method.VisualPromptTuning(length=100, **rest),
    "adapter": lambda **rest: method.Adapter(reduction=12, **rest),
    "bias": method.BiasTuning,
    "full": method.FullTuning,
    "lora": method.LowRank,
    "partial": method.Partial1,
    "vp": method.VisualPrompting,
    "mlp": method.MLP3,
}


@pytest.mark.parametrize("way", B16_TUNED)
def test_tunable_numbers_of_the_published_backbone(way: str) -> None:
    with torch.device("meta"):
        model = WAYS[way](size="b16", num_classes=2).build(None)
    head = 768 * 2 + 2
    assert sum(parameter.numel() for parameter in model.parameters_counted()) == B16_TUNED[way] + head


@pytest.mark.parametrize(("name", "numbers"), [("b16", 85_798_656), ("l16", 303_301_632)])
def test_the_published_backbones_have_their_size(name: str, numbers: int) -> None:
    with torch.device("meta"):
        vit = VisionTransformer(VIT_SIZES[name])
    assert sum(parameter.numel() for parameter in vit.parameters()) == numbers
    # as released: two tables, the patches, twelve tensors a block, the last norm; a file of EPT has the prompts beside them
    keys = set(vit.state_dict())
    assert len(keys) == 2 + 2 + 12 * VIT_SIZES[name].depth + 2
    assert {key.removeprefix("layers.11.") for key in keys if key.startswith("layers.11.")} == {
        f"{part}.{kind}"
        for part in ("ln1", "attn.qkv", "attn.proj", "ln2", "ffn.layers.0.0", "ffn.layers.1")
        for kind in ("weight", "bias")
    }


class Memory:
    """A draw of random images with a rule that prefers the epochs it is told to."""

    augments, multi_label, name = False, True, "memory"

    def __init__(self, count: int = 10, judged: tuple[float, ...] = ()) -> None:
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)
        self.labels = rng.integers(0, 2, (count, 3)).astype(np.float32)
        self.judged = list(judged)
        self.train = self.validation = self

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, chosen: np.ndarray, rng: Any = None) -> np.ndarray:
        return self.pixels[chosen]

    def judge(self, scores: np.ndarray) -> float:
        return self.judged.pop(0) if self.judged else 0.0


def tuned(tuning: Tuning, vit: VisionTransformer) -> TunedClassifier:
    return TunedClassifier(Prepared(vit), tuning, Head(16, 3))


@pytest.mark.parametrize("name", TUNINGS)
def test_tuning_moves_what_it_trains_and_leaves_the_rest_bit_for_bit(name: str) -> None:
    vit = network()
    before = digest(vit.state_dict())
    model = tuned(TUNINGS[name](), vit)
    start = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    fit_draw(model, Memory(), Recipe(epochs=2, lr=0.05), seed=0, device="cpu")
    moved = {key for key, value in model.backbone.state_dict().items() if not torch.equal(value, start[key])}
    assert moved == {key for key, _ in vit.named_parameters() if model.tuning.trains(key)}
    assert digest(vit.state_dict()) == before, "the backbone that others share was changed"
    if not moved:
        assert model.backbone_digest() == before


def test_frozen_prompts_stay_as_they_were_drawn() -> None:
    way = method.VisualPromptTuning(length=2, frozen=True, epochs=2, lr=0.1)
    model = way.assemble(Prepared(network()), 3)
    start = model.snapshot()
    fit_draw(model, Memory(), way, seed=0, device="cpu")
    assert torch.equal(model.tuning.prompt, start["tuning.prompt"])
    assert start["tuning.prompt"].any()
    assert set(model.trained()) == {"head.fc.weight", "head.fc.bias"}


def test_all_ways_start_from_the_same_head() -> None:
    vit, heads = network(), []
    for way in (method.LinearProbe(), method.EmbeddedPrompts(length=3), method.Adapter(), method.FullTuning()):
        torch.manual_seed(5)
        heads.append(way.assemble(Prepared(vit), 3).head.fc.weight)
    assert all(torch.equal(head, heads[0]) for head in heads)


# training


def test_the_multi_label_loss_is_a_sum_over_labels() -> None:
    logits, targets = torch.randn(4, 19), torch.randint(0, 2, (4, 19)).float()
    mean = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(loss_of(logits, targets), 19 * mean)
    classes = torch.tensor([0, 3, 18, 2])
    torch.testing.assert_close(loss_of(logits, classes), torch.nn.functional.cross_entropy(logits, classes))


def test_the_rate_falls_by_the_epoch_and_rises_by_the_step() -> None:
    recipe = Recipe(epochs=20, lr=2.0)
    assert [recipe.lr_at(epoch, 1000) for epoch in (0, 10)] == pytest.approx([2.0, 1.0])
    assert recipe.lr_at(19, 9) == pytest.approx(1 + np.cos(np.pi * 19 / 20))
    slow = Recipe(epochs=20, lr=2.0, warmup=10_000)
    assert slow.lr_at(0, 0) == pytest.approx(2e-4)
    assert slow.lr_at(0, 5000) == pytest.approx(1.0, rel=1e-3)


def test_adamw_leaves_cls_and_positions_out_of_the_decay_and_sgd_decays_prompts() -> None:
    model = tuned(Full(), network())
    groups = make_optimizer(model, Recipe(optimizer="adamw", weight_decay=0.3)).param_groups
    spared = {id(parameter) for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}
    assert spared == {id(model.backbone.cls_token), id(model.backbone.pos_embed)}
    prompts = tuned(EPT(N, 2, ALL_LAYERS), network())
    (group,) = make_optimizer(prompts, Recipe(weight_decay=0.1)).param_groups
    assert group["weight_decay"] == 0.1
    assert any(parameter is prompts.tuning.prompt for parameter in group["params"])


def test_the_first_of_the_best_epochs_is_kept_beside_the_last() -> None:
    recipe = Recipe(epochs=4, lr=0.05)
    found = fit_draw(tuned(Tuning(), network()), Memory(judged=(1, 5, 5, 2)), recipe, seed=0, device="cpu")
    assert (found["best_epoch"], found["validation"]) == (1, [1, 5, 5, 2])
    stopped = fit_draw(tuned(Tuning(), network()), Memory(judged=(1, 5, 0, 0)), recipe, seed=0, device="cpu")
    assert torch.equal(found["best"]["head.fc.weight"], stopped["best"]["head.fc.weight"])
    assert not torch.equal(found["best"]["head.fc.weight"], found["last"]["head.fc.weight"])


@pytest.mark.parametrize("init", INITS)
def test_prompts_start_as_declared(init: Any) -> None:
    torch.manual_seed(0)
    way = method.EmbeddedPrompts(length=50, init=init, offset=3.0)
    prompt = way.tuning(replace(SMALL, image_size=60)).prompt - 3
    std = {"normal": 0.02, "uniform": 0.16 / 12**0.5, "zeros": 0.0, "kaiming": (2 / (226 * 50)) ** 0.5}[init]
    assert float(prompt.detach().std()) == pytest.approx(std, rel=0.05)


# published weights


def timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        for ours, theirs in (
            ("ffn.layers.0.0.", "mlp.fc1."), ("ffn.layers.1.", "mlp.fc2."), (".ln1.", ".norm1."), (".ln2.", ".norm2."),
            ("layers.", "blocks."), ("projection", "proj"),
        ):  # fmt: skip
            key = key.replace(ours, theirs)
        renamed[key.replace("ln1.", "norm.") if key.startswith("ln1.") else key] = tensor
    return {**renamed, "head.weight": torch.zeros(1000, 16), "head.bias": torch.zeros(1000)}


@pytest.mark.parametrize("layout", ["official", "timm", "classifier"])
def test_published_weights_of_either_layout_load(layout: str, tmp_path: Path) -> None:
    vit, x = network(), images()
    state = dict(vit.state_dict())
    if layout == "timm":
        state = timm_names(state)
    elif layout == "classifier":
        state = {f"backbone.{key}": value for key, value in state.items()}
        state |= {"backbone.prompt": torch.zeros(3, N, 2), "head.fc.weight": torch.zeros(2, 16)}
    torch.save({"state_dict": state, "meta": {"epoch": 3}}, tmp_path / "vit.pth")
    other = network(seed=9)
    load_backbone(tmp_path / "vit.pth", other)
    assert torch.equal(other(x), vit(x))


def test_weights_of_another_image_size_get_a_resized_position_table(tmp_path: Path) -> None:
    vit = network()
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    larger = network(replace(SMALL, image_size=16), seed=3)
    load_backbone(tmp_path / "vit.pth", larger)
    assert torch.equal(larger(images(size=16)), vit(images(size=16)))


def test_damaged_weights_are_refused_with_the_key_s_official_name(tmp_path: Path) -> None:
    state = timm_names(dict(network().state_dict()))
    del state["blocks.1.mlp.fc1.weight"]
    torch.save(state, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match=r"layers\.1\.ffn\.layers\.0\.0\.weight is missing"):
        load_backbone(tmp_path / "vit.pth", network())
    assert "layers.0.ln1.weight" in official_keys(state)
