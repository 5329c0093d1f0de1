"""Store: durable records looked up by key, and the files beside them. It knows nothing of what they mean.

Rows are only ever appended; several attempts of one key may stand side by side. Every row carries the SHA-256 of its
body: a row that fails it counts as absent, so its case is run again, and `bench doctor` reports it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from retable.bench.errors import StoreError
from retable.bench.record import SCHEMA, Artefact, Record, canonical
from retable.bench.store.artefacts import Artefacts
from retable.bench.store.database import LAYOUTS, Database
from retable.bench.store.filesystem import network

TEXTS = ("key", "suite", "profile", "status", "checksum", "body")
COLUMNS = ", ".join(["id", *(f"CAST({name} AS BLOB)" for name in TEXTS)])
"""Read as bytes: a damaged text need not be UTF-8 any more."""
CERTIFICATE = "id, CAST(key AS BLOB), CAST(checksum AS BLOB), CAST(body AS BLOB)"
INSERT = f"INSERT INTO records ({', '.join(TEXTS)}) VALUES (?, ?, ?, ?, ?, ?)"
CHUNK = 500
Row = tuple[int, bytes, bytes, bytes, bytes, bytes, bytes]


class Store:
    """Records in `records.sqlite` and files in `artefacts/` of a folder.

    `create=False` opens for reading: nothing is created, and a folder without a store is an empty one. `timeout` is how
    many seconds to wait for other processes. Every failure is a StoreError: one sentence that names the path. A process
    opens its own Store; any number of them may write at once.
    """

    name = "the store"

    def __init__(self, folder: str | Path, *, create: bool = True, timeout: float = 30.0) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "records.sqlite"
        self.artefacts = Artefacts(self.folder / "artefacts")
        _check_folder(self.folder, create)
        if self.path.exists() and not self.path.is_file():
            raise StoreError(f"{self.path}: it cannot be opened (not a file, or no permission)")
        if create:
            self.artefacts.sweep()
        self._database = Database(self.path, create=create, timeout=timeout)

    def close(self) -> None:
        """Let go of the database; happens by itself when nobody holds the store any more."""
        self._database.close()

    def append(self, record: Record) -> None:
        """Make a record durable: once this returns, a crash of the process or the machine does not lose it.

        Raises ValueError or TypeError for what is not strict JSON in UTF-8: NaN, lone surrogates, foreign types.
        """
        body = record.to_json()
        checksum = sha256(body.encode()).hexdigest()
        values = (record.key, record.suite, record.profile, str(record.status), checksum, body)
        self._database.write(INSERT, values=values)

    def get(self, key: str) -> Record | None:
        """The latest intact `ok` record of a key."""
        return next(self._records("WHERE key = ? AND status = 'ok' ORDER BY id DESC", key), None)

    def last(self, key: str) -> Record | None:
        """The latest intact record of a key, whatever its status."""
        return next(self._records("WHERE key = ? ORDER BY id DESC", key), None)

    def ok_keys(self, keys: Iterable[str]) -> set[str]:
        """Those keys whose latest `ok` record is intact and has its artefacts beside it."""
        wanted = list(dict.fromkeys(keys))
        latest: dict[str, Record] = {}
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            marks = ", ".join("?" * len(chunk))
            for record in self._records(f"WHERE status = 'ok' AND key IN ({marks}) ORDER BY id", *chunk):
                latest[record.key] = record
        return {key for key, record in latest.items() if all(map(self.artefacts.holds, record.artefacts.values()))}

    def records(self, suite: str, profile: str | None = None) -> list[Record]:
        """Every intact record of a suite, oldest first."""
        if profile is None:
            return list(self._records("WHERE suite = ? ORDER BY id", suite))
        return list(self._records("WHERE suite = ? AND profile = ? ORDER BY id", suite, profile))

    def find(self, prefix: str) -> list[Record]:
        """Every intact record whose key starts with `prefix`, oldest first."""
        return list(self._records("WHERE key >= ? AND key < ? ORDER BY id", prefix, prefix + "\U0010ffff"))

    def every(self) -> Iterator[Record]:
        """All intact records, oldest first."""
        return self._records("ORDER BY id")

    def keep_other(self, record: Record, origin: str) -> None:
        """Keep what another store (`origin`) holds under a key that this one has a record of; `get` never gives it."""
        body = record.to_json()
        checksum = sha256(body.encode()).hexdigest()
        values = (record.key, record.suite, record.profile, str(record.status), checksum, body, origin)
        self._database.write(
            f"INSERT INTO others ({', '.join(TEXTS)}, origin) VALUES (?, ?, ?, ?, ?, ?, ?)", values=values
        )

    def others(self, key: str) -> list[Record]:
        """What `keep_other` kept under a key, oldest first."""
        if not self._has("others"):
            return []
        return list(self._records("WHERE key = ? ORDER BY id", key, table="others"))

    def certify(self, certificate: Mapping[str, Any]) -> None:
        """Keep what repeating the case of `certificate["key"]` showed; records stay as they are."""
        body = canonical(certificate)
        values = (certificate["key"], sha256(body.encode()).hexdigest(), body)
        self._database.write("INSERT INTO certificates (key, checksum, body) VALUES (?, ?, ?)", values=values)

    def certificates(self, key: str) -> list[dict[str, Any]]:
        """The intact certificates of a key, oldest first."""
        if not self._has("certificates"):
            return []
        query = f"SELECT {CERTIFICATE} FROM certificates WHERE key = ? ORDER BY id"
        found = (_certificate(key.encode(), *rest) for _, _, *rest in self._database.rows(query, key))
        return [certificate for certificate in found if certificate is not None]

    def save_environment(self, environment: Mapping[str, Any]) -> str:
        """Keep what is known of the machine; its id is the digest of its content."""
        body, identity = canonical(environment), environment_id(environment)
        self._database.write("INSERT OR REPLACE INTO environments (id, body) VALUES (?, ?)", values=(identity, body))
        return identity

    def environment(self, identity: str) -> dict[str, Any] | None:
        """What `save_environment` kept; None when it is unknown or damaged."""
        query = "SELECT CAST(body AS BLOB) FROM environments WHERE id = ?"
        for (body,) in self._database.rows(query, identity):
            if _digest(body) == identity:
                facts: dict[str, Any] = json.loads(body)
                return facts
        return None

    def put_artefact(self, name: str, content: bytes | Callable[[BinaryIO], object]) -> Artefact:
        """Keep a file: its bytes, or a function that writes them to an open file; `name` lends its suffix."""
        return self.artefacts.put(name, content)

    def artefact_path(self, artefact: Artefact) -> Path:
        """Where an artefact lies; never outside the store."""
        return self.artefacts.path(artefact)

    def read_artefact(self, artefact: Artefact) -> bytes:
        """The bytes of an artefact, checked against their digest."""
        return self.artefacts.read(artefact)

    def statistics(self) -> dict[str, Any]:
        """Counts and sizes, for `bench doctor`."""
        query = "SELECT CAST(status AS BLOB), count(*) FROM records GROUP BY status ORDER BY status"
        counts = {status.decode(errors="replace"): count for status, count in self._database.rows(query)}
        return {
            "state": "there" if self._database.there else "not created yet",
            "layout": next(self._database.rows("PRAGMA user_version"))[0] if self._database.there else len(LAYOUTS),
            "records": sum(counts.values()),
            "records_by_status": counts,
            "quarantined_records": self._count("quarantine"),
            "environments": self._count("environments"),
            "bytes": self.path.stat().st_size if self._database.there else 0,
            **self.artefacts.statistics(),
        }

    def damage(self) -> list[str]:
        """One sentence for everything that is not as it was written; reads the whole store."""
        found: list[str] = []
        try:
            found += [f"database: {line}" for (line,) in self._database.rows("PRAGMA integrity_check") if line != "ok"]
            for row in self._database.rows(f"SELECT {COLUMNS} FROM records ORDER BY id"):
                record = self._decode(row)
                if record is None:
                    found.append(f"record {row[0]} (key {_start(row[1])}): its content fails its checksum")
                elif record.ok:
                    lines = self.artefacts.damage(record.artefacts.values())
                    found += [f"record {row[0]} (key {record.key[:12]}): {line}" for line in lines]
            found += self._damage_beside()
        except StoreError as error:
            found.append(str(error))
        return found

    def _damage_beside(self) -> Iterator[str]:
        """Of machines, certificates and what other stores said; and machines that records name and nobody has kept."""
        known, lost = set(), "its content fails its checksum"
        for identity, body in self._database.rows("SELECT CAST(id AS BLOB), CAST(body AS BLOB) FROM environments"):
            known.add(identity)
            if _digest(body).encode() != identity:
                yield f"environment {_start(identity)}: {lost}"
        if self._has("certificates"):
            for number, key, *rest in self._database.rows(f"SELECT {CERTIFICATE} FROM certificates ORDER BY id"):
                if _certificate(key, *rest) is None:
                    yield f"certificate {number} (key {_start(key)}): {lost}"
        if self._has("others"):
            for row in self._database.rows(f"SELECT {COLUMNS} FROM others ORDER BY id"):
                if self._decode(row) is None:
                    yield f"record {row[0]} of another store (key {_start(row[1])}): {lost}"
        named = {record.environment for record in self.every() if record.environment}
        for identity in sorted(name for name in named if name.encode() not in known):
            yield f"environment {identity[:12]}: records name it, and it is not there"

    def repair(self) -> int:
        """Move rows that fail their checksum into the table `quarantine`; returns how many there were."""
        rows = list(self._database.rows(f"SELECT {COLUMNS} FROM records ORDER BY id"))
        damaged = [row[0] for row in rows if self._decode(row) is None]
        for identity in damaged:
            self._database.write(
                "INSERT INTO quarantine SELECT * FROM records WHERE id = ?",
                "DELETE FROM records WHERE id = ?",
                values=(identity,),
            )
        return len(damaged)

    def _has(self, table: str) -> bool:
        """An old store that is only read lacks the newer tables."""
        return bool(list(self._database.rows("SELECT 1 FROM sqlite_master WHERE name = ?", table)))

    def _count(self, table: str) -> int:
        return sum(count for (count,) in self._database.rows(f"SELECT count(*) FROM {table}"))

    def _records(self, condition: str, *values: str, table: str = "records") -> Iterator[Record]:
        for row in self._database.rows(f"SELECT {COLUMNS} FROM {table} {condition}", *values):
            record = self._decode(row)
            if record is not None:
                yield record

    def _decode(self, row: Row) -> Record | None:
        """The record of a row, or None when it is not what was written."""
        identity, *columns, checksum, body = row
        if _digest(body).encode() != checksum:
            return None
        text = body.decode()
        try:
            record = Record.from_json(text)
        except (KeyError, TypeError, ValueError):
            schema = json.loads(text).get("schema")
            message = f"{self.path}: record {identity} (schema {schema}) has a shape that this version cannot read"
            raise StoreError(message) from None
        if record.schema > SCHEMA:
            message = f"record {identity} was written by a newer version of bench; update bench to read it"
            raise StoreError(f"{self.path}: {message}")
        expected = (record.key, record.suite, record.profile, str(record.status))
        return record if columns == [value.encode() for value in expected] else None


def _digest(body: bytes | None) -> str:
    """A damaged row may have no body at all."""
    return "" if body is None else sha256(body).hexdigest()


def _start(key: bytes | None) -> str:
    return (key or b"")[:12].decode(errors="replace")


def _certificate(key: bytes, checksum: bytes, body: bytes) -> dict[str, Any] | None:
    """What was written, if it is, and under its own key."""
    if _digest(body).encode() != checksum:
        return None
    certificate: dict[str, Any] = json.loads(body)
    return certificate if certificate["key"].encode() == key else None


def environment_id(environment: Mapping[str, Any]) -> str:
    """The digest of its content, under which `save_environment` keeps it."""
    return sha256(canonical(environment).encode()).hexdigest()


def _check_folder(folder: Path, create: bool) -> None:
    if create and (kind := network(folder)):
        raise StoreError(
            f"{folder}: lies on a network file system ({kind}), where the locks of a database do not hold and it breaks; put "
            "the store on a disk of this machine (--store or $BENCH_STORE): only a --spool is shared"
        )
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif folder.exists() and not folder.is_dir():
            raise NotADirectoryError
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{folder}: a store is a folder, and this path is a file or leads through one") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"{folder}: the store cannot be opened or created: {reason}") from None
