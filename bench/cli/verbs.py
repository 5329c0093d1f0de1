"""What each verb of the command does, from parsed arguments to an exit status."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.suites import fault, find_suite, load, load_suite, summary
from retable.bench.cli.version_verbs import diff, freeze, gate, verify
from retable.bench.errors import INTERRUPTED, OK, UNMEASURED, BenchError, DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from retable.bench.record import Record
    from retable.bench.report.table import Table
    from retable.bench.run.plan import Plan
    from retable.bench.store.store import Store
    from retable.bench.suite import Case, Suite


def run(arguments: Namespace) -> int:
    """Run what the store does not hold, then print the suite's tables and verdicts."""
    from retable.bench.probes import environment
    from retable.bench.run.plan import make_plan
    from retable.bench.store.store import Store

    suite = load(arguments)
    cases = suite.cases(arguments.only, arguments.seeds)
    if not cases:
        raise BenchError(
            f"no entry of {suite.name} that is measured at profile {suite.profile.name} matches {arguments.only!r}"
        )
    store = Store(arguments.store, create=not arguments.dry_run)
    facts = {**environment(), "threads": suite.profile.limits.threads}
    identity = "" if arguments.dry_run else store.save_environment(facts)
    plan = make_plan(cases, store, environment=identity, offline=arguments.offline)
    if arguments.dry_run or arguments.explain:
        _print_plan(plan, store, explained=arguments.explain)
    if arguments.dry_run:
        return OK
    records, interrupted = _execute(plan, store, arguments)
    told = [] if interrupted else _repeat(cases, plan, store, identity, arguments)
    _print_results(suite, store, as_json=arguments.json)
    for name, line in told:
        print(f"{name}: {line}", file=sys.stderr if arguments.json else sys.stdout)
    return _summary(plan, records, interrupted)


def _repeat(
    cases: list[Case], plan: Plan, store: Store, environment: str, arguments: Namespace
) -> list[tuple[str, str]]:
    """What `--repeat` and `--vary` showed, a line a case; records of the store stay as they are."""
    if arguments.repeat == 1 and not arguments.vary:
        return []
    from retable.bench.judge.certificate import describe
    from retable.bench.run.plan import make_plan
    from retable.bench.run.repeat import certify_cases, repeats, varied_batch, varied_threads

    def run_again(varied: Sequence[Case], scratch: Store) -> tuple[dict[str, Record], bool]:
        again = make_plan(list(varied), scratch, environment=environment, offline=arguments.offline)
        records, interrupted = _execute(again, scratch, arguments)
        return {name: records[key] for name, key in again.cases.items() if key in records}, interrupted

    variations = repeats(cases, arguments.repeat)
    variations += varied_threads(cases) if "threads" in arguments.vary else []
    variations += varied_batch(cases) if "batch" in arguments.vary else []
    found = certify_cases(variations, plan.cases, store, run_again)
    return [(name, one if isinstance(one, str) else describe(one)) for name, one in found]


def _execute(plan: Plan, store: Store, arguments: Namespace) -> tuple[dict[str, Record], bool]:
    from retable.bench.cli.progress import Progress
    from retable.bench.run.executor import execute
    from retable.bench.run.job import Job

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
        )
        for stage in stages
    ]
    with Progress(total=len(jobs), quiet=arguments.quiet) as progress:
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
        print(terminal.render(tables))
        print(terminal.render_judgements(judgements))


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


def list_suites(arguments: Namespace) -> int:
    """One line a suite: its name, title and what it measures."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise BenchError(f"{folder} is not a folder of suites")
    rows = [summary(path) for path in sorted(folder.glob("*.yaml"))]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return OK
    for row in rows:
        print(f"{row['suite']}  {row['title']} (arXiv {row['arxiv']})")
        print(
            f"    {row['reported_rows']} rows reported, {row['measured_rows']} measured at mini ({row['cases']} cases), "
            f"{row['claims']} claims; profiles {', '.join(row['profiles'])}"
        )
    return OK


def check(arguments: Namespace) -> int:
    """Check suite files at every profile; the first sentence of each broken one goes to stderr."""
    paths = [find_suite(name) for name in arguments.suites] or sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise BenchError("no suite files in suites/")
    errors = [sentence for sentence in map(fault, paths) if sentence]
    if arguments.json:
        print(json.dumps({"checked": [str(path) for path in paths], "errors": errors}, indent=2))
    for sentence in errors:
        print(f"bench: {sentence}", file=sys.stderr)
    if not errors and not arguments.json:
        print(f"{len(paths)} suite{'s' if len(paths) > 1 else ''} as they should be")
    return DeclarationError.exit_status if errors else OK


def show(arguments: Namespace) -> int:
    """Where a number came from: values by seed, ingredients, timings, environment."""
    from retable.bench.report.provenance import find_records, render
    from retable.bench.store.store import Store

    store = Store(arguments.store, create=False)
    records = find_records(store, arguments.case)
    if arguments.json:
        print(json.dumps([json.loads(record.to_json()) for record in records], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join([render(records, store), *_reliability(records, store)]))
    return OK


def _reliability(records: list[Record], store: Store) -> list[str]:
    """How far the numbers of `records` are known: the three spreads, and the certificates, where there is any."""
    from retable.bench.judge.certificate import certificates_of, describe, read
    from retable.bench.judge.spread import describe as describe_spread
    from retable.bench.judge.spread import of_records

    evaluations = [record for record in records if record.stage == "evaluate" and record.ok]
    raw = certificates_of(store, [record.key for record in evaluations])
    rows: dict[str, list[Record]] = {}
    for record in evaluations:
        rows.setdefault(f"{record.entry} at profile {record.profile}", []).append(record)
    parts = []
    for row, repetitions in rows.items():
        if lines := [f"  {describe_spread(name, one)}" for name, one in of_records(repetitions, raw).items()]:
            parts.append(
                "\n".join([f"spread of {row} (standard deviation; standard error; largest difference)", *lines])
            )
    names = {record.key: f"{record.entry}/{record.profile}/{record.repetition}" for record in evaluations}
    if lines := sorted(f"  {names[one['key']]}: {describe(read(one))}" for one in raw):
        parts.append("\n".join(["determinism", *lines]))
    return parts


def table(arguments: Namespace) -> int:
    """The suite's tables from stored records; runs nothing."""
    from retable.bench.judge.results import collect
    from retable.bench.report.table import build_tables
    from retable.bench.store.store import Store

    suite = load(arguments)
    store = Store(arguments.store, create=False)
    tables = build_tables(suite, collect(suite, store), store.environment)
    content = _rendered(tables, "json" if arguments.json else arguments.format, arguments)
    if isinstance(content, bytes):
        if not arguments.output:
            raise BenchError("a Parquet file is not text: name it with --output")
        Path(arguments.output).write_bytes(content)
    elif arguments.output:
        Path(arguments.output).write_text(content.rstrip("\n") + "\n", encoding="utf-8")
    else:
        print(content.rstrip("\n"))
    return OK


def _rendered(tables: list[Table], form: str, arguments: Namespace) -> str | bytes:
    from retable.bench.report import STYLES, as_csv, as_parquet, latex, markdown, styles, terminal
    from retable.bench.report.as_json import tables_to_json

    if form == "json":
        return json.dumps(tables_to_json(tables), indent=2, ensure_ascii=False)
    if form == "parquet":
        return as_parquet.render(tables)
    if form == "latex" and arguments.document:
        return latex.document(tables)
    if form == "terminal" and arguments.output:
        return terminal.render(tables, columns=0, colour=False)
    if form in STYLES:
        return styles.render(tables, form)
    return {"terminal": terminal, "markdown": markdown, "csv": as_csv, "latex": latex}[form].render(tables)


def report(arguments: Namespace) -> int:
    """A site of the suites, with their tables for papers and spreadsheets; runs nothing."""
    from retable.bench.report.chapter import gather
    from retable.bench.report.site.write import write_site
    from retable.bench.store.store import Store

    paths = [find_suite(name) for name in arguments.suites] or sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise BenchError("no suite files in suites/")
    store = Store(arguments.store, create=False)
    chapters = [gather(load_suite(path, arguments.profile), store) for path in dict.fromkeys(paths)]
    index = write_site(chapters, store, Path(arguments.out))
    if arguments.json:
        pages = {chapter.suite.name: str(index.parent / chapter.suite.name / "index.html") for chapter in chapters}
        print(json.dumps({"index": str(index), "suites": pages}, indent=2))
    else:
        print(index)
    return OK


def doctor(arguments: Namespace) -> int:
    """What this machine has, which data are at hand, whether the store is sound."""
    from retable.bench.cli.doctor import examine, render

    report = examine(arguments.store)
    print(json.dumps(report, indent=2) if arguments.json else render(report))
    return UNMEASURED if report["store"]["damaged_records"] else OK


VERBS = {
    "run": run,
    "list": list_suites,
    "check": check,
    "show": show,
    "table": table,
    "gate": gate,
    "freeze": freeze,
    "verify": verify,
    "diff": diff,
    "report": report,
    "doctor": doctor,
}
