"""AiM's second stage: published sizes and layout, and each trap where the text and the official code part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from retable.models.aim.config import SIZES, AiMConfig
from retable.models.aim.method import AiM as AiMMethod
from retable.models.aim.sampling import GuidedDecoder, filter_logits, sample_tokens
from retable.models.aim.stage2 import AiM
from retable.models.aim.training import Recipe, drop_labels

TINY = AiMConfig(
    d_model=32,
    n_layer=3,
    vocab_size=24,
    num_classes=5,
    num_tokens=9,
    ssm_cfg={"layer": "Mamba2", "headdim": 16, "d_state": 8},
    adaln="group",
    num_groups=2,
)


def tiny(**changes: object) -> AiM:
    """A small model whose zero-initialised modulation is disturbed, so that it counts."""
    torch.manual_seed(0)
    model = AiM(TINY.replace(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def tokens(batch: int = 3) -> Tensor:
    return torch.randint(TINY.vocab_size, (batch, TINY.num_tokens), generator=torch.Generator().manual_seed(1))


def cached(model: AiM, labels_B: Tensor, code_BT: Tensor, offset: int, guidance: float = 1.0) -> Tensor:
    decoder = GuidedDecoder(model, labels_B, guidance=guidance, position_offset=offset)
    logits = [decoder.logits_BV, *(decoder.feed(code_BT[:, t]) for t in range(code_BT.shape[1] - 1))]
    return torch.stack(logits, 1)


@pytest.mark.parametrize(
    ("size", "count"), [("b", 147_622_080), ("l", 349_760_000), ("xl", 763_291_392), ("1b", 1_335_944_192)]
)
def test_published_sizes_have_the_papers_parameters(size: str, count: int) -> None:
    with torch.device("meta"):
        model = AiM(SIZES[size])
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_layout_of_aim_l_is_the_official_one() -> None:
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in AiM(SIZES["l"]).state_dict().items()}
    layer = {
        "scale_shift_table": (1, 3, 1024),
        "norm.weight": (1024,),
        "mixer.in_proj.weight": (4384, 1024),
        "mixer.conv1d.weight": (2304, 1, 4),
        "mixer.conv1d.bias": (2304,),
        "mixer.dt_bias": (32,),
        "mixer.A_log": (32,),
        "mixer.D": (32,),
        "mixer.norm.weight": (2048,),
        "mixer.out_proj.weight": (1024, 2048),
    }
    official = {
        "backbone.embeddings.word_embeddings.weight": (16384, 1024),
        "backbone.embeddings.position_embeddings.weight": (257, 1024),
        "backbone.cls_embed.embedding_table.weight": (1001, 1024),
        "backbone.adaln_group.1.weight": (12288, 1024),
        "backbone.adaln_group.1.bias": (12288,),
        "backbone.final_layer.norm_final.weight": (1024,),
        "backbone.final_layer.adaLN_modulation.1.weight": (2048, 1024),
        "backbone.final_layer.adaLN_modulation.1.bias": (2048,),
        "backbone.norm_f.weight": (1024,),
        **{f"backbone.layers.{i}.{name}": shape for i in range(48) for name, shape in layer.items()},
    }
    assert own == official  # lm_head.weight is tied and stands in no published file


@pytest.mark.parametrize("adaln", ["group", "plain", "none"])
@pytest.mark.parametrize("mixer", [{"layer": "Mamba2", "headdim": 16, "d_state": 8}, {"layer": "Mamba1", "d_state": 4}])
@pytest.mark.parametrize("offset", [0, 1])
def test_cached_decoding_equals_the_full_form_at_the_same_positions(
    adaln: str, mixer: dict[str, object], offset: int
) -> None:
    model, code_BT, labels_B = tiny(adaln=adaln, ssm_cfg=mixer), tokens(), torch.tensor([0, 4, 5])
    with torch.no_grad():
        full = model(labels_B, code_BT[:, :-1], position_offset=offset)
        torch.testing.assert_close(cached(model, labels_B, code_BT, offset), full, rtol=1e-4, atol=1e-5)


def test_the_official_position_offset_changes_the_logits() -> None:
    model, code_BT, labels_B = tiny(), tokens(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        apart = (model(labels_B, code_BT[:, :-1]) - model(labels_B, code_BT[:, :-1], position_offset=1)).abs()
    assert apart[:, 0].max() == 0, "the class token has no position"
    assert apart[:, 1:].max() > 1e-3


def test_without_a_position_table_the_offset_means_nothing() -> None:
    model, code_BT, labels_B = tiny(position_table=False), tokens(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(
            model(labels_B, code_BT[:, :-1]), model(labels_B, code_BT[:, :-1], position_offset=1)
        )


def test_layer_i_belongs_to_group_i_mod_g() -> None:
    model = tiny()
    with torch.no_grad():
        e_BD = model.backbone.cls_embed(torch.tensor([1]))
        before = [m.shift.clone() for m in model.backbone.modulations(e_BD)]
        model.backbone.adaln_group[1].bias[: 3 * TINY.d_model] += 1.0  # group 0
        after = [m.shift for m in model.backbone.modulations(e_BD)]
    moved = [bool((one - two).abs().max() > 0.5) for one, two in zip(before, after, strict=True)]
    assert moved == [True, False, True]


def test_the_class_is_read_once_a_sequence() -> None:
    model, calls = tiny(), 0

    def note(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.backbone.adaln_group.register_forward_hook(note)
    sample_tokens(model, torch.tensor([0, 1]), guidance=2.0, generator=torch.Generator().manual_seed(0))
    assert calls == 1


def test_modulation_is_shift_scale_gate_in_this_order() -> None:
    block = tiny().backbone.layers[0]
    with torch.no_grad():
        block.scale_shift_table.copy_(torch.tensor([1.0, 2.0, 3.0])[None, :, None].expand(1, 3, TINY.d_model))
        m = block.modulation(torch.zeros(1, 3, TINY.d_model))
    assert (m.shift.mean(), m.scale1.mean(), m.gate.mean()) == (1.0, 3.0, 3.0)


def test_no_label_is_dropped_by_the_model_itself() -> None:
    model, code_BT, labels_B = tiny().train(), tokens(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        one, two = (model(labels_B, code_BT[:, :-1]) for _ in range(2))
    assert torch.equal(one, two)


def test_label_dropout_replaces_about_its_share_by_the_no_class_id() -> None:
    labels_B = torch.zeros(4000, dtype=torch.long)
    dropped = drop_labels(labels_B, 7, 0.1, torch.Generator().manual_seed(0))
    assert set(dropped.tolist()) == {0, 7}
    assert 0.08 < (dropped == 7).float().mean() < 0.12


def test_guidance_is_on_logits_with_one_meaning_conditional_and_zero_unconditional() -> None:
    model, code_BT, labels_B = tiny(), tokens(), torch.tensor([0, 1, 2])
    no_class_B = torch.full_like(labels_B, TINY.num_classes)
    with torch.no_grad():
        c, u = (cached(model, labels, code_BT, 0) for labels in (labels_B, no_class_B))
        for w in (0.0, 1.0, 2.5):
            torch.testing.assert_close(
                cached(model, labels_B, code_BT, 0, guidance=w), u + w * (c - u), rtol=1e-4, atol=1e-5
            )


def test_top_k_keeps_ties_and_top_p_the_most_probable() -> None:
    logits = torch.tensor([[3.0, 2.0, 2.0, 1.0]])
    assert filter_logits(logits, top_k=2).isfinite().tolist() == [[True, True, True, False]]
    assert filter_logits(logits, top_p=0.01).isfinite().tolist() == [[True, False, False, False]]
    assert filter_logits(logits, top_k=0, top_p=1.0).equal(logits)
    assert filter_logits(logits, top_k=99).equal(logits)


def test_sampling_is_a_function_of_the_generator() -> None:
    model, labels_B = tiny(), torch.tensor([0, 1, 2, 3])

    def draw(seed: int) -> Tensor:
        return sample_tokens(model, labels_B, guidance=2.0, generator=torch.Generator().manual_seed(seed))

    assert draw(3).equal(draw(3))
    assert not draw(3).equal(draw(4))
    assert draw(3).shape == (4, TINY.num_tokens)


def test_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe(steps=100, lr=1.0, warmup=10)
    rates = [recipe.lr_at(step) for step in range(100)]
    assert rates[9] == rates[10] == max(rates) == 1.0
    assert 0 < rates[-1] < 0.02
    assert Recipe(steps=10, lr=1.0, warmup=0).lr_at(0) == 1.0


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}, {"warmup": 400}, {"label_dropout": 1.5}])
def test_recipes_that_cannot_train_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|needs|fit"):
        Recipe(**wrong)


def test_sizes_that_nothing_gives_are_named() -> None:
    with pytest.raises(ValueError, match="num_tokens"):
        AiMMethod(codes=8, num_classes=3).build(None)


def test_compiles_to_machine_code() -> None:
    """The compiler reads what operators return by the strides of their fakes; gradients and logits stay those of eager."""
    sizes = {"d_model": 32, "n_layer": 1, "vocab_size": 16, "num_classes": 3, "num_tokens": 8, "adaln": "group"}
    stage2 = AiM(AiMConfig(**sizes, num_groups=1, ssm_cfg={"layer": "Mamba2", "d_state": 8, "headdim": 16})).train()
    labels_B, tokens_BS = torch.tensor([0, 2]), torch.randint(0, 16, (2, 7), generator=torch.Generator().manual_seed(0))
    found = []
    for run in (stage2, torch.compile(stage2)):
        logits = run(labels_B, tokens_BS)
        grads = torch.autograd.grad(logits.square().sum(), list(stage2.parameters()), allow_unused=True)
        found.append([logits.detach(), *(grad for grad in grads if grad is not None)])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)
