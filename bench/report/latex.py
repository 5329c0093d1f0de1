"""Tables and verdicts as LaTeX (booktabs) to paste into a paper: best bold, second underlined, every text escaped.

Numbers stand point below point in pairs of columns `r@{}l`; equal input, equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import evidence, said
from retable.bench.report.escape import latex as escape
from retable.bench.report.fit import Page, beside, fit, lead, parts
from retable.bench.report.macros import macro_name
from retable.bench.report.sheet import PLAIN, Head, Line, Piece, Print, Sheet, sheet
from retable.bench.report.table import Table

PACKAGES = "array,booktabs,graphicx,longtable,rotating,textcomp"
PREAMBLE = rf"""
\documentclass{{article}}
\usepackage[T1]{{fontenc}}
\usepackage[utf8]{{inputenc}}
\usepackage[margin=2cm]{{geometry}}
\usepackage{{{PACKAGES}}}
\IfFileExists{{lmodern.sty}}{{\usepackage{{lmodern}}}}{{}}
\begin{{document}}
""".strip()
WIDE = 480.0
"""Points of a line of that document."""
TOGETHER = 12
"""Floats after which a page ends: LaTeX gives up where many wait for a place and no text is between them."""
FOLDED = r">{\raggedright\arraybackslash}p"


def document(tables: Sequence[Table], judgements: Sequence[Judgement] = (), look: Print = PLAIN) -> str:
    """A document that compiles by itself (pdflatex) and holds just the tables, then the verdicts if there are any."""
    verdicts = [r"\clearpage", render_judgements(judgements)] if judgements else []
    return "\n".join([PREAMBLE, render(tables, replace(look, width=WIDE)), *verdicts, r"\end{document}"])


def render(tables: Sequence[Table], look: Print = PLAIN) -> str:
    """One `table` environment each; needs the packages array, booktabs, graphicx, rotating and textcomp, and T1 fonts."""
    floats = [one for table in tables for one in _table(table, look, several=len(tables) > 1)]
    pages = ["\n\n".join(floats[start : start + TOGETHER]) for start in range(0, len(floats), TOGETHER)]
    return "\n\n\\clearpage\n".join(pages)


def render_judgements(judgements: Sequence[Judgement]) -> str:
    """Verdicts as a `longtable`, which may break between pages; needs that package too."""
    widths = "".join(f"{FOLDED}{{{share}\\linewidth}}" for share in (0.3, 0.12, 0.36))
    rows = [
        _row([escape(text) for text in (said(judged), judged.claim.text, judged.claim.source, evidence(judged))])
        for judged in judgements
    ]
    lines = [
        r"\begingroup\footnotesize",
        rf"\begin{{longtable}}{{l{widths}}}",
        r"\toprule",
        _row(["Verdict", "Claim", "Source", "Evidence"]),
        r"\midrule",
        r"\endhead",
        "\\addlinespace\n".join(f"{row}\n" for row in rows).rstrip(),
        r"\bottomrule",
        r"\end{longtable}\addtocounter{table}{-1}",
        r"\endgroup",
    ]
    return "\n".join(line for line in lines if line)


def _table(table: Table, look: Print, several: bool) -> list[str]:
    """A float, or several where the rows need more than a page."""
    made = sheet(table, look)
    page = fit(made, look.width)
    label = f"{look.label}-{table.name}" if look.label and several else look.label
    label = label or f"tab:{macro_name(table.suite, table.name)}".replace("/", "-")
    found = list(parts(made, page))
    return [
        _float(part, own, None if index else label, notes=index == len(found) - 1)
        for index, (part, own) in enumerate(found)
    ]


def _float(part: Sheet, page: Page, label: str | None, *, notes: bool) -> str:
    """`label` is None where another float goes on."""
    place = ("sidewaystable", "[p]") if page.sideways else ("table", "[htbp]")
    head = rf"\caption{{{escape(part.caption)}}}\label{{{label}}}"
    if label is None:
        head = rf"\addtocounter{{table}}{{-1}}\caption[]{{{escape(part.caption)} (continued)}}"
    lines = [rf"\begin{{{place[0]}}}{place[1]}", r"\centering", head]
    lines += [rf"\{page.size}"] if page.size != "normalsize" else []
    lines += [rf"\par\smallskip\setlength{{\tabcolsep}}{{{page.space:g}pt}}"]
    for index, block in enumerate(page.blocks):
        lines += [r"\par\medskip"] if index else []
        lines += _tabular(part, block, page)
    if notes and (below := _below(part)):
        lines += [r"\par\smallskip\footnotesize\raggedright " + r"\par ".join(below)]
    return "\n".join([*lines, rf"\end{{{place[0]}}}"])


def _below(part: Sheet) -> list[str]:
    return [rf"\textsuperscript{{{mark}}}\,{escape(text)}" for mark, text in part.notes] + list(
        map(escape, part.remarks)
    )


def _tabular(part: Sheet, block: Sequence[int], page: Page) -> list[str]:
    narrow = beside(part.lines)
    label = f"{FOLDED}{{{page.fold:.0f}pt}}" if page.fold else "l"
    stubs = (["Type"] if narrow else []) + [part.stub]
    heads = [part.heads[index] for index in block]
    return [
        rf"\begin{{tabular}}{{{'l' if narrow else ''}{label}{''.join(_pair(part, index, page) for index in block)}}}",
        r"\toprule",
        *(_turned(heads, stubs) if page.turned else _heads(heads, stubs)),
        r"\midrule",
        *_body(part.lines, block, narrow),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _pair(part: Sheet, index: int, page: Page) -> str:
    """The two columns of a number; what is left of its point is moved in where the head is wider."""
    moved = lead(part, index, page)
    return (rf">{{\hspace{{{moved:.1f}pt}}}}" if moved >= 1 else "") + "r@{}l"


def _heads(heads: Sequence[Head], stubs: Sequence[str]) -> list[str]:
    """Groups over labels over words; a level that says nothing is left out."""
    levels = [
        [(head.group, "", 0) for head in heads],
        [(head.label, head.note, head.power) for head in heads],
        [(head.below, "", 0) for head in heads],
    ]
    lines: list[str] = []
    for depth, level in enumerate(levels):
        if not any(text for text, _, _ in level):
            continue
        first = [escape(stub) if depth == 1 else "" for stub in stubs]
        spans = [(key, len(list(found))) for key, found in groupby(level)] if depth < 2 else [(key, 1) for key in level]
        lines.append(_row([*first, *(_span(*key, count) for key, count in spans)]))
        if depth < 2 and (rules := _rules(spans, len(stubs) + 1)):
            lines.append(rules)
    return lines


def _rules(spans: Sequence[tuple[tuple[str, str, int], int]], start: int) -> str:
    """A short rule under every text over several printed columns."""
    rules = ""
    for (text, _, _), count in spans:
        if text and count > 1:
            rules += rf"\cmidrule(lr){{{start}-{start + 2 * count - 1}}}"
        start += 2 * count
    return rules


def _span(text: str, note: str, power: int, count: int) -> str:
    return rf"\multicolumn{{{2 * count}}}{{c}}{{{_headed(text, note, power)}}}"


def _turned(heads: Sequence[Head], stubs: Sequence[str]) -> list[str]:
    """One line of heads, read from below."""
    texts = []
    for head in heads:
        text = _headed(head.label, head.note, head.power)
        below = f", {escape(head.below)}" if head.below else ""
        texts.append(rf"\multicolumn{{2}}{{c}}{{\rotatebox{{90}}{{{text}{below}}}}}")
    return [_row([*map(escape, stubs), *texts])]


def _headed(text: str, note: str, power: int) -> str:
    shown = escape(text)
    shown += rf" \ensuremath{{\times 10^{{{power}}}}}" if power else ""
    return rf"{shown}\textsuperscript{{{note}}}" if note else shown


def _body(lines: Sequence[Line], block: Sequence[int], narrow: bool) -> Iterator[str]:
    """Names of groups beside their first row, or above their rows where they are long; a rule between groups."""
    width = 1 + 2 * len(block)
    for index, (group, members) in enumerate(groupby(lines, key=lambda line: line.group)):
        if index:
            yield r"\midrule" if narrow or not group else r"\addlinespace"
        if group and not narrow:
            yield rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(group)}}}}} \\"
        for number, line in enumerate(members):
            label = _headed(line.label, line.note, line.power)
            stub = [*([escape(group) if number == 0 else ""] if narrow else []), label]
            yield _row([*stub, *(_cell(line.pieces[place]) for place in block)])


def _cell(piece: Piece) -> str:
    note = rf"\textsuperscript{{{piece.note}}}" if piece.note else ""
    if piece.text:
        return rf"\multicolumn{{2}}{{c}}{{{escape(piece.left)}{note}}}"
    half = rf"\,\ensuremath{{\pm}}\,{escape(piece.half)}" if piece.half else ""
    power = rf"\ensuremath{{\,\times 10^{{{piece.power}}}}}" if piece.power else ""
    open_, shut = ("(", ")") if half and power else ("", "")
    bound, whole = (r"\ensuremath{\ge}\,", piece.left[2:]) if piece.left.startswith("≥ ") else ("", piece.left)
    left, right = _marked(_signed(whole), piece), _marked(escape(piece.right), piece)
    return f"{open_}{bound}{left} & {right}{half}{shut}{power}{note}"


def _signed(text: str) -> str:
    """A minus as long as a plus."""
    escaped = escape(text)
    return rf"\ensuremath{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("-", "+") else escaped


def _marked(shown: str, piece: Piece) -> str:
    if not shown or not piece.mark:
        return shown
    return rf"\textbf{{{shown}}}" if piece.mark == "best" else rf"\underline{{{shown}}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
