"""What tuning trained, what it left of the backbone, and what it did to its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

QUANTILES = tuple(q / 20 for q in range(21))
NOT_LOOKED_AT = "the task looks at no images (`images` is 0)"


@dataclass(frozen=True, kw_only=True)
class TunedBesideHead:
    """Numbers that tuning trains, without the head: prompts, adapters, weights of the backbone."""

    NAME: ClassVar[str] = "tuned_beside_head"

    UNIT: ClassVar[str] = "parameters"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        head = {id(weight) for weight in evidence.model.head.parameters()}
        if not head:
            return absent(self, "the model has no head")
        rest = [weight.numel() for weight in evidence.model.parameters_counted() if id(weight) not in head]
        return measured(self, sum(rest), details={"tensors": len(rest)})


@dataclass(frozen=True, kw_only=True)
class TensorsChanged:
    """How many of the backbone's tensors differ in any bit after tuning; 0 says that the digests are one."""

    NAME: ClassVar[str] = "tensors_changed"

    UNIT: ClassVar[str] = "tensors"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        before, after = evidence.model.digest_before(), evidence.model.digest_after
        changed = evidence.model.tensors_changed
        if (before == after) != (changed == 0):
            return absent(
                self, f"{changed} tensors were said to change and the digests are {before[:12]}, {after[:12]}"
            )
        return measured(self, changed, details={"digest_before": before, "digest_after": after})


@dataclass(frozen=True, kw_only=True)
class PromptLength:
    """Prompts a layer: columns beside a row of attention, or tokens."""

    NAME: ClassVar[str] = "prompt_length"

    UNIT: ClassVar[str] = "prompts"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        length = evidence.model.prompt_length
        return absent(self, "the tuning has no prompts") if length is None else measured(self, length)


@dataclass(frozen=True, kw_only=True)
class LengthGap:
    """Largest difference of a feature between the tuned prompts and the one column with their logsumexp, over the largest feature."""

    NAME: ClassVar[str] = "length_gap"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.looked_at is None:
            return absent(self, NOT_LOOKED_AT)
        if evidence.looked_at.one_column_ND is None:
            return absent(self, "the tuning has no prompts beside the attention's logits")
        return _gap(self, evidence.looked_at.one_column_ND, evidence.looked_at.after_ND)


@dataclass(frozen=True, kw_only=True)
class FrozenGap:
    """Largest difference of a feature between the tuned model and the backbone as it was, over the largest feature."""

    NAME: ClassVar[str] = "frozen_gap"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.looked_at is None:
            return absent(self, NOT_LOOKED_AT)
        return _gap(self, evidence.looked_at.after_ND, evidence.looked_at.before_ND)


@dataclass(frozen=True, kw_only=True)
class FeaturesMoved:
    """How many images have a feature that differs in any bit from the untuned backbone's: none, or all, whatever the seed."""

    NAME: ClassVar[str] = "features_moved"

    UNIT: ClassVar[str] = "images"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        if evidence.looked_at is None:
            return absent(self, NOT_LOOKED_AT)
        before_ND, after_ND = evidence.looked_at.before_ND, evidence.looked_at.after_ND
        for features in (before_ND, after_ND):
            if reason := unusable(features, "images' features"):
                return absent(self, reason)
        return measured(self, (before_ND != after_ND).any(axis=1).sum(), n=len(after_ND))


def _gap(metric: LengthGap | FrozenGap, found_ND: np.ndarray, wanted_ND: np.ndarray) -> Measurement:
    for features in (found_ND, wanted_ND):
        if reason := unusable(features, "images' features"):
            return absent(metric, reason)
    largest = float(abs(wanted_ND).max())
    if not largest:
        return absent(metric, "all features are 0")
    return measured(metric, abs(found_ND - wanted_ND).max() / largest, n=len(found_ND), details={"largest": largest})


@dataclass(frozen=True, kw_only=True)
class PatchScale:
    """Mean r: what prompts leave of each token's attention; the details hold r's quantiles, `share q`, and each layer's mean."""

    NAME: ClassVar[str] = "patch_scale"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if evidence.looked_at is None:
            return absent(self, NOT_LOOKED_AT)
        scales = evidence.looked_at.scales_LBHN
        if scales is None:
            return absent(self, "the tuning has no prompts beside the attention's logits")
        if reason := unusable(scales.reshape(-1), "factors of rows"):
            return absent(self, reason)
        quantiles = np.quantile(scales, QUANTILES)
        details = {f"share {q:g}": float(r) for q, r in zip(QUANTILES, quantiles, strict=True)}
        details |= {f"layer {i}": float(mean) for i, mean in enumerate(scales.mean(axis=(1, 2, 3)))}
        return measured(self, scales.mean(), n=scales.shape[1], details=details)


@dataclass(frozen=True, kw_only=True)
class SeparationGain:
    """Separation of the features after tuning over that before; 1 where tuning leaves them alone.

    Separation is, averaged over labels, the distance between the mean features of images with the label and of those
    without, over the root of the mean squared distance to the own one of the two.
    """

    NAME: ClassVar[str] = "separation_gain"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        looked_at = evidence.looked_at
        if looked_at is None:
            return absent(self, NOT_LOOKED_AT)
        for features in (looked_at.before_ND, looked_at.after_ND):
            if reason := unusable(features, "images' features"):
                return absent(self, reason)
        before, after = (separation(x_ND, looked_at.labels) for x_ND in (looked_at.before_ND, looked_at.after_ND))
        if before is None or after is None or not before:
            return absent(self, "no label has both images with it and without whose features differ")
        return measured(self, after / before, n=len(looked_at.labels), details={"before": before, "after": after})


def separation(features_ND: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over labels of between over within; None where no label has both sides, or features do not vary within them."""
    import numpy as np

    labels_NK = labels if labels.ndim > 1 else np.eye(int(labels.max()) + 1)[labels]
    found = []
    for label_N in labels_NK.T:
        sides = [features_ND[label_N > 0].astype(np.float64), features_ND[label_N <= 0].astype(np.float64)]
        if not all(len(side) for side in sides):
            continue
        between = np.linalg.norm(sides[0].mean(axis=0) - sides[1].mean(axis=0))
        squares = [((side - side.mean(axis=0)) ** 2).sum(axis=1) for side in sides]
        within = np.sqrt(np.concatenate(squares).mean())
        if within:
            found.append(between / within)
    return float(np.mean(found)) if found else None


@dataclass(frozen=True, kw_only=True)
class TuningMinutes:
    """What all steps of tuning on the draw with most shots take at the median of the timed ones: forward, backward, update."""

    NAME: ClassVar[str] = "tuning_minutes"

    UNIT: ClassVar[str] = "min"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False
    TIMED: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if reason := unusable(evidence.seconds, "timed steps"):
            return absent(self, reason)
        minutes = np.asarray(evidence.seconds) * evidence.steps / 60
        details = {"steps": evidence.steps, "median_step_ms": float(1000 * np.median(evidence.seconds))}
        return measured(self, np.median(minutes), n=len(minutes), samples=tuple(minutes.tolist()), details=details)
