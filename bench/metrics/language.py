"""What language models are measured by: perplexity, zero-shot accuracy, arithmetic effort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

AVERAGE = "average"


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """exp of the mean over windows of their mean cross entropy; samples are the windows' nats a token."""

    NAME: ClassVar[str] = "perplexity"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        nll_W = evidence.nll_W
        if reason := unusable(nll_W, "windows", least=1):
            return absent(self, reason)
        details = {
            "window": evidence.window,
            "predictions": len(nll_W) * (evidence.window - 1),
            "text_tokens": evidence.tokens,
            "begins_with_bos": int(evidence.begins_with_bos),
            "tokenizer": evidence.model.tokenizer_digest(),
            "tokens_per_second": nll_W.size * evidence.window / evidence.seconds,
        }
        with np.errstate(over="ignore"):
            return measured(self, np.exp(nll_W.mean()), n=len(nll_W), samples=tuple(nll_W.tolist()), details=details)


@dataclass(frozen=True, kw_only=True)
class ZeroShotAccuracy:
    """Per cent of a `task`'s questions answered right without examples; `average` is the mean over the tasks asked.

    By log-likelihood a character where lm-eval defines it (acc_norm), else by log-likelihood (acc).
    """

    NAME: ClassVar[str] = "zero_shot"

    task: str

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    PROTOCOL: ClassVar[str] = "lm-eval"

    def asked(self, evidence: Any) -> Any:
        return evidence.zero_shot

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        asked = self.asked(evidence)
        if asked is None:
            return absent(self, f"the task `language` asked no questions by {self.PROTOCOL} (zero_shot, protocols)")
        if self.task != AVERAGE and self.task not in asked.tasks:
            return absent(self, f"{self.task} was not asked; asked were {', '.join(asked.tasks)}")
        chosen = asked.tasks if self.task == AVERAGE else {self.task: asked.tasks[self.task]}
        hits = {name: 100 * np.array(_hits(answers)) for name, answers in chosen.items()}
        for name, values in hits.items():
            if reason := unusable(values, f"answers to {name}"):
                return absent(self, reason)
        details: dict[str, str | float] = {"lm_eval": asked.lm_eval}
        for name, answers in chosen.items():
            details[f"{name} version"] = answers.version
            details[f"{name} counts"] = "acc" if answers.acc_norm is None else "acc_norm"
        value = float(np.mean([values.mean() for values in hits.values()]))
        every = np.concatenate(list(hits.values()))
        return measured(self, value, n=len(every), samples=tuple(every.tolist()), details=details)


@dataclass(frozen=True, kw_only=True)
class ZeroShotOfficial(ZeroShotAccuracy):
    """The same, asked as the papers' tables were: nothing begins a text, context and continuation are encoded apart."""

    NAME: ClassVar[str] = "zero_shot_official"

    PROTOCOL: ClassVar[str] = "official"

    def asked(self, evidence: Any) -> Any:
        return evidence.zero_shot_official


def _hits(answers: Any) -> tuple[float, ...]:
    found: tuple[float, ...] = answers.acc if answers.acc_norm is None else answers.acc_norm
    return found


@dataclass(frozen=True, kw_only=True)
class ArithmeticEffort:
    """ACE: MACs x bits of weights x bits of activations of the decoder's linear layers, in per cent of 16 x 16 bits."""

    NAME: ClassVar[str] = "ace"

    UNIT: ClassVar[str] = "% of W16A16"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if not hasattr(evidence.model, "arithmetic_effort"):
            return absent(self, f"{type(evidence.model).__name__} does not say its arithmetic effort")
        return measured(self, 100 * evidence.model.arithmetic_effort())
