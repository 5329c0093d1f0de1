"""Frozen numbers, rules and CI formats: what moved is found, what cannot be compared is said, and the exit status is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.declare.reader import load_suite
from retable.bench.declare.rules import RuleError, read_rule
from retable.bench.errors import BenchError
from retable.bench.judge.checks import Check
from retable.bench.record import Measurement, Record
from retable.bench.report import checks
from retable.bench.suite import Reproducibility, Rule, Suite, Tolerance
from retable.bench.versions import versions
from retable.bench.versions.against import frozen_checks, other_machine, rule_checks
from retable.bench.versions.tolerances import FACTOR, KINDS, Tolerances, read
from retable.bench.versions.tolerances import measured as measure
from retable.bench.versions.versions import Name, Version, render_manifest
from tests.bench.conftest import Bench
from tests.bench.judge.test_claims import record, suite
from tests.bench.report.made_tables import HOSTILE

Found = dict[tuple[str, int], Record]


def measured(metric: str = "score", exact: bool = False, version: str = "1", **values: list[float]) -> Found:
    found: Found = {}
    for name, row in values.items():
        for seed, value in enumerate(row):
            one = Measurement(value=value, exact=exact, version=version)
            found[name, seed] = replace(record(name, seed, value), metrics={metric: one})
    return found


def frozen(found: Found, profile: str = "mini") -> Version:
    return Version(name=Name("s", 1), profile=profile, manifest={}, records=tuple(found.values()))


def varied(found: Found, shown: dict[str, float]) -> Version:
    return replace(frozen(found), tolerances=Tolerances(shown={"a": {"score": shown}}))


def computed(numerics: str, found: Found) -> Found:
    return {place: replace(one, ingredients={"numerics": numerics}) for place, one in found.items()}


def outcomes(new: Found, old: Found, held: Suite | None = None) -> dict[str, str]:
    return {check.name: check.outcome for check in frozen_checks(held or suite(), new, frozen(old))}


def with_tolerance(**given: Any) -> Suite:
    return replace(suite(), reproducibility=Reproducibility(**given))


# Frozen numbers


@pytest.mark.parametrize(
    ("new", "outcome"), [(2.0, "passed"), (2.005, "passed"), (1.995, "passed"), (2.007, "failed"), (1.9, "failed")]
)
def test_a_number_may_move_by_what_was_measured_times_the_factor(new: float, outcome: str) -> None:
    version = varied(measured(a=[2.0] * 3), {"threads": 0.001, "batch": 0.0})
    (check,) = frozen_checks(suite(), measured(a=[new] * 3), version)
    assert check.outcome == outcome
    if new != 2.0:
        assert "allowed ±0.3 % (3 times what was measured: threads 0.1 %, batch 0 %)" in check.detail


@pytest.mark.parametrize(("new", "outcome"), [(2.0, "passed"), (2.0 + 1e-12, "unmeasured")])
def test_no_tolerance_is_invented(new: float, outcome: str) -> None:
    (check,) = frozen_checks(suite(), measured(a=[new] * 3), frozen(measured(a=[2.0] * 3)))
    assert check.outcome == outcome
    assert ("unmeasured tolerance" in check.detail) == (outcome == "unmeasured")


def test_portable_numbers_are_equal_seed_by_seed() -> None:
    """A mean that stays does not do, nor a tolerance that was measured against native numbers."""
    old, swapped = measured(a=[1.0, 2.0]), measured(a=[2.0, 1.0])
    version = varied(computed("portable", old), {"numerics": 0.5})
    assert [one.outcome for one in frozen_checks(suite(), computed("portable", old), version)] == ["passed"]
    (moved,) = frozen_checks(suite(), computed("portable", swapped), version)
    assert (moved.outcome, "(portable), at 2 of 2 seeds" in moved.detail) == ("failed", True)
    for present in (computed("native", swapped), swapped):
        assert [one.outcome for one in frozen_checks(suite(), present, version)] == ["passed"]
    assert outcomes(computed("portable", swapped), old) == {"a/score": "unmeasured"}


def test_a_moved_number_says_how_far_with_its_sign() -> None:
    version = varied(measured(a=[-2.0] * 3), {"threads": 0.001})
    details = [frozen_checks(suite(), measured(a=[new] * 3), version)[0].detail for new in (-1.5, -2.5)]
    assert [detail.split(";")[0] for detail in details] == ["-1.5, +0.5 (+25 %)", "-2.5, -0.5 (-25 %)"]


def test_the_suite_states_tolerances_by_metric() -> None:
    old, new = measured(a=[2.0] * 3), measured(a=[2.15] * 3)
    assert outcomes(new, old, with_tolerance(tolerance=Tolerance(relative=0.1))) == {"a/score": "passed"}
    named = with_tolerance(tolerance=Tolerance(relative=0.5), metrics={"score": Tolerance(absolute=0.1)})
    assert outcomes(new, old, named) == {"a/score": "failed"}


def test_exact_numbers_have_no_tolerance() -> None:
    old = measured(exact=True, a=[147_622_080.0])
    wide = with_tolerance(tolerance=Tolerance(relative=0.5))
    assert outcomes(measured(exact=True, a=[147_622_081.0]), old, wide) == {"a/score": "failed"}
    assert outcomes(old, old, wide) == {"a/score": "passed"}


def test_timings_are_named_and_skipped_unless_they_have_a_tolerance() -> None:
    entries = tuple(replace(entry, metrics=("decode_ms[64]",)) for entry in suite().entries)
    timed = replace(suite(), entries=entries)
    old, new = measured("decode_ms[64]", a=[2.0] * 3), measured("decode_ms[64]", a=[3.0] * 3)
    (check,) = frozen_checks(timed, new, frozen(old))
    assert (check.outcome, check.name) == ("skipped", "a/decode_ms[64]")
    named = replace(timed, reproducibility=Reproducibility(metrics={"decode_ms[64]": Tolerance(relative=0.2)}))
    assert outcomes(new, old, named) == {"a/decode_ms[64]": "failed"}


def test_what_is_not_there_any_more_is_unmeasured_never_passed() -> None:
    old = measured(a=[2.0] * 3, gone=[1.0])
    found = outcomes(measured(a=[2.0] * 2), old)
    assert found == {"a/score": "unmeasured", "gone/score": "unmeasured"}
    failed = {**measured(a=[2.0] * 3), ("a", 2): record("a", 2, None)}
    assert outcomes(failed, measured(a=[2.0] * 3)) == {"a/score": "unmeasured"}
    assert outcomes(measured(version="2", a=[2.0] * 3), measured(a=[2.0] * 3)) == {"a/score": "unmeasured"}


def test_a_version_of_another_profile_or_suite_is_refused() -> None:
    with pytest.raises(BenchError, match="at profile paper"):
        frozen_checks(suite(), {}, frozen({}, profile="paper"))
    with pytest.raises(BenchError, match="another suite"):
        frozen_checks(suite(), {}, replace(frozen({}), name=Name("other", 1)))


def test_another_machine_is_told_once_for_all_numbers() -> None:
    def on(machine: str, found: Found) -> Found:
        return {place: replace(one, environment=machine) for place, one in found.items()}

    machines = {"x": {"hardware": {"cpu": "old"}}, "y": {"hardware": {"cpu": "new"}}}
    version = replace(frozen(on("x", measured(a=[2.0] * 3, b=[1.0] * 3))), environments=machines)

    def told(machine: str, only: str = "*") -> list[str]:
        return other_machine(on(machine, measured(a=[3.0] * 3, b=[3.0] * 3)), version, machines.get, only)

    assert told("y") == ["hardware.cpu: old -> new"]
    assert told("x") == told("unknown") == told("y", only="c") == []


values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=3)


@given(values, st.floats(0, 1))
def test_the_same_numbers_always_pass(numbers: list[float], share: float) -> None:
    held = with_tolerance(tolerance=Tolerance(relative=share))
    assert outcomes(measured(a=numbers), measured(a=numbers), held) == {"a/score": "passed"}


shares = st.dictionaries(st.sampled_from(KINDS), st.floats(0, 0.5), min_size=1)


@given(shares, st.floats(1e-3, 1e6), st.floats(-1, 1))
def test_a_number_is_judged_by_its_largest_measured_difference(
    shown: dict[str, float], old: float, moved: float
) -> None:
    new = old * (1 + moved)
    allowed = FACTOR * max(shown.values())
    (check,) = frozen_checks(suite(), measured(a=[new]), varied(measured(a=[old]), shown))
    if abs(abs(new - old) - allowed * old) > 1e-9 * old:
        assert check.outcome == ("passed" if abs(new - old) <= allowed * old else "failed")


def certificate(key: str, kind: str, share: float) -> dict[str, Any]:
    return {"key": key, "kind": kind, "differences": {"score": share}}


@given(st.lists(st.tuples(st.sampled_from((*KINDS, "repeat")), st.integers(0, 2), st.floats(0, 2)), max_size=8))
def test_freezing_keeps_the_largest_difference_of_each_kind(seen: list[tuple[str, int, float]]) -> None:
    """Over all seeds; `repeat` varies nothing, and a number that vanished says nothing of how far it moves."""
    found = measured(a=[1.0, 1.1, 0.9])
    tolerances = measure(found, [certificate(f"a{seed}", kind, share) for kind, seed, share in seen])
    expected: dict[str, float] = {}
    for kind, _, share in seen:
        if kind != "repeat" and share < 1:
            expected[kind] = max(share, expected.get(kind, 0.0))
    assert dict(tolerances.shown.get("a", {}).get("score", {})) == expected
    assert tolerances.of("a", "score") == (FACTOR * max(expected.values()) if expected else None)
    assert tolerances.of("b", "score") is None
    assert read(json.dumps(tolerances.plain()).encode()) == tolerances


# Rules


def rule(text: str) -> Rule:
    return read_rule(text, suite().entries)


def ruled(text: str, new: Found, old: Found | None = None) -> dict[str, str]:
    version = None if old is None else frozen(old)
    return {check.name: check.outcome for check in rule_checks(suite(), new, [rule(text)], version)}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("score >= 0.9", "passed"),
        ("score of a <= 1.2", "passed"),
        ("score of a >= 1.2", "failed"),
        ("score of a <= 1.0", "unmeasured"),
        ("score of a drops by 5 %", "passed"),
        ("score of a drops by at least 40 %", "passed"),
        ("score of a drops by at most 40 %", "failed"),
        ("score of a drops by at least 60 %", "failed"),
        ("score of a rises by 1 %", "failed"),
        ("score of a rises by at most 1 %", "passed"),
        ("score of a drops by at least 0.9", "passed"),
        ("score of a drops by at most 2", "passed"),
    ],
)
def test_rules_say_what_must_hold(text: str, outcome: str) -> None:
    new, old = measured(a=[0.99, 1.0, 1.01]), measured(a=[1.99, 2.0, 2.01])
    assert set(ruled(text, new, old).values()) >= {outcome}
    if " of " in text:
        assert list(ruled(text, new, old).values()) == [outcome]


def test_a_rule_without_a_row_is_about_every_row() -> None:
    found = ruled("score >= 2", measured(a=[1.0, 1.1, 1.2], b=[3.0, 3.1, 3.2]))
    assert found == {"score >= 2 (a)": "failed", "score >= 2 (b)": "passed", "score >= 2 (c)": "unmeasured"}


def test_too_few_seeds_are_no_pass() -> None:
    assert ruled("score of a >= 0", measured(a=[1.0, 1.1])) == {"score of a >= 0": "unmeasured"}


def test_a_change_without_a_frozen_version_is_skipped() -> None:
    assert ruled("score of a drops by 5 %", measured(a=[1.0] * 3)) == {"score of a drops by 5 %": "skipped"}


@pytest.mark.parametrize(
    "text",
    [
        "score",
        "score > 3",
        "score == 3",
        "score >= three",
        "score >= 3 %",
        "score falls by 5 %",
        "score drops 5 %",
        "score drops by 5 percent",
        "score drops by -5 %",
        "score drops by at least",
        ">= 3",
        "score >= 3; import os",
        "points >= 3",
        "score of nobody >= 3",
        "",
        "score >= 1e999",
    ],
)
def test_what_is_no_rule_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_a_rule_error(text: str) -> None:
    try:
        rule(text)
    except RuleError:
        pass


@given(
    st.sampled_from(["drops", "rises"]),
    st.sampled_from(["", "at least ", "at most "]),
    st.decimals(0, 1000, places=3),
    st.sampled_from(["", " %"]),
)
def test_the_grammar_is_read_as_it_says(verb: str, side: str, amount: Any, unit: str) -> None:
    read = rule(f"score of b {verb} by {side}{amount}{unit}")
    assert (read.metric, read.entry, read.kind) == ("score", "b", "share" if unit else "change")
    assert abs(read.limit) == pytest.approx(float(amount) / (100 if unit else 1))
    assert (read.limit <= 0) if verb == "drops" else (read.limit >= 0)
    assert (read.side == "at_most") == ((verb == "drops") == (side != "at most "))


# The verb, and its formats


@pytest.fixture
def published(bench: Bench) -> Bench:
    bench("run", "tiny", "--jobs", "0", "--quiet", "--vary", "threads")
    assert bench("freeze", "tiny").returncode == 0
    return bench


def move(bench: Bench, level: str) -> None:
    bench.edit("level: 2.0", f"level: {level}")
    bench("run", "tiny", "--jobs", "0", "--quiet")


def test_exit_statuses_against_a_version(published: Bench) -> None:
    assert published("gate", "tiny", "--against", "v1").returncode == 0
    published.edit("level: 2.0", "level: 2.5")
    unmeasured = published("gate", "tiny", "--against", "newest")
    assert unmeasured.returncode == 3
    published("run", "tiny", "--jobs", "0", "--quiet")
    moved = published("gate", "tiny", "--against", "results/tiny/v1")
    assert moved.returncode == 1
    assert "failed  high/weight stays at" in moved.stdout
    assert "(+25 %)" in moved.stdout
    assert published("gate", "tiny", "--against", "v1", "--only", "low").returncode == 0
    assert published("gate", "tiny", "--against", "v9").returncode == 2
    assert published("gate", "tiny", "--only", "nothing").returncode == 2


def test_rules_of_the_suite_and_of_the_command(published: Bench) -> None:
    assert published("gate", "tiny", "--rule", "weight of high >= 1.5").returncode == 0
    assert published("gate", "tiny", "--rule", "weight of high >= 2.5").returncode == 1
    refused = published("gate", "tiny", "--rule", "weight drops by 5 %")
    assert refused.returncode == 2
    assert "--against" in refused.stderr
    assert "is not a rule" in published("gate", "tiny", "--rule", "weight shrinks").stderr
    published.suite.write_text(published.suite.read_text() + "rules: [weight of low >= 5]\n")
    assert published("gate", "tiny").returncode == 1


def test_what_a_suite_says_of_statistics_tolerances_and_rules_is_read(bench: Bench, tmp_path: Path) -> None:
    bench("check")  # registers the tiny components
    bench.suite.write_text(
        bench.suite.read_text()
        + "statistics: {alpha: 1 %, power: 0.9, effect: {mini: 2, paper: 3}}\n"
        + "reproducibility: {because: dice, tolerance: 2 %, metrics: {weight: 0.5}}\n"
        + "rules: {mini: [weight of low <= 3, 'weight rises by at most 1 %'], paper: []}\n"
    )
    bench("check", "tiny")
    mini, paper = load_suite(bench.suite), load_suite(bench.suite, "paper")
    assert (mini.statistics.alpha, mini.statistics.power, mini.statistics.effect) == (0.01, 0.9, 2.0)
    assert (paper.statistics.effect, paper.rules) == (3.0, ())
    assert mini.reproducibility == Reproducibility(
        tolerance=Tolerance(relative=0.02), metrics={"weight": Tolerance(absolute=0.5)}, because="dice"
    )
    assert [one.text for one in mini.rules] == ["weight of low <= 3", "weight rises by at most 1 %"]


def test_a_tolerance_of_the_suites_own_needs_its_reason(bench: Bench) -> None:
    bench.suite.write_text(bench.suite.read_text() + "reproducibility: {tolerance: 2 %}\n")
    refused = bench("check", "tiny")
    assert refused.returncode == 2
    assert "needs the key 'because'" in refused.stderr


def test_freezing_writes_what_variations_showed(published: Bench) -> None:
    shown = json.loads((published.folder / "results/tiny/v1/tolerances.json").read_text())
    assert shown == {"factor": FACTOR, "shown": {row: {"weight": {"threads": 0.0}} for row in ("high", "low")}}


def test_a_version_without_measured_tolerances_is_still_read(published: Bench) -> None:
    """Those of format 1 have no such file."""
    folder = published.folder / "results" / "tiny" / "v1"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "tolerances.json").unlink()
    del manifest["files"]["tolerances.json"], manifest["checksum"]
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_bytes(render_manifest({**manifest, "format": 1}))
    assert published("gate", "tiny", "--against", "v1").returncode == 0
    assert versions.load(published.folder / "results", Name("tiny", 1)).tolerances == Tolerances()


def test_the_last_line_counts_all_outcomes(published: Bench) -> None:
    assert published("gate", "tiny", "--against", "v1").stdout.splitlines()[-1] == (
        "3 passed, 0 failed, 0 unmeasured, 0 skipped"
    )
    move(published, "2.5")
    lines = published("gate", "tiny", "--against", "v1").stdout.splitlines()
    assert lines[-1] == "2 passed, 1 failed, 0 unmeasured, 0 skipped"
    assert sum("changed: fit of tiny: method.params.level: 2.0 -> 2.5 (1 number)" in line for line in lines) == 1


def test_json_tells_causes_and_outcomes(published: Bench) -> None:
    move(published, "2.5")
    found = published.json("gate", "tiny", "--against", "v1")
    assert found["outcomes"] == {"passed": 2, "failed": 1}
    assert "fit of tiny: method.params.level: 2.0 -> 2.5" in found["causes"]
    assert found["other_machine"] == []


def test_junit_counts_every_check_and_gives_each_its_place(published: Bench) -> None:
    move(published, "2.5")
    done = published("gate", "tiny", "--against", "v1", "--format", "junit", "--out", "gate.xml")
    assert done.returncode == 1
    assert "Verdicts" in done.stdout
    root = ElementTree.parse(published.folder / "gate.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert set(cases) == {"high-beats-low", "high/weight", "low/weight"}
    assert cases["high/weight"].find("failure") is not None
    assert cases["low/weight"].find("failure") is None
    assert cases["high-beats-low"].get("file") == "suites/tiny.yaml"
    assert int(cases["high-beats-low"].get("line", "0")) > 1


def test_markdown_shows_what_failed_in_the_open(published: Bench) -> None:
    move(published, "2.5")
    text = published("gate", "tiny", "--against", "v1", "--format", "markdown").stdout
    loud = text.split("**Frozen numbers: 1 failed**")[1].split("<details>")[0]
    assert "high/weight" in loud
    assert "low/weight" not in loud
    assert "not as expected" in text.splitlines()[0]
    why = text.split("**Why frozen numbers moved**")[1]
    assert "- changed: fit of tiny: method.params.level: 2.0 -&gt; 2.5 (1 number)" in why.replace("\\", "").replace(
        "->", "-&gt;"
    )


def test_json_has_verdicts_rules_and_frozen_numbers(published: Bench) -> None:
    found = published.json("gate", "tiny", "--against", "v1", "--rule", "weight >= 0")
    assert found["status"] == 0
    assert [check["outcome"] for check in found["rules"] + found["frozen"]] == ["passed"] * 4


@given(st.text(alphabet=st.characters(codec=None), max_size=30))
def test_any_text_is_well_formed_xml_and_one_line_of_markdown(text: str) -> None:
    hostile = [
        Check(kind="rule", name=words, outcome=outcome, text=words, detail=words)  # type: ignore[arg-type]
        for words in (text, HOSTILE)
        for outcome in ("passed", "failed", "unmeasured", "skipped")
    ]
    root = ElementTree.fromstring(checks.junit("s", "mini", hostile).encode("utf-8"))
    assert len(list(root.iter("testcase"))) == 8
    rows = [line for line in checks.markdown("s", "mini", hostile).splitlines() if line.startswith(("| ❌", "| ✅"))]
    assert len(rows) == 4
    assert all("<img" not in row for row in rows)
    json.dumps(checks.to_json(hostile))
