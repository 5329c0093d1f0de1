"""The pages of the site from chapters: one template a page, every text escaped, scripts and styles inside each page."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable import __version__
from retable.bench.report.chapter import Chapter
from retable.bench.report.draw import describe
from retable.bench.report.energy import standing
from retable.bench.report.escape import clean
from retable.bench.report.files import safe_name
from retable.bench.report.scorecard import ENERGY, KINDS, LEGEND, STRENGTHS, VERDICTS, Line, answers, energies, sentence
from retable.bench.report.site.changes import changes
from retable.bench.report.site.provenance import provenance
from retable.bench.report.site.view import ClaimView, claim_told, claim_view, table_view

if TYPE_CHECKING:
    from jinja2 import Environment

ERRATUM = "erratum"
"""A claim whose source says so is about what a paper or its code gets wrong, and stands on the front page."""
AGAIN = (
    "Comes again with: how probably as many other seeds would give the same verdict. In brackets behind a mean: its interval; "
    "undecided: the interval holds the bound."
)
TEMPLATES = Path(__file__).with_name("templates")


def index_page(chapters: Sequence[Chapter]) -> str:
    """The front page: scorecard by strength, errata, a card a paper, a reviewer's questions, then every claim."""
    rows: list[dict[str, Any]] = []
    lines: list[Line] = []
    for chapter in chapters:
        claims = claim_views(chapter)
        line = Line(suite=chapter.suite, judgements=chapter.judgements, source=chapter.suite.profile.name)
        lines.append(line)
        counts = Counter(claim.verdict for claim in claims)
        rows.append(
            {
                "suite": chapter.suite,
                "page": f"{safe_name(chapter.suite.name)}/index.html",
                "claims": claims,
                "picture": _picture(chapter),
                "source": chapter.source,
                "counts": [counts[word] for word in ("reproduced", "contradicted", "not measured")],
                "strengths": [[line.count(strength, word) for word in VERDICTS] for strength in STRENGTHS],
                "energy": standing(chapter.judgements),
                "errata": line.errata,
                "surprises": sum(not claim.as_expected for claim in claims),
                "cases": (len(chapter.suite.cases()) - len(chapter.unmeasured), len(chapter.suite.cases())),
            }
        )
    totals = [sum(row["counts"][i] for row in rows) for i in range(3)]
    environments = {key: facts for chapter in chapters for key, facts in chapter.environments.items()}
    errata = [(row, claim) for row in rows for claim in row["claims"] if ERRATUM in claim.source.lower()]
    asked = {
        question: [(line.suite.name, one.claim.name, sentence(one)) for line, one in found]
        for question, found in answers(lines).items()
    }
    return _render(
        "index.html",
        rows=rows,
        errata=errata,
        totals=totals,
        strengths=STRENGTHS,
        asked=asked,
        by_rule=[(line.suite.name, name, text) for line, name, text in energies(lines)],
        energy_heading=ENERGY,
        legend=LEGEND,
        again=AGAIN,
        environments=environments,
        data="",
    )


def suite_page(chapter: Chapter, files: Sequence[str]) -> str:
    """One suite: verdicts, what changed since the version before, tables, plots, samples, what ran where. `files` are the downloads beside the page."""
    tables = [table_view(table) for table in chapter.tables]
    cells = {identity: told for table in tables for identity, told in table.cells.items()}
    for judged in chapter.judgements:
        if judged.evidence:
            cells[claim_id(judged.claim.name)] = claim_told(judged, chapter.suite.name)
    return _render(
        "suite.html",
        suite=chapter.suite,
        tables=tables,
        claims=claim_views(chapter),
        plots=[(plot, safe_name(plot.name), describe(plot)) for plot in chapter.plots],
        changes=changes(chapter),
        kinds=KINDS,
        again=AGAIN,
        samples=chapter.samples,
        problems=chapter.problems,
        files=files,
        unmeasured=chapter.unmeasured,
        cases=len(chapter.suite.cases()),
        records=len(chapter.records),
        environments=chapter.environments,
        certificates=chapter.certificates,
        source=chapter.source,
        said=chapter.said,
        data=provenance(chapter, cells),
    )


def explore_page(chapter: Chapter, data: str) -> str:
    """The page that compares rows and versions; `data` is what `explore` made of the chapter."""
    return _render("explore.html", script="explore.js", suite=chapter.suite, data=data)


def claim_views(chapter: Chapter) -> list[ClaimView]:
    """The chapter's verdicts, each under the id that its evidence has on the suite's page."""
    return [claim_view(judged, chapter.suite.name, claim_id(judged.claim.name)) for judged in chapter.judgements]


def claim_id(name: str) -> str:
    """Where a claim stands on its suite's page: what a link to it ends in."""
    return f"claim-{safe_name(name)}"


def _picture(chapter: Chapter) -> dict[str, str] | None:
    """What stands for a paper: the first picture that one of its rows left, else its first plot."""
    folder = safe_name(chapter.suite.name)
    for sample in chapter.samples:
        if sample.kind == "image":
            return {"file": f"{folder}/samples/{sample.file}", "alt": f"{sample.name} of {sample.label}", "look": ""}
    for plot in chapter.plots:
        if not plot.empty:
            return {"file": f"{folder}/plots/{safe_name(plot.name)}.svg", "alt": plot.title, "look": "whole"}
    return None


def _render(template: str, script: str = "site.js", **content: Any) -> str:
    from markupsafe import Markup

    style, script = _asset("site.css"), _asset(script)
    content |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": Markup(_policy(style, script)),
        "version": __version__,
        "data": Markup(content["data"]),
    }
    return _templates().get_template(template).render(**content)


def _policy(style: str, script: str) -> str:
    """What a browser may load for a page: its own script and style, files beside it, nothing else."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src 'self' file:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters["lines"] = lambda text: [clean(line) for line in text.split("\n")]
    environment.filters["fragment"] = safe_name
    return environment
