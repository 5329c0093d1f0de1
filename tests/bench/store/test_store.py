"""The store: what is appended is there, whole or not at all, whatever happens to processes, disks and files."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retable.bench.errors import StoreError
from retable.bench.record import Artefact, Failure, Measurement, Record, Status, digest
from retable.bench.store.store import Store
from tests.bench.fake_runs import DRIVER, template

STORES = Path(__file__).with_name("stores")
HOSTILE = [
    "",
    "\0",
    "\n\t\"'\\",
    "</script><img onerror=alert(1)>",
    "$&%#_{}~^\\",
    "é漢字🙂\u202e",
    "a" * 3000,
    "'; DROP TABLE records; --",
]


def measured(name: str = "case", value: float = 0.5, **changes: Any) -> Record:
    metrics = {"fd": Measurement(value=value, unit="x", samples=(1.0, 2.5), details={"network": "n"})}
    return template(name, **{"status": Status.OK, "metrics": metrics, **changes})


def failed(name: str = "case", **changes: Any) -> Record:
    failure = Failure(type="ValueError", message="no", traceback="somewhere")
    return template(name, **{"status": Status.FAILED, "failure": failure, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def one_sentence(error: pytest.ExceptionInfo[StoreError], path: Path) -> str:
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Looking up


def test_the_latest_ok_record_is_the_result_and_the_latest_attempt_is_the_last(store: Store) -> None:
    first, second = measured(value=1.0), measured(value=2.0)
    for record in (failed(), first, second, failed()):
        store.append(record)
    assert store.get(first.key) == second
    assert store.last(first.key) == failed()
    assert store.records("fake") == [failed(), first, second, failed()]


def test_failures_are_never_taken_for_results(store: Store) -> None:
    for status in Status:
        if status is not Status.OK:
            store.append(failed(status, status=status))
    assert store.ok_keys([digest(status) for status in Status]) == set()
    assert all(store.get(digest(status)) is None for status in Status)


def test_ok_keys_answers_for_more_keys_than_one_query_takes(store: Store) -> None:
    names = [f"case-{number}" for number in range(1200)]
    stored = {store.append(measured(name)) or digest(name) for name in names[::100]}
    assert store.ok_keys(digest(name) for name in [*names, *names]) == stored
    assert store.ok_keys([]) == set()


def test_records_by_suite_and_profile_and_by_start_of_key(store: Store) -> None:
    mini, paper = measured("a"), measured("b", profile="paper")
    other = measured("c", suite="other")
    for record in (mini, paper, other):
        store.append(record)
    assert store.records("fake") == [mini, paper]
    assert store.records("fake", "paper") == [paper]
    assert store.find(other.key[:9]) == [other]
    assert store.find("no-such") == []


def test_environments_are_named_by_their_content(store: Store) -> None:
    facts = {"cpu": "x", "cores": 2, "gpu": {"absent": "none"}}
    identity = store.save_environment(facts)
    assert store.save_environment(dict(reversed(facts.items()))) == identity
    assert store.environment(identity) == facts
    assert store.environment("unknown") is None


# Round trips

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(HOSTILE)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.just(-0.0)
values = st.recursive(
    texts | numbers | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
records = st.builds(
    Record,
    key=texts,
    stage=st.sampled_from(["fit", "evaluate"]),
    suite=texts,
    entry=texts,
    profile=texts,
    repetition=st.integers(min_value=0),
    seed=st.integers(),
    status=st.sampled_from(Status),
    ingredients=st.dictionaries(texts, values, max_size=3),
    needs=st.lists(texts, max_size=2).map(tuple),
    metrics=st.dictionaries(
        texts,
        st.builds(
            Measurement, value=numbers, unit=texts, n=st.none() | st.integers(), details=st.dictionaries(texts, texts)
        )
        | st.builds(Measurement, value=st.none(), reason=texts, samples=st.none() | st.lists(numbers).map(tuple)),
        max_size=2,
    ),
    timings=st.dictionaries(texts, numbers, max_size=2),
    memory=st.dictionaries(texts, st.integers(), max_size=2),
    log=st.dictionaries(texts, values, max_size=2),
    failure=st.none() | st.builds(Failure, type=texts, message=texts, traceback=texts),
    created=texts,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records)
def test_any_record_comes_back_as_it_was(store: Store, record: Record) -> None:
    store.append(record)
    found = store.last(record.key)
    assert found == record
    assert found.to_json() == record.to_json()
    assert record in store.records(record.suite, record.profile)
    assert record in store.find(record.key)
    assert (record.key in store.ok_keys([record.key])) == (store.get(record.key) is not None)


@pytest.mark.parametrize(
    "bad",
    [{"loss": float("nan")}, {"loss": float("inf")}, {"text": "\ud800"}, {"object": object()}, {"set": {1}}],
    ids=lambda bad: next(iter(bad)),
)
def test_what_is_not_strict_json_is_refused_whole(store: Store, bad: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        store.append(measured(log=bad))
    assert store.records("fake") == []


# Damage


def damaged_copies(body: bytes) -> Iterator[bytes]:
    for position in range(len(body)):
        yield body[:position] + bytes([body[position] ^ 1 << position % 8]) + body[position + 1 :]


@pytest.mark.parametrize("column", ["body", "checksum", "key", "suite", "profile", "status"])
def test_a_flipped_bit_never_gives_another_record(
    store: Store, column: str, record_property: Callable[[str, object], None]
) -> None:
    good = measured()
    store.append(good)
    write = store._database.connection.execute
    ((original,),) = write(f"SELECT CAST({column} AS BLOB) FROM records").fetchall()
    copies = list(damaged_copies(original))
    record_property("count", ("damaged rows, all found, no other number", len(copies)))
    for damaged in copies:
        write(f"UPDATE records SET {column} = CAST(? AS TEXT)", (damaged,))
        assert store.get(good.key) is None
        assert store.last(good.key) is None
        assert store.records("fake") == store.find("") == []
        assert store.ok_keys([good.key, damaged.decode(errors="replace")]) == set()
        assert len(store.damage()) == 1
    write(f"UPDATE records SET {column} = CAST(? AS TEXT)", (original,))
    assert store.get(good.key) == good
    assert store.damage() == []


def test_a_damaged_result_is_covered_by_an_older_intact_one_and_can_be_set_aside(store: Store) -> None:
    old, new = measured(value=1.0), measured(value=2.0)
    store.append(old)
    store.append(new)
    store._database.connection.execute("UPDATE records SET body = replace(body, '2.0', '3.0') WHERE id = 2")
    assert store.get(old.key) == old
    assert len(store.damage()) == 1
    assert store.repair() == 1
    assert store.damage() == []
    assert store.statistics()["quarantined_records"] == 1
    assert store.records("fake") == [old]


def test_a_damaged_environment_is_unknown(store: Store) -> None:
    identity = store.save_environment({"cores": 2})
    store._database.connection.execute("UPDATE environments SET body = '{\"cores\":3}'")
    assert store.environment(identity) is None
    assert len(store.damage()) == 1
    store.save_environment({"cores": 2})
    assert store.environment(identity) == {"cores": 2}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE certificates SET body = replace(body, '2', '3')", "certificate 1 (key"),
        ("UPDATE certificates SET key = 'another'", "certificate 1 (key another)"),
        ("UPDATE others SET body = x'ff'", "record 1 of another store (key"),
        ("UPDATE records SET body = x'ff', checksum = x'fe', status = x'fd'", "record 1 (key"),
        ("DELETE FROM environments", "records name it, and it is not there"),
        ("UPDATE environments SET body = x'ff'", "its content fails its checksum"),
    ],
)
def test_whatever_is_damaged_is_told(store: Store, statement: str, told: str) -> None:
    """And is as if it were not there for all others."""
    record = measured("a", environment=store.save_environment({"cores": 2}))
    store.append(record)
    store.certify({"key": record.key, "kind": "repeat", "setting": "", "runs": 2})
    store.keep_other(record, "elsewhere")
    assert store.damage() == []
    store._database.connection.execute(statement)
    (line,) = store.damage()
    assert told in line
    assert len(store.certificates(record.key)) == ("certificates" not in statement)
    assert len(store.others(record.key)) == ("others" not in statement)
    store.statistics()


def test_an_index_that_hides_a_record_is_told(store: Store) -> None:
    for name in "ab":
        store.append(measured(name))
    store._database.connection.executescript(
        "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = sql || ' WHERE id > 1' WHERE name = 'records_by_key';"
    )
    store.close()
    found = Store(store.folder, create=False).damage()
    assert any("records_by_key" in line for line in found), found


def test_what_a_later_version_wrote_beside_what_is_known_is_kept() -> None:
    record = measured("a")
    later = json.dumps({**json.loads(record.to_json()), "weather": {"sun": 1}})
    assert json.loads(Record.from_json(later).to_json()) == json.loads(later)
    assert Record.from_json(record.to_json()) == record


def test_a_log_cut_anywhere_loses_only_what_came_after(store: Store, tmp_path: Path) -> None:
    """The write-ahead log, cut or followed by noise, as after a power failure: a prefix of the records is left."""
    expected = []
    for number in range(6):
        expected.append(measured(f"case-{number}", value=float(number)))
        store.append(expected[-1])
    main, log = store.path.read_bytes(), Path(f"{store.path}-wal").read_bytes()
    frame = 24 + 4096
    ends = {32 + frame * count for count in range(len(log) // frame + 1)}
    cuts = sorted({0, 1, 31, len(log), *range(0, len(log), 2999)} | {end + step for end in ends for step in (-1, 0, 1)})
    kept = []
    for cut in cuts:
        copy = tmp_path / f"cut-{cut}"
        copy.mkdir()
        (copy / "records.sqlite").write_bytes(main)
        (copy / "records.sqlite-wal").write_bytes(log[: max(cut, 0)] + os.urandom(cut % 3 * 500))
        reader = Store(copy)
        found = reader.records("fake")
        reader.close()
        assert found == expected[: len(found)]
        kept.append(len(found))
    assert kept == sorted(kept)
    assert kept[-1] == len(expected)


# Several processes


def test_eight_processes_write_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    command = [*DRIVER, "append", str(folder)]
    project = Path(__file__).parents[3]
    writers = [subprocess.Popen([*command, str(number), "25"], cwd=project) for number in range(8)]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    store = Store(folder, create=False)
    names = [f"{writer}-{number}" for writer in range(8) for number in range(25)]
    assert store.ok_keys(map(digest, names)) == set(map(digest, names))
    statistics = store.statistics()
    assert statistics["records_by_status"] == {"failed": 200, "ok": 200}
    assert (statistics["artefacts"], statistics["unfinished_artefacts"]) == (1, 0)
    assert store.damage() == []


def test_a_lock_that_is_kept_is_one_sentence(store: Store) -> None:
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    impatient = Store(store.folder, timeout=0.02)
    with pytest.raises(StoreError) as error:
        impatient.append(measured())
    assert "locked for 0.02 s" in one_sentence(error, store.path)
    holder.close()
    impatient.append(measured())
    assert store.get(measured().key) == measured()


# Reading only


def test_reading_creates_nothing(tmp_path: Path) -> None:
    reader = Store(tmp_path / "nowhere", create=False)
    assert reader.get("x") is None
    assert reader.ok_keys(["x"]) == set()
    assert reader.records("x") == reader.find("x") == reader.damage() == []
    assert reader.statistics()["records"] == 0
    with pytest.raises(StoreError):
        reader.append(measured())
    assert list(tmp_path.iterdir()) == []


def test_reading_beside_a_writer_leaves_no_trace(store: Store) -> None:
    reader = Store(store.folder, create=False)
    store.append(measured())
    assert reader.get(measured().key) == measured()
    with pytest.raises(StoreError):
        reader.append(measured())
    store.close()
    reader.close()
    assert [path.name for path in store.folder.iterdir()] == ["records.sqlite"]


def test_a_store_whose_making_was_cut_off_is_empty_and_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").touch()
    assert Store(tmp_path, create=False).records("fake") == []
    store = Store(tmp_path)
    store.append(measured())
    assert store.records("fake") == [measured()]


def test_the_store_imports_nothing_heavy() -> None:
    code = "import sys, retable.bench.store; print({'torch', 'numpy', 'rich', 'psutil', 'multiprocessing'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_commit_reaches_the_disk(store: Store) -> None:
    """Only cutting the power tells a commit that was not flushed, so the settings themselves are checked."""
    assert list(store._database.rows("PRAGMA journal_mode")) == [("wal",)]
    assert list(store._database.rows("PRAGMA synchronous")) == [(2,)]


# Artefacts


def test_artefacts_are_named_by_content_and_checked_when_read(store: Store) -> None:
    first = store.put_artefact("key.safetensors", b"one")
    second = store.put_artefact("key.safetensors", lambda file: file.write(b"two"))
    assert (store.read_artefact(first), store.read_artefact(second)) == (b"one", b"two")
    assert store.put_artefact("other.safetensors", b"one") == first
    assert first.path.endswith(".safetensors")
    assert first.bytes == 3
    assert store.artefact_path(first).read_bytes() == b"one"


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_artefact_is_never_loaded_and_its_stage_runs_again(store: Store, damage: str) -> None:
    artefact = store.put_artefact("weights.safetensors", b"weights")
    record = measured(artefacts={"weights": artefact})
    store.append(record)
    assert store.ok_keys([record.key]) == {record.key}
    path = store.artefact_path(artefact)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"changed": b"weighty", "cut": b"weight"}[damage])
    assert len(store.damage()) == 1
    with pytest.raises(StoreError) as error:
        store.read_artefact(artefact)
    one_sentence(error, path)
    assert store.ok_keys([record.key]) == set()
    store.put_artefact("weights.safetensors", b"weights")
    assert store.ok_keys([record.key]) == {record.key}


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "nul\0", "x" * 300, ".hidden", "line\nbreak", "dot.", "é"]
)
def test_names_that_could_leave_the_folder_are_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError):
        store.put_artefact(name, b"x")
    assert not store.artefacts.folder.exists()


def test_paths_that_leave_the_folder_are_refused(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    store.put_artefact("a.bin", b"x")
    (store.artefacts.folder / "link").symlink_to(secret)
    for path in ("../../secret", str(secret), "link", "nul\0", "", ".", "x" * 5000):
        with pytest.raises(StoreError):
            store.read_artefact(Artefact(path=path, sha256=digest("x"), bytes=6))
    assert secret.read_bytes() == b"secret"
