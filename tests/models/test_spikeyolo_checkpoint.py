"""Released SpikeYOLO checkpoints, pickles of module objects: read without running anything, refused in one sentence."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from retable.models.common.errors import CheckpointError, MissingWeights
from retable.models.spikeyolo.checkpoint import load_published, read_published
from retable.models.spikeyolo.layers import neuron_of
from retable.models.spikeyolo.method import SpikeYOLO
from retable.models.spikeyolo.network import Rows, spikeyolo
from retable.models.spikeyolo.sizes import Size
from tests.models.spikeyolo_data import squares


def tiny(seed: int) -> Rows:
    torch.manual_seed(seed)
    return spikeyolo(Size(0.1, 0.0625), 2, 3, 1, neuron_of("ilif", 4))


def official(path: Path, network: nn.Module, **content: Any) -> None:
    """Save a network as the released trainer does: half-precision module objects of classes that are gone when it is read."""
    fork = types.ModuleType("the_fork")
    name = "DetectionModel"
    fork.DetectionModel = type(name, (nn.Module,), {"__module__": "the_fork"})  # type: ignore[attr-defined]
    fork.Options = type("Options", (dict,), {"__module__": "the_fork"})  # type: ignore[attr-defined]
    sys.modules["the_fork"] = fork
    try:
        model = fork.DetectionModel()
        model.model = network.model
        model.args = fork.Options(imgsz=640)
        model.save_dir = Path("runs/detect")
        torch.save({"epoch": -1, "ema": None, "model": model.half(), "date": "today", **content}, path)
    finally:
        del sys.modules["the_fork"]


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_a_released_checkpoint_loads(data_folder: Path) -> None:
    official(data_folder / "released.pt", tiny(1))
    network = tiny(2)
    load_published(network, "released.pt")
    for key, value in tiny(1).state_dict().items():
        want = value.half().float() if value.is_floating_point() else value
        assert torch.equal(network.state_dict()[key], want), key


def test_the_average_comes_first(data_folder: Path) -> None:
    other = tiny(3)
    ema = nn.Module()
    ema.model = other.model
    official(data_folder / "both.pt", tiny(1), ema=ema)
    state = read_published(data_folder / "both.pt")
    key = "model.1.encode_conv.weight"
    torch.testing.assert_close(state[key], other.state_dict()[key], rtol=1e-2, atol=1e-3)


def test_a_method_runs_on_published_weights(data_folder: Path) -> None:
    save_file(
        {key: value.contiguous() for key, value in tiny(1).state_dict().items()}, data_folder / "plain.safetensors"
    )
    method = SpikeYOLO(width=0.0625, depth=0.1, weights="plain.safetensors")
    model, log = method.fit(squares(), {}, seed=0, device="cpu")
    assert log == {"weights": "plain.safetensors"}
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for got, want in zip(model(x), tiny(1).eval()(x), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_nothing_in_a_checkpoint_is_run(data_folder: Path) -> None:
    flag = data_folder / "run"

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(flag),)

    official(data_folder / "trap.pt", tiny(1), train_args=Trap())
    read_published(data_folder / "trap.pt")
    assert not flag.exists()


def test_absent_weights_say_what_to_put_where(data_folder: Path) -> None:
    with pytest.raises(MissingWeights, match=r"put the state dict released\.pt there"):
        SpikeYOLO(weights="released.pt").fit(squares(), {}, seed=0, device="cpu")


def test_other_files_are_refused(data_folder: Path) -> None:
    path = data_folder / "other.pt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_published(path)
    torch.save({"model": "text"}, path)
    with pytest.raises(CheckpointError, match="'model' is not a named tensor"):
        read_published(path)


def test_weights_of_another_size_name_the_first_key(data_folder: Path) -> None:
    official(data_folder / "released.pt", tiny(1))
    torch.manual_seed(0)
    wider = spikeyolo(Size(0.1, 0.125), 2, 3, 1, neuron_of("ilif", 4))
    with pytest.raises(CheckpointError, match=r"model\.1\.encode_conv\.weight has the shape"):
        load_published(wider, "released.pt")
