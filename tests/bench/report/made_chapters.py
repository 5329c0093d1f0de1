"""Chapters and stores with hostile names, for the tests of the site and of LaTeX documents."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from dataclasses import replace
from pathlib import Path

from retable.bench.judge.claims import judge
from retable.bench.record import Failure, Measurement, Record, Status
from retable.bench.report.chapter import Chapter
from retable.bench.report.plot import build_plots
from retable.bench.report.table import build_tables
from retable.bench.store.store import Store
from retable.bench.suite import Bound, Claim, Column, Layout, Sketch, Suite
from tests.bench.report.made_tables import HOSTILE, SCORE, entry, suite

SOFTWARE = {
    "python": "CPython 3.11",
    "packages": {"torch": "2.14.1", "numpy": {"absent": "not installed"}},
    "commit": {"id": "0123456789abcdef", "dirty": True},
}
ENVIRONMENT = {"hardware": {"cpu": HOSTILE, "cores": 2}, "software": SOFTWARE, "threads": 1}


def hostile_suite(text: str = HOSTILE, name: str = "s") -> Suite:
    """Every text that a suite file can hold is `text`; three rows, the second with a group of its own."""
    common = {"metric": "score", "profiles": ("mini",), "text": text, "source": text}
    claims = (
        Claim(name="holds", kind="value", entries=("e0",), bound=Bound(at_least=0.0), **common),
        Claim(name="fails", kind="ordering", entries=("e1", "e0"), **common),
        Claim(name="elsewhere", kind="value", entries=("e0",), **{**common, "profiles": ("paper",)}),
    )
    rows = [entry(0, text, group="ours"), entry(1, f"B {text}", group=text), entry(2, "C", group="ours")]
    columns = (replace(SCORE, label=text), Column(label="Here", metric="score", show="measured", format=".3f"))
    layout = Layout(name="t", title=text, rows=("*",), columns=columns, note=text)
    sketch = Sketch(name="p", title=text, kind="scatter", x="score", y="score", rows=("*",), note=text)
    made = replace(suite(rows), name=name, title=text, paper=text, arxiv=text or "1")
    return replace(made, claims=claims, layouts=(layout,), sketches=(sketch,))


def hostile_store(folder: Path, text: str = HOSTILE) -> Store:
    store = Store(folder)
    store.save_environment(ENVIRONMENT)
    return store


def chapter(made: Suite, store: Store, text: str = HOSTILE) -> Chapter:
    """The suite with three seeds of two rows and a third that failed; what it stands on is in the store."""
    environment = store.save_environment(ENVIRONMENT)
    results: dict[tuple[str, int], Record] = {}
    fits: dict[str, Record] = {}
    for row, values in enumerate(((1.0, 1.1, 1.2), (2.0, 2.1, 2.3))):
        for repetition, value in enumerate(values):
            fit = _record(made, row, repetition, "fit", environment, log={"loss": [3.0, 2.0, 1.0, 0.5, 0.25]})
            fits[fit.key] = fit
            score = Measurement(
                value=value, direction="lower", n=8, unit="points", details={text: text, "layer 1": 0.5}
            )
            results[f"e{row}", repetition] = _record(
                made, row, repetition, "evaluate", environment, metrics={"score": score}, needs=(fit.key,)
            )
    broken = _record(made, 2, 0, "evaluate", environment, status=Status.FAILED)
    results["e2", 0] = replace(broken, failure=Failure(type="ValueError", message=text))
    return Chapter(
        suite=made,
        tables=tuple(build_tables(made, results)),
        judgements=tuple(judge(made, results)),
        plots=tuple(build_plots(made, results)),
        records={record.key: record for record in results.values()} | fits,
        environments={environment: ENVIRONMENT},
        unmeasured=(f"s/e2/mini/0: failed: {text}",),
    )


def _record(made: Suite, row: int, repetition: int, stage: str, environment: str, **fields: object) -> Record:
    common = {
        "key": f"{stage}-{made.name}-{row}-{repetition}",
        "stage": stage,
        "suite": made.name,
        "entry": f"e{row}",
        "profile": "mini",
        "repetition": repetition,
        "seed": 100 + repetition,
        "status": Status.OK,
        "ingredients": {"method": {"use": HOSTILE, "params": {"level": 1.0}}, "seed": 100 + repetition},
        "timings": {"wall": 1.5},
        "memory": {"peak_resident": 2**20},
        "environment": environment,
        "created": "2026-01-01T00:00:00Z",
    }
    return Record(**{**common, **fields})  # type: ignore[arg-type]


def png(size: int = 2) -> bytes:
    """A grey picture of `size` x `size` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes([128] * size) for _ in range(size)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def wav() -> bytes:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return file.getvalue()
