"""Unmarked operands that look like spikes: few whole values that enter a product as real numbers.

The account does not take them for spikes, since values say nothing of what a tensor is. It names them, so that a neuron
whose maker forgot to mark its output is not silently charged multiply-accumulates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retable.bench.accountant.call import Call
from retable.bench.accountant.tally import glances

LARGEST = 8
"""The largest |value| that spikes may have here."""


class Suspects:
    """Products by (layer, operator) that whole values from -8 to 8 entered without a mark."""

    def __init__(self) -> None:
        self.products: dict[tuple[str, str], int] = {}
        self._real: set[tuple[str, str, int]] = set()

    def look(self, layer: str, call: Call) -> None:
        for place, meeting in enumerate(call.meetings):
            operands = [meeting.left] if meeting.right is None else [meeting.left, meeting.right]
            for side, x in enumerate(operands):
                key = layer, call.title, 2 * place + side
                if key in self._real or call.mark(x) is not None or x.is_meta:
                    continue
                if not _whole(x.detach()):
                    self._real.add(key)
                    continue
                known = self.products.get(key[:2], 0)
                self.products[key[:2]] = known + meeting.work.dense
                break


def _whole(x: Tensor) -> bool:
    """Whether all values are whole, small and not all zero."""
    if not x.is_floating_point() or not x.numel():
        return False
    return all(map(_few, glances(x))) and bool(x.any())


def _few(x: Tensor) -> bool:
    return bool(torch.eq(x, x.round()).all()) and float(x.abs().amax()) <= LARGEST
