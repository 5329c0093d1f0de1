"""The observer: it turns the calls of a model into a census.

It also follows currents: which layer's outputs a tensor was made of, so that neurons know whose currents they integrate.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.bench.accountant.call import Call, Meeting
from retable.bench.accountant.carry import expand
from retable.bench.accountant.census import (
    Beside,
    Census,
    Form,
    Geometry,
    Layer,
    Neurons,
    Operand,
    Patches,
    Synapses,
)
from retable.bench.accountant.formulas import FREE
from retable.bench.accountant.marks import Mark, leaks, neuron_spec
from retable.bench.accountant.tally import Tally
from retable.bench.accountant.work import Work

_MOVES = FREE | frozenset(("clone", "_to_copy", "copy", "contiguous", "cat", "stack", "repeat"))
_NORMS = (
    "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update"
)


def form_of(mark: Mark | None) -> Form:
    """What a tensor holds, by its mark."""
    if mark is None:
        return "real"
    if mark.scale is None:
        return "signed"
    if mark.scale != 1:
        return "graded"
    if mark.low < 0:
        return "signed"
    return "binary" if mark.high <= 1 else "integers"


@dataclass(frozen=True)
class Current:
    """What a tensor was made of: the outputs of `layer`, nothing computed since where `direct`, over so many steps."""

    layer: Synapses
    direct: bool
    steps: int


class Observer:
    """`see` every operator that was counted, `fired` every neuron, `pass_on` everything else.

    `magnitudes` sums the |values| of real inputs too; `tile` counts the patches that a crossbar of so many input channels
    sees. Both cost a pass over the inputs.
    """

    def __init__(self, magnitudes: bool = False, tile: int | None = None) -> None:
        self._magnitudes, self._tile = magnitudes, tile
        self._layers: dict[tuple[Any, ...], Layer] = {}
        self._origins: dict[int, tuple[weakref.ref[Tensor], Current]] = {}
        """By id, which the weak reference keeps honest."""
        self._order: dict[int, int] = {}
        self._unseen = 0

    def census(self, samples: int, batches: int) -> Census:
        return Census(tuple(self._layers.values()), samples, max(1, batches), self._unseen)

    def pass_on(self, call: Call) -> None:
        """Outputs are made of the currents that the inputs are made of, the latest of them."""
        if not self._origins:
            return
        found = [origin for tensor in call.inputs if (origin := self._origin(tensor)) is not None]
        if found:
            latest = max(found, key=lambda origin: self._order[id(origin.layer)])
            steps = 1 if _ends_time(call, latest.steps) else latest.steps
            current = Current(latest.layer, latest.direct and call.name in _MOVES, steps)
            for out in call.outputs():
                self._follow(out, current)

    def see(self, path: str, call: Call, work: Work) -> None:
        if call.meetings:
            layer = None
            for place, meeting in enumerate(call.meetings):
                layer = self._meet(path, call, meeting, place)
            if layer is not None:
                for out in call.outputs():
                    self._follow(out, Current(layer, True, layer.steps_marked))
            return
        self.pass_on(call)
        self._unseen += work.dense
        kind = _BESIDE.get(call.name)
        if kind is not None:
            self._beside(path, call, kind)

    def fired(self, path: str, call: Call, found: Tally) -> None:
        """Neurons that ran: `found` tallies their spikes, the first output."""
        spikes = next(call.outputs())
        current = self._origin(call["x"])
        source = None if current is None else current.layer
        if source is None and call.name == "spikes":  # a coding of inputs, no neurons
            return
        key = path, call.title, id(source), *spikes.shape[2:]  # one module may run several neurons
        neurons = self._layers.setdefault(key, _neurons(path, call))
        assert isinstance(neurons, Neurons)
        neurons.calls += 1
        neurons.steps = max(neurons.steps, len(spikes))
        neurons.updates += spikes.numel()
        neurons.events += round(float(found.events.sum()))
        neurons.spikes += round(float(found.accumulates.sum()))
        if current is not None:
            neurons.source, neurons.direct, current.layer.neurons = source, current.direct, neurons

    def _origin(self, tensor: Tensor) -> Current | None:
        found = self._origins.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def _follow(self, tensor: Tensor, current: Current) -> None:
        key, origins = id(tensor), self._origins
        origins[key] = weakref.ref(tensor, lambda _: origins.pop(key, None)), current

    def _meet(self, path: str, call: Call, meeting: Meeting, place: int) -> Synapses:
        shape = _geometry(call, meeting)
        layer = self._layers.get((path, call.title, place, shape))
        if layer is None:
            layer = self._layers[path, call.title, place, shape] = Synapses(path, call.title, shape)
            self._order[id(layer)] = len(self._order)
        assert isinstance(layer, Synapses)
        work, x = meeting.work, meeting.left
        layer.calls += 1
        conv = shape.kind == "convolution"
        counted = conv or call.connected(meeting.weight) is not None
        layer.outputs += call.out.numel() if counted else work.dense // max(1, shape.channels_in)
        layer.whole += work.flop_mac + work.flop_spike
        layer.dense += work.dense
        layer.met_events += work.effective
        layer.met += work.ac
        layer.sides = meeting.sides
        self._enter(layer.input, call, x, meeting.seen)
        if meeting.right is not None:
            layer.other = layer.other or Operand()
            self._enter(layer.other, call, meeting.right, None)
        mark, current = call.mark(x), self._origin(x)
        if mark is None and current is not None:
            layer.steps_marked = max(layer.steps_marked, current.steps)
        if mark is not None:
            layer.steps_marked = max(layer.steps_marked, mark.steps)
            by_step = call.tally(x).total().accumulates
            if len(by_step) > 1:
                layer.spikes_by_step = _added(layer.spikes_by_step, by_step.tolist())
        if (
            self._tile is not None
            and shape.kind == "convolution"
            and shape.groups == 1
            and layer.input.form == "binary"
        ):
            layer.patches = _patches(call, x, self._tile, layer.patches)
        return layer

    def _enter(self, operand: Operand, call: Call, x: Tensor, seen: Tally | None) -> None:
        """Events of a real operand of a product are not counted: no rule asks for them."""
        mark = call.mark(x)
        found = call.tally(x).total() if mark is not None else seen
        events, spikes = (0, 0) if found is None else (round(float(n.sum())) for n in (found.events, found.accumulates))
        operand.add(form_of(mark), x.numel(), events, 0 if mark is None else spikes)
        if self._magnitudes and form_of(mark) not in ("binary", "integers") and not x.is_meta:
            operand.magnitude += float(x.detach().abs().sum(dtype=torch.float64))

    def _beside(self, path: str, call: Call, kind: str) -> None:
        entry = self._layers.setdefault((path, call.title, kind), Beside(path, kind))  # type: ignore[arg-type]
        assert isinstance(entry, Beside)
        out = next(call.outputs())
        x = call["self"] if call.has("self") else call["input"]
        if kind in ("add", "reduce") and (not out.is_floating_point() or not isinstance(x, Tensor)):
            return
        entry.calls += 1
        entry.elements += x.numel()
        entry.outputs += out.numel()
        entry.rows += x.shape[0] if x.dim() else 1
        if kind == "batch norm":
            entry.channels, entry.affine = x.shape[1], call["weight"] is not None
        elif kind in ("average pool", "max pool"):
            axes = next(n for n in (1, 2, 3) if f"{n}d" in call.name)
            sizes = expand(call["kernel_size"], axes) if call.has("kernel_size") else [1] * axes
            entry.window = max(entry.window, _product(sizes))
        elif kind == "add":
            spikes = _both_binary(call)
            entry.spikes = None if spikes is None or entry.spikes is None else entry.spikes + spikes


def _ends_time(call: Call, steps: int) -> bool:
    """Whether an operator takes the first axis, time, away: a sum, a mean, one step of it."""
    if steps == 1 or call.name not in ("sum", "mean", "select", "amax") or call["self"].shape[0] != steps:
        return False
    dims = call["dim"] if call.has("dim") else None
    axes = (
        range(call["self"].dim())
        if not isinstance(dims, int) and not dims
        else [dims]
        if isinstance(dims, int)
        else dims
    )
    return any(axis % call["self"].dim() == 0 for axis in axes)


def _product(sizes: list[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _added(mine: tuple[int, ...], new: list[float]) -> tuple[int, ...]:
    if mine and len(mine) != len(new):
        return mine
    return tuple(round(a + b) for a, b in zip(mine or (0,) * len(new), new, strict=True))


def _both_binary(call: Call) -> int | None:
    """The spikes of two binary operands of a sum, None where one of them is not."""
    a, b = call["self"], call["other"]
    if any(form_of(call.mark(x)) != "binary" for x in (a, b)):
        return None
    return sum(round(float(call.tally(x).total().events.sum())) for x in (a, b))


def _geometry(call: Call, meeting: Meeting) -> Geometry:
    x, weight, right = meeting.left, meeting.weight, meeting.right
    if right is not None:
        return Geometry("product", x.shape[-1], meeting.sides[0])
    assert weight is not None
    bias = next((call[name] for name in ("bias", "self") if call.has(name) and call[name] is not x), None)
    values = bias.numel() if isinstance(bias, Tensor) and call.name not in ("mm", "mv", "bmm", "dot") else 0
    if call.has("stride"):
        axes = x.dim() - 2
        stride = tuple(expand(call["stride"], axes))
        sizes = x.shape[1], call.out.shape[1], tuple(weight.shape[2:]), stride, call["groups"]
        return Geometry("convolution", *sizes, weight.numel(), values, weight.element_size())
    into, out = (x.shape[-1], weight.shape[-1]) if meeting.on_left else (x.shape[-2], weight.shape[-2])
    return Geometry("linear", into, out, (), (), 1, weight.numel(), values, weight.element_size())


def _neurons(path: str, call: Call) -> Neurons:
    """Of a neuron of one's own nothing is known but its spikes: it is taken to leak and to reset."""
    if call.name == "integrate_and_fire":
        neuron = neuron_spec(call["neuron"])
        return Neurons(path, leaky=leaks(call["k"]), hard=neuron.v_reset is not None)
    return Neurons(path, leaky=True, hard=True)


def _patches(call: Call, x: Tensor, tile: int, before: Patches | None) -> Patches:
    """What crossbars of `tile` input channels see of binary spikes x (rows, C, H, W)."""
    weight = call["weight"]
    if x.dim() != 4 or call["transposed"]:
        return before or Patches(tile)
    groups = [part.sum(1, dtype=torch.float32) for part in x.detach().split(tile, 1)]
    sums = torch.stack(groups, 1)
    ones = sums.new_ones(len(groups), 1, *weight.shape[2:])
    seen = F.conv2d(sums, ones, None, call["stride"], call["padding"], call["dilation"], len(groups))
    rows = seen.sum((0, 2, 3), dtype=torch.float64).round().long().tolist()
    busy = seen > 0
    known = before or Patches(tile, rows=(0,) * len(rows))
    return Patches(
        tile,
        known.active + int(busy.sum()),
        tuple(a + b for a, b in zip(known.rows, rows, strict=True)),
        known.sites + int(busy.any(1).sum()),
    )


_BESIDE: dict[str, str] = {
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "average pool"),
    **dict.fromkeys(("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"), "max pool"),
    **dict.fromkeys(_NORMS.split(), "batch norm"),
    **dict.fromkeys(("add", "sub", "rsub"), "add"),
    **dict.fromkeys(("sum", "mean"), "reduce"),
}
