"""Probes: facts are right where they can be checked, and absent with a reason where they cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retable.bench.probes import environment
from retable.bench.probes.clock import Stopwatch
from retable.bench.probes.energy import Counter, CounterError, Energy, Reading, joules_of
from retable.bench.probes.hardware import hardware
from retable.bench.probes.memory import PeakMemory
from retable.bench.probes.software import _commit, libraries, software
from retable.bench.record import digest

MEBIBYTE = 1 << 20


def leaves(facts: Any) -> Iterator[Any]:
    if isinstance(facts, dict):
        for value in facts.values():
            yield from leaves(value)
    elif isinstance(facts, list):
        for value in facts:
            yield from leaves(value)
    else:
        yield facts


def test_the_environment_can_be_stored_and_is_the_same_each_time() -> None:
    code = "import json, sys; from retable.bench.probes import environment; print(json.dumps(environment())); print({heavy})"
    heavy = "sorted({'torch', 'numpy', 'psutil'} & set(sys.modules))"
    command = [sys.executable, "-c", code.format(heavy=heavy)]
    done = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines() for _ in range(2)]
    assert digest(json.loads(done[0][0])) == digest(json.loads(done[1][0]))
    assert done[0][1] == "[]"
    assert environment() is environment()


def test_no_fact_is_an_empty_stand_in() -> None:
    for value in leaves(environment()):
        assert value not in ("", None, 0, "unknown") or value is False


def test_facts_agree_with_what_python_knows() -> None:
    import numpy as np

    facts = software()
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert facts["packages"]["torch"].partition("+")[0] == facts["torch_build"]["version"].partition("+")[0]
    assert hardware()["cores"] <= os.cpu_count()
    assert hardware()["memory"] > 64 * MEBIBYTE


def test_libraries_are_asked_only_if_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    assert np.__name__ in sys.modules
    assert libraries()["numpy"]["blas"]
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    facts = libraries()
    assert facts["numpy"].keys() == facts["torch"].keys() == {"absent"}
    assert "torch" not in sys.modules


def test_the_commit_of_a_checkout_and_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert "checkout" in _commit(tmp_path)["absent"]
    monkeypatch.delenv("GIT_DIR", raising=False)
    git("init")
    assert _commit(tmp_path) == {"id": {"absent": "nothing is committed yet"}, "dirty": False}
    (tmp_path / "file").write_text("a")
    assert _commit(tmp_path)["dirty"] is True
    git("add", "file")
    git("commit", "-m", "first")
    clean = _commit(tmp_path)
    assert len(clean["id"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("b")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as inside a git hook of another repository
    assert _commit(tmp_path) == {**clean, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert "git cannot tell" in _commit(tmp_path)["absent"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be set back on Linux only")
def test_the_peak_is_that_of_the_block() -> None:
    with PeakMemory() as large:
        hoard = bytearray(os.urandom(1) * (96 * MEBIBYTE))
        del hoard
    with PeakMemory() as small:
        pass
    assert large.reason is None
    assert large.bytes >= large.before + 90 * MEBIBYTE
    assert small.bytes < large.bytes - 50 * MEBIBYTE


def status(folder: Path, peak: int) -> None:
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak} kB\nVmRSS:\t100 kB\n")


def test_a_mark_that_cannot_be_set_back_tells_only_a_new_peak(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").mkdir()
    status(tmp_path, 500)
    with PeakMemory(tmp_path) as unraised:
        pass
    assert unraised.bytes is None
    assert "more before" in unraised.reason
    with PeakMemory(tmp_path) as raised:
        status(tmp_path, 700)
    assert (raised.bytes, raised.reason) == (700 * 1024, None)


def test_a_system_without_figures_gives_none_and_a_reason(tmp_path: Path) -> None:
    with PeakMemory(tmp_path / "no-proc") as memory:
        pass
    assert memory.bytes is None
    assert memory.reason
    with Energy(folder=tmp_path / "no-powercap") as energy:
        pass
    assert energy.joules is None
    assert "no RAPL" in energy.reason


def test_a_gpu_that_cannot_be_read_has_no_joules(tmp_path: Path) -> None:
    with Energy("cuda:0", folder=tmp_path) as energy:
        pass
    assert energy.joules is None
    assert "nvidia-ml-py" in energy.reason or "NVML" in energy.reason


def test_joules_by_package_and_over_a_wrap(tmp_path: Path) -> None:
    def write(zone: str, microjoules: int) -> None:
        folder = tmp_path / zone
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(f"{microjoules}\n")
        (folder / "max_energy_range_uj").write_text("1000000\n")

    write("intel-rapl:0", 100)
    write("intel-rapl:1", 900_000)
    write("intel-rapl:0:0", 0)
    with Energy(folder=tmp_path, idle_s=0) as energy:
        write("intel-rapl:0", 500_100)
        write("intel-rapl:1", 100_000)
    assert energy.joules == {"intel-rapl:0": pytest.approx(0.5), "intel-rapl:1": pytest.approx(0.2)}
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    with Energy(folder=tmp_path, idle_s=0) as unreadable:
        pass
    assert unreadable.joules is None
    assert "cannot be read" in unreadable.reason


COUNTER = Counter("package", read=lambda: 0, joule=1e-6, range=lambda: 1_000_000)


def readings(*counts: int, seconds: float = 1.0, watts: float | None = None) -> list[Reading]:
    return [Reading(at * seconds, count, watts) for at, count in enumerate(counts)]


def test_a_polled_counter_may_wrap_more_than_once() -> None:
    assert joules_of(COUNTER, readings(600_000, 100_000, 600_000, 100_000)) == pytest.approx(1.5)
    assert joules_of(COUNTER, readings(5, 5)) == 0


def test_a_counter_that_was_reset_has_no_total_not_even_a_partial_one() -> None:
    large = Counter("package", read=lambda: 0, joule=1e-6, range=lambda: 262_143_328_850)
    with pytest.raises(CounterError, match="package was reset"):
        joules_of(large, readings(5_000_000, 9_000_000, 100, 4_000_000))
    with pytest.raises(CounterError, match="was reset"):
        joules_of(Counter("gpu", read=lambda: 0, joule=1e-3), readings(5_000, 100))


def test_a_reset_in_one_package_takes_the_other_s_joules_too(tmp_path: Path) -> None:
    for zone, count in (("intel-rapl:0", 100), ("intel-rapl:1", 9_000_000)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(str(count))
        (tmp_path / zone / "max_energy_range_uj").write_text("262143328850")
    with Energy(folder=tmp_path, idle_s=0) as energy:
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("3")
    assert energy.joules is None
    assert energy.reason == "intel-rapl:1 was reset while it was read"


def test_a_gpu_s_counter_has_to_agree_with_its_power() -> None:
    gpu = Counter("gpu", read=lambda: 0, joule=1e-3)
    agreed = readings(0, 100_000, 200_000, 300_000, watts=105.0)
    assert joules_of(gpu, agreed) == pytest.approx(300)
    with pytest.raises(CounterError, match=r"counted 300 J, but its power adds up to 600 J"):
        joules_of(gpu, readings(0, 100_000, 200_000, 300_000, watts=200.0))
    short = readings(0, 100_000, seconds=0.5, watts=200.0)  # too short for a poll to tell
    assert joules_of(gpu, short) == pytest.approx(100)


def test_idle_power_is_that_before_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "energy_uj").write_text("0")
    (zone / "max_energy_range_uj").write_text("1000000000")
    clock = [0.0]

    def rest(seconds: float) -> None:
        clock[0] += seconds
        (zone / "energy_uj").write_text(str(round(clock[0] * 30e6)))

    monkeypatch.setattr("retable.bench.probes.energy.time", SimpleNamespace(sleep=rest, monotonic=lambda: clock[0]))
    with Energy(folder=tmp_path, idle_s=0.5) as energy:
        rest(2.0)
    assert energy.idle_watts == {"intel-rapl:0": pytest.approx(30)}
    assert energy.joules == {"intel-rapl:0": pytest.approx(60)}
    assert energy.seconds == pytest.approx(2)


def test_a_stopwatch_has_no_times_before_its_end_and_keeps_them_after_an_error() -> None:
    watch = Stopwatch()
    assert watch.timings == {}
    with suppress(ValueError), watch:
        raise ValueError
    assert watch.timings.keys() == {"wall", "cpu"}
    assert watch.wall > 0.0
    assert watch.cpu >= 0.0
