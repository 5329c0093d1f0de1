"""What the tests of the energy account share: made spikes, and the account of one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from retable.bench.accountant import Account, Accountant

ALPHABETS = {(0, 1): [0, 1], (-1, 1): [-1, 0, 1], (0, 4): [0, 1, 2, 3, 4]}


class Lambda(nn.Module):
    """A function as a model."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def spikes(shape: tuple[int, ...], bounds: tuple[int, int], seed: int) -> Tensor:
    values = torch.tensor(ALPHABETS[bounds], dtype=torch.float32)
    return values[torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))]


def counted(
    function: Callable[..., Any], *inputs: Tensor, marked: tuple[int, int] | None = None, steps: int = 1, **more: Any
) -> Account:
    """The account of one call; with `marked` all inputs are spikes of those bounds."""
    model = function if isinstance(function, nn.Module) else Lambda(function)
    with torch.no_grad(), Accountant(model, **more) as accountant:
        if marked is not None:
            inputs = tuple(accountant.mark(x, *marked, steps=steps) for x in inputs)
        model(*inputs)
    return accountant.result(samples=1)


def full(account: Account, *names: str) -> tuple[float, ...]:
    return tuple(account.figure("full", name).value for name in names)


def row(account: Account, operator: str) -> Any:
    """The work of the only row of an operator."""
    (found,) = [row.work for row in account.rows if row.operator == operator]
    return found
