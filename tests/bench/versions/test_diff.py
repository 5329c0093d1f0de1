"""Diff: which cells moved, and the ingredient that changed, followed through fits to where it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.record import Measurement, Record
from retable.bench.versions.diff import Side, changed_verdicts, moves
from tests.bench.conftest import Bench
from tests.bench.judge.test_claims import record


@pytest.fixture
def published(bench: Bench) -> Bench:
    bench("run", "tiny", "--jobs", "0", "--quiet")
    assert bench("freeze", "tiny").returncode == 0
    return bench


def test_a_version_does_not_differ_from_itself_or_from_its_store(published: Bench) -> None:
    for other in ("tiny/v1", "v1", "store"):
        done = published("diff", "tiny/v1", other)
        assert (done.returncode, "0 numbers differ, 0 verdicts" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("old", "new", "entries", "reason"),
    [
        ("level: 2.0", "level: 2.5", {"high"}, "fit of tiny: method.params.level: 2.0 -> 2.5"),
        (
            "{use: read-weight}",
            "{use: read-weight, with: {scale: 2.0}}",
            {"low", "high"},
            "task.params.scale: 1.0 -> 2.0",
        ),
    ],
)
def test_a_moved_cell_names_the_ingredient(
    published: Bench, old: str, new: str, entries: set[str], reason: str
) -> None:
    published.edit(old, new)
    published("run", "tiny", "--jobs", "0", "--quiet")
    found = published.json("diff", "tiny/v1", "store")
    assert {move["entry"] for move in found["moves"]} == entries
    assert all(move["why"] == [reason] for move in found["moves"])


def test_verdicts_that_change_are_told(published: Bench) -> None:
    published.edit("level: 2.0", "level: 0.5")
    published("run", "tiny", "--jobs", "0", "--quiet")
    published("freeze", "tiny")
    done = published("diff", "tiny/v1", "v2")
    assert done.returncode == 1
    assert "verdict of high-beats-low: reproduced -> contradicted" in done.stdout
    assert "difference -1.5" in done.stdout
    assert "outside the old interval" in done.stdout
    assert published("diff", "store", "tiny/v1").returncode == 1


@pytest.mark.parametrize(
    "arguments", [("store", "store"), ("tiny/v1", "tiny/v4"), ("tiny/v1", "nobody"), ("x", "store")]
)
def test_what_cannot_be_compared_is_one_sentence(published: Bench, arguments: tuple[str, str]) -> None:
    done = published("diff", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


# Reasons


def one(value: float = 1.0, metric: str = "score", **fields: object) -> Record:
    return replace(record("a", 0, value), metrics={metric: Measurement(value=value)}, **fields)  # type: ignore[arg-type]


def side(*records: Record, name: str = "side", **rest: object) -> Side:
    return Side(name=name, results={(r.entry, r.repetition): r for r in records}, **rest)  # type: ignore[arg-type]


def why(old: Side, new: Side) -> tuple[str, ...]:
    (move,) = moves(old, new)
    return move.why


def test_each_ingredient_is_named() -> None:
    old = one(1.0, ingredients={"seed": 1, "metrics": {"score": {"version": "1"}, "other": {"version": "1"}}})
    new = one(2.0, ingredients={"seed": 2, "metrics": {"score": {"version": "2"}, "other": {"version": "3"}}})
    assert why(side(old), side(new)) == ("metrics.score.version: 1 -> 2", "seed: 1 -> 2")


def test_a_changed_fit_is_followed_to_its_own_needs() -> None:
    def chain(level: int) -> tuple[Record, dict[str, Record]]:
        base = one(
            key=f"base{level}", stage="fit", ingredients={"method": {"use": "tokenizer", "params": {"ch": level}}}
        )
        top = one(key=f"top{level}", stage="fit", ingredients={"method": {"use": "aim"}}, needs=(base.key,))
        return one(float(level), ingredients={"fit": top.key}, needs=(top.key,)), {base.key: base, top.key: top}

    (old, before), (new, after) = chain(1), chain(2)
    assert why(side(old, fits=before), side(new, fits=after)) == (
        "fit of aim: fit of tokenizer: method.params.ch: 1 -> 2",
    )


def test_equal_keys_point_to_the_machine_or_to_chance() -> None:
    machines = {
        "x": {"software": {"packages": {"torch": "2.13"}, "commit": {"id": "1"}}},
        "y": {"software": {"packages": {"torch": "2.14"}, "commit": {"id": "2"}}},
    }
    old, new = (
        side(one(1.0, environment="x"), environments=machines),
        side(one(2.0, environment="y"), environments=machines),
    )
    assert why(old, new) == ("environment.software.packages.torch: 2.13 -> 2.14",)
    assert "not deterministic" in why(old, side(one(2.0, environment="x"), environments=machines))[0]


def test_cells_that_only_one_side_has() -> None:
    (move,) = moves(side(), side(one(), name="new"))
    assert (move.old, move.difference, move.why) == (None, None, ("only new has it",))
    assert changed_verdicts(side(verdicts={"c": "reproduced"}), side()) == [("c", "reproduced", "not there")]


numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4)


@given(numbers, numbers)
def test_differences_turn_their_sign_when_the_sides_are_swapped(old: list[float], new: list[float]) -> None:
    sides = [side(*[replace(one(value), repetition=i) for i, value in enumerate(values)]) for values in (old, new)]
    there, back = moves(*sides), moves(*sides[::-1])
    assert bool(there) == (old != new) == bool(back)
    for a, b in zip(there, back, strict=True):
        if a.difference is not None and b.difference is not None:
            assert a.difference.mean == pytest.approx(-b.difference.mean)
    assert moves(sides[0], sides[0]) == []
