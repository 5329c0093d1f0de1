"""The comparisons themselves: what rounding may do passes, what a wrong gradient does fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.parity.close import close_count, close_gradients, summed_terms

TOLERANCE = 1e-4


def gradients(dtype: torch.dtype) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(module, gradients by name, terms) of a convolution in front of a batch norm."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    x, c = torch.randn(16, 3, 12, 12), 100 * torch.randn(16, 4, 12, 12)
    module, x, c = module.to(dtype), x.to(dtype), c.to(dtype)
    with summed_terms(module) as terms:
        (module(x) * c).sum().backward()
    return module, {name: parameter.grad for name, parameter in module.named_parameters()}, terms


def test_what_a_batch_norm_takes_out_is_held_to_its_terms() -> None:
    """The bias's gradient is rounding in both sums: nothing of it agrees, and all of it is far below its terms."""
    module, _, terms = gradients(torch.float32)
    _, expected, _ = gradients(torch.float64)
    expected = {name: value.float() for name, value in expected.items()}
    noise = (module[0].bias.grad - expected["0.bias"]).abs().max()
    assert noise > TOLERANCE * expected["0.bias"].abs().max()
    close_gradients(module, expected, terms, TOLERANCE)


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.weight", "1.bias"])
def test_a_wrong_gradient_is_seen(name: str) -> None:
    module, expected, terms = gradients(torch.float32)
    scale = expected[name].abs().max() if name != "0.bias" else terms[name].max()
    wrong = expected | {name: expected[name] + 1e-3 * scale}
    with pytest.raises(AssertionError, match=name.replace(".", r"\.")):
        close_gradients(module, wrong, terms, TOLERANCE)


def test_terms_are_the_sizes_that_a_bias_sums() -> None:
    linear, x = nn.Linear(2, 3), torch.ones(5, 4, 2)
    c_BNK = torch.tensor([1.0, -2.0, 0.5]).expand(5, 4, 3)
    with summed_terms(linear) as terms:
        (linear(x) * c_BNK).sum().backward()
    assert terms["bias"].tolist() == [20.0, 40.0, 10.0]
    assert linear.bias.grad.tolist() == [20.0, -40.0, 10.0]
    (linear(x) * c_BNK).sum().backward()
    assert terms["bias"].tolist() == [20.0, 40.0, 10.0], "only what happens within is added"


def test_terms_of_a_scale_that_the_next_batch_norm_takes_out() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False))
    x, c = torch.randn(64, 3), torch.randn(64, 3)
    with summed_terms(module) as terms:
        (module(x) * c).sum().backward()
    zero = {"0.weight": torch.zeros(3)}
    close_gradients(module, zero, terms, TOLERANCE)
    with pytest.raises(AssertionError, match=r"0\.weight"):
        close_gradients(module, {"0.weight": 1e-3 * terms["0.weight"]}, terms, TOLERANCE)


def test_counts_that_floats_decide() -> None:
    close_count(501, 500, 1000, "zeros")
    with pytest.raises(AssertionError, match="zeros: 502 for 500"):
        close_count(502, 500, 1000, "zeros")
