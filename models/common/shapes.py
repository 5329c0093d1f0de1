"""Shape checks whose message names the argument."""

from __future__ import annotations

from torch import Tensor


def check_shape(name: str, value: Tensor | None, *shape: int) -> None:
    """Raise ValueError naming the argument unless `value` is None or has this shape."""
    if value is not None and tuple(value.shape) != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {tuple(value.shape)}")


def check_dims(name: str, value: Tensor, letters: str) -> None:
    """Raise ValueError naming the argument unless `value` has one dimension for every letter, e.g. "BLHP"."""
    if value.dim() != len(letters):
        raise ValueError(
            f"{name} must have the {len(letters)} dimensions {', '.join(letters)}, not {tuple(value.shape)}"
        )


def check_groups(name: str, groups: int, heads: int) -> None:
    """Raise ValueError naming the argument unless its groups divide the heads (or channels) evenly."""
    if groups < 1 or heads % groups:
        raise ValueError(f"{name} has {groups} groups, which do not divide {heads} heads or channels")
