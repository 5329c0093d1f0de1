"""McNemar's exact test on shared samples, and the verdicts of one seed that rest on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from retable.bench.judge.claims import judge
from retable.bench.judge.mcnemar import Disagreement, disagreement
from retable.bench.record import Measurement
from retable.bench.suite import Claim, Component, Suite
from tests.bench.report.made_tables import entry, record
from tests.bench.report.made_tables import suite as made


def hits(text: str, level: float = 100.0) -> Measurement:
    samples = tuple(level * int(digit) for digit in text)
    return Measurement(value=sum(samples) / len(samples), samples=samples, direction="higher", n=len(samples))


@given(first=st.integers(0, 40), second=st.integers(0, 40))
def test_probabilities_are_the_binomial_ones(first: int, second: int) -> None:
    pair = Disagreement(first, second, 100)
    n = first + second
    assert pair.p == pytest.approx(binomtest(first, n).pvalue if n else 1.0)
    assert pair.p_up == pytest.approx(binomtest(first, n, alternative="less").pvalue if n else 1.0)
    assert pair.p_down == pytest.approx(binomtest(second, n, alternative="less").pvalue if n else 1.0)


@pytest.mark.parametrize("level", [1.0, 100.0])
def test_right_and_wrong_are_counted_by_pairs(level: float) -> None:
    assert disagreement(hits("110010", level), hits("011010", level)) == Disagreement(1, 1, 6)


@pytest.mark.parametrize(
    "other",
    [
        hits("11"),
        replace(hits("111"), samples=(0.5, 1.0, 0.0)),
        replace(hits("111"), version="2"),
        Measurement(value=1.0),
    ],
    ids=["another number of samples", "neither right nor wrong", "another meaning", "no samples"],
)
def test_what_is_not_right_or_wrong_on_the_same_samples_is_not_compared(other: Measurement) -> None:
    assert disagreement(hits("110"), other) is None


def ordering(
    low: str,
    high: str,
    data: tuple[str, str] = ("d", "d"),
    level: float = 100.0,
    parts: tuple[str | None, str | None] = (None, None),
) -> tuple[str, str]:
    """Verdict and reason of `e0 < e1` at one seed."""
    tasks = [Component(use="t", params={"part": part}) for part in parts]
    rows = [entry(i, f"R{i}", dataset=Component(use=data[i]), task=tasks[i], repetitions=(0,)) for i in range(2)]
    claim = Claim(
        name="c",
        text="t",
        source="s",
        kind="ordering",
        metric="score",
        entries=("e0", "e1"),
        profiles=("mini",),
        min_seeds=1,
    )
    held: Suite = replace(made(rows), claims=(claim,))
    found = {(f"e{i}", 0): record(i, 0, score=hits(text, level)) for i, text in enumerate((low, high))}
    (judged,) = judge(held, found)
    return judged.verdict, judged.reason


def test_one_seed_is_decided_by_the_samples_that_two_rows_share() -> None:
    verdict, reason = ordering("0" * 12 + "1" * 8, "1" * 20)
    assert verdict == "reproduced"
    assert "0 are right only in e0, 12 only in e1" in reason
    assert "by these models" in reason
    assert ordering("1" * 20, "0" * 12 + "1" * 8)[0] == "contradicted"
    assert ordering("0111" * 5, "1011" * 5)[0] == "not measured"


def test_rows_on_other_data_share_no_samples() -> None:
    verdict, reason = ordering("0" * 12 + "1" * 8, "1" * 20, data=("d", "f"))
    assert (verdict, reason) == ("not measured", "undecided: one pair of seeds has no interval")
    assert ordering("0" * 12 + "1" * 8, "1" * 20, parts=("mm", None)) == (verdict, reason), "nor on another part"
    assert ordering("0" * 12 + "1" * 8, "1" * 20, parts=("mm", "mm"))[0] == "reproduced"
