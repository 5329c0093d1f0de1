"""Database: the one SQLite file of a store: how it is opened, brought to the newest layout, and how it fails.

WAL mode with full synchronisation: crash safety and concurrent writers are SQLite's business. WAL needs memory that
processes share, so a store belongs on a local disk.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from retable.bench.errors import StoreError

APPLICATION = 0x5254424C
"""SQLite's application id, which tells our database from another program's."""

LAYOUTS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE records (
            id INTEGER PRIMARY KEY, key TEXT NOT NULL, suite TEXT NOT NULL, profile TEXT NOT NULL, status TEXT NOT NULL,
            checksum TEXT NOT NULL, body TEXT NOT NULL)""",
        "CREATE INDEX records_by_key ON records (key)",
        "CREATE INDEX records_by_suite ON records (suite, profile)",
        "CREATE TABLE environments (id TEXT PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE quarantine AS SELECT * FROM records WHERE 0",
    ),
    (
        """CREATE TABLE certificates (
            id INTEGER PRIMARY KEY, key TEXT NOT NULL, checksum TEXT NOT NULL, body TEXT NOT NULL)""",
        "CREATE INDEX certificates_by_key ON certificates (key)",
    ),
    (
        """CREATE TABLE others (
            id INTEGER PRIMARY KEY, key TEXT NOT NULL, suite TEXT NOT NULL, profile TEXT NOT NULL, status TEXT NOT NULL,
            checksum TEXT NOT NULL, body TEXT NOT NULL, origin TEXT NOT NULL)""",
        "CREATE INDEX others_by_key ON others (key)",
    ),
)
"""The statements that lead from layout n to layout n + 1; a new database starts at 0, an old one where it stands."""

SENTENCES = {
    "SQLITE_FULL": "the disk is full; what was stored before is intact",
    "SQLITE_BUSY": "another process has kept it locked for {timeout:g} s",
    "SQLITE_LOCKED": "another process has kept it locked for {timeout:g} s",
    "SQLITE_READONLY": "it cannot be written (read-only file or folder)",
    "SQLITE_CANTOPEN": "it cannot be opened (not a file, or no permission)",
    "SQLITE_PERM": "no permission to use it",
    "SQLITE_NOTADB": "this file is not a database",
    "SQLITE_CORRUPT": "the database is damaged; move it away to start anew, or bring back a copy",
    "SQLITE_PROTOCOL": "this file system cannot lock it; put the store on a local disk",
    "SQLITE_IOERR": "the disk failed while it was used",
}


class Database:
    """A connection that speaks in StoreErrors.

    `create=False` opens for reading: nothing is created, and a file that is not there is an empty database.
    """

    def __init__(self, path: Path, *, create: bool, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.there = create or path.exists()
        with self.sentences():
            self.connection = self._open(create) if self.there else _nothing()
            if not create:
                self.connection.execute("PRAGMA query_only = 1")
        self.close = weakref.finalize(self, self.connection.close)

    def rows(self, query: str, *values: str) -> Iterator[Any]:
        """The rows of a query, one after the other."""
        with self.sentences(), closing(self.connection.execute(query, values)) as cursor:
            yield from cursor

    def write(self, *statements: str, values: Iterable[str | int] = ()) -> None:
        """Execute statements with the same values as one transaction; durable when this returns."""
        with self.sentences(), _transaction(self.connection):
            for statement in statements:
                self.connection.execute(statement, tuple(values))

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """SQLite's errors as one sentence for the user."""
        try:
            yield
        except (sqlite3.Error, UnicodeError) as error:
            code = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT" if isinstance(error, UnicodeError) else "")
            known = next((text for name, text in SENTENCES.items() if code.startswith(name)), str(error))
            raise StoreError(f"{self.path}: {known.format(timeout=self.timeout)}") from error

    def _open(self, create: bool) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?{'mode=rwc' if create else _reading_mode(self.path)}"
        connection = sqlite3.connect(uri, uri=True, timeout=self.timeout, isolation_level=None, check_same_thread=False)
        try:
            version = self._layout(connection)
            if not create and version == 0:  # a writer was killed before it had made the tables
                connection.close()
                return _nothing()
            if create:
                self._use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            if create and version < len(LAYOUTS):  # who only reads leaves it to the bench that wrote it
                _upgrade(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _layout(self, connection: sqlite3.Connection) -> int:
        """The layout of the database, 0 for one without tables; refuses what is not ours or comes from the future."""
        connection.execute("BEGIN")  # one snapshot: another process may be making the tables right now
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("COMMIT")
        if application not in (0, APPLICATION) or (application == 0 and tables):
            raise StoreError(f"{self.path}: this is another program's database")
        if version > len(LAYOUTS):
            raise StoreError(f"{self.path}: the store was written by a newer version of bench; update bench to use it")
        return version

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL; SQLite does not wait by itself when another process is switching at the same moment."""
        deadline = time.monotonic() + self.timeout
        while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)


def _reading_mode(path: Path) -> str:
    """How to read without leaving anything behind.

    A connection that may write tidies up the WAL files that every reader needs; where the folder forbids writing, the
    database file alone is complete unless a WAL lies beside it.
    """
    effective = os.access in os.supports_effective_ids
    if all(os.access(place, os.W_OK, effective_ids=effective) for place in (path, path.parent)):
        return "mode=rw"
    wal = path.with_name(path.name + "-wal")
    return "mode=ro" if wal.exists() and wal.stat().st_size else "mode=ro&immutable=1"


def _nothing() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _upgrade(connection)
    return connection


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest layout, all or nothing; another process may have been faster."""
    with _transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for layout in LAYOUTS[version:]:
            for statement in layout:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(LAYOUTS)}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
