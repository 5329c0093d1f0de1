"""What stays a spike: values, time and counts behind every operation that a mark survives, and the losses named."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.bench.accountant import Accountant
from retable.bench.accountant.tally import tally
from retable.models.spiking.neurons import LIF
from tests.bench.accountant.counting import ALPHABETS, Lambda, counted, full, row, spikes

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
    "clip_by_hardtanh": lambda s: torch.nn.functional.hardtanh(s, 0.0, 2.0),
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
