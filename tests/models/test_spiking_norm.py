"""Normalisations over time: their statistics against plain formulas, and what they fold into."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from retable.models.spiking.norm import BNTT, MPBN, TEBN, MergedBN, TdBN

C, T = 3, 4


def currents(*space: int) -> Tensor:
    """(T, B, C, ...) whose level and spread differ by step and channel."""
    x = torch.randn(T, 6, C, *space, generator=torch.Generator().manual_seed(0))
    axes = (-1, *(1,) * len(space))
    return x * torch.arange(1, C + 1).view(axes) + torch.arange(T).view(-1, 1, *(1,) * (1 + len(space)))


def standardised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


NORMS: dict[str, Callable[[], nn.Module]] = {
    "merged": lambda: MergedBN(C),
    "tdBN": lambda: TdBN(C, threshold=0.5),
    "TEBN": lambda: TEBN(C, T),
    "BNTT": lambda: BNTT(C, T),
    "MPBN": lambda: MPBN(C),
}


@pytest.mark.parametrize("space", [(), (5,), (4, 5)])
@pytest.mark.parametrize("name", NORMS)
def test_any_space_and_statistics_that_carry_over_to_evaluation(name: str, space: tuple[int, ...]) -> None:
    norm, x = NORMS[name](), currents(*space)
    for module in norm.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None
    with torch.no_grad():
        trained = norm(x)
        evaluated = norm.eval()(x)
    assert trained.shape == x.shape
    if name != "MPBN":  # whose running statistics are the mean over steps
        unbiased = x.numel() / C / (T if name == "BNTT" else 1)
        torch.testing.assert_close(evaluated * (unbiased / (unbiased - 1)) ** 0.5, trained, rtol=1e-3, atol=2e-3)


def test_statistics_merge_or_stay_apart_as_the_papers_say() -> None:
    x = currents(4, 5)
    merged = standardised(x, (0, 1, 3, 4), 1e-5)
    torch.testing.assert_close(MergedBN(C)(x), merged)
    torch.testing.assert_close(TdBN(C, threshold=0.5, alpha=0.5**0.5)(x), merged * 0.5 * 0.5**0.5)
    torch.testing.assert_close(BNTT(C, T)(x), standardised(x, (1, 3, 4), 1e-4))
    tebn = TEBN(C, T)
    nn.init.constant_(tebn.p, 3.0)
    torch.testing.assert_close(tebn(x), 3 * merged)


def test_a_folded_threshold_fires_the_same_spikes() -> None:
    norm, x = MPBN(C, threshold=0.3), currents(4)
    nn.init.uniform_(norm.bn.weight, 0.5, 2.0)
    nn.init.normal_(norm.bn.bias)
    norm(x)
    with torch.no_grad():
        spikes = norm.eval()(x)
        threshold = norm.folded_threshold().view(1, C, 1)
        v, folded = torch.zeros_like(x[0]), []
        for x_t in x:
            h = norm.decay * v + x_t
            folded.append((h > threshold).float())
            v = h * (1 - folded[-1])
    assert torch.equal(spikes, torch.stack(folded))
    assert 0 < spikes.mean() < 1
    nn.init.constant_(norm.bn.weight, -1.0)
    with pytest.raises(ValueError, match="gamma must be above 0"):
        norm.folded_threshold()


@pytest.mark.parametrize("norm", [TEBN(C, T), BNTT(C, T)])
def test_parameters_per_step_need_their_steps(norm: nn.Module) -> None:
    with pytest.raises(ValueError, match="must have the 4 steps"):
        norm(currents()[:2])
