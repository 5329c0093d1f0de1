"""Convolutions, matrix products and attention: closed forms of their synaptic operations.

An input element of a convolution meets `out_channels / groups` weights at each of the output positions that see it. How many
do is a product over the axes, so all that has to be counted is the spikes by position, summed over channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retable.bench.accountant.call import Call, Meeting
from retable.bench.accountant.carry import expand
from retable.bench.accountant.marks import Mark
from retable.bench.accountant.tally import Tally, count
from retable.bench.accountant.work import Work, steps


@cache
def taps(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, ...]:
    """How many (output, tap) pairs see each of the `size` positions of an axis; those that see padding are in none."""
    position = np.arange(out)[:, None] * stride - padding + np.arange(kernel) * dilation
    inside = position[(position >= 0) & (position < size)]
    return tuple(int(n) for n in np.bincount(inside, minlength=size))


@cache
def transposed_taps(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, ...]:
    """How many outputs each of the `size` inputs of an axis of a transposed convolution reaches; cropped ones are in none."""
    position = np.arange(size)[:, None] * stride - padding + np.arange(kernel) * dilation
    return tuple(int(n) for n in ((position >= 0) & (position < out)).sum(1))


def convolution(call: Call) -> Work:
    x, weight = call["input"], call["weight"]
    axes = x.dim() - 2
    kernel = weight.shape[2:]
    options = [expand(call[name], axes) for name in ("stride", "padding", "dilation")]
    transposed, out = call["transposed"], call.out.shape
    on_axis = transposed_taps if transposed else taps
    seen = [
        on_axis(n, o, k, *(option[axis] for option in options))
        for axis, (n, o, k) in enumerate(zip(x.shape[2:], out[2:], kernel, strict=True))
    ]
    fan_out = weight.shape[1] if transposed else weight.shape[0] // call["groups"]
    fan_in = math.prod(weight.shape[1:])
    whole = x.numel() * fan_out * math.prod(kernel) if transposed else call.out.numel() * fan_in
    dense = math.prod(x.shape[:2]) * fan_out * math.prod(sum(axis) for axis in seen)
    work = driven(call, x, weighted(call, x, seen, fan_out), dense, whole)
    call.meetings.append(Meeting(x, work, weight, seen=call.seen))
    if call["bias"] is not None:
        work.add += call.out.numel()
    return work


def weighted(call: Call, x: Tensor, seen: Sequence[Sequence[int]], fan_out: int) -> Tally:
    """Spikes of x (N, C, *axes) by step, each times the synapses it meets."""
    if all(len(set(axis)) <= 1 for axis in seen):
        factor = fan_out * math.prod(axis[0] if axis else 0 for axis in seen)
        found = call.seen = call.tally(x).total()
        return Tally(found.events * factor, found.accumulates * factor)
    found = call.tally(x, x.dim() - 2)
    call.seen = found.total()
    weights = [torch.tensor(axis, dtype=torch.float64, device=found.events.device) for axis in seen]

    def along(counts: Tensor) -> Tensor:
        for axis in reversed(weights):
            counts = counts @ axis
        return counts * fan_out

    events = along(found.events)
    return Tally(events, events if found.accumulates is found.events else along(found.accumulates))


def driven(call: Call, driver: Tensor, met: Tally, dense: int, whole: int) -> Work:
    """Work of an operator with one activation operand; `whole` is the dense count with padding."""
    work, mark = Work(dense=dense), call.mark(driver)
    work.effective = round(float(met.events.sum()))
    if mark is None:
        work.mac, work.flop_mac = dense, whole
    else:
        work.ac, work.ac_by_step = round(float(met.accumulates.sum())), steps(met.accumulates.tolist())
        work.flop_spike, work.sop = whole, rate(call, driver, mark) * whole
    return work


def rate(call: Call, spikes: Tensor, mark: Mark) -> float:
    """sum / numel, of |spikes|; an amplitude is no part of it."""
    if not spikes.numel():
        return 0.0
    accumulates = float(call.tally(spikes).accumulates.sum())
    return accumulates * (1.0 if mark.scale is None else mark.scale) / spikes.numel()


def matrix_product(call: Call, is_weight: Any) -> Work:
    """mm, bmm, addmm, baddbmm, mv, addmv, dot: (..., M, K) @ (..., K, N)."""
    names = next(pair for pair in _OPERANDS if call.has(pair[0]) and call.has(pair[1]))
    left, right = (call[name] for name in names)
    if left.dim() == 1:
        left = _viewed(call, left, left[None])
    if right.dim() == 1:
        right = _viewed(call, right, right[:, None])
    weights = is_weight(call[names[0]]), is_weight(call[names[1]])
    work = product(call, left, right, *weights)
    if weights[0]:
        call.meetings.append(Meeting(right, work, left, on_left=False, seen=call.seen))
    elif weights[1] or call.name in ("mm", "addmm", "mv", "addmv"):  # weights that were computed are weights
        call.meetings.append(Meeting(left, work, right, seen=call.seen))
    else:
        call.meetings.append(Meeting(left, work, right=right, sides=(right.shape[-1], left.shape[-2])))
    if call.name.startswith(("add", "badd")) and (not call.has("beta") or call["beta"] != 0):
        work.add += call.out.numel()
    return work


_OPERANDS = (
    ("mat1", "mat2"),
    ("batch1", "batch2"),
    ("mat", "vec"),
    ("self", "tensor"),
    ("self", "mat2"),
    ("self", "vec"),
)


def _viewed(call: Call, tensor: Tensor, view: Tensor) -> Tensor:
    mark = call.mark(tensor)
    if mark is not None:
        call.book.mark(view, mark)
    return view


def product(call: Call, left: Tensor, right: Tensor, left_weight: bool = False, right_weight: bool = False) -> Work:
    """(..., M, K) @ (..., K, N), of activations and weights.

    The driver is the spike operand with the smaller bound (the left one of equals). Its spike of value v costs |v|
    accumulates for each element it meets, but for those that are spikes too and zero.
    """
    (M, K), N = left.shape[-2:], right.shape[-1]
    dense = math.prod(left.shape[:-2]) * M * K * N
    first, second = call.mark(left), call.mark(right)
    if left_weight or right_weight or (first is None) != (second is None):
        on_left = right_weight or (not left_weight and first is not None)
        driver, fan_out = (left, N) if on_left else (right, M)
        found = call.seen = call.tally(driver).total()
        return driven(call, driver, Tally(found.events * fan_out, found.accumulates * fan_out), dense, dense)
    work, axes = Work(dense=dense), tuple(range(left.dim() - 2))
    a = _columns(left, first, (*axes, left.dim() - 1))
    b = _columns(right, second, (*axes, right.dim() - 2))
    call.seen = a.total()
    work.effective = round(float((a.events * b.events).sum()))
    if first is None or second is None:
        work.mac = work.flop_mac = dense
        return work
    drives_left = first.bound <= second.bound
    meeting = a.accumulates * b.events if drives_left else a.events * b.accumulates
    work.ac = round(float(meeting.sum()))
    work.ac_by_step = _meeting_steps(first, left, second, right, meeting)
    work.flop_spike, work.sop = dense, rate(call, left, first) * dense
    return work


def _columns(x: Tensor, mark: Mark | None, keep: tuple[int, ...]) -> Tally:
    """By batch and contracted index, (1, *batch, K)."""
    return count(x, None if mark is None else mark.timeless(), keep)


def _meeting_steps(first: Mark, left: Tensor, second: Mark, right: Tensor, meeting: Tensor) -> tuple[int, ...] | None:
    """By step, where time is on the same batch axis of both operands; `meeting` (1, *batch, K)."""
    place = first.place(left.shape)
    if place is None or place != second.place(right.shape) or place[0] >= left.dim() - 2 or first.steps != second.steps:
        return None
    axis, m = place
    split = meeting[0].unflatten(axis, (m, first.steps, meeting.shape[axis + 1] // (m * first.steps)))
    return steps(split.movedim(axis + 1, 0).flatten(1).sum(1).tolist())


def neighbour_sum(call: Call) -> Work:
    """sum over j in N(i) of w_ij x^j, x (T, N, C): an operation an edge, feature and step; spikes meet w by additions."""
    x, edges = call["x"], call["i"].numel()
    sent_N = torch.bincount(call["j"], minlength=x.shape[1]).double()
    found = call.tally(x, 2)

    def along(counts: Tensor) -> Tensor:
        return counts.sum(-1) @ sent_N

    events = along(found.events)
    met = Tally(events, events if found.accumulates is found.events else along(found.accumulates))
    dense = len(x) * edges * x.shape[2]
    return driven(call, x, met, dense, dense)


def attention(call: Call) -> Work:
    """softmax(q k^T scale) v as one operator; q, k, v (..., L, E). A mask saves nothing: hidden pairs are counted."""
    q = call["query"]
    k, v = (_for_heads(call, call[name], q) for name in ("key", "value"))
    rows, columns = q.shape[-2], k.shape[-2]
    work = Work()
    scores = product(call, q, _turned(call, k))
    found, pairs = call.tally(v).total(), math.prod(q.shape[:-1]) * columns
    met = Tally(found.events * rows, found.accumulates * rows)
    values = driven(call, v, met, pairs * v.shape[-1], pairs * v.shape[-1])
    call.meetings += [
        Meeting(q, scores, right=k, sides=(columns, rows)),
        Meeting(q.new_empty(*q.shape[:-1], columns, device="meta"), values, right=v, sides=(v.shape[-1], rows)),
    ]
    work += scores
    work += values
    work.mul += pairs
    work += softmax(pairs, math.prod(q.shape[:-1]))
    return work


def _for_heads(call: Call, x: Tensor, q: Tensor) -> Tensor:
    """Keys or values (..., heads, L, E) once for each head of the queries: fewer of them serve a group of heads each."""
    groups = q.shape[-3] // x.shape[-3] if x.dim() > 2 else 1
    if groups == 1:
        return x
    many, mark = x.repeat_interleave(groups, -3), call.mark(x)
    if mark is not None:
        place = mark.place(x.shape)
        timed = place is not None and place[0] != x.dim() - 3
        call.book.mark(many, mark.at(place[0], place[1], many.shape) if place and timed else mark.timeless())
    return many


def _turned(call: Call, k: Tensor) -> Tensor:
    """k^T with k's mark, without its time if that is on one of the two axes."""
    turned, mark = k.mT, call.mark(k)
    if mark is not None:
        place = mark.place(k.shape)
        call.book.mark(turned, mark if place is not None and place[0] < k.dim() - 2 else mark.timeless())
    return turned


def softmax(elements: int, rows: int) -> Work:
    """An element: compare, subtract, exponential, add, times the reciprocal of its row."""
    return Work(compare=elements - rows, add=2 * elements - rows, special=elements + rows, mul=elements)
