"""The kernel gate: what it measures, when it flags, and that a slow kernel really is flagged."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gate
import measure
import numpy as np
import pytest
import torch
from gate import Limit, judge, limit
from hypothesis import given
from hypothesis import strategies as st
from measure import Interval, interval, slope
from scipy.stats import binom
from tracked import LINEAR, Tracked

from retable.models.spiking import numba_backend as spiking_numba
from retable.models.ssm import numba_backend as ssm_numba


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate with short measurements: the slips put in are far beyond every limit."""
    monkeypatch.setattr(gate, "FIRST", 0.05)
    monkeypatch.setattr(gate, "AGAIN", 0.2)
    monkeypatch.setattr(gate, "RECORD", 0.1)


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = gate.main(arguments)
    return status, capsys.readouterr().out


def _slow(function: Callable[..., Any], slip: Callable[..., object]) -> Callable[..., Any]:
    def slipped(*arguments: Any) -> Any:
        slip(*arguments)
        return function(*arguments)

    return slipped


# The command


@pytest.mark.usefixtures("quick")
def test_a_sleep_in_a_kernel_is_flagged_against_the_recorded_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = ("--baseline", str(tmp_path / "baseline.json"))
    figure = "causal_conv1d_step forward numba small"
    assert gate.main(["--only", figure, "--record", *baseline]) == 0
    monkeypatch.setattr(ssm_numba, "conv_step", _slow(ssm_numba.conv_step, lambda *_: time.sleep(1e-3)))
    status, out = _run(capsys, "--only", figure, *baseline)
    assert status == 1
    assert f"FLAGGED {figure}" in out


@pytest.mark.usefixtures("quick")
def test_a_quadratic_slip_is_flagged_on_a_machine_without_a_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = "elastic forward numba growth in T"

    def pairs(x: torch.Tensor, *_: Any) -> None:
        torch.ones(4, len(x), len(x)).exp_()

    monkeypatch.setattr(spiking_numba, "elastic_forward", _slow(spiking_numba.elastic_forward, pairs))
    status, out = _run(capsys, "--only", figure, "--json", "--baseline", str(tmp_path / "none.json"))
    assert status == 1
    answer = json.loads(out)
    assert not answer["known"]
    (finding,) = answer["findings"]
    assert finding["flagged"]
    assert finding["measured"][-1]["low"] > finding["limit"]["value"] > LINEAR


def test_usage_errors_have_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["--only", "no such figure"]) == 2
    broken = tmp_path / "baseline.json"
    broken.write_text("{")
    assert gate.main(["--only", "lif forward numba small", "--baseline", str(broken)]) == 2
    assert "is not a baseline" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        gate.main(["--unknown"])


def test_every_kernel_has_a_small_shape_and_every_kernel_with_a_length_an_exponent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out = _run(capsys, "--list")
    names = out.splitlines()
    assert status == 0
    assert len(names) == len(set(names))
    for kernel in ("selective_scan", "ssd_scan", "causal_conv1d", "lif", "plif", "ilif", "elastic"):
        for way in ("forward", "backward"):
            assert f"{kernel} {way} reference small" in names
            assert any(name.startswith(f"{kernel} {way} reference growth in ") for name in names)
    for step in ("selective_state_update", "ssd_step", "causal_conv1d_step"):
        assert f"{step} forward numba small" in names


def test_the_committed_baseline_names_figures_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    _, out = _run(capsys, "--list")
    machines = json.loads(gate.BASELINE.read_text())
    for sessions in machines.values():
        assert set(sessions) <= set(out.splitlines())
        assert all(0 < len(medians) <= gate.SESSIONS and min(medians) > 0 for medians in sessions.values())


# The judgement, on simulated rounds


def _figure(kind: Any = "ratio", promise: float | None = None, slack: float = 1.0) -> Tracked:
    return Tracked("figure", kind, promise, lambda budget: [], slack)


def _rounds(random: np.random.Generator, count: int, slowdown: float = 1.0) -> list[float]:
    """Paired ratios of two sides whose samples vary by +-30 % each, while both get up to 2.5 times slower together."""
    load = random.uniform(1, 2.5, count)
    above, below = (load * random.uniform(0.7, 1.3, count) for _ in range(2))
    ratios: list[float] = (slowdown * above / below).tolist()
    return ratios


def _judged(random: np.random.Generator, slowdown: float, first: int, again: int) -> bool:
    """Whether a kernel, `slowdown` times slower than in five recorded sessions, is flagged."""
    figure = _figure()
    sessions = [float(np.median(_rounds(random, again))) for _ in range(5)]
    counts = {gate.FIRST: first, gate.AGAIN: again}
    limits = {"figure": (figure, limit(figure, True, sessions))}
    (finding,) = judge(limits, lambda _, budget: interval(_rounds(random, counts[budget], slowdown)))
    return finding.flagged


@pytest.mark.parametrize(("first", "again"), [(9, 9), (25, 99)])
def test_without_a_change_less_than_one_in_two_hundred_comparisons_is_flagged(
    first: int, again: int, record_property: Callable[[str, object], None]
) -> None:
    random = np.random.default_rng(0)
    flagged = sum(_judged(random, 1.0, first, again) for _ in range(10_000))
    record_property("figure", f"{flagged} of 10,000 comparisons of equal code flagged ({first} and {again} rounds)")
    assert flagged < 50


def test_a_slowdown_of_half_is_found(record_property: Callable[[str, object], None]) -> None:
    random = np.random.default_rng(1)
    found = sum(_judged(random, 1.5, 25, 99) for _ in range(300))
    record_property("figure", f"{found} of 300 slowdowns by half found")
    assert found >= 297


def test_a_disturbance_that_passes_is_not_flagged() -> None:
    figure = _figure(promise=2.0)
    slow, normal = Interval(3.0, 3.1, 3.2, 9), Interval(0.9, 1.0, 1.1, 9)
    for disturbed in range(1 + gate.CONFIRMATIONS):
        answers = itertools.chain([slow] * disturbed, itertools.repeat(normal))
        (finding,) = judge({"figure": (figure, Limit(2.0, "promise"))}, lambda *_, answers=answers: next(answers))
        assert not finding.flagged
        assert len(finding.measured) == 1 + disturbed


def test_an_interval_that_reaches_below_the_limit_is_not_flagged() -> None:
    wide = Interval(1.9, 3.0, 4.0, 9)
    (finding,) = judge({"figure": (_figure(), Limit(2.0, "promise"))}, lambda *_: wide)
    assert not finding.flagged


def test_suspects_are_measured_again_only_after_all_others() -> None:
    seen: list[str] = []

    def slow(name: str, _: float) -> Interval:
        seen.append(name)
        return Interval(3, 3, 3, 9)

    limits: dict[str, Any] = {name: (name, Limit(2.0, "promise")) for name in "ab"}
    assert all(finding.flagged for finding in judge(limits, slow))
    assert seen == list("ab") * (1 + gate.CONFIRMATIONS)


# The limits


def test_the_tighter_of_promise_and_baseline_applies() -> None:
    assert limit(_figure(promise=3.0), True, []).value == 3.0
    assert limit(_figure(promise=3.0), True, [1.0, 1.0, 1.0]).value == pytest.approx(1.2)
    assert limit(_figure(promise=3.0), True, [1.0, 1.0, 2.0]).value == pytest.approx(2.4)
    assert limit(_figure(promise=3.0), True, [9.0]).value == 3.0
    assert limit(_figure(promise=3.0, slack=2.0), True, []).value == 6.0
    assert limit(_figure(promise=3.0, slack=2.0), True, [1.0]).value == pytest.approx(2.4)


def test_exponents_are_limited_by_a_difference() -> None:
    assert limit(_figure("growth", LINEAR), True, [0.5, 0.6]).value == pytest.approx(0.8)
    assert limit(_figure("growth", LINEAR), True, [1.1]).value == LINEAR
    assert limit(_figure("growth", LINEAR), False, []).value == pytest.approx(LINEAR + gate.GROWTH_SLACK)


def test_an_unknown_machine_has_promises_with_a_slack_and_seconds_have_no_baseline() -> None:
    assert limit(_figure(promise=3.0), False, []).value == pytest.approx(3.0 * gate.SLACK)
    assert limit(_figure(promise=None), False, []).value == float("inf")
    assert limit(_figure("seconds", 0.5), True, [0.1]).value == 0.5


def test_a_recorded_baseline_keeps_the_last_sessions_of_each_machine(tmp_path: Path) -> None:
    path, baseline = tmp_path / "baseline.json", {"other": {"figure": [7.0]}}
    for median in range(1, 13):
        gate._record(path, baseline, "here", {"figure": Interval(0, median, 9, 9)})
    assert json.loads(path.read_text()) == {"other": {"figure": [7.0]}, "here": {"figure": [*range(3, 13)]}}


# The measurement


class Clock:
    """Time that passes only in the sides, each call a little longer than the last: a machine that slows down steadily."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.load = 0.0, 1.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)

    def side(self, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.now += seconds * self.load
            self.load *= 1.001

        return call


def test_a_machine_that_slows_down_does_not_move_a_paired_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    rounds = measure.interleaved({"of": clock.side(6e-3), "to": clock.side(2e-3)}, budget=1.0)
    assert rounds.seconds["of"][-1] > 1.2 * rounds.seconds["of"][0]
    assert interval(rounds.ratios("of", "to")).median == pytest.approx(3.0, rel=0.01)


def test_rounds_keep_to_the_budget_but_never_below_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, budget, expected in ((1e-3, 0.1, 50), (1e-3, 1e9, measure.MOST_ROUNDS), (0.3, 2.0, 9), (20.0, 1.0, 5)):
        clock = Clock(monkeypatch)
        rounds = measure.interleaved({"a": clock.side(seconds), "b": clock.side(seconds)}, budget)
        assert len(rounds.seconds["a"]) == pytest.approx(expected, rel=0.05)


@given(st.floats(0.1, 3.0), st.floats(1e-6, 1e3))
def test_the_slope_of_a_power_law_is_its_exponent(exponent: float, factor: float) -> None:
    sizes = [16, 64, 256]
    assert slope(sizes, [factor * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-6)


@given(st.lists(st.floats(0.1, 10), min_size=9, max_size=200))
def test_the_interval_holds_the_median_of_nineteen_in_twenty_samples(values: Sequence[float]) -> None:
    """The ranks against the binomial distribution: of n fair coins, how many fall below the true median."""
    found = interval(values)
    assert found.low <= found.median <= found.high
    n, rank = len(values), measure._rank(len(values), measure.CONFIDENCE)
    assert 2 * binom.cdf(rank - 1, n, 0.5) <= 1 - measure.CONFIDENCE < 2 * binom.cdf(rank, n, 0.5)
    assert sorted(values)[rank - 1] == found.low
