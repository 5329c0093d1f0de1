"""SpikeVoice as a suite declares it (arXiv 2408.00788). Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.models.spikevoice.recipe import Recipe
from retable.models.spikevoice.sizes import Arm, Config
from retable.models.vocoder.choice import VocoderName, check_vocoder

if TYPE_CHECKING:
    from retable.models.spikevoice.speech import Synthesizer

Fit = tuple["Synthesizer", dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SpikeVoiceMethod(Recipe):
    """A network of the `arm`, trained on aligned speech; sizes are those of `sizes.Config`, the defaults the published ones.

    Symbols, speakers and the level of pitches and energies are the data's. `vocoder` makes the sound, with `iterations` of
    Griffin-Lim, or with HiFi-GAN's `vocoder_weights` below $BENCH_DATA.
    """

    NAME: ClassVar[str] = "spikevoice"

    arm: Arm = "stsa"
    T: int = 4
    d: int = 256
    heads: int = 2
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    filter: int = 1024
    kernel: int = 9
    predictor: int = 256
    bins: int = 256
    postnet: int = 512
    longest: int = 1000
    energy_by_pitch: bool = True
    vocoder: VocoderName = "griffin-lim"
    vocoder_weights: str | None = None
    iterations: int = 32

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.config(None)
        check_vocoder(self.vocoder, self.vocoder_weights, self.iterations)

    def config(self, data: Any) -> Config:
        """Without data that of one speaker and the released code's 360 symbols. Raises ValueError naming a field."""
        of_data: dict[str, Any] = {}
        if data is not None:
            of_data = {
                "symbols": len(data.symbols),
                "speakers": len(data.speakers) if len(data.speakers) > 1 else 0,
                "pitch_level": data.level,
                "energy_level": data.level,
                "mels": data.front_end.bands,
            }
        return Config(
            arm=self.arm,
            T=self.T,
            d=self.d,
            heads=self.heads,
            encoder_blocks=self.encoder_blocks,
            decoder_blocks=self.decoder_blocks,
            filter=self.filter,
            kernels=(self.kernel, 1),
            predictor=self.predictor,
            bins=self.bins,
            postnet=self.postnet,
            longest=self.longest,
            energy_by_pitch=self.energy_by_pitch,
            **of_data,
        )

    def build(self, data: Any) -> Synthesizer:
        """Random weights from torch's own generator; without data there is no vocoder.

        Raises ValueError for data that are no speech, MissingWeights, CheckpointError.
        """
        from retable.models.spikevoice.network import SpikeVoice
        from retable.models.spikevoice.speech import Synthesizer
        from retable.models.vocoder.choice import vocoder

        if data is None:
            return Synthesizer(SpikeVoice(self.config(None)), None)
        if not hasattr(data, "front_end"):
            raise ValueError("spikevoice needs aligned speech (the data sets espeak-sentences and speech-corpus)")
        bounds = {name: (scale.least, scale.greatest) for name, scale in data.scales.items()}
        sound = vocoder(self.vocoder, self.vocoder_weights, self.iterations, data.front_end)
        return Synthesizer(SpikeVoice(self.config(data), **bounds), sound)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> Fit:
        """Raises FloatingPointError when a loss is not finite, MissingWeights, CheckpointError."""
        import torch

        from retable.models.spikevoice.training import fit_speech

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights
            model = self.build(data)
        return model, fit_speech(model, data, self, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Synthesizer:
        """The model that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """That of the vocoder's weights, None without any. Raises MissingWeights."""
        from retable.models.common.weights import weights_digest

        return None if self.vocoder_weights is None else weights_digest(self.vocoder_weights)
