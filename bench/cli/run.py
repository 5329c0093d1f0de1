"""`bench run`: run what the store does not hold, then print tables and verdicts."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from typing import TYPE_CHECKING

from retable.bench.cli.suites import load
from retable.bench.errors import INTERRUPTED, OK, UNMEASURED, BenchError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from retable.bench.record import Record
    from retable.bench.run.plan import Plan
    from retable.bench.store.store import Store
    from retable.bench.suite import Case, Numerics, Profile, Suite


def main(arguments: Namespace) -> int:
    """Run what the store does not hold, then print the suite's tables and verdicts."""
    from retable.bench.probes import environment
    from retable.bench.run import numerics
    from retable.bench.run.plan import make_plan
    from retable.bench.store.store import Store

    suite = load(arguments)
    cases = suite.cases(arguments.only, arguments.seeds)
    if not cases:
        measured = [entry.name for entry in suite.entries if entry.method is not None]
        raise BenchError(
            f"no entry of {suite.name} that is measured at profile {suite.profile.name} matches "
            f"{arguments.only!r}{nearest(arguments.only, measured)}"
        )
    computed = _settle_numerics(suite.profile, here=arguments.jobs == 0 and not arguments.dry_run)
    store = Store(arguments.store, create=not arguments.dry_run)
    facts = {**environment(), "threads": suite.profile.limits.threads, "numerics": numerics.facts(computed)}
    identity = "" if arguments.dry_run else store.save_environment(facts)
    plan = make_plan(cases, store, environment=identity, offline=arguments.offline)
    if arguments.dry_run or arguments.explain:
        _print_plan(plan, store, explained=arguments.explain)
    if arguments.dry_run:
        return OK
    records, interrupted = _execute(suite, plan, store, arguments)
    told = [] if interrupted else _repeat(cases, plan, store, identity, arguments)
    _print_results(suite.limited(arguments.only), store, as_json=arguments.json)
    for name, line in told:
        print(f"{name}: {line}", file=sys.stderr if arguments.json else sys.stdout)
    return _summary(plan, records, interrupted)


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
    from retable.bench.run.repeat import certify_cases, repeats, varied_batch, varied_numerics, varied_threads

    def run_again(varied: Sequence[Case], scratch: Store) -> tuple[dict[str, Record], bool]:
        again = make_plan(list(varied), scratch, environment=environment, offline=arguments.offline)
        records, interrupted = _execute(cases[0].suite, again, scratch, arguments)
        return {name: records[key] for name, key in again.cases.items() if key in records}, interrupted

    variations = repeats(cases, arguments.repeat)
    variations += varied_threads(cases) if "threads" in arguments.vary else []
    variations += varied_batch(cases) if "batch" in arguments.vary else []
    variations += varied_numerics(cases) if "numerics" in arguments.vary else []
    found = certify_cases(variations, plan.cases, store, run_again)
    return [(name, one if isinstance(one, str) else describe(one)) for name, one in found]


def _execute(suite: Suite, plan: Plan, store: Store, arguments: Namespace) -> tuple[dict[str, Record], bool]:
    from retable.bench.cli.progress import Progress, Watch
    from retable.bench.run.executor import execute
    from retable.bench.run.expect import Expectations
    from retable.bench.run.job import Job
    from retable.bench.run.pulse import FOLDER

    workers = os.cpu_count() or 1 if arguments.jobs is None else arguments.jobs
    stages = plan.open_stages
    keys = {stage.template.key for stage in stages}
    jobs = [
        Job(
            key=stage.template.key,
            name=stage.name,
            needs=tuple(need for need in stage.template.needs if need in keys),
            limits=stage.limits,
            template=stage.template,
            payload=stage,
            numerics=stage.numerics,
        )
        for stage in stages
    ]
    watch = Watch(
        templates={job.key: job.template for job in jobs},
        expectations=Expectations(suite, store),
        pulses=store.folder / FOLDER,
        workers=workers,
    )
    with Progress(total=len(jobs), quiet=arguments.quiet, watch=watch) as progress:
        run, plugins = "retable.bench.run.stage:run_stage", arguments.plugin
        return execute(jobs, run, store=store, workers=workers, on_event=progress, plugins=plugins)


def _print_plan(plan: Plan, store: Store, *, explained: bool) -> None:
    from retable.bench.run.plan import explain

    opened = {stage.template.key for stage in plan.open_stages}
    for key, stage in plan.stages.items():
        if explained:
            print(f"{stage.name}  {key[:12]}  {explain(stage, store)}")
        elif key in opened:
            print(f"{stage.name}  {key[:12]}")
    print(f"{len(plan.cases)} cases, {len(plan.cases) - len(plan.open_cases)} cached; {len(opened)} stages would run")


def _print_results(suite: Suite, store: Store, *, as_json: bool) -> None:
    from retable.bench.judge.claims import judge
    from retable.bench.judge.results import collect
    from retable.bench.report import terminal
    from retable.bench.report.as_json import judgements_to_json, tables_to_json
    from retable.bench.report.table import build_tables

    results = collect(suite, store)
    tables, judgements = build_tables(suite, results, store.environment), judge(suite, results)
    if as_json:
        print(json.dumps({"tables": tables_to_json(tables), "verdicts": judgements_to_json(judgements)}, indent=2))
    else:
        verdicts = terminal.render_judgements(judgements) if judgements else ""
        print("\n".join(filter(None, (terminal.render(tables), verdicts))))


def _summary(plan: Plan, records: dict[str, Record], interrupted: bool) -> int:
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


def _failure_line(record: Record) -> str:
    message = record.failure.message.splitlines()[0] if record.failure and record.failure.message else "no message"
    return f"  {record.suite}/{record.entry}: {record.status}: {message}"
