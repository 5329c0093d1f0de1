"""Speech: the front end and F0 against known sounds, alignments, the synthesised corpus, the published ones' formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from retable.bench.datasets.speech import corpora, espeak, pitch, synthetic, textgrid
from retable.bench.datasets.speech.corpora import SpeechCorpus, read_sound
from retable.bench.datasets.speech.features import Recording, by_phoneme, frames_of, inside, scale_of
from retable.bench.datasets.speech.front_end import FrontEnd
from retable.bench.datasets.speech.synthetic import EspeakSentences, trimmed
from retable.bench.errors import BenchError, MissingDataError
from tests.bench.made_speech import HOP, RATE, buzz, made_speech

needs_espeak = pytest.mark.skipif(find_spec(espeak.MODULE) is None, reason="espeakng-loader is not installed")


class TestFrontEnd:
    def test_a_tone_is_loudest_in_the_band_that_holds_it(self) -> None:
        front_end = FrontEnd()
        for hz in (300, 1000, 4000):
            wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
            mel_MK = front_end.log_mel(front_end.magnitudes(wave))
            loudest = int(mel_MK[20].argmax())
            inside_band = np.flatnonzero(front_end.basis[loudest])
            low, high = inside_band[[0, -1]] * RATE / front_end.fft
            assert low - 22 <= hz <= high + 22

    def test_silence_is_the_floor(self) -> None:
        front_end = FrontEnd()
        mel_MK = front_end.log_mel(front_end.magnitudes(np.zeros(4000)))
        assert np.allclose(mel_MK, np.log(1e-5))
        assert len(mel_MK) == front_end.frames(4000) == 16

    def test_magnitudes_are_those_of_torch(self) -> None:
        import torch

        wave = np.random.default_rng(0).normal(size=5000).astype(np.float32)
        front_end = FrontEnd()
        window = torch.from_numpy(front_end.window)
        spectrum = torch.stft(torch.from_numpy(wave), 1024, 256, window=window, return_complex=True).abs().T
        assert np.allclose(front_end.magnitudes(wave), spectrum.numpy(), atol=1e-3)

    def test_the_basis_is_that_of_librosa(self) -> None:
        librosa = pytest.importorskip("librosa")
        f = FrontEnd()
        assert np.allclose(
            f.basis, librosa.filters.mel(sr=f.rate, n_fft=f.fft, n_mels=80, fmin=0, fmax=8000), atol=1e-7
        )

    def test_too_short_a_recording_is_refused(self) -> None:
        with pytest.raises(BenchError, match="too short"):
            FrontEnd().magnitudes(np.zeros(512))


class TestPitch:
    @settings(max_examples=15, deadline=None)
    @given(hz=st.floats(75, 400))
    def test_a_buzz_has_its_pitch(self, hz: float) -> None:
        found = pitch.yin(buzz(hz, 30), RATE, HOP)[5:-5]
        assert (found > 0).all()
        assert np.allclose(found, hz, rtol=0.01)

    def test_noise_and_silence_have_no_voice(self) -> None:
        noise = np.random.default_rng(0).normal(size=20 * HOP)
        assert (pitch.yin(noise, RATE, HOP) > 0).mean() < 0.1
        assert not pitch.yin(np.zeros(20 * HOP), RATE, HOP).any()

    def test_there_are_as_many_frames_as_in_the_spectrogram(self) -> None:
        for samples in (2048, 2049, 5000):
            assert len(pitch.yin(np.zeros(samples), RATE, HOP)) == FrontEnd().frames(samples)

    def test_gaps_are_bridged_in_a_straight_line(self) -> None:
        assert pitch.filled(np.array([0, 100, 0, 0, 130, 0], np.float32)).tolist() == [100, 100, 110, 120, 130, 130]

    def test_dio_without_its_package_says_what_to_install(self) -> None:
        if find_spec("pyworld"):
            pytest.skip("pyworld is installed")
        with pytest.raises(MissingDataError, match="pip install pyworld"):
            pitch.f0(np.zeros(4000), RATE, HOP, "dio")


class TestFeatures:
    @settings(max_examples=50, deadline=None)
    @given(steps=st.lists(st.integers(0, 3000), min_size=1, max_size=12), first=st.integers(0, 400))
    def test_durations_add_up_to_the_frames(self, steps: list[int], first: int) -> None:
        onsets = first + np.append(0, np.cumsum(steps[:-1])).astype(np.int64)
        samples = int(onsets[-1]) + steps[-1] + 600
        durations = frames_of(aligned(onsets, samples), FrontEnd().frames(samples), HOP)
        assert durations.sum() == FrontEnd().frames(samples)
        assert (durations >= 0).all()

    def test_phonemes_out_of_order_are_refused(self) -> None:
        with pytest.raises(BenchError, match="follow each other"):
            frames_of(aligned(np.array([0, 5000, 1000]), 8000), 32, HOP)

    def test_means_are_over_each_phoneme(self) -> None:
        values = np.arange(6, dtype=np.float32)
        assert by_phoneme(values, np.array([2, 0, 4])).tolist() == [0.5, 0.0, 3.5]

    def test_outliers_count_for_the_range_alone(self) -> None:
        values = [np.array([1.0, 2, 3, 4, 5, 1000], np.float32)]
        assert inside(values[0]).tolist() == [1, 2, 3, 4, 5]
        scale = scale_of(values)
        assert (scale.mean, scale.deviation) == (3.0, pytest.approx(2**0.5))
        assert scale.greatest == pytest.approx(997 / 2**0.5)

    @pytest.mark.parametrize("level", ["phoneme", "frame"])
    def test_features_are_standardised_at_their_level(self, level: Any) -> None:
        data = made_speech(level=level)
        for utterance in data.train:
            expected = len(utterance.phonemes) if level == "phoneme" else len(utterance.mel)
            assert len(utterance.pitch) == len(utterance.energy) == expected
            assert utterance.durations.sum() == len(utterance.mel) == len(utterance.f0)
        pitches = np.concatenate([utterance.pitch for utterance in data.train])
        assert abs(np.median(pitches)) < 0.5
        assert (pitches.min(), pitches.max()) == pytest.approx(
            (data.scales["pitch"].least, data.scales["pitch"].greatest)
        )


def aligned(onsets: np.ndarray, samples: int) -> Recording:
    return Recording(name="r", text="", speaker=0, wave=np.zeros(samples), phonemes=np.ones(len(onsets)), onsets=onsets)


class TestEspeak:
    @needs_espeak
    def test_two_processes_say_the_same(self, tmp_path: Path) -> None:
        asked = EspeakSentences(voices=("en-us+m3", "en-us+f4", "cmn"), train=3, held_out=1)
        spoken = []
        for name in ("a", "b"):  # each speaks in a process of its own
            espeak.synthesise(asked._orders(), tmp_path / f"{name}.npz")
            spoken.append(espeak.read(tmp_path / f"{name}.npz"))
        assert len(spoken[0]) == 12
        for one, other in zip(*spoken, strict=True):
            assert np.array_equal(one.wave, other.wave)
            assert np.array_equal(one.onsets, other.onsets)
            assert one.phonemes == other.phonemes
        again = asked._orders()[:1] * 2
        espeak.synthesise(again, tmp_path / "c.npz")
        first, second = espeak.read(tmp_path / "c.npz")
        assert not np.array_equal(
            first.wave, second.wave
        )  # what was said before is heard: hence one order, one process

    @needs_espeak
    def test_a_corpus_is_spoken_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        calls: list[int] = []
        speak = espeak.synthesise

        def counted(orders: Sequence[espeak.Order], out: Path) -> None:
            calls.append(len(orders))
            speak(orders, out)

        monkeypatch.setattr(espeak, "synthesise", counted)
        for _ in range(2):
            synthetic.corpus.cache_clear()
            EspeakSentences(train=2, held_out=1).load()
        EspeakSentences(train=2, held_out=1, speed=200).load()
        assert calls == [3, 3]

    @needs_espeak
    def test_what_it_says_is_aligned(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        data = EspeakSentences(voices=("en-us+m3", "cmn"), train=4, held_out=2).load()
        assert (len(data.train), len(data.held_out), data.speakers) == (8, 4, ("en-us+m3", "cmn"))
        assert not {utterance.text for utterance in data.train} & {utterance.text for utterance in data.held_out}
        for utterance in (*data.train, *data.held_out):
            assert utterance.durations.sum() == len(utterance.mel)
            said = [data.symbols[number - 1] for number in utterance.phonemes]
            assert said[0] not in synthetic.PAUSES
            assert said[-1] not in synthetic.PAUSES
            assert 0.3 < (utterance.f0 > 0).mean() < 0.95

    @needs_espeak
    @pytest.mark.parametrize(("voice", "reason"), [("en-us+f3", "breathes"), ("en-zz", "no voice 'en-zz'")])
    def test_a_voice_that_cannot_be_had_is_refused(
        self, voice: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        with pytest.raises(BenchError, match=reason):
            EspeakSentences(voices=(voice,), train=2, held_out=1).load()

    def test_without_the_package_the_data_are_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(espeak, "MODULE", "no_such_module")
        with pytest.raises(MissingDataError, match="pip install espeakng-loader"):
            EspeakSentences().digest()

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"voices": ()}, "`voices`"),
            ({"voices": ("fr-fr",)}, "fr-fr"),
            ({"voices": ("cmn", "cmn")}, "none twice"),
            ({"train": 120, "held_out": 8}, "125 sentences"),
            ({"speed": 10}, "`speed`"),
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, options: dict[str, Any], named: str) -> None:
        with pytest.raises(BenchError, match=named):
            EspeakSentences(**options)

    def test_pauses_are_cut_at_both_ends_and_kept_within(self) -> None:
        spoken = espeak.Spoken(
            wave=np.zeros(900, np.int16), phonemes=("_:", "a", "_", "b", "_:", "_"), onsets=np.arange(6) * 100
        )
        phonemes, onsets, end = trimmed(spoken)
        assert (phonemes, onsets.tolist(), end) == (("a", "_", "b"), [100, 200, 300], 400)


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.2
            text = "say ""5"" = [3]"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.2
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.2
            text = "sil"
        intervals [2]:
            xmin = 0.2
            xmax = 0.5
            text = "S"
        intervals [3]:
            xmin = 0.5
            xmax = 1.0
            text = "EY1"
        intervals [4]:
            xmin = 1.0
            xmax = 1.2
            text = ""
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.2
<exists>
1
"IntervalTier"
"phones"
0
1.2
2
0
0.5
"S"
0.5
1.2
"EY1"
"""


class TestTextGrid:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_the_long_format(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "a.TextGrid"
        path.write_text(LONG, encoding=encoding)
        phones = textgrid.intervals(path)
        assert [(i.start, i.end, i.text) for i in phones] == [
            (0, 0.2, "sil"), (0.2, 0.5, "S"), (0.5, 1.0, "EY1"), (1.0, 1.2, "")
        ]  # fmt: skip
        assert [i.text for i in textgrid.spoken(phones)] == ["S", "EY1"]
        assert textgrid.intervals(path, "words")[0].text == 'say "5" = [3]'

    def test_the_short_format(self, tmp_path: Path) -> None:
        path = tmp_path / "a.TextGrid"
        path.write_text(SHORT)
        assert [i.text for i in textgrid.intervals(path)] == ["S", "EY1"]

    @pytest.mark.parametrize("content", ["", "nothing", LONG[:-80], LONG.replace("ooTextFile", "else")])
    def test_what_is_none_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "a.TextGrid"
        path.write_text(content)
        with pytest.raises(BenchError, match="not a TextGrid"):
            textgrid.intervals(path)

    def test_a_tier_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.TextGrid"
        path.write_text(SHORT)
        with pytest.raises(BenchError, match="no tier 'words'; it has 'phones'"):
            textgrid.intervals(path, "words")


LAYOUTS = {
    "ljspeech": ("LJSpeech-1.1/wavs/{name}.wav", "LJSpeech-1.1", 22050),
    "baker": ("BZNSYP/Wave/{name}.wav", "BZNSYP", 48000),
    "libritts": ("LibriTTS/train-clean-100/19/198/{name}.wav", "19", 24000),
    "aishell3": ("AISHELL-3/train/wav/SSB0005/{name}.wav", "SSB0005", 44100),
}


class TestCorpora:
    @pytest.mark.parametrize("corpus", LAYOUTS)
    def test_each_in_its_layout(self, corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        pattern, speaker, rate = LAYOUTS[corpus]
        for i in range(3):
            sound = tmp_path / pattern.format(name=f"u{i}")
            sound.parent.mkdir(parents=True, exist_ok=True)
            t = np.arange(int(1.2 * rate)) / rate
            tone = np.sign(np.sin(2 * np.pi * (110 + 10 * i + 20 * t) * t)) * (0.1 + 0.2 * t)
            wavfile.write(sound, rate, (tone * 32767).astype(np.int16))
            grid = tmp_path / pattern.split("/")[0] / "TextGrid" / speaker / f"u{i}.TextGrid"
            grid.parent.mkdir(parents=True, exist_ok=True)
            grid.write_text(LONG)
        component = SpeechCorpus(corpus=corpus, held_out=1, pitch="yin")
        data = component.load()
        assert (len(data.train), len(data.held_out), data.symbols, data.speakers) == (2, 1, ("EY1", "S"), (speaker,))
        utterance = data.train[0]
        assert utterance.phonemes.tolist() == [2, 1]
        assert len(utterance.wave) == pytest.approx(0.8 * 22050, abs=2)  # silence cut at both ends
        assert utterance.durations.sum() == len(utterance.mel)
        assert abs(utterance.durations[0] - 0.3 * 22050 / 256) <= 1
        again = component.load()
        assert np.array_equal(again.train[0].mel, utterance.mel)
        assert component.digest() == component.digest() != SpeechCorpus(corpus=corpus, held_out=2, pitch="yin").digest()

    def test_what_is_missing_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        with pytest.raises(MissingDataError, match="put its recordings at"):
            SpeechCorpus().digest()
        sound = tmp_path / "LJSpeech-1.1/wavs/a.wav"
        sound.parent.mkdir(parents=True)
        wavfile.write(sound, 22050, np.zeros(10, np.int16))
        with pytest.raises(MissingDataError, match=r"no alignment at .*TextGrid/LJSpeech-1.1/a.TextGrid"):
            SpeechCorpus().digest()

    def test_sounds_are_scaled_mixed_and_resampled(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        tone = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
        wavfile.write(path, 48000, (np.stack([tone, tone], 1) * 2**30).astype(np.int32))
        wave = read_sound(path, 22050)
        assert len(wave) == 22050
        expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
        assert np.allclose(wave[500:-500], expected[500:-500], atol=1e-3)
        wavfile.write(path, 22050, np.array([0, 64, 128, 192], np.uint8))
        assert read_sound(path, 22050).tolist() == [-1.0, -0.5, 0.0, 0.5]
        path.write_text(json.dumps({}))
        with pytest.raises(BenchError, match="not a WAV file"):
            read_sound(path, 22050)

    def test_a_few_recordings_that_nobody_could_align_are_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        monkeypatch.setattr(corpora, "LEFT_OUT", 0.5)
        sounds, grids = tmp_path / "LJSpeech-1.1/wavs", tmp_path / "LJSpeech-1.1/TextGrid/LJSpeech"
        for folder in (sounds, grids):
            folder.mkdir(parents=True)
        t = np.arange(int(1.2 * 22050)) / 22050
        for name, voice in (("a", 1), ("b", 1), ("silent", 0), ("unaligned", 1)):
            tone = voice * np.sign(np.sin(2 * np.pi * (110 + 40 * t) * t)) * (0.1 + 0.2 * t)
            wavfile.write(sounds / f"{name}.wav", 22050, (tone * 32767).astype(np.int16))
            if name != "unaligned":
                (grids / f"{name}.TextGrid").write_text(LONG)
        with pytest.warns(UserWarning, match="are left out") as told:
            data = SpeechCorpus(held_out=1, pitch="yin").load()
        assert [str(one.message).partition(", ")[0] for one in told] == [
            "1 of 4 recordings are left out",
            "1 of 3 recordings are left out",
        ]
        assert sorted(utterance.name for utterance in (*data.train, *data.held_out)) == ["a", "b"]
        monkeypatch.setattr(corpora, "LEFT_OUT", 0.3)
        with (
            pytest.warns(UserWarning, match="left out"),
            pytest.raises(MissingDataError, match=r"1 of 3 recordings cannot be used, more than 30%: .*silent.wav"),
        ):
            SpeechCorpus(held_out=1, pitch="yin").load()
