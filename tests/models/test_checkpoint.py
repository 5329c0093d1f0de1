"""Published checkpoints: read as they are, and refused in one sentence where they are not what they should be."""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from retable.models.aim.checkpoint import read_checkpoint
from retable.models.aim.config import AiMConfig
from retable.models.aim.stage2 import AiM
from retable.models.aim.tokenizer import VQVAE, VQConfig
from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.common.errors import CheckpointError, MissingWeights

CONFIG = AiMConfig(
    d_model=32,
    n_layer=2,
    vocab_size=24,
    num_classes=5,
    num_tokens=9,
    ssm_cfg={"layer": "Mamba2", "headdim": 16, "d_state": 8},
    adaln="group",
    num_groups=2,
)
TOKENIZER = VQConfig(ch=32, ch_mult=(1,), num_res_blocks=1, z_channels=32, codes=24, code_dim=8)


def full_state() -> dict[str, torch.Tensor]:
    """A state dict with the prefixes of a published file; the tied head is absent, as it is there."""
    torch.manual_seed(0)
    stage2, vqvae = AiM(CONFIG).state_dict(), VQVAE(TOKENIZER).state_dict()
    return {f"mamba.{k}": v for k, v in stage2.items()} | {f"vqvae.{k}": v for k, v in vqvae.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(full_state(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG.to_official()))
    return tmp_path


def test_a_published_folder_loads_without_a_converter(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config == CONFIG
    torch.manual_seed(9)
    model, vqvae = AiM(CONFIG), VQVAE(TOKENIZER)
    checkpoint.load_stage2(model)
    checkpoint.load_vqvae(vqvae)
    for name, value in full_state().items():
        part, _, rest = name.partition(".")
        assert torch.equal({"mamba": model, "vqvae": vqvae}[part].state_dict()[rest], value), name


def test_older_names_and_longer_position_tables_are_understood(tmp_path: Path) -> None:
    renamed = {}
    for name, value in full_state().items():
        name = name.replace("adaln_group.", "adaln_single.").replace("scale_shift_table", "adaLN_parameters")
        name = name.replace("vqvae.", "vq_vae.")
        renamed[name] = torch.cat([value, value]) if "position_embeddings" in name else value
    torch.save(renamed, tmp_path / "aim_b.bin")
    model = AiM(CONFIG)
    read_checkpoint(tmp_path / "aim_b.bin").load_stage2(model)
    expected = full_state()["mamba.backbone.embeddings.position_embeddings.weight"]
    assert torch.equal(model.state_dict()["backbone.embeddings.position_embeddings.weight"], expected)


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.canary,)


def test_a_pickled_payload_is_refused_unexecuted(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"mamba.x": torch.zeros(1), "payload": Payload(canary)}, tmp_path / "evil.bin")
    with pytest.raises(CheckpointError, match=r"evil\.bin"):
        read_checkpoint(tmp_path / "evil.bin")
    assert not canary.exists()


def spoil(folder: Path, how: str) -> None:
    file = folder / "model.safetensors"
    state = full_state()
    table = "mamba.backbone.embeddings.word_embeddings.weight"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
        return
    if how == "huge header":
        file.write_bytes((2 << 30).to_bytes(8, "little") + b"{}")
        return
    if how == "missing key":
        del state["mamba.backbone.norm_f.weight"]
    elif how == "extra key":
        state["mamba.backbone.surprise"] = torch.zeros(1)
    elif how == "wrong shape":
        state[table] = state[table][:-1].clone()
    elif how == "nan":
        state[table][0, 0] = torch.nan
    save_file(state, file)


@pytest.mark.parametrize("how", ["truncated", "huge header", "missing key", "extra key", "wrong shape", "nan"])
def test_damage_is_one_sentence(folder: Path, how: str) -> None:
    spoil(folder, how)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(folder).load_stage2(AiM(CONFIG))
    assert "\n" not in str(error.value)


def test_missing_weights_say_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"hp-l33/aim-base") as error:
        read_checkpoint("hp-l33/aim-base")
    assert str(tmp_path) in str(error.value)


class Options(dict[str, Any]):
    """A class of a training script."""


def saved_by(script: str, state: dict[str, torch.Tensor]) -> Any:
    """What training scripts save around a state dict."""
    args = argparse.Namespace(lr=0.1, device=torch.device("cpu"))
    return {
        "SEW-ResNet's": {"model": state, "epoch": 3, "args": args, "max_test_acc1": 63.2},
        "timm's": {"epoch": 1, "arch": "m", "state_dict": state, "version": 2, "args": args, "metric": 70.1},
        "MAE's": {"model": state, "optimizer": {"state": {}}, "scaler": {}, "epoch": 9, "args": args},
        "one with NumPy's numbers": {"state_dict": state, "best_acc": np.float64(70.1), "at": np.arange(3)},
        "one with a defaultdict": {"state_dict": state, "log": collections.defaultdict(list)},
        "one with paths and classes": {"model_state_dict": state, "out": Path("runs"), "options": Options(a=1)},
        "data-parallel": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "compiled and parallel": {"net": {f"module._orig_mod.{key}": value for key, value in state.items()}},
    }[script]


SCRIPTS = (
    "SEW-ResNet's",
    "timm's",
    "MAE's",
    "one with NumPy's numbers",
    "one with a defaultdict",
    "one with paths and classes",
    "data-parallel",
    "compiled and parallel",
)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_training_script_saved_is_read(tmp_path: Path, script: str, legacy: bool) -> None:
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(saved_by(script, layer.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    load_strictly(tmp_path / "a.pth", other, read_tensors(tmp_path / "a.pth"))
    assert torch.equal(other.weight, layer.weight)


def test_the_average_of_the_weights_comes_before_the_weights(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    average = {key: 2 * value for key, value in layer.state_dict().items()}
    torch.save({"model": layer.state_dict(), "model_ema": average}, tmp_path / "a.pth")
    assert torch.equal(read_tensors(tmp_path / "a.pth")["weight"], 2 * layer.weight)


def test_a_prefix_that_belongs_to_the_model_stays(tmp_path: Path) -> None:
    wrapped = nn.ModuleDict({"model": nn.Linear(3, 2)})
    load_strictly(tmp_path / "a.pth", wrapped, wrapped.state_dict())
    with pytest.raises(CheckpointError, match=r"model\.weight is missing"):
        load_strictly(tmp_path / "a.pth", wrapped, {"module.other": torch.zeros(1)})


@pytest.mark.parametrize("canary", ["reduce", "torchscript", "setstate"])
def test_no_file_of_weights_runs_code(tmp_path: Path, canary: str) -> None:
    """Every container that a loader opens, with something in it that would leave a folder behind."""
    flag, path = tmp_path / "ran", tmp_path / "a.pt"
    if canary == "torchscript":
        torch.jit.script(nn.Linear(2, 2)).save(str(path))
    else:
        torch.save({"model": {"weight": torch.zeros(1)}, "args": Canary(str(flag), canary)}, path)
    with contextlib.suppress(CheckpointError):
        read_tensors(path)
    assert not flag.exists()
    if canary == "torchscript":
        with pytest.raises(CheckpointError, match="TorchScript archive, which is code"):
            read_tensors(path)


class Canary:
    def __init__(self, flag: str, how: str) -> None:
        self.flag, self.how = flag, how

    def __reduce__(self) -> Any:
        if self.how == "reduce":
            return os.mkdir, (self.flag,)
        return Canary, ("", ""), {"flag": self.flag}

    def __setstate__(self, state: dict[str, str]) -> None:
        os.mkdir(state["flag"])


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_half_a_download_is_refused(tmp_path: Path, cut: float) -> None:
    torch.save({"model": nn.Linear(64, 64).state_dict()}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_tensors(tmp_path / "a.pth")
