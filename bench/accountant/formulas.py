"""The counting rule of each operator: name -> Work. An operator without one is uncounted, and an account names it.

Element-wise work is a count an output element: `_EACH`. With a spike operand, additions and products cost its accumulates
instead, and only where the other operand, if it is spikes too, is not zero. Scaling by a number is a multiplication, but of
spikes it belongs to the weights that follow, as their amplitudes do. Selections, sign flips, casts and copies are no
operations; they move bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from retable.bench.accountant import further, gates, pruned, scans, synapses
from retable.bench.accountant.call import Call
from retable.bench.accountant.carry import expand, number
from retable.bench.accountant.tally import count
from retable.bench.accountant.work import Work, steps

Formula = Callable[[Call], Work | None]

_COMPARE = "eq ne lt le gt ge maximum minimum relu clamp_min clamp_max round floor ceil trunc sign sgn"
_SPECIAL = "exp exp2 log log2 log10 sqrt rsqrt reciprocal tanh erf sin cos tan atan atan2 expm1 log1p"
_EACH: dict[str, dict[str, int]] = {
    **{name: {"compare": 1} for name in _COMPARE.split()},
    **{name: {"compare": 2} for name in ("clamp", "hardtanh")},
    **{name: {"special": 1} for name in _SPECIAL.split()},
    "square": {"mul": 1},
    "mish": {"special": 3, "add": 1, "mul": 1},
    "sigmoid": {"special": 2, "add": 1},
    "silu": {"special": 2, "add": 1, "mul": 1},
    "gelu": {"special": 1, "add": 1, "mul": 3},
    "softplus": {"special": 2, "add": 1},
    "log_sigmoid_forward": {"special": 2, "add": 1},
    **{name: {"compare": 1, "special": 1, "add": 1} for name in ("elu", "celu")},
    "leaky_relu": {"compare": 1, "mul": 1},
    "hardsigmoid": {"compare": 2, "add": 1, "mul": 1},
    "hardswish": {"compare": 2, "add": 1, "mul": 2},
    "lerp": {"add": 2, "mul": 1},
    "cumsum": {"add": 1},
    "cumprod": {"mul": 1},
    "_prelu_kernel": {"compare": 1, "mul": 1},
}
_MOVES = (
    "clone _to_copy copy cat stack repeat repeat_interleave index index_select gather masked_select where masked_fill "
    "constant_pad_nd flip roll upsample_nearest1d upsample_nearest2d upsample_nearest3d embedding neg abs im2col "
    "logical_not logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not isnan isfinite isinf "
    "index_put scatter index_copy slice_scatter select_scatter tril triu pixel_shuffle reflection_pad1d reflection_pad2d "
    "replication_pad1d replication_pad2d channel_shuffle one_hot _to_sparse _to_sparse_csr _to_dense _coalesce _unsafe_index _index_put_impl nll_loss_forward"
)
_FREE = (
    "view _unsafe_view _reshape_alias unsqueeze squeeze alias detach lift_fresh permute transpose t slice select split "
    "split_with_sizes unsafe_split unsafe_split_with_sizes unbind expand as_strided unfold diagonal real imag "
    "view_as_real view_as_complex resize set empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like "
    "ones ones_like full full_like new_zeros new_ones new_full arange linspace eye scalar_tensor zero fill rand randn "
    "rand_like randn_like randint randperm uniform normal bernoulli promote_types result_type sym_size sym_numel "
    "sym_stride _values _indices values indices crow_indices col_indices _nnz _local_scalar_dense is_same_size device is_nonzero equal _assert_async _assert_scalar _linalg_check_errors"
)
FREE = frozenset(_FREE.split())
"""Views, constants, random numbers and questions to the host: neither operations nor traffic of the model."""


def _each(call: Call) -> Work:
    elements = _first(call).numel()
    return _of({kind: n * elements for kind, n in _EACH[call.name].items()})


def _of(counts: dict[str, int]) -> Work:
    work = Work()
    for kind, n in counts.items():
        setattr(work, kind, n)
    return work


def _first(call: Call) -> Tensor:
    return next(call.outputs())


def _moves(call: Call) -> Work:
    return Work()


def _sum_of_two(call: Call) -> Work:
    """add, sub, rsub, mul with tensors or numbers."""
    out, a, b = call.out, call["self"], call["other"]
    first, second = call.mark(a), call.mark(b)
    if first is None and second is None and not out.dtype.is_floating_point and not out.dtype.is_complex:
        return Work()  # indices and masks
    kind = "mul" if call.name == "mul" else "add"
    if first is None and second is None:
        work = _of({kind: out.numel()})
        if call.has("alpha") and call["alpha"] not in (1, -1):
            work.mul += out.numel()
        return work
    if number(a if first is None else b) is not None:
        return Work() if kind == "mul" else Work(add=out.numel())
    return _meeting(call, a, b)


def _meeting(call: Call, a: Tensor, b: Tensor) -> Work:
    """Spikes added to or masking another tensor: |v| accumulates of the operand with the smaller bound."""
    first, second, shape = call.mark(a), call.mark(b), call.out.shape
    on_left = second is None or (first is not None and first.bound <= second.bound)
    driver, other = (a, b) if on_left else (b, a)
    mark = call.mark(driver)
    assert mark is not None
    if call.mark(other) is None and other.dtype != torch.bool:
        times = math.prod(shape) // max(1, driver.numel())
        met = call.tally(driver).total().accumulates * times
    elif call.name == "add" and mark.bound == 1 and _both_nonnegative(call, a, b):
        met = _common(call, a, b)
    else:
        grown, place = driver.expand(shape), mark.place(driver.shape)
        shift = len(shape) - driver.dim()
        timed = place is not None and shape[place[0] + shift] == driver.shape[place[0]]
        wide = mark.at(place[0] + shift, place[1], shape) if place is not None and timed else mark.timeless()
        met = count(grown * other.ne(0), wide).accumulates
    work = Work(ac=round(float(met.sum())), ac_by_step=steps(met.tolist()))
    if call.name == "mul" and first is not None and second is not None:  # the mask of spike-driven attention
        work.flop_spike = math.prod(shape)
        work.sop = synapses.rate(call, a, first) * work.flop_spike
    return work


def _both_nonnegative(call: Call, a: Tensor, b: Tensor) -> bool:
    """Spikes that cannot cancel, element by element, with the same time."""
    first, second, out = (call.mark(x) for x in (a, b, call.out))
    if first is None or second is None or out is None or a.shape != b.shape or call.writes:
        return False
    return min(first.low, second.low) >= 0 and first.steps == second.steps == out.steps


def _common(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Elements where both are not zero, by step: those of a and of b, less those of a + b (all three counts are kept)."""
    first, second, out = (call.tally(x).total().events for x in (a, b, call.out))
    return first + second - out


def _quotient(call: Call) -> Work:
    elements = call.out.numel()
    if number(call["other"]) is None:
        return Work(special=elements)
    return Work() if call.mark(call["self"]) is not None else Work(mul=elements)


def _power(call: Call) -> Work:
    """A small whole power is products."""
    elements, exponent = call.out.numel(), number(call["exponent"])
    if exponent is not None and exponent in (2, 3, 4):
        return Work(mul=elements * (1 if exponent == 2 else 2))
    return Work(special=elements)


def _fused(call: Call) -> Work:
    """addcmul, addcdiv."""
    elements = call.out.numel()
    return Work(add=elements, mul=elements) if call.name == "addcmul" else Work(add=elements, special=elements)


def _total(call: Call) -> Work:
    """sum, mean: one addition fewer than inputs for each output; of spikes their accumulates."""
    x, outputs = call["self"], call.out.numel()
    if call.mark(x) is not None:
        met = call.tally(x).total().accumulates
        return Work(ac=round(float(met.sum())), ac_by_step=steps(met.tolist()))
    work = Work(add=max(0, x.numel() - outputs))
    if call.name == "mean":
        work.mul += outputs
    return work


def _scattered(call: Call) -> Work | None:
    """One operation for each element that is added, or compared, to where it goes; other ways to reduce have no rule."""
    source = call["source"] if call.name == "index_add" else call["src"]
    if call.name != "scatter_reduce" or call["reduce"] == "sum":
        return Work(add=source.numel())
    return Work(compare=source.numel()) if call["reduce"] in ("amax", "amin") else None


def _reduced(call: Call) -> Work:
    """max, min, argmax, amax, any, ...: comparisons."""
    return Work(compare=max(0, call["self"].numel() - _first(call).numel()))


def _searched(call: Call) -> Work:
    """bucketize, searchsorted: a binary search for each value."""
    borders = call["boundaries" if call.has("boundaries") else "sorted_sequence"].shape[-1]
    return Work(compare=call.out.numel() * math.ceil(math.log2(borders + 1)))


def _spread(call: Call) -> Work:
    """var, std, norms: two additions and a multiplication an element."""
    x, outputs = call["self"], _first(call).numel()
    return Work(add=2 * x.numel(), mul=x.numel(), special=outputs)


def _softmax(call: Call) -> Work:
    x = call["self"]
    width = x.shape[call["dim"]] if x.dim() else 1
    work = synapses.softmax(x.numel(), x.numel() // max(1, width))
    if call.name == "_log_softmax":  # one more subtraction instead of the product
        work.add, work.mul = work.add + x.numel(), 0
    return work


def _batch_norm(call: Call) -> Work:
    """In evaluation one multiplication and one addition (`fold_batch_norm` drops them); in training also the statistics."""
    elements = call["input"].numel()
    training = call["training"] if call.has("training") else call.name == "_batch_norm_with_update"
    if training:
        return Work(add=4 * elements, mul=3 * elements, special=call["input"].shape[1])
    return Work(norm_add=elements, norm_mul=elements)


def _norm(call: Call) -> Work:
    """Layer and group norm: mean, centring, square and its mean, scaling; affine on top."""
    elements = call["input"].numel()
    affine = call["weight"] is not None
    rows = next(iter(list(call.outputs())[1:2]), call["input"]).numel()
    return Work(add=(3 + affine) * elements, mul=(2 + affine) * elements, special=rows)


def _max_pool(call: Call) -> Work:
    """A window compares all but one of what it sees; of spikes those that are not zero."""
    x, out = call["self"], _first(call)
    seen = _seen(call, x, out)
    if call.mark(x) is None:
        outer = math.prod(x.shape[: x.dim() - len(seen)])
        return Work(compare=max(0, outer * math.prod(sum(axis) for axis in seen) - out.numel()))
    return Work(compare=round(float(_windows(call, x, seen).events.sum())))


def _avg_pool(call: Call) -> Work:
    """A window adds what it sees and divides by a number; of spikes only their accumulates are left."""
    x, out = call["self"], call.out
    seen = _seen(call, x, out)
    if call.mark(x) is None:
        outer = math.prod(x.shape[: x.dim() - len(seen)])
        return Work(add=max(0, outer * math.prod(sum(axis) for axis in seen) - out.numel()), mul=out.numel())
    met = _windows(call, x, seen).accumulates
    return Work(ac=round(float(met.sum())), ac_by_step=steps(met.tolist()))


def _windows(call: Call, x: Tensor, seen: list[tuple[int, ...]]) -> Any:
    if x.dim() == len(seen) + 2:
        return synapses.weighted(call, x, seen, 1)
    wide, mark = x[None], call.mark(x)
    if mark is not None:
        call.book.mark(wide, mark)
    return synapses.weighted(call, wide, seen, 1)


def _seen(call: Call, x: Tensor, out: Tensor) -> list[tuple[int, ...]]:
    """How many windows see each position, by axis."""
    axes = next(n for n in (1, 2, 3) if f"{n}d" in call.name)
    sizes = list(zip(x.shape[-axes:], out.shape[-axes:], strict=True))
    if "adaptive" in call.name:
        return [_adaptive(n, o) for n, o in sizes]
    kernel, stride, padding = (expand(call[name], axes) for name in ("kernel_size", "stride", "padding"))
    dilation = expand(call["dilation"], axes) if call.has("dilation") else [1] * axes
    each = zip(sizes, kernel, stride or kernel, padding, dilation, strict=True)
    return [synapses.taps(n, o, k, s, p, d) for (n, o), k, s, p, d in each]


def _adaptive(n: int, o: int) -> tuple[int, ...]:
    """Window j spans floor(j n / o) ... ceil((j + 1) n / o)."""
    seen = [0] * n
    for j in range(o):
        for i in range(j * n // o, -(-(j + 1) * n // o)):
            seen[i] += 1
    return tuple(seen)


_MATRIX = "mm bmm addmm baddbmm mv addmv dot _int_mm _scaled_mm"
_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable"
)
_BATCH_NORM = (
    "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update"
)
_MAX_POOL = "max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool1d_with_indices adaptive_max_pool2d adaptive_max_pool3d"
_AVG_POOL = "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d"

FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(_EACH, _each),
    **dict.fromkeys(_MOVES.split(), _moves),
    **dict.fromkeys(("add", "sub", "rsub", "mul"), _sum_of_two),
    "div": _quotient,
    "pow": _power,
    **dict.fromkeys(("addcmul", "addcdiv"), _fused),
    **dict.fromkeys(("sum", "mean", "nansum"), _total),
    **dict.fromkeys(("scatter_add", "index_add", "scatter_reduce"), _scattered),
    **dict.fromkeys(("max", "min", "amax", "amin", "argmax", "argmin", "any", "all", "count_nonzero"), _reduced),
    **dict.fromkeys(("bucketize", "searchsorted"), _searched),
    **dict.fromkeys(("var", "std", "var_mean", "linalg_vector_norm", "norm"), _spread),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _softmax),
    **dict.fromkeys(_BATCH_NORM.split(), _batch_norm),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), _norm),
    **dict.fromkeys(_MAX_POOL.split(), _max_pool),
    **dict.fromkeys(_AVG_POOL.split(), _avg_pool),
    "mkldnn_rnn_layer": gates.one_layer,
    **dict.fromkeys(("_cudnn_rnn", "miopen_rnn"), gates.all_layers),
    "_thnn_fused_lstm_cell": gates.lstm_cell,
    "_thnn_fused_gru_cell": gates.gru_cell,
    "addbmm": further.summed_batches,
    "addr": further.outer,
    "_trilinear": further.bilinear,
    **dict.fromkeys(("_sparse_addmm", "_sparse_mm"), further.sparse_product),
    **dict.fromkeys(("_weight_int8pack_mm", "_weight_int4pack_mm"), further.narrow_product),
    **dict.fromkeys(("_embedding_bag", "_embedding_bag_forward_only"), further.bags),
}
_QUANTISED = "linear linear_relu linear_dynamic linear_relu_dynamic linear_dynamic_fp16"
OWN: dict[str, Formula] = {
    "integrate_and_fire": scans.integrate_and_fire,
    "elastic": scans.elastic,
    "rectify_and_fire": scans.rectify_and_fire,
    "spikes": scans.encoded,
    "topology": scans.encoded,
    "selective_scan": scans.selective_scan,
    "selective_state_update": scans.selective_state_update,
    "ssd_scan": scans.ssd_scan,
    "ssd_step": scans.ssd_scan,
    "causal_conv1d": scans.causal_conv1d,
    "causal_conv1d_step": scans.causal_conv1d_step,
    "neighbour_sum": synapses.neighbour_sum,
}
"""Operators of the namespace `retable`."""


def _matrix_product(call: Call, is_weight: Callable[[Any], bool]) -> Work:
    """As `synapses` says, but for a right operand that lacks synapses: mm, addmm."""
    names = ("mat1", "mat2") if call.has("mat1") else ("self", "mat2")
    connected = call.connected(call[names[1]]) if call.has(names[1]) else None
    if connected is None:
        return synapses.matrix_product(call, is_weight)
    work = pruned.product(call, call[names[0]], call[names[1]], connected)
    if call.name == "addmm":
        work.add += call.out.numel()
    return work


def work_of(call: Call, is_weight: Callable[[Any], bool]) -> Work | None:
    """What the call did, or None where no rule knows."""
    if call.namespace == "retable":
        formula = OWN.get(call.name)
        return None if formula is None else formula(call)
    if call.namespace == "quantized":
        return further.quantised_linear(call) if call.name in _QUANTISED.split() else None
    if call.namespace != "aten":
        return None
    if call.name in ("convolution", "convolution_overrideable"):
        connected = call.connected(call["weight"])
        return synapses.convolution(call) if connected is None else pruned.convolution(call, connected)
    if call.name in _MATRIX.split():
        if any(further.is_sparse(tensor) for tensor in call.inputs):
            return further.sparse_product(call)
        return _matrix_product(call, is_weight)
    if call.name in _ATTENTION.split():
        return synapses.attention(call)
    formula = FORMULAS.get(call.name)
    return None if formula is None else formula(call)
