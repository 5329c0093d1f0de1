"""Recurrent layers that run as one operator, counted as the steps that they are.

A step of one sample, of H hidden values from I inputs: G H (I + H) MACs with G = 4 gates of an LSTM, 3 of a GRU, 1 of a plain
layer; the sums of both products, gates and states element by element, as the cell's equations say. Spikes that enter drive
the products with the inputs; hidden values are real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from retable.bench.accountant.call import Call, Meeting
from retable.bench.accountant.synapses import product
from retable.bench.accountant.tally import count
from retable.bench.accountant.work import Work

GATES = (1, 1, 4, 3)
"""Of torch's modes: ReLU, tanh, LSTM, GRU."""


def elements(mode: int, hidden: int, bias: bool) -> Work:
    """Element-wise work of one step: the gates' sums, their functions, and the new state of `hidden` values in all."""
    gates = GATES[mode] * hidden
    work = Work(add=gates + (2 * gates if bias else 0))
    if mode == 2:  # c = f c + i g, h = o tanh(c)
        return work.plus(add=4 * hidden, mul=3 * hidden, special=8 * hidden)
    if mode == 3:  # n = tanh(W x + r (U h)), h = n + z (h - n)
        return work.plus(add=4 * hidden, mul=2 * hidden, special=5 * hidden)
    return work.plus(compare=hidden) if mode == 0 else work.plus(special=hidden)


def one_layer(call: Call) -> Work:
    """mkldnn_rnn_layer: one layer in one direction; x (T, B, I)."""
    x, weights = call["input"], (call["weight0"], call["weight1"])
    y = next(call.outputs())
    rows, hidden = x.numel() // x.shape[-1], y.shape[-1]
    flat = x.reshape(-1, x.shape[-1])
    mark = call.mark(x)
    if mark is not None:
        call.book.mark(flat, mark)
    work = _meet(call, flat, weights[0])
    before = y[1:] if call["reverse"] else y[:-1]
    known = [count(tensor, None).events.sum() for tensor in (before, call["hx_"]) if tensor.numel()]
    products = rows * weights[1].numel()
    met = round(float(sum(known))) * weights[1].shape[0]
    hidden_work = Work(dense=products, mac=products, flop_mac=products, effective=met)
    call.meetings.append(Meeting(_unseen(x, rows, hidden), hidden_work, weights[1].t()))
    work += hidden_work
    work += elements(call["mode"], rows * hidden, call["has_biases"])
    return work


def all_layers(call: Call) -> Work:
    """_cudnn_rnn, miopen_rnn: all layers and directions; inner inputs are not seen, so their zeros are not known."""
    x, stride, mode = call["input"], call["weight_stride0"], call["mode"]
    rows, work = x.numel() // x.shape[-1], Work()
    groups: list[Sequence[Tensor]] = [call["weight"][i : i + stride] for i in range(0, len(call["weight"]), stride)]
    for group in groups:
        matrices = [weight for weight in group if weight.dim() > 1]
        for weight in matrices:
            products = rows * weight.numel()
            one = Work(dense=products, mac=products, flop_mac=products, effective=products)
            call.meetings.append(Meeting(_unseen(x, rows, weight.shape[1]), one, weight.t()))
            work += one
        work += elements(mode, rows * matrices[0].shape[0] // GATES[mode], len(matrices) < len(group))
    return work


def lstm_cell(call: Call) -> Work:
    """_thnn_fused_lstm_cell: the gates' part of a cell, after both products."""
    return elements(2, call["cx"].numel(), call["input_bias"] is not None)


def gru_cell(call: Call) -> Work:
    return elements(3, call["hx"].numel(), call["input_bias"] is not None)


def _meet(call: Call, x: Tensor, weight: Tensor) -> Work:
    work = product(call, x, weight.t(), right_weight=True)
    call.meetings.append(Meeting(x, replace(work), weight.t(), seen=call.seen))
    return work


def _unseen(x: Tensor, rows: int, width: int) -> Tensor:
    """Stands for values inside of the operator."""
    return x.new_empty(rows, width, device="meta")
