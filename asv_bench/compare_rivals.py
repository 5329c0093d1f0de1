"""LIF neurons, scan and graph layers against other libraries and against the floor: same inputs, same process, in turn.

    OMP_NUM_THREADS=1 python asv_bench/compare_rivals.py [--only GLOB] [--seconds S] [--json]

The floor of a neuron is a copy of its input, that of a scan one torch.exp for each of B D L N elements, that of a graph layer the
product of torch's compressed rows with (N, C). Ratios are medians over paired rounds with 95 % intervals; a library that is not
installed is named as such. All takes about ten minutes, most of it the backward pass of the published loop, which is quadratic
in L.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import kernels
import torch
from kernels import Work
from measure import Call, Interval, interleaved, interval
from rivals import GRAPH_ATTENTIONS, GRAPH_CONVOLUTIONS, NEURONS, SCANS, Rival

LEAST = 3
"""Rounds of even the slowest side."""


@dataclass(frozen=True)
class Contest:
    """One operator at one shape."""

    name: str
    shape: tuple[int, ...]
    ours: Callable[..., Work]
    floor: Callable[..., Call]
    rivals: tuple[Rival, ...]


@dataclass(frozen=True)
class Row:
    """One side of a contest; the ratios say how much slower it is than this project and than the floor."""

    contest: str
    way: str
    side: str
    ms: float | None = None
    to_ours: Interval | None = None
    to_floor: Interval | None = None
    missing: str = ""


CONTESTS = (
    *(
        Contest(f"LIF (T, M) = {shape}", shape, kernels.lif, kernels.copy_floor, NEURONS)
        for shape in ((4, 1 << 15), (4, 1 << 20), (16, 1 << 16), (128, 1 << 12))
    ),
    *(
        Contest(f"scan (B, D, L, N) = {shape}", shape, kernels.scan, kernels.exp_floor, SCANS)
        for shape in ((4, 512, 256, 16), (8, 384, 256, 16))
    ),
    *(
        Contest(f"graph {name} (N, E, C) = {shape}", shape, ours, kernels.rows_floor, rivals)
        for name, ours, rivals in (
            ("convolution", kernels.graph_convolution, GRAPH_CONVOLUTIONS),
            ("attention", kernels.graph_attention, GRAPH_ATTENTIONS),
        )
        for shape in ((2708, 5278, 64), (250_000, 500_000, 64))
    ),
)


def compare(contest: Contest, seconds: float, only: str = "*") -> Iterator[Row]:
    """The floor, ours, and each rival whose row `contest, way, side` the glob names; rivals are timed one at a time."""
    for way, method in (("forward", "forward"), ("forward+backward", "both")):
        chosen = [rival for rival in contest.rivals if fnmatch.fnmatch(f"{contest.name}, {way}, {rival.name}", only)]
        if not chosen:
            continue
        sides = {"floor": contest.floor(*contest.shape), "ours": getattr(contest.ours(*contest.shape), method)()}
        rounds = interleaved(sides, seconds, LEAST)
        yield Row(contest.name, way, "floor", 1e3 * rounds.median("floor"))
        to_floor = interval(rounds.ratios("ours", "floor"))
        yield Row(contest.name, way, "retable", 1e3 * rounds.median("ours"), None, to_floor)
        for rival in chosen:
            yield _against(contest, way, method, rival, sides, seconds)


def _against(contest: Contest, way: str, method: str, rival: Rival, sides: dict[str, Call], seconds: float) -> Row:
    try:
        call = getattr(rival.make(*contest.shape), method)()
    except ImportError as error:
        return Row(contest.name, way, rival.name, missing=_reason(rival, error))
    rounds = interleaved({**sides, "rival": call}, seconds, LEAST)
    to_ours, to_floor = (interval(rounds.ratios("rival", side)) for side in ("ours", "floor"))
    return Row(contest.name, way, rival.name, 1e3 * rounds.median("rival"), to_ours, to_floor)


def _reason(rival: Rival, error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == rival.package:
        return f"{rival.package} is not installed"
    return f"{rival.package} cannot be imported: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    rows = []
    for contest in CONTESTS:
        for row in compare(contest, options.seconds, options.only):
            rows.append(row)
            print(_line(row), file=sys.stderr if options.json else sys.stdout, flush=True)
    if not rows:
        print(f"no rival is named like {options.only!r}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": [asdict(row) for row in rows]}, indent=1))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare_rivals.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="*", metavar="GLOB", help='rows, like "scan*forward, mambapy*"')
    parser.add_argument("--seconds", type=float, default=3.0, help="budget of one comparison; three rounds at least")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    return parser.parse_args(arguments)


def _line(row: Row) -> str:
    title = f"{row.contest}, {row.way}"
    if row.ms is None:
        return f"{title:55s} {row.side:28s} {row.missing}"
    ours = f"{_ratio(row.to_ours)} ours" if row.to_ours else ""
    floor = f"{_ratio(row.to_floor)} floor" if row.to_floor else ""
    return f"{title:55s} {row.side:28s} {row.ms:10.3f} ms   {ours:32s} {floor}".rstrip()


def _ratio(value: Interval) -> str:
    return f"{value.median:.3g} [{value.low:.3g}, {value.high:.3g}] x"


if __name__ == "__main__":
    sys.exit(main())
