"""The energy account: counts against brute force and by hand, what stays a spike, and figures that know their rule."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.accountant import Account, Accountant, costs
from bench.accountant.rules import Figure, Full, Literature, RuleMismatchError
from bench.accountant.tally import tally
from bench.errors import BenchError, UnknownNameError
from models.spiking.neurons import IF, ILIF, LIF, Elastic, Integrator
from models.ssm.conv import causal_conv1d, causal_conv1d_step, conv_state
from models.ssm.selective_scan import selective_scan
from models.ssm.ssd import ssd_scan, ssd_step

ALPHABETS = {(0, 1): [0, 1], (-1, 1): [-1, 0, 1], (0, 4): [0, 1, 2, 3, 4]}


class Lambda(nn.Module):
    """A function as a model."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def spikes(shape: tuple[int, ...], bounds: tuple[int, int], seed: int) -> Tensor:
    values = torch.tensor(ALPHABETS[bounds], dtype=torch.float32)
    return values[torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))]


def counted(
    function: Callable[..., Any], *inputs: Tensor, marked: tuple[int, int] | None = None, steps: int = 1, **more: Any
) -> Account:
    """The account of one call; with `marked` all inputs are spikes of those bounds."""
    model = function if isinstance(function, nn.Module) else Lambda(function)
    with torch.no_grad(), Accountant(model, **more) as accountant:
        if marked is not None:
            inputs = tuple(accountant.mark(x, *marked, steps=steps) for x in inputs)
        model(*inputs)
    return accountant.result(samples=1)


def full(account: Account, *names: str) -> tuple[float, ...]:
    return tuple(account.figure("full", name).value for name in names)


def row(account: Account, operator: str) -> Any:
    """The work of the only row of an operator."""
    (found,) = [row.work for row in account.rows if row.operator == operator]
    return found


# convolutions, matrix products, pooling: brute force


def conv_by_hand(x: np.ndarray, weight: tuple[int, ...], out: tuple[int, ...], options: tuple[int, ...]) -> np.ndarray:
    """(dense, effective, accumulates) by visiting every output, tap and channel."""
    stride, padding, dilation, groups = options
    share = weight[0] // groups
    total = np.zeros(3, dtype=np.int64)
    for n, co, *position in itertools.product(range(len(x)), range(weight[0]), *map(range, out)):
        for ci, *tap in itertools.product(range(weight[1]), *map(range, weight[2:])):
            at = [o * stride - padding + k * dilation for o, k in zip(position, tap, strict=True)]
            if all(0 <= i < size for i, size in zip(at, x.shape[2:], strict=True)):
                value = x[(n, co // share * weight[1] + ci, *at)]
                total += (1, int(value != 0), int(abs(value)))
    return total


@settings(max_examples=25, deadline=None)
@given(
    bounds=st.sampled_from(list(ALPHABETS)),
    axes=st.integers(1, 2),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_convolution_counts_what_loops_count(
    bounds: tuple[int, int], axes: int, kernel: int, stride: int, padding: int, dilation: int, groups: int, seed: int
) -> None:
    x = spikes((4, 2 * groups, 5, 6)[: 2 + axes], bounds, seed)
    layer = (nn.Conv1d, nn.Conv2d)[axes - 1](
        2 * groups, 2 * groups, kernel, stride, padding, dilation, groups, bias=False
    )
    out = tuple(layer(x).shape[2:])
    account = counted(layer, x, marked=bounds, steps=2)
    options = stride, padding, dilation, groups
    dense, effective, ac = conv_by_hand(x.numpy(), layer.weight.shape, out, options)
    assert full(account, "dense", "effective", "ac", "mac") == (dense, effective, ac, 0)
    halves = [conv_by_hand(half.numpy(), layer.weight.shape, out, options)[2] for half in x.split(2)]
    assert row(account, "aten.convolution").ac_by_step == tuple(halves)
    real = counted(layer, x)
    assert full(real, "dense", "effective", "ac", "mac") == (dense, effective, 0, dense)


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 2), (3, 2, 1)])
def test_transposed_convolution_leaves_out_what_is_cropped(stride: int, padding: int, groups: int) -> None:
    x = spikes((2, 4, 4, 4), (0, 1), 3)
    layer = nn.ConvTranspose2d(4, 6, 3, stride, padding, groups=groups, bias=False)
    ones = nn.ConvTranspose2d(4, 6, 3, stride, padding, groups=groups, bias=False)
    nn.init.ones_(ones.weight)
    account = counted(layer, x, marked=(0, 1))
    assert full(account, "ac", "dense") == (ones(x).sum().item(), ones(torch.ones_like(x)).sum().item())


@settings(max_examples=15, deadline=None)
@given(
    bounds=st.sampled_from(list(ALPHABETS)),
    shape=st.sampled_from([(4, 5), (4, 3, 5), (4, 2, 3, 5)]),
    seed=st.integers(0, 99),
)
def test_linear_counts_a_synapse_for_each_output(bounds: tuple[int, int], shape: tuple[int, ...], seed: int) -> None:
    x, layer = spikes(shape, bounds, seed), nn.Linear(5, 7)
    account = counted(layer, x, marked=bounds, steps=4)
    accumulates = int(x.abs().sum()) * 7
    outputs = math.prod(shape[:-1]) * 7
    assert full(account, "ac", "effective", "dense") == (accumulates, x.count_nonzero() * 7, x.numel() * 7)
    assert full(account, "add", "mac", "mul") == (outputs, 0, 0)  # the bias
    work = next(r.work for r in account.rows if r.work.dense)
    assert work.ac_by_step == tuple(int(step.abs().sum()) * 7 for step in x)


def products_by_hand(a: np.ndarray, b: np.ndarray, drives_left: bool) -> tuple[int, int]:
    """(effective, accumulates) of a (M, K) @ b (K, N), both spikes."""
    effective = accumulates = 0
    for m, k, n in itertools.product(range(a.shape[0]), range(a.shape[1]), range(b.shape[1])):
        if a[m, k] and b[k, n]:
            effective += 1
            accumulates += int(abs(a[m, k] if drives_left else b[k, n]))
    return effective, accumulates


@settings(max_examples=15, deadline=None)
@given(left=st.sampled_from(list(ALPHABETS)), right=st.sampled_from(list(ALPHABETS)), seed=st.integers(0, 99))
def test_attention_products_of_spikes_count_what_loops_count(
    left: tuple[int, int], right: tuple[int, int], seed: int
) -> None:
    q, k = spikes((2, 3, 4), left, seed), spikes((2, 5, 4), right, seed + 1)
    with torch.no_grad(), Accountant(nn.Identity()) as accountant:
        accountant.mark(q, *left, steps=2) @ accountant.mark(k, *right, steps=2).transpose(-2, -1)
    account = accountant.result(samples=1)
    drives_left = max(map(abs, left)) <= max(map(abs, right))
    hand = [products_by_hand(a.numpy(), b.T.numpy(), drives_left) for a, b in zip(q, k, strict=True)]
    assert full(account, "effective", "ac", "mac") == (*map(sum, zip(*hand, strict=True)), 0)
    assert row(account, "aten.bmm").ac_by_step == tuple(ac for _, ac in hand)


@pytest.mark.parametrize("bounds", ALPHABETS)
def test_attention_times_values_is_driven_by_its_spikes(bounds: tuple[int, int]) -> None:
    v, weights = spikes((2, 5, 4), bounds, 7), torch.rand(2, 3, 5) + 0.1
    with torch.no_grad(), Accountant(nn.Identity()) as accountant:
        weights @ accountant.mark(v, *bounds, steps=2)
    account = accountant.result(samples=1)
    assert full(account, "ac", "effective", "mac") == (v.abs().sum() * 3, v.count_nonzero() * 3, 0)
    assert row(account, "aten.bmm").ac_by_step == tuple(int(x.abs().sum()) * 3 for x in v)


@settings(max_examples=25, deadline=None)
@given(
    left=st.sampled_from(list(ALPHABETS)),
    right=st.sampled_from(list(ALPHABETS)),
    wide=st.booleans(),
    name=st.sampled_from(["add", "sub", "mul"]),
    seed=st.integers(0, 99),
)
def test_spikes_meet_element_by_element(
    left: tuple[int, int], right: tuple[int, int], wide: bool, name: str, seed: int
) -> None:
    a, b = spikes((4, 3, 5), left, seed), spikes((4, 1, 5) if wide else (4, 3, 5), right, seed + 1)
    with torch.no_grad(), Accountant(nn.Identity()) as accountant:
        getattr(torch, name)(accountant.mark(a, *left, steps=4), accountant.mark(b, *right, steps=4))
    work = row(accountant.result(samples=1), f"aten.{name}")
    drives_left = max(map(abs, left)) <= max(map(abs, right))
    both = [(x, y) for x, y in zip(a.flatten().tolist(), b.expand(4, 3, 5).flatten().tolist(), strict=True) if x and y]
    assert work.ac == sum(abs(x if drives_left else y) for x, y in both)
    assert sum(work.ac_by_step) == work.ac
    assert (work.add, work.mul, work.mac) == (0, 0, 0)


def test_spikes_added_to_a_current_cost_their_accumulates() -> None:
    x, current = spikes((4, 1, 5), (0, 4), 2), torch.rand(4, 3, 5)
    work = row(counted(lambda x: current + x, x, marked=(0, 4), steps=4), "aten.add")
    assert (work.ac, work.add) == (int(x.sum()) * 3, 0)
    assert work.ac_by_step == tuple(int(step.sum()) * 3 for step in x)


def test_two_shapes_of_one_tensor_are_counted_apart() -> None:
    x, weight = spikes((4, 2, 4, 4), (0, 4), 3), torch.rand(2, 2, 3, 3)
    with torch.no_grad(), Accountant(nn.Identity()) as accountant:
        marked = accountant.mark(x, 0, 4, steps=4)
        F.conv2d(marked, weight)
        F.conv2d(marked.view(4, 2, 2, 8), weight, padding=1)
    options = (1, 0, 1, 1), (1, 1, 1, 1)
    hand = conv_by_hand(x.numpy(), weight.shape, (2, 2), options[0])
    hand += conv_by_hand(x.view(4, 2, 2, 8).numpy(), weight.shape, (2, 8), options[1])
    assert full(accountant.result(samples=1), "dense", "effective", "ac") == tuple(hand)


def test_fused_attention_counts_as_its_three_steps() -> None:
    q, k, v = (spikes((1, 2, 6, 4), (0, 1), seed) for seed in range(3))
    fused = counted(F.scaled_dot_product_attention, q, k, v, marked=(0, 1))
    in_parts = counted(lambda q, k, v: (q @ k.mT * 0.5).softmax(-1) @ v, q, k, v, marked=(0, 1))
    names = ("dense", "effective", "ac", "mac", "add", "compare", "special")
    assert full(fused, *names) == full(in_parts, *names)


@settings(max_examples=15, deadline=None)
@given(
    bounds=st.sampled_from([(0, 1), (0, 4)]),
    kernel=st.integers(2, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
)
def test_pooling_counts_the_windows_that_see_an_element(
    bounds: tuple[int, int], kernel: int, stride: int, padding: int
) -> None:
    x = spikes((2, 3, 6, 5), bounds, kernel)
    seen = [
        x[..., rows, columns]
        for rows in windows(6, kernel, stride, padding)
        for columns in windows(5, kernel, stride, padding)
    ]
    taps, events, sums = (sum(int(f(w)) for w in seen) for f in (torch.numel, torch.count_nonzero, torch.sum))
    outputs = 6 * len(seen)
    pools = (lambda x: F.max_pool2d(x, kernel, stride, padding), lambda x: F.avg_pool2d(x, kernel, stride, padding))
    assert full(counted(pools[0], x, marked=bounds), "compare", "ac") == (events, 0)
    assert full(counted(pools[0], x), "compare") == (taps - outputs,)
    assert full(counted(pools[1], x, marked=bounds), "ac", "mul", "add") == (sums, 0, 0)
    assert full(counted(pools[1], x), "add", "mul") == (taps - outputs, outputs)


def windows(size: int, kernel: int, stride: int, padding: int) -> list[slice]:
    starts = range(-padding, size + padding - kernel + 1, stride)
    return [slice(max(0, start), start + kernel) for start in starts]


# neurons and scans: closed forms


def test_a_neuron_counts_its_updates_over_time() -> None:
    x = torch.rand(3, 2, 5) * 2
    assert full(counted(LIF(), x), "add", "mul", "compare", "mac", "ac") == (60, 30, 30, 0, 0)
    assert full(counted(LIF(v_reset=-0.1), x), "add") == (90,)
    assert full(counted(IF(), x), "add", "mul", "compare") == (30, 0, 30)
    assert full(counted(Integrator(), x), "add", "mul", "compare", "spikes") == (60, 30, 0, 0)
    ilif = ILIF()
    out = ilif(x)
    fired = int(out.count_nonzero())
    assert full(counted(ilif, x), "add", "mul", "compare", "spikes") == (60 + fired, 30, 120, out.sum())
    elastic = Elastic(3)
    out = elastic(x)
    account = counted(elastic, x)
    work = row(account, "retable.elastic")
    assert (work.add, work.mul, work.compare) == (30, 30, 60)
    assert full(account, "spikes") == (out.count_nonzero(),)


def test_scans_count_their_recurrence() -> None:
    b, d, length, n = 2, 3, 5, 4
    u, delta, A = torch.rand(b, d, length), torch.rand(b, d, length), -torch.rand(d, n)
    B, C, z = torch.rand(b, n, length), torch.rand(b, n, length), torch.rand(b, d, length)
    states, outputs = b * d * length * n, b * d * length
    account = counted(lambda u: selective_scan(u, delta, A, B, C), u)
    assert full(account, "mac", "mul", "special", "add") == (2 * states, 2 * states + outputs, states, 0)
    account = counted(lambda u: selective_scan(u, delta, A, B, C, torch.rand(d), z, delta_softplus=True), u)
    assert full(account, "mac", "special", "add") == (2 * states, states + 4 * outputs, 3 * outputs)
    x, dt, A = torch.rand(b, length, 3, 4), torch.rand(b, length, 3), -torch.rand(3)
    B, C = torch.rand(b, length, 1, n), torch.rand(b, length, 1, n)
    scan = row(counted(lambda x: ssd_scan(x, dt, A, B, C, chunk_size=5), x), "retable.ssd_scan")
    assert (scan.mac, scan.mul, scan.special) == (2 * x.numel() * n, x.numel() * (n + 1) + dt.numel(), dt.numel())
    state = torch.zeros(b, 3, 4, n)
    step = row(counted(lambda x: ssd_step(state, x, dt[:, 0], A, B[:, 0], C[:, 0]), x[:, 0]), "retable.ssd_step")
    assert step.mac * length == scan.mac
    assert step.special * length == scan.special


def test_causal_convolution_sees_no_padding() -> None:
    x, weight = spikes((2, 5, 3), (0, 1), 4), torch.rand(3, 4)
    met = int(sum(x[:, i].sum() * min(4, 5 - i) for i in range(5)))
    account = counted(lambda x: causal_conv1d(x, weight), x, marked=(0, 1))
    assert full(account, "ac", "effective", "dense", "mac") == (met, met, 2 * 3 * (1 + 2 + 3 + 4 + 4), 0)
    state = conv_state(2, 3, 4)
    account = counted(lambda x: causal_conv1d_step(x, state, weight), torch.ones(2, 3))
    assert full(account, "dense", "mac", "effective") == (24, 24, 6)  # three taps still see zeros


def test_a_state_space_layer_with_a_complex_state_is_uncounted() -> None:
    u, A = torch.rand(1, 2, 4), torch.complex(-torch.rand(2, 3), torch.rand(2, 3))
    B = C = torch.complex(torch.rand(2, 3), torch.rand(2, 3))
    account = counted(lambda u: selective_scan(u, torch.rand(1, 2, 4), A, B, C), u)
    assert [entry.operator for entry in account.uncounted] == ["retable.selective_scan"]


def test_normalisation_folds_or_not() -> None:
    layer, x = nn.BatchNorm2d(3).eval(), torch.rand(2, 3, 4, 4)
    assert full(counted(layer, x), "add", "mul", "energy") == (0, 0, 0)
    kept = counted(layer, x, rules=(Full(fold_batch_norm=False),))
    assert full(kept, "add", "mul") == (96, 96)
    assert full(kept, "energy") == (pytest.approx(96 * (0.9 + 3.7) * 1e-9),)


def test_bytes_are_read_and_written_once_an_operator() -> None:
    account = counted(nn.Linear(4, 3, bias=False), torch.rand(5, 4))
    assert full(account, "bytes_read", "bytes_written") == (4 * (20 + 12), 4 * 15)
    account = counted(lambda x: x + x.new_ones(1).expand(5, 4), torch.rand(5, 4))
    assert full(account, "bytes_read") == (4 * (20 + 1),)


# what stays a spike

TRAVELS: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda s: s.reshape(4 * 2, 6, 4, 4),
    "merged and back": lambda s: s.flatten(0, 1).unflatten(0, (4, 2)),
    "permute": lambda s: s.permute(1, 2, 0, 3, 4),
    "channels last": lambda s: s.flatten(0, 1).to(memory_format=torch.channels_last),
    "transpose": lambda s: s.transpose(0, 1).contiguous().flatten(0, 1),
    "tokens": lambda s: s.flatten(3).transpose(-1, -2).reshape(4, 2, 16, 2, 3).permute(0, 1, 3, 2, 4),
    "slice": lambda s: s[:, :, 1:5:2],
    "select": lambda s: s[:, 1],
    "chunk": lambda s: s.chunk(3, 2)[1],
    "index": lambda s: s[:, :, torch.tensor([0, 3, 3])],
    "repeat": lambda s: s.repeat(1, 2, 1, 1, 3),
    "expand": lambda s: s.unsqueeze(2).expand(-1, -1, 3, -1, -1, -1),
    "flip": lambda s: s.flip(-1),
    "cat": lambda s: torch.cat([s, s], 2),
    "stack": lambda s: torch.stack([s, s], 1),
    "pad": lambda s: F.pad(s, (1, 1, 0, 2)),
    "pad before time": lambda s: F.pad(s.transpose(0, 2), (0, 0, 0, 0, 0, 0, 0, 0, 1, 0)),
    "upsample": lambda s: F.interpolate(s.flatten(0, 1), scale_factor=2),
    "mask": lambda s: s * (torch.arange(4) > 1),
    "where": lambda s: torch.where(torch.arange(4) > 1, s, 0.0),
    "masked fill": lambda s: s.masked_fill(torch.arange(4) > 1, 0),
    "cast": lambda s: s.to(torch.float64).half(),
    "square": lambda s: s * s,
    "added": lambda s: s + s.flip(-1),
    "subtracted": lambda s: s - s.flip(-1),
    "scaled": lambda s: s * 0.125,
    "divided": lambda s: s / -3,
    "negated": lambda s: -s,
    "max pool": lambda s: F.max_pool2d(s.flatten(0, 1), 3, 2, 1),
    "average pool": lambda s: F.avg_pool2d(s.flatten(0, 1), 2),
    "average pool of 9": lambda s: F.avg_pool2d(s.flatten(0, 1), 3, 1, 1),
    "global pool": lambda s: F.adaptive_avg_pool2d(s.flatten(0, 1), 1),
    "mean": lambda s: s.mean((-1, -2)),
    "sum": lambda s: s.sum(2, keepdim=True),
    "clip": lambda s: s.clamp(0, 2),
    "maximum": lambda s: torch.maximum(s, s.flip(-1)),
    "in place": lambda s: s.clone().add_(s),
}


@pytest.mark.parametrize("bounds", ALPHABETS)
@pytest.mark.parametrize("name", TRAVELS)
def test_a_mark_says_what_the_values_are(name: str, bounds: tuple[int, int]) -> None:
    x = spikes((4, 2, 6, 4, 4), bounds, 5)
    with torch.no_grad(), Accountant(nn.Identity()) as accountant:
        out = TRAVELS[name](accountant.mark(x, *bounds, steps=4))
    book = accountant._book
    mark = book.of(out)
    assert mark is not None
    integers = out.double() / mark.scale
    assert torch.allclose(integers, integers.round(), atol=1e-5)
    integers = integers.round()
    assert mark.low <= int(integers.min())
    assert int(integers.max()) <= mark.high
    # the same of one step alone is that step's share: zero the others
    found = tally(out, book)
    for t in range(4):
        alone = torch.zeros_like(x)
        alone[t] = x[t]
        share = (TRAVELS[name](alone).double() / mark.scale).round()
        assert found.accumulates[t] == share.abs().sum()
        assert found.events[t] == share.count_nonzero()


def test_masks_of_spikes_are_spikes() -> None:
    x = spikes((4, 8), (0, 1), 1)
    with Accountant(nn.Identity()) as accountant:
        s = accountant.mark(x, steps=4)
        masks = [s > 0, (s > 0) & (s == 1), ~(s > 0), 1 - s, (s > 0).float()]
    for mask in masks:
        assert accountant._book.of(mask) is not None
        assert tally(mask, accountant._book).accumulates.tolist() == mask.sum(1).tolist()


def test_a_loop_over_time_is_time_when_stacked() -> None:
    neuron, x = LIF(), torch.rand(5, 2, 3) * 3
    model = Lambda(lambda x: torch.stack([neuron(x_t[None])[0] for x_t in x]) @ torch.ones(3, 2))
    account = counted(model, x)
    out = torch.cat([neuron(x_t[None]) for x_t in x])
    assert row(account, "aten.mm").ac_by_step == tuple(int(step.sum()) * 2 for step in out)


def test_sums_with_real_values_are_currents_and_not_reported() -> None:
    x, real = spikes((4, 8), (0, 1), 1), torch.rand(4, 8)
    layer = nn.Linear(8, 2, bias=False)
    account = counted(Lambda(lambda x: layer(x + real), layer=layer), x, marked=(0, 1))
    assert full(account, "mac", "ac") == (64, x.sum())  # the layer, and the spikes added to the current
    assert account.lost_marks == ()


def test_an_unknown_operation_loses_the_mark_and_is_named() -> None:
    x, layer = spikes((4, 8), (0, 1), 1), nn.Linear(8, 2, bias=False)
    account = counted(Lambda(lambda x: layer(x.cumsum(1)), layer=layer), x, marked=(0, 1))
    assert [(lost.operator, lost.layer, lost.calls) for lost in account.lost_marks] == [("aten.cumsum", "", 1)]
    assert full(account, "mac", "ac") == (64, 0)
    assert account.as_dict()["lost_marks"] == [{"operator": "aten.cumsum", "layer": "", "calls": 1}]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.mul_(torch.rand(8)),
        lambda s: s[1:].add_(0.5),
        lambda s: s.view(-1)[:3].copy_(torch.rand(3)),
        lambda s: torch.add(s, 0.25, out=s),
        lambda s: nn.init.uniform_(s),
    ],
)
def test_a_write_voids_the_marks_of_everything_that_shares_the_memory(change: Callable[[Tensor], Any]) -> None:
    x = spikes((4, 8), (0, 1), 1)
    with torch.inference_mode(), Accountant(nn.Identity()) as accountant:
        s = accountant.mark(x.clone(), steps=4)
        view, copy = s.t(), s.clone()
        change(s)
        assert accountant._book.of(s) is None
        assert accountant._book.of(view) is None
        assert accountant._book.of(copy) is not None


def test_bits_read_as_another_type_are_no_spikes() -> None:
    with Accountant(nn.Identity()) as accountant:
        bits = accountant.mark(spikes((4, 8), (0, 1), 1)).view(torch.int32)
    assert accountant._book.of(bits) is None


def test_counts_are_not_carried_over_a_write_to_a_copy() -> None:
    x, layer = spikes((4, 8), (0, 1), 1), nn.Linear(8, 2, bias=False)
    with torch.no_grad(), Accountant(layer) as accountant:
        s = accountant.mark(x, steps=4)
        layer(s)  # counts s, which its copy shares
        layer(s.clone().add_(s))
    assert accountant.result(samples=1).figure("full", "ac").value == 2 * (x.sum() + 2 * x.sum()) + x.sum()


def test_spikes_written_into_a_part_of_a_tensor_are_reported() -> None:
    x = spikes((4, 8), (0, 1), 1)
    with Accountant(nn.Identity()) as accountant:
        buffer = torch.zeros(5, 8)
        buffer[1:] = accountant.mark(x)
    assert [lost.operator for lost in accountant.result(samples=1).lost_marks] == ["aten.copy_"]


def test_neurons_that_output_nan_are_not_spikes() -> None:
    x = torch.rand(2, 1, 3)
    x[0, 0, 1] = math.nan
    layer = nn.Linear(3, 2, bias=False)
    account = counted(nn.Sequential(LIF(), layer), x)
    assert [lost.operator for lost in account.lost_marks] == ["retable.integrate_and_fire (not finite)"]
    assert full(account, "mac", "ac") == (12, 0)


def test_an_input_is_marked_only_if_it_is_what_is_said() -> None:
    accountant = Accountant(nn.Identity())
    with pytest.raises(ValueError, match="integers from 0 to 1"):
        accountant.mark(torch.tensor([0.5]))
    with pytest.raises(ValueError, match="integers from 0 to 1"):
        accountant.mark(torch.tensor([2.0]))
    with pytest.raises(ValueError, match="steps must divide"):
        accountant.mark(torch.zeros(3), steps=2)


# the account


class SpikingNet(nn.Module):
    """conv - bn - LIF - average pool - grouped conv - bn - LIF - linear over T equal steps."""

    def __init__(self, T: int = 4, repeat_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.T, self.repeat_first = T, repeat_first
        self.conv1, self.bn1, self.act1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), LIF()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm2d(6), LIF()
        self.fc = nn.Linear(6 * 2 * 2, 5)
        nn.init.constant_(self.bn1.bias, 1.5)
        nn.init.constant_(self.bn2.bias, 1.0)
        self.eval()

    def over_time(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def forward(self, x: Tensor) -> Tensor:
        steps = lambda x: x.unsqueeze(0).repeat(self.T, *[1] * x.dim())  # noqa: E731
        if self.repeat_first:
            x = self.over_time(self.bn1, self.over_time(self.conv1, steps(x)))
        else:
            x = steps(self.bn1(self.conv1(x)))
        x = self.act2(self.over_time(self.bn2, self.over_time(self.conv2, self.pool(self.act1(x)))))
        return self.fc(x.flatten(2)).mean(0)

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_samples_batches_and_gradients_do_not_change_a_figure() -> None:
    net, x = SpikingNet(), images(6)
    accounts = []
    for batches in ([x], x.split(2), x.split([1, 5]), [x.flip(0)]):
        with torch.no_grad(), Accountant(net) as accountant:
            for batch in batches:
                net(batch)
        accounts.append(accountant.result(samples=6))
    with Accountant(net) as accountant:
        net(x)
    accounts.append(accountant.result(samples=6))
    with torch.inference_mode(), Accountant(net) as accountant:
        net(x)
    accounts.append(accountant.result(samples=6))
    assert accounts[0].neurons[0].spikes > 0
    for other in accounts[1:]:
        for rule, named in accounts[0].figures.items():
            for name, figure in named.items():
                if not name.startswith("bytes"):  # weights are read once a batch
                    assert other.figure(rule, name).value == pytest.approx(figure.value, rel=1e-12), (rule, name)
        assert [(n.layer, n.rate, n.silent) for n in other.neurons] == [
            (n.layer, n.rate, n.silent) for n in accounts[0].neurons
        ]


def test_the_literature_rule_is_rate_times_flop() -> None:
    net, x = SpikingNet(), images(3)
    with torch.no_grad(), Accountant(net) as accountant:
        net(x)
    account = accountant.result(samples=3)
    with torch.no_grad():
        s1 = net.act1(net.over_time(net.bn1, net.over_time(net.conv1, x.unsqueeze(0).repeat(4, 1, 1, 1, 1))))
        pooled = net.pool(s1)
        s2 = net.act2(net.over_time(net.bn2, net.over_time(net.conv2, pooled)))
    conv1, conv2, fc = 9 * 2 * 4 * 64, 9 * 2 * 6 * 4, 24 * 5
    sop = float(pooled.mean()) * 4 * conv2 + float(s2.mean()) * 4 * fc
    assert account.figure("literature", "mac").value == 4 * conv1
    assert account.figure("literature", "sop").value == pytest.approx(sop, rel=1e-6)
    assert account.figure("literature", "flop").value == 4 * (conv1 + conv2 + fc)
    assert account.figure("literature", "energy").value == pytest.approx((4.6 * 4 * conv1 + 0.9 * sop) * 1e-9, rel=1e-6)
    layers = account.layers("literature")
    assert layers["conv1"].value == pytest.approx(4.6 * 4 * conv1 * 1e-9)
    assert sum(layers.values()) / account.figure("literature", "energy") == pytest.approx(1)


@pytest.mark.parametrize("repeat_first", [True, False])
def test_the_first_layer_counts_once_or_every_step_however_it_was_run(repeat_first: bool) -> None:
    net, x = SpikingNet(repeat_first=repeat_first), images(3)
    once = 9 * 2 * 4 * 64
    for option, steps in ((True, 4), (False, 1), (None, 4 if repeat_first else 1)):
        with torch.no_grad(), Accountant(net, rules=(Literature(first_layer_per_step=option),)) as accountant:
            net(x)
        assert accountant.result(samples=3).figure("literature", "mac").value == steps * once


def test_a_first_layer_in_a_loop_over_time_is_not_guessed_at() -> None:
    layer, neuron = nn.Linear(4, 3), LIF()
    model = Lambda(lambda x: [neuron(layer(x)[None]) for _ in range(4)], layer=layer, neuron=neuron)
    with pytest.raises(BenchError, match="first_layer_per_step: layer ran on 4 rows a sample"):
        counted(model, torch.rand(1, 4), rules=(Literature(first_layer_per_step=False),))
    assert counted(model, torch.rand(1, 4)).figure("literature", "mac").value == 4 * 12


def test_prices_are_those_of_the_table() -> None:
    net, x = SpikingNet(), images(2)
    energies = {}
    for rule in (Literature(), Literature(all_ac=True), Literature(costs="45nm-int8")):
        with torch.no_grad(), Accountant(net, rules=(rule,)) as accountant:
            net(x)
        account = accountant.result(samples=2)
        energies[str(rule)] = account.figure("literature", "energy").value
    mac, sop = (account.figure("literature", name).value for name in ("mac", "sop"))
    assert energies["literature"] == pytest.approx((4.6 * mac + 0.9 * sop) * 1e-9)
    assert energies["literature(all_ac=True)"] == pytest.approx(0.9 * (mac + sop) * 1e-9)
    assert energies["literature(costs=45nm-int8)"] == pytest.approx((0.23 * mac + 0.03 * sop) * 1e-9)


def test_a_module_called_twice_counts_twice() -> None:
    layer, x = nn.Linear(4, 4, bias=False), spikes((2, 4), (0, 1), 1)
    once = counted(layer, x, marked=(0, 1))
    twice = counted(Lambda(lambda x: (layer(x), layer(x)), layer=layer), x, marked=(0, 1))
    assert full(twice, "ac", "dense") == tuple(2 * v for v in full(once, "ac", "dense"))
    assert [(r.layer, r.work.calls) for r in twice.rows] == [("layer", 2)]


def test_neurons_report_rates_silence_and_saturation() -> None:
    x = torch.tensor([[0.0, 9.0, 1.2], [0.0, 9.0, 0.0]])  # (samples, neurons): silent, always on, once
    account = counted(nn.Sequential(IF()), x.unsqueeze(0).repeat(2, 1, 1))
    (neurons,) = account.neurons
    assert (neurons.layer, neurons.neurons, neurons.steps, neurons.spikes) == ("0", 3, 2, 6)
    assert (neurons.rate, neurons.nonzero, neurons.sparsity) == (0.5, 0.5, 0.5)
    assert (neurons.silent, neurons.saturated) == (1 / 3, 1 / 3)
    assert neurons.rate_by_step == (0.5, 0.5)
    (levels,) = counted(nn.Sequential(ILIF()), torch.tensor([[[9.0, 0.0, 2.0]]])).neurons
    assert (levels.rate, levels.nonzero, levels.silent, levels.saturated, levels.high) == (2.0, 2 / 3, 1 / 3, 1 / 3, 4)


def test_an_operator_without_a_rule_is_named_with_its_share() -> None:
    x = torch.rand(3, 4)
    account = counted(lambda x: torch.linalg.inv(x[:, :3]) + 1, x)
    (uncounted,) = account.uncounted  # nine elements and a flag
    assert (uncounted.operator, uncounted.calls, uncounted.elements) == ("aten.linalg_inv_ex", 1, 10)
    assert account.uncounted_share == {"calls": 0.5, "elements": 10 / 19}
    assert row(account, "aten.linalg_inv_ex").written > 0
    assert account.as_dict()["uncounted"][0]["operator"] == "aten.linalg_inv_ex"


def test_a_fused_encoder_layer_is_counted_in_parts() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    account = counted(layer, torch.rand(2, 6, 8))
    assert account.uncounted == ()
    assert full(account, "dense") == (2 * 6 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 2 * 6 * 6 * 8,)
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_energy_names_the_operations_that_have_no_price() -> None:
    energy = counted(torch.exp, torch.rand(3, 4)).figure("full", "energy")
    assert (energy.value, energy.missing) == (0, (("special", 12),))
    assert energy.as_dict()["without_price"] == {"special": 12}


def test_an_account_is_json() -> None:
    net = SpikingNet()
    with torch.no_grad(), Accountant(net, rules=("full", "literature", "syops", "neurobench")) as accountant:
        net(images(2))
    text = json.dumps(accountant.result(samples=2).as_dict(), allow_nan=False)
    assert {"full", "literature", "syops", "neurobench"} == json.loads(text)["figures"].keys()


def test_nothing_to_count_is_an_error() -> None:
    accountant = Accountant(nn.Identity())
    with pytest.raises(BenchError, match="nothing was counted"):
        accountant.result(samples=1)
    with pytest.raises(BenchError, match="samples must be at least 1"):
        accountant.result(samples=0)
    with pytest.raises(UnknownNameError, match="did you mean 'literature'"):
        Accountant(nn.Identity(), rules=("litrature",))
    with pytest.raises(UnknownNameError, match="unknown cost table"):
        costs.table("28nm")


def test_an_exception_in_the_model_leaves_no_hooks_behind() -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("inside")

    model = Lambda(fail)
    with pytest.raises(RuntimeError, match="inside"), Accountant(model):
        model(torch.rand(1))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


# figures


def test_figures_of_one_rule_add_and_compare() -> None:
    a, b = (Figure(value, "mJ/sample", Full(), "45nm-fp32") for value in (1.0, 2.0))
    assert (a + b).value == 3
    assert (b - a) == a
    assert sum([a, b]) == a + b
    assert b / a == 2
    assert a < b
    assert a * 2 == b


@pytest.mark.parametrize(
    "other",
    [
        Figure(1.0, "mJ/sample", Literature(), "45nm-fp32"),
        Figure(1.0, "mJ/sample", Full(fold_batch_norm=False), "45nm-fp32"),
        Figure(1.0, "mJ/sample", Full(), "45nm-int8"),
        Figure(1.0, "operations/sample", Full(), "45nm-fp32"),
    ],
)
def test_figures_of_two_rules_do_not_mix(other: Figure) -> None:
    figure = Figure(1.0, "mJ/sample", Full(), "45nm-fp32")
    for operation in ("__add__", "__sub__", "__truediv__", "__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
        with pytest.raises(RuleMismatchError):
            getattr(figure, operation)(other)


# where the packages miscount


def packages(net: nn.Module, x: Tensor) -> Account:
    with torch.no_grad(), Accountant(net, rules=("full", "syops", "neurobench")) as accountant:
        net(x)
    return accountant.result(samples=len(x))


class IntegerNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neuron, self.fc = ILIF(), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.neuron(x[None])[0])


def test_integer_spikes_are_accumulates_where_the_packages_see_macs() -> None:
    account = packages(IntegerNet(), torch.tensor([[0.0, 1.0, 3.2, 9.0]]))  # spikes 0, 1, 3, 4
    assert full(account, "ac", "mac", "effective") == (8 * 3, 0, 3 * 3)
    assert (account.figure("syops", "mac").value, account.figure("syops", "ac").value) == (12, 4)  # 4: the neuron
    assert account.figure("neurobench", "effective_macs").value == 9


class AttentionNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = IF(), IF()

    def forward(self, x: Tensor) -> Tensor:
        return (self.q(x[None]) @ self.k(x[None]).mT)[0]


def test_attention_products_are_counted_where_the_packages_see_nothing() -> None:
    account = packages(AttentionNet(), torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]))
    # spikes 101 and 100: column 0 meets 2 x 2 times, column 2 once
    assert full(account, "ac", "effective", "dense") == (5, 5, 12)
    assert account.figure("syops", "ac").value == 12  # the neurons alone
    assert account.figure("neurobench", "dense").value == 0


def test_a_real_input_of_zeros_is_no_spike_where_the_packages_see_one() -> None:
    layer = nn.Linear(4, 3, bias=False)
    account = packages(nn.Sequential(layer), torch.zeros(2, 4))
    assert full(account, "mac", "ac", "effective") == (12, 0, 0)
    assert account.figure("syops", "mac").value == 0
    assert account.figure("neurobench", "effective_macs").value == 0
    silent = packages(IntegerNet(), torch.zeros(2, 4))
    assert full(silent, "mac", "ac", "effective") == (0, 0, 0)


def test_the_packages_rules_reach_nested_modules() -> None:
    x, layer, act = torch.rand(3, 4), nn.Linear(4, 4), nn.ReLU()
    flat = packages(nn.Sequential(layer, act), x)
    nested = packages(nn.Sequential(nn.Sequential(nn.Sequential(layer), act)), x)
    assert flat.figure("neurobench", "dense").value == 16
    for rule in ("syops", "neurobench"):
        values = [{name: f.value for name, f in account.figures[rule].items()} for account in (flat, nested)]
        assert values[0] == values[1]


def test_a_layer_of_two_parents_counts_twice_in_each_package() -> None:
    layer, x = nn.Linear(4, 4, bias=False), torch.rand(3, 4)
    account = packages(nn.Sequential(nn.Sequential(layer), nn.Sequential(layer)), x)
    assert account.figure("full", "dense").value == 2 * 16  # two calls
    assert account.figure("neurobench", "dense").value == 4 * 16  # two calls, seen under two parents
    assert account.figure("syops", "total").value == 4 * 16


# the packages themselves, where they are installed


class PlainNet(nn.Module):
    """Real values, padding, strides, group norm, sparse weights, a shared linear layer and several activations."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(2, 6, 3, stride=2, padding=2, dilation=2)
        self.norm, self.relu, self.pool = nn.GroupNorm(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.up, self.fc, self.sigmoid = nn.Upsample(scale_factor=2), nn.Linear(24, 24), nn.Sigmoid()
        self.one = nn.Conv1d(6, 4, 2)
        with torch.no_grad():
            self.fc.weight.mul_(torch.rand(24, 24) > 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.up(self.relu(self.norm(self.conv(x)))))
        y = self.fc(self.relu(self.fc(x.flatten(1))))
        return self.one(self.sigmoid(y).unflatten(1, (6, 4)))


class ThresholdNet(nn.Module):
    """Binary activations in plain torch, which the packages tell by their values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.conv1(x) > 0.1).float()
        x = (self.pool(self.conv2(x)) > 0).float()
        return self.fc(x.flatten(1))


class SharedNet(nn.Module):
    """One linear layer and one ReLU below two parents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        layer, act = nn.Linear(8, 8), nn.ReLU()
        self.left, self.right = nn.Sequential(layer, nn.Sequential(act)), nn.Sequential(act, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


@pytest.mark.parametrize("model", [PlainNet, ThresholdNet, SharedNet])
def test_the_syops_rule_is_what_the_package_reports(model: type[nn.Module]) -> None:
    pytest.importorskip("syops", exc_type=ImportError)
    from syops.engine import get_syops_pytorch

    net, x = model().eval(), images(6, seed=2)
    with torch.no_grad(), Accountant(net, rules=("syops",)) as accountant:
        for batch in x.split(2):
            net(batch)
    account = accountant.result(samples=6)
    loader = [(batch, None) for batch in x.split(2)]
    (total, ac, mac, _), params = get_syops_pytorch(net, (2, 8, 8), loader, print_per_layer_stat=False)
    got = {name: figure.value for name, figure in account.figures["syops"].items()}
    assert (got["total"], got["mac"], got["params"]) == (total, mac, params)
    assert got["ac"] == pytest.approx(ac, rel=1e-6)


class SharedNet(nn.Module):
    """One linear layer and one ReLU below two parents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        layer, act = nn.Linear(8, 8), nn.ReLU()
        self.left, self.right = nn.Sequential(layer, nn.Sequential(act)), nn.Sequential(act, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


@pytest.mark.parametrize("model", [PlainNet, ThresholdNet, SharedNet])
def test_the_neurobench_rule_is_what_the_package_reports(model: type[nn.Module]) -> None:
    pytest.importorskip("neurobench")
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import TorchModel
    from torch.utils.data import DataLoader, TensorDataset

    net, x = model().eval(), images(6, seed=2)
    with torch.no_grad(), Accountant(net, rules=("neurobench",)) as accountant:
        for batch in x.split(4):
            net(batch)
    account = accountant.result(samples=6)
    loader = DataLoader(TensorDataset(x, torch.zeros(6)), batch_size=4)
    metrics = [[ConnectionSparsity, Footprint, ParameterCount], [ActivationSparsity, SynapticOperations]]
    with torch.no_grad():
        want = Benchmark(TorchModel(net), loader, [], [], metrics).run(quiet=True)
    got = {name: figure.value for name, figure in account.figures["neurobench"].items()}
    operations = want["SynapticOperations"]
    assert got["effective_macs"] == operations["Effective_MACs"]
    assert got["effective_acs"] == operations["Effective_ACs"]
    assert got["dense"] == operations["Dense"]
    assert got["activation_sparsity"] == pytest.approx(want["ActivationSparsity"], rel=1e-12)
    assert got["connection_sparsity"] == want["ConnectionSparsity"]
    assert (got["footprint"], got["parameter_count"]) == (want["Footprint"], want["ParameterCount"])
