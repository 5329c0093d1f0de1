"""A training that is killed at a random moment and taken up again ends where an undisturbed one does, to the bit."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from retable.bench.declare.params import build
from retable.bench.run.seeds import seeded
from retable.bench.run.short_fits import SEED, SHORT_FITS, _data, _model
from retable.bench.suite import Component
from retable.models.common import resume
from retable.progress import Listener, Told, listening

SHORTER: dict[str, dict[str, Any]] = {
    "prime": {"epochs": 3, "batch_size": 16},
    "prime-inpainting": {"epochs": 3, "batch_size": 16},
    "spiking-bert": {"pretrain_steps": 25, "epochs": 3, "batch_size": 40, "keep": "both"},
    "gcn": {},
    "vit": {"epochs": 3, "images": 64},
    "ept": {},
    "vq-tokenizer": {"steps": 12, "reseed_step": 5},
    "tiny-llama": {},
    "spikevoice": {},
    "spikellm": {"epochs": 2},
}
"""Trainings, with parameters that differ from those of their short fits: several epochs of few samples.

`tests/models/test_resume.py` has AiM's, the survey's and SpikeYOLO's.
"""
QUICK = ("gcn", "vit")
FEW = 48


class First:
    """The first few samples of a split."""

    def __init__(self, split: Any) -> None:
        self.split, self.labels = split, split.labels[:FEW]

    def __len__(self) -> int:
        return len(self.labels)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.split, name)


class Killed(BaseException):
    """Nobody catches this."""


def fit(name: str, told: Listener) -> tuple[Any, Any]:
    """A method's fit, what it needs having been fitted before."""
    short, data = SHORT_FITS[name], _data(SHORT_FITS[name].dataset.use)
    if short.dataset.use in ("digits", "small-event-digits"):
        data = replace(data, train=First(data.train))
    needs = {role: deepcopy(_model(other)) for role, other in short.needs.items()}
    if name == "spikellm":  # to be killed between two layers
        needs = {"base": deepcopy(_deeper("tiny-llama", layers=3))}
    method: Any = build("method", Component(use=short.use or name, params={**short.params, **SHORTER[name]}))
    with seeded(SEED), listening(told):
        return method.fit(data, needs, seed=SEED, device="cpu")


@cache
def _deeper(name: str, **changes: Any) -> Any:
    short = SHORT_FITS[name]
    method: Any = build("method", Component(use=name, params={**short.params, **changes, "steps": 2}))
    with seeded(SEED):
        return method.fit(_data(short.dataset.use), {}, seed=SEED, device="cpu")[0]


def listener(at: int, told: list[Told]) -> Listener:
    def hear(one: Told) -> None:
        told.append(one)
        if len(told) == at:
            raise Killed

    return hear


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(SHORTER)]
)
def test_a_killed_fit_goes_on_where_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[Told] = []
    model, log = fit(name, whole.append)
    assert whole, "it tells how far it is"
    assert whole[-1].step == whole[-1].of
    monkeypatch.setenv(resume.FOLDER, str(tmp_path))
    monkeypatch.setenv(resume.SECONDS, "0")
    killed_at = random.Random(name).randrange(2 * len(whole) // 3, len(whole))
    with pytest.raises(Killed):
        fit(name, listener(killed_at, []))
    assert list(tmp_path.iterdir()), "something to go on from"
    torch.rand(7)
    again: list[Told] = []
    model_again, log_again = fit(name, again.append)
    assert len(again) < len(whole), "it does not begin anew"
    _same(log_again, log)
    state = model_again.state_dict()
    for key, want in model.state_dict().items():
        assert torch.equal(state[key], want), key


def _same(got: Any, want: Any) -> None:
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            _same(got[key], want[key])
    else:
        assert got == want
