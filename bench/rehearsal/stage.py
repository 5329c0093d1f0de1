"""A suite's rehearsal in a folder of its own: stand-ins, a store, and what became of every stage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError, UnknownNameError
from retable.bench.record import Record

if TYPE_CHECKING:
    from retable.bench.run.job import Event
    from retable.bench.store.store import Store
    from retable.bench.suite import Case, Suite

REHEARSAL = "rehearsal"
RUN = "retable.bench.run.stage:run_stage"
WORKER = "retable.bench.rehearsal.worker"


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What became of a suite: the record of every stage by its name, and why rows or metrics were left out."""

    suite: str
    records: Mapping[str, Record]
    skipped: Mapping[str, str]
    """By row or metric."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """What a check of the rehearsal says of a stage that ended well."""
    interrupted: bool = False

    @property
    def cpu(self) -> float:
        """Seconds of processor time that the stages took."""
        return sum(record.timings.get("cpu", 0.0) for record in self.records.values())

    @property
    def faults(self) -> dict[str, str]:
        """One sentence for each stage that failed by itself, whose numbers did not all come out, or that a check faults."""
        found: dict[str, str] = {}
        for name, record in self.records.items():
            if record.failure is not None and record.failure.type == "Blocked":
                continue
            if not record.ok:
                found[name] = f"{record.status}: {_first_line(record)}"
                continue
            said = _absences(record)
            said += [self.remarks[name]] if name in self.remarks else []
            if said:
                found[name] = "; ".join(said)
        return found


def rehearsal_of(path: Path, device: str = "cpu") -> Suite:
    """The rehearsal profile of a suite file, on `device`. Raises BenchError for a suite that declares none."""
    from retable.bench.declare.reader import load_suite

    try:
        suite = load_suite(path, REHEARSAL)
    except UnknownNameError as error:
        raise BenchError(f"{path} has nothing to rehearse: add {REHEARSAL} with `of: paper` to its profiles") from error
    return replace(suite, profile=replace(suite.profile, device=device))


def rehearse(
    suite: Suite,
    *,
    only: str = "*",
    workers: int = 1,
    plugins: Sequence[str] = (),
    on_start: Callable[[int], Callable[[Event], object]] = lambda total: lambda event: None,
) -> Rehearsed:
    """Every stage of the rows that match `only`, in `workers` processes; nothing is left behind.

    `on_start` is told how many stages there are and gives what is told of each.
    """
    from retable.bench.plugins import load_plugin
    from retable.bench.rehearsal.stand_ins import furnish
    from retable.bench.run.executor import execute
    from retable.bench.run.plan import make_jobs, make_plan
    from retable.bench.store.store import Store

    wanted, skipped = _rows(suite, only)
    if not wanted:
        return Rehearsed(suite=suite.name, records={}, skipped=skipped)
    with tempfile.TemporaryDirectory(prefix="retable-rehearsal-") as folder, data_in(Path(folder) / "data") as data:
        loaded = furnish(wanted, data)
        if not workers:
            load_plugin(WORKER)
        store = Store(Path(folder) / "store", create=True)
        jobs = make_jobs(make_plan(wanted, store, offline=True))
        names = {job.key: job.name for job in jobs}
        records, interrupted = execute(
            jobs, RUN, store=store, workers=workers, on_event=on_start(len(jobs)), plugins=[*plugins, WORKER]
        )
        ended = {names[key]: record for key, record in records.items()}
        remarks = _remarks(wanted, ended, loaded, store)
    return Rehearsed(suite=suite.name, records=ended, skipped=skipped, remarks=remarks, interrupted=interrupted)


def _remarks(
    cases: Sequence[Case], records: Mapping[str, Record], loaded: Mapping[str, Any], store: Store
) -> dict[str, str]:
    """What the checks of the rows' data sets say of the evaluations that ended well, by stage."""
    from retable.bench.rehearsal.stand_ins import identity, of_files

    datasets = {case.entry.name: case.entry.dataset for case in cases}
    found = {}
    for name, record in records.items():
        dataset = datasets[record.entry]
        check = of_files("CHECKS").get(dataset.use) if dataset and record.ok and record.stage == "evaluate" else None
        if check is None or dataset is None:
            continue
        files = {one: store.read_artefact(artefact) for one, artefact in record.artefacts.items()}
        if files and (said := check(loaded[identity(dataset)], files)):
            found[name] = said
    return found


def _rows(suite: Suite, only: str) -> tuple[list[Case], dict[str, str]]:
    """The cases to rehearse, and the reasons of what cannot be: rows that `only` names, and metrics."""
    reasons = suite.profile.skip
    wanted: list[Case] = []
    skipped = dict(suite.profile.without)
    for case in suite.cases(only):
        name = case.entry.name
        if glob := next((glob for glob in reasons if fnmatchcase(name, glob)), None):
            skipped[name] = reasons[glob]
        else:
            wanted.append(case)
    return wanted, skipped


@contextmanager
def data_in(folder: Path) -> Iterator[Path]:
    """$BENCH_DATA is `folder`, for this process and those it starts; packages that data ship in stay where they are."""
    before = os.environ.get("BENCH_DATA")
    real = Path(before or "data").resolve()
    folder.mkdir(parents=True)
    for shared in ("packages",):
        if (real / shared).is_dir():
            (folder / shared).symlink_to(real / shared, target_is_directory=True)
    os.environ["BENCH_DATA"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["BENCH_DATA"]
        else:
            os.environ["BENCH_DATA"] = before


def _absences(record: Record) -> list[str]:
    """One sentence for each reason why metrics of a stage that ended well have no number."""
    metrics: dict[str, list[str]] = {}
    for name, measured in record.metrics.items():
        if measured.value is None:
            metrics.setdefault(measured.reason or "", []).append(name)
    return [f"no number for {', '.join(names)}: {reason}" for reason, names in metrics.items()]


def _first_line(record: Record) -> str:
    message = record.failure.message.strip() if record.failure else ""
    return message.splitlines()[0] if message else "no message"
