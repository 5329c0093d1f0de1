"""Products that are neither convolutions nor plain matrix products: batches summed up, bilinear forms, sparse and narrow ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retable.bench.accountant.call import Call, Meeting
from retable.bench.accountant.synapses import driven, product
from retable.bench.accountant.tally import Tally, count
from retable.bench.accountant.work import Work


def summed_batches(call: Call) -> Work:
    """addbmm: sum_b A_b B_b, as one product over batch and inner index."""
    left, right = call["batch1"], call["batch2"]
    work = product(call, left, right)
    call.meetings.append(Meeting(left, work, right=right, sides=(right.shape[-1], left.shape[-2])))
    if call["beta"] != 0:
        work.add += call.out.numel()
    return work


def outer(call: Call) -> Work:
    """addr: x y^T, and the sum with the matrix."""
    return Work(mul=call.out.numel(), add=call.out.numel() if call["beta"] != 0 else 0)


def bilinear(call: Call) -> Work | None:
    """_trilinear as `bilinear` calls it: x (B, I), W (O, I, J), z (B, J); x_i z_j once, then their products with W.

    Where both x and z are spikes, so are their products: an accumulate for each output that a pair meets.
    """
    x, weight, z = call["i1"], call["i2"], call["i3"]
    if x.dim() != 2 or z.dim() != 2 or weight.dim() != 3 or list(call["sumdim"]) != [2, 3]:
        return None
    outputs, pairs = weight.shape[0], x.shape[0] * x.shape[1] * z.shape[1]
    a, b = (count(t, None if (m := call.mark(t)) is None else m.timeless(), (0,)) for t in (x, z))
    dense, met = pairs * outputs, round(float((a.events * b.events).sum())) * outputs
    if call.mark(x) is None or call.mark(z) is None:
        return Work(dense=dense, effective=met, mac=dense, flop_mac=dense, mul=pairs)
    accumulates = round(float((a.accumulates * b.accumulates).sum())) * outputs
    rate = accumulates / dense if dense else 0.0
    return Work(dense=dense, effective=met, ac=accumulates, flop_spike=dense, sop=rate * dense, ac_by_step=None)


def sparse_product(call: Call) -> Work | None:
    """A sparse matrix times a dense one: its stored values are the synapses, each meets a row of the other."""
    name = "mat1" if call.has("mat1") else "self"
    other = next(n for n in ("mat2", "vec") if call.has(n))
    sparse, x = call[name], call[other]
    if is_sparse(x) or not is_sparse(sparse):
        return None  # two sparse matrices, or the sparse one on the right: no rule
    x = x[:, None] if x.dim() == 1 else x
    columns = _columns(sparse)
    stored, width = int(columns.sum()), x.shape[1]
    mark = call.mark(x)
    seen = count(x, None if mark is None else mark.timeless(), (0,))
    met = Tally(seen.events @ columns, seen.accumulates @ columns)
    dense = stored * width
    work = driven(call, x, met, dense, dense)
    if call.name.endswith("addmm") and call["beta"] != 0:
        work.add += call.out.numel()
    return work


def is_sparse(tensor: Tensor) -> bool:
    return tensor.layout != torch.strided


def _columns(sparse: Tensor) -> Tensor:
    """Stored values by column, float64."""
    coo = sparse.detach() if sparse.layout == torch.sparse_coo else sparse.detach().to_sparse_coo()
    return torch.bincount(coo._indices()[1], minlength=sparse.shape[1]).double()


def narrow_product(call: Call) -> Work:
    """_weight_int8pack_mm, _weight_int4pack_mm: x (M, K) with N packed columns of weights, each result scaled."""
    x, outputs = call["self"], call.out.shape[-1]
    seen = call.seen = call.tally(x).total()
    dense = x.numel() * outputs
    work = driven(call, x, Tally(seen.events * outputs, seen.accumulates * outputs), dense, dense)
    work.mul += call.out.numel()
    return work


def quantised_linear(call: Call) -> Work:
    """quantized::linear and its kin: x (..., K), packed weights; the results are scaled back."""
    x = call["X"]
    products = x.numel() * call.out.shape[-1]
    values = x.dequantize() if x.is_quantized else x
    met = round(float(count(values, None).events.sum())) * call.out.shape[-1]
    relu = call.out.numel() if "relu" in call.name else 0
    work = Work(dense=products, effective=met, mac=products, flop_mac=products, mul=call.out.numel(), compare=relu)
    _, bias = call["W_prepack"].unpack()
    return work if bias is None else work.plus(add=call.out.numel())


def bags(call: Call) -> Work:
    """_embedding_bag: rows of a table summed by bag."""
    out = next(call.outputs())
    rows = call["indices"].numel()
    return Work(add=max(0, rows - math.prod(out.shape[:-1])) * out.shape[-1])
