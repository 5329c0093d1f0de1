"""`bench show`: values by repetition, families of details as columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from retable.bench.report.provenance import render
from retable.bench.store.store import Store
from tests.bench.report.made_tables import results


def test_details_of_one_family_stand_in_columns(tmp_path: Path) -> None:
    details = {"eps": 0.5, **{f"eps {place}": 10.0 + place for place in range(3)}, "two a": 1, "two b": 2}
    found = results([0.25, 0.5], details=details)
    score = found["e0", 1].metrics["score"]
    fewer = {name: value for name, value in details.items() if name != "eps 1"}
    records = [
        found["e0", 0],
        replace(found["e0", 1], metrics={"score": replace(score, details=fewer)}),
    ]
    lines = [line.split() for line in render(records, Store(tmp_path)).splitlines()]
    start = next(i for i, words in enumerate(lines) if words[:2] == ["eps,", "repetitions"])
    assert lines[start] == ["eps,", "repetitions", "0,", "1"]
    assert lines[start + 1 : start + 4] == [["0", "10", "10"], ["1", "11", "—"], ["2", "12", "12"]]
    values = " ".join(next(words for words in lines if words[:2] == ["repetition", "0:"]))
    assert "eps 0.5" in values
    assert "two a 1" in values  # two are no family
    assert "eps 1 " not in values
