"""The accountant: a dispatch mode that sees every operator below autograd, with the module it runs in.

Only what runs inside the `with` block is seen, so the block holds forward passes, not training. A model under
`torch.compile` shows its compiled kernels, not its operators: count the eager one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from retable.bench.accountant import report
from retable.bench.accountant.call import Call, stored_elements
from retable.bench.accountant.carry import Lost
from retable.bench.accountant.formulas import FORMULAS, FREE, work_of
from retable.bench.accountant.fsvae import FsvaeCounter
from retable.bench.accountant.layers import Layers
from retable.bench.accountant.marks import NEURONS, Book, Mark, check_values, neuron_mark, storage_of
from retable.bench.accountant.neurobench import NeuroBenchCounter
from retable.bench.accountant.neurons import NeuronLedger
from retable.bench.accountant.observer import Observer
from retable.bench.accountant.pruned import Connections
from retable.bench.accountant.rules import Full, KerasSpiking, Literature, Model, Rule, SpikeSimEvent, resolve
from retable.bench.accountant.syops import SyopsCounter
from retable.bench.accountant.tally import tally
from retable.bench.accountant.travel import REORDERING, SAME_ORDER, travel
from retable.bench.accountant.unmarked import Suspects
from retable.bench.accountant.work import Work
from retable.bench.errors import BenchError

COUNTERS: dict[str, Callable[[nn.Module, Book], Any]] = {
    "syops": SyopsCounter,
    "neurobench": NeuroBenchCounter,
    "fsvae": FsvaeCounter,
}
"""Rules that are read off module calls."""


class Accountant:
    """`with Accountant(model, rules=...) as accountant: model(x)`, over many batches; then `accountant.result(samples)`.

    Counts add up over blocks. `rules` are names or `Rule`s; `full` and `literature` are read off the operators, `syops`,
    `neurobench` and `fsvae` off module calls. Raises UnknownNameError for a rule that does not exist.
    """

    def __init__(self, model: nn.Module, rules: Sequence[str | Rule] = ("full", "literature")) -> None:
        self._rules = resolve(rules)
        self._model, self._book = model, Book()
        self._rows: dict[tuple[str, str], Work] = {}
        self._neurons: dict[str, NeuronLedger] = {}
        self._uncounted: dict[tuple[str, str], list[int]] = {}
        self._lost: dict[tuple[str, str], int] = {}
        self._calls = self._elements = 0
        self._first: tuple[str, str] | None = None
        self._first_rows, self._steps = 0, 1
        self._connections = Connections()
        self._counters = {name: COUNTERS[name](model, self._book) for name in self._rules if name in COUNTERS}
        self._suspects = Suspects()
        self._observer = _observer(self._rules)
        self._layers = Layers(model, self._finished if self._counters else None)
        self._met: dict[str, int] = {}
        """Products of the call that runs, by module, whose input is not zero."""
        self._mode: _Mode | None = None
        self._paused = False

    def __enter__(self) -> Accountant:
        if self._mode is not None:
            raise BenchError("this accountant is in use already; a block ends before the next one begins")
        self._weights = {storage_of(tensor) for tensor in self._model.parameters()}
        self._layers.attach()
        self._fast_attention = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # one fused operator would hide its products
        self._mode = _Mode(self._see)
        self._mode.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        assert self._mode is not None
        self._mode.__exit__(*exception)
        self._mode = None
        torch.backends.mha.set_fastpath_enabled(self._fast_attention)
        self._layers.detach()

    def mark(self, tensor: Tensor, low: int = 0, high: int = 1, steps: int = 1) -> Tensor:
        """Say that an input is spikes (event frames), integers low ... high over `steps` time steps of its first axis.

        Returns the tensor. Raises ValueError where its values or its first axis say otherwise.
        """
        with self.pause():
            check_values(tensor, Mark(low, high))
        if steps < 1 or (steps > 1 and (not tensor.dim() or tensor.shape[0] % steps)):
            raise ValueError(f"steps must divide the first axis of the tensor {tuple(tensor.shape)}, not be {steps}")
        self._book.mark(tensor, Mark(low, high, steps=steps))
        return tensor

    def result(self, samples: int) -> report.Account:
        """The account of all blocks so far, over that many samples. Raises BenchError where there was nothing to count."""
        if samples < 1:
            raise BenchError(f"samples must be at least 1, not {samples}")
        if not self._rows:
            raise BenchError("nothing was counted: call the model inside the accountant's block")
        rows = tuple(report.Row(layer, operator, work) for (layer, operator), work in self._rows.items())
        total = Work()
        for row in rows:
            total += row.work
        neurons = tuple(seen for ledger in self._neurons.values() if (seen := ledger.row()) is not None)
        calls, elements = (sum(value[i] for value in self._uncounted.values()) for i in (0, 1))
        first = None if self._first is None else report.First(*self._first, self._first_rows, self._steps)
        shares = {"calls": calls / max(1, self._calls), "elements": elements / max(1, self._elements)}
        figures: dict[str, dict[str, report.Figure]] = {}
        census = None if self._observer is None else self._observer.census(samples, self._layers.model_calls)
        for name, rule in self._rules.items():
            if name in self._counters:
                figures[name] = self._counters[name].figures(rule, samples)
                continue
            if isinstance(rule, Full):
                found = report.full_figures(rule, total, sum(row.spikes for row in neurons), samples)
            elif isinstance(rule, Literature):
                found = report.literature_figures(rule, total, first, rows, samples)
            else:
                assert isinstance(rule, Model)
                assert census is not None
                found = rule.figures(census)
            figures[name] = report.bounded(found, shares["elements"])
        return report.Account(
            samples=samples,
            rows=rows,
            neurons=neurons,
            uncounted=tuple(report.Uncounted(name, at, *value) for (name, at), value in self._uncounted.items()),
            uncounted_share=shares,
            unmarked=tuple(
                report.Unmarked(*key, n / max(1, total.dense)) for key, n in self._suspects.products.items()
            ),
            lost_marks=tuple(report.LostMark(name, at, n) for (name, at), n in self._lost.items()),
            figures=figures,
            census=census,
            shapes_only=any(tensor.is_meta for tensor in self._model.parameters()),
            details={
                **{name: counter.details(samples) for name, counter in self._counters.items()},
                **{name: rule.absences for name, rule in self._rules.items() if isinstance(rule, Model)},
            },
        )

    def _finished(self, module: nn.Module, inputs: tuple[Any, ...], output: Any, fired: bool) -> None:
        met = self._met.pop(self._layers.path_of(module), 0)
        with self.pause(), torch.no_grad():
            for counter in self._counters.values():
                counter.finished(module, inputs, output, fired, met)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What runs inside is not the model's, and is not counted."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _see(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operator and enter it."""
        if self._paused:
            return func(*args, **kwargs)
        call = Call(func, args, kwargs, self._book, self._connections.of)
        if call.namespace not in ("aten", "retable") and _is_query(func):
            return func(*args, **kwargs)
        spiking = any(self._book.of(tensor) is not None for tensor in call.inputs)
        if call.writes:
            return self._run_writing(call, args, kwargs, spiking)
        call.out = func(*args, **kwargs)
        self._connections.follow(call)
        if spiking:
            self._set(call, self._marks(call))
        if call.name in FREE:
            if self._observer is not None:
                self._observer.pass_on(call)
            return call.out
        if call.namespace == "retable" and call.name in NEURONS:
            self._spikes(call)
        self._enter(call, self._work(call))
        return call.out

    def _run_writing(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], spiking: bool) -> Any:
        """What is written to is counted before, and loses its marks, its views' and its bases' too."""
        written = list(call.written())
        call.out = written[0] if written else None
        work = self._work(call)
        marks = self._marks(call) if spiking else []
        call.out = call.func(*args, **kwargs)
        for tensor in written:
            self._book.written(tensor)
        self._set(call, marks)
        self._enter(call, work)
        return call.out

    def _marks(self, call: Call) -> list[Mark | None]:
        try:
            found = travel(call)
        except Lost:
            if any(out.is_floating_point() or out.dtype == torch.bool for out in call.outputs()):
                key = call.title, self._layers.path
                self._lost[key] = self._lost.get(key, 0) + 1
            return []
        if found is None:
            return []
        return found if isinstance(found, list) else [found] * len(list(call.outputs()))

    def _set(self, call: Call, marks: list[Mark | None]) -> None:
        same, ordered = (call["self"] if call.name in REORDERING else None), call.name in SAME_ORDER
        for out, mark in zip(call.outputs(), marks, strict=False):
            if mark is not None:
                self._book.mark(out, mark, same, ordered)

    def _spikes(self, call: Call) -> None:
        """A neuron: mark its output and take its statistics. Output that is not finite is no spikes."""
        self._layers.fire()
        spikes = next(call.outputs())
        steps = int(call["steps"]) if call.name == "spikes" else len(spikes)
        if self._steps == 1:
            self._steps = steps
        mark = neuron_mark(call.name, call.__getitem__)
        if mark is None:
            return
        if call.name == "spikes":
            check_values(spikes, mark)
        self._book.mark(spikes, Mark(mark.low, mark.high, mark.scale, steps))
        sums = spikes.sum() if mark.low < 0 or mark.high > 1 else tally(spikes, self._book).accumulates
        if not bool(sums.isfinite().all()):
            self._book.unmark(spikes)
            key = f"{call.title} (not finite)", self._layers.path
            self._lost[key] = self._lost.get(key, 0) + 1
            return
        ledger = self._neurons.setdefault(self._layers.path, NeuronLedger(self._layers.path, mark))
        ledger.add(spikes, self._book)
        if self._observer is not None:
            self._observer.fired(self._layers.path, call, tally(spikes, self._book).total())

    def _is_weight(self, value: Any) -> bool:
        return isinstance(value, Tensor) and storage_of(value) in self._weights

    def _work(self, call: Call) -> Work | None:
        return None if call.name in FREE else work_of(call, self._is_weight)

    def _enter(self, call: Call, work: Work | None) -> None:
        if call.name in FREE:
            return
        if call.meetings:
            self._suspects.look(self._layers.path, call)
        if self._observer is not None:
            self._observer.see(self._layers.path, call, work or Work())
        outputs = list(call.outputs())
        elements = sum(out.numel() for out in outputs)
        self._calls += 1
        self._elements += elements
        key = self._layers.path, call.title
        if work is None:
            value = self._uncounted.setdefault((call.title, self._layers.path), [0, 0])
            value[0] += 1
            value[1] += elements
            work = Work()
        work.calls = 1
        work.read = sum(stored_elements(tensor) * tensor.element_size() for tensor in call.inputs)
        work.written = sum(tensor.numel() * tensor.element_size() for tensor in outputs)
        self._rows.setdefault(key, Work()).__iadd__(work)
        if self._counters and work.effective:
            self._met[key[0]] = self._met.get(key[0], 0) + work.effective
        if work.flop_mac and self._first in (None, key):
            self._first = key
            self._first_rows += outputs[0].shape[0]


def _observer(rules: dict[str, Rule]) -> Observer | None:
    """What the energy models among the rules need to see; None where there is none."""
    models = [rule for rule in rules.values() if isinstance(rule, Model)]
    if not models:
        return None
    tiles = {rule.crossbar for rule in models if isinstance(rule, SpikeSimEvent)}
    return Observer(any(isinstance(rule, KerasSpiking) for rule in models), max(tiles, default=None))


@cache
def _is_query(func: Any) -> bool:
    return str(func._schema.name).startswith(("prim::", "profiler::"))


@cache
def _composite(func: Any) -> bool:
    """An operator that torch itself makes of others, and that has no rule of its own."""
    _, _, name = func._schema.name.partition("::")
    ruled = name in FREE or name in FORMULAS
    return not ruled and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


class _Mode(TorchDispatchMode):
    """Hands every operator to `see`; composite ones, which only inference mode shows, in parts."""

    def __init__(self, see: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self._see = see

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _composite(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        return self._see(func, args, kwargs)
