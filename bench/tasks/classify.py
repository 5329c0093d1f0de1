"""Task `classify`: fit, then name the class of every held-out sample after each time step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.probes.energy import Energy
from retable.bench.tasks.early_stop import Exits, Stop, confidences, exits
from retable.bench.tasks.logits import over_time, prepared

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.graphs.graph import GraphData
    from retable.bench.datasets.images import ImageData

UNUSABLE = -1
"""The predicted class where a logit is not finite."""
EVENT_DIMS = 5
"""Dimensions of prepared event frames (B, T, 2, H, W), whose counts are spikes of the sensor."""


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Classifies all held-out samples in batches; counts operations over `account_samples` of them, evenly spread.

    Pixels are real-valued input to that count, event frames are integer spikes. The fitted model turns uint8 samples into
    its input with `prepare(pixels)`, and that into the logits of each time step with `steps(x) -> (T, B, K)`. After t steps the prediction is the largest mean of the first t logits; calling
    the model gives the mean over all T. `rules` are those of the accountant; `account_samples` 0 counts nothing.

    `early_stop` asks after which step each sample would be done, and counts operations up to there too. At each of
    `read_noise` everything is classified again, `noise_draws` times, with that relative noise on every weight that the model
    reads off an array (`reading(noise)`, a context); all batches of a draw see the same noise.
    """

    NAME: ClassVar[str] = "classify"

    batch_size: int = 100
    account_samples: int = 16
    rules: tuple[RuleName, ...] = ("full", "literature")
    early_stop: Stop | None = None
    read_noise: tuple[float, ...] = ()
    noise_draws: int = 2

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise BenchError(f"`batch_size` must be at least 1, not {self.batch_size}")
        if self.account_samples < 0:
            raise BenchError(f"`account_samples` must be at least 0, not {self.account_samples}")
        if self.account_samples and not self.rules:
            raise BenchError("`rules` must name at least one rule where `account_samples` is above 0")
        if self.noise_draws < 1 or any(noise < 0 for noise in self.read_noise):
            raise BenchError("`noise_draws` must be at least 1, and `read_noise` hold numbers of at least 0")

    def evidence(self, model: Any, data: ImageData, *, seed: int, device: str) -> ClassifyEvidence:
        """Predictions of the fitted `model` for `data.held_out`, and its account. Raises BenchError without samples."""
        import numpy as np
        import torch

        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out samples to classify")
        model.eval()
        predictions: list[np.ndarray] = []
        sure = []
        with torch.inference_mode(), Energy(device) as energy:
            for indices in self._batches(data):
                x, steps = _prepared(model, data, indices, device), len(predictions[0]) if predictions else None
                logits_TBK = over_time(model, x, data.num_classes, steps)
                predictions.append(predicted(logits_TBK).cpu().numpy())
                if self.early_stop is not None:
                    sure.append(confidences(logits_TBK, self.early_stop.temperature)[0])
        stopped = None
        if self.early_stop is not None:
            sure_TN = np.concatenate(sure, axis=1)
            stopped = Exits.of(self.early_stop, len(sure_TN), lambda threshold: exits(sure_TN, threshold))
        account, why_not = self._account(model, data, device)
        at_exit, why_not_at_exit = self._account_at_exit(model, data, device, stopped)
        return ClassifyEvidence(
            model=model,
            data=data,
            labels=data.held_out.labels,
            predictions_TN=np.concatenate(predictions, axis=1),
            account=account,
            why_no_account=why_not,
            joules=energy.joules,
            why_no_joules=energy.reason or "",
            exits=stopped,
            account_at_exit=at_exit,
            why_no_account_at_exit=why_not_at_exit,
            noisy_correct=self._noisy(model, data, seed, device),
            idle_joules={name: watts * energy.seconds for name, watts in energy.idle_watts.items()},
        )

    def _batches(self, data: ImageData) -> list[np.ndarray]:
        """Indices of all held-out samples."""
        import numpy as np

        return np.array_split(np.arange(len(data.held_out)), -(-len(data.held_out) // self.batch_size))

    def _noisy(self, model: Any, data: ImageData, seed: int, device: str) -> dict[float, np.ndarray]:
        """Noise -> the share of its draws under which each sample is named right, (N,)."""
        import numpy as np
        import torch

        if self.read_noise and not hasattr(model, "reading"):
            raise BenchError(
                "`read_noise` is for models whose weights are read off an array; this one has no reading()"
            )
        found = {}
        for noise in self.read_noise:
            right = np.zeros(len(data.held_out))
            with torch.inference_mode(), torch.random.fork_rng(), model.reading(noise):
                for draw in range(self.noise_draws):
                    for indices in self._batches(data):
                        x = _prepared(model, data, indices, device)
                        torch.manual_seed(seed + draw)
                        named = predicted(over_time(model, x, data.num_classes))[-1].cpu().numpy()
                        right[indices] += named == data.held_out.labels[indices]
            found[noise] = right / self.noise_draws
        return found

    def _account(self, model: Any, data: ImageData, device: str) -> tuple[Any, str]:
        """The account and the empty text, or None and why there is none."""
        import numpy as np
        import torch

        if not self.account_samples:
            return None, "the task counts no operations (account_samples is 0)"
        try:
            from retable.bench.accountant import Accountant
        except ModuleNotFoundError as error:
            return None, f"the accountant is not there: {error}"
        n = min(self.account_samples, len(data.held_out))
        chosen = np.linspace(0, len(data.held_out) - 1, n).astype(int)
        with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
            for indices in np.array_split(chosen, -(-n // self.batch_size)):
                with accountant.pause():
                    x = _prepared(model, data, indices, device)
                if x.dim() == EVENT_DIMS:
                    accountant.mark(x, high=max(1, int(x.max())))
                model(x)
        return accountant.result(samples=n), ""

    def _account_at_exit(self, model: Any, data: ImageData, device: str, stopped: Exits | None) -> tuple[Any, str]:
        """The account of the same samples run up to their own exits, or None and why there is none."""
        import numpy as np
        import torch

        if stopped is None or not self.account_samples:
            return None, "the task has no early stop, or counts no operations"
        if len(data.image_shape) != EVENT_DIMS - 1:
            return None, "still images are shown to all steps at once: only event frames can be cut at an exit"
        from retable.bench.accountant import Accountant

        n = min(self.account_samples, len(data.held_out))
        chosen = np.linspace(0, len(data.held_out) - 1, n).astype(int)
        accountant = Accountant(model, rules=self.rules)
        for step in np.unique(stopped.at[chosen]):
            x = _prepared(model, data, chosen[stopped.at[chosen] == step], device)[:, : int(step)].contiguous()
            with torch.no_grad(), accountant:
                accountant.mark(x, high=max(1, int(x.max())))
                model(x)
        return accountant.result(samples=n), ""


def _prepared(model: Any, data: ImageData, indices: np.ndarray, device: str) -> Any:
    import torch

    return prepared(model, torch.from_numpy(data.held_out.images(indices)).to(device))


def predicted(logits_TBK: Any) -> Any:
    """Classes (T, B) by the mean logits of the first t steps, UNUSABLE where one of them is not finite."""
    import torch

    steps_T11 = torch.arange(1, len(logits_TBK) + 1, device=logits_TBK.device)[:, None, None]
    means_TBK = logits_TBK.double().cumsum(0) / steps_T11
    return means_TBK.argmax(-1).masked_fill(~means_TBK.isfinite().all(-1), UNUSABLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifyEvidence:
    """True classes (N,), predicted ones (T, N) after each step, the account of operations and the joules metered."""

    model: Any
    data: ImageData | GraphData
    labels: np.ndarray
    predictions_TN: np.ndarray
    account: Any = None
    why_no_account: str = ""
    joules: Mapping[str, float] | None = None
    why_no_joules: str = "nothing was metered"
    exits: Exits | None = None
    account_at_exit: Any = None
    why_no_account_at_exit: str = ""
    noisy_correct: Mapping[float, np.ndarray] = field(default_factory=dict)
    idle_joules: Mapping[str, float] = field(default_factory=dict)
    """What the machine would have drawn in that time with nothing to do."""

    @property
    def steps(self) -> int:
        return len(self.predictions_TN)

    @cached_property
    def correct_by_step(self) -> np.ndarray:
        """Whether the prediction after each step is right, bool (T, N)."""
        right: np.ndarray = self.predictions_TN == self.labels
        return right

    @cached_property
    def unusable_by_step(self) -> np.ndarray:
        """How many predictions of a step rest on logits that are not finite, (T,)."""
        count: np.ndarray = (self.predictions_TN == UNUSABLE).sum(axis=1)
        return count

    def correct_at(self, exits_N: np.ndarray) -> np.ndarray:
        """Whether the prediction after each sample's own exit is right, bool (N,)."""
        right: np.ndarray = self.correct_by_step[exits_N - 1, range(len(exits_N))]
        return right

    def confusion(self) -> np.ndarray:
        """int64 (K, K) counts at the last step: true classes down, predicted ones across; unusable ones nowhere."""
        import numpy as np

        k = self.data.num_classes
        usable = self.predictions_TN[-1] != UNUSABLE
        pairs = self.labels[usable] * k + self.predictions_TN[-1][usable]
        return np.bincount(pairs, minlength=k * k).reshape(k, k)

    def artefacts(self) -> Mapping[str, bytes]:
        """`confusion.json`, `account.json` where operations were counted, `exits.json` where samples stop early."""
        files: dict[str, Any] = {"confusion.json": {"true_by_predicted": self.confusion().tolist()}}
        if self.account is not None:
            files["account.json"] = self.account.as_dict()
        if self.exits is not None:
            files["exits.json"] = {"threshold": self.exits.threshold, "steps": self.exits.at.tolist()}
        return {name: json.dumps(content, allow_nan=False).encode() for name, content in files.items()}
