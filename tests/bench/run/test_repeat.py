"""Repeating: a certificate a case, the first thing that differs, threads and batches apart, and records left alone."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retable.bench.judge.certificate import certify, describe, read
from retable.bench.probes import hardware
from retable.bench.record import Artefact, Measurement, Record
from retable.bench.store.store import Store
from tests.bench.conftest import Bench
from tests.bench.judge.test_claims import record

SHAKY = str(Path(__file__).parents[1] / "shaky.py")


@pytest.fixture
def shaky(bench: Bench) -> Bench:
    """`low` is as it should be, `high` has a weight that no seed decides; both are read in batches."""
    bench.edit("high: {extends: low, with: {level: 2.0}}", "high: {use: shaky, with: {level: 2.0}}")
    bench.edit("{use: read-weight}", "{use: batched}")
    bench.edit("metrics: [weight]", "metrics: [weight, stopwatch]")
    return bench


def run(bench: Bench, *arguments: str) -> Any:
    return bench("run", "tiny", "--jobs", "0", "--quiet", "--plugin", SHAKY, *arguments)


def bodies(bench: Bench) -> list[Any]:
    with sqlite3.connect(bench.folder / "results" / "work" / "records.sqlite") as connection:
        return connection.execute("SELECT * FROM records ORDER BY id").fetchall()


def test_a_repetition_certifies_every_case_and_changes_no_record(shaky: Bench) -> None:
    run(shaky)
    before = bodies(shaky)
    done = run(shaky, "--repeat", "2")
    assert done.returncode == 0
    assert bodies(shaky) == before
    assert done.stdout.count("repeat (the same settings), 2 runs: bit-exact") == 3
    assert done.stdout.count("not bit-exact, weights differs first") == 3
    assert not list((shaky.folder / "results" / "work").glob("repeat-*"))


def test_show_and_the_frozen_version_tell_the_certificates(shaky: Bench) -> None:
    run(shaky, "--repeat", "3")
    shown = shaky("show", "tiny/high", "--plugin", SHAKY).stdout
    assert "high/mini/0: repeat (the same settings), 3 runs: not bit-exact, weights differs first" in shown
    assert "between runs of one seed" in shown
    assert "between runs of one seed none" in shaky("show", "tiny/low", "--plugin", SHAKY).stdout
    shaky("freeze", "tiny", "--plugin", SHAKY)
    text = (shaky.folder / "results" / "tiny" / "v1" / "certificates.jsonl").read_text()
    assert len(text.splitlines()) == 6


def test_threads_and_batches_have_figures_of_their_own(shaky: Bench) -> None:
    lines = run(shaky, "--vary", "threads,batch", "--only", "low").stdout.splitlines()
    threads = [line for line in lines if "threads (2 instead of 1 thread)" in line]
    batches = [line for line in lines if "batch (batches of 4 instead of 8)" in line]
    assert len(threads) == len(batches) == 3
    assert all("weight differs first; numbers within 1e-08" in line for line in threads)
    assert all("weight differs first; numbers within 4e-06" in line for line in batches)
    store = Store(shaky.folder / "results" / "work", create=False)
    (case,) = [r for r in store.records("tiny") if (r.entry, r.repetition, r.stage) == ("low", 0, "evaluate")]
    found = {one["kind"]: read(one) for one in store.certificates(case.key)}
    assert found["threads"].weights is True
    assert found["batch"].weights is None
    assert found["batch"].skipped == ("stopwatch",)
    assert "repeat" not in found


def test_numerics_are_varied_in_processes_of_their_own(bench: Bench) -> None:
    if hardware.not_portable():
        done = bench("run", "tiny", "--quiet", "--vary", "numerics", "--jobs", "1")
        assert done.returncode == 2
        assert "numerics cannot be varied: all are native" in done.stderr
        return
    lines = bench("run", "tiny", "--quiet", "--vary", "numerics", "--jobs", "1", "--only", "low").stdout.splitlines()
    assert sum("numerics (native instead of portable), 2 runs: bit-exact" in line for line in lines) == 3


def test_batches_are_varied_on_the_stored_weights(shaky: Bench) -> None:
    """Weights fitted anew would differ by far more, since no seed decides them."""
    lines = run(shaky, "--vary", "batch", "--only", "high").stdout.splitlines()
    assert sum("weight differs first; numbers within 4e-06" in line for line in lines) == 3


def test_a_repetition_that_fails_is_told_and_certifies_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.edit("level: 2.0", "level: 2.0, behaviour: raises")
    monkeypatch.setenv("TINY_FIXED", "1")
    bench("run", "tiny", "--jobs", "0", "--quiet")
    monkeypatch.delenv("TINY_FIXED")
    done = bench("run", "tiny", "--jobs", "0", "--quiet", "--repeat", "2")
    assert done.stdout.count("ended without a result") == 3
    assert "determinism" not in bench("show", "tiny/high").stdout
    assert "determinism" in bench("show", "tiny/low").stdout


@pytest.mark.parametrize("arguments", [("--repeat", "0"), ("--repeat", "x"), ("--vary", "seeds"), ("--repeat", "100")])
def test_what_cannot_be_repeated_is_refused(bench: Bench, arguments: tuple[str, str]) -> None:
    assert bench("run", "tiny", *arguments).returncode == 2


# Certificates


def outcome(value: float | None = 1.0, *, samples: tuple[float, ...] | None = None, file: str = "x") -> Record:
    reason = None if value is not None else "no counter"
    metrics = {
        "score": Measurement(value=value, reason=reason, samples=samples),
        "decode_ms[4]": Measurement(value=3.0),
    }
    return replace(
        record("a", 0, 1.0), metrics=metrics, artefacts={"images": Artefact(path=file, sha256=file, bytes=1)}
    )


def certificate(*again: Record, weights: list[list[str]] | None = None, first: Record | None = None) -> Any:
    return certify("repeat", "s", first or outcome(), again, weights or [])


def test_the_worst_of_all_runs_counts() -> None:
    found = certificate(outcome(1.1), outcome(0.5), outcome())
    assert (found.differences, found.first, found.runs) == ({"score": 0.5}, "score", 4)
    assert found.skipped == ("decode_ms[4]",)


def test_equal_means_of_other_samples_are_not_bit_exact() -> None:
    found = certificate(outcome(samples=(2.0, 0.0)), first=outcome(samples=(0.0, 2.0)))
    assert (found.bit_exact, found.worst) == (False, 0.0)
    assert "the means are equal" in describe(found)


def test_weights_and_files_count_too() -> None:
    assert certificate(outcome(), weights=[["1"], ["2"]]).first == "weights"
    assert certificate(outcome(file="y")).first == "artefact images"
    assert certificate(outcome(), weights=[["1"], ["1"]]).bit_exact


def test_a_number_that_comes_and_goes_is_a_whole_difference() -> None:
    assert certificate(outcome(None)).differences == {"score": 1.0}
    assert certificate(outcome(None), first=outcome(None)).bit_exact


def test_nothing_but_timings_cannot_be_certified() -> None:
    timed = replace(outcome(), metrics={"decode_ms[4]": Measurement(value=3.0)})
    with pytest.raises(ValueError, match="timings"):
        certify("repeat", "s", timed, [timed])


def test_certificates_are_durable_and_damaged_ones_are_not_read(tmp_path: Path) -> None:
    made, store = certificate(outcome()), Store(tmp_path)
    store.certify(made.plain())
    assert [read(one) for one in store.certificates(made.key)] == [made]
    store._database.write("UPDATE certificates SET body = replace(body, 'repeat', 'repaet')")
    assert Store(tmp_path, create=False).certificates(made.key) == []


def test_an_old_store_that_cannot_be_written_has_no_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(__file__).parents[1] / "store" / "stores" / "v1", tmp_path / "store")
    monkeypatch.setattr("retable.bench.store.database._reading_mode", lambda path: "mode=ro&immutable=1")
    store = Store(tmp_path / "store", create=False)
    assert store.certificates("a" * 64) == []
    assert store.damage() == []
