"""Tiers, first use and annotations: what stops a gate, what is let pass, and where it is shown."""

from __future__ import annotations

import itertools

import pytest

from retable.bench.judge.checks import Check, status, total
from retable.bench.report import checks as files
from tests.bench.conftest import Bench
from tests.bench.report.made_tables import HOSTILE


def check(tier: str, outcome: str, **fields: str) -> Check:
    common = {"kind": "claim", "name": "c", "text": "t", "detail": "d"}
    return Check(**{**common, **fields}, tier=tier, outcome=outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tier", "failed", "unmeasured"), [("critical", 1, 3), ("supporting", 1, 0), ("advisory", 0, 0)]
)
def test_a_tier_says_what_stops_the_gate(tier: str, failed: int, unmeasured: int) -> None:
    assert status([check(tier, "failed")]) == failed
    assert status([check(tier, "unmeasured")]) == unmeasured
    assert status([check(tier, "passed"), check(tier, "skipped")]) == 0


def test_what_is_let_pass_is_counted() -> None:
    assert total([check("advisory", "failed"), check("critical", "passed")]).endswith("(1 advisory: let pass)")
    assert "let pass" not in total([check("critical", "failed")])


class TestGate:
    def turned(self, bench: Bench, tier: str) -> Bench:
        bench.edit("increasing: [low, high]}", f"increasing: [high, low]}}\n    tier: {tier}")
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        return bench

    @pytest.mark.parametrize(("tier", "expected"), [("critical", 1), ("supporting", 1), ("advisory", 0)])
    def test_of_claims(self, bench: Bench, tier: str, expected: int) -> None:
        done = self.turned(bench, tier)("gate", "tiny")
        assert done.returncode == expected
        assert "1 failed" in done.stdout
        assert ("high-beats-low is advisory" in done.stdout) is (tier == "advisory")

    def test_of_rules(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        for tier, expected in (("", 1), ("supporting: ", 1), ("advisory: ", 0)):
            assert bench("gate", "tiny", "--rule", f"{tier}weight of low >= 5").returncode == expected
        assert bench("gate", "tiny", "--rule", "urgent: weight of low >= 5").returncode == 2

    def test_before_the_first_version_it_works_and_says_what_to_do(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        done = bench("gate", "tiny", "--against", "newest", "--rule", "weight drops by at most 5 %")
        assert done.returncode == 0
        assert "`bench freeze tiny` and commit results/tiny" in done.stdout
        assert bench("gate", "tiny", "--against", "v1").returncode == 2
        assert bench("freeze", "tiny").returncode == 0
        assert "Frozen numbers of tiny/v1: " in bench("gate", "tiny", "--against", "newest").stdout

    def test_annotations_stand_at_the_lines_of_the_suite(self, bench: Bench) -> None:
        done = self.turned(bench, "critical")("gate", "tiny", "--format", "github")
        assert done.returncode == 1
        line = 1 + bench.suite.read_text().splitlines().index("  - name: high-beats-low")
        assert done.stdout.startswith(
            f"::error file=suites/tiny.yaml,line={line},title=claim high-beats-low%3A failed::"
        )
        assert "\n::notice title=bench gate tiny::" in done.stdout


@pytest.mark.parametrize("text", [HOSTILE, "a\n::error::b", "100%\r\n::warning::x"])
def test_no_text_ends_its_annotation(text: str) -> None:
    found = [check("critical", "failed", name=text, text=text, detail=text, where=f"{text}:3") for _ in range(12)]
    lines = files.github("s", [*found, check("advisory", "failed", detail=text)]).splitlines()
    kinds = [kind for kind, _ in itertools.groupby(line.split(" ")[0] for line in lines)]
    assert kinds == ["::error", "::warning", "::notice"]
    assert len(lines) == files.ANNOTATIONS + 2
    assert "2 more" in lines[files.ANNOTATIONS - 1]
    for line in lines:
        assert "," not in line.partition("title=")[2].partition("::")[0]
