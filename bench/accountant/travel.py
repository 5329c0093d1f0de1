"""How a mark travels: for every operator that takes spikes, what its output is.

A rule returns the mark of the output (a list of them for several outputs), None where spikes end by nature (a layer's
currents, a sum with real values), or raises `Lost` where the result could be spikes but is not known to be. An operator
without a rule loses the mark too. Losses are reported by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from retable.bench.accountant.call import Call
from retable.bench.accountant.carry import Lost, Marks, axis_kept, broadcast, only
from retable.bench.accountant.marks import Mark
from retable.bench.accountant.values import VALUE_RULES

Rule = Callable[[Call], Marks]


def travel(call: Call) -> Marks:
    """The marks of the outputs of a call that has run and took at least one marked tensor; raises Lost."""
    rule = RULES.get(call.name)
    if rule is None or call.namespace not in ("aten", "retable"):
        raise Lost
    if call.writes and call.name in REORDERING:  # a tensor that changes its own shape
        raise Lost
    return rule(call)


def _same_order(call: Call) -> Marks:
    mark = only(call)
    if call.out.dtype != call["self"].dtype:  # the bits read as another type
        raise Lost
    return mark


def _permuted(call: Call) -> Marks:
    mark, shape = only(call), call["self"].shape
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
    mark, shape = only(call), call["self"].shape
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
            marks.append(axis_kept(mark, shape, out.shape, -1 if out.dim() < len(shape) and place[0] > dim else 0))
    return marks


def _indexed(call: Call) -> Marks:
    mark, shape = only(call), call["self"].shape
    place = mark.place(shape)
    first = next((i for i, index in enumerate(call["indices"]) if index is not None), 0)
    if place is None or place[0] >= first:
        return mark.timeless()
    return axis_kept(mark, shape, call.out.shape)


def _masked_select(call: Call) -> Marks:
    return only(call).timeless()


def _repeated(call: Call) -> Marks:
    mark, before, after = only(call), call["self"].shape, call.out.shape
    return axis_kept(mark, before, after, len(after) - len(before))


def _turned(call: Call) -> Marks:
    """flip, roll: time is lost where its axis is turned."""
    mark, shape = only(call), call["self"].shape
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
    return axis_kept(union, tensors[0].shape, out) if len({mark.steps for mark in known}) == 1 else union.timeless()


def _pooled(call: Call) -> Marks:
    """The largest of spikes is one of them; so is a repeated one."""
    source = "self" if call.has("self") else "input"
    mark = axis_kept(only(call, source), call[source].shape, next(call.outputs()).shape)
    return [mark] + [None] * (len(list(call.outputs())) - 1)


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
    return broadcast(call, mark, call["src"])


def _ends(call: Call) -> Marks:
    return None


_SHAPED = "view _unsafe_view reshape _reshape_alias unsqueeze squeeze flatten unflatten clone contiguous alias detach lift_fresh"
_ENDING = (
    "convolution _convolution mm bmm addmm baddbmm addmv mv dot linear matmul native_batch_norm cudnn_batch_norm "
    "_native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update batch_norm native_layer_norm "
    "native_group_norm _fused_rms_norm _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable _local_scalar_dense is_nonzero "
    "equal any all argmax argmin isnan isfinite isinf count_nonzero nonzero zero zeros_like ones_like empty_like full_like "
    "rand_like randn_like new_empty new_zeros new_ones new_full fill sym_size sym_numel sym_stride "
    "integrate_and_fire elastic spikes selective_scan ssd_scan ssd_step selective_state_update causal_conv1d "
    "causal_conv1d_step neighbour_sum"
)

SAME_ORDER = frozenset(_SHAPED.split())
REORDERING = frozenset((*SAME_ORDER, "permute", "transpose", "t", "numpy_T"))
"""Operators whose output holds the elements of `self`, each once."""

RULES: dict[str, Rule] = {
    **VALUE_RULES,
    **dict.fromkeys(_SHAPED.split(), _same_order),
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
    "copy": _copied,
    **dict.fromkeys(_ENDING.split(), _ends),
}
