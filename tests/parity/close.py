"""Comparisons with the tolerances that the fixtures state."""

from __future__ import annotations

from typing import Any

import torch

FORWARD = {"rtol": 1e-4, "atol": 2e-5}
GRADIENT = {"rtol": 1e-3, "atol": 1e-4}
BFLOAT16 = {"rtol": 2e-2, "atol": 2e-2}


def assert_close(actual: Any, expected: Any, what: str, *, rtol: float, atol: float) -> None:
    """`torch.testing.assert_close` that names what differs; shapes and dtypes of the values must match."""
    torch.testing.assert_close(
        actual.detach(), expected, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}", check_dtype=False
    )


def close(actual: Any, expected: Any, tolerance: float, what: str) -> None:
    """Every entry within `tolerance` of the largest expected entry; the shapes must match."""
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    assert_close(actual, expected, what, rtol=0, atol=tolerance * max(largest, 1e-30))
