"""The kernel gate: every tracked figure against its limit; the exit status tells whether a kernel became slow.

    OMP_NUM_THREADS=1 python asv_bench/gate.py [--only GLOB] [--json] [--list] [--record]

Limits: the promise of each figure (`tracked.py`), and on a machine whose class `baseline.json` knows also the figures of
the sessions recorded there. Elsewhere the promises alone apply, with a slack. A figure near or above its limit is suspect: it
is measured up to three times more, longer, after all others, and is flagged only if each of the three intervals lies wholly
beyond the limit.
Exit status: 0 none flagged, 1 flagged, 2 usage. `--record` adds this session to the baseline instead of judging.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from measure import Interval

BASELINE = Path(__file__).with_name("baseline.json")
FIRST, AGAIN, RECORD = 0.25, 2.0, 0.5
"""Seconds of a figure's first measurement, of each that must confirm a suspicion, and of one for the baseline."""
SUSPECT, CONFIRMATIONS = 0.95, 3
"""A figure is suspect from this part of its limit on, so that a slow kernel is not missed by a lucky first median."""
OVER, SMALL_OVER, GROWTH_OVER = 1.2, 1.5, 0.2
"""A regression is beyond 1.2 times the worst recorded session, at a tiny shape 1.5 times; that of an exponent 0.2 above it."""
SESSIONS = 10
"""Sessions that the baseline keeps; older ones were of other kernels."""
SLACK, GROWTH_SLACK = 1.5, 0.1
"""On a machine without a baseline promises hold with this factor; those of exponents with this addition."""


class Figure(Protocol):
    """What the judgement needs of a `tracked.Tracked`."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def promise(self) -> float | None: ...
    @property
    def slack(self) -> float: ...


@dataclass(frozen=True)
class Limit:
    value: float
    why: str


@dataclass(frozen=True)
class Finding:
    """One figure: its limit, the first measurement and the confirmations that a suspicion needed."""

    name: str
    limit: Limit
    measured: tuple[Interval, ...]

    @property
    def flagged(self) -> bool:
        return len(self.measured) > CONFIRMATIONS and all(each.low > self.limit.value for each in self.measured[1:])


def limit(figure: Figure, known: bool, sessions: Sequence[float]) -> Limit:
    """The tightest limit that applies; `sessions` are the figure's medians recorded on machines of this class."""
    growth = figure.kind == "growth"
    promised = math.inf if figure.promise is None else figure.promise * figure.slack
    if not known:
        return Limit(promised + GROWTH_SLACK if growth else promised * SLACK, "promise, machine unknown")
    limits = [Limit(promised, "promise" if figure.slack == 1 else f"promise times {figure.slack:g}")]
    if sessions and figure.kind != "seconds":
        worst = max(sessions)
        over = figure.slack * (SMALL_OVER if figure.kind == "small" else OVER)
        regression = worst + GROWTH_OVER if growth else worst * over
        limits.append(Limit(regression, f"baseline {min(sessions):.3g} to {worst:.3g}"))
    return min(limits, key=lambda each: each.value)


def judge(figures: Mapping[str, tuple[Any, Limit]], measure: Callable[[Any, float], Interval]) -> list[Finding]:
    """Measure everything, then the suspects again, in passes over all of them so that their measurements lie apart."""
    measured = {name: [measure(figure, FIRST)] for name, (figure, _) in figures.items()}
    suspects = [name for name, (_, at_most) in figures.items() if measured[name][0].median > SUSPECT * at_most.value]
    for _ in range(CONFIRMATIONS):
        for name in suspects:
            measured[name].append(measure(figures[name][0], AGAIN))
        suspects = [name for name in suspects if measured[name][-1].low > figures[name][1].value]
    return [Finding(name, figures[name][1], tuple(values)) for name, values in measured.items()]


def machine() -> str:
    """The class of this machine: processor, vector units, threads used."""
    import torch

    from retable.bench.probes.hardware import hardware

    facts = hardware()
    units = facts["vector_units"] if isinstance(facts["vector_units"], list) else []
    return f"{facts['cpu']} ({' '.join(units)}), threads: {torch.get_num_threads()}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    import torch
    from tracked import Tracked, tracked

    torch.set_num_threads(1)
    chosen = {each.name: each for each in tracked() if fnmatch.fnmatchcase(each.name, options.only)}
    if not chosen:
        print(f"no figure is named like {options.only!r}; --list names them", file=sys.stderr)
        return 2
    if options.list:
        print(*chosen, sep="\n")
        return 0
    here = machine()
    try:
        baseline: Sessions = json.loads(options.baseline.read_text()) if options.baseline.exists() else {}
    except ValueError as error:
        print(f"{options.baseline} is not a baseline: {error}", file=sys.stderr)
        return 2
    sessions = baseline.get(here)

    def measure(figure: Tracked, budget: float) -> Interval:
        print(f"  {figure.name}", file=sys.stderr)
        return figure.measure(budget)

    if options.record:
        _record(options.baseline, baseline, here, {name: measure(each, RECORD) for name, each in chosen.items()})
        return 0
    known = sessions is not None
    limits = {name: (each, limit(each, known, (sessions or {}).get(name, []))) for name, each in chosen.items()}
    findings = judge(limits, measure)
    _report(here, known, findings, options.json)
    return 1 if any(finding.flagged for finding in findings) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gate.py", description="Flag kernels that became slow.")
    parser.add_argument("--only", default="*", metavar="GLOB", help="figures by name")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    parser.add_argument("--list", action="store_true", help="name the figures")
    parser.add_argument("--record", action="store_true", help="add this session to the baseline instead of judging")
    return parser.parse_args(arguments)


Sessions = dict[str, dict[str, list[float]]]
"""Machine class -> figure -> medians, a session each."""


def _record(path: Path, baseline: Sessions, here: str, measured: Mapping[str, Interval]) -> None:
    known = baseline.setdefault(here, {})
    for name, value in measured.items():
        known[name] = [*known.get(name, []), float(f"{value.median:.4g}")][-SESSIONS:]
    path.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")


def _report(here: str, known: bool, findings: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        rows = [{**asdict(finding), "flagged": finding.flagged} for finding in findings]
        print(json.dumps({"machine": here, "known": known, "findings": rows}, indent=1))
        return
    print(f"machine: {here}")
    if not known:
        print(f"no baseline for it: only the promises apply, times {SLACK} (exponents plus {GROWTH_SLACK})")
    for finding in findings:
        print(_line(finding))
    flagged = [finding for finding in findings if finding.flagged]
    print(f"{len(findings)} figures, {len(flagged)} flagged")
    for finding in flagged:
        print(f"FLAGGED {_line(finding)}")


def _line(finding: Finding) -> str:
    last, at_most = finding.measured[-1], finding.limit
    verdict = "slow" if finding.flagged else "ok" if len(finding.measured) == 1 else "ok, measured again"
    return (
        f"{finding.name:58s} {last.median:8.3g} [{last.low:.3g}, {last.high:.3g}]"
        f"   limit {at_most.value:.3g} ({at_most.why})   {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
