"""Rules of travelling marks that change values: sums, products, averages, masks and clipping of spikes, where exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from retable.bench.accountant.call import Call
from retable.bench.accountant.carry import Lost, Marks, axis_kept, broadcast, expand, number, only
from retable.bench.accountant.marks import Mark


def _cast(call: Call) -> Marks:
    mark = only(call)
    if call.out.dtype == torch.bool:
        return replace(mark, low=0, high=1, scale=1.0)
    if call.out.is_floating_point() or mark.scale == 1:
        return mark
    raise Lost


def _averaged(call: Call) -> Marks:
    """Windows of n spikes: integers up to n times larger, scaled by 1 / n; only where all windows divide by the same n."""
    mark, before, after = only(call), call["self"].shape, call.out.shape
    n = _window(call)
    if n is None or mark.scale is None:
        raise Lost
    mark = replace(mark, low=mark.low * n, high=mark.high * n, scale=mark.scale / n)
    return axis_kept(mark, before, after)


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


def _summed(call: Call) -> Marks:
    mark, shape = only(call), call["self"].shape
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
    return axis_kept(mark, shape, call.out.shape, 0 if keepdim else -sum(axis < place[0] for axis in gone))


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
        return broadcast(call, _scaled(only(call), 1 / c), a)
    if first is not None and second is not None:
        corners = [x * y for x in (first.low, first.high) for y in (second.low, second.high)]
        scale = None if first.scale is None or second.scale is None else first.scale * second.scale
        if scale is None and max(map(abs, corners)) > 1:
            raise Lost
        return broadcast(call, Mark(min(corners), max(corners), scale), a, b)
    mark, spikes, other = (first, a, b) if first is not None else (second, b, a)
    assert mark is not None
    if isinstance(other, Tensor) and other.dtype == torch.bool:
        return broadcast(call, replace(mark, low=min(mark.low, 0), high=max(mark.high, 0)), spikes)
    c = number(other)
    return None if c is None else broadcast(call, _scaled(mark, c), spikes)


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
        return broadcast(call, replace(first, low=first.low + second.low, high=first.high + second.high), a, b)
    c = number(b if second is None else a)
    if c is None:
        return None  # a sum with real values is a current
    mark = _shifted(first, c * sign) if first is not None else _shifted(second or Mark(0, 0), c)
    return broadcast(call, mark, a, b)


def _as_mask(call: Call) -> Marks:
    sources = [call[name] for name in ("self", "other") if call.has(name)]
    return broadcast(call, Mark(0, 1), *sources)


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
    return broadcast(call, replace(known[0], low=min(bounds), high=max(bounds)), call[first], call[second])


def _clamped(call: Call) -> Marks:
    mark = only(call)
    if mark.scale is None:
        raise Lost
    names = ("min_val", "max_val") if call.name == "hardtanh" else ("min", "max")
    low, high = (call[name] if call.has(name) else None for name in names)
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
    mark = only(call)
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
    mark = only(call)
    return replace(axis_kept(mark, call["self"].shape, call.out.shape), low=min(mark.low, 0), high=max(mark.high, 0))


_MASKS = (
    "eq ne lt le gt ge logical_not logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not"
)

VALUE_RULES: dict[str, Callable[[Call], Marks]] = {
    **dict.fromkeys(("_to_copy", "to"), _cast),
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
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh", "relu"), _clamped),
    **dict.fromkeys(("neg", "abs", "sign", "sgn", "round", "floor", "ceil", "trunc"), _magnitude),
    "constant_pad_nd": _padded,
}
