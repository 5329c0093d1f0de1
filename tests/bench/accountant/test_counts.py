"""What each operator is counted as: closed forms against loops, for binary, ternary and integer spikes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from retable.bench.accountant import Accountant
from retable.bench.accountant.rules import Full
from retable.models.spiking.neurons import IF, ILIF, LIF, Elastic, Integrator
from retable.models.ssm.conv import causal_conv1d, causal_conv1d_step, conv_state
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import ssd_scan, ssd_step
from retable.models.stfn.graph import neighbour_sum, neighbourhoods
from tests.bench.accountant.counting import ALPHABETS, counted, full, row, spikes


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


@pytest.mark.parametrize("name", ["bucketize", "searchsorted"])
def test_a_search_halves_what_is_left_with_every_comparison(name: str) -> None:
    borders = torch.arange(15.0)
    search = {"bucketize": torch.bucketize, "searchsorted": lambda x, borders: torch.searchsorted(borders, x)}[name]
    account = counted(lambda x: search(x, borders), torch.randn(3, 5))
    assert row(account, f"aten.{name}").compare == 15 * 4
    assert not account.uncounted


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 3), features=st.integers(1, 4), marked=st.booleans(), seed=st.integers(0, 99))
def test_a_sum_over_neighbours_is_an_operation_an_edge_feature_and_step(
    steps: int, features: int, marked: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    graph = neighbourhoods(torch.randint(0, 6, (2, 7), generator=generator), 6)
    x, w = spikes((steps, 6, features), (0, 1), seed), torch.rand(1, graph.edges, generator=generator)
    account = counted(lambda x: neighbour_sum(graph, w, x), x, marked=(0, 1) if marked else None)
    met = sum(float(x[t, j].sum()) for t in range(steps) for j in graph.j_E.tolist())
    assert full(account, "dense", "effective") == (steps * graph.edges * features, met)
    assert full(account, "mac", "ac") == ((0, met) if marked else (steps * graph.edges * features, 0))


def test_scattered_sums_add_and_scattered_maxima_compare() -> None:
    x, index = torch.rand(2, 5), torch.tensor([[0, 0, 1, 2, 2], [1, 1, 1, 0, 0]])
    for scatter, wanted in (
        (lambda x: torch.zeros(2, 3).scatter_add(1, index, x), (10, 0)),
        (lambda x: torch.zeros(2, 3).index_add(1, index[0], x), (10, 0)),
        (lambda x: torch.zeros(2, 3).scatter_reduce(1, index, x, "amax"), (0, 10)),
        (lambda x: torch.zeros(2, 3).scatter_reduce(1, index, x, "sum"), (10, 0)),
    ):
        assert full(counted(scatter, x), "add", "compare") == wanted
    account = counted(lambda x: torch.ones(2, 3).scatter_reduce(1, index, x, "prod"), x)
    assert [row.operator for row in account.uncounted] == ["aten.scatter_reduce"]
