"""The LaTeX document of a report: the scorecard, then tables, verdicts and plots of each suite; compiles by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from retable.bench.report.chapter import Chapter
from retable.bench.report.escape import latex as escape
from retable.bench.report.files import safe_name
from retable.bench.report.latex import FOLDED, PREAMBLE, WIDE, render, render_judgements
from retable.bench.report.sheet import Print
from retable.bench.suite import VerdictWord

WORDS: tuple[VerdictWord, ...] = ("reproduced", "contradicted", "not measured")


def document(chapters: Sequence[Chapter]) -> str:
    """For pdflatex, in the folder where `bench report` writes it: the plots are included from there."""
    parts = [PREAMBLE, r"\section*{Papers and their claims}", scorecard(chapters)]
    for chapter in chapters:
        suite = chapter.suite
        parts += [r"\clearpage", rf"\section*{{{escape(suite.title or suite.name)}}}"]
        parts.append(
            escape(", ".join(filter(None, (suite.cited, f"suite {suite.name}, profile {suite.profile.name}."))))
            + r"\par"
        )
        parts += [render(chapter.tables, Print(width=WIDE)), *_plots(chapter)]
        parts += [r"\clearpage", render_judgements(chapter.judgements)] if chapter.judgements else []
    return "\n".join([*parts, r"\end{document}", ""])


def scorecard(chapters: Sequence[Chapter]) -> str:
    """A row a paper: how many of its claims were reproduced, contradicted, not measured, and not as expected."""
    rows = []
    totals: Counter[str] = Counter()
    for chapter in chapters:
        counts = Counter[str](judged.verdict for judged in chapter.judgements)
        counts["surprises"] = sum(not judged.as_expected for judged in chapter.judgements)
        totals += counts
        paper = escape(chapter.suite.paper or chapter.suite.title or chapter.suite.name)
        source = escape(", ".join(filter(None, (chapter.suite.arxiv, chapter.suite.profile.name))))
        rows.append(f"{paper} & {source} & {_counts(counts)}")
    return "\n".join(
        [
            r"\begingroup\footnotesize",
            rf"\begin{{longtable}}{{{FOLDED}{{0.26\linewidth}}lrrrr}}",
            r"\toprule",
            r"Paper & arXiv, profile & Reproduced & Contradicted & Not measured & Not as expected \\",
            r"\midrule",
            r"\endhead",
            *rows,
            r"\midrule",
            f"All & & {_counts(totals)}",
            r"\bottomrule",
            r"\end{longtable}\addtocounter{table}{-1}",
            r"\endgroup",
        ]
    )


def _counts(counts: Counter[str]) -> str:
    return " & ".join(str(counts[word]) for word in (*WORDS, "surprises")) + r" \\"


def _plots(chapter: Chapter) -> list[str]:
    figures = []
    for plot in chapter.plots:
        if plot.empty:
            continue
        file = "/".join((safe_name(chapter.suite.name), "plots", f"{safe_name(plot.name)}.pdf"))
        note = f". {escape(plot.note)}" if plot.note else ""
        figures += [
            r"\begin{figure}[htbp]\centering",
            rf"\includegraphics[width=0.8\linewidth]{{{file}}}",
            rf"\caption{{{escape(plot.title)}{note}}}",
            r"\end{figure}",
        ]
    return figures
