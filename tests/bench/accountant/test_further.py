"""Products beyond convolutions and matrix products: recurrent cells, bilinear forms, sparse, narrow and grouped ones."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.bench.accountant import Account, Accountant
from tests.bench.accountant.counting import Lambda, counted, full, row, spikes

KINDS = ("dense", "mac", "add", "mul", "compare", "special")


class Steps(nn.Module):
    """A recurrent layer as its cell, step by step."""

    def __init__(self, layer: nn.RNNBase, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell
        with torch.no_grad():
            for name, value in layer.named_parameters():
                getattr(cell, name.removesuffix("_l0")).copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        state, out = None, []
        for x_t in x:
            state = self.cell(x_t, state)
            out.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(out)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layer", "cell"), [(nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell), (nn.RNN, nn.RNNCell)])
def test_a_recurrent_layer_counts_as_its_cell_step_by_step(
    layer: type[nn.RNNBase], cell: type[nn.RNNCellBase], bias: bool
) -> None:
    torch.manual_seed(1)
    whole = layer(4, 3, bias=bias)  # type: ignore[call-arg]
    steps, x = Steps(whole, cell(4, 3, bias=bias)), torch.rand(5, 2, 4)  # type: ignore[call-arg]
    assert torch.allclose(steps(x), whole(x)[0], atol=1e-6)
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[layer]
    together, apart = counted(whole, x), counted(steps, x)
    assert full(together, *KINDS) == full(apart, *KINDS)
    assert full(together, "mac") == (10 * gates * 3 * (4 + 3),)
    assert full(together, "effective") == full(apart, "effective")


def test_spikes_drive_the_inputs_of_a_recurrent_layer_and_not_its_hidden_values() -> None:
    x, layer = spikes((5, 2, 4), (0, 1), 3), nn.LSTM(4, 3)
    account = counted(layer, x, marked=(0, 1), steps=5, rules=("full", "lemaire"))
    assert full(account, "ac", "mac") == (x.sum() * 12, 10 * 12 * 3)
    assert account.census is not None
    assert [s.input.form for s in account.census.synapses()] == ["binary", "real"]


def test_the_cells_of_other_devices_count_what_the_layer_counts() -> None:
    """Operators that a GPU runs, from their schemas alone: one layer of cuDNN is the layer of the CPU."""
    from retable.bench.accountant import gates

    cell = gates.elements(2, 10 * 3, bias=True)
    account = counted(nn.LSTM(4, 3), torch.rand(5, 2, 4))
    assert full(account, "add", "mul", "special") == (cell.add, cell.mul, cell.special)


def test_batches_summed_up_are_one_product() -> None:
    a, b, c = torch.rand(2, 3, 4), torch.rand(2, 4, 5), torch.rand(3, 5)
    assert full(counted(torch.addbmm, c, a, b), "mac", "add") == (2 * 3 * 4 * 5, 15)
    account = counted(lambda a, b: torch.addbmm(c, a, b, beta=0), a, b)
    assert full(account, "mac", "add") == (120, 0)
    assert full(counted(torch.addr, c, torch.rand(3), torch.rand(5)), "mul", "add") == (15, 15)


def test_a_bilinear_form_multiplies_each_pair_once() -> None:
    layer, x, z = nn.Bilinear(3, 4, 5), torch.rand(2, 3), torch.rand(2, 4)
    assert full(counted(layer, x, z), "mul", "mac", "add") == (2 * 12, 2 * 12 * 5, 10)
    x, z = spikes((2, 3), (0, 1), 1), spikes((2, 4), (0, 4), 2)
    met = int(sum(x[i].sum() * z[i].sum() for i in range(2))) * 5
    account = counted(layer, x, z, marked=(0, 4))
    assert full(account, "ac", "mac", "mul") == (met, 0, 0)


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_sparse_product_counts_its_stored_values(layout: str) -> None:
    weight = spikes((3, 4), (0, 1), 4)
    stored = weight.to_sparse() if layout == "coo" else _csr(weight)
    x = spikes((4, 5), (0, 4), 5)
    real = counted(lambda x: stored @ x, x)
    met = lambda x: int((weight @ x).sum())  # noqa: E731
    assert full(real, "dense", "mac", "effective") == (weight.sum() * 5, weight.sum() * 5, met((x != 0).float()))
    marked = counted(lambda x: stored @ x, x, marked=(0, 4))
    assert full(marked, "ac", "mac") == (met(x), 0)
    assert full(counted(lambda x: stored @ x[:, 0], x), "mac") == (weight.sum(),)


def _csr(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the layout is young
        return tensor.to_sparse_csr()


def test_a_sparse_parameter_is_a_weight_like_any_other() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(spikes((3, 4), (0, 1), 4).to_sparse(), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sparse.mm(self.weight, x)

    account = counted(Sparse(), torch.rand(4, 5))
    assert account.uncounted == ()
    assert full(account, "mac") == (spikes((3, 4), (0, 1), 4).sum() * 5,)


def test_products_of_narrow_integers_are_products() -> None:
    a, b = (torch.randint(-5, 5, shape, dtype=torch.int8) for shape in ((32, 16), (16, 24)))
    assert full(counted(torch._int_mm, a, b), "mac", "dense") == (32 * 16 * 24,) * 2
    weight = torch.randint(-5, 5, (8, 16), dtype=torch.int8)
    x, scales = torch.rand(4, 16).bfloat16(), torch.rand(8).bfloat16()
    account = counted(lambda x: torch._weight_int8pack_mm(x, weight, scales), x)
    assert full(account, "mac", "mul") == (4 * 16 * 8, 4 * 8)


def test_a_dynamically_quantised_layer_is_counted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this way of quantising is old
        net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)), {nn.Linear}, dtype=torch.qint8)
    account = counted(net, torch.rand(2, 4))
    assert account.uncounted == ()
    assert full(account, "mac", "add", "mul") == (2 * 4 * 3, 6, 6)


# attention with fewer keys than queries


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("marked", [None, (0, 1)])
def test_a_key_serves_every_query_of_its_group(heads: int, marked: tuple[int, int] | None) -> None:
    q = spikes((2, 4, 6, 8), (0, 1), 1)
    k, v = (spikes((2, heads, 6, 8), (0, 1), seed) for seed in (2, 3))
    fewer = counted(attention, q, k, v, marked=marked, steps=2)
    many = [x.repeat_interleave(4 // heads, 1) for x in (k, v)]
    every = counted(attention, q, *many, marked=marked, steps=2)
    assert fewer.uncounted == ()
    assert full(fewer, *KINDS, "ac", "effective") == full(every, *KINDS, "ac", "effective")
    work = row(fewer, next(r.operator for r in fewer.rows if r.work.dense))
    if marked:
        assert sum(work.ac_by_step) == work.ac


def test_fewer_keys_reach_the_census() -> None:
    q, k, v = torch.rand(2, 4, 6, 8), torch.rand(2, 2, 5, 8), torch.rand(2, 2, 5, 8)
    account = counted(attention_of(5), q, k, v, rules=("full", "lemaire", "neuromc"))
    assert account.census is not None
    assert sum(layer.dense for layer in account.census.synapses()) == 2 * 4 * 6 * 5 * 16
    assert account.figure("lemaire", "energy").uncounted == 1


def attention_of(keys: int) -> nn.Module:
    return Lambda(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))


def test_products_that_no_energy_model_sees_make_its_sum_a_lower_bound() -> None:
    layer, x, z = nn.Bilinear(3, 4, 5), torch.rand(2, 3), torch.rand(2, 4)
    model = Lambda(lambda x, z: fc(layer(x, z)), layer=layer, fc=(fc := nn.Linear(5, 2)))
    with torch.no_grad(), Accountant(model, rules=("lemaire",)) as accountant:
        model(x, z)
    account: Account = accountant.result(samples=2)
    assert account.figure("lemaire", "energy").uncounted == pytest.approx(120 / (120 + 20))
