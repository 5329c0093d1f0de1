"""Comparisons with the tolerances that the fixtures state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORWARD = {"rtol": 1e-4, "atol": 2e-5}
GRADIENT = {"rtol": 1e-3, "atol": 1e-4}
BFLOAT16 = {"rtol": 2e-2, "atol": 2e-2}
ROUNDINGS = 32
"""Two sums of the same terms may differ by this many roundings of the terms' summed sizes: each term was rounded too."""
FLIPPED = 1e-3
"""The share of a count's candidates, such as the zeros of a ReLU, that rounding may put on the other side of 0."""


def assert_close(actual: Any, expected: Any, what: str, *, rtol: float, atol: float) -> None:
    """`torch.testing.assert_close` that names what differs; shapes and dtypes of the values must match."""
    torch.testing.assert_close(
        actual.detach(), expected, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}", check_dtype=False
    )


def close(actual: Any, expected: Any, tolerance: float, what: str) -> None:
    """Every entry within `tolerance` of the largest expected entry; the shapes must match."""
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    assert_close(actual, expected, what, rtol=0, atol=tolerance * max(largest, 1e-30))


def close_count(actual: float, expected: float, candidates: float, what: str) -> None:
    """A count of what floats decide: within the `FLIPPED` share of all that could have been counted."""
    allowed = FLIPPED * candidates
    assert abs(actual - expected) <= allowed, f"{what}: {actual} for {expected}, and {allowed:g} may have flipped"


@contextmanager
def summed_terms(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """By name of a bias or of a batch norm's weight (n,), the sum of |terms| of its gradient in the passes within.

    What a batch norm takes out again, such as a bias in front of it, has the gradient 0 in exact arithmetic. What a machine
    finds there is the rounding of its terms, so their size and not the gradient's is what two results can be held to.
    """
    terms: dict[str, Tensor] = {}

    def watch(path: str) -> Any:
        def begin(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            def add(gradient: Tensor) -> None:
                for name, sizes in _sizes(layer, inputs[0].detach(), gradient).items():
                    full = f"{path}.{name}".lstrip(".")
                    terms[full] = terms.get(full, torch.zeros_like(sizes)) + sizes

            if output.requires_grad:
                output.register_hook(add)

        return begin

    hooks = [layer.register_forward_hook(watch(path)) for path, layer in module.named_modules() if _summing(layer)]
    try:
        yield terms
    finally:
        for hook in hooks:
            hook.remove()


def _summing(layer: nn.Module) -> bool:
    kinds = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)
    return isinstance(layer, kinds) and layer.bias is not None


def _sizes(layer: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Summed sizes of the terms g of a bias, and g x_hat of a batch norm's weight, by channel."""
    axis = -1 if isinstance(layer, nn.Linear) else 1

    def summed(terms: Tensor) -> Tensor:
        return terms.abs().movedim(axis, -1).flatten(0, -2).sum(0)

    if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return {"bias": summed(gradient)}
    known = (None, None) if layer.training else (layer.running_mean, layer.running_var)
    x_hat = F.batch_norm(x, *known, training=layer.training, eps=layer.eps)
    return {"bias": summed(gradient), "weight": summed(gradient * x_hat)}


def close_gradients(
    module: nn.Module, expected: Mapping[str, Tensor], terms: Mapping[str, Tensor], tolerance: float
) -> None:
    """The gradients of the parameters that `expected` names: `close`, and where `terms` are known their rounding more."""
    parameters = dict(module.named_parameters())
    for name, value in expected.items():
        gradient = parameters[name].grad
        assert gradient is not None, f"no gradient reaches {name}"
        if name not in terms:
            close(gradient, value, tolerance, f"the gradient of {name}")
            continue
        largest = float(value.abs().max()) if value.numel() else 0.0
        allowed = tolerance * largest + ROUNDINGS * torch.finfo(value.dtype).eps * terms[name].to(value.dtype)
        excess = (gradient - value).abs() - allowed
        assert (excess <= 0).all(), f"the gradient of {name}: {float(excess.max()):.3g} beyond what its terms allow"
