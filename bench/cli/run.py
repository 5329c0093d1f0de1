"""`bench run`: run what the store does not hold, then print tables and verdicts."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING

from retable import contents
from retable.bench.cli.suites import load
from retable.bench.errors import INTERRUPTED, OK, UNMEASURED, BenchError, StoreError, nearest
from retable.bench.report.escape import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from retable.bench.record import Record
    from retable.bench.run.elsewhere import Elsewhere
    from retable.bench.run.forecast import Forecast
    from retable.bench.run.job import Event
    from retable.bench.run.plan import Plan, StageSpec
    from retable.bench.run.repeat import Nodes
    from retable.bench.run.runs import Note
    from retable.bench.store.store import Store
    from retable.bench.suite import Case, Numerics, Profile, Suite


def main(arguments: Namespace) -> int:
    """Run what the store does not hold, then print the suite's tables and verdicts."""
    from retable.bench.probes import environment
    from retable.bench.run import numerics
    from retable.bench.run.plan import make_plan
    from retable.bench.run.published import require
    from retable.bench.run.runs import Diary
    from retable.bench.store.store import environment_id

    if arguments.verify_data:
        contents.forget()
    suite = load(arguments)
    elsewhere = _elsewhere(arguments)
    cases = suite.cases(arguments.only, arguments.seeds)
    if not cases:
        measured = [entry.name for entry in suite.entries if entry.method is not None]
        raise BenchError(
            f"no entry of {suite.name} that is measured at profile {suite.profile.name} matches "
            f"{arguments.only!r}{nearest(arguments.only, measured)}"
        )
    require(cases)
    if arguments.detach and not arguments.dry_run:
        return _detach(suite, arguments)
    here = arguments.jobs == 0 and not arguments.dry_run and elsewhere is None
    computed = _settle_numerics(suite.profile, here=here)
    store, unwritable = _opened(arguments.store, create=not arguments.dry_run)
    facts = {**environment(), "threads": suite.profile.limits.threads, "numerics": numerics.facts(computed)}
    identity = environment_id(facts)
    plan = make_plan(cases, store, environment=identity, offline=arguments.offline)
    if arguments.dry_run or arguments.explain:
        _print_plan(plan, store, explained=arguments.explain)
    if arguments.dry_run:
        return OK
    work = bool(plan.open_stages) or arguments.repeat > 1 or bool(arguments.vary)
    if work:
        if unwritable is not None:
            raise unwritable
        store.save_environment(facts)
    with Diary(store.folder, _note(suite, arguments), len(plan.open_stages)) if work else nullcontext() as diary:
        records, interrupted = _execute(suite, plan, store, arguments, diary=diary)
        told = [] if interrupted else _repeat(cases, plan, store, identity, arguments)
        _print_results(suite.limited(arguments.only), store, as_json=arguments.json)
        for name, line in told:
            print(f"{name}: {line}", file=sys.stderr if arguments.json else sys.stdout)
        status = _summary(plan, records, interrupted)
        if diary is not None:
            diary.close(status)
    return status


def _elsewhere(arguments: Namespace) -> Elsewhere | None:
    """Where the options send the jobs; None for this machine."""
    from retable.bench.run.elsewhere import Elsewhere

    given = {"address": arguments.address, "partition": arguments.partition, "spool": arguments.spool}
    if arguments.executor == "local":
        if "node" in arguments.vary:
            raise BenchError("--vary node needs other machines: --executor ray or --executor slurm")
        if name := next((name for name, value in {**given, "max-jobs": arguments.max_jobs}.items() if value), ""):
            raise BenchError(f"--{name} needs --executor ray or --executor slurm")
        return None
    if arguments.jobs is not None:
        raise BenchError(f"--jobs is for this machine; with --executor {arguments.executor} say --max-jobs")
    spool = os.path.abspath(arguments.spool) if arguments.spool else ""
    return Elsewhere(kind=arguments.executor, **{**given, "spool": spool}, most=arguments.max_jobs or 0)


def _note(suite: Suite, arguments: Namespace) -> Note:
    import socket
    import time

    from retable.bench.run.runs import Note

    elsewhere = _elsewhere(arguments)
    return Note(
        suite=suite.name,
        arguments=tuple(one for one in arguments.argv if one != "--detach"),
        folder=os.getcwd(),
        store=os.path.abspath(arguments.store),
        host=socket.gethostname(),
        process=os.getpid(),
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        elsewhere=None if elsewhere is None else elsewhere.plain(),
    )


def _detach(suite: Suite, arguments: Namespace) -> int:
    from pathlib import Path

    from retable.bench.run.runs import detach

    store = Path(arguments.store)
    name = detach(store, _note(suite, arguments))
    where = f" --store {store}" if any(one.startswith("--store") for one in arguments.argv) else ""
    print(
        f"{name} goes on without this terminal\n  its output: {store / 'runs' / name / 'output'}\n"
        f"  `bench status{where}` says how far it is, `bench stop{where}` ends it, `bench logs CASE{where}` has what a case printed"
    )
    return OK


def _opened(folder: str, *, create: bool) -> tuple[Store, StoreError | None]:
    """The store, and why it cannot be written; what is stored already can be shown from it all the same."""
    from retable.bench.store.store import Store

    try:
        return Store(folder, create=create), None
    except StoreError as error:
        if not create:
            raise
        try:
            store = Store(folder, create=False)
        except StoreError:
            raise error from None
        if not store.path.exists():
            raise
        return store, error


def _settle_numerics(profile: Profile, *, here: bool) -> Numerics:
    """How the profile's numbers are computed on this machine; `here`, in this process, it must be settled at once."""
    from retable.bench.probes.hardware import not_portable
    from retable.bench.run import numerics
    from retable.bench.store.keys import numerics as on_this_machine

    computed = on_this_machine(profile)
    if computed != profile.numerics:
        print(f"bench: native instead of portable numerics: {not_portable()}", file=sys.stderr)
    if here:
        numerics.settle(computed)
    return computed


def _repeat(
    cases: list[Case], plan: Plan, store: Store, environment: str, arguments: Namespace
) -> list[tuple[str, str]]:
    """What `--repeat` and `--vary` showed, a line a case; records of the store stay as they are."""
    if arguments.repeat == 1 and not arguments.vary:
        return []
    from retable.bench.judge.certificate import describe
    from retable.bench.run.plan import make_plan
    from retable.bench.run.repeat import (
        certify_cases,
        repeats,
        varied_batch,
        varied_nodes,
        varied_numerics,
        varied_threads,
    )

    def run_again(varied: Sequence[Case], scratch: Store, avoid: Nodes) -> tuple[Mapping[str, Record], bool]:
        again = make_plan(list(varied), scratch, environment=environment, offline=arguments.offline)
        records, interrupted = _execute(cases[0].suite, again, scratch, arguments, lasting=False, avoid=avoid)
        return {name: records[key] for name, key in again.cases.items() if key in records}, interrupted

    variations = repeats(cases, arguments.repeat)
    variations += varied_threads(cases) if "threads" in arguments.vary else []
    variations += varied_batch(cases) if "batch" in arguments.vary else []
    variations += varied_numerics(cases) if "numerics" in arguments.vary else []
    variations += varied_nodes(cases, plan.cases, store) if "node" in arguments.vary else []
    found = certify_cases(variations, plan.cases, store, run_again)
    return [(name, one if isinstance(one, str) else describe(one)) for name, one in found]


def _execute(
    suite: Suite,
    plan: Plan,
    store: Store,
    arguments: Namespace,
    *,
    diary: Callable[[Event], object] | None = None,
    lasting: bool = True,
    avoid: Nodes | None = None,
) -> tuple[Mapping[str, Record], bool]:
    from retable.bench.cli.progress import Progress, Watch
    from retable.bench.run.executor import execute
    from retable.bench.run.expect import Expectations
    from retable.bench.run.plan import make_jobs
    from retable.bench.run.pulse import FOLDER

    workers = os.cpu_count() or 1 if arguments.jobs is None else arguments.jobs
    jobs = make_jobs(plan, avoid=avoid or {})
    run, plugins = "retable.bench.run.stage:run_stage", arguments.plugin
    cluster = _elsewhere(arguments) if jobs else None
    elsewhere = None if cluster is None else cluster.executor(store.folder, run, plugins=plugins, lasting=lasting)
    watch = Watch(
        templates={job.key: job.template for job in jobs},
        expectations=Expectations(suite, store),
        pulses=store.folder / FOLDER,
        workers=workers,
    )
    with Progress(total=len(jobs), quiet=arguments.quiet, watch=watch) as progress:

        def tell(event: Event) -> None:
            progress(event)
            if diary is not None:
                diary(event)

        return execute(jobs, run, store=store, workers=workers, on_event=tell, plugins=plugins, elsewhere=elsewhere)


def _print_plan(plan: Plan, store: Store, *, explained: bool) -> None:
    from retable.bench.cli.amounts import amounts, summed
    from retable.bench.run.plan import explain

    opened = {stage.template.key: stage for stage in plan.open_stages}
    expected = _forecasts(list(opened.values()), store)
    for key, stage in plan.stages.items():
        line = f"{stage.name}  {key[:12]}"
        line += f"  {explain(stage, store)}" if explained else ""
        if key in opened:
            print(f"{line}  {amounts(expected[key])}")
        elif explained:
            print(line)
    print(f"{len(plan.cases)} cases, {len(plan.cases) - len(plan.open_cases)} cached; {len(opened)} stages would run")
    if opened:
        print(summed(list(expected.values())))


def _forecasts(stages: list[StageSpec], store: Store) -> dict[str, Forecast]:
    from retable.bench.run.forecast import forecasts

    if not stages:
        return {}
    template = stages[0].template
    return forecasts(stages, store.records(template.suite, template.profile))


def _print_results(suite: Suite, store: Store, *, as_json: bool) -> None:
    from retable.bench.judge.claims import judge
    from retable.bench.judge.results import collect
    from retable.bench.report import terminal
    from retable.bench.report.as_json import judgements_to_json, tables_to_json
    from retable.bench.report.table import build_tables

    results = collect(suite, store)
    tables, judgements = build_tables(suite, results, store.environment, store.others), judge(suite, results)
    if as_json:
        print(json.dumps({"tables": tables_to_json(tables), "verdicts": judgements_to_json(judgements)}, indent=2))
    else:
        verdicts = terminal.render_judgements(judgements) if judgements else ""
        print("\n".join(filter(None, (terminal.render(tables), verdicts))))


def _summary(plan: Plan, records: Mapping[str, Record], interrupted: bool) -> int:
    executed = [name for name in plan.open_cases if plan.cases[name] in records]
    failures = Counter(str(record.status) for record in records.values() if not record.ok)
    cached = len(plan.cases) - len(plan.open_cases)
    text = f"{len(executed)} cases executed, {cached} cached"
    if failures:
        text += "; stages without a result: " + ", ".join(
            f"{count} {status}" for status, count in sorted(failures.items())
        )
    print(text, file=sys.stderr)
    for message in sorted({_failure_line(record) for record in records.values() if not record.ok}):
        print(message, file=sys.stderr)
    for path, rows in sorted(_unkeyed(records.values()).items()):
        print(
            f"  {path} was read by {', '.join(sorted(rows))} and belongs to no key: its changes go unseen",
            file=sys.stderr,
        )
    for names, rows in sorted(_changed(records.values()).items()):
        print(f"  {', '.join(sorted(rows))} changed for others, and it was put back: {clean(names)}", file=sys.stderr)
    if interrupted:
        return INTERRUPTED
    return UNMEASURED if failures else OK


def _unkeyed(records: Iterable[Record]) -> dict[str, set[str]]:
    """Rows by the files that they read and that no key covers."""
    found: dict[str, set[str]] = {}
    for record in records:
        for path in record.unkeyed:
            found.setdefault(path, set()).add(record.entry)
    return found


def _changed(records: Iterable[Record]) -> dict[str, set[str]]:
    """Rows by what they changed of the process that runs the next one too."""
    found: dict[str, set[str]] = {}
    for record in records:
        if record.changed:
            found.setdefault(", ".join(record.changed), set()).add(record.entry)
    return found


def _failure_line(record: Record) -> str:
    """The row, how it ended, and all that the exception said; its type where it is none of ours."""
    failure = record.failure
    told = "" if failure is None else failure.message
    if failure is not None and failure.traceback and failure.type not in ("WorkerDied", "Timeout", "MemoryLimit"):
        told = f"{failure.type}: {told}"
    return f"  {record.suite}/{record.entry}: {record.status}: {clean(told).strip() or 'no message'}"
