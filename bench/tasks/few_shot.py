"""Task `few-shot`: a model tuned on draws of a few images names the labels of the whole test list (arXiv 2407.01003)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.datasets.labels import Score, score
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.few_shot import FewShotData

Epoch = Literal["best", "last"]
AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Scores the best epoch, by the data's own rule on its validation list, and the last one, on the whole test list.

    The analyses of what tuning did look at `images` of the test list, at the most shots; 0 leaves them out. `timed_steps`
    steps of tuning are timed after one that is not; 0 leaves that out.
    """

    NAME: ClassVar[str] = "few-shot"

    images: int = 0
    timed_steps: int = 0

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("images", "timed_steps"):
            if getattr(self, name) < 0:
                raise BenchError(f"`{name}` must be at least 0, not {getattr(self, name)}")

    def evidence(self, model: Any, data: FewShotData, *, seed: int, device: str) -> FewShotEvidence:
        """Raises BenchError for a model that was not tuned on draws of `data`, or for a test list without images."""
        if not hasattr(model, "one_column_features"):
            raise BenchError(f"the task few-shot takes a tuned backbone, and {type(model).__name__} is none")
        if not len(data.held_out):
            raise BenchError(f"{data.name} has no test images")
        found: dict[tuple[int, Epoch], np.ndarray] = {}
        for shots in data.shots:
            found[shots, "best"] = model.probabilities(shots, "best", data.held_out, device, data.multi_label)
            found[shots, "last"] = (
                found[shots, "best"]
                if model.same_epoch(shots)
                else model.probabilities(shots, "last", data.held_out, device, data.multi_label)
            )
        model.use(max(data.shots), "best")
        looked_at = self._analysed(model, data, device) if self.images else None
        return FewShotEvidence(
            model=model,
            data=data,
            probabilities=found,
            looked_at=looked_at,
            **self._timed(model, data, seed),
        )

    def _analysed(self, model: Any, data: FewShotData, device: str) -> LookedAt:
        import numpy as np
        import torch

        parts: dict[str, list[Any]] = {"before": [], "after": [], "one_column": [], "scales": []}
        chosen = np.arange(min(self.images, len(data.held_out)))
        for indices in np.array_split(chosen, -(-len(chosen) // AT_ONCE)):
            x = model.classifier.prepare(torch.from_numpy(data.held_out.images(indices)).to(device))
            with torch.inference_mode():
                parts["after"].append(model.classifier.features(x))
            parts["before"].append(model.untuned_features(x))
            parts["one_column"].append(model.one_column_features(x))
            parts["scales"].append(model.row_scales(x))

        def joined(name: str, dim: int = 0) -> np.ndarray | None:
            if any(part is None for part in parts[name]):
                return None
            array: np.ndarray = torch.cat(parts[name], dim).cpu().numpy()
            return array

        before, after = joined("before"), joined("after")
        assert before is not None
        assert after is not None
        return LookedAt(
            before_ND=before,
            after_ND=after,
            one_column_ND=joined("one_column"),
            scales_LBHN=joined("scales", 1),
            labels=data.held_out.labels[chosen],
        )

    def _timed(self, model: Any, data: FewShotData, seed: int) -> dict[str, Any]:
        """Seconds of each timed step, and how many a tuning has; the model's next use undoes what they did to its weights."""
        import time

        if not self.timed_steps:
            return {}
        draw = data.draw(max(data.shots), seed)
        once = model.timed_step(draw)
        once()
        seconds = []
        for _ in range(self.timed_steps):
            started = time.perf_counter()
            once()
            seconds.append(time.perf_counter() - started)
        return {"seconds": tuple(seconds), "steps": model.steps_on(draw)}


@dataclass(frozen=True, kw_only=True, eq=False)
class LookedAt:
    """Features (N, D) of some test images before tuning, after it, and with one column in the place of the prompts.

    `scales_LBHN` is how far prompts shrank the attention of each layer, image, head and token, in [0, 1].
    """

    before_ND: np.ndarray
    after_ND: np.ndarray
    one_column_ND: np.ndarray | None
    scales_LBHN: np.ndarray | None
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class FewShotEvidence:
    """Probabilities (N, K) of the test list by shots and epoch; what was looked at, where it was.

    `seconds` are those of timed steps, `steps` how many a tuning at the most shots has.
    """

    model: Any
    data: FewShotData
    probabilities: Mapping[tuple[int, Epoch], np.ndarray]
    looked_at: LookedAt | None = None
    seconds: tuple[float, ...] = ()
    steps: int = 0

    @property
    def labels(self) -> np.ndarray:
        return self.data.held_out.labels

    @cached_property
    def empty_labels(self) -> int:
        """How many labels no test image has."""
        import numpy as np

        if self.labels.ndim > 1:
            return int((self.labels.sum(axis=0) == 0).sum())
        return int((np.bincount(self.labels, minlength=self.data.num_classes) == 0).sum())

    def score(self, kind: Score, shots: int, epoch: Epoch = "best") -> float:
        """In per cent. Raises KeyError for shots that were not drawn."""
        return score(kind, self.probabilities[shots, epoch], self.labels)

    def artefacts(self) -> Mapping[str, bytes]:
        """`few_shot.json`: the test list's name and size, and all scores by shots and epoch."""
        scores = {
            f"{shots}-shot, {epoch} epoch": self.score(self.data.reports, shots, epoch)
            for shots, epoch in self.probabilities
        }
        content = {"data": self.data.name, "test_images": len(self.labels), self.data.reports: scores}
        return {"few_shot.json": json.dumps(content, allow_nan=False).encode()}
