"""Tables from a few values, for the tests of tables and renderings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retable.bench.record import Direction, Failure, Measurement, Record, Status
from retable.bench.report.table import Table, build_tables
from retable.bench.suite import Column, Component, Entry, Layout, Limits, Profile, Reported, Suite

HOSTILE = "$&%#_{}~^\\ <img onerror=x> </script> | `x` *b* -- \"q\" 'q' é ± — 中文 \U0001f600 \t\n\x00 \\input{x}"
SCORE = Column(label="Score", metric="score", show="both", format=".2f")


def entry(index: int, label: str, **fields: Any) -> Entry:
    """An entry `e<index>` that measures `score` at three seeds and whose score the paper does not give."""
    common: dict[str, Any] = {
        "group": label,
        "reported": {"score": Reported(value=None, text="not found")},
        "method": Component(use="tiny"),
        "task": Component(use="nothing"),
        "metrics": ("score",),
        "repetitions": (0, 1, 2),
    }
    return Entry(name=f"e{index}", label=label, **{**common, **fields})


def suite(entries: Sequence[Entry], *columns: Column, rows: tuple[str, ...] = ("*",), profile: str = "mini") -> Suite:
    return Suite(
        name="s",
        title="",
        paper="",
        arxiv="1",
        version=1,
        profile=Profile(name=profile, repetitions=(0, 1, 2), limits=Limits(timeout=1, memory=1)),
        profiles=("mini", "paper"),
        entries=tuple(entries),
        layouts=(Layout(name="t", title="T", rows=rows, columns=columns or (SCORE,), note="A note."),),
    )


def record(
    row: int, repetition: int, *, status: Status = Status.OK, message: str = "", **metrics: Measurement
) -> Record:
    return Record(
        key=f"k{row}{repetition}",
        stage="evaluate",
        suite="s",
        entry=f"e{row}",
        profile="mini",
        repetition=repetition,
        seed=0,
        status=status,
        ingredients={},
        metrics=metrics,
        failure=Failure(type="E", message=message) if message else None,
    )


def results(
    *rows: Sequence[float | None], direction: Direction = "lower", reason: str = "no counter", **fields: Any
) -> dict[tuple[str, int], Record]:
    """Records of `score` by row and seed; None is an absent value with `reason`."""
    found = {}
    for index, values in enumerate(rows):
        for repetition, value in enumerate(values):
            why = None if value is not None else reason
            score = Measurement(value=value, direction=direction, reason=why, **fields)
            found[f"e{index}", repetition] = record(index, repetition, score=score)
    return found


def table(labels: Sequence[str], *rows: Sequence[float | None], **fields: Any) -> Table:
    return build_tables(suite([entry(*pair) for pair in enumerate(labels)]), results(*rows, **fields))[0]
