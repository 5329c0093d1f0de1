"""The table of all claims: what a paper says and where, the predicate, its strength, the verdict, how surely it comes again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from retable.bench.judge.predicate import predicate
from retable.bench.judge.words import comes_again, said, told
from retable.bench.report.energy import by_rule
from retable.bench.report.escape import clean
from retable.bench.report.escape import markdown as escape
from retable.bench.report.scorecard import Line

HEAD = ("Claim", "What it says, and where", "Strength: predicate", "Verdict", "Comes again")


def table(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A row a claim, as plain data."""
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
            "rules": by_rule(one.rules) if one.rules else "",
            "changed": one.changed.sentence() if one.changed else "",
            "moved": list(one.changed.moved) if one.changed else [],
            "revised": one.claim.revised if one.changed else "",
        }
        for line in lines
        for one in line.judgements
    ]


def render(lines: Sequence[Line]) -> str:
    """As plain text, a block each, then how many are not what they were, and why."""
    shown = []
    for row in table(lines):
        shown.append(clean(f"{row['suite']}/{row['claim']}  {row['said']}"))
        shown.append(clean(f"    {row['text']} ({row['source']})"))
        shown.append(clean(f"    {row['strength']}: {row['predicate']}{_weaker(row)}"))
        facts = ("estimate", "reason", "again", "elsewhere", "rules", "changed", "revised")
        shown += [clean(f"    {row[key]}") for key in facts if row[key]]
    return "\n".join([*shown, history(lines)])


def markdown(lines: Sequence[Line]) -> str:
    """As one Markdown table a suite, with what changed below."""
    shown = [
        "# Every claim",
        "",
        "From the newest published versions at `mini`, as `bench list --claims` tells it.",
        "",
    ]
    rows = table(lines)
    for line in lines:
        shown += [f"## {escape(line.suite.title or line.suite.name)}", ""]
        shown += [f"`{line.suite.name}`, {escape(line.suite.cited or 'no paper')}, from {line.source}.", ""]
        shown += [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
        own = [row for row in rows if row["suite"] == line.suite.name]
        shown += [f"| {' | '.join(_cells(row))} |" for row in own]
        changes = [row for row in own if row["changed"]]
        shown += ["", *(_changed(row) for row in changes), ""] if changes else [""]
    return "\n".join([*shown, history(lines)])


def history(lines: Sequence[Line]) -> str:
    """`23 claims changed after their first result (12 in their control, ...) and 11 were added; why is said of 34.`."""
    found = [(one.changed, one.claim.revised) for line in lines for one in line.judgements if one.changed]
    parts = Counter(part for change, _ in found for part in change.moved)
    added = sum(change.before is None for change, _ in found)
    in_what = f" ({', '.join(f'{count} in their {part}' for part, count in parts.most_common())})" if parts else ""
    why = sum(bool(reason) for _, reason in found)
    return f"{len(found) - added} claims changed after their first result{in_what}, {added} were added after it; why is said of {why}."


def _weaker(row: dict[str, Any]) -> str:
    return f", weaker than {row['weakens']}: {row['because']}" if row["weakens"] else ""


def _cells(row: dict[str, Any]) -> list[str]:
    found = "; ".join(filter(None, (row["estimate"] or row["reason"], row["elsewhere"], row["rules"])))
    cells = (
        f"{row['text']} ({row['source']})",
        f"{row['strength']}: {row['predicate']}{_weaker(row)}",
        f"{row['said']}: {found}",
        row["again"] or "not known",
    )
    return [f"`{row['claim']}`", *(escape(clean(cell)) for cell in cells)]


def _changed(row: dict[str, Any]) -> str:
    why = f" Why: {row['revised']}." if row["revised"] else ""
    return escape(clean(f"- {row['claim']}: {row['changed']}.{why}"))
