"""Vocoders: Griffin-Lim on known sounds, HiFi-GAN against an independent implementation of its definition."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from retable.bench.datasets.speech.front_end import FrontEnd
from retable.bench.datasets.speech.pitch import yin
from retable.models.common.errors import CheckpointError, MissingWeights
from retable.models.vocoder.choice import vocoder
from retable.models.vocoder.griffin_lim import GriffinLim
from retable.models.vocoder.hifigan import HiFiGAN, NormalisedConv, PublishedHiFiGAN, Size
from retable.models.vocoder.method import Recording
from tests.bench.made_speech import HOP, RATE, buzz, made_speech

SMALL = Size(channels=16, rates=(4, 2), kernels=(8, 4), widths=(3, 5), dilations=(1, 3), bands=6)


def log_mel(wave: np.ndarray) -> torch.Tensor:
    front_end = FrontEnd()
    return torch.from_numpy(front_end.log_mel(front_end.magnitudes(wave)))


class TestGriffinLim:
    def test_a_vowel_keeps_its_spectrogram_and_its_pitch(self) -> None:
        wave = buzz(200, 30)
        heard = GriffinLim(FrontEnd())(log_mel(wave)).numpy()
        assert len(heard) == HOP * 30
        assert (log_mel(heard) - log_mel(wave))[4:-4].abs().mean() < 0.6
        found = yin(heard, RATE, HOP)[5:-5]
        assert np.median(found) == pytest.approx(200, rel=0.02)

    def test_more_iterations_come_nearer(self) -> None:
        mel = log_mel(buzz(150, 20, (700, 1200)))
        away = [float((log_mel(GriffinLim(FrontEnd(), n)(mel).numpy()) - mel).abs().mean()) for n in (1, 32)]
        assert away[1] < 0.8 * away[0]

    def test_the_same_spectrogram_sounds_the_same(self) -> None:
        mel = log_mel(buzz(150, 12))
        first = GriffinLim(FrontEnd())(mel)
        torch.manual_seed(99)
        assert torch.equal(first, GriffinLim(FrontEnd())(mel))


class TestHiFiGAN:
    def test_the_published_generator_is_counted(self) -> None:
        """13.92 M parameters (arXiv 2010.05646, Table 1), without the g of weight normalisation."""
        with torch.device("meta"):
            model = HiFiGAN()
        gains = sum(parameter.numel() for name, parameter in model.named_parameters() if name.endswith("weight_g"))
        weights = sum(parameter.numel() for parameter in model.parameters()) - gains
        assert round(weights / 1e6, 2) == 13.93
        keys = set(model.state_dict())
        assert {"conv_pre.weight_g", "ups.3.weight_v", "resblocks.11.convs2.2.bias", "conv_post.weight_v"} <= keys
        assert len(keys) == 3 * (2 + 4 + 12 * 6)

    def test_it_is_what_transformers_has(self) -> None:
        transformers = pytest.importorskip("transformers")
        config = transformers.SpeechT5HifiGanConfig(
            model_in_dim=6,
            upsample_initial_channel=16,
            upsample_rates=[4, 2],
            upsample_kernel_sizes=[8, 4],
            resblock_kernel_sizes=[3, 5],
            resblock_dilation_sizes=[[1, 3], [1, 3]],
            normalize_before=False,
        )
        other, ours = transformers.SpeechT5HifiGan(config).eval(), HiFiGAN(SMALL)
        modules = dict(ours.named_modules())
        names = {"conv_pre": "conv_pre", "conv_post": "conv_post"} | {f"ups.{i}": f"upsampler.{i}" for i in range(2)}
        for name, module in modules.items():
            if isinstance(module, NormalisedConv):
                torch.nn.init.normal_(module.weight_v, std=0.3)
                torch.nn.init.uniform_(module.weight_g, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.1)
                theirs = other.get_submodule(names.get(name, name))
                with torch.no_grad():
                    norm = module.weight_v.norm(dim=(1, 2), keepdim=True)
                    theirs.weight.copy_(module.weight_g * module.weight_v / norm)
                    theirs.bias.copy_(module.bias)
        mel = torch.randn(2, 9, 6)
        with torch.no_grad():
            expected, found = other(mel), ours(mel.transpose(1, 2))
        assert found.shape == (2, 9 * 8)
        assert 0.05 < expected.abs().mean() < 0.95
        assert torch.allclose(found, expected, atol=1e-5)

    def test_a_released_file_is_loaded_and_another_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        torch.manual_seed(1)
        torch.save({"generator": HiFiGAN().state_dict()}, tmp_path / "g.pth.tar")
        data = made_speech(train=2, held_out=1)
        model = Recording(vocoder="hifi-gan", vocoder_weights="g.pth.tar").build(data)
        spoken = model.speak(data.held_out[0])
        assert spoken.wave.shape == (HOP * len(spoken.mel),)
        torch.save({"generator": HiFiGAN(SMALL).state_dict()}, tmp_path / "small.pth")
        with pytest.raises(CheckpointError, match=r"small\.pth"):
            PublishedHiFiGAN(tmp_path / "small.pth")

    def test_weights_that_are_missing_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        with pytest.raises(MissingWeights, match=r"g\.pth"):
            vocoder("hifi-gan", "g.pth", 32, FrontEnd())

    def test_other_spectrograms_are_refused(self) -> None:
        with pytest.raises(ValueError, match="80 mel bands"):
            vocoder("hifi-gan", "g.pth", 32, FrontEnd(bands=40))


class TestRecording:
    def test_it_says_what_was_recorded(self) -> None:
        data = made_speech(train=2, held_out=1)
        method = Recording()
        model, _ = method.fit(data, {}, seed=0, device="cpu")
        spoken = model.speak(data.held_out[0])
        assert np.array_equal(spoken.wave.numpy(), data.held_out[0].wave)
        assert np.array_equal(spoken.mel.numpy(), data.held_out[0].mel)
        assert spoken.durations is None
        assert model.state_dict() == {}

    def test_through_a_vocoder_it_says_its_spectrogram(self) -> None:
        data = made_speech(train=2, held_out=1)
        spoken = Recording(vocoder="griffin-lim").build(data).speak(data.held_out[0])
        assert len(spoken.wave) == HOP * (len(data.held_out[0].mel) - 1)

    @pytest.mark.parametrize("options", [{"vocoder": "hifi-gan"}, {"vocoder_weights": "g.pth"}, {"iterations": 0}])
    def test_what_does_not_belong_together_is_refused(self, options: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"vocoder_weights|iterations"):
            Recording(**options)  # type: ignore[arg-type]


def test_front_end_is_all_that_a_vocoder_reads() -> None:
    f = FrontEnd()
    bare = SimpleNamespace(fft=f.fft, hop=f.hop, window=f.window, basis=f.basis)
    mel = log_mel(buzz(150, 8))
    assert torch.equal(GriffinLim(bare)(mel), GriffinLim(f)(mel))
