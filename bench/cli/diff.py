"""`bench diff`: which numbers moved, and why."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.suites import find_suite, load_suite
from retable.bench.errors import CONTRADICTED, OK, BenchError

if TYPE_CHECKING:
    from retable.bench.versions.diff import Move, Side
    from retable.bench.versions.versions import Name


def main(arguments: Namespace) -> int:
    """Which numbers differ between two versions, or a version and the store, and why; 1 when some do."""
    from retable.bench.versions.diff import changed_claims, changed_verdicts, moves

    sides = _sides(arguments)
    found, verdicts, claims = moves(*sides), changed_verdicts(*sides), changed_claims(*sides)
    if arguments.json:
        facts = {
            "old": sides[0].name,
            "new": sides[1].name,
            "moves": [asdict(move) for move in found],
            "verdicts": [{"claim": name, "old": before, "new": after} for name, before, after in verdicts],
            "claims": [{"claim": name, "old": before, "new": after} for name, before, after in claims],
        }
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*_differences(sides, found, verdicts), *_claims(claims)]))
    return CONTRADICTED if found or verdicts else OK


def _sides(arguments: Namespace) -> tuple[Side, Side]:
    """What the two arguments name; `store` is the suite and the profile of the other one."""
    from retable.bench.store.store import Store
    from retable.bench.versions import versions
    from retable.bench.versions.claims import statements
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

    read_profile = next(iter(profiles))

    def said(name: Name) -> dict[str, str]:
        try:
            return statements(root, name, read_profile, load_suite)
        except BenchError:  # declared in a way that is read no more
            return {}

    def side(text: str) -> Side:
        if text != "store":
            return side_of_version(read[text], said(read[text].name))
        return side_of_store(load_suite(find_suite(suite), profiles.pop()), Store(arguments.store, create=False))

    return side(texts[0]), side(texts[1])


def _differences(sides: tuple[Side, Side], found: list[Move], verdicts: list[tuple[str, str, str]]) -> list[str]:
    old, new = sides
    lines = [f"{old.name} -> {new.name}: {len(found)} numbers differ, {len(verdicts)} verdicts"]
    for move in found:
        lines.append(f"{move.entry} {move.metric}{' (a timing)' if move.timing else ''}: {_told(move)}")
        lines += [f"    {reason}" for reason in move.why]
    return [*lines, *[f"verdict of {name}: {before} -> {after}" for name, before, after in verdicts]]


def _claims(changed: list[tuple[str, str, str]]) -> list[str]:
    """Both texts of each."""
    lines = []
    for name, before, after in changed:
        word = "changed" if before and after else "added" if after else "removed"
        lines += [
            f"claim {name} was {word}",
            *[f"    {sign} {text}" for sign, text in (("-", before), ("+", after)) if text],
        ]
    return lines


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
