"""Weights of which some synapses do not exist: a mask that the model learned takes them away, and they cost nothing.

The operator `topology` says so of its output. Which synapses are left follows the tensor through views; a convolution or a
product with it then counts the pairs of a spike and a synapse that is there, exactly, position by position.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from retable.bench.accountant.call import Call, Meeting
from retable.bench.accountant.synapses import driven
from retable.bench.accountant.tally import Tally
from retable.bench.accountant.work import Work

MAKER = "topology"
"""The operator of the namespace `retable` whose zeros are synapses that are not there."""
VIEWS = frozenset(["t", "transpose", "permute", "detach", "alias", "view", "_unsafe_view"])


class Connections:
    """Which synapses of which weights are there, 0 or 1 in their shape; held weakly."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}

    def of(self, tensor: object) -> Tensor | None:
        """None of a tensor all of whose synapses are there, or that is no weight."""
        found = self._known.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def follow(self, call: Call) -> None:
        """After a call: enter what it made, or what is a view of something known."""
        if call.namespace == "retable" and call.name == MAKER:
            if not call.out.is_meta:
                self._enter(call.out, call.out.ne(0).to(torch.float64))
        elif call.name in VIEWS and self._known and (before := self.of(call.inputs[0])) is not None:
            self._enter(call.out, call.again(before))

    def _enter(self, tensor: Tensor, connected: Tensor) -> None:
        key, known = id(tensor), self._known
        known[key] = weakref.ref(tensor, lambda _: known.pop(key, None)), connected


def convolution(call: Call, connected: Tensor) -> Work:
    """Counts of spikes by step and position, convolved with what is there: linear, so the batch can be summed first."""
    x, out = call["input"], call.out
    found = call.tally(x, x.dim() - 1)

    def meeting(counts: Tensor) -> Tensor:
        pairs: Tensor = call.again(counts.to(torch.float64), weight=connected, bias=None)
        return pairs.flatten(1).sum(1)

    events = meeting(found.events)
    met = Tally(events, events if found.accumulates is found.events else meeting(found.accumulates))
    dense = len(x) * round(float(meeting(torch.ones_like(x[:1])).sum()))
    sites = x.numel() // x.shape[1] if call["transposed"] else out.numel() // out.shape[1]
    work = driven(call, x, met, dense, sites * round(float(connected.sum())))
    call.meetings.append(Meeting(x, work, call["weight"], seen=found.total()))
    if call["bias"] is not None:
        work.add += out.numel()
    return work


def product(call: Call, left: Tensor, weight: Tensor, connected: Tensor) -> Work:
    """(M, K) @ (K, N) with a pruned right operand: a spike of index k meets the synapses that k has left."""
    fan_K = connected.sum(1)
    found = call.tally(left, 1)
    events = found.events @ fan_K
    met = Tally(events, events if found.accumulates is found.events else found.accumulates @ fan_K)
    dense = len(left) * round(float(fan_K.sum()))
    work = driven(call, left, met, dense, dense)
    call.meetings.append(Meeting(left, work, weight, seen=found.total()))
    return work
