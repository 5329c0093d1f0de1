"""Verdicts in words: how strong a claim was reproduced, what its verdict rests on, how probably it comes again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from retable.bench.judge import again
from retable.bench.judge.judgement import Judgement
from retable.bench.suite import Strength, VerdictWord


def said(judged: Judgement) -> str:
    """The verdict with the claim's strength, so that a `direction` never reads like a number: `direction reproduced`."""
    return judged.verdict if judged.verdict == "not measured" else f"{judged.claim.strength} {judged.verdict}"


def counted(judgements: Sequence[Judgement], verdict: VerdictWord) -> str:
    """`5 reproduced (2 number, 3 direction)`: how many claims have a verdict, and of what strength they are."""
    strengths = Counter(judged.claim.strength for judged in judgements if judged.verdict == verdict)
    kinds = ", ".join(f"{strengths[word]} {word}" for word in get_args(Strength) if strengths[word])
    return f"{strengths.total()} {verdict}{f' ({kinds})' if kinds and verdict != 'not measured' else ''}"


def told(judged: Judgement) -> str:
    """The estimate with its interval and seeds; there must be one."""
    estimate = judged.estimate
    assert estimate is not None
    kind = judged.claim.kind
    what = {"value": judged.claim.metric, "ordering": "difference"}.get(kind, kind)
    seeds = f" over {estimate.n} seed{'s' * (estimate.n != 1)}"
    if estimate.low is None or estimate.high is None:
        text = f"{estimate.mean:.4g}"
    elif estimate.low == estimate.high:
        text, seeds = f"{estimate.mean:,.10g}", seeds if estimate.n > 1 else " (exact)"
    else:
        text = f"{estimate.mean:.4g} in [{estimate.low:.4g}, {estimate.high:.4g}]"
    return f"{what} {text}{seeds}"


def explain(judged: Judgement) -> str:
    """The estimate, the reason, what became of the stronger claim, and what was expected where that did not come out."""
    parts = [told(judged)] if judged.estimate is not None else []
    parts += [judged.reason, judged.elsewhere, judged.beside]
    if not judged.as_expected and judged.verdict != judged.expected:
        parts.append(f"EXPECTED: {judged.claim.expect}")
    elif judged.claim.expect.because not in ("", judged.reason):
        parts.append(f"as expected: {judged.claim.expect.because}")
    return "; ".join(filter(None, parts))


def evidence(judged: Judgement) -> str:
    """As `explain`, then how probably the verdict would come again, what is to do where that is too little, what changed."""
    changed = judged.changed.sentence() if judged.changed else ""
    return "; ".join(filter(None, (explain(judged), comes_again(judged), lacking(judged), changed)))


def comes_again(judged: Judgement) -> str:
    """`comes again with 98 %`; empty where there is nothing to come again, or where it is certain."""
    if judged.estimate is None or (judged.outlook and judged.outlook.exact):
        return ""
    if judged.again is None:
        why = "one seed" if judged.estimate.n == 1 else "no spread between seeds"
        return f"how probably it comes again is not known ({why})"
    share = math.floor(1000 * judged.again) / 10
    enough = "" if judged.settled or judged.verdict == "not measured" else ", too seldom to count"
    return f"comes again with {share:.3g} %{enough}"


def lacking(judged: Judgement) -> str:
    """What to do about an expected verdict that other seeds would not give often enough; empty where all is well."""
    if judged.as_expected or judged.verdict == "not measured" or judged.expected != judged.verdict:
        return ""
    seeds = judged.outlook.seeds if judged.outlook else None
    more = f"{seeds} seeds would do" if seeds else f"{again.MOST_SEEDS} seeds would not do"
    return (
        f"EXPECTED with at least {again.LEAST:.0%}: {more} with this effect and spread; run more repetitions, or expect "
        "`not measured` and say why"
    )
