"""`bench list`: the suites, the scorecard of their papers, or all their claims."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.cli.suites import load_suite, summary
from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    from retable.bench.report.scorecard import Line


def main(arguments: Namespace) -> int:
    """One line a suite; or, from the newest published versions, the scorecard or the table of claims."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise BenchError(f"{folder} is not a folder of suites")
    paths = sorted(folder.glob("*.yaml"))
    if arguments.verdicts or arguments.claims:
        return _judged(paths, arguments)
    rows = [summary(path) for path in paths]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return OK
    for row in rows:
        paper = f" (arXiv {row['arxiv']})" if row["arxiv"] else ""
        print(f"{row['suite']}  {row['title']}{paper}")
        print(
            f"    {row['reported_rows']} rows reported, {row['measured_rows']} measured at mini ({row['cases']} cases), "
            f"{row['claims']} claims; profiles {', '.join(row['profiles'])}"
        )
    return OK


def _judged(paths: list[Path], arguments: Namespace) -> int:
    from retable.bench.report import claims, scorecard

    lines = lines_of(paths, Path(arguments.results))
    if arguments.json:
        facts: Any = claims.table(lines) if arguments.claims else [_counts(line) for line in lines]
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    elif arguments.into:
        from retable.bench.report.files import write
        from retable.bench.report.readme import put_between

        path = Path(arguments.into)
        text = put_between(path.read_text(encoding="utf-8"), scorecard.markdown(lines), str(path))
        write(path, text)
    elif arguments.claims:
        print(claims.markdown(lines) if arguments.markdown else claims.render(lines))
    else:
        print(scorecard.markdown(lines) if arguments.markdown else scorecard.render(lines))
    return OK


def lines_of(paths: list[Path], results: Path) -> list[Line]:
    """A line of the scorecard for each suite, from its newest version at `mini`."""
    from retable.bench.report.scorecard import Line
    from retable.bench.versions.claims import published

    found = [published(load_suite(path, "mini"), results, load_suite) for path in paths]
    return [
        Line(
            suite=one.suite,
            judgements=one.judgements,
            source=f"v{one.version.number}" if one.version else "not published",
        )
        for one in found
    ]


def _counts(line: Line) -> dict[str, Any]:
    from retable.bench.report.energy import sentences, standing
    from retable.bench.report.scorecard import STRENGTHS, VERDICTS

    counts = {strength: {verdict: line.count(strength, verdict) for verdict in VERDICTS} for strength in STRENGTHS}
    return {
        "suite": line.suite.name,
        "paper": line.suite.paper,
        "from": line.source,
        "claims": counts,
        "energy": {
            "rules": standing(line.judgements),
            "claims": {one.claim.name: text for one, text in sentences(line.judgements)},
        },
        "errata": line.errata,
    }
