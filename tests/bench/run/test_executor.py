"""The executor: every job ends with one durable record, whatever jobs, workers, users and the system do."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from retable.bench.cli.progress import Progress
from retable.bench.record import Record, Status, digest
from retable.bench.run import executor
from retable.bench.run.executor import execute
from retable.bench.run.job import Event, Job
from retable.bench.run.worker import describe
from retable.bench.store.locks import Locks
from retable.bench.store.store import Store
from retable.bench.suite import Limits
from tests.bench.fake_runs import DRIVER, RUN, Fake, graph, job, missing, template

PROJECT = Path(__file__).parents[3]
SHORT = Limits(timeout=0.3, memory=2 << 30)
SMALL = Limits(timeout=60.0, memory=200 << 20)
LARGE = 400 << 20
EVERYWHERE = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def outcomes(jobs: Sequence[Job], store: Store, workers: int = 1, **options: Any) -> dict[str, Record]:
    """Records by the names of their jobs; each is also the last one in the store."""
    records, interrupted = execute(jobs, RUN, store=store, workers=workers, **options)
    assert not interrupted
    assert {key: store.last(key) for key in records} == records
    return {one.name: records[one.key] for one in jobs if one.key in records}


def results(records: dict[str, Record]) -> dict[str, Any]:
    return {name: (record.status, record.metrics) for name, record in records.items()}


def driver(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([*DRIVER, *map(str, arguments)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true within ten seconds."""
    deadline = time.monotonic() + 10.0
    while not condition():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


# What a job's end becomes


@EVERYWHERE
@pytest.mark.parametrize(
    ("behaviour", "argument", "status", "kind", "message"),
    [
        ("raises", ValueError("a mistake"), Status.FAILED, "ValueError", "a mistake"),
        ("raises", ValueError("\ud800\0"), Status.FAILED, "ValueError", "\\ud800\0"),
        ("raises", SystemExit(3), Status.FAILED, "SystemExit", "3"),
        ("raises", MemoryError("too much"), Status.OUT_OF_MEMORY, "MemoryError", "too much"),
        (
            "raises",
            RuntimeError("can't allocate memory"),
            Status.OUT_OF_MEMORY,
            "RuntimeError",
            "can't allocate memory",
        ),
        ("raises", FileNotFoundError(2, "No such file", "x"), Status.MISSING, "FileNotFoundError", "'x'"),
        ("raises", missing("put it there"), Status.MISSING, "MissingDataError", "put it there"),
        ("returns", None, Status.FAILED, "TypeError", "returned NoneType, not a Record"),
        ("returns", template("another"), Status.FAILED, "WrongRecord", digest("another")),
        ("measures_nan", None, Status.FAILED, "ValueError", "cannot be stored"),
    ],
)
def test_a_job_that_fails_leaves_a_record_that_says_how(
    store: Store, workers: int, behaviour: str, argument: Any, status: Status, kind: str, message: str
) -> None:
    bad, good = job("bad", behaviour, argument), job("good")
    records = outcomes([bad, good], store, workers)
    record = records["bad"]
    assert record.failure is not None
    assert (record.status, record.failure.type) == (status, kind)
    assert message in record.failure.message
    assert (record.seed, record.ingredients) == (bad.template.seed, bad.template.ingredients)
    assert record.created
    assert records["good"].ok
    assert store.ok_keys([bad.key, good.key]) == {good.key}


def test_a_failure_keeps_its_traceback_and_a_sentence_for_the_user_needs_none(store: Store) -> None:
    records = outcomes([job("a", "raises", ValueError("x")), job("b", "raises", missing("x"))], store)
    assert "in raises" in records["a"].failure.traceback
    assert records["b"].failure.traceback == ""


@pytest.mark.parametrize(
    ("behaviour", "argument", "message", "trace"),
    [
        ("exits", 9, "exit status 9", "last words"),
        ("exits", 0, "exit status 0", "last words"),
        ("gets_signal", signal.SIGKILL, "SIGKILL", ""),
        ("breaks_memory", None, "SIGSEGV", "in breaks_memory"),
    ],
)
def test_a_dead_worker_fails_its_job_and_the_others_go_on(
    store: Store, behaviour: str, argument: Any, message: str, trace: str
) -> None:
    records = outcomes([job("before"), job("dies", behaviour, argument), job("after")], store)
    assert records["dies"].status is Status.FAILED
    assert message in records["dies"].failure.message
    assert trace in records["dies"].failure.traceback
    assert records["before"].ok
    assert records["after"].ok


def test_a_job_that_cannot_be_sent_or_a_function_that_cannot_be_loaded_fails(store: Store) -> None:
    unsent = replace(job("unsent"), payload=Fake(template("unsent"), "works", lambda: None))
    assert outcomes([unsent, job("good")], store)["good"].ok
    assert store.last(unsent.key).status is Status.FAILED
    for target in ("no.such.module:run", "tests.bench.fake_runs:no_such"):
        records, _ = execute([job(target)], target, store=store, workers=1)
        assert records[digest(target)].status is Status.FAILED


@EVERYWHERE
def test_what_jobs_print_stays_off_stdout(store: Store, workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcomes([job("a", "prints", "noise")], store, workers)["a"].ok
    assert capfd.readouterr().out == ""


def test_workers_load_the_drivers_plugins(store: Store, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("import os\nos.environ['FROM_PLUGIN'] = '5'\n")
    jobs = [job(str(number), "reads_environment", "FROM_PLUGIN") for number in range(2)]
    records = outcomes(jobs, store, workers=1, plugins=[str(plugin)])
    assert [record.metrics["value"].value for record in records.values()] == [5.0, 5.0]
    plugin.write_text("raise RuntimeError('no')\n")
    (record,) = outcomes([job("bad")], store, workers=1, plugins=[str(plugin)]).values()
    assert record.status is Status.FAILED
    assert "plugin.py" in record.failure.message


# Limits


def test_a_job_over_its_time_is_killed_with_its_children(store: Store, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    slow = job("slow", "raises_children", str(ids), limits=replace(SHORT, timeout=1.0))
    records = outcomes([slow, job("hangs", "hangs", limits=SHORT), job("good")], store, workers=2)
    for name in ("slow", "hangs"):
        assert records[name].status is Status.TIMEOUT
    assert "0.3 s" in records["hangs"].failure.message
    assert records["hangs"].timings["wall"] >= 0.3
    assert records["good"].ok
    assert all(map(gone, map(int, ids.read_text().split())))


def test_a_job_over_its_memory_is_killed(store: Store) -> None:
    eats, feeds = job("eats", "eats", LARGE, limits=SMALL), job("feeds", "feeds_a_child", LARGE, limits=SMALL)
    records = outcomes([eats, feeds, job("good")], store, workers=2)
    for name in ("eats", "feeds"):
        assert records[name].status is Status.OUT_OF_MEMORY
        assert records[name].memory["resident_when_stopped"] > SMALL.memory
    assert records["good"].ok


def test_threads_are_settled_before_the_worker_starts(store: Store) -> None:
    jobs = [
        job(f"{threads}-{name}", "reads_environment", name, limits=replace(SMALL, threads=threads))
        for threads in (3, 1, 3)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    ]
    for name, record in outcomes(jobs, store, workers=1).items():
        assert record.metrics["value"].value == float(name[0])


@pytest.mark.parametrize("isolated", [False, True])
def test_a_worker_is_kept_unless_jobs_are_isolated(store: Store, isolated: bool) -> None:
    jobs = [job(str(number), "tells_its_process") for number in range(4)]
    records = outcomes(jobs, store, workers=1, isolated=isolated)
    processes = {record.metrics["value"].value for record in records.values()}
    assert len(processes) == (4 if isolated else 1)
    assert all(gone(int(process)) for process in processes)


# Order and needs


def test_workers_and_order_change_no_result(tmp_path: Path) -> None:
    jobs = graph(40)
    expected = results(outcomes(jobs, Store(tmp_path / "here"), 0))
    assert all(status is Status.OK for status, _ in expected.values())
    shuffled = random.Random(0).sample(jobs, len(jobs))
    for number, (order, workers) in enumerate([(jobs, 2), (jobs[::-1], 2), (shuffled, 3), (shuffled, 0)]):
        assert results(outcomes(order, Store(tmp_path / str(number)), workers)) == expected


@EVERYWHERE
def test_a_job_starts_after_its_needs(store: Store, workers: int) -> None:
    events: list[tuple[str, str]] = []
    jobs = graph(20)[::-1]
    outcomes(jobs, store, workers, on_event=lambda event: events.append((event.kind, event.job.key)))
    for one in jobs:
        assert all(events.index(("ended", need)) < events.index(("started", one.key)) for need in one.needs)
    assert len(events) == len(set(events)) == 40


@EVERYWHERE
def test_what_needs_a_failed_job_is_not_run_and_says_why(store: Store, workers: int) -> None:
    jobs = [
        job("grandchild", "exits", 1, needs=["child", "good"]),
        job("child", "exits", 1, needs=["fit", "good"]),
        job("fit", "raises", missing("put the weights there")),
        job("good"),
    ]
    started: list[str] = []
    records = outcomes(jobs, store, workers, on_event=lambda event: event.record or started.append(event.job.name))
    assert set(started) == {"fit", "good"}
    for name in ("child", "grandchild"):
        assert records[name].status is Status.MISSING
        assert records[name].failure.message == "needs fit (missing): put the weights there"
        assert records[name].timings == {}
    repaired = [replace(one, payload=Fake(one.template)) for one in jobs]
    assert all(record.ok for record in outcomes(repaired, store, workers).values())


def test_needs_that_nobody_can_meet_are_the_callers_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="neither among them nor in the store"):
        outcomes([job("a", needs=["nowhere"])], store, 0)
    with pytest.raises(ValueError, match="circle"):
        outcomes([job("a", needs=["b"]), job("b", needs=["a"])], store, 0)
    outcomes([job("fit")], store, 0)
    assert outcomes([job("a", needs=["fit"])], store, 0)["a"].ok
    assert outcomes([], store, 2) == {}


@EVERYWHERE
def test_a_record_is_durable_before_anybody_hears_of_it(store: Store, workers: int) -> None:
    reader = Store(store.folder, create=False)

    def check(event: Event) -> None:
        assert event.record is None or reader.last(event.job.key) == event.record

    outcomes([*graph(5), job("bad", "raises", ValueError())], store, workers, on_event=check)


@EVERYWHERE
def test_stored_results_are_taken_unless_a_rerun_is_asked_for(store: Store, workers: int) -> None:
    first = outcomes(graph(5), store, workers)
    started: list[str] = []
    again = {"on_event": lambda event: event.record or started.append(event.job.name)}
    assert outcomes(graph(5), store, workers, **again) == first
    assert started == []
    assert results(outcomes(graph(5), store, workers, rerun=True, **again)) == results(first)
    assert len(started) == 5


# Several runs at once


def test_runs_over_one_store_share_the_work(tmp_path: Path) -> None:
    size = 60
    drivers = [driver("drive", tmp_path / "store", size, 1) for _ in range(4)]
    for process in drivers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert len(Store(tmp_path / "store").records("fake")) == size


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    mine = Locks(tmp_path / "locks")
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        assert Locks(tmp_path / "locks").take("key")
        os.write(told, b"!")
        signal.pause()
    os.read(ready, 1)
    assert not mine.take("key")
    assert mine.take("another key")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert mine.take("key")
    mine.close()


def test_a_run_that_waits_for_a_stopped_one_says_for_whom(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executor, "PATIENCE", 0.0)
    child = os.fork()
    if child == 0:
        Locks(store.folder / "locks").take(job("a").key)
        os.kill(os.getpid(), signal.SIGSTOP)
        signal.pause()
    os.waitpid(child, os.WUNTRACED)
    told: list[Event] = []

    def hear(event: Event) -> None:
        if event.kind == "waits":
            told.append(event)
            Progress(total=1, quiet=True)(event)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    assert outcomes([job("a")], store, on_event=hear)["a"].ok
    assert [event.holder for event in told] == [child]
    said = f"waits for a, which process {child}, which is stopped (`kill -CONT {child}` lets it go on"
    assert capsys.readouterr().err.startswith(said)


# Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_stops_and_resumes(store: Store, workers: int, number: signal.Signals) -> None:
    jobs = [job("done"), job("stopped", "interrupts_driver", (os.getpid(), number)), job("never")]
    handler = signal.getsignal(number)
    records, interrupted = execute(jobs, RUN, store=store, workers=workers)
    assert interrupted
    assert signal.getsignal(number) is handler
    assert {record.entry: record.status for record in records.values()} == {
        "done": Status.OK,
        "stopped": Status.INTERRUPTED,
    }
    assert store.last(jobs[1].key) == records[jobs[1].key]
    assert store.last(jobs[2].key) is None
    resumed = [replace(one, payload=Fake(one.template)) for one in jobs]
    assert all(record.ok for record in outcomes(resumed, store, workers).values())
    assert len(store.records("fake")) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_interrupt_is_immediate(store: Store, workers: int) -> None:
    processes: list[int] = []
    others = {child.pid for child in psutil.Process().children(recursive=True)}

    def interrupt(event: Event) -> None:
        if event.kind == "started":
            processes.extend({child.pid for child in psutil.Process().children(recursive=True)} - others)
        elif event.record is not None and event.record.status is Status.INTERRUPTED:
            os.kill(os.getpid(), signal.SIGINT)

    jobs = [job("stopped", "interrupts_driver", (os.getpid(), signal.SIGINT))]
    with pytest.raises(KeyboardInterrupt):
        execute(jobs, RUN, store=store, workers=workers, on_event=interrupt)
    assert all(map(gone, processes))
    assert store.last(jobs[0].key).status is Status.INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_driver(tmp_path: Path, number: signal.Signals) -> None:
    ids = tmp_path / "ids"
    ids.touch()
    process = driver("one", tmp_path / "store", "raises_children", ids, 1)
    assert eventually(lambda: len(ids.read_text().split()) == 3)
    family = psutil.Process(process.pid).children(recursive=True)
    assert {member.pid for member in family} >= set(map(int, ids.read_text().split()))
    session = [other.pid for other in psutil.process_iter() if other.pid > 1 and _session(other.pid) == family[0].pid]
    process.send_signal(number)
    assert process.wait(10) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    for member in {*session, *(member.pid for member in family)}:
        assert eventually(lambda member=member: gone(member))
    store = Store(tmp_path / "store", create=False)
    last = store.last(digest("one"))
    assert last is None if number == signal.SIGKILL else last.status is Status.INTERRUPTED


def _session(process: int) -> int:
    try:
        return os.getsid(process)
    except OSError:
        return 0


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_storm(tmp_path: Path, workers: int, record_property: Callable[[str, object], None]) -> None:
    """Drivers killed at random moments: what was acknowledged is there, nothing is twice, the results are right."""
    size, folder, chance = 120, tmp_path / "store", random.Random(workers)
    acknowledged: set[str] = set()
    started = time.monotonic()
    assert driver("drive", tmp_path / "empty", 0, workers).wait(60) == 0
    longest = max(0.6, 2 * (time.monotonic() - started))  # a busy machine takes long to start anything
    for _ in range(25):
        process = driver("drive", folder, size, workers)
        lines, moment = chance.choice([0, 1, 1, 2, 4]), time.monotonic() + chance.uniform(0.0, longest)
        while lines and (left := moment - time.monotonic()) > 0 and select.select([process.stdout], [], [], left)[0]:
            lines -= 1
            acknowledged.add(process.stdout.readline().strip())
        while not lines and chance.random() < 0.99:  # until somewhere between two acknowledgements
            os.sched_yield()
        process.kill()
        acknowledged |= set(process.communicate()[0].split())
    acknowledged -= {""}
    record_property("count", ("kills of a run", 25))
    record_property("count", ("acknowledged records, 0 lost", len(acknowledged)))
    assert 0 < len(acknowledged) < size, "the kills were not spread over the run"
    final = driver("drive", folder, size, workers)
    assert final.wait(60) == 0
    final.communicate()
    store = Store(folder, create=False)
    keys = [one.key for one in graph(size)]
    records = store.records("fake")
    assert acknowledged <= {record.key for record in records}
    assert sorted(record.key for record in records) == sorted(keys)
    assert store.ok_keys(keys) == set(keys)
    assert store.damage() == []
    undisturbed = outcomes(graph(size), Store(tmp_path / "undisturbed"), 0)
    assert results({record.entry: record for record in records}) == results(undisturbed)


class Dumb(Exception):  # noqa: N818 - an exception of a plug-in's own
    def __str__(self) -> str:
        raise RuntimeError


def nothing() -> None:
    raise AssertionError


def group() -> None:
    raise ExceptionGroup("two things", [ValueError("one"), OSError("other")])


@pytest.mark.parametrize(
    ("raise_it", "told"),
    [
        (nothing, r"no text was given at .*test_executor\.py:\d+: raise Assert"),
        (lambda: (_ for _ in ()).throw(Dumb()), r"its text cannot be had \(RuntimeError\)"),
        (group, r"two things \(2 sub-exceptions\); ValueError: one; OSError: other"),
        (lambda: int("x"), "invalid literal"),
    ],
)
def test_an_exception_is_never_without_a_word(raise_it: Callable[[], object], told: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each another one
        raise_it()
    assert re.match(told, describe(raised.value)[1]["message"])
