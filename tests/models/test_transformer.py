"""The Transformer baseline: its cache, its positions, its size."""

from __future__ import annotations

import pytest
import torch

from retable.models.aim.method import AiM as AiMMethod
from retable.models.aim.sampling import sample_tokens
from retable.models.transformer.method import Transformer as TransformerMethod
from retable.models.transformer.model import Transformer, TransformerConfig, rotate, rotations


def model(positions: str) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        d_model=32, n_layer=2, n_head=4, vocab_size=20, num_classes=5, num_tokens=16, positions=positions
    )
    return Transformer(config).eval()


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_cached_decoding_equals_the_full_form(positions: str) -> None:
    transformer = model(positions)
    code_BT = torch.randint(20, (3, 16), generator=torch.Generator().manual_seed(1))
    labels_B = torch.tensor([0, 4, 5])
    with torch.no_grad():
        full = transformer(labels_B, code_BT[:, :-1])
        logits, cache = transformer.start(labels_B, 16)
        steps = [logits, *(transformer.step(code_BT[:, t], t, cache) for t in range(15))]
    torch.testing.assert_close(torch.stack(steps, 1), full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_later_tokens_do_not_reach_earlier_logits(positions: str) -> None:
    transformer = model(positions)
    code_BT = torch.randint(20, (1, 16), generator=torch.Generator().manual_seed(1))
    other_BT = code_BT.clone()
    other_BT[:, 8:] = (other_BT[:, 8:] + 1) % 20
    with torch.no_grad():
        one, two = (transformer(torch.tensor([1]), code[:, :-1]) for code in (code_BT, other_BT))
    assert torch.equal(one[:, :9], two[:, :9])
    assert (one[:, 9:] - two[:, 9:]).abs().max() > 1e-4


def test_rotations_keep_length_and_depend_on_relative_rows_and_columns() -> None:
    turns_TK = rotations(model("rope").config)
    q, k = torch.randn(2, 1, 1, 1, 8).unbind(0)

    def score(i: int, j: int) -> torch.Tensor:
        return (rotate(q, turns_TK[i : i + 1]) * rotate(k, turns_TK[j : j + 1])).sum()

    torch.testing.assert_close(rotate(q, turns_TK[5:6]).norm(), q.norm())
    torch.testing.assert_close(score(0, 5), score(10, 15))  # one row and one column apart in a grid of 4 x 4
    assert not torch.isclose(score(0, 1), score(0, 4))


def test_positions_beyond_the_table_are_refused() -> None:
    with pytest.raises(IndexError, match="16 positions"):
        model("rope")(torch.tensor([0]), torch.zeros(1, 17, dtype=torch.long))


def test_the_baseline_is_as_large_as_mini_aim() -> None:
    sizes = {"codes": 64, "num_tokens": 64, "num_classes": 10}
    aim = AiMMethod(d_model=64, n_layer=4, d_state=16, headdim=32, num_groups=2, **sizes).build(None)
    transformer = TransformerMethod(d_model=64, n_layer=3, n_head=4, **sizes).build(None)
    counts = [sum(p.numel() for p in built.parameters_counted()) for built in (aim, transformer)]
    assert abs(counts[1] / counts[0] - 1) < 0.03


def test_it_samples_like_aim_does() -> None:
    drawn = sample_tokens(
        model("rope"), torch.tensor([0, 1]), guidance=2.0, top_k=5, generator=torch.Generator().manual_seed(0)
    )
    assert drawn.shape == (2, 16)
    assert drawn.max() < 20
