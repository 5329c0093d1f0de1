"""A training that is killed and taken up again ends where an undisturbed one does, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from retable.bench.datasets.digits import Digits
from retable.models.aim import training
from retable.models.aim.method import AiM, VQTokenizer
from retable.models.common import resume
from retable.models.spikeyolo.method import SpikeYOLO
from retable.models.vision.method import SpikeDrivenTransformer
from tests.models.spikeyolo_data import squares


class Killed(BaseException):
    """Nobody catches this."""


def digits() -> Any:
    return Digits(size=16).load()


def aim() -> tuple[Any, Any, dict[str, Any]]:
    tokenizer = VQTokenizer(ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=32, codes=16)
    torch.manual_seed(0)
    small = AiM(d_model=16, n_layer=1, d_state=8, headdim=16, steps=6, batch_size=8, micro_batch=3)
    return small, digits(), {"tokenizer": tokenizer.build(None).eval()}


def sdt() -> tuple[Any, Any, dict[str, Any]]:
    method = SpikeDrivenTransformer(
        T=1, dim=16, depth=1, heads=2, epochs=3, batch_size=400, augment="shift-flip", norm_batches=1
    )
    return method, digits(), {}


def yolo() -> tuple[Any, Any, dict[str, Any]]:
    return (
        SpikeYOLO(width=0.0625, depth=0.1, epochs=3, batch_size=2, warmup=0.5, ema=True, norm_batches=1),
        squares(),
        {},
    )


@pytest.mark.parametrize("made", [aim, sdt, yolo])
def test_a_killed_fit_goes_on_where_it_was(
    made: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, data, needs = made()
    torch.manual_seed(5)  # stages seed torch's own generator, from which AiM takes its first weights
    whole, log = method.fit(data, needs, seed=1, device="cpu")
    monkeypatch.setenv(resume.FOLDER, str(tmp_path / "checkpoints"))
    monkeypatch.setenv(resume.SECONDS, "0")
    offer, offers = resume.Resume.offer, []

    def dies(self: resume.Resume, **plain: Any) -> None:
        offer(self, **plain)
        offers.append(plain)
        if len(offers) == 2:
            raise Killed

    monkeypatch.setattr(resume.Resume, "offer", dies)
    torch.manual_seed(5)
    with pytest.raises(Killed):
        method.fit(data, needs, seed=1, device="cpu")
    torch.rand(7)  # another process has drawn other numbers
    again, log_again = made()[0].fit(data, needs, seed=1, device="cpu")
    assert log_again == log
    for (name, want), got in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(got, want), name


def test_parts_of_a_batch_have_the_gradient_of_the_batch() -> None:
    model, data, needs = aim()
    stage2 = model._assemble(data, needs).stage2.double()
    labels, tokens = torch.arange(7), torch.randint(0, 16, (7, 64), generator=torch.Generator().manual_seed(0))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    found = []
    for micro in (None, 3):
        stage2.zero_grad()
        loss = training.add_gradients(stage2, labels, tokens, replace(training.Recipe(), micro_batch=micro), scaler)
        found.append(
            (loss, [parameter.grad.clone() for parameter in stage2.parameters() if parameter.grad is not None])
        )
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-6, atol=1e-6)
    for got, want in zip(found[1][1], found[0][1], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)


def test_the_official_training_decays_nothing() -> None:
    weights = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    decays = {
        protocol: [
            group["weight_decay"] for group in training.adamw(weights, training.Recipe(protocol=protocol)).param_groups
        ]
        for protocol in ("official", "corrected")
    }
    assert decays == {"official": [0.0, 0.0], "corrected": [0.05, 0.0]}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_stage_trains_in_mixed_precision(precision: Any) -> None:
    method, data, needs = aim()
    _, log = replace(method, precision=precision, steps=20).fit(data, needs, seed=0, device="cpu")
    assert log["curve"][-1]["loss"] < log["curve"][0]["loss"]


def test_an_empty_batch_has_empty_logits() -> None:
    method, data, needs = aim()
    stage2 = method._assemble(data, needs).stage2
    assert stage2(torch.empty(0, dtype=torch.int64), torch.empty(0, 63, dtype=torch.int64)).shape == (0, 64, 16)
