"""A fitted model's state comes back as it was, whatever it is made of, or is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from retable.bench.errors import BenchError
from retable.bench.run.weights import dump, read
from tests.bench.conftest import Bench


class Holder(nn.Module):
    """A module whose state is what it is given, as buffers; `extra` is its extra state."""

    def __init__(self, extra: Any = None, **buffers: Any) -> None:
        super().__init__()
        self.extra = extra
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


def back(model: nn.Module) -> dict[str, Any]:
    return read(dump(model, "method 'mine'"))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.layout == b.layout and a.dtype == b.dtype and torch.equal(a.to_dense(), b.to_dense())
    if isinstance(a, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and (a == b or a != a)


def test_a_plain_state_is_a_plain_file() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    content = dump(model, "mine")
    assert content == save(model.state_dict())
    assert read(content).keys() == load(content).keys()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def test_tied_weights_are_stored_once_and_come_back_tied() -> None:
    model, other = Tied(), Tied()
    content = dump(model, "mine")
    assert len(load(content)) == 1
    other.load_state_dict(read(content))
    assert torch.equal(other.head.weight, model.embed.weight)
    assert other.head.weight is other.embed.weight


WHOLE = torch.arange(12.0)
EXTRA = {
    "epoch": 3,
    "rate": 0.1,
    "best": float("inf"),
    "none": None,
    "names": ["a", ("b", True)],
    7: {"x": torch.ones(2)},
}


@pytest.mark.parametrize(
    "model",
    [
        Holder(a=torch.ones(1).expand(4, 3)),
        Holder(a=WHOLE[:6], b=WHOLE[3:9], c=WHOLE.view(3, 4).T, d=WHOLE),
        Holder(a=torch.tensor(3), b=torch.empty(0, 2), c=torch.empty(0, 2), d=torch.tensor([1 + 2j])),
        Holder(a=torch.eye(4).to_sparse(), b=torch.eye(4).to_sparse_csr(), c=torch.eye(4).to_sparse_csc()),
        Holder(a=torch.eye(4).to_sparse_bsr((2, 2)), b=torch.eye(4)[:0].to_sparse()),
        Holder(a=torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (3,))),
        Holder(EXTRA, a=torch.ones(2)),
        Holder({"steps": np.arange(3), "count": np.int64(4), "sparse": torch.eye(2).to_sparse()}),
        Holder(torch.arange(3)),
        Holder(float("nan")),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), Holder("inside")),
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
    ],
    ids=[
        "expanded",
        "views",
        "shapes",
        "sparse",
        "blocks",
        "twice",
        "extra",
        "arrays",
        "tensor",
        "nan",
        "nested",
        "norm",
    ],
)
def test_every_state_comes_back(model: nn.Module) -> None:
    state, found = model.state_dict(), back(model)
    assert set(found) == set(state)
    for name, value in state.items():
        assert same(value, found[name]), name


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Holder({"path": object()}), r"method 'mine': _extra_state\['path'\] of its state is a object and cannot"),
        (Holder([1, {2, 3}]), r"_extra_state\[1\] of its state is a set"),
        (Holder(lambda: 0), "_extra_state of its state is a function"),
        (nn.LazyLinear(2), "weight of its state is a UninitializedParameter"),
        (nn.Linear(2, 2, device="meta"), "weight of its state .* no values"),
        (Holder(a=torch.ones(2, dtype=torch.complex128)), "the weights cannot be stored: .*complex128"),
    ],
)
def test_what_cannot_be_stored_is_named(model: nn.Module, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        dump(model, "method 'mine'")


TIED = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from retable import register

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.again = self.weight
        self.register_buffer("few", torch.eye(2).to_sparse())
        self.fitted = False

    def get_extra_state(self):
        return {"fitted": self.fitted}

    def set_extra_state(self, state):
        self.fitted = state["fitted"]

@register("method", "tied")
@dataclass(frozen=True, kw_only=True)
class Tied:
    NEEDS: ClassVar[tuple[str, ...]] = ()

    def build(self, data):
        return Net()

    def fit(self, data, needs, *, seed, device):
        model = Net()
        model.weight.data.fill_(7.0)
        model.fitted = True
        return model, {}

    def load(self, state, data, needs, *, device):
        model = Net()
        model.load_state_dict(state)
        assert model.fitted and model.again is model.weight
        return model
"""


def test_a_method_of_such_a_state_is_fitted_and_read(bench: Bench) -> None:
    (bench.folder / "tied.py").write_text(TIED)
    bench.edit("{use: tiny, with: {level: 1.0}}", "{use: tied}")
    bench.edit("{extends: low, with: {level: 2.0}}", "{use: tied}")
    done = bench("run", "tiny", "--jobs", "0", "--quiet", "--plugin", "tied.py", "--only", "low")
    assert done.returncode == 0, done.stderr
    assert "7.000" in done.stdout
