"""The scorecard: papers by strength and verdict, then what a reviewer asks first, every claim under its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import get_args

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import told
from retable.bench.report import energy
from retable.bench.report.energy import sentences
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
IN_FULL = ("Reproduced here: numbers of the paper", "Contradicted here")
"""Those that a README answers with what was found for every claim."""
ENERGY = "Energy claims by rule"
HEAD = ("Paper", "Number", "Size", "Direction", "Property", "Energy", "From", "Errata")


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
    """As plain text: the counts, every claim that was decided under a reviewer's question, comparisons of energies by rule."""
    rows = [HEAD, *(_cells(line) for line in lines), _total(lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    shown = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    for question, found in answers(lines).items():
        shown += ["", f"{question}: {len(found)}"]
        shown += [clean(f"  {line.suite.name}/{one.claim.name}: {sentence(one)}") for line, one in found]
    if asked := energies(lines):
        shown += ["", ENERGY, *(clean(f"  {line.suite.name}/{name}: {text}") for line, name, text in asked)]
    return "\n".join([*shown, *_errata(lines), "", LEGEND])


def markdown(lines: Sequence[Line]) -> str:
    """For a README: the counts; numbers and contradictions with what was found, directions by their sentence, the rest by name."""
    rows = [HEAD, ("---",) * len(HEAD), *(_cells(line) for line in lines), _total(lines)]
    shown = [f"| {' | '.join(escape(cell) if cell != '---' else cell for cell in row)} |" for row in rows]
    for question, found in answers(lines).items():
        told = [_told(line, one) for line, one in found] if question in IN_FULL else _by_suite(found)
        shown += _folded(f"{question}: {len(found)}", told, "open" if question in IN_FULL else "")
    asked = [f"- `{line.suite.name}`: {escape(clean(text))}" for line, _, text in energies(lines)]
    shown += _folded(ENERGY, asked) if asked else []
    return "\n".join([*shown, "", escape(LEGEND)])


def _folded(summary: str, items: Iterable[str], how: str = "") -> list[str]:
    return ["", f"<details{how and f' {how}'}><summary>{summary}</summary>", "", *items, "", "</details>"]


def _told(line: Line, judged: Judgement) -> str:
    found = f": {told(judged)}" if judged.estimate is not None else ""
    return f"- `{line.suite.name}`: {escape(clean(judged.claim.text.rstrip('.') + found))}"


def _by_suite(found: Sequence[tuple[Line, Judgement]]) -> Iterator[str]:
    """A line a suite with its claims: a direction by its sentence and what became of its number, the others by their names."""
    for name, claims in groupby(found, lambda pair: pair[0].suite.name):
        yield f"- `{name}`: {'; '.join(_short(one) for _, one in claims)}"


def _short(judged: Judgement) -> str:
    if judged.claim.strength != "direction":
        return f"`{judged.claim.name}`"
    beside = f"; {judged.beside}" if "contradicted here" in judged.beside else ""
    return escape(clean(judged.claim.text.rstrip(".") + beside))


def energies(lines: Sequence[Line]) -> list[tuple[Line, str, str]]:
    """Every comparison of energies: its claim's name, and under which rules it holds."""
    return [(line, one.claim.name, text) for line in lines for one, text in sentences(line.judgements)]


KINDS = (
    "A number is the paper's own figure within the stated tolerance, a size at least the stated part of its effect, a direction "
    "only a sign, a property something exact."
)
LEGEND = f"Counts are claims reproduced / contradicted / not measured here. {KINDS} {energy.LEGEND}"


def _cells(line: Line) -> tuple[str, ...]:
    counts = (_counts([line], strength) for strength in STRENGTHS)
    return (_named(line.suite), *counts, energy.standing(line.judgements), line.source, str(len(line.errata) or ""))


def _named(suite: Suite) -> str:
    """What a table is about, and whose it is: a paper may have several."""
    what = suite.title or suite.name
    return f"{what} (arXiv {suite.arxiv})" if suite.arxiv else what


def _total(lines: Sequence[Line]) -> tuple[str, ...]:
    return (
        "All",
        *(_counts(lines, strength) for strength in STRENGTHS),
        "",
        "",
        str(sum(len(one.errata) for one in lines) or ""),
    )


def _counts(lines: Sequence[Line], strength: Strength) -> str:
    counts = [sum(line.count(strength, verdict) for line in lines) for verdict in VERDICTS]
    return " / ".join(map(str, counts)) if any(counts) else ""


def _errata(lines: Sequence[Line]) -> list[str]:
    found = [f"  {line.suite.name}: {clean(text)}" for line in lines for text in line.errata]
    return ["", "Errata", *found] if found else []
