"""Tables and verdicts as plain text for a terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence

from bench.gate import Judgement
from bench.report.grid import Text, caption, grid
from bench.table import Table

_BOLD, _GREEN, _RED, _DIM, _END = "\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_VERDICT_STYLE = {"reproduced": _GREEN, "contradicted": _RED, "not measured": _DIM}


def render(tables: Sequence[Table]) -> str:
    """Aligned columns, groups as headings; `*` marks the best measured value, [n] a footnote."""
    return "\n\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    content = grid(table)
    lines = [_style(caption(table), _BOLD)]
    rows = [[Text(name) for name in content.header], *[texts for _, texts in content.rows]]
    widths = [max(_width(_plain(row[index])) for row in rows) for index in range(len(content.header))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines += [rule, _line(rows[0], widths), rule]
    group = None
    for name, texts in content.rows:
        if name != group:
            lines.append(_style(f"[{clean(name)}]", _DIM)) if name else None
            group = name
        lines.append(_line(texts, widths))
    lines.append(rule)
    lines += [f"[{index}] {clean(note)}" for index, note in enumerate(content.notes, 1)]
    lines += [clean(table.note)] if table.note else []
    if any(text.mark == "best" for _, texts in content.rows for text in texts):
        lines.append("* best measured value of the column; ± half-width of the 90 % interval over seeds (Student's t)")
    return "\n".join(lines)


def _line(texts: list[Text], widths: list[int]) -> str:
    cells = []
    for index, (text, width) in enumerate(zip(texts, widths, strict=True)):
        plain = _plain(text)
        space = " " * (width - _width(plain))
        shown = _style(plain, _BOLD) if text.mark == "best" else plain
        cells.append(shown + space if index == 0 else space + shown)
    return "  ".join(cells).rstrip()


def _plain(text: Text) -> str:
    star = "*" if text.mark == "best" else ""
    return f"{clean(text.text)}{star}{f' [{text.note}]' if text.note else ''}"


def render_judgements(judgements: Sequence[Judgement]) -> str:
    """One line a claim: verdict, name, what the paper says, the estimate or the reason."""
    if not judgements:
        return "no claims"
    lines = [_style("Verdicts", _BOLD)]
    width = max(len(judged.claim.name) for judged in judgements)
    for judged in judgements:
        verdict = _style(f"{judged.verdict:<12}", _VERDICT_STYLE[judged.verdict])
        lines.append(
            f"{verdict}  {judged.claim.name:<{width}}  {clean(judged.claim.text)} ({clean(judged.claim.source)})"
        )
        lines.append(f"{'':<12}  {'':<{width}}  {clean(explain(judged))}")
    counts = {word: sum(judged.verdict == word for judged in judgements) for word in _VERDICT_STYLE}
    lines.append(", ".join(f"{count} {word}" for word, count in counts.items()))
    return "\n".join(lines)


def explain(judged: Judgement) -> str:
    """The estimate with its interval, the reason, and a word where the verdict is not the expected one."""
    parts = [judged.reason]
    if (estimate := judged.estimate) is not None:
        seeds = f"{estimate.n} seed{'s' * (estimate.n != 1)}"
        what = {"value": judged.claim.metric, "ratio": "ratio", "ordering": "difference"}[judged.claim.kind]
        exact = estimate.low == estimate.high
        value = (
            f"{estimate.mean:,.10g}" if exact else f"{estimate.mean:.4g} in [{estimate.low:.4g}, {estimate.high:.4g}]"
        )
        parts.insert(0, f"{what} {value} over {seeds}")
    if not judged.as_expected:
        parts.append(f"EXPECTED: {judged.expected}")
    elif judged.verdict == "contradicted":
        parts.append(f"as expected: {judged.claim.expect.because}")
    return "; ".join(parts)


def clean(text: str) -> str:
    """Text without line breaks and control characters."""
    return "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)


def _width(text: str) -> int:
    """Columns that a terminal gives a text: combining marks none, wide East Asian characters two."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.category(char) in ("Mn", "Me", "Cf") for char in text)


def _style(text: str, code: str) -> str:
    return f"{code}{text}{_END}" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
