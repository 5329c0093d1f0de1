"""Jobs on other machines: the numbers are those of this one, and no node, driver or engine can lose or double a record."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from retable.bench.declare.reader import load_suite
from retable.bench.record import Record, Status
from retable.bench.run.executor import execute
from retable.bench.run.identity import code_digest, difference, identity
from retable.bench.run.job import Event, Job
from retable.bench.run.plan import make_jobs, make_plan
from retable.bench.run.remote import Ended, Remote
from retable.bench.run.repeat import certify_cases, varied_nodes
from retable.bench.store.store import Store
from tests.bench.conftest import Bench
from tests.bench.fake_runs import RUN, graph, job, missing
from tests.bench.run.fake_engine import FakeCluster

LEAVES = "tests.bench.run.test_remote:leaves_a_file"


class Killed(BaseException):
    """Stands for SIGKILL: no handler sees it."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path / "cluster")


def outcomes(
    jobs: list[Job], store: Store, cluster: FakeCluster, run: str = RUN, **options: Any
) -> Mapping[str, Record]:
    """Records by the names of their jobs."""
    remote = cluster.executor(run, **{name: options.pop(name) for name in ("most", "tries") if name in options})
    records, interrupted = execute(jobs, run, store=store, workers=0, elsewhere=remote, **options)
    assert not interrupted
    return {one.name: records[one.key] for one in jobs}


def leaves_a_file(fake: Any, desk: Any) -> Record:
    """Adds one to what the jobs before have left."""
    before = sum(int(desk.read(key, "count")) for key in desk.inputs)
    return replace(fake.template, status=Status.OK, artefacts={"count": desk.put("count.txt", b"%d" % (before + 1))})


def test_numbers_are_those_of_this_machine(store: Store, cluster: FakeCluster, tmp_path: Path) -> None:
    local, _ = execute(graph(30), RUN, store=Store(tmp_path / "local"), workers=0)
    remote = outcomes(graph(30), store, cluster)
    assert {record.key: record.metrics for record in remote.values()} == {
        key: record.metrics for key, record in local.items()
    }
    assert {record.node for record in remote.values()} == {"a", "b"}
    assert store.environment(next(iter(remote.values())).environment)["node"] in ("a", "b")
    assert not cluster.jobs


def test_files_travel_from_stage_to_stage_by_digest(store: Store, cluster: FakeCluster) -> None:
    first = job("first")
    second = replace(job("second", needs=["first"]), reads=(first.key,))
    records = outcomes([first, second], store, cluster, LEAVES)
    assert store.read_artefact(records["second"].artefacts["count"]) == b"2"
    assert not list(cluster.room.outboxes.rglob("*.txt"))


def test_a_file_that_arrives_damaged_is_no_result(store: Store, cluster: FakeCluster) -> None:
    cluster.spoil = lambda outbox: [path.write_bytes(b"7") for path in outbox.glob("*.txt")]
    record = outcomes([job("one")], store, cluster, LEAVES)["one"]
    assert record.status is Status.FAILED
    assert "arrived damaged" in record.failure.message
    assert store.statistics()["artefacts"] == 0


def test_a_job_asks_for_what_its_profile_declares(store: Store, cluster: FakeCluster) -> None:
    big = job("big")
    outcomes([replace(big, gpus=1, limits=replace(big.limits, threads=3, memory=5 << 30))], store, cluster)
    (wants,) = cluster.wants
    assert (wants.cpus, wants.gpus, wants.memory, wants.seconds) == (3, 1, 5 << 30, 60.0)


def test_no_more_jobs_at_once_than_allowed(store: Store, cluster: FakeCluster) -> None:
    outcomes([job(str(number)) for number in range(12)], store, cluster, most=3)
    assert cluster.most == 3


# What is lost, and what is not sent again


def test_a_job_whose_node_was_lost_is_sent_again_and_says_so(store: Store, cluster: FakeCluster) -> None:
    cluster.lose = {"a"}
    record = outcomes([job("one")], store, cluster)["one"]
    assert record.ok
    assert (record.node, record.lost) == ("b", ("node a was lost: it went dark",))


def test_it_is_not_sent_for_ever(store: Store, cluster: FakeCluster) -> None:
    cluster.lose = {"a", "b"}
    one = job("one")
    record = outcomes([one, job("after", needs=["one"])], store, cluster, tries=3)["one"]
    assert record.status is Status.FAILED
    assert len(record.lost) == cluster.sent[one.key] == 3
    assert "sent 3 times; node a was lost" in record.failure.message


@pytest.mark.parametrize("status", [Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.FAILED])
def test_what_the_engine_ends_by_its_limits_is_not_sent_again(
    store: Store, cluster: FakeCluster, status: Status
) -> None:
    one = job("one")
    cluster.ends[one.key] = Ended(key="", status=status, reason="over its limit", node="a")
    record = outcomes([one], store, cluster)["one"]
    assert (record.status, record.failure.message, cluster.sent[one.key]) == (status, "over its limit", 1)


def test_what_fails_by_itself_is_not_sent_again(store: Store, cluster: FakeCluster) -> None:
    one = job("one", "raises", ValueError("a mistake"))
    record = outcomes([one], store, cluster)["one"]
    assert (record.status, record.failure.message, cluster.sent[one.key]) == (Status.FAILED, "a mistake", 1)


def test_missing_data_are_an_obstacle_of_the_node(store: Store, cluster: FakeCluster) -> None:
    record = outcomes([job("one", "raises", missing("put them under data/x"))], store, cluster)["one"]
    assert record.status is Status.MISSING
    assert record.failure.message == f"on node {record.node}: put them under data/x"


def test_data_that_are_not_the_drivers_are_no_data(bench: Bench, store: Store, cluster: FakeCluster) -> None:
    stage = "retable.bench.run.stage:run_stage"
    cases = load_suite(bench.suite, "mini").cases("low", (0,)) if bench("list").returncode == 0 else []
    (fit, _) = make_jobs(make_plan(cases, store))
    for digest, why in (("tiny-9", "has others"), (None, "has none, and it makes the keys")):
        other = replace(fit, payload=replace(fit.payload, data_digest=digest), needs=())
        record = outcomes([other], store, cluster, stage)[fit.name]
        assert record.status is Status.MISSING
        assert f"on node {record.node}: data set 'tiny-data' is not the driver's, which {why}" in record.failure.message
    assert outcomes([fit], store, cluster, stage)[fit.name].ok


def test_what_it_printed_comes_with_its_end(bench: Bench, store: Store, tmp_path: Path) -> None:
    from retable.bench.run.agent import Envelope, serve
    from retable.bench.run.desk import Room

    talks = job("talks", "prints", "so far so good")
    room = Room(inbox=tmp_path / "in", outboxes=tmp_path / "out", logs=tmp_path / "logs")
    answer = serve(Envelope.seal(talks, {}, run=RUN, plugins=()), room, node="n")
    assert answer.printed == "so far so good\n"


# Code and packages of the other side


def test_a_node_with_other_code_gets_no_job(store: Store, cluster: FakeCluster) -> None:
    cluster.nodes["a"] = replace(identity(), code="0" * 64)
    records = outcomes([job(str(number)) for number in range(6)], store, cluster)
    assert all(record.ok and record.node == "b" for record in records.values())
    assert any("node a was refused: its code is 000000000000" in why for one in records.values() for why in one.lost)


def test_where_every_node_has_other_packages_it_is_said(store: Store, cluster: FakeCluster) -> None:
    other = replace(identity(), packages={**identity().packages, "torch": "1.0"})
    cluster.nodes.update(a=other, b=other)
    record = outcomes([job("one")], store, cluster)["one"]
    assert record.status is Status.MISSING
    assert "none of the 2 nodes may take it" in record.failure.message
    assert "it has 1.0 of torch, and the driver" in record.failure.message


def test_a_plugin_with_other_sources_is_other_code(bench: Bench, store: Store, cluster: FakeCluster) -> None:
    bench("list")  # loads the plug-in
    changed = replace(job("one"), sources={("method", "tiny"): "0" * 64})
    record = outcomes([changed], store, cluster)["one"]
    assert record.status is Status.MISSING
    assert "method 'tiny' has other sources there" in record.failure.message


def test_the_digest_of_code_sees_every_file_but_compiled_ones(tmp_path: Path) -> None:
    (tmp_path / "bench" / "__pycache__").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    source, compiled = tmp_path / "bench" / "a.py", tmp_path / "bench" / "__pycache__" / "a.pyc"
    source.write_text("x = 1")
    before = code_digest(tmp_path)
    compiled.write_text("?")
    assert code_digest(tmp_path) == before
    source.write_text("x = 2")
    assert code_digest(tmp_path) != before
    assert difference(identity(), identity()) == ""
    assert "Python 3.9" in difference(identity(), replace(identity(), python="3.9"))
    assert "lock" in difference(identity(), replace(identity(), lock="0"))


# Drivers that die


@pytest.mark.parametrize("after", range(1, 12, 3))
def test_a_driver_that_comes_back_collects_what_ended(store: Store, cluster: FakeCluster, after: int) -> None:
    jobs, ended = graph(12), 0

    def dies(event: Event) -> None:
        nonlocal ended
        ended += event.record is not None
        if ended == after:
            cluster.severed = True
            raise Killed

    with pytest.raises(Killed):
        outcomes(jobs, store, cluster, on_event=dies)
    cluster.severed = False
    for key in cluster.jobs:  # meanwhile they end
        if key not in cluster.answers:
            cluster.work(key)
    opened = [one for one in jobs if one.key not in store.ok_keys(other.key for other in jobs)]
    assert all(record.ok for record in outcomes(opened, store, cluster).values())
    assert set(cluster.ran.values()) == {1}
    assert len(store.records("fake")) == len(jobs)


def test_what_a_driver_had_stored_and_not_let_go_of_is_let_go_of_by_the_next(
    store: Store, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: Remote, key: str) -> None:
        cluster.severed = True
        raise Killed

    jobs = graph(4)
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "settled", dies)
        with pytest.raises(Killed):
            outcomes(jobs, store, cluster)
    cluster.severed = False
    stored = store.ok_keys(cluster.jobs)
    assert stored
    outcomes([one for one in jobs if one.key not in stored], store, cluster)
    assert not cluster.jobs
    assert set(cluster.ran.values()) == {1}


def test_an_answer_that_is_given_twice_is_one_record(store: Store, cluster: FakeCluster) -> None:
    fails = job("fails", "raises", ValueError("a mistake"))
    for severed in (True, False):  # the first driver dies before it lets go of the answer
        cluster.severed = severed
        assert outcomes([fails], store, cluster)["fails"].status is Status.FAILED
    assert len(store.records("fake")) == 1
    assert cluster.ran[fails.key] == 1
    outcomes([fails], store, cluster)
    assert cluster.ran[fails.key] == 2


def test_every_stage_of_a_case_is_certified_on_another_node(bench: Bench, store: Store, cluster: FakeCluster) -> None:
    stage = "retable.bench.run.stage:run_stage"
    assert bench("list").returncode == 0
    cases = load_suite(bench.suite, "mini").cases()
    plan = make_plan(cases, store)
    execute(make_jobs(plan), stage, store=store, workers=0, elsewhere=cluster.executor(stage))
    where: dict[str, list[str]] = {}

    def again(varied: Any, scratch: Store, avoid: Any) -> Any:
        new = make_plan(list(varied), scratch)
        jobs = make_jobs(new, avoid=avoid)
        records, _ = execute(jobs, stage, store=scratch, workers=0, elsewhere=cluster.executor(stage))
        where.update({key: [store.get(key).node, record.node] for key, record in records.items()})
        return {name: records[key] for name, key in new.cases.items()}, False

    variations = varied_nodes(cases, plan.cases, store)
    found = dict(certify_cases(variations, plan.cases, store, again))
    assert all(sorted(nodes) == ["a", "b"] for nodes in where.values())
    assert len(where) == 12
    assert all(one.bit_exact and len(one.environments) == 2 for one in found.values())
    assert {word for one in found.values() for word in one.setting.split()} <= {"a", "a,", "b", "instead", "of"}
    assert all(" instead of " in one.setting for one in found.values())

    def chooses_no_node(varied: Any, scratch: Store, avoid: Any) -> Any:
        cluster.nodes = {name: cluster.nodes[name] for name in sorted(avoid[found[varied[0].name].key])}
        cluster.turn = cycle(list(cluster.nodes))
        return again(varied, scratch, {})

    (told,) = dict(certify_cases(variations[:1], plan.cases, store, chooses_no_node)).values()
    assert "a stage ran where it had run before, which certifies nothing" in told


def test_an_engine_is_let_go_of_once_when_a_run_is_stopped(store: Store, cluster: FakeCluster) -> None:
    def stops(event: Event) -> None:
        if event.kind == "started":
            os.kill(os.getpid(), signal.SIGINT)

    remote = cluster.executor(RUN)
    _, interrupted = execute([job("one")], RUN, store=store, workers=0, elsewhere=remote, on_event=stops)
    assert interrupted
    assert not cluster.jobs


# Through the command


def test_no_worker_opens_the_store(bench: Bench) -> None:
    spy = bench.folder / "spy.py"
    spy.write_text(
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event == 'sqlite3.connect':\n"
        "        raise RuntimeError('a worker opens a database')\n"
        "if 'retable.bench.run.worker' in sys.orig_argv:\n"
        "    sys.addaudithook(refuse)\n"
    )
    bench.edit(
        "  high: {extends: low, with: {level: 2.0}}",
        "  high: {use: tiny-on-top, with: {level: 2.0}, needs: {base: low}}",
    )
    done = bench("run", "suites/tiny.yaml", "--jobs", "1", "--seeds", "1", "--plugin", "spy.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "node"], "--vary node needs other machines"),
        (["--address", "x"], "--address needs --executor ray"),
        (["--executor", "ray", "--jobs", "2"], "say --max-jobs"),
        (["--executor", "slurm"], "a folder that both see: --spool DIR"),
        (["--executor", "slurm", "--address", "x"], "an address is `local` or nothing"),
    ],
)
def test_options_that_do_not_fit_each_other_are_usage_errors(bench: Bench, arguments: list[str], message: str) -> None:
    done = bench("run", "suites/tiny.yaml", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
