"""A vocoder by name, without torch until it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

VocoderName = Literal["griffin-lim", "hifi-gan"]
HIFI_GAN = (22050, 1024, 256, 80, 0.0, 8000.0)
"""What spectrograms the released weights were trained on: rate, fft, hop, bands, lowest and highest frequency."""


def check_vocoder(name: VocoderName | None, weights: str | None, iterations: int) -> None:
    """Raises ValueError for what cannot belong together."""
    if (name == "hifi-gan") != (weights is not None):
        raise ValueError(
            "`vocoder_weights` name the generator's state dict for the `vocoder` hifi-gan, and for it alone"
        )
    if iterations < 1:
        raise ValueError(f"`iterations` must be at least 1, not {iterations}")


def vocoder(name: VocoderName, weights: str | None, iterations: int, front_end: Any) -> Callable[[Tensor], Tensor]:
    """Log-mel (M, K) -> samples (N). Raises MissingWeights, CheckpointError; ValueError for spectrograms it does not know."""
    if name == "griffin-lim":
        from retable.models.vocoder.griffin_lim import GriffinLim

        return GriffinLim(front_end, iterations)
    from retable.models.common.weights import weights_file
    from retable.models.vocoder.hifigan import PublishedHiFiGAN

    f = front_end
    if (f.rate, f.fft, f.hop, f.bands, f.low, f.high) != HIFI_GAN:
        raise ValueError(
            "hifi-gan's released weights need 80 mel bands up to 8000 Hz of 22050 samples a second, hop 256"
        )
    assert weights is not None
    return PublishedHiFiGAN(weights_file(weights))
