"""What stands in for listeners: DNSMOS without a reference, PESQ and STOI against the recording, through their packages.

None of them is a human mean opinion score. Sound is brought to the 16 kHz that all three hear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.datasets.fixed import require_packages
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

HEARD = 16000
Scorer = Literal["dnsmos-ovrl", "dnsmos-sig", "dnsmos-bak", "dnsmos-p808"]
KEYS: dict[Scorer, str] = {
    "dnsmos-ovrl": "ovrl_mos",
    "dnsmos-sig": "sig_mos",
    "dnsmos-bak": "bak_mos",
    "dnsmos-p808": "p808_mos",
}
"""What speechmos calls them."""
INSTALL = "`pip install 'retable[{extra}]'` brings it"


@dataclass(frozen=True, kw_only=True)
class MosProxy:
    """DNSMOS P.835 (`-sig`, `-bak`, `-ovrl`) or P.808 of every utterance: a network's guess at a mean opinion score, 1 to 5.

    It was trained on noisy speech, not on synthesised one, and is no score of listeners. Its weights are those in the package
    speechmos.
    """

    NAME: ClassVar[str] = "mos_proxy"

    scorer: Scorer

    UNIT: ClassVar[str] = "MOS proxy"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        try:
            scores = evidence.dnsmos
        except ImportError as error:
            return absent(self, f"DNSMOS needs {error.name}: {INSTALL.format(extra='speech')}")
        return _mean(self, [score[KEYS[self.scorer]] for score in scores])

    def ready(self) -> None:
        """Raises MissingDataError without the packages."""
        require_packages("DNSMOS", "'retable[speech]'", "speechmos", "onnxruntime", "librosa")


@dataclass(frozen=True, kw_only=True)
class Pesq:
    """PESQ, wide band (ITU-T P.862.2), of every utterance against its recording."""

    NAME: ClassVar[str] = "pesq"

    UNIT: ClassVar[str] = "MOS-LQO"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        try:
            from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality as pesq
        except ImportError as error:
            return absent(self, f"PESQ needs {error.name}: {INSTALL.format(extra='speech')}")
        return _against(self, evidence, lambda spoken, true: pesq(spoken, true, HEARD, "wb"), "pesq", "pesq")

    def ready(self) -> None:
        """Raises MissingDataError without the packages."""
        require_packages("PESQ", "'retable[pesq]'", "torchmetrics", "pesq")


@dataclass(frozen=True, kw_only=True)
class Stoi:
    """Short-time objective intelligibility of every utterance against its recording, 0 to 1."""

    NAME: ClassVar[str] = "stoi"

    UNIT: ClassVar[str] = "correlation"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        try:
            from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility as stoi
        except ImportError as error:
            return absent(self, f"STOI needs {error.name}: {INSTALL.format(extra='speech')}")
        return _against(self, evidence, lambda spoken, true: stoi(spoken, true, HEARD), "pystoi", "speech")

    def ready(self) -> None:
        """Raises MissingDataError without the packages."""
        require_packages("STOI", "'retable[speech]'", "torchmetrics", "pystoi")


def _against(metric: Any, evidence: Any, score: Callable[[Any, Any], Any], package: str, extra: str) -> Measurement:
    """A score an utterance from both sounds, cut to the shorter one; torchmetrics' wrapper says if its `package` is not there."""
    import torch

    values = []
    for pair in evidence.pairs:
        spoken, true = (heard(wave, evidence.rate) for wave in (pair.wave, pair.reference.wave))
        n = min(len(spoken), len(true))
        try:
            values.append(float(score(torch.from_numpy(spoken[:n]), torch.from_numpy(true[:n]))))
        except ModuleNotFoundError:
            return absent(metric, f"{type(metric).__name__.upper()} needs {package}: {INSTALL.format(extra=extra)}")
    return _mean(metric, values)


def heard(wave_N: np.ndarray, rate: int) -> np.ndarray:
    """At 16 kHz, float32; quieter where its peak lies beyond 1."""
    import numpy as np
    from scipy.signal import resample_poly

    common = gcd(HEARD, rate)
    wave = resample_poly(np.nan_to_num(wave_N).astype(np.float64), HEARD // common, rate // common)
    loud: np.ndarray = (wave / max(1.0, float(np.abs(wave).max(initial=0)))).astype(np.float32)
    return loud


@cache
def _scorer() -> Any:
    """speechmos' DNSMOS on one thread a network; the package's own sessions would take every core."""
    import onnxruntime
    from speechmos import dnsmos

    from retable.bench.datasets.fixed import package_folder

    folder = package_folder("speechmos", "speechmos", "the weights of DNSMOS") / "dnsmos_models"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    scorer = dnsmos.DNSMOS.__new__(dnsmos.DNSMOS)
    scorer.onnx_sess, scorer.p808_onnx_sess = (
        onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    )
    return scorer


def dnsmos(waves: Sequence[np.ndarray], rate: int) -> list[dict[str, float]]:
    """All four scores of every sound, under speechmos' names. Raises ImportError without the packages."""
    scorer = _scorer()
    return [scorer(heard(wave, rate), HEARD, False) for wave in waves]


def _mean(metric: Any, values: Sequence[float]) -> Measurement:
    import numpy as np

    values = [float(value) for value in values]
    if reason := unusable(values, "utterances"):
        return absent(metric, reason)
    return measured(metric, float(np.mean(values)), n=len(values), samples=tuple(values))
