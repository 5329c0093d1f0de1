"""Guided sampling: the filters by their definition, guidance, what is fed, and where random numbers go."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retable.models.aim.image_model import ImageModel
from retable.models.aim.sampling import GuidedDecoder, filter_logits, sample_tokens

CODES, TOKENS, CLASSES = 6, 5, 3


class Chain:
    """A token model whose logits depend on the class and the last token only; it notes what it is fed."""

    num_classes, num_tokens = CLASSES, TOKENS

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = 3 * torch.randn(CLASSES + 1, CODES + 1, CODES, generator=generator)
        self.fed: list[tuple[list[int], int]] = []

    def start(self, labels_B: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        return self.table[labels_B, CODES], labels_B

    def step(self, tokens_B: Tensor, position: int, cache: Tensor) -> Tensor:
        self.fed.append((tokens_B.tolist(), position))
        return self.table[cache, tokens_B]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Multiples of 1/4 make ties likely.
rows = st.lists(st.integers(-8, 8).map(lambda n: n / 4), min_size=2, max_size=12)


@settings(deadline=None)
@given(row=rows, top_k=st.integers(1, 14))
def test_top_k_keeps_what_fewer_than_k_tokens_beat(row: list[float], top_k: int) -> None:
    kept = filter_logits(torch.tensor([row]), top_k=top_k).isfinite()[0].tolist()
    assert kept == [sum(other > value for other in row) < top_k for value in row]


@settings(deadline=None)
@given(values=st.lists(st.integers(-40, 40), min_size=2, max_size=10, unique=True), top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_a_token_if_the_less_probable_ones_and_it_exceed_the_rest(values: list[int], top_p: float) -> None:
    row = [value / 8 for value in values]
    p = torch.tensor(row, dtype=torch.float64).softmax(0).tolist()
    mass = [sum(p[j] for j in range(len(row)) if row[j] <= row[i]) for i in range(len(row))]
    kept = filter_logits(torch.tensor([row]), top_p=top_p).isfinite()[0].tolist()
    for i in range(len(row)):
        if row[i] == max(row):
            assert kept[i]
        elif abs(mass[i] - (1 - top_p)) > 1e-5:
            assert kept[i] == (mass[i] > 1 - top_p)


@settings(deadline=None)
@given(row=rows, top_k=st.integers(0, 14), top_p=st.floats(0, 1))
def test_filters_leave_logits_alone_that_they_keep(row: list[float], top_k: int, top_p: float) -> None:
    logits = torch.tensor([row])
    filtered = filter_logits(logits, top_k, top_p)
    kept = filtered.isfinite()
    assert kept.any()
    assert torch.equal(filtered[kept], logits[kept])
    assert filter_logits(logits, 0, 1.0) is logits


def test_top_k_comes_before_top_p() -> None:
    """Of 0.4, 0.3, 0.2, 0.1 top_p 0.6 keeps two; after top_k 2 it sees 4/7 and 3/7 and still keeps both."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert filter_logits(logits, top_k=2, top_p=0.6).isfinite().sum() == 2
    assert filter_logits(logits, top_k=2, top_p=0.57).isfinite().sum() == 1, "3/7 is at most 1 - 0.57"
    assert filter_logits(logits, top_p=0.57).isfinite().sum() == 2, "alone top_p would have kept it"


@pytest.mark.parametrize(("top_k", "top_p"), [(-1, 1.0), (0, 1.5), (0, -0.1)])
def test_impossible_filters_are_refused(top_k: int, top_p: float) -> None:
    with pytest.raises(ValueError, match="top_k must be"):
        filter_logits(torch.zeros(1, 3), top_k, top_p)


@settings(deadline=None)
@given(guidance=st.floats(-1, 8))
def test_guidance_is_linear_in_the_logits(guidance: float) -> None:
    model, labels_B = Chain(), torch.tensor([0, 2])
    c, u = model.start(labels_B, 0)[0], model.start(torch.full_like(labels_B, CLASSES), 0)[0]
    decoder = GuidedDecoder(model, labels_B, guidance=guidance)
    torch.testing.assert_close(decoder.logits_BV, (1 - guidance) * u + guidance * c, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 2), (0.0, 2), (2.0, 4)])
def test_a_half_that_does_not_count_is_not_computed(guidance: float, rows: int) -> None:
    model = Chain()
    sample_tokens(model, torch.tensor([0, 1]), guidance=guidance, generator=seeded(0))
    assert {len(tokens) for tokens, _ in model.fed} == {rows}


def test_both_halves_are_fed_the_same_tokens_and_the_last_one_is_not_fed() -> None:
    model = Chain()
    drawn = sample_tokens(model, torch.tensor([0, 1]), guidance=2.0, generator=seeded(0))
    assert [tokens for tokens, _ in model.fed] == [2 * drawn[:, t].tolist() for t in range(TOKENS - 1)]


@pytest.mark.parametrize("offset", [0, 1])
def test_the_first_image_token_stands_at_the_position_offset(offset: int) -> None:
    model = Chain()
    sample_tokens(model, torch.tensor([0]), position_offset=offset, generator=seeded(0))
    assert [position for _, position in model.fed] == list(range(offset, offset + TOKENS - 1))


@pytest.mark.parametrize("official_rng", [False, True])
def test_tokens_follow_from_the_generator_alone(official_rng: bool) -> None:
    labels_B = torch.arange(40) % CLASSES

    def draw(seed: int) -> Tensor:
        torch.rand(seed)  # the global generator must not matter
        return sample_tokens(Chain(), labels_B, guidance=2.0, generator=seeded(seed), official_rng=official_rng)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_the_official_sampler_draws_for_both_halves_and_keeps_the_first() -> None:
    model, labels_B, generator = Chain(), torch.tensor([0, 1, 2]), seeded(5)
    decoder = GuidedDecoder(model, labels_B, guidance=3.0)
    expected = []
    for t in range(TOKENS):
        p = decoder.logits_BV.softmax(-1)
        expected.append(torch.multinomial(torch.cat([p, p]), 1, generator=generator)[:3, 0])
        if t < TOKENS - 1:
            decoder.feed(expected[-1])
    drawn = sample_tokens(Chain(), labels_B, guidance=3.0, generator=seeded(5), official_rng=True)
    assert torch.equal(drawn, torch.stack(expected, dim=1))


def test_frequencies_are_the_models_probabilities() -> None:
    model = Chain()
    drawn = sample_tokens(model, torch.zeros(20_000, dtype=torch.long), generator=seeded(0))
    share = torch.bincount(drawn[:, 0], minlength=CODES) / len(drawn)
    torch.testing.assert_close(share, model.table[0, CODES].softmax(0), rtol=0, atol=0.015)


def test_top_k_one_is_greedy() -> None:
    model = Chain()
    drawn = sample_tokens(model, torch.tensor([1, 1]), top_k=1, generator=seeded(0))
    token, greedy = CODES, []
    for _ in range(TOKENS):
        token = int(model.table[1, token].argmax())
        greedy.append(token)
    assert drawn.tolist() == [greedy, greedy]


def test_there_is_no_temperature() -> None:
    """The official sampler takes one and ignores it; offering it here would promise an effect."""
    for sampler in (sample_tokens, ImageModel.sample):
        assert "temperature" not in inspect.signature(sampler).parameters
