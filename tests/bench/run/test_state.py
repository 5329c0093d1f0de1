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
from retable.bench.run.seeds import seeded
from retable.bench.store.artefacts import ABANDONED, Artefacts
from retable.models.common.errors import CheckpointError
from retable.models.spikeyolo.checkpoint import read_published


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

    def misbehave() -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        os.environ["LEFT_BEHIND"] = "yes"
        os.environ.pop("PATH")
        os.chdir(tmp_path)
        raise RuntimeError

    with seeded(0), pytest.raises(RuntimeError):
        misbehave()
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr(), dict(os.environ), os.getcwd()) == before
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, getattr(socket.socket, name))
    for name in offline.HUB_SWITCHES:
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
        datagram.sendto(b"", ("127.0.0.1", 9))
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


def test_the_sweep_follows_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    old = elsewhere / "old"
    old.write_text("mine")
    os.utime(old, (0, 0))
    artefacts = Artefacts(tmp_path / "artefacts")
    artefacts.folder.mkdir()
    artefacts.unfinished.symlink_to(elsewhere)
    artefacts.sweep()
    assert old.exists()
    artefacts.unfinished.unlink()
    artefacts.unfinished.mkdir()
    (artefacts.unfinished / "left").write_text("")
    os.utime(artefacts.unfinished / "left", (0, 0))
    artefacts.sweep()
    assert ABANDONED > 0
    assert not list(artefacts.unfinished.iterdir())


def test_a_pipe_in_place_of_an_artefact_is_damage(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "artefacts")
    artefact = artefacts.put("a.bin", b"content")
    artefacts.path(artefact).unlink()
    os.mkfifo(artefacts.folder / artefact.path)
    assert artefacts.damage([artefact]) == [f"artefact {artefact.path} is missing"]
