"""Scores of few-shot tuning on the whole test list, in per cent: by shots, or `mean` over all numbers of shots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

Shots = int | Literal["mean"]
EPOCHS = ("best", "last")


@dataclass(frozen=True, kw_only=True)
class _Score:
    shots: Shots

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False
    KIND: ClassVar[str] = ""
    EPOCH: ClassVar[str] = "best"

    def __post_init__(self) -> None:
        if self.shots != "mean" and self.shots < 1:
            raise BenchError(f"shots count from 1, so there are none with {self.shots}; `mean` is that of all")

    def measure(self, evidence: Any) -> Measurement:
        data = evidence.data
        kind = self.KIND or data.reports
        if kind == "accuracy" and data.multi_label:
            return absent(self, f"{data.name} has several labels at once, so there is no one class to be right about")
        if self.shots != "mean" and self.shots not in data.shots:
            return absent(
                self, f"{data.name} was drawn from for {', '.join(map(str, data.shots))} shots, not {self.shots}"
            )
        wanted = data.shots if self.shots == "mean" else (self.shots,)
        for shots in wanted:
            if reason := unusable(evidence.probabilities[shots, self.EPOCH], "test images' probabilities"):
                return absent(self, reason)
        found = [evidence.score(kind, shots, self.EPOCH) for shots in wanted]
        if any(math.isnan(value) for value in found):
            return absent(self, "no label has both test images with it and without, so there is no curve")
        details: dict[str, str | float | int] = {
            "score": kind,
            "epoch": self.EPOCH,
            "chosen_by": data.chooses,
            "labels_without_images": evidence.empty_labels,
        }
        return measured(self, sum(found) / len(found), n=len(evidence.labels), details=details)


@dataclass(frozen=True, kw_only=True)
class FewShotScore(_Score):
    """The score that the data are judged by (mAP of several labels, accuracy of one), at the epoch that validation chose."""

    NAME: ClassVar[str] = "few_shot"


@dataclass(frozen=True, kw_only=True)
class FewShotScoreLast(_Score):
    """The same after the last epoch, without a choice."""

    NAME: ClassVar[str] = "few_shot_last"

    EPOCH: ClassVar[str] = "last"


@dataclass(frozen=True, kw_only=True)
class FewShotMAP(_Score):
    """Mean over labels of the average precision; a label that no test image has counts as 0, ties stand in the list's order."""

    NAME: ClassVar[str] = "few_shot_map"

    KIND: ClassVar[str] = "map"


@dataclass(frozen=True, kw_only=True)
class FewShotAccuracy(_Score):
    """Share of test images whose likeliest class is right."""

    NAME: ClassVar[str] = "few_shot_accuracy"

    KIND: ClassVar[str] = "accuracy"


@dataclass(frozen=True, kw_only=True)
class FewShotAUC(_Score):
    """Mean over labels of the area under the ROC curve; labels that all or no test images have are left out and counted."""

    NAME: ClassVar[str] = "few_shot_auc"

    KIND: ClassVar[str] = "auc"
