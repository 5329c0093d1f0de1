"""The recording as a method: what the metrics say of it is the ceiling of every synthesiser. Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.models.vocoder.choice import VocoderName, check_vocoder

if TYPE_CHECKING:
    from retable.models.vocoder.recording import RecordingSpeaker

Fit = tuple["RecordingSpeaker", dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Speaks every utterance as it was recorded; with a `vocoder` as its own spectrogram sounds."""

    NAME: ClassVar[str] = "recording"

    vocoder: VocoderName | None = None
    vocoder_weights: str | None = None
    iterations: int = 32

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_vocoder(self.vocoder, self.vocoder_weights, self.iterations)

    def build(self, data: Any) -> RecordingSpeaker:
        """Raises MissingWeights, CheckpointError."""
        from retable.models.vocoder.choice import vocoder
        from retable.models.vocoder.recording import RecordingSpeaker

        if self.vocoder is None or data is None:
            return RecordingSpeaker(None)
        return RecordingSpeaker(vocoder(self.vocoder, self.vocoder_weights, self.iterations, data.front_end))

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> Fit:
        return self.build(data), {}

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> RecordingSpeaker:
        return self.build(data)

    def weights_digest(self) -> str | None:
        """That of the vocoder's weights, None without any. Raises MissingWeights."""
        from retable.models.common.weights import weights_digest

        return None if self.vocoder_weights is None else weights_digest(self.vocoder_weights)
