"""Spiking BERT: what a suite declares of it, its tokenizer, the two stages of its training, its baselines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.accountant import Accountant
from retable.bench.datasets.texts.labelled import LabelledTextData, Sentences
from retable.models.common.errors import MissingWeights
from retable.models.spikelm.bert import SpikingLinear
from retable.models.spikelm.method import SpikingBert
from retable.models.spikelm.neurons import Elastic, Neurons, forget_amplitudes, measured_rate, measuring
from retable.models.spikelm.tokenizer import SPECIAL, Tokenizer
from retable.models.spikelm.training import IGNORED, masked, rate_at

SMALL: dict[str, Any] = {
    "T": 2,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "hidden": 24,
    "vocabulary": 40,
    "length": 8,
    "pretrain_steps": 3,
    "pretrain_batch": 8,
    "epochs": 12,
    "batch_size": 8,
    "lr": 1e-2,
}
WORDS = {0: ("dull", "grey", "slow"), 1: ("bright", "warm", "fast")}


def sentences(count: int, seed: int = 0) -> Sentences:
    """Three words of one kind: anybody can tell the kinds apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=count)
    return Sentences(first=tuple(" ".join(rng.choice(WORDS[int(k)], 3)) for k in labels), labels=labels)


@pytest.fixture(scope="module")
def data() -> LabelledTextData:
    train = sentences(64)
    return LabelledTextData(
        name="made", train=train, held_out=sentences(32, 1), num_classes=2, unlabelled=train.first
    )  # fmt: skip


def accuracy(model: Any, split: Sentences) -> float:
    with torch.no_grad():
        logits_BK = model(*model.prepare(split.first, split.second))
    return float((logits_BK.argmax(-1).numpy() == split.labels).mean())


class TestMethod:
    @pytest.mark.parametrize("neuron", ["elastic", "ternary", "sign", "lif", "psn", "none"])
    def test_every_kind_learns_and_loads(self, data: LabelledTextData, neuron: Any) -> None:
        method = SpikingBert(**SMALL | {"neuron": neuron, "T": 1 if neuron == "none" else 2, "threshold": 0.2})
        model, log = method.fit(data, {}, seed=0, device="cpu")
        assert not model.training
        assert accuracy(model, data.held_out) > 0.8
        assert log["task"]["steps"] == 96
        assert ("rate_as_measured" in log["masked_words"]) == (neuron in ("elastic", "ternary", "sign"))
        again = method.load(model.state_dict(), data, {}, device="cpu")
        with torch.no_grad():
            batch = model.prepare(data.held_out.first)
            assert torch.equal(model(*batch), again(*batch))

    def test_equal_seeds_give_equal_models(self, data: LabelledTextData) -> None:
        states = [SpikingBert(**SMALL).fit(data, {}, seed=seed, device="cpu")[0].state_dict() for seed in (3, 3, 4)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])

    def test_a_rating_is_learned_by_its_square(self, data: LabelledTextData) -> None:
        ratings = Sentences(first=data.train.first, labels=data.train.labels * 2.0 - 1)
        rated = LabelledTextData(name="r", train=ratings, held_out=ratings, num_classes=1, unlabelled=ratings.first)
        model, log = SpikingBert(**SMALL).fit(rated, {}, seed=0, device="cpu")
        assert log["task"]["loss"] < 0.5
        with torch.no_grad():
            assert model(*model.prepare(["bright warm"])).shape == (1, 1)

    def test_the_published_size_has_its_parameters(self) -> None:
        with torch.device("meta"):
            model = SpikingBert().build(None)
        assert sum(p.numel() for p in model.parameters()) == 109_483_778
        assert sum(b.numel() for n, b in model.named_buffers() if n.endswith("alpha_T")) == 384

    @pytest.mark.parametrize(
        ("params", "sentence"),
        [
            ({"neuron": "none", "T": 2}, "`T` must be 1"),
            ({"width": 30, "heads": 4}, "`width` must be a multiple of the 4 `heads`"),
            ({"vocabulary": 5}, "`vocabulary` must be at least 6"),
            ({"threshold": 0.0}, "`threshold` must be above 0"),
            ({"dropout": 1.0}, "`dropout` must be"),
            ({"pretrain_steps": -1}, "`pretrain_steps` must be at least 0"),
            ({"lr": 0.0}, "`lr` must be above 0"),
            ({"weights": "x.pth", "pretrain_steps": 1}, "`weights` are pre-trained already"),
        ],
    )
    def test_impossible_parameters(self, params: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            SpikingBert(**params)

    def test_other_data_are_refused_in_a_sentence(self) -> None:
        with pytest.raises(ValueError, match="needs labelled sentences"):
            SpikingBert(**SMALL).build(SimpleNamespace(image_shape=(1, 8, 8)))

    def test_weights_and_vocabulary_that_are_missing_are_asked_for(self, data: LabelledTextData) -> None:
        for name in ("weights", "vocab"):
            method = SpikingBert(**SMALL | {"pretrain_steps": 0, name: "nowhere/file.txt"})
            with pytest.raises(MissingWeights, match=r"nowhere/file\.txt"):
                method.weights_digest()
            with pytest.raises(MissingWeights):
                method.fit(data, {}, seed=0, device="cpu")

    @pytest.mark.parametrize("pretrain_steps", [0, 2])
    def test_amplitudes_are_those_of_the_first_batch_before_any_update(
        self, data: LabelledTextData, pretrain_steps: int
    ) -> None:
        method = SpikingBert(**SMALL | {"dropout": 0.0, "epochs": 1, "pretrain_steps": pretrain_steps})
        fitted, _ = method.fit(data, {}, seed=5, device="cpu")
        torch.manual_seed(5)
        model, generator = method.build(data), torch.Generator().manual_seed(5)
        ids, mask, types = model.prepare(data.train.first)
        if pretrain_steps:
            ids, _ = masked(ids, model.tokenizer, generator)
        chosen = torch.randperm(len(ids), generator=generator)[:8]
        with torch.no_grad(), measuring(model):
            model(ids[chosen], mask[chosen], types[chosen])
        measured, kept = (
            {name: buffer for name, buffer in one.named_buffers() if name.endswith("alpha_T")}
            for one in (model, fitted)
        )
        assert len(measured) == 6 + 2 * method.T  # linear layers, and keys and values step by step
        for name, alpha_T in measured.items():
            assert (alpha_T != 1).all()
            torch.testing.assert_close(kept[name], alpha_T)

    def test_a_ternary_spike_costs_additions_and_its_amplitude_nothing(self) -> None:
        layer = SpikingLinear(12, 5, Neurons("elastic", 2))
        x_TBNC = torch.randn(2, 1, 3, 12, generator=torch.Generator().manual_seed(0))
        with measuring(layer):
            layer(x_TBNC)
        with torch.no_grad(), Accountant(layer, rules=("full",)) as accountant:
            layer(x_TBNC)
        account = accountant.result(samples=1)
        assert account.figure("full", "mac").value == 0
        assert account.figure("full", "ac").value == int(layer.neuron(x_TBNC).count_nonzero()) * 5


class TestTokenizer:
    def test_the_commonest_words_are_kept_and_ties_go_by_the_alphabet(self) -> None:
        tokenizer = Tokenizer.of_words(["b B c", "b a, c", "z"], most=8, length=6)
        ids, mask, types = tokenizer(["B c a z", "b"])
        assert len(tokenizer) == 8  # the special ones, then b, c and the comma
        assert ids.tolist() == [[2, 5, 6, 1, 1, 3], [2, 5, 3, 0, 0, 0]]
        assert mask.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
        assert types.sum() == 0

    def test_pairs_have_types_and_are_cut_to_the_length(self) -> None:
        tokenizer = Tokenizer.of_words(["a b c d e f"], most=20, length=8)
        ids, mask, types = tokenizer(["a b c d e"], ["f e d c"])
        assert ids.shape == (1, 8)
        assert mask.all()
        assert (ids == 3).sum() == 2
        assert types[0].tolist() == sorted(types[0].tolist())

    def test_a_vocabulary_without_special_tokens_is_refused(self, tmp_path: Any, monkeypatch: Any) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n##s\n")
        with pytest.raises(ValueError, match=r"no token \[MASK\]"):
            Tokenizer.published("vocab.txt", 8)
        (tmp_path / "vocab.txt").write_text("\n".join((*SPECIAL, "word", "##s")) + "\n")
        assert Tokenizer.published("vocab.txt", 6)(["Words word"])[0].tolist() == [[2, 5, 6, 5, 3, 0]]
        assert Tokenizer.published("vocab.txt", 5)(["word [MASK]"])[0].tolist() == [[2, 5, 4, 3, 0]], "as BERT reads it"


class TestMasks:
    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 2**32))
    def test_only_words_are_masked_and_targets_are_what_stood_there(self, seed: int) -> None:
        tokenizer = Tokenizer.of_words(["a b c d e f g h"], most=20, length=10)
        ids, _, _ = tokenizer(["a b c d e f g h", "a b"] * 40)
        hidden, targets = masked(ids, tokenizer, torch.Generator().manual_seed(seed))
        chosen = targets != IGNORED
        assert torch.equal(hidden[~chosen], ids[~chosen])
        assert torch.equal(targets[chosen], ids[chosen])
        assert not torch.isin(ids[chosen], tokenizer.special).any()

    def test_fifteen_per_cent_are_masked_eight_of_ten_by_the_mask(self) -> None:
        tokenizer = Tokenizer.of_words(["a b c d e f g h"], most=20, length=10)
        ids, _, _ = tokenizer(["a b c d e f g h"] * 4000)
        hidden, targets = masked(ids, tokenizer, torch.Generator().manual_seed(0))
        chosen = targets != IGNORED
        assert chosen.sum() / (4000 * 8) == pytest.approx(0.15, abs=0.01)
        assert (hidden[chosen] == tokenizer.mask).double().mean() == pytest.approx(0.8, abs=0.03)

    def test_the_rate_rises_and_falls_to_nothing(self) -> None:
        rates = [rate_at(i, 1000) for i in range(1000)]
        assert max(rates) == 1 == rates[9]
        assert rates[:10] == sorted(rates[:10])
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert 0 < rates[-1] < 0.01


class TestAmplitudes:
    @settings(deadline=None, max_examples=25)
    @given(T=st.integers(1, 4), scale=st.floats(0.01, 100), seed=st.integers(0, 2**32))
    def test_a_measured_threshold_is_the_mean_and_scales_with_the_input(self, T: int, scale: float, seed: int) -> None:
        x = torch.randn(T, 200, generator=torch.Generator().manual_seed(seed))
        one, other = Elastic(T), Elastic(T)
        with measuring(one), measuring(other):
            spikes, scaled = one(x), other(scale * x)
        assert one.alpha_T[0] == pytest.approx(2 * float(x[0].abs().mean()), rel=1e-5)
        if T == 1:  # later steps leak by the amplitude itself, which is no ratio
            assert torch.equal(spikes.sign(), scaled.sign())
        assert set(spikes[0].unique().tolist()) <= {-float(one.alpha_T[0]), 0.0, float(one.alpha_T[0])}

    def test_normal_inputs_fire_as_often_as_the_threshold_says(self) -> None:
        neuron = Elastic(1)
        with measuring(neuron):
            neuron(torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0)))
        assert measured_rate(neuron) == pytest.approx(0.425, abs=0.005)

    def test_amplitudes_are_measured_once_and_only_when_asked(self) -> None:
        neuron, x = Elastic(2), torch.randn(2, 50)
        neuron(x)
        assert neuron.alpha_T.tolist() == [1, 1]
        with measuring(neuron):
            neuron(x)
        first = neuron.alpha_T.clone()
        with measuring(neuron):
            neuron(3 * x)
        assert torch.equal(neuron.alpha_T, first)
        forget_amplitudes(neuron)
        assert neuron.alpha_T.tolist() == [1, 1]

    def test_ternary_spikes_keep_the_amplitude_one(self) -> None:
        neuron = Neurons("ternary", 2).before_linear()
        with measuring(neuron):
            spikes = neuron(torch.randn(2, 50))
        assert set(spikes.unique().tolist()) <= {-1, 0, 1}

    def test_keys_and_values_of_the_binary_variant_keep_the_zero(self) -> None:
        """Of sign's two amplitudes no input is small enough for a zero; released keys and values have 2 bits all the same."""
        x = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
        neurons = Neurons("sign", 2, two_bit_operands=True)
        linear, operand = neurons.before_linear(), neurons.on_operand()
        with measuring(linear), measuring(operand):
            assert (linear(x) != 0).all()
            spikes = operand(x)
        assert 0.3 < float((spikes == 0).float().mean()) < 0.8

    def test_half_the_amplitude_does_not_fire_and_the_window_has_twice_its_width(self) -> None:
        x = torch.tensor([[0.5, 0.51, -0.5, -0.51, 1.0, -1.0, 1.01, 7.0]], requires_grad=True)
        spikes = Neurons("ternary", 1).before_linear()(x)
        assert spikes.flatten().tolist() == [0, 1, 0, -1, 1, -1, 1, 1]
        spikes.sum().backward()
        assert x.grad is not None
        assert x.grad.flatten().tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(("protocol", "binary"), [("official", False), ("corrected", True)])
def test_keys_and_values_of_signs_are_two_bit_where_the_released_code_has_them(protocol: Any, binary: bool) -> None:
    network = SpikingBert(**SMALL, neuron="sign", protocol=protocol).build(None).network
    neurons = {name: module for name, module in network.named_modules() if isinstance(module, Elastic)}
    operands = [module for name, module in neurons.items() if "key_neuron" in name or "value_neuron" in name]
    assert {module.binary for module in operands} == {binary}
    assert all(module.binary for module in neurons.values() if module not in operands)


def test_pre_training_stops_on_the_way_of_a_longer_schedule(
    data: LabelledTextData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retable.models.spikelm import training

    rates: list[float] = []
    monkeypatch.setattr(training, "set_rate", lambda optimizer, lr: rates.append(lr))
    SpikingBert(**SMALL | {"epochs": 1}, pretrain_schedule=15).fit(data, {}, seed=0, device="cpu")
    assert rates == pytest.approx([2e-4 * rate_at(step, 15) for step in range(3)])
    assert rates[-1] > 0.8 * 2e-4
    with pytest.raises(ValueError, match="`pretrain_schedule` must be at least the 3 `pretrain_steps`, not 2"):
        SpikingBert(**SMALL, pretrain_schedule=2)


def test_the_best_epoch_is_kept_where_the_paper_keeps_it(
    data: LabelledTextData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retable.models.spikelm import training

    small = {"T": 1, "width": 16, "layers": 1, "heads": 2, "hidden": 16, "vocabulary": 300, "length": 12, "lr": 1e-3}
    scores = iter([0.5, 0.75, 0.75, 0.25])
    states: list[dict[str, torch.Tensor]] = []

    def judged(model: Any, *_: Any) -> float:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(training, "score", judged)
    model, log = SpikingBert(**small, epochs=4, keep="best").fit(data, {}, seed=0, device="cpu")
    assert log["task"]["scores"] == [0.5, 0.75, 0.75, 0.25]
    for name, value in model.state_dict().items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize(
    ("task", "classes", "expected"), [("mrpc", 2, 0.75), ("cola", 2, 0.5773503), ("sts-b", 1, 0.5)]
)
def test_an_epoch_is_chosen_by_what_glue_names_first(task: str, classes: int, expected: float) -> None:
    """Accuracy where the table prints F1, Matthews of CoLA, Pearson of ratings."""
    from retable.models.spikelm.training import score

    wanted, found = ([1, 1, 0, 0], [1, 1, 1, 0]) if classes == 2 else ([1.0, 2, 3], [2.0, 1, 3])
    outputs = torch.tensor(found).float()[:, None] if classes == 1 else torch.eye(2)[found]
    rows = torch.arange(len(found))[:, None]
    model = torch.nn.Module()
    model.tokenizer = lambda first, second: (rows, rows, rows)  # type: ignore[assignment]
    model.forward = lambda ids, mask, types: outputs[ids[:, 0]]  # type: ignore[method-assign]
    held_out = SimpleNamespace(first=(), second=None, labels=np.array(wanted))
    made = SimpleNamespace(name=f"glue-{task}", num_classes=classes, held_out=held_out)
    assert score(model, made, 2, "cpu") == pytest.approx(expected)  # type: ignore[arg-type]
    assert model.training


def test_bert_base_costs_what_its_products_cost() -> None:
    """4.6 pJ for each of 12 (4 768^2 + 2 768 3072) 128 + 12 2 128^2 768 products and those of the pooled token; no norm."""
    from retable.bench.tasks.count_tokens import CountTokens

    evidence = CountTokens(tokens=128).evidence(SpikingBert(neuron="none", T=1), {}, seed=0, device="cpu")
    encoder = 12 * (4 * 768**2 + 2 * 768 * 3072) * 128 + 12 * 2 * 128**2 * 768
    heads = 768**2 + 2 * 768
    assert evidence.account.figure("literature", "mac").value == encoder + heads
    assert evidence.account.figure("literature", "energy").value == pytest.approx(51.4014, abs=5e-5)
