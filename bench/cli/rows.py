"""The rows of a suite with what is stored of them: `bench show SUITE`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retable.bench.store.reader import Reader
    from retable.bench.suite import Entry, Suite


def overview(suite: Suite, source: Reader, *, as_json: bool) -> str:
    """A line a row: name, label, how many of its seeds are stored, what it measures; then published recipes and errata."""
    from retable.bench.versions.archive import held

    results = held(suite, source).results
    facts = []
    for entry in suite.entries:
        found = [results.get((entry.name, n)) for n in entry.repetitions]
        facts.append(_facts(entry, sum(record is not None and record.ok for record in found)))
    if as_json:
        whole = {
            "suite": suite.name,
            "profile": suite.profile.name,
            "rows": facts,
            "errata": [asdict(one) for one in suite.errata],
            "recipes": [{**asdict(one), "complete": not one.missing} for one in suite.recipes],
        }
        return json.dumps(whole, indent=2, ensure_ascii=False)
    head = f"{suite.name} at profile {suite.profile.name}: {suite.title}"
    return "\n".join([head, _table(facts), *_recipes(suite), _errata(suite)])


def _recipes(suite: Suite) -> list[str]:
    """How near a training comes to the published one, and of which rows."""
    from retable.bench.report.escape import clean

    lines = ["published recipes, as `--profile paper` has them"] if suite.recipes else []
    for one in suite.recipes:
        lines += [f"  {', '.join(one.rows)}", f"    {clean(one.said)}", f"    source: {clean(one.source)}"]
    return lines


def _errata(suite: Suite) -> str:
    """Where the paper's text and its released code part, or either and arithmetic."""
    from retable.bench.report.escape import clean

    lines = ["errata" if suite.errata else "no errata are known"]
    for erratum in suite.errata:
        lines += [
            f"  {clean(erratum.sentence)}",
            f"    source: {clean(erratum.source)}",
            f"    effect: {clean(erratum.effect)}",
        ]
    return "\n".join(lines)


def _table(facts: list[dict[str, Any]]) -> str:
    from retable.bench.report.escape import clean

    lines = [["row", "seeds stored", "label", "metrics"]]
    lines += [
        [
            one["name"],
            f"{one['stored']}/{one['seeds']}" if one["measured"] else "reported",
            clean(one["label"]),
            clean(", ".join(one["metrics"])),
        ]
        for one in facts
    ]
    # by hand, since importing tabulate takes a fifth of the command's time
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _facts(entry: Entry, stored: int) -> dict[str, Any]:
    return {
        "name": entry.name,
        "label": entry.label,
        "group": entry.group,
        "measured": entry.method is not None,
        "seeds": len(entry.repetitions),
        "stored": stored,
        "metrics": list(entry.metrics),
    }
