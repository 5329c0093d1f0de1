"""Budgets of attacks: what they are called, and the one at which nothing is left of an image."""

from __future__ import annotations

WHOLE = 1.0
"""The budget at which an attacker may paint any image at all."""


def at(eps: float) -> str:
    """The name of PGD at another budget."""
    return f"pgd@{eps:g}"
