"""The scorecard: papers by strength and verdict, then what a reviewer asks first, every claim under its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.predicate import predicate
from retable.bench.judge.words import comes_again, said, told
from retable.bench.report.escape import clean
from retable.bench.report.escape import markdown as escape
from retable.bench.suite import Strength, Suite, VerdictWord

STRENGTHS: tuple[Strength, ...] = get_args(Strength)
VERDICTS: tuple[VerdictWord, ...] = get_args(VerdictWord)
ANSWERS = {
    "Reproduced here: numbers of the paper": (("number",), "reproduced"),
    "Reproduced here: exact properties": (("property",), "reproduced"),
    "Reproduced only in size": (("size",), "reproduced"),
    "Reproduced only in direction": (("direction",), "reproduced"),
    "Contradicted here": (STRENGTHS, "contradicted"),
}
"""A reviewer's questions, by the strengths and the verdict that answer them."""
HEAD = ("Paper", "Number", "Size", "Direction", "Property", "From", "Errata")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A paper: how many claims of each strength have each verdict, where the numbers are from, and its errata."""

    suite: Suite
    judgements: tuple[Judgement, ...]
    source: str

    def count(self, strength: Strength, verdict: VerdictWord) -> int:
        return sum(one.claim.strength == strength and one.verdict == verdict for one in self.judgements)

    @property
    def errata(self) -> tuple[str, ...]:
        """What the suite says is wrong in the paper or its code, a sentence each."""
        return tuple(f"{one.sentence} ({one.source}; {one.effect})" for one in self.suite.errata)


def answers(lines: Sequence[Line]) -> dict[str, list[tuple[Line, Judgement]]]:
    """The claims that answer each of a reviewer's questions."""
    return {
        question: [
            (line, one)
            for line in lines
            for one in line.judgements
            if one.claim.strength in strengths and one.verdict == verdict
        ]
        for question, (strengths, verdict) in ANSWERS.items()
    }


def sentence(judged: Judgement) -> str:
    """`SpikeLM needs ... (source): ratio 8.78 in [8.43, 9.15] ...; the number (...) is contradicted here: ...`."""
    found = told(judged) if judged.estimate is not None else judged.reason
    changed = "" if judged.changed is None else "changed" if judged.changed.before else "added"
    after = f"{changed} after its rows had results" if changed else ""
    return f"{judged.claim.text} ({judged.claim.source}): {'; '.join(filter(None, (found, judged.beside, after)))}"


def render(lines: Sequence[Line]) -> str:
    """As plain text: the counts, then every claim that was decided under a reviewer's question."""
    rows = [HEAD, *(_cells(line) for line in lines), _total(lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    shown = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    for question, found in answers(lines).items():
        shown += ["", f"{question}: {len(found)}"]
        shown += [clean(f"  {line.suite.name}/{one.claim.name}: {sentence(one)}") for line, one in found]
    return "\n".join([*shown, *_errata(lines), "", LEGEND])


def markdown(lines: Sequence[Line]) -> str:
    """The same for a README: the counts in the open, the claims folded away by question."""
    rows = [HEAD, ("---",) * len(HEAD), *(_cells(line) for line in lines), _total(lines)]
    shown = [f"| {' | '.join(escape(cell) if cell != '---' else cell for cell in row)} |" for row in rows]
    for question, found in answers(lines).items():
        shown += ["", f"<details><summary>{question}: {len(found)}</summary>", ""]
        shown += [f"- `{line.suite.name}`: {escape(clean(sentence(one)))}" for line, one in found]
        shown += ["", "</details>"]
    return "\n".join([*shown, "", escape(LEGEND)])


LEGEND = (
    "Counts are claims reproduced / contradicted / not measured here. A number is the paper's own figure within the stated "
    "tolerance, a size at least the stated part of its effect, a direction only a sign, a property something exact."
)


def _cells(line: Line) -> tuple[str, ...]:
    counts = (_counts([line], strength) for strength in STRENGTHS)
    return (_named(line.suite), *counts, line.source, str(len(line.errata) or ""))


def _named(suite: Suite) -> str:
    """What a table is about, and whose it is: a paper may have several."""
    what = suite.title or suite.name
    return f"{what} (arXiv {suite.arxiv})" if suite.arxiv else what


def _total(lines: Sequence[Line]) -> tuple[str, ...]:
    return (
        "All",
        *(_counts(lines, strength) for strength in STRENGTHS),
        "",
        str(sum(len(one.errata) for one in lines) or ""),
    )


def _counts(lines: Sequence[Line], strength: Strength) -> str:
    counts = [sum(line.count(strength, verdict) for line in lines) for verdict in VERDICTS]
    return " / ".join(map(str, counts)) if any(counts) else ""


def _errata(lines: Sequence[Line]) -> list[str]:
    found = [f"  {line.suite.name}: {clean(text)}" for line in lines for text in line.errata]
    return ["", "Errata", *found] if found else []


def claims_table(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Every claim: the paper's sentence and its source, predicate, strength, verdict, probability of coming again, change."""
    return [
        {
            "suite": line.suite.name,
            "claim": one.claim.name,
            "text": one.claim.text,
            "source": one.claim.source,
            "strength": one.claim.strength,
            "predicate": predicate(one.claim),
            "weakens": one.claim.weakens,
            "because": one.claim.because,
            "verdict": one.verdict,
            "said": said(one),
            "comes_again": one.again,
            "again": "certainly" if one.again == 1.0 else comes_again(one),
            "estimate": told(one) if one.estimate is not None else "",
            "reason": one.reason,
            "elsewhere": one.elsewhere,
            "changed": one.changed.sentence() if one.changed else "",
        }
        for line in lines
        for one in line.judgements
    ]


def render_claims(lines: Sequence[Line]) -> str:
    """The table of all claims as plain text, a block each, and how many of them are not what they were."""
    shown = []
    for row in claims_table(lines):
        shown.append(clean(f"{row['suite']}/{row['claim']}  {row['said']}"))
        shown.append(clean(f"    {row['text']} ({row['source']})"))
        shown.append(clean(f"    {row['strength']}: {row['predicate']}"))
        shown += [
            clean(f"    {row[key]}") for key in ("estimate", "reason", "again", "elsewhere", "changed") if row[key]
        ]
    changes = [one.changed for line in lines for one in line.judgements if one.changed]
    added = sum(one.before is None for one in changes)
    return "\n".join(
        [*shown, f"{len(changes) - added} claims changed after their first result, {added} added after it"]
    )
