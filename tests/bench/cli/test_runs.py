"""Runs that are left alone: detached, watched, stopped, taken up again; a dead one never looks alive."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.errors import BenchError
from retable.bench.record import Status
from retable.bench.run.job import Event
from retable.bench.run.runs import MOST, Diary, Note, find, resumed, runs
from tests.bench.conftest import Bench
from tests.bench.fake_runs import job

NOTE = Note(
    suite="tiny", arguments=("run", "tiny"), folder=".", store="s", host="h", process=1, started="2026-01-01T00:00:00Z"
)


def test_a_run_can_be_left_stopped_and_taken_up_again(bench: Bench) -> None:
    bench.edit("with: {level: 2.0}", "with: {level: 2.0, behaviour: hangs}")
    done = bench("run", "suites/tiny.yaml", "--jobs", "1", "--seeds", "1", "--detach")
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[0]
    assert "`bench status` says how far it is" in done.stdout
    store = bench.folder / "results" / "work"
    while not any("high" in one for one, _ in find(store).progress.running.values()):
        assert find(store).state == "running", (store / "runs" / name / "output").read_text()
        os.sched_yield()
    assert "running; 2 of 4 stages ended" in bench("status").stdout
    assert bench("resume").returncode == 2
    assert bench("stop").returncode == 0
    assert bench("stop").returncode == 2
    assert "ended with status 130" in bench("status", name).stdout
    bench.environment["TINY_FIXED"] = "1"
    done = bench("resume", name)
    assert done.returncode == 0, done.stderr
    assert "1 cases executed, 1 cached" in done.stderr
    assert "High" in done.stdout


def test_a_detached_run_that_cannot_begin_says_why(bench: Bench) -> None:
    (bench.folder / "results").write_text("not a folder")
    done = bench("run", "suites/tiny.yaml", "--detach")
    assert done.returncode == 2


def test_logs_are_what_the_stages_of_a_case_printed(bench: Bench) -> None:
    talks = bench.folder / "talks.py"
    talks.write_text(
        "from dataclasses import dataclass\n"
        "from retable import register\n"
        "from tests.bench.tiny import Tiny\n\n"
        "@register('method', 'talks')\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Talks(Tiny):\n"
        "    def fit(self, data, needs, *, seed, device):\n"
        "        print('seed', seed % 2 >= 0)\n"
        "        return super().fit(data, needs, seed=seed, device=device)\n"
    )
    bench.edit("low: {use: tiny, with: {level: 1.0}}", "low: {use: talks, with: {level: 1.0}}")
    bench("run", "suites/tiny.yaml", "--jobs", "1", "--plugin", "talks.py")
    done = bench("logs", "tiny/low/mini/0", "--plugin", "talks.py")
    assert done.stdout == "seed True\n"
    assert "tiny/low/0 fit ok" in done.stderr
    assert bench("logs", "tiny/nothing").returncode == 2


def test_progress_is_what_the_events_say(tmp_path: Path) -> None:
    one, two = job("one"), job("two")
    with Diary(tmp_path, NOTE, total=2) as diary:
        diary(Event(kind="started", job=one))
        diary(Event(kind="started", job=two))
        lost = replace(one.template, status=Status.OK, lost=("node a was lost: dark",))
        diary(Event(kind="ended", job=one, record=lost))
        diary._write(None)
        progress = find(tmp_path).progress
        assert (progress.total, progress.ended, progress.again) == (2, {"ok": 1}, 1)
        assert [name for name, _ in progress.running.values()] == ["two"]
        diary.close(3)
    seen = find(tmp_path)
    assert (seen.state, seen.progress.status, seen.progress.running) == ("ended", 3, {})


@pytest.mark.parametrize("elsewhere", [None, {"kind": "ray"}])
def test_of_a_dead_run_what_it_sent_goes_on_until_another_takes_it_up(bench: Bench, elsewhere: dict[str, str]) -> None:
    store, sent = bench.folder / "results" / "work", "tiny/low/0 fit tiny"
    note = replace(NOTE, elsewhere=elsewhere, arguments=("run", "tiny", "--store", "work"), store=str(store))
    dead = Diary(store, note, total=2)
    dead(Event(kind="started", job=job(sent)))
    dead._write(None)
    dead.close(None)
    said, name = bench("status").stdout, dead.folder.name
    assert f"its process died, and `bench resume {name}` goes on" in said
    assert (f"{sent}: had been sent, and goes on without it" in said) == bool(elsewhere)
    assert (f"{sent} running" in bench("logs", "tiny/low").stderr) == bool(elsewhere)
    with Diary(store, replace(note, arguments=tuple(resumed(note))), total=2) as second:
        second.close(0)
    said = bench("status", name).stdout
    assert f"its process died, and {second.folder.name} took it up" in said
    assert "goes on" not in said
    assert bench("logs", "tiny/low").returncode == 2


def test_a_run_that_is_taken_up_twice_names_its_store_once() -> None:
    again = replace(NOTE, arguments=tuple(resumed(NOTE)))
    assert resumed(again) == resumed(NOTE) == ["run", "tiny", "--store", "s"]


def test_a_killed_run_is_dead_at_once(tmp_path: Path) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        Diary(tmp_path, NOTE, total=2)
        os.write(told, b"!")
        signal.pause()
    os.read(ready, 1)
    assert find(tmp_path).state == "running"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert find(tmp_path).state == "died"


def test_runs_of_one_second_have_folders_of_their_own_and_old_ones_go(tmp_path: Path) -> None:
    for _ in range(MOST + 5):
        Diary(tmp_path, NOTE, total=0).close(0)
    assert len(runs(tmp_path)) == MOST
    with pytest.raises(BenchError, match="knows no run 'other'"):
        find(tmp_path, "other")
