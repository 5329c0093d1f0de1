"""The task `speak` with SpikeVoice and its twins, from data to metrics, samples and the account."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retable.bench.datasets.digits import Digits
from retable.bench.errors import BenchError
from retable.bench.metrics.basic import TimeSteps
from retable.bench.metrics.operations import Energy, FiringRate
from retable.bench.metrics.speech import DurationError, MelL1, Stretch
from retable.bench.tasks.sounds import spectrogram_png, wav
from retable.bench.tasks.speak import Speak
from retable.models.spikevoice.method import SpikeVoiceMethod
from retable.models.spikevoice.training import batches
from retable.models.vocoder.method import Recording
from tests.bench.made_speech import HOP, made_speech

SMALL: dict[str, Any] = {
    "d": 16, "encoder_blocks": 1, "decoder_blocks": 1, "filter": 24, "kernel": 3, "predictor": 16, "postnet": 16,
    "bins": 8, "steps": 120, "batch_size": 4, "lr": 1e-2, "warmup": 5, "standardise": True, "iterations": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Any:
    return made_speech(speakers=2)


@pytest.fixture(scope="module", params=["stsa", "ann"])
def fitted(request: pytest.FixtureRequest, data: Any) -> tuple[SpikeVoiceMethod, Any, Any]:
    method = SpikeVoiceMethod(**SMALL | {"arm": request.param, "T": 1 if request.param == "ann" else 2})
    model, log = method.fit(data, {}, seed=0, device="cpu")
    return method, model, log


def test_it_learns_to_speak(fitted: tuple[SpikeVoiceMethod, Any, Any], data: Any) -> None:
    method, model, log = fitted
    found = Speak().evidence(model, data, seed=0, device="cpu")
    mean_K = np.concatenate([u.mel for u in data.train]).mean(0)
    constant = np.mean([np.abs(u.mel - mean_K).mean() for u in data.held_out])
    assert MelL1().measure(found).value < 0.9 * constant
    assert log["curve"][-1]["loss"] < 0.7 * log["curve"][0]["loss"]
    assert TimeSteps().measure(found).value == method.T


def test_it_comes_back_from_its_state(fitted: tuple[SpikeVoiceMethod, Any, Any], data: Any) -> None:
    method, model, _ = fitted
    again = method.load(model.state_dict(), data, {}, device="cpu")
    for forced in (True, False):
        one, two = (m.speak(data.held_out[0], forced=forced) for m in (model, again))
        assert torch.equal(one.mel, two.mel)
        assert torch.equal(one.wave, two.wave)
    assert model.mel_mean_K.abs().min() > 0  # the spectrogram's scale is a part of the state


def test_energy_is_that_of_the_network_without_its_vocoder(
    fitted: tuple[SpikeVoiceMethod, Any, Any], data: Any
) -> None:
    method, model, _ = fitted
    found = Speak().evidence(model, data, seed=0, device="cpu")
    assert not found.account.uncounted
    assert not found.account.lost_marks
    assert Energy(rule="literature").measure(found).value > 0
    rate = FiringRate().measure(found)
    assert (rate.value is None) == (method.arm == "ann")
    layers = {row.layer for row in found.account.rows}
    assert layers
    assert all("network" in layer for layer in layers)


def test_speech_without_a_frame_cannot_be_stretched(data: Any) -> None:
    model = SpikeVoiceMethod(**SMALL | {"arm": "ann", "T": 1}).build(data).eval()
    bias = model.network.get_parameter("variance_adaptor.duration_predictor.linear_layer.bias")
    torch.nn.init.constant_(bias, -5.0)
    found = Stretch(factor=2).measure(Speak(account_samples=0).evidence(model, data, seed=0, device="cpu"))
    assert found.value is None
    assert "the model speaks not one frame of" in str(found.reason)


def test_every_matrix_product_of_spikevoice_is_driven_by_spikes(data: Any) -> None:
    """The paper's claim of its architecture: no multiply-accumulates but those of normalisations and element-wise work."""
    model = SpikeVoiceMethod(**SMALL | {"T": 2}).build(data).eval()
    account = Speak().evidence(model, data, seed=0, device="cpu").account
    real = {
        (row.layer, row.operator)
        for row in account.rows
        if row.work.mac and row.operator in ("aten.convolution", "aten.addmm", "aten.mm", "aten.bmm")
    }
    assert not real


def test_twice_as_slow_is_twice_as_long(fitted: tuple[SpikeVoiceMethod, Any, Any], data: Any) -> None:
    found = Speak(account_samples=0).evidence(fitted[1], data, seed=0, device="cpu")
    assert Stretch(factor=2).measure(found).value == 2


def test_seeds_decide_everything(data: Any) -> None:
    method = SpikeVoiceMethod(**SMALL | {"T": 2, "steps": 3})
    states = [method.fit(data, {}, seed=seed, device="cpu")[0].state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_an_utterance_sounds_the_same_in_any_company(fitted: tuple[SpikeVoiceMethod, Any, Any], data: Any) -> None:
    _, model, _ = fitted
    alone = Speak(account_samples=0).evidence(model, data, seed=0, device="cpu").pairs
    for pair in alone:
        assert len(pair.mel) == len(pair.reference.mel)
        assert len(pair.wave) == HOP * (len(pair.mel) - 1)


def test_samples_are_heard_and_seen(fitted: tuple[SpikeVoiceMethod, Any, Any], data: Any) -> None:
    files = Speak().evidence(fitted[1], data, seed=0, device="cpu").artefacts()
    shortest = min(data.held_out, key=lambda utterance: len(utterance.mel))
    name = f"utterance-{shortest.name}"
    assert set(files) == {f"{name}.wav", f"{name}.png", "account.json"}
    with wave.open(io.BytesIO(files[f"{name}.wav"])) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
    assert json.loads(files["account.json"])


def test_a_recording_predicts_and_computes_nothing(data: Any) -> None:
    found = Speak().evidence(Recording().build(data), data, seed=0, device="cpu")
    assert MelL1().measure(found).value == 0
    assert "predicts no durations" in str(DurationError().measure(found).reason)
    assert "computes nothing" in str(Energy(rule="full").measure(found).reason)


def test_data_that_do_not_speak_are_refused() -> None:
    with pytest.raises(ValueError, match="espeak-sentences"):
        SpikeVoiceMethod().build(Digits().load())


def test_nothing_held_out_is_refused(data: Any) -> None:
    silent = made_speech(train=2, held_out=0)
    with pytest.raises(BenchError, match="no held-out"):
        Speak().evidence(Recording().build(data), silent, seed=0, device="cpu")


def test_sounds_are_cut_to_16_bits_and_spectrograms_to_their_range() -> None:
    with wave.open(io.BytesIO(wav(np.array([0.0, 2.0, -2.0, np.nan, 0.5]), 8000))) as sound:
        samples = np.frombuffer(sound.readframes(5), "<i2")
    assert samples.tolist() == [0, 32767, -32767, 0, 16384]
    picture = np.asarray(Image.open(io.BytesIO(spectrogram_png(np.array([[0.0, 9.0], [-9.0, 1.0]]), 0.0, 1.0))))
    assert picture.shape == (6, 6, 3)
    assert picture[0, 0].tolist() == picture[0, 5].tolist() != picture[5, 0].tolist()  # the higher band is on top


def test_utterances_of_like_length_meet() -> None:
    lengths = list(range(16))
    order = batches(lengths, 2, seed=0)
    epoch = [next(order) for _ in range(8)]
    assert sorted(i for batch in epoch for i in batch) == lengths
    for group in (epoch[:4], epoch[4:]):
        joined = [lengths[i] for batch in group for i in batch]
        assert joined == sorted(joined, reverse=True)
