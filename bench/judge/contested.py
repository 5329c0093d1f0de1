"""Contested: what other machines measured under the same key, and whether it is what was measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retable.bench.record import Measurement, Record
from retable.bench.registry import is_timing

Others = Callable[[str], Sequence[Record]]
"""The records of other machines under a key, as the store keeps them."""


def nobody(key: str) -> Sequence[Record]:
    """Where there are no other machines."""
    return ()


def differences(mine: Record, other: Record) -> list[str]:
    """The numbers and files in which two records of one key differ; what a clock makes is expected to."""
    names = [name for name in dict.fromkeys([*mine.metrics, *other.metrics]) if not is_timing(name)]
    found = [name for name in names if not _same(mine.metrics.get(name), other.metrics.get(name))]
    files = [name for name in mine.artefacts if name in other.artefacts]
    if mine.stage == "fit":
        found += [name for name in files if mine.artefacts[name].sha256 != other.artefacts[name].sha256]
    return found


def said(name: str, mine: Record, other: Record) -> str:
    """One of `differences` in words."""
    if name not in mine.metrics and name not in other.metrics:
        return f"{name} of other content (SHA-256 {mine.artefacts[name].sha256[:12]} here, {other.artefacts[name].sha256[:12]} there)"
    here, there = _pair(mine.metrics.get(name), other.metrics.get(name))
    return f"{name} is {here} here and {there} there"


def told(mine: Sequence[Record], metric: str, others: Others, machine: Callable[[Record], str]) -> str:
    """What a table says of a metric that another machine has measured otherwise: the spread, and who says what."""
    if is_timing(metric):
        return ""
    lines, values, machines = [], [], set()
    for record in mine:
        for other in others(record.key):
            here, there = record.metrics.get(metric), other.metrics.get(metric)
            if not _same(here, there):
                seed = f"repetition {record.repetition}"
                first, second = _pair(here, there)
                lines.append(f"{seed} is {first} here and {second} on {machine(other)}")
                machines.add(machine(other))
                values.append(_distance(here, there))
    if not lines:
        return ""
    more = f"; {len(lines) - 2} more" if len(lines) > 2 else ""
    return f"contested by {len(machines)} other machine{'s' * (len(machines) > 1)}, up to {max(values):.2g} apart: {'; '.join(lines[:2])}{more}"


def machine(record: Record, environment: Callable[[str], Mapping[str, Any] | None]) -> str:
    """Node or processor of a record, in a few words."""
    facts = environment(record.environment) or {}
    cpu = facts.get("hardware", {}).get("cpu")
    named = cpu if isinstance(cpu, str) else f"environment {record.environment[:12] or 'unknown'}"
    return f"{record.node} ({named})" if record.node else named


def _same(one: Measurement | None, other: Measurement | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.value, one.samples, one.reason) == (other.value, other.samples, other.reason)


def _pair(one: Measurement | None, other: Measurement | None) -> tuple[str, str]:
    """Two numbers to six digits, or to all where six do not tell them apart; equal ones differ in their samples or reasons."""
    six, all_digits = ((_number(one, digits), _number(other, digits)) for digits in (6, 17))
    first, second = six if six[0] != six[1] else all_digits
    return first, second if first != second else f"{second} (of other samples, or for another reason)"


def _number(one: Measurement | None, digits: int) -> str:
    return "not measured" if one is None or one.value is None else f"{one.value:.{digits}g}"


def _distance(one: Measurement | None, other: Measurement | None) -> float:
    if one is None or other is None or one.value is None or other.value is None:
        return float("inf")
    return abs(one.value - other.value)
