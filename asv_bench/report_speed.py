"""How long tables, `bench show` and the site take out of a large generated store, against the promised limits.

`python asv_bench/report_speed.py` makes a store of 100,000 records and ten suites in a temporary folder (about a minute),
measures, prints a line a figure, and ends with 1 where a limit is broken. Nothing of it touches the real store.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from retable.bench.declare.reader import load_suite
from retable.bench.record import Artefact, Measurement, Record, Status, digest
from retable.bench.store.keys import case_ingredients
from retable.bench.store.store import INSERT, Store
from retable.bench.suite import Case, Suite

ROOT = Path(__file__).parents[1]
TEMPLATES = ("table2_aim", "table_survey")
PIXELS = 30_000
LIMITS = {
    "table, s": 1.0,
    "table, MB": 300.0,
    "show, s above start": 0.2,
    "site, s": 10.0,
    "site, MB": 15.0,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, metavar="N")
    parser.add_argument("--suites", type=int, default=10, metavar="N")
    parser.add_argument("--folder", type=Path, help="keep the generated store and site there, and use it again")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        if not (folder / "store").is_dir():
            # In a process of its own: a child's peak memory, as the system counts it, starts from its parent's.
            making = get_context("spawn").Process(target=generate, args=(folder, arguments.records, arguments.suites))
            making.start()
            making.join()
        figures = measure(folder)
    broken = False
    for name, value in figures.items():
        limit = LIMITS.get(name)
        verdict = "" if limit is None else f"limit {limit:g}: {'kept' if value <= limit else 'BROKEN'}"
        broken |= limit is not None and value > limit
        print(f"{name:24} {value:8.2f}   {verdict}".rstrip())
    return int(broken)


def generate(folder: Path, records: int, suites: int) -> None:
    """Copies of shipped suites with a record for every case, amid older records of the same suites up to `records`."""
    chance = random.Random(1)
    store = Store(folder / "store")
    environment = store.save_environment({"hardware": {"cpu": "generated", "cores": 2}, "threads": 1})
    rows: list[tuple[str, ...]] = []
    templates: list[Record] = []
    for suite in _copies(folder / "suites", suites):
        for case in suite.cases():
            rows += _rows(record := _record(case, store, environment, chance))
            templates.append(record)
    while len(rows) < records:
        old = chance.choice(templates)
        rows += _rows(replace(old, key=sha256(str(len(rows)).encode()).hexdigest(), artefacts={}))
    chance.shuffle(rows)
    store.close()
    with sqlite3.connect(folder / "store" / "records.sqlite") as connection:
        connection.executemany(INSERT, rows)


def _copies(folder: Path, count: int) -> Iterator[Suite]:
    folder.mkdir(parents=True)
    for index in range(count):
        template, name = TEMPLATES[index % len(TEMPLATES)], f"table{index}_copy"
        text = (ROOT / "suites" / f"{template}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(re.sub(r"^suite: .*", f"suite: {name}", text, flags=re.MULTILINE))
        yield load_suite(folder / f"{name}.yaml")


def _record(case: Case, store: Store, environment: str, chance: random.Random) -> Record:
    ingredients = case_ingredients(case)
    details = {f"layer {i}": chance.random() for i in range(20)}
    metrics = {
        name: Measurement(value=chance.lognormvariate(0, 1), direction="lower", n=500, details=details, samples=None)
        for name in case.entry.metrics
    }
    artefacts: dict[str, Artefact] = {}
    if case.repetition == 0:
        picture = b"\x89PNG\r\n\x1a\n" + chance.randbytes(PIXELS)
        artefacts["samples.png"] = store.put_artefact("samples.png", picture)
    return Record(
        key=digest(ingredients),
        stage="evaluate",
        suite=case.suite.name,
        entry=case.entry.name,
        profile="mini",
        repetition=case.repetition,
        seed=case.seed,
        status=Status.OK,
        ingredients=ingredients,
        metrics=metrics,
        timings={"wall": chance.random(), "cpu": chance.random()},
        memory={"peak_resident": 2**30},
        artefacts=artefacts,
        environment=environment,
        created="2026-01-01T00:00:00Z",
    )


def _rows(record: Record) -> list[tuple[str, ...]]:
    body = record.to_json()
    checksum = sha256(body.encode()).hexdigest()
    return [(record.key, record.suite, record.profile, str(record.status), checksum, body)]


def measure(folder: Path) -> dict[str, float]:
    """Each figure is the best of several processes: what the machine does besides only adds."""
    store = Store(folder / "store", create=False)
    suites = sorted((folder / "suites").glob("*.yaml"))
    with sqlite3.connect(store.path) as connection:
        (key,) = connection.execute("SELECT key FROM records LIMIT 1").fetchone()
    common = ["--store", str(folder / "store")]
    start, _ = _best(["-c", "pass"], folder, 9)
    table, memory = _best(["-m", "bench", "table", str(suites[1]), *common], folder, 5)
    show, _ = _best(["-m", "bench", "show", key, *common], folder, 9)
    site, site_memory = _best(["-m", "bench", "report", *map(str, suites), *common, "--out", "site"], folder, 2)
    size = sum(path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file())
    return {
        "records": store.statistics()["records"],
        "store, MB": store.path.stat().st_size / 1e6,
        "interpreter, s": start,
        "table, s": table,
        "table, MB": memory,
        "show, s above start": show - start,
        "site, s": site,
        "site, peak MB": site_memory,
        "site, MB": size / 1e6,
    }


def _best(command: list[str], folder: Path, times: int) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seconds, megabytes = [], []
    for _ in range(times):
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - begin)
        megabytes.append(_peak(usage))
        if status:
            raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return min(seconds), min(megabytes)


def _peak(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main())
