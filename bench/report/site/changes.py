"""Changes: what of a suite is not as the version before published it: verdicts, claims, numbers with the reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from retable.bench.record import Record
from retable.bench.report.chapter import Chapter
from retable.bench.report.numbers import number
from retable.bench.report.words import with_unit, words
from retable.bench.versions.archive import Archive
from retable.bench.versions.diff import Move, Side, changed_verdicts, moves, side_of_version

MOST = 40
"""Numbers that are listed; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A number that moved: its row and metric in words, both means, and why."""

    entry: str
    row: str
    metric: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Changes:
    """`verdicts` are (claim, before, after), `added` the claims that are new, by verdict; `more` numbers are not listed.

    Timings move from run to run and are only counted.
    """

    before: str
    verdicts: tuple[tuple[str, str, str], ...] = ()
    added: tuple[tuple[str, int], ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()
    more: int = 0
    timings: int = 0


def changes(chapter: Chapter) -> Changes | None:
    """Beside the newest version that is older than what the chapter shows; None where there is none."""
    older = _older(chapter)
    if older is None:
        return None
    old, new = side_of_version(older.version), _side(chapter)
    verdicts, every = changed_verdicts(old, new), moves(old, new)
    found = sorted((move for move in every if not move.timing), key=_weight)
    return Changes(
        before=older.name,
        verdicts=tuple(one for one in verdicts if one[0] in old.verdicts and one[0] in new.verdicts),
        added=tuple(Counter(new.verdicts[name] for name, _, _ in verdicts if name not in old.verdicts).items()),
        removed=tuple(name for name, _, _ in verdicts if name not in new.verdicts),
        moved=tuple(_moved(move, chapter) for move in found[:MOST]),
        more=max(0, len(found) - MOST),
        timings=len(every) - len(found),
    )


def _older(chapter: Chapter) -> Archive | None:
    """Versions are in order; one that is shown itself ends them."""
    names = [archive.name for archive in chapter.past]
    stop = names.index(chapter.source) if chapter.source in names else len(names)
    return chapter.past[stop - 1] if stop else None


def _side(chapter: Chapter) -> Side:
    def of(stage: str) -> list[Record]:
        return [record for record in chapter.records.values() if record.stage == stage and record.ok]

    return Side(
        name=chapter.source,
        results={(record.entry, record.repetition): record for record in of("evaluate")},
        fits={record.key: record for record in of("fit")},
        environments=chapter.environments,
        verdicts={judged.claim.name: judged.verdict for judged in chapter.judgements},
    )


def _weight(move: Move) -> tuple[bool, bool]:
    """Numbers on one side only come last, those that left their old interval first."""
    return move.old is None or move.new is None, move.inside is not False


def _moved(move: Move, chapter: Chapter) -> Moved:
    labels = {entry.name: entry.label for entry in chapter.suite.entries}
    units = (record.metrics[move.metric].unit for record in chapter.records.values() if move.metric in record.metrics)
    means = [number(side.mean, ".5g") if side else "—" for side in (move.old, move.new)]
    return Moved(
        entry=move.entry,
        row=labels.get(move.entry, move.entry),
        metric=with_unit(words(chapter.suite, move.metric), next(units, "")),
        before=means[0],
        after=means[1],
        why="; ".join(move.why[:2]) + ("; …" if len(move.why) > 2 else ""),
    )
