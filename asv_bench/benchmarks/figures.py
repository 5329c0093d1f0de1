"""The tracked figures as asv sees them: unit-free, so that they compare between machines. `gate.py` judges the same ones."""

from __future__ import annotations

import torch
from tracked import Tracked, second_thread, tracked

SECONDS = 0.15
"""Budget of one figure; the gate measures longer where it matters."""
FIGURES = {figure.name: figure for figure in (*tracked(), *second_thread())}


def _named(*kinds: str) -> list[str]:
    return [name for name, figure in FIGURES.items() if figure.kind in kinds]


def _median(name: str) -> float:
    figure: Tracked = FIGURES[name]
    return figure.measure(SECONDS).median


class Small:
    params = (_named("small"),)
    param_names = ("figure",)

    def track_calls(self, figure: str) -> float:
        return _median(figure)

    track_calls.unit = "hundred additions"  # type: ignore[attr-defined]


class Ratios:
    params = (_named("ratio"),)
    param_names = ("figure",)

    def track_ratio(self, figure: str) -> float:
        return _median(figure)

    track_ratio.unit = "times the other side"  # type: ignore[attr-defined]


class Growth:
    params = (_named("growth"),)
    param_names = ("figure",)

    def track_exponent(self, figure: str) -> float:
        return _median(figure)

    track_exponent.unit = "exponent"  # type: ignore[attr-defined]


class FirstCall:
    params = (_named("seconds"),)
    param_names = ("figure",)

    def track_seconds(self, figure: str) -> float:
        return _median(figure)

    track_seconds.unit = "seconds"  # type: ignore[attr-defined]


class Threads:
    params = (_named("threads"),)
    param_names = ("figure",)

    def track_second(self, figure: str) -> float:
        return _median(figure)

    track_second.unit = "times what exp gains"  # type: ignore[attr-defined]


def track_threads() -> int:
    """What everything but `Threads` ran on."""
    return torch.get_num_threads()


track_threads.unit = "threads"  # type: ignore[attr-defined]
