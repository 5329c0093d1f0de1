"""Fit: how a sheet gets onto a page without letters below footnote size: smaller, folded, turned, sideways, in parts.

Widths are estimates in points from the advance widths of Computer Modern at 10 pt, a little on the safe side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from retable.bench.report.sheet import Head, Line, Piece, Sheet

SIZES = (("normalsize", 1.0, 6.0), ("small", 0.9, 5.0), ("footnotesize", 0.8, 4.0), ("footnotesize", 0.8, 3.0))
"""Sizes of a ten-point document, their share of it, and the space on each side of a column."""
LONG = 14
"""Letters from which on names of groups stand above their rows and not beside them."""
FOLDED = 0.3, 0.2
"""Of the width, what a folded label gets, and what it gets at least."""
LEAST = 72.0
SIDEWAYS = 1.35
"""Of the width of a page's text, its height."""
LINES = 48
"""Rows on a page."""
_WIDTHS = {"0123456789": 5.0, "ijl.,:;'|!": 2.8, "frt-()[]/ ": 3.9, "mwMWOQ%—@": 8.6, "ABCDEFGHKLNPRSTUVXYZ±≥≤×+Δ": 7.6}
BOLD, RAISED, LATIN = 1.15, 0.75, 5.2


@dataclass(frozen=True, kw_only=True)
class Page:
    """How a sheet is set: size, folded width of the labels (0: none), turned heads, sideways, and its printed columns in blocks."""

    size: str
    fold: float
    turned: bool
    sideways: bool
    space: float
    blocks: tuple[tuple[int, ...], ...]


def fit(one: Sheet, width: float) -> Page:
    """The first way in which every line is within `width`: the plainest, in the largest letters."""
    return next(_ways(one, width))


def _ways(one: Sheet, width: float) -> Iterator[Page]:
    every = tuple(range(len(one.heads)))
    plain = Page(size="normalsize", fold=0.0, turned=False, sideways=False, space=6.0, blocks=(every,))
    for size, share, space in SIZES:
        if _total(one, every, share, space) <= width:
            yield replace(plain, size=size, space=space)
    size, share, space = SIZES[-1]
    small = replace(plain, size=size, space=space)
    folds = [max(part * width, LEAST) for part in FOLDED]
    folded = folds[0] if _stub(one, share, space) > folds[0] else 0.0
    for turned, fold in ((False, folded), (True, folded), (True, folds[1] if folded else 0.0)):
        if _total(one, every, share, space, fold=fold, turned=turned) <= width:
            yield replace(small, fold=fold, turned=turned)
    if len(one.lines) <= LINES // 2:
        for size, share, space in SIZES:
            if _total(one, every, share, space) <= SIDEWAYS * width:
                yield replace(plain, size=size, space=space, sideways=True)
        if _total(one, every, share, space, fold=folded) <= SIDEWAYS * width:
            yield replace(small, fold=folded, sideways=True)
    yield replace(small, fold=folded, turned=True, blocks=tuple(_blocks(one, width, share, space, folded)))


def _blocks(one: Sheet, width: float, share: float, space: float, fold: float) -> Iterator[tuple[int, ...]]:
    """Printed columns in as few blocks as hold them; those of one label stay together where they can."""
    room = width - _stub(one, share, space, fold)
    block: list[int] = []
    used = 0.0
    for together in _labelled(one.heads):
        size = sum(_column(one, index, share, space, turned=True) for index in together)
        if block and used + size > room:
            yield tuple(block)
            block, used = [], 0.0
        block += together
        used += size
    yield tuple(block)


def _labelled(heads: Sequence[Head]) -> Iterator[list[int]]:
    found: list[int] = []
    for index, head in enumerate(heads):
        if found and heads[found[-1]].label != head.label:
            yield found
            found = []
        found.append(index)
    yield found


def parts(one: Sheet, page: Page) -> Iterator[tuple[Sheet, Page]]:
    """What stands in one float each: blocks below each other as long as they fit a page, and rows on as many as they need."""
    height = _height(one.lines) * len(page.blocks)
    pages = [page] if height <= LINES else [replace(page, blocks=(block,)) for block in page.blocks]
    for own in pages:
        start = 0
        while start < len(one.lines):
            stop = start + 1
            while stop < len(one.lines) and (len(own.blocks) > 1 or _height(one.lines[start : stop + 1]) <= LINES):
                stop += 1
            yield replace(one, lines=one.lines[start:stop]), own
            start = stop


def _height(lines: Sequence[Line]) -> float:
    """In rows: a name of a group above its rows is one, and a gap."""
    groups = sum(line.group != before.group for before, line in pairwise(lines)) + 1
    return len(lines) + (0.5 * groups if beside(lines) else 1.5 * groups)


def beside(lines: Sequence[Line]) -> bool:
    """Whether names of groups are short enough for a column of their own."""
    return any(line.group for line in lines) and max(len(line.group) for line in lines) <= LONG


def _total(
    one: Sheet, columns: Sequence[int], share: float, space: float, *, fold: float = 0.0, turned: bool = False
) -> float:
    stub = _stub(one, share, space, fold)
    return (
        stub + sum(_column(one, index, share, space, turned=turned) for index in columns) + _heads(one, share, turned)
    )


def _heads(one: Sheet, share: float, turned: bool) -> float:
    """What heads over several printed columns need beyond these."""
    if turned:
        return 0.0
    more = 0.0
    for together in _labelled(one.heads):
        if len(together) > 1:
            body = sum(_column(one, index, share, 4.0, turned=True) for index in together)
            more += max(0.0, share * _text(one.heads[together[0]].label) - body)
    return more


def lead(one: Sheet, index: int, page: Page) -> float:
    """Points before the numbers of a printed column that bring them under the middle of a head that is wider than they are."""
    share = next(share for size, share, _ in SIZES if size == page.size)
    numbers = share * _numbers(one, index)
    return (
        0.0 if page.turned or not numbers else max(0.0, (_column(one, index, share, 0.0, turned=False) - numbers) / 2)
    )


def _numbers(one: Sheet, index: int) -> float:
    """Of the widest number left of its point, and of the widest right of it; at ten points."""
    pieces = [line.pieces[index] for line in one.lines if not line.pieces[index].text]
    bold = BOLD if any(piece.mark == "best" for piece in pieces) else 1.0
    whole = max((_text(piece.left) * bold for piece in pieces), default=0.0)
    return whole + max((_rest(piece, bold) for piece in pieces), default=0.0)


def _stub(one: Sheet, share: float, space: float, fold: float = 0.0) -> float:
    """Width of the labels, folded or not, with the names of groups beside them."""
    labels = fold / share or max((_text(line.label) for line in one.lines), default=0.0)
    groups = max((_text(line.group) for line in one.lines), default=0.0) if beside(one.lines) else 0.0
    return share * (labels + groups) + (4 if groups else 2) * space


def _column(one: Sheet, index: int, share: float, space: float, *, turned: bool) -> float:
    pieces = [line.pieces[index] for line in one.lines]
    text = max((_text(piece.left) + _raised(piece.note) for piece in pieces if piece.text), default=0.0)
    head, alone = one.heads[index], sum(other.label == one.heads[index].label for other in one.heads) == 1
    label = _text(head.label) + _raised(head.note) + (30.0 if head.power else 0.0) if alone else 0.0
    above = 12.0 if turned else max(label, _text(head.below))
    return share * max(_numbers(one, index), text, above) + 2 * space


def _rest(piece: Piece, bold: float) -> float:
    half = _text(piece.half) + 12.0 if piece.half else 0.0
    return _text(piece.right) * bold + half + (24.0 if piece.power else 0.0) + _raised(piece.note)


def _raised(note: str) -> float:
    return RAISED * _text(note)


@cache
def _text(text: str) -> float:
    return sum(_letter(letter) for letter in text)


@cache
def _letter(letter: str) -> float:
    return next(
        (width for letters, width in _WIDTHS.items() if letter in letters), LATIN if ord(letter) < 0x180 else 9.0
    )
