"""Metrics of speech against closed forms, damage that has to be heard, and the packages behind them."""

from __future__ import annotations

import math
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retable.bench.declare.params import build_metric
from retable.bench.metrics import listening
from retable.bench.metrics.listening import MosProxy, Pesq, Stoi, heard
from retable.bench.metrics.speech import (
    DurationError,
    F0Error,
    MelCepstralDistortion,
    MelL1,
    Stretch,
    VoicingError,
    cepstral_distortion,
)
from retable.bench.tasks.speak import Speak
from tests.bench.made_speech import Repeater, made_speech

DATA = made_speech()


def evidence(**options: Any) -> Any:
    return Speak(account_samples=0).evidence(Repeater(**options), DATA, seed=0, device="cpu")


def noisy(amount: float) -> Any:
    rng = np.random.default_rng(0)
    return lambda wave: np.clip(wave + amount * rng.normal(size=len(wave)), -1, 1)


class TestAgainstTheRecording:
    def test_the_recording_itself_has_no_error(self) -> None:
        same = evidence()
        for metric in (MelL1(), MelCepstralDistortion(), F0Error(), VoicingError(), DurationError()):
            measurement = metric.measure(same)
            assert measurement.value == pytest.approx(0, abs=1e-4), metric
            assert measurement.n == 3

    def test_half_as_loud_is_ln_2_in_mel_and_nothing_in_cepstra(self) -> None:
        pairs = [SimpleNamespace(mel=u.mel - math.log(2), reference=u) for u in DATA.held_out]
        quiet = SimpleNamespace(pairs=pairs)
        assert MelL1().measure(quiet).value == pytest.approx(math.log(2), abs=1e-5)
        assert MelCepstralDistortion().measure(quiet).value == pytest.approx(0, abs=1e-4)

    def test_a_known_cepstrum_has_its_distortion(self) -> None:
        K, angles = 80, math.pi * (np.arange(80) + 0.5) / 80
        true = np.zeros((5, K))
        one = 10 * math.sqrt(2) / math.log(10)
        assert cepstral_distortion(true + 0.7 * 2 * np.cos(3 * angles), true) == pytest.approx(0.7 * one)
        assert cepstral_distortion(true + 2 * np.cos(14 * angles), true) == pytest.approx(0, abs=1e-9)
        assert cepstral_distortion(true + 1.0, true) == pytest.approx(0, abs=1e-9)  # loudness alone

    def test_faster_sound_has_a_higher_pitch(self) -> None:
        def faster(wave: np.ndarray) -> np.ndarray:
            n = np.arange(len(wave))
            return np.interp(1.1 * n % (len(wave) - 1), n, wave)

        value = F0Error().measure(evidence(spoil=faster)).value
        pitches = np.concatenate([u.f0[u.f0 > 0] for u in DATA.held_out])
        assert value == pytest.approx(0.1 * np.sqrt((pitches.astype(float) ** 2).mean()), rel=0.5)

    def test_noise_has_no_voice(self) -> None:
        voiced = 100 * np.mean([(u.f0 > 0).mean() for u in DATA.held_out])
        hiss = evidence(spoil=lambda wave: 0.1 * np.random.default_rng(0).normal(size=len(wave)))
        assert VoicingError().measure(hiss).value == pytest.approx(voiced, abs=8)
        silent = F0Error().measure(evidence(spoil=np.zeros_like))
        assert silent.value is None
        assert "no frame has a voice" in str(silent.reason)

    def test_durations_are_compared_by_phoneme(self) -> None:
        assert DurationError().measure(evidence(off=1.5)).value == pytest.approx(1.5)

    def test_a_request_to_last_longer(self) -> None:
        assert Stretch(factor=2).measure(evidence()).value == 2
        assert Stretch(factor=2).measure(evidence()).exact
        assert build_metric("stretch[1.5]").measure(evidence()).value == 1.5
        assert not Stretch(factor=1.5).measure(evidence()).exact
        with pytest.raises(Exception, match="above 0"):
            build_metric("stretch[-1]")

    def test_what_predicts_nothing_has_no_durations(self) -> None:
        found = evidence()
        found.model.PREDICTS = False
        assert "predicts no durations" in str(Stretch(factor=2).measure(found).reason)

    def test_speech_that_is_no_number_is_absent(self) -> None:
        bad = evidence(spoil=lambda wave: np.where(np.arange(len(wave)) == 3000, np.nan, wave))
        measurement = MelL1().measure(bad)
        assert measurement.value is None
        assert "not finite" in str(measurement.reason)


class TestListening:
    def test_sound_is_brought_to_16_khz_within_bounds(self) -> None:
        tone = 3 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
        wave = heard(tone, 22050)
        assert (len(wave), wave.dtype) == (16000, np.float32)
        assert np.abs(wave).max() == pytest.approx(1, abs=1e-3)
        expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
        assert np.abs(wave - expected)[200:-200].max() < 0.05

    @pytest.mark.skipif(find_spec("speechmos") is None, reason="speechmos is not installed")
    def test_dnsmos_is_the_packages_own_and_hears_noise(self) -> None:
        from speechmos import dnsmos

        clean, spoilt = evidence(), evidence(spoil=noisy(0.1))
        for scorer, key in listening.KEYS.items():
            own = [dnsmos.run(heard(pair.wave, 22050), 16000)[key] for pair in clean.pairs]
            measurement = MosProxy(scorer=scorer).measure(clean)
            assert measurement.samples == pytest.approx(own, abs=1e-4)
            assert measurement.unit == "MOS proxy"
        for scorer in ("dnsmos-bak", "dnsmos-ovrl"):
            metric = build_metric(f"mos_proxy[{scorer}]")
            assert metric.measure(clean).value > metric.measure(spoilt).value + 0.1

    @pytest.mark.parametrize(("metric", "package", "best"), [(Pesq(), "pesq", 4.6), (Stoi(), "pystoi", 1.0)])
    def test_against_the_recording(self, metric: Any, package: str, best: float) -> None:
        pytest.importorskip(package)
        pytest.importorskip("torchmetrics")
        long = made_speech(train=2, held_out=2)
        for utterance in long.held_out:  # both need more than a few frames
            object.__setattr__(utterance, "wave", np.tile(utterance.wave, 5))
        clean, spoilt = (
            Speak(account_samples=0).evidence(Repeater(spoil=spoil), long, seed=0, device="cpu")
            for spoil in (lambda wave: wave, noisy(0.1))
        )
        assert metric.measure(clean).value == pytest.approx(best, abs=0.1)
        assert metric.measure(spoilt).value < best - 0.1

    @pytest.mark.parametrize(
        ("metric", "module", "extra"),
        [
            (MosProxy(scorer="dnsmos-sig"), "speechmos", "retable[speech]"),
            (Pesq(), "torchmetrics.functional.audio.pesq", "retable[speech]"),
            (Stoi(), "torchmetrics.functional.audio.stoi", "retable[speech]"),
        ],
    )
    def test_without_its_package_a_metric_says_what_to_install(
        self, metric: Any, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import sys

        listening._scorer.cache_clear()
        monkeypatch.setitem(sys.modules, module, None)
        measurement = metric.measure(evidence())
        assert measurement.value is None
        assert f"pip install '{extra}'" in str(measurement.reason)
