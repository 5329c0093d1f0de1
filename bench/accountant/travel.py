"""How a mark travels: for every operator that takes spikes, what its output is.

A rule returns the mark of the output (a list of them for several outputs), None where spikes end by nature (a layer's
currents, a sum with real values), or raises `Lost` where the result could be spikes but is not known to be. An operator
without a rule loses the mark too. Losses are reported by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.accountant.call import Call
from bench.accountant.marks import Mark

Marks = Mark | None | list[Mark | None]
Rule = Callable[[Call], Marks]


class Lost(Exception):  # noqa: N818 - an outcome, not an error
    """The output is not known to be spikes."""


def travel(call: Call) -> Marks:
    """The marks of the outputs of a call that has run and took at least one marked tensor; raises Lost."""
    rule = RULES.get(call.name)
    if rule is None or call.namespace not in ("aten", "retable"):
        raise Lost
    if call.writes and call.name in REORDERING:  # a tensor that changes its own shape
        raise Lost
    return rule(call)


def _only(call: Call, name: str = "self") -> Mark:
    """The mark of an argument that has to be the marked one."""
    mark = call.mark(call[name])
    if mark is None:
        raise Lost
    return mark


def _axis_kept(mark: Mark, before: Sequence[int], after: Sequence[int], shift: int = 0) -> Mark:
    """The mark where axis i became axis i + shift; time is lost where its axis changed its size."""
    place = mark.place(before)
    if place is None:
        return mark.timeless()
    axis, m = place
    new = axis + shift
    return mark.at(new, m, after) if new < len(after) and after[new] == before[axis] else mark.timeless()


def _same_order(call: Call) -> Marks:
    mark = _only(call)
    if call.out.dtype != call["self"].dtype:  # the bits read as another type
        raise Lost
    return mark


def _cast(call: Call) -> Marks:
    mark = _only(call)
    if call.out.dtype == torch.bool:
        return replace(mark, low=0, high=1, scale=1.0)
    if call.out.is_floating_point() or mark.scale == 1:
        return mark
    raise Lost


def _permuted(call: Call) -> Marks:
    mark, shape = _only(call), call["self"].shape
    order = list(range(len(shape)))
    if call.name == "permute":
        order = [axis % len(shape) for axis in call["dims"]]
    elif call.name == "transpose":
        i, j = (call[name] % len(shape) for name in ("dim0", "dim1"))
        order[i], order[j] = j, i
    else:
        order.reverse()
    place = mark.place(shape)
    return mark.timeless() if place is None else mark.at(order.index(place[0]), place[1], call.out.shape)


def _sliced(call: Call) -> Marks:
    """Slices, splits and gathers along one axis; `select` and `unbind` take the axis away."""
    mark, shape = _only(call), call["self"].shape
    dim = call["dim"] % len(shape)
    place = mark.place(shape)
    marks: list[Mark | None] = []
    for out in call.outputs():
        if place is None or (place[0] == dim and out.dim() < len(shape)):
            marks.append(mark.timeless())
        elif place[0] == dim:
            whole = (
                place[1] * mark.steps == shape[dim] and place[1] == 1 and call.name not in ("gather", "index_select")
            )
            marks.append(
                replace(mark, steps=out.shape[dim], outer=math.prod(out.shape[:dim])) if whole else mark.timeless()
            )
        else:
            marks.append(_axis_kept(mark, shape, out.shape, -1 if out.dim() < len(shape) and place[0] > dim else 0))
    return marks


def _indexed(call: Call) -> Marks:
    mark, shape = _only(call), call["self"].shape
    place = mark.place(shape)
    first = next((i for i, index in enumerate(call["indices"]) if index is not None), 0)
    if place is None or place[0] >= first:
        return mark.timeless()
    return _axis_kept(mark, shape, call.out.shape)


def _masked_select(call: Call) -> Marks:
    return _only(call).timeless()


def _repeated(call: Call) -> Marks:
    mark, before, after = _only(call), call["self"].shape, call.out.shape
    return _axis_kept(mark, before, after, len(after) - len(before))


def _turned(call: Call) -> Marks:
    """flip, roll: time is lost where its axis is turned."""
    mark, shape = _only(call), call["self"].shape
    place = mark.place(shape)
    dims = [axis % len(shape) for axis in call["dims"]] or list(range(len(shape)))
    return mark.timeless() if place is None or place[0] in dims else mark


def _joined(call: Call) -> Marks:
    tensors = [tensor for tensor in call["tensors"] if tensor.numel()]
    marks = [call.mark(tensor) for tensor in tensors]
    first = marks[0]
    if first is None or any(mark is None or mark.scale != first.scale for mark in marks):
        raise Lost
    known = [mark for mark in marks if mark is not None]
    union = replace(first, low=min(mark.low for mark in known), high=max(mark.high for mark in known))
    out = call.out.shape
    dim = call["dim"] % len(out)
    if call.name == "stack":
        if dim == 0 and all(mark.steps == 1 for mark in known):  # the outputs of a loop over time
            return replace(union, steps=len(tensors), outer=1)
        place = union.place(tensors[0].shape)
        return union.timeless() if place is None else union.at(place[0] + (place[0] >= dim), place[1], out)
    places = [mark.place(tensor.shape) for mark, tensor in zip(known, tensors, strict=True)]
    if all(place == (dim, 1) and t.shape[dim] == m.steps for place, t, m in zip(places, tensors, known, strict=True)):
        return replace(union, steps=out[dim], outer=math.prod(out[:dim]))
    return _axis_kept(union, tensors[0].shape, out) if len({mark.steps for mark in known}) == 1 else union.timeless()


def _pooled(call: Call) -> Marks:
    """The largest of spikes is one of them; so is a repeated one."""
    source = "self" if call.has("self") else "input"
    mark = _axis_kept(_only(call, source), call[source].shape, next(call.outputs()).shape)
    return [mark] + [None] * (len(list(call.outputs())) - 1)


def _averaged(call: Call) -> Marks:
    """Windows of n spikes: integers up to n times larger, scaled by 1 / n; only where all windows divide by the same n."""
    mark, before, after = _only(call), call["self"].shape, call.out.shape
    n = _window(call)
    if n is None or mark.scale is None:
        raise Lost
    mark = replace(mark, low=mark.low * n, high=mark.high * n, scale=mark.scale / n)
    return _axis_kept(mark, before, after)


def _window(call: Call) -> int | None:
    if call.name.startswith(("adaptive", "_adaptive")):
        axes = {"1d": 1, "2d": 2, "3d": 3}[call.name[-2:]]
        sizes = list(zip(call["self"].shape[-axes:], call.out.shape[-axes:], strict=True))
        return math.prod(i // o for i, o in sizes) if all(i % o == 0 for i, o in sizes) else None
    axes = int(call.name[-2])
    kernel, stride, padding = (expand(call[name], axes) for name in ("kernel_size", "stride", "padding"))
    if call.has("divisor_override") and call["divisor_override"]:
        return int(call["divisor_override"])
    if any(padding) and not call["count_include_pad"]:
        return None
    if call["ceil_mode"]:
        stride = stride or kernel
        ends = zip(call["self"].shape[-axes:], call.out.shape[-axes:], kernel, stride, padding, strict=True)
        if any((o - 1) * s + k > i + 2 * p for i, o, k, s, p in ends):
            return None
    return math.prod(kernel)


def expand(value: Sequence[int] | int, axes: int) -> list[int]:
    """One number an axis; an empty list stays empty."""
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values


def _summed(call: Call) -> Marks:
    mark, shape = _only(call), call["self"].shape
    if mark.scale is None:
        raise Lost
    dims = call["dim"] if call.has("dim") else None
    gone = sorted({axis % max(1, len(shape)) for axis in (dims or range(len(shape)))})
    n = math.prod(shape[axis] for axis in gone)
    scale = mark.scale / n if call.name == "mean" else mark.scale
    mark = replace(mark, low=mark.low * n, high=mark.high * n, scale=scale)
    place = mark.place(shape)
    if n == 0:
        raise Lost
    if place is None or place[0] in gone:
        return mark.timeless()
    keepdim = call.has("keepdim") and call["keepdim"]
    return _axis_kept(mark, shape, call.out.shape, 0 if keepdim else -sum(axis < place[0] for axis in gone))


def number(value: Any) -> float | None:
    """The value of a number or of a tensor with one element and no axis, else None."""
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, Tensor) and value.dim() == 0 and not value.is_complex() else None


def _broadcast(call: Call, mark: Mark, *sources: Any) -> Mark:
    """The mark with the time of the first of its sources that has one."""
    for source in sources:
        known = call.mark(source)
        if known is not None and known.steps > 1:
            timed = replace(mark, steps=known.steps, outer=known.outer)
            return _axis_kept(timed, source.shape, call.out.shape, call.out.dim() - source.dim())
    return mark.timeless()


def _scaled(mark: Mark, c: float) -> Mark:
    if c == 0 or not math.isfinite(c):
        raise Lost
    low, high = (mark.low, mark.high) if c > 0 else (-mark.high, -mark.low)
    return replace(mark, low=low, high=high, scale=None if mark.scale is None else mark.scale * abs(c))


def _product(call: Call) -> Marks:
    a, b = call["self"], call["other"]
    first, second = call.mark(a), call.mark(b)
    if call.name == "div":
        c = number(b)
        if second is not None or not c or call.func._overloadname.endswith("_mode"):
            raise Lost
        return _broadcast(call, _scaled(_only(call), 1 / c), a)
    if first is not None and second is not None:
        corners = [x * y for x in (first.low, first.high) for y in (second.low, second.high)]
        scale = None if first.scale is None or second.scale is None else first.scale * second.scale
        if scale is None and max(map(abs, corners)) > 1:
            raise Lost
        return _broadcast(call, Mark(min(corners), max(corners), scale), a, b)
    mark, spikes, other = (first, a, b) if first is not None else (second, b, a)
    assert mark is not None
    if isinstance(other, Tensor) and other.dtype == torch.bool:
        return _broadcast(call, replace(mark, low=min(mark.low, 0), high=max(mark.high, 0)), spikes)
    c = number(other)
    return None if c is None else _broadcast(call, _scaled(mark, c), spikes)


def _on_one_grid(a: Mark, b: Mark) -> tuple[Mark, Mark]:
    """Both as integers times the smaller scale, where the larger is a multiple of it."""
    if a.scale is None or b.scale is None:
        raise Lost
    scale = min(a.scale, b.scale)
    found = []
    for mark, s in ((a, a.scale), (b, b.scale)):
        ratio = s / scale
        if ratio != round(ratio):
            raise Lost
        found.append(replace(mark, low=mark.low * round(ratio), high=mark.high * round(ratio), scale=scale))
    return found[0], found[1]


def _shifted(mark: Mark, c: float) -> Mark:
    steps = c / mark.scale if mark.scale is not None else math.nan
    if not math.isfinite(steps) or steps != round(steps):
        raise Lost
    return replace(mark, low=mark.low + round(steps), high=mark.high + round(steps))


def _added(call: Call) -> Marks:
    """a + alpha b, a - alpha b; `rsub` is b - alpha a."""
    a, b = call["self"], call["other"]
    if call.name == "rsub":
        a, b = b, a
    sign = float(call["alpha"]) * (1 if call.name == "add" else -1)
    first, second = call.mark(a), call.mark(b)
    if second is not None:
        second = _scaled(second, sign)
    if first is not None and second is not None:
        first, second = _on_one_grid(first, second)
        return _broadcast(call, replace(first, low=first.low + second.low, high=first.high + second.high), a, b)
    c = number(b if second is None else a)
    if c is None:
        return None  # a sum with real values is a current
    mark = _shifted(first, c * sign) if first is not None else _shifted(second or Mark(0, 0), c)
    return _broadcast(call, mark, a, b)


def _as_mask(call: Call) -> Marks:
    sources = [call[name] for name in ("self", "other") if call.has(name)]
    return _broadcast(call, Mark(0, 1), *sources)


def _chosen(call: Call) -> Marks:
    """where, masked_fill, maximum, minimum: one of the two values."""
    first, second = {"where": ("self", "other"), "masked_fill": ("self", "value")}.get(call.name, ("self", "other"))
    found = []
    for value in (call[first], call[second]):
        mark, c = call.mark(value), number(value)
        if mark is None and c != 0:
            return None
        found.append(mark)
    known = [mark for mark in found if mark is not None]
    if not known:
        return None
    if len({mark.scale for mark in known}) > 1:
        raise Lost
    bounds = [value for mark in known for value in (mark.low, mark.high)] + [0] * (len(known) < 2)
    return _broadcast(call, replace(known[0], low=min(bounds), high=max(bounds)), call[first], call[second])


def _clamped(call: Call) -> Marks:
    mark = _only(call)
    if mark.scale is None:
        raise Lost
    low, high = (call[name] if call.has(name) else None for name in ("min", "max"))
    if call.name == "relu":
        low = 0
    ends = []
    for end, usual in ((low, mark.low), (high, mark.high)):
        value = usual if end is None else number(end)
        if value is None:
            raise Lost
        steps = usual if end is None else value / mark.scale
        if steps != round(steps):
            raise Lost
        ends.append(round(steps))
    clip = [min(max(value, ends[0]), ends[1]) for value in (mark.low, mark.high)]
    return replace(mark, low=clip[0], high=clip[1])


def _magnitude(call: Call) -> Marks:
    mark = _only(call)
    if call.name == "neg":
        return replace(mark, low=-mark.high, high=-mark.low)
    if call.name == "abs":
        return replace(
            mark, low=0 if mark.low <= 0 <= mark.high else min(abs(mark.low), abs(mark.high)), high=mark.bound
        )
    if call.name in ("sign", "sgn"):
        return replace(mark, low=max(-1, min(1, mark.low)), high=max(-1, min(1, mark.high)), scale=1.0)
    if mark.scale != 1:
        raise Lost
    return mark


def _padded(call: Call) -> Marks:
    if call["value"] != 0:
        raise Lost
    mark = _only(call)
    return replace(_axis_kept(mark, call["self"].shape, call.out.shape), low=min(mark.low, 0), high=max(mark.high, 0))


def _copied(call: Call) -> Marks:
    """self.copy_(src): the view that was written is spikes, but a larger tensor that it is a part of is not known to be."""
    mark = call.mark(call["src"])
    if mark is None:
        return None
    out = call.out
    if not out.is_floating_point() and mark.scale != 1:
        raise Lost
    if out.numel() * out.element_size() < out.untyped_storage().nbytes():
        raise Lost
    return _broadcast(call, mark, call["src"])


def _ends(call: Call) -> Marks:
    return None


_SHAPED = "view _unsafe_view reshape _reshape_alias unsqueeze squeeze flatten unflatten clone contiguous alias detach lift_fresh"
_MASKS = (
    "eq ne lt le gt ge logical_not logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not"
)
_ENDING = (
    "convolution _convolution mm bmm addmm baddbmm addmv mv dot linear matmul native_batch_norm cudnn_batch_norm "
    "_native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update batch_norm native_layer_norm "
    "native_group_norm _fused_rms_norm _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable _local_scalar_dense is_nonzero "
    "equal any all argmax argmin isnan isfinite isinf count_nonzero nonzero zero zeros_like ones_like empty_like full_like "
    "rand_like randn_like new_empty new_zeros new_ones new_full fill sym_size sym_numel sym_stride "
    "integrate_and_fire elastic spikes selective_scan ssd_scan ssd_step selective_state_update causal_conv1d "
    "causal_conv1d_step"
)

SAME_ORDER = frozenset(_SHAPED.split())
REORDERING = frozenset((*SAME_ORDER, "permute", "transpose", "t", "numpy_T"))
"""Operators whose output holds the elements of `self`, each once."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SHAPED.split(), _same_order),
    **dict.fromkeys(("_to_copy", "to"), _cast),
    **dict.fromkeys(("permute", "transpose", "t", "numpy_T"), _permuted),
    **dict.fromkeys(
        [
            "slice",
            "select",
            "narrow",
            "split",
            "split_with_sizes",
            "unsafe_split",
            "unsafe_split_with_sizes",
            "chunk",
            "unbind",
            "index_select",
            "gather",
        ],
        _sliced,
    ),
    "index": _indexed,
    "masked_select": _masked_select,
    **dict.fromkeys(("expand", "repeat", "repeat_interleave", "tile"), _repeated),
    **dict.fromkeys(("flip", "roll"), _turned),
    **dict.fromkeys(("cat", "stack", "concat"), _joined),
    **dict.fromkeys(
        [
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "max_pool1d",
            "max_pool2d",
            "max_pool3d",
            "max_pool1d_with_indices",
            "adaptive_max_pool2d",
            "adaptive_max_pool3d",
            "mkldnn_max_pool2d",
            "upsample_nearest1d",
            "upsample_nearest2d",
            "upsample_nearest3d",
        ],
        _pooled,
    ),
    **dict.fromkeys(
        [
            "avg_pool1d",
            "avg_pool2d",
            "avg_pool3d",
            "adaptive_avg_pool1d",
            "adaptive_avg_pool2d",
            "adaptive_avg_pool3d",
            "_adaptive_avg_pool2d",
            "_adaptive_avg_pool3d",
            "mkldnn_adaptive_avg_pool2d",
        ],
        _averaged,
    ),
    **dict.fromkeys(("sum", "mean"), _summed),
    **dict.fromkeys(("mul", "div"), _product),
    **dict.fromkeys(("add", "sub", "rsub"), _added),
    **dict.fromkeys(_MASKS.split(), _as_mask),
    **dict.fromkeys(("where", "masked_fill", "maximum", "minimum"), _chosen),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "relu"), _clamped),
    **dict.fromkeys(("neg", "abs", "sign", "sgn", "round", "floor", "ceil", "trunc"), _magnitude),
    "constant_pad_nd": _padded,
    "copy": _copied,
    **dict.fromkeys(_ENDING.split(), _ends),
}
