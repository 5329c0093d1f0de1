"""A store of 100,000 records is still read at once."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from retable.bench.store.store import Store
from tests.bench.conftest import Bench
from tests.bench.conftest import bench as bench

RECORDS = 100_000


@pytest.mark.torture
def test_a_table_among_many_records(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    """Those of the suite are few among those of others, as on a machine that many have used."""
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    store = Store(bench.folder / "results" / "work")
    (like, *_) = store.records("tiny")
    rows = []
    for number in range(RECORDS):
        record = replace(like, suite=f"other-{number % 50}", key=sha256(str(number).encode()).hexdigest())
        body = record.to_json()
        checksum = sha256(body.encode()).hexdigest()
        rows.append((record.key, record.suite, record.profile, str(record.status), checksum, body))
    store.close()
    with sqlite3.connect(bench.folder / "results" / "work" / "records.sqlite") as database:
        database.executemany(
            "INSERT INTO records (key, suite, profile, status, checksum, body) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
    took = []
    for _ in range(3):
        started = time.process_time()
        done = bench("table", "tiny", "--format", "json")
        took.append(time.process_time() - started)
    assert json.loads(done.stdout)
    record_property("figure", f"{RECORDS:,} records, table in {min(took):.2f} s of CPU")
    assert min(took) <= 1.0
