"""Post-training pipelines on transformers' own LLaMA modules: in place, layer by layer, stored and restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from retable.models.common.errors import CheckpointError, MissingWeights
from retable.models.spikellm import method, omniquant, pipeline, tiny_llama, transform
from retable.models.spikellm.gptq import Hessian
from retable.models.spikellm.language_model import LanguageModel
from retable.models.spikellm.layers import NotLlamaError
from retable.models.spikellm.quantizer import Quantizer
from retable.models.spikellm.recipe import Recipe
from retable.models.spikellm.saliency import inverse_hessian
from retable.models.spikellm.weights import grid_of

TEXT = "A tale told by an honest clerk, of ships and of the sea; every evening he would add a page to it. " * 30


@dataclass(frozen=True)
class Words:
    train: str = TEXT
    held_out: str = TEXT


def small(seed: int = 0, layers: int = 2, kv_heads: int = 2, width: int = 32, hidden: int = 48) -> LanguageModel:
    torch.manual_seed(seed)
    model = tiny_llama.new(width, layers, 2, kv_heads, hidden).requires_grad_(False)
    for name, weight in model.named_parameters():
        if not name.endswith("norm.weight"):
            weight.mul_(4)  # random logits of some size
    return model


def tokens(seed: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, 128, shape, generator=torch.Generator().manual_seed(seed))


METHODS = [
    method.RoundToNearest(wbits=4, abits=4, window=24, protocol="corrected"),
    method.RoundToNearest(wbits=4, group_size=16, window=24),
    method.SmoothQuant(wbits=4, abits=8, samples=2, window=24),
    method.OmniQuant(wbits=3, abits=6, samples=2, window=24, epochs=1),
    method.SpikeLLM(samples=2, window=24, epochs=1),
    method.OmniQuant(wbits=2, samples=2, window=24, epochs=1, weight_salient=0.2, weight_steps=2),
    method.GPTQ(wbits=3, samples=2, window=24),
    method.PBLLM(samples=2, window=24),
    method.SpikeLLMTernary(samples=2, window=24),
]


@pytest.mark.parametrize("chosen", METHODS, ids=lambda m: f"{type(m).__name__}-{m.wbits}-{m.abits}")
def test_a_method_is_deterministic_and_its_stored_layers_give_the_same_model(chosen: Any) -> None:
    x = tokens(1, 2, 20)
    first, log = chosen.fit(Words(), {"base": small()}, seed=3, device="cpu")
    second, _ = chosen.fit(Words(), {"base": small()}, seed=3, device="cpu")
    restored = chosen.load(first.state_dict(), Words(), {"base": small()}, device="cpu")
    logits = first(x)
    assert torch.equal(logits, second(x))
    assert torch.equal(logits, restored(x))
    assert not torch.equal(logits, small()(x))
    assert len(log["layer_errors"]) == 2
    assert all(error > 0 for error in log["layer_errors"])


@pytest.mark.parametrize("kv_heads", [2, 1])
def test_at_sixteen_bits_nothing_changes(kv_heads: int) -> None:
    x, model = tokens(0, 2, 12), small(kv_heads=kv_heads)
    before = model(x)
    pipeline.quantise(model.lm, tokens(1, 1, 12), Recipe(wbits=16, abits=16))
    assert torch.allclose(model(x), before, atol=1e-4)


def test_learning_lowers_the_error_of_a_layer() -> None:
    losses = method.OmniQuant(wbits=3, abits=4, samples=4, window=24, epochs=8).fit(
        Words(), {"base": small(layers=1)}, seed=0, device="cpu"
    )[1]["layer_losses"][0]
    assert losses[-1] < losses[0]


def test_more_steps_and_salient_channels_lower_the_error_of_a_layer() -> None:
    def error(**changes: Any) -> float:
        fit = method.SpikeLLM(samples=4, window=32, epochs=0, let=(), lwc=False, wbits=16, **changes).fit
        return fit(Words(), {"base": small(layers=1)}, seed=0, device="cpu")[1]["layer_errors"][0]

    one = error(steps=1, low_p=1.0)
    assert error(steps=2, low_p=0.5) < one
    assert error(steps=4, low_p=0.5) < error(steps=2, low_p=0.5)


def test_rounding_to_nearest_clips_nothing() -> None:
    """Learned clipping begins at sigmoid(4), which takes 1.8 % off either end even where nothing is learned."""
    model = small()
    before = {name: weight.clone() for name, weight in model.lm.model.layers[0].named_parameters()}
    pipeline.quantise(model.lm, tokens(0, 1, 24), method.RoundToNearest(wbits=4, abits=16, window=24).recipe())
    weights = {n: w for n, w in model.lm.model.layers[0].named_parameters() if n.endswith("_proj.weight")}
    assert len(weights) == 7
    for name, weight in weights.items():
        assert torch.equal(weight, Quantizer(bits=4)(before[name]))


def test_only_the_first_layers_change_when_asked() -> None:
    model, x = small(layers=3), tokens(1, 1, 8)
    weights = [layer.mlp.up_proj.weight.clone() for layer in model.lm.model.layers]
    pipeline.quantise(model.lm, x, Recipe(wbits=2, layers=1))
    same = [torch.equal(a, b.mlp.up_proj.weight) for a, b in zip(weights, model.lm.model.layers, strict=True)]
    assert same == [False, True, True]


def test_a_key_range_over_the_sequence_lets_tokens_see_later_ones_and_the_corrected_protocol_does_not() -> None:
    x = tokens(2, 1, 16)
    other = x.clone()
    other[0, -1] = (x[0, -1] + 60) % 128
    moved = {}
    for protocol in ("official", "corrected"):
        model = small()
        pipeline.quantise(model.lm, tokens(3, 1, 16), Recipe(wbits=16, abits=3, protocol=protocol))  # type: ignore[arg-type]
        moved[protocol] = float((model(x) - model(other))[:, :-1].abs().max())
    assert moved["corrected"] == 0
    assert moved["official"] > 1e-3


def test_padding_on_the_right_does_not_change_what_stands_before_it_under_the_corrected_protocol() -> None:
    model, x = small(), tokens(4, 1, 10)
    pipeline.quantise(model.lm, tokens(3, 1, 16), Recipe(wbits=4, abits=4, protocol="corrected"))
    mask = torch.tensor([[1] * 7 + [0] * 3])
    padded = model.lm(x, attention_mask=mask, use_cache=False).logits[:, :7]
    assert torch.allclose(padded, model(x[:, :7]), atol=1e-4)


def peak_allocation(work: Callable[[], object]) -> int:
    """The most bytes that `work` held at once beyond what was there, by every allocation that torch made."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    assert watched.profiler is not None
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(sizes))


@pytest.mark.parametrize(
    "recipe", [Recipe(abits=4, steps=2, low_p=0.9, lwc=True, let=("qkv",), epochs=1), Recipe(gptq=True)]
)
def test_the_peak_of_quantising_grows_with_a_layer_and_not_with_the_depth(recipe: Recipe) -> None:
    def peak(layers: int, width: int) -> int:
        model = small(layers=layers, width=width, hidden=2 * width)
        return peak_allocation(lambda: pipeline.quantise(model.lm, tokens(0, 2, 16), recipe))

    shallow, deep, wide = peak(2, 64), peak(8, 64), peak(2, 128)
    assert deep < 1.1 * shallow
    assert wide > 2 * shallow  # so a layer's own size is what the peak shows


def test_small_scales_are_kept_from_zero_in_place_and_with_their_sign() -> None:
    scale = torch.nn.Parameter(torch.tensor([-1e-3, 9e-3, 0.02, -3.0]))
    transform.keep_from_zero(torch.nn.ParameterDict({"qkv": scale}))
    assert scale.tolist() == pytest.approx([-0.01, 0.01, 0.02, -3.0])


def test_no_step_of_learning_sees_a_smaller_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs near zero make initial scales below 0.01; the first step already takes them at 0.01."""
    model, seen = small(layers=1), []
    model.lm.model.layers[0].input_layernorm.weight.mul_(1e-4)
    transformed = omniquant.transformed

    def watched(weights: Any, scales: Any) -> Any:
        seen.append(min(float(scale.detach().abs().min()) for scale in scales.values()))
        return transformed(weights, scales)

    monkeypatch.setattr(omniquant, "transformed", watched)
    recipe = Recipe(wbits=4, abits=6, let=("qkv",), epochs=1, let_lr=0.0)
    pipeline.quantise(model.lm, tokens(0, 2, 16), recipe)
    assert len(seen) == 3
    assert min(seen) == pytest.approx(0.01)


def test_what_is_not_a_llama_is_refused_with_what_it_lacks() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=128))
    with pytest.raises(NotLlamaError, match=r"GPT2LMHeadModel has no model.*LLaMA's shape"):
        pipeline.quantise(other, tokens(0, 1, 8), Recipe())


def test_a_model_is_quantised_once() -> None:
    model = small()
    pipeline.quantise(model.lm, tokens(0, 1, 8), Recipe())
    with pytest.raises(ValueError, match="fresh copy"):
        pipeline.quantise(model.lm, tokens(0, 1, 8), Recipe())


def test_the_transformation_names_the_pairs_that_grouped_heads_cannot_have() -> None:
    with pytest.raises(ValueError, match="`let` cannot hold 'out'"):
        pipeline.quantise(small(kv_heads=1).lm, tokens(0, 1, 8), Recipe(let=("qkv", "out")))


def test_calibration_windows_begin_where_seed_2_of_the_released_code_puts_them() -> None:
    text = "".join(chr(32 + i % 90) for i in range(1000))
    found = pipeline.calibration_windows(lambda text: {"input_ids": list(range(len(text)))}, text, 4, 16, 2)
    assert found[:, 0].tolist() == [978, 883, 970, 869]
    assert torch.equal(found, found[:, :1] + torch.arange(16))


def test_a_calibration_text_shorter_than_a_window_and_a_missing_tokenizer_are_named() -> None:
    with pytest.raises(ValueError, match="has 5 tokens, fewer than one window of 16"):
        pipeline.calibration_windows(small().tokenizer, "short", 2, 16, 0)
    with pytest.raises(ValueError, match="no tokenizer"):
        pipeline.calibration_windows(None, TEXT, 2, 16, 0)


def test_character_ids_are_ascii_codes_and_come_back() -> None:
    tokenizer = tiny_llama.character_tokenizer()
    text = "It is\ta truth,\n 'tis said?"
    ids = tokenizer(text)["input_ids"]
    assert ids == list(text.encode("ascii"))
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_published_weights_say_what_to_put_where(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    lm = method.PublishedLM(weights="meta/llama")
    with pytest.raises(MissingWeights, match=r"meta/llama: put config.json"):
        lm.read()
    with pytest.raises(MissingWeights, match="no language model"):
        lm.weights_digest()
    model = small()
    model.lm.save_pretrained(tmp_path / "meta/llama")
    with pytest.raises(MissingWeights, match="has no tokenizer"):
        lm.read()
    model.tokenizer.save_pretrained(tmp_path / "meta/llama")
    read = method.PublishedLM(weights="meta/llama", dtype="float32")
    assert torch.allclose(read.read()(tokens(0, 1, 9)), model(tokens(0, 1, 9)), atol=1e-5)
    assert read.weights_digest() == read.weights_digest()


def test_published_sizes_are_built_without_memory() -> None:
    with torch.device("meta"):
        model = method.PublishedLM(weights="any", size="7b").build(None)
    assert sum(p.numel() for p in model.parameters()) == 6_738_415_616
    with pytest.raises(ValueError, match="`size` must be given"):
        method.PublishedLM(weights="any").build(None)


def test_arithmetic_effort_is_that_of_the_bits_and_the_steps() -> None:
    plain, _ = method.RoundToNearest(wbits=4, abits=4, window=24).fit(Words(), {"base": small()}, seed=0, device="cpu")
    assert plain.arithmetic_effort() == 16 / 256
    spikes, _ = method.SpikeLLM(samples=1, window=24, epochs=0, let=(), lwc=False, low_p=0.75).fit(
        Words(), {"base": small()}, seed=0, device="cpu"
    )
    assert spikes.arithmetic_effort() == pytest.approx(1.25 * 16 / 256)
    assert small().arithmetic_effort() == 1


HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("chosen", METHODS, ids=lambda m: f"{type(m).__name__}-{m.wbits}-{m.abits}")
def test_half_precision_goes_as_single_precision_does(chosen: Any, dtype: torch.dtype) -> None:
    """Published models are read in half precision; calibration is in single under autocast, the result in half again."""
    losses = []
    for kind in (torch.float32, dtype):
        model = small()
        model.lm.to(kind)
        quantised, log = chosen.fit(Words(), {"base": model}, seed=3, device="cpu")
        assert {value.dtype for value in quantised.lm.parameters()} == {kind}
        with torch.no_grad():
            logits = quantised(tokens(1, 2, 20)).float()
        assert logits.isfinite().all()
        losses.append(torch.tensor(log["layer_errors"]))
    torch.testing.assert_close(losses[1], losses[0], rtol=0.25, atol=1e-3)


def test_sums_of_squares_are_of_single_precision_under_autocast() -> None:
    """What half precision makes of them is no longer positive definite, or not finite."""
    x = 200 * torch.randn(1, 64, 48, generator=torch.Generator().manual_seed(0))
    sums = []
    for enabled in (False, True):
        hessian = Hessian(48, x.device)
        with torch.autocast("cpu", torch.float16, enabled=enabled):
            hessian.add(x.half())
        sums.append(hessian.mean)
    assert torch.equal(*sums)
    torch.linalg.cholesky(inverse_hessian(sums[1])[0])


def test_the_transformation_alone_learns_in_half_precision() -> None:
    model = small(layers=1)
    model.lm.half()
    learned = method.OmniQuant(wbits=4, abits=4, lwc=False, samples=2, window=24, epochs=3)
    losses = learned.fit(Words(), {"base": model}, seed=0, device="cpu")[1]["layer_losses"][0]
    assert losses[-1] < losses[0]


def test_steps_agree_with_their_sum_in_half_precision() -> None:
    model = small()
    model.lm.half()
    quantised, _ = method.SpikeLLM(samples=2, window=24, epochs=0, let=(), lwc=False, abits=4).fit(
        Words(), {"base": model}, seed=0, device="cpu"
    )
    x = tokens(1, 1, 12)
    with torch.no_grad(), quantised.in_steps():
        in_steps = quantised(x)
    assert in_steps.dtype == torch.float16
    assert in_steps.isfinite().all()


def test_the_added_error_is_against_what_full_precision_makes_of_the_quantised_inputs() -> None:
    """Of the first layer both inputs are the same, so that the loss is twice the plain one before anything is learned."""
    first = [
        method.OmniQuant(
            wbits=4, abits=6, samples=2, window=24, epochs=1, aug_loss=aug_loss, let_lr=0.0, lwc_lr=0.0
        ).fit(Words(), {"base": small(layers=2)}, seed=0, device="cpu")[1]["layer_losses"]
        for aug_loss in (False, True)
    ]
    assert first[1][0][0] == pytest.approx(2 * first[0][0][0])
    assert first[1][1][0] != pytest.approx(2 * first[0][1][0])


def test_an_error_that_is_not_added_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = omniquant.learn
    monkeypatch.setattr(omniquant, "learn", lambda *given: learn(*given[:-1]))
    with pytest.raises(AssertionError):
        test_the_added_error_is_against_what_full_precision_makes_of_the_quantised_inputs()


def test_published_parameters_replace_learning(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    recipe = Recipe(wbits=4, abits=6, let=("qkv", "out", "fc1", "qkt"), lwc=True, epochs=2, protocol="corrected")
    model = small()
    logs = pipeline.quantise(model.lm, tokens(0, 2, 24), recipe, seed=0)
    shifts = {f"{name}_smooth_shift": torch.zeros(32) for name in ("qkv", "out", "fc1")}
    torch.save({i: {**log.learned, **shifts} for i, log in enumerate(logs)}, tmp_path / "omni_parameters.pth")
    again = small()
    published = replace(recipe, epochs=0, parameters="omni_parameters.pth")
    pipeline.quantise(again.lm, tokens(0, 2, 24), published, seed=0)
    x = tokens(1, 1, 12)
    assert torch.equal(again(x), model(x))
    torch.save({0: logs[0].learned}, tmp_path / "omni_parameters.pth")
    with pytest.raises(CheckpointError, match="layers 0 to 1"):
        pipeline.quantise(small().lm, tokens(0, 2, 24), published, seed=0)


def test_zero_stays_in_the_range_of_gptq() -> None:
    """Its quantiser's ranges hold 0 in every row, also where all weights have one sign."""
    weight = torch.rand(4, 16, generator=torch.Generator().manual_seed(0)) + 1
    grid = grid_of(Recipe(wbits=3, gptq=True), weight, torch.ones(1, 16, dtype=torch.bool), None, None)
    assert bool((grid.nearest(torch.zeros_like(weight)) == 0).all())


def test_groups_that_do_not_divide_the_width_are_filled_with_zeros() -> None:
    x = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    got = Quantizer(bits=3, group_size=4)(x)
    want = Quantizer(bits=3, group_size=4)(torch.nn.functional.pad(x, (0, 2)))[:, :10]
    assert torch.equal(got, want)
    assert got.shape == x.shape
