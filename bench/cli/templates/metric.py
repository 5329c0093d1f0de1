"""A metric of one's own. What a task hands to its metrics is told in CONTRIBUTING, task by task."""

from dataclasses import dataclass
from typing import ClassVar

from retable import register
from retable.bench.record import Direction, Measurement


@register("metric", "my-name")
@dataclass(frozen=True, kw_only=True)
class MyName:
    """Accuracy of the class that fares worst, in per cent."""

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"  # raise it when the number changes its meaning
    EXACT: ClassVar[bool] = False  # True where seeds cannot change it

    def measure(self, evidence):
        """A value with the number of samples behind it, or the reason why there is none."""
        import numpy as np

        right, labels = evidence.correct_by_step[-1], evidence.labels
        found = [100 * right[labels == k].mean() for k in np.unique(labels)]
        if not found:
            return Measurement(value=None, unit=self.UNIT, direction=self.DIRECTION, reason="there are no samples")
        return Measurement(
            value=float(min(found)), unit=self.UNIT, direction=self.DIRECTION, version=self.VERSION, n=len(labels)
        )
