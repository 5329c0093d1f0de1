"""Falsify: every claim of the suites can come out either way, and those that could not are refused, each for its reason."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from retable.bench.declare.params import build_metric
from retable.bench.declare.reader import check_suite, load_suite
from retable.bench.judge.falsify import refused
from retable.bench.suite import Alive, Bound, Claim, Suite

PROJECT = Path(__file__).parents[3]
SUITES = sorted((PROJECT / "suites").glob("*.yaml"))


@cache
def at_mini(name: str) -> Suite:
    return load_suite(PROJECT / "suites" / f"{name}.yaml", "mini")


def made(kind: str, metric: str, *entries: str, bound: Bound | None = None, **fields: Any) -> Claim:
    """A claim at mini as a suite could make it."""
    common = {"name": "was", "text": "t", "source": "s", "profiles": ("mini",), **fields}
    return Claim(kind=kind, metric=metric, entries=entries, bound=bound, **common)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_claim_of_the_suites_can_come_out_either_way(path: Path) -> None:
    found = {
        f"{suite.profile.name}: {claim.name}": why
        for suite in check_suite(path)
        for claim in suite.claims
        if suite.profile.name in claim.profiles and (why := refused(claim, suite))
    }
    assert found == {}


SIZED = ("mini-aim", "mini-aim-small", "mini-aim-no-adaln")
WEAK = {
    "a correlation that every line has": (
        "table2_aim",
        made("correlation", "nll", *SIZED, against="fd[digits-cnn-v1]", bound=Bound(at_least=-1)),
        "it cannot fail",
    ),
    "what a wrapper takes over from the network that it expands": (
        "table_spikeyolo_coco",
        made("ratio", "spikes_per_sample", "mini-deployed", "mini-spikeyolo", bound=Bound(equals=1, tolerance=1e-3)),
        "expands the same values",
    ),
    "operations that are those of the same integers": (
        "table_spikeyolo_coco",
        made("ratio", "acs[full]", "mini-deployed", "mini-spikeyolo", bound=Bound(equals=1, tolerance=1e-3)),
        "expands the same values",
    ),
    "arithmetic of a row's own parameters": (
        "table_spikellm_w4a4",
        made("ratio", "ace", "smol-spikellm", "smol-omniquant", bound=Bound(equals=1.1, tolerance=0.005)),
        "the row itself sets",
    ),
    "a radius at the cap of one of the rows": (
        "table_rsc_snn",
        made("ordering", "certified_accuracy_l2[0.3]", "certified-rsc-0.25", "certified-rsc-0.46"),
        "cannot certify beyond 0.3079",
    ),
    "a length that ends where the timing ends": (
        "table2_aim",
        made("value", "crossover_length", "decode", bound=Bound(at_most=4096)),
        "it cannot fail",
    ),
    "a baseline that nothing shows alive": (
        "table_spikelm",
        made("ordering", "accuracy", "mini-lif", "mini-t4"),
        "the baseline mini-lif is alive",
    ),
    "a baseline that one epoch broke": (
        "table_spikellm_w2a16",
        made("ordering", "perplexity", "run-spikellm", "run-omniquant"),
        "the baseline run-omniquant is alive",
    ),
    "keeping up, without a row that does not": (
        "table_spikelm",
        made("ratio", "accuracy", "mini-t4", "mini-bert", bound=Bound(at_least=0.9195)),
        "name a row that must not",
    ),
}


@pytest.mark.parametrize("weak", WEAK)
def test_a_claim_that_proves_nothing_is_refused(weak: str) -> None:
    name, claim, why = WEAK[weak]
    suite = at_mini(name)
    if "alive" in why:
        suite = replace(suite, alive=())
    assert why in refused(claim, suite)


def test_what_makes_a_weak_claim_a_strong_one_is_accepted() -> None:
    language, certified = at_mini("table_spikelm"), at_mini("table_rsc_snn")
    kept = Bound(at_least=0.9195)
    assert refused(made("ratio", "accuracy", "mini-t4", "mini-bert", bound=kept, control="mini-lif"), language) == ""
    assert refused(made("ordering", "accuracy", "mini-lif", "mini-t4"), language) == ""
    assert (
        refused(made("ordering", "accuracy", "mini-lif", "mini-t4", uncontrolled="why"), replace(language, alive=()))
        == ""
    )
    near = made("ordering", "certified_accuracy_l2[0.1]", "certified-rsc-0.25", "certified-rsc-0.46")
    assert refused(near, certified) == ""
    falls = made("correlation", "nll", *SIZED, against="fd[digits-cnn-v1]", bound=Bound(at_most=-0.5))
    assert refused(falls, at_mini("table2_aim")) == ""
    assert refused(replace(falls, log=True), at_mini("table2_aim")) == ""


def test_beyond_what_a_metric_can_be_nothing_is_reproduced() -> None:
    suite = at_mini("table_spikelm")
    assert "cannot be reproduced" in refused(made("value", "accuracy", "mini-t4", bound=Bound(at_least=101)), suite)
    assert "cannot fail" in refused(made("value", "accuracy", "mini-t4", bound=Bound(at_most=100)), suite)
    assert refused(made("value", "accuracy", "mini-t4", bound=Bound(at_least=70)), suite) == ""


def test_too_few_seeds_for_any_verdict_are_found_before_they_run() -> None:
    suite = at_mini("table_spikelm")
    one = replace(suite, entries=tuple(replace(row, repetitions=(0,)) for row in suite.entries))
    assert "one pair of seeds" in refused(made("ordering", "accuracy", "mini-lif", "mini-t4", min_seeds=1), one)
    assert "1 seed of at least 3" in refused(made("value", "accuracy", "mini-t4", bound=Bound(at_least=70)), one)


def test_a_row_against_itself_is_refused() -> None:
    suite = at_mini("table_spikelm")
    twin = replace(suite.entry("mini-t4"), name="twin")
    both = replace(suite, entries=(*suite.entries, twin))
    assert "the same case" in refused(made("ordering", "accuracy", "mini-t4", "twin"), both)


def test_a_sign_of_life_of_another_metric_covers_what_it_says() -> None:
    suite = at_mini("table_rsc_snn")
    claim = made("ordering", "robust_accuracy[pgd]", "direct", "rsc-0.125")
    clean = Alive(rows=("direct",), metric="clean_accuracy", bound=Bound(at_least=20), chance="10 %")
    assert "is alive" in refused(claim, replace(suite, alive=(clean,)))
    assert refused(claim, replace(suite, alive=(replace(clean, covers=("robust_accuracy",)),))) == ""


def test_a_difference_that_equals_meet_needs_a_control() -> None:
    suite = at_mini("table_spikelm")
    behind = made("difference", "accuracy", "mini-t4", "mini-bert", bound=Bound(at_least=-6.7))
    assert "name a row that must not" in refused(behind, suite)
    assert refused(replace(behind, control="mini-ternary"), suite) == ""
    ahead = made("difference", "accuracy", "mini-t4", "mini-lif", bound=Bound(equals=16.8, tolerance=0.5))
    assert refused(ahead, suite) == ""
    assert "cannot be reproduced" in refused(replace(ahead, bound=Bound(at_least=101)), suite)


@pytest.mark.parametrize(
    ("says", "bound", "why"),
    [
        ({}, Bound(at_least=2), ""),
        ({"RANGE": (0.0, 1.0)}, Bound(at_least=2), "cannot be reproduced"),
        ({"QUALITY": True}, Bound(at_least=1), "name a row that must not"),
        ({"FOLLOWS": "the width that a row sets"}, Bound(at_least=2), "follows from the width that a row sets"),
    ],
)
def test_a_metric_says_itself_what_it_can_be(
    monkeypatch: pytest.MonkeyPatch, says: dict[str, Any], bound: Bound, why: str
) -> None:
    """Its own file is all that a new metric touches."""
    suite = replace(at_mini("table_spikelm"), alive=(ALIVE,))
    kind = type(build_metric("firing_rate"))
    for name, value in says.items():
        monkeypatch.setattr(kind, name, value, raising=False)
    pair = ("mini-t4", "mini-t1")
    claim = (
        made("value", "firing_rate", pair[0], bound=bound)
        if bound.at_least == 2
        else made("ratio", "firing_rate", *pair, bound=bound)
    )
    found = refused(claim, suite)
    assert why in found if why else found == ""


ALIVE = Alive(rows=("*",), metric="firing_rate", bound=Bound(at_least=0.1), chance="a silent row has 0")
