"""Closed forms of neurons, state-space scans and the causal convolution.

An integrate-and-fire neuron, an element and a step: charge 1 addition where k = 0, else 2 additions and 1 multiplication
(one more addition where v_reset is not 0); fire 1 comparison, `levels` of them for integer spikes, none where it cannot
fire; a hard reset selects, a soft one subtracts for every spike. The elastic neuron: 1 addition, 1 multiplication, 2
comparisons (1 where its spikes are signs).

A scan is counted as its recurrence, whatever form a kernel computes it in. A state element and a step: 2 MACs (decay and
input into the state, state into the output), and what discretisation costs.
"""

from __future__ import annotations

import math

from torch import Tensor

from retable.bench.accountant.call import Call
from retable.bench.accountant.marks import leaks, neuron_spec
from retable.bench.accountant.synapses import driven, weighted
from retable.bench.accountant.tally import Tally, count
from retable.bench.accountant.work import Work


def integrate_and_fire(call: Call) -> Work:
    neuron, elements = neuron_spec(call["neuron"]), call["x"].numel()
    leaky = leaks(call["k"])
    work = Work(add=elements, compare=0)
    if leaky:
        work.mul += elements
        work.add += elements * (2 if neuron.v_reset else 1)
    if not math.isinf(neuron.threshold):
        work.compare += elements * max(1, neuron.levels)
        if neuron.v_reset is None:
            work.add += round(float(call.tally(call.out[0]).events.sum()))
    return work


def elastic(call: Call) -> Work:
    elements = call["x"].numel()
    return Work(add=elements, mul=elements, compare=elements * (1 if call["binary"] else 2))


def rectify_and_fire(call: Call) -> Work:
    """PRIME's neuron: leak and charge, the rectifier where its slope is not 1, one comparison to fire; the reset selects."""
    elements, rectified = call["x"].numel(), float(call["slope"]) != 1
    return Work(add=elements, mul=(1 + rectified) * elements, compare=(1 + rectified) * elements)


def encoded(call: Call) -> Work:
    """A coding that hands over its spikes, whose work is in the operators before it; a mask that is there before any input."""
    return Work()


def _recurrence(states: int, decays: int) -> Work:
    """`states` state elements and steps, `decays` of them with a decay of their own (a product and an exponential)."""
    return Work(dense=2 * states, effective=2 * states, mac=2 * states, flop_mac=2 * states, mul=decays, special=decays)


def _around(work: Work, call: Call, elements: int, bias: str, softplus: str) -> Work:
    """What a Mamba-1 scan does for each output element beside its states: delta u, D u, the gate, softplus(delta + bias)."""
    work.mul += elements
    if call[bias] is not None:
        work.add += elements
    if call[softplus]:
        work.special += 2 * elements
        work.add += elements
    if call["D"] is not None:
        work.mul += elements
        work.add += elements
    if call["z"] is not None:  # y silu(z)
        work.mul += 2 * elements
        work.special += 2 * elements
        work.add += elements
    return work


def selective_scan(call: Call) -> Work | None:
    """x = exp(delta A) x + (delta u) B, y = C x, over (B, D, L) with N states a channel; complex states have no rule."""
    u, A = call["u"], call["A"]
    if A.is_complex():
        return None
    states = u.numel() * A.shape[1]
    work = _recurrence(states, states)
    work.mul += states  # (delta u) B
    return _around(work, call, u.numel(), "delta_bias", "softplus")


def selective_state_update(call: Call) -> Work:
    """One step of it."""
    states = call["state"].numel()
    work = _recurrence(states, states)
    work.mul += states
    return _around(work, call, call["x"].numel(), "dt_bias", "softplus")


def ssd_scan(call: Call) -> Work:
    """S = exp(dt A) S + (dt x) B, y = C S, over x (B, L, H, P) with N states a row; one decay a head."""
    x, dt = call["x"], call["dt"]
    work = _recurrence(x.numel() * call["B"].shape[-1], dt.numel())
    work.mul += x.numel() + x.numel() * call["B"].shape[-1]
    return work


def causal_conv1d(call: Call) -> Work:
    """Depthwise over x (B, L, C), weight (C, W): the first positions see fewer taps."""
    x, weight = call["x"], call["weight"]
    length, width = x.shape[1], weight.shape[1]
    seen = [min(width, length - i) for i in range(length)]
    turned = x.transpose(1, 2)
    mark = call.mark(x)
    if mark is not None:
        place = mark.place(x.shape)
        call.book.mark(turned, mark.at(0, place[1], turned.shape) if place and place[0] == 0 else mark.timeless())
    work = driven(
        call, turned, weighted(call, turned, [seen], 1), x.shape[0] * x.shape[2] * sum(seen), x.numel() * width
    )
    if call["bias"] is not None:
        work.add += x.numel()
    return work


def causal_conv1d_step(call: Call) -> Work:
    """W taps for each of (B, C)."""
    x, weight = call["x"], call["weight"]
    synapses = x.numel() * weight.shape[1]
    older = _nonzero(call["state"][..., 1:])
    work = Work(dense=synapses, mac=synapses, flop_mac=synapses, effective=older + _nonzero(x))
    if call["bias"] is not None:
        work.add += x.numel()
    return work


def _nonzero(tensor: Tensor) -> int:
    found: Tally = count(tensor, None)
    return round(float(found.events.sum()))
