"""The verbs about verdicts and published versions: gate, freeze, verify, diff; from parsed arguments to an exit status."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.suites import find_suite, load, load_suite
from retable.bench.errors import CONTRADICTED, OK, BenchError, StoreError

if TYPE_CHECKING:
    from retable.bench.judge.checks import Check
    from retable.bench.judge.claims import Judgement
    from retable.bench.judge.results import Results
    from retable.bench.suite import Suite
    from retable.bench.versions.diff import Move, Side
    from retable.bench.versions.versions import Name, Version


def gate(arguments: Namespace) -> int:
    """Claims against expected verdicts, rules, and frozen numbers; runs nothing."""
    from retable.bench.judge import checks
    from retable.bench.judge.claims import judge
    from retable.bench.judge.results import collect, unmeasured
    from retable.bench.report import checks as files
    from retable.bench.store.store import Store
    from retable.bench.versions.against import frozen_checks

    suite = load(arguments)
    if not any(entry.method is not None and fnmatch(entry.name, arguments.only) for entry in suite.entries):
        raise BenchError(f"no measured entry of {suite.name} matches {arguments.only!r}")
    version = _baseline(suite, arguments)
    store = Store(arguments.store, create=False)
    results = collect(suite, store)
    judgements = [one for one in judge(suite, results) if _concerns(one, arguments.only)]
    missing = [line for line in unmeasured(suite, results) if fnmatch(line.split("/")[1], arguments.only)]
    found = [checks.of_judgement(one) for one in judgements]
    found += _rules(suite, results, version, arguments)
    found += frozen_checks(suite, results, version, arguments.only, store.environment) if version else []
    found += [checks.of_case(line) for line in missing]
    form = "json" if arguments.json else arguments.format
    texts = {
        "terminal": lambda: _terminal(judgements, found, version),
        "junit": lambda: files.junit(suite.name, suite.profile.name, found),
        "markdown": lambda: files.markdown(suite.name, suite.profile.name, found),
        "json": lambda: _json(judgements, found, missing),
    }
    if arguments.out:
        Path(arguments.out).write_text(texts[form]().rstrip("\n") + "\n", encoding="utf-8")
        form = "terminal"
    print(texts[form]().rstrip("\n"))
    return checks.status(found)


def _baseline(suite: Suite, arguments: Namespace) -> Version | None:
    from retable.bench.versions import versions

    if arguments.against is None:
        return None
    root = Path(arguments.results)
    return versions.load(root, versions.find(root, arguments.against, suite.name))


def _rules(suite: Suite, results: Results, version: Version | None, arguments: Namespace) -> list[Check]:
    """Those of the suite and of the command line, which may not compare with a version that is not there."""
    from retable.bench.declare.rules import read_rule
    from retable.bench.versions.against import rule_checks

    asked = [read_rule(text, suite.entries) for text in arguments.rule]
    for rule in asked:
        if rule.kind != "value" and version is None:
            raise BenchError(f"the rule {rule.text!r} compares with a frozen version: name one with --against")
    return rule_checks(suite, results, [*suite.rules, *asked], version, arguments.only)


def _concerns(judged: Judgement, only: str) -> bool:
    return all(fnmatch(entry, only) for entry in judged.claim.entries)


def _terminal(judgements: list[Judgement], found: list[Check], version: Version | None) -> str:
    from retable.bench.judge.checks import NOUNS, counted
    from retable.bench.report import terminal
    from retable.bench.report.escape import clean

    lines = [terminal.render_judgements(judgements)]
    for kind in ("rule", "frozen"):
        if chosen := [check for check in found if check.kind == kind]:
            against = f" of {version.name}" if version and kind == "frozen" else ""
            lines.append(f"{NOUNS[kind]}{against}: {counted(chosen)}")
            shown = chosen if kind == "rule" else [check for check in chosen if check.outcome != "passed"]
            lines += [clean(f"  {check.outcome}  {check.name} {check.text}: {check.detail}") for check in shown]
    lines += [clean(f"not measured: {check.name}: {check.detail}") for check in found if check.kind == "case"]
    return "\n".join(lines)


def _json(judgements: list[Judgement], found: list[Check], missing: list[str]) -> str:
    from retable.bench.judge.checks import status
    from retable.bench.report.as_json import judgements_to_json
    from retable.bench.report.checks import to_json

    facts = {
        "status": status(found),
        "verdicts": judgements_to_json(judgements),
        "unmeasured_cases": missing,
        "rules": to_json([check for check in found if check.kind == "rule"]),
        "frozen": to_json([check for check in found if check.kind == "frozen"]),
    }
    return json.dumps(facts, indent=2, ensure_ascii=False)


def freeze(arguments: Namespace) -> int:
    """Publish a suite's results as its next version."""
    from retable.bench.report.frozen import render
    from retable.bench.store.store import Store
    from retable.bench.versions.freeze import freeze as publish
    from retable.bench.versions.versions import path_of

    suite, root = load(arguments), Path(arguments.results)
    name, new = publish(suite, Store(arguments.store, create=False), root, render, partial=arguments.partial)
    path = path_of(root, name)
    if arguments.json:
        print(json.dumps({"version": str(name), "path": str(path), "new": new}, indent=2))
    else:
        print(path if new else f"{path} already holds exactly this")
    return OK


def verify(arguments: Namespace) -> int:
    """Every version, or those that are named, against its manifest; 1 when one is not as it was published."""
    from retable.bench.versions import versions

    root = Path(arguments.results)
    names = _named(root, arguments.version) if arguments.version else versions.published(root)
    if not names:
        raise BenchError(f"no version is published in {root}")
    found = {name: _damage(root, name) for name in names}
    if arguments.json:
        print(json.dumps({str(name): lines for name, lines in found.items()}, indent=2, ensure_ascii=False))
    for name, lines in found.items():
        if lines:
            print("\n".join(f"{root}/{name}: {line}" for line in lines), file=sys.stderr)
        elif not arguments.json:
            print(f"{root}/{name}: as it was published")
    return CONTRADICTED if any(found.values()) else OK


def _named(root: Path, text: str) -> list[Name]:
    """The one version of `suite/v1`, or all of `suite`."""
    from retable.bench.versions.versions import Name, find, numbers

    name = find(root, text)
    named = text.rstrip("/").endswith(f"/v{name.number}")
    return [name] if named else [Name(name.suite, number) for number in numbers(root, name.suite)]


def _damage(root: Path, name: Name) -> list[str]:
    from retable.bench.versions import versions

    if lines := versions.damage(root, name):
        return lines
    try:
        versions.load(root, name)
    except StoreError as error:
        return [str(error).removeprefix(f"{root}/{name}: ")]
    return []


def diff(arguments: Namespace) -> int:
    """Which numbers differ between two versions, or a version and the store, and why; 1 when some do."""
    from retable.bench.versions.diff import changed_verdicts, moves

    sides = _sides(arguments)
    found, verdicts = moves(*sides), changed_verdicts(*sides)
    if arguments.json:
        facts = {
            "old": sides[0].name,
            "new": sides[1].name,
            "moves": [asdict(move) for move in found],
            "verdicts": [{"claim": name, "old": before, "new": after} for name, before, after in verdicts],
        }
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_differences(sides, found, verdicts)))
    return CONTRADICTED if found or verdicts else OK


def _sides(arguments: Namespace) -> tuple[Side, Side]:
    """What the two arguments name; `store` is the suite and the profile of the other one."""
    from retable.bench.store.store import Store
    from retable.bench.versions import versions
    from retable.bench.versions.diff import side_of_store, side_of_version

    root, texts = Path(arguments.results), (arguments.old, arguments.new)
    if texts == ("store", "store"):
        raise BenchError("`bench diff` compares a version with another one, or with the store")
    suite = next(versions.find(root, text).suite for text in texts if text != "store")
    read = {text: versions.load(root, versions.find(root, text, suite)) for text in texts if text != "store"}
    profiles = {version.profile for version in read.values()}
    if len({version.name.suite for version in read.values()}) > 1:
        raise BenchError(f"{' and '.join(texts)} are versions of different suites")
    if len(profiles) > 1:
        raise BenchError(f"{' and '.join(texts)} were frozen at different profiles: {', '.join(sorted(profiles))}")

    def side(text: str) -> Side:
        if text != "store":
            return side_of_version(read[text])
        return side_of_store(load_suite(find_suite(suite), profiles.pop()), Store(arguments.store, create=False))

    return side(texts[0]), side(texts[1])


def _differences(sides: tuple[Side, Side], found: list[Move], verdicts: list[tuple[str, str, str]]) -> list[str]:
    old, new = sides
    lines = [f"{old.name} -> {new.name}: {len(found)} numbers differ, {len(verdicts)} verdicts"]
    for move in found:
        lines.append(f"{move.entry} {move.metric}{' (a timing)' if move.timing else ''}: {_told(move)}")
        lines += [f"    {reason}" for reason in move.why]
    return [*lines, *[f"verdict of {name}: {before} -> {after}" for name, before, after in verdicts]]


def _told(move: Move) -> str:
    def number(side: str) -> str:
        one = getattr(move, side)
        if one is None:
            return "absent"
        if one.low is None or one.low == one.high:
            return f"{one.mean:.6g}"
        return f"{one.mean:.6g} ± {one.high - one.mean:.2g}"

    text = f"{number('old')} -> {number('new')}"
    if (step := move.difference) is not None:
        text += f", difference {step.mean:+.4g}"
        if step.low is not None and step.low != step.high:
            text += f" in [{step.low:.4g}, {step.high:.4g}]"
    if move.inside is not None:
        text += f", {'inside' if move.inside else 'outside'} the old interval"
    return text
