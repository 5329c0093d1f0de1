"""`bench gate`: the verdicts, rules and frozen numbers, and an exit status for CI."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.source import reader
from retable.bench.cli.suites import load, load_suite
from retable.bench.errors import BenchError, nearest

if TYPE_CHECKING:
    from retable.bench.judge.checks import Background, Check
    from retable.bench.judge.judgement import Judgement
    from retable.bench.judge.results import Results
    from retable.bench.store.reader import Reader
    from retable.bench.suite import Suite
    from retable.bench.versions.versions import Version

NEWEST = "newest"


def main(arguments: Namespace) -> int:
    """Claims against expected verdicts, rules, and frozen numbers; runs nothing."""
    from retable.bench.judge import checks
    from retable.bench.judge.claims import judge
    from retable.bench.judge.results import unmeasured
    from retable.bench.report import checks as files
    from retable.bench.report.escape import clean
    from retable.bench.report.files import write
    from retable.bench.versions.against import frozen_checks
    from retable.bench.versions.archive import held as held_of
    from retable.bench.versions.claims import stood

    suite = load(arguments)
    if not any(entry.method is not None and fnmatch(entry.name, arguments.only) for entry in suite.entries):
        measured = [entry.name for entry in suite.entries if entry.method is not None]
        raise BenchError(
            f"no measured entry of {suite.name} matches {arguments.only!r}{nearest(arguments.only, measured)}"
        )
    version = _baseline(suite, arguments)
    store = reader(arguments, suite.name)
    source = held_of(suite, store)
    results = source.results
    before = stood(suite, Path(arguments.results), load_suite)
    judgements = [one for one in judge(suite, results, before) if _concerns(one, arguments.only)]
    missing = [line for line in unmeasured(suite, results) if fnmatch(line.split("/")[1], arguments.only)]
    found = [checks.of_judgement(one) for one in judgements]
    found += _rules(suite, results, version, arguments)
    held = frozen_checks(suite, results, version, arguments.only) if version else []
    background = _background(suite, store, results, version, held) if version else checks.Background()
    found += held if version or arguments.against is None else [_first(suite, arguments)]
    found += [checks.of_case(line) for line in missing]
    form = "json" if arguments.json else arguments.format
    texts = {
        "terminal": lambda: _terminal(judgements, found, version, background),
        "junit": lambda: files.junit(suite.name, suite.profile.name, found),
        "markdown": lambda: files.markdown(suite.name, suite.profile.name, found, background),
        "github": lambda: files.github(suite.name, found, background),
        "json": lambda: _json(judgements, found, missing, background),
    }
    for line in source.said:
        print(clean(f"bench: {line}"), file=sys.stderr)
    if arguments.out:
        write(Path(arguments.out), texts[form]().rstrip("\n") + "\n")
        form = "terminal"
    print(texts[form]().rstrip("\n"))
    return checks.status(found)


def _baseline(suite: Suite, arguments: Namespace) -> Version | None:
    """Before the first version is frozen there is no newest one, and nothing to hold numbers to."""
    from retable.bench.versions import versions

    root = Path(arguments.results)
    if arguments.against is None or (arguments.against == NEWEST and not versions.numbers(root, suite.name)):
        return None
    return versions.load(root, versions.find(root, arguments.against, suite.name))


def _background(suite: Suite, store: Reader, results: Results, version: Version, held: list[Check]) -> Background:
    """Nothing where every frozen number is where it was."""
    from retable.bench.judge.checks import Background
    from retable.bench.versions.against import other_machine
    from retable.bench.versions.diff import causes, moves, side_of_store, side_of_version

    moved = {check.name for check in held if check.outcome in ("failed", "unmeasured")}
    if not moved:
        return Background()
    found = moves(side_of_version(version), side_of_store(suite, store))
    rows = {name.partition("/")[0] for name in moved}
    present = {place: record for place, record in results.items() if place[0] in rows}
    return Background(machine=other_machine(present, version, store.environment), causes=causes(found, moved))


def _rules(suite: Suite, results: Results, version: Version | None, arguments: Namespace) -> list[Check]:
    """Those of the suite and of the command line, which may not compare with a version that is not there."""
    from retable.bench.declare.rules import read_rule
    from retable.bench.versions.against import rule_checks

    asked = [read_rule(text, suite.entries) for text in arguments.rule]
    for rule in asked:
        if rule.kind != "value" and version is None and arguments.against != NEWEST:
            raise BenchError(f"the rule {rule.text!r} compares with a frozen version: name one with --against")
    return rule_checks(suite, results, [*suite.rules, *asked], version, arguments.only)


def _first(suite: Suite, arguments: Namespace) -> Check:
    from retable.bench.judge.checks import Check

    detail = (
        f"none is published in {arguments.results} yet: once the verdicts are as they should be, "
        f"`bench freeze {suite.name}` and commit {arguments.results}/{suite.name}"
    )
    return Check(kind="frozen", name=suite.name, outcome="skipped", text="has a frozen version", detail=detail)


def _concerns(judged: Judgement, only: str) -> bool:
    return all(fnmatch(entry, only) for entry in judged.claim.entries)


def _terminal(judgements: list[Judgement], found: list[Check], version: Version | None, background: Background) -> str:
    from retable.bench.judge.checks import NOUNS, counted, total
    from retable.bench.report import terminal
    from retable.bench.report.escape import clean

    lines = [terminal.render_judgements(judgements)]
    for kind in ("rule", "frozen"):
        if chosen := [check for check in found if check.kind == kind]:
            against = f" of {version.name}" if version and kind == "frozen" else ""
            lines.append(f"{NOUNS[kind]}{against}: {counted(chosen)}")
            shown = chosen if kind == "rule" else [check for check in chosen if check.outcome != "passed"]
            lines += [
                clean(f"  {check.outcome}{_tier(check)}  {check.name} {check.text}: {check.detail}") for check in shown
            ]
            lines += [clean(f"  {line}") for line in background.lines()] if kind == "frozen" else []
    lines += [clean(f"not measured: {check.name}: {check.detail}") for check in found if check.kind == "case"]
    lines += [clean(f"{check.name} is {check.tier}") for check in found if check.kind == "claim" and _let_pass(check)]
    return "\n".join([*lines, total(found)])


def _tier(check: Check) -> str:
    return "" if check.tier == "critical" else f" ({check.tier})"


def _let_pass(check: Check) -> bool:
    return check.outcome in ("failed", "unmeasured") and not check.blocks


def _json(judgements: list[Judgement], found: list[Check], missing: list[str], background: Background) -> str:
    from retable.bench.judge.checks import status
    from retable.bench.report.as_json import judgements_to_json
    from retable.bench.report.checks import to_json

    facts = {
        "status": status(found),
        "verdicts": judgements_to_json(judgements),
        "unmeasured_cases": missing,
        "rules": to_json([check for check in found if check.kind == "rule"]),
        "frozen": to_json([check for check in found if check.kind == "frozen"]),
        "other_machine": list(background.machine),
        "causes": dict(background.causes),
        "outcomes": dict(Counter(check.outcome for check in found)),
    }
    return json.dumps(facts, indent=2, ensure_ascii=False)
