"""Layouts of the store: older ones are read and upgraded, newer ones refused and left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.errors import StoreError
from retable.bench.record import SCHEMA, digest
from retable.bench.store import database
from retable.bench.store.store import Store
from tests.bench.store.test_store import failed, measured, one_sentence

STORES = Path(__file__).with_name("stores")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_newer_store_is_refused_and_left_alone(store: Store) -> None:
    store.append(measured())
    store._database.connection.execute("PRAGMA user_version = 99")
    store.close()
    before = store.path.read_bytes()
    for create in (True, False):
        with pytest.raises(StoreError) as error:
            Store(store.folder, create=create)
        assert "newer version" in one_sentence(error, store.path)
    assert store.path.read_bytes() == before


def test_a_record_of_a_newer_schema_is_not_read_as_if_it_were_ours(store: Store) -> None:
    store.append(measured(schema=SCHEMA + 1))
    with pytest.raises(StoreError) as error:
        store.get(measured().key)
    assert "newer version" in one_sentence(error, store.path)
    assert len(store.damage()) == 1


@pytest.mark.parametrize("version", sorted(path.name for path in STORES.iterdir()))
@pytest.mark.parametrize("create", [True, False])
def test_stores_of_every_released_layout_are_read(tmp_path: Path, version: str, create: bool) -> None:
    shutil.copytree(STORES / version, tmp_path / "store")
    store = Store(tmp_path / "store", create=create)
    fit = measured("kept-fit", stage="fit", metrics={}, log={"loss": [2.0, 0.5]})
    found = store.get(fit.key)
    assert replace(found, artefacts={}) == fit
    assert store.read_artefact(found.artefacts["weights"]) == b"the weights of version 1"
    assert store.get(digest("kept")) == measured("kept", needs=(fit.key,), environment=digest({"cores": 2}))
    assert store.last(digest("kept-failure")) == failed("kept-failure")
    assert store.environment(digest({"cores": 2})) == {"cores": 2}
    assert store.damage() == []
    assert store.statistics()["layout"] == (len(database.LAYOUTS) if create else int(version.removeprefix("v")))


@pytest.mark.parametrize("version", sorted(path.name for path in STORES.iterdir()))
def test_reading_leaves_an_older_layout_to_the_bench_that_wrote_it(tmp_path: Path, version: str) -> None:
    shutil.copytree(STORES / version, tmp_path / "store")
    before = layout(tmp_path / "store")
    store = Store(tmp_path / "store", create=False)
    assert store.others(digest("kept")) == []
    store.close()
    assert layout(tmp_path / "store") == before


def layout(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "records.sqlite")) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def test_an_older_layout_is_upgraded_with_its_records(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(measured())
    store.close()
    step = ("ALTER TABLE records ADD COLUMN note TEXT",)
    monkeypatch.setattr(database, "LAYOUTS", (*database.LAYOUTS, step))
    upgraded = Store(store.folder)
    assert upgraded.get(measured().key) == measured()
    assert list(upgraded._database.rows("PRAGMA user_version")) == [(len(database.LAYOUTS),)]
    assert list(upgraded._database.rows("SELECT note FROM records")) == [(None,)]


def test_an_upgrade_that_fails_leaves_the_old_layout(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(measured())
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr(database, "LAYOUTS", (*database.LAYOUTS, ("ALTER TABLE records ADD COLUMN note", "NONSENSE")))
        with pytest.raises(StoreError):
            Store(store.folder)
    assert Store(store.folder).get(measured().key) == measured()
