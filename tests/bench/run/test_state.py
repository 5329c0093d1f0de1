"""What one case sets in its process does not reach the next, and what is refused is refused."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from retable.bench.run import offline
from retable.bench.run.desk import Room
from retable.bench.run.seeds import seeded
from retable.bench.run.settings import restored
from retable.bench.run.shelf import Shelf
from retable.bench.store.artefacts import Artefacts
from retable.bench.store.sweep import sweep, unfinished_name
from retable.models.common.errors import CheckpointError
from retable.models.spikeyolo.checkpoint import read_published
from tests.bench.conftest import Bench


def test_every_generator_starts_from_the_seed() -> None:
    drawn = []
    for _ in range(2):
        with seeded(5):
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
    assert drawn[0] == drawn[1]
    with seeded(6):
        other = (random.random(), float(np.random.rand()), float(torch.rand(1)))
    assert all(a != b for a, b in zip(drawn[0], other, strict=True))


def test_settings_are_put_back(tmp_path: Path) -> None:
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr(), dict(os.environ), os.getcwd())
    states = random.getstate(), torch.get_rng_state()
    functions = torch.manual_seed, torch.nn.functional.relu, torch.nn.Module.__call__, random.random

    def misbehave() -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_float32_matmul_precision("medium")
        torch.manual_seed = torch.nn.functional.relu = torch.nn.Module.__call__ = random.random = lambda *_: None
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        os.environ["LEFT_BEHIND"] = "yes"
        os.environ.pop("PATH")
        os.chdir(tmp_path)
        raise RuntimeError

    with seeded(0), restored() as changed, pytest.raises(RuntimeError):
        misbehave()
    assert {"torch's default type", "torch's default device", "torch.nn.functional", "random"} <= set(changed)
    assert not {name for name in changed if not name}, "what libraries set when they are imported is not told"
    assert (torch.manual_seed, torch.nn.functional.relu, torch.nn.Module.__call__, random.random) == functions
    assert torch.zeros(1).device.type == "cpu"
    assert torch.get_float32_matmul_precision() == "highest"
    with restored() as nothing:
        pass
    assert nothing == []
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr(), dict(os.environ), os.getcwd()) == before
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


RUDE = """
import dataclasses
from typing import ClassVar

import numpy as np

from retable.bench.registry import register
from tests.bench.tiny import Tiny, TinyData


@register("dataset", "shared")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared(TinyData):
    def load(self):
        return {"images": np.ones((4, 8)), "labels": [1, 2]}


@register("method", "rude")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rude(Tiny):
    rude: bool = False

    def fit(self, data, needs, *, seed, device):
        import torch

        model, log = super().fit(data, needs, seed=seed, device=device)
        with torch.no_grad():
            model.weight.fill_(data["images"].sum())
            if self.rude:
                torch.set_default_dtype(torch.float64)
                data["images"] *= 2
        return model, log
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_one_row_writes_into_the_data_another_does_not_see(bench: Bench, workers: str) -> None:
    (bench.folder / "rude.py").write_text(RUDE)
    bench.edit("low: {use: tiny, with: {level: 1.0}}", "low: {use: rude, with: {rude: true}}")
    bench.edit("high: {extends: low, with: {level: 2.0}}", "high: {extends: low, with: {rude: false}}")
    bench.edit("data: {use: tiny-data}", "data: {use: shared}")
    done = bench("run", "tiny", "--jobs", workers, "--quiet", "--plugin", "rude.py")
    assert done.returncode == 0, done.stderr
    assert "low changed for others, and it was put back: torch's default type, data set shared\n" in done.stderr
    (row, *_) = (one for one in bench.json("show", "tiny/high", "--plugin", "rude.py") if one["stage"] == "evaluate")
    assert row["metrics"]["weight"]["value"] == 32.0


def test_what_is_added_to_shared_data_is_no_change_of_it() -> None:
    class Data:
        def __init__(self) -> None:
            self.images, self.parts = torch.zeros(4), [np.zeros(3), ("a", 1)]

    shelf = Shelf()
    first = shelf.get("a", Data)
    first.decoded = np.ones(2)
    assert shelf.written() == []
    assert shelf.get("a", Data) is first
    first.parts[0][1] = 1.0
    assert shelf.written() == ["a"]
    assert shelf.get("a", Data) is not first
    shelf.get("a", Data).images[0] = 1.0
    assert shelf.written() == ["a"]


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        monkeypatch.setattr(socket.socket, name, getattr(socket.socket, name))
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, getattr(socket, name))
    for name in offline.SWITCHES:
        monkeypatch.setenv(name, "")
    offline.refuse_network()


@pytest.mark.usefixtures("_no_network")
def test_offline_refuses_every_way_out() -> None:
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        with pytest.raises(ConnectionError, match=r"--offline: connection to 192\.0\.2\.1 refused"):
            stream.connect(("192.0.2.1", 80))
        with pytest.raises(ConnectionError, match="refused"):
            stream.connect_ex(("192.0.2.1", 80))
        with pytest.raises(ConnectionError, match="refused"):
            datagram.sendto(b"", ("192.0.2.1", 53))
        with pytest.raises(ConnectionError, match="refused"):
            datagram.sendmsg([b""], [], 0, ("192.0.2.1", 53))
        with pytest.raises(ConnectionError, match=r"--offline: connection to localhost\.example refused"):
            socket.create_connection(("localhost.example", 80))
        datagram.sendto(b"", ("127.0.0.1", 9))
        datagram.sendmsg([b""], [], 0, ("127.0.0.1", 9))
    assert socket.getaddrinfo("localhost", 80)
    assert os.environ["HTTPS_PROXY"] == offline.NOWHERE, "what knows no sockets of Python is sent nowhere"
    assert os.environ["HF_HUB_OFFLINE"] == "1"


class Program(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.path = ""

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_program_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "program.pt"
    program = torch.jit.script(Program())
    program.path = str(canary)
    torch.jit.save(program, file)
    with pytest.raises(CheckpointError, match="TorchScript archive, which is code"):
        read_published(file)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["artefacts/unfinished", "outboxes"])
def test_the_sweep_follows_no_link(tmp_path: Path, name: str) -> None:
    elsewhere, planted = tmp_path / "elsewhere", tmp_path / "store" / name
    (elsewhere / "folder").mkdir(parents=True)
    for old in (elsewhere / "file", elsewhere / "folder" / "inside"):
        old.write_text("mine")
        os.utime(old, (0, 0))
    os.utime(elsewhere / "folder", (0, 0))
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(elsewhere)
    Artefacts(tmp_path / "store" / "artefacts").sweep()
    Room.beside(tmp_path / "store")
    assert {path.name for path in elsewhere.rglob("*")} == {"file", "folder", "inside"}


def test_the_sweep_takes_what_is_old_and_whose_process_is_gone(tmp_path: Path) -> None:
    """A clock that is two days ahead makes everything old."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    for name in ("left", f"{child}-ab", f"{child}-cd", unfinished_name(), "recent"):
        (tmp_path / name).write_text("")
    (tmp_path / f"{child}-ef").mkdir()
    (tmp_path / f"{child}-link").symlink_to("/")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0) if path.name != "recent" else None, follow_symlinks=False)
    mine = unfinished_name().partition("-")[0]
    sweep(tmp_path)
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == sorted([mine, "recent"])


def test_a_pipe_in_place_of_an_artefact_is_damage(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "artefacts")
    artefact = artefacts.put("a.bin", b"content")
    artefacts.path(artefact).unlink()
    os.mkfifo(artefacts.folder / artefact.path)
    assert artefacts.damage([artefact]) == [f"artefact {artefact.path} is missing"]
