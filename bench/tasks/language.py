"""Task `language`: fit, then perplexity of held-out text and zero-shot accuracy (arXiv 2407.04752, section 5).

Perplexity is that of GPTQ and its heirs: the text is tokenised once, cut into windows that do not overlap, the remainder is
dropped; exp of the mean over windows of the mean cross entropy of a window's N - 1 predictions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.datasets.fixed import require_packages
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.texts.text import TextData
    from retable.bench.tasks.harness import ZeroShot


@dataclass(frozen=True, kw_only=True)
class Language:
    """Windows of `window` tokens, all or the first `windows`; `zero_shot` are tasks of lm-eval, or `generated-typos`.

    They are asked by each of `protocols`: `lm-eval` as the harness asks today (what begins a text is the tokenizer's, pairs are
    encoded as one), `official` as the papers' tables were asked (nothing begins it, context and continuation apart). A
    generated task has `questions` questions. `limit` asks only the first so many of lm-eval's own. With `zero_shot_batch`
    above 1 shorter questions are padded, which a model that takes ranges over the sequence can see.
    Operations are counted over `account_windows` windows whose neurons run step by step; a sample is a window.
    """

    NAME: ClassVar[str] = "language"

    window: int = 2048
    windows: int | None = None
    batch_size: int = 1
    zero_shot: tuple[str, ...] = ()
    questions: int = 200
    limit: int | None = None
    zero_shot_batch: int = 1
    protocols: tuple[Literal["lm-eval", "official"], ...] = ("lm-eval",)
    account_windows: int = 0
    rules: tuple[Literal["full", "literature"], ...] = ("full", "literature")

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (
            ("window", 2),
            ("batch_size", 1),
            ("questions", 1),
            ("zero_shot_batch", 1),
            ("account_windows", 0),
        ):
            if getattr(self, name) < least:
                raise BenchError(f"`{name}` must be at least {least}, not {getattr(self, name)}")
        for name in ("windows", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise BenchError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.account_windows and not self.rules:
            raise BenchError("`rules` must name at least one rule where `account_windows` is above 0")

    def ready(self) -> None:
        """Raises MissingDataError where questions are asked and the packages are not here."""
        if self.zero_shot:
            require_packages("a zero-shot task", "'retable[language]'", "lm_eval")

    def evidence(self, model: Any, data: TextData, *, seed: int, device: str) -> LanguageEvidence:
        """Raises BenchError for a text shorter than a window, MissingDataError for a task whose data are not here."""
        import torch

        from retable.bench.tasks.harness import run

        windows_WN, tokens, starts = self.cut(model, data)
        model.eval()
        started = time.perf_counter()
        with torch.inference_mode():
            nll_W = losses(model.lm, windows_WN, self.batch_size, device)
        seconds = time.perf_counter() - started
        zero_shot = {}
        for protocol in self.protocols if self.zero_shot else ():
            zero_shot[protocol] = run(
                model,
                data,
                self.zero_shot,
                questions=self.questions,
                limit=self.limit,
                batch_size=self.zero_shot_batch,
                max_length=max(self.window, 256),
                device=device,
                protocol=protocol,
            )
        return LanguageEvidence(
            model=model,
            data=data,
            nll_W=nll_W,
            window=self.window,
            tokens=tokens,
            begins_with_bos=starts,
            seconds=seconds,
            zero_shot=zero_shot.get("lm-eval"),
            zero_shot_official=zero_shot.get("official"),
            account=self._account(model, windows_WN, device),
        )

    def cut(self, model: Any, data: TextData) -> tuple[Any, int, bool]:
        """Windows (W, N) of the held-out text, its number of tokens, and whether the tokenizer began it with BOS."""
        import torch

        tokenizer = getattr(model, "tokenizer", None)
        if tokenizer is None:
            raise BenchError(
                "the model has no tokenizer: a method for the task `language` gives one as `model.tokenizer`"
            )
        tokens = tokenizer(data.held_out)["input_ids"]
        count = min(len(tokens) // self.window, self.windows or len(tokens))
        if not count:
            raise BenchError(
                f"the held-out text of {data.name} has {len(tokens)} tokens, fewer than one window of {self.window}: give a "
                "longer text or a smaller `window`"
            )
        starts = bool(tokens) and tokens[0] == tokenizer.bos_token_id
        return torch.tensor(tokens[: count * self.window]).view(count, self.window), len(tokens), starts

    def _account(self, model: Any, windows_WN: Any, device: str) -> Any:
        import torch

        if not self.account_windows:
            return None
        from retable.bench.accountant import Accountant

        counted = windows_WN[: self.account_windows]
        with torch.no_grad(), model.in_steps(), Accountant(model, rules=self.rules) as accountant:
            for window_N in counted:
                model(window_N[None].to(device))
        return accountant.result(samples=len(counted))


def losses(lm: Any, windows_WN: Any, batch_size: int, device: str) -> np.ndarray:
    """Mean cross entropy of each window's N - 1 predictions in nats, float64 (W,); logits are taken as float32."""
    import numpy as np
    import torch.nn.functional as F

    means = []
    for batch_BN in windows_WN.split(batch_size):
        batch_BN = batch_BN.to(device)
        logits_BNV = lm(batch_BN, use_cache=False).logits[:, :-1]
        for logits_NV, tokens_N in zip(logits_BNV, batch_BN[:, 1:], strict=True):
            means.append(float(F.cross_entropy(logits_NV.float(), tokens_N)))
    return np.array(means)


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageEvidence:
    """Nats a token of each window (W,), zero-shot answers by task, and the account of operations where there is one."""

    model: Any
    data: TextData
    nll_W: np.ndarray
    window: int
    tokens: int
    begins_with_bos: bool
    seconds: float
    zero_shot: ZeroShot | None = None
    zero_shot_official: ZeroShot | None = None
    account: Any = None
    why_no_account: str = field(default="the task counts no operations (account_windows is 0)")

    def artefacts(self) -> Mapping[str, bytes]:
        """`language.json`: nats of each window, answers by task, tokenizer; `account.json` where operations were counted."""
        content: dict[str, Any] = {
            "text": self.data.name,
            "tokens": self.tokens,
            "window": self.window,
            "begins_with_bos": self.begins_with_bos,
            "tokenizer": self.model.tokenizer_digest(),
            "nats_a_token": self.nll_W.tolist(),
            "zero_shot": self.zero_shot.as_dict() if self.zero_shot else None,
        }
        if self.zero_shot_official:
            content["zero_shot_official"] = self.zero_shot_official.as_dict()
        files = {"language.json": content}
        if self.account is not None:
            files["account.json"] = self.account.as_dict()
        return {name: json.dumps(part).encode() for name, part in files.items()}
