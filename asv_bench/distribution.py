"""What distribution costs: the driver of a simulated cluster of 1,000 workers, and a case through Ray beside a local one.

`python asv_bench/distribution.py simulate` drives the scheduler with an engine whose jobs end by a clock of its own: what is
counted is the driver's processor time and memory, down to durable records. `... ray` needs the extra `ray`: it starts a cluster
of one processor here and times, in turn, a case on it, the same case in a local worker, and a bare Ray task that does the same.
Both print a line a figure and end with 1 where a limit is broken.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from retable.bench.record import Measurement, Record, Status, digest
from retable.bench.run.agent import Answer
from retable.bench.run.desk import Desk
from retable.bench.run.elsewhere import Elsewhere
from retable.bench.run.executor import execute
from retable.bench.run.job import Event, Job
from retable.bench.run.remote import Ended, Remote, Wants
from retable.bench.store.store import Store
from retable.bench.suite import Limits

RUN = "distribution:work"
CASE = 60.0
"""Mean seconds of a simulated case."""
LIMITS = {
    "driver, share of a core": 0.5,
    "memory at the end over that at a tenth": 1.1,
    "a case through Ray above a local one, ms": 20.0,
    "a case through Ray over a bare task": 2.0,
}


def jobs(count: int) -> list[Job]:
    """Jobs that differ in nothing but their keys."""
    found = []
    for number in range(count):
        template = Record(
            key=digest(number),
            stage="evaluate",
            suite="simulated",
            entry=f"row-{number // 5}",
            profile="paper",
            repetition=number % 5,
            seed=number,
            status=Status.INTERRUPTED,
            ingredients={"number": number},
        )
        limits = Limits(timeout=600.0, memory=300 << 20)
        found.append(Job(key=template.key, name=template.entry, limits=limits, template=template, payload=template))
    return found


def work(template: Record, desk: Desk) -> Record:
    """A case of about ten milliseconds."""
    total = 0
    for number in range(100_000):
        total += number * number % 7
    return replace(template, status=Status.OK, metrics={"value": Measurement(value=float(total))})


class Simulated:
    """An engine with any number of workers and a clock that jumps to the next end."""

    name = "simulated"

    def __init__(self) -> None:
        self._chance = random.Random(0)
        self._now, self._running = 0.0, list[tuple[float, str]]()
        self.own = 0.0
        """Processor seconds that are the simulation's, not the driver's."""

    @property
    def now(self) -> float:
        return self._now

    def kept(self) -> frozenset[str]:
        return frozenset()

    def send(self, key: str, envelope: bytes, wants: Wants, files: Mapping[str, Path]) -> None:
        heapq.heappush(self._running, (self._now + self._chance.expovariate(1 / CASE), key))

    def wait(self, seconds: float, wake: Any) -> list[Ended]:
        """All that ends within the next wait."""
        started = time.process_time()
        self._now, key = heapq.heappop(self._running)
        keys, until = [key], self._now + seconds
        while self._running and self._running[0][0] <= until:
            keys.append(heapq.heappop(self._running)[1])
        ended = [Ended(key=key, answer=_answer(key)) for key in keys]
        self.own += time.process_time() - started
        return ended

    def forget(self, key: str) -> None: ...
    def cancel(self, keys: Sequence[str]) -> None: ...
    def close(self) -> None: ...


def _answer(key: str) -> Answer:
    record = Record(
        key=key,
        stage="evaluate",
        suite="simulated",
        entry="row",
        profile="paper",
        repetition=0,
        seed=0,
        status=Status.OK,
        ingredients={"key": key},
        metrics={"value": Measurement(value=1.0, samples=tuple(range(200)))},
        log={"loss": [0.5] * 100},
    )
    outcome = {"record": record.to_json(), "status": "ok", "failure": None, "seconds": 1.0, "resident": None}
    return Answer(node=f"node-{key[:2]}", outcome={**outcome, "created": ""})


def simulate(workers: int, cases: int) -> dict[str, float]:
    """Figures of a driver that keeps so many workers busy with so many cases."""
    engine, memory = Simulated(), list[int]()

    def look(event: Event) -> None:
        if event.record is not None:
            look.ended += 1  # type: ignore[attr-defined]
            if look.ended * 10 % cases == 0:  # type: ignore[attr-defined]
                memory.append(psutil.Process().memory_info().rss)

    look.ended = 0  # type: ignore[attr-defined]
    waiting = jobs(cases)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        started = time.process_time()
        execute(
            waiting,
            "none",
            store=store,
            workers=0,
            on_event=look,
            elsewhere=lambda room: Remote(engine, "none", room, most=workers),
        )
        spent = time.process_time() - started - engine.own
    return {
        "workers": workers,
        "cases": cases,
        f"simulated hours (cases of {CASE:g} s)": engine.now / 3600,
        "driver, ms of a processor a case": 1000 * spent / cases,
        "driver, share of a core": spent / engine.now,
        "seconds of a case at which the driver would need half a core": 2 * workers * spent / cases,
        "memory, MB": memory[-1] / 1e6,
        "memory at the end over that at a tenth": memory[-1] / memory[0],
    }


def through_ray(cases: int, rounds: int) -> dict[str, float]:
    """Seconds a case of three sides in turn, on one processor each."""
    import ray

    where = Elsewhere(kind="ray", address="local", most=64)
    sides: dict[str, list[float]] = {"ray": [], "local": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=1, object_store_memory=100 << 20, log_to_driver=False)
        bare = ray.remote(max_retries=0)(work)

        def case(kind: str, number: int) -> float:
            store = Store(Path(folder) / f"{kind}-{number}")
            seen: list[float] = []
            executor = where.executor(store.folder, RUN) if kind == "ray" else None
            execute(
                jobs(cases),
                RUN,
                store=store,
                workers=1,
                elsewhere=executor,
                on_event=lambda event: seen.append(time.perf_counter()) if event.record else None,
            )
            return (seen[-1] - seen[0]) / (len(seen) - 1)  # the first one starts the processes

        def task() -> float:
            desk = Desk(inbox="", outbox="")
            ends: list[float] = []
            waiting = [bare.remote(one.template, desk) for one in jobs(cases)]
            while waiting:
                done, waiting = ray.wait(waiting)
                ends += [time.perf_counter()] * len(done)
            return (ends[-1] - ends[0]) / (cases - 1)

        calls: dict[str, Callable[[int], float]] = {
            "ray": lambda number: case("ray", number),
            "local": lambda number: case("local", number),
            "bare": lambda number: task(),
        }
        for number in range(rounds):
            order = list(calls) if number % 2 else list(reversed(calls))
            for name in order:
                sides[name].append(calls[name](number))
        ray.shutdown()
    above = [1000 * (a - b) for a, b in zip(sides["ray"], sides["local"], strict=True)]
    return {
        **{f"{name}, ms a case": 1000 * statistics.median(values) for name, values in sides.items()},
        "a case through Ray above a local one, ms": statistics.median(above),
        "a case through Ray over a local one": _ratio(sides["ray"], sides["local"]),
        "a case through Ray over a bare task": _ratio(sides["ray"], sides["bare"]),
    }


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "ray"))
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--cases", type=int, help="default: 100,000 simulated ones, 100 a side of Ray")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    if arguments.what == "simulate":
        figures = simulate(arguments.workers, arguments.cases or 100_000)
    else:
        figures = through_ray(arguments.cases or 100, arguments.rounds)
    broken = False
    for name, value in figures.items():
        limit = LIMITS.get(name)
        verdict = "" if limit is None else f"   limit {limit:g}: {'kept' if value <= limit else 'BROKEN'}"
        broken |= limit is not None and value > limit
        print(f"{name}: {value:.4g}{verdict}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
