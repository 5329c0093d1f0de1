"""Numerics: what `portable` promises is set before a library is loaded, checked afterwards, and never mixed with `native`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from retable.bench.errors import BenchError
from retable.bench.probes import hardware
from retable.bench.run import numerics
from retable.bench.store.store import Store
from tests.bench.conftest import Bench
from tests.conftest import NUMERICS

portable_only = pytest.mark.skipif(NUMERICS == "native", reason=f"no portable numerics: {hardware.not_portable()}")


def child(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in a process whose environment holds nothing of numerics but `variables`."""
    environment = {**numerics.environment("native"), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True
    )


ESTABLISH = """
from retable.bench.errors import BenchError
from retable.bench.run.numerics import PORTABLE, establish
try:
    establish("portable")
except BenchError as error:
    print(error)
else:
    import torch, numpy, numba
    print(torch.backends.cpu.get_cpu_capability(), numba.config.CPU_NAME)
"""


# What users see


def stored(bench: Bench) -> list[str]:
    """The numerics of all records of the store."""
    records = Store(bench.folder / "results" / "work", create=False).records("tiny")
    return [record.ingredients["numerics"] for record in records]


@portable_only
def test_mini_is_portable_and_paper_is_not(bench: Bench) -> None:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    assert set(stored(bench)) == {"portable"}
    assert bench.process("run", "tiny", "--profile", "paper", "--jobs", "1", "--quiet").wait() == 0
    assert stored(bench).count("native") == 4


@portable_only
def test_a_table_never_mixes_numerics(bench: Bench) -> None:
    def counts() -> set[int]:
        """Seeds behind the measured cells."""
        (table,) = bench.json("table", "tiny")
        return {row["cells"]["weight"]["n"] for row in table["rows"] if row["entry"] != "cited"}

    bench("run", "tiny", "--jobs", "0", "--quiet")
    assert counts() == {3}
    bench.edit("threads: 1}}\n  paper", "threads: 1}, numerics: native}\n  paper")
    assert counts() == {0}
    process = bench.process("run", "tiny", "--jobs", "1", "--quiet", "--seeds", "2")
    process.communicate()
    assert process.returncode == 0
    assert counts() == {2}


def test_an_unknown_word_is_one_sentence_with_its_line(bench: Bench) -> None:
    bench.edit("threads: 1}}\n  paper", "threads: 1}, numerics: exact}\n  paper")
    done = bench("check", "tiny")
    assert done.returncode == 2
    assert "tiny.yaml:7: 'numerics' of profile 'mini' must be one of portable, native, not 'exact'" in done.stderr


def test_portable_numerics_are_the_cpus(bench: Bench) -> None:
    bench.edit("threads: 1}}\n  paper", "threads: 1}, numerics: portable, device: cuda}\n  paper")
    done = bench("check", "tiny")
    assert done.returncode == 2
    assert "tiny.yaml:7: portable numerics are those of the CPU, not of cuda" in done.stderr


def test_where_there_are_none_the_run_is_native_and_says_so(bench: Bench) -> None:
    bench.environment["BENCH_NUMERICS"] = "native"
    process = bench.process("run", "tiny", "--jobs", "1", "--quiet")
    _, stderr = process.communicate()
    assert process.returncode == 0
    assert "bench: native instead of portable numerics: BENCH_NUMERICS asks for it\n" in stderr
    assert set(stored(bench)) == {"native"}


@pytest.mark.parametrize(
    ("machine", "flags", "reason"),
    [
        ("aarch64", "asimd", "this machine has the architecture aarch64, not x86-64"),
        ("x86_64", "fpu sse4_2 avx bmi1 bmi2 f16c movbe", "this processor lacks avx2, fma"),
        ("x86_64", "fpu avx2 bmi1 bmi2 f16c fma movbe avx512f", ""),
    ],
)
def test_what_a_machine_lacks(machine: str, flags: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_NUMERICS", raising=False)
    monkeypatch.setattr(hardware.platform, "machine", lambda: machine)
    monkeypatch.setattr(hardware, "_cpuinfo", lambda path: {"flags": flags})
    assert hardware.not_portable.__wrapped__() == reason


@portable_only
def test_records_tell_how_they_were_computed(bench: Bench) -> None:
    bench("run", "tiny", "--jobs", "0", "--quiet")
    store = Store(bench.folder / "results" / "work", create=False)
    told = store.environment(store.records("tiny")[0].environment)["numerics"]
    assert told["setting"] == "portable"
    assert told["variables"]["MKL_CBWR"] == "COMPATIBLE"


# A process


@portable_only
def test_a_process_that_has_loaded_nothing_becomes_portable() -> None:
    assert child(ESTABLISH).stdout == "AVX2 x86-64-v3\n"


def test_a_library_loaded_before_is_one_sentence() -> None:
    said = child("import torch" + ESTABLISH).stdout
    assert said.startswith("portable numerics have to be settled before torch is loaded")
    assert said.count("\n") == 1


@pytest.mark.skipif("avx512f" not in hardware.hardware()["vector_units"], reason="needs a processor with AVX-512")
@pytest.mark.parametrize(
    ("loaded", "setting", "sentence"),
    [
        ("torch; torch.ones(9).exp()", "ATEN_CPU_CAPABILITY", "torch computes with AVX512"),
        ("numpy", "NPY_DISABLE_CPU_FEATURES", "NumPy computes with X86_V4"),
        ("numba", "NUMBA_CPU_NAME", "Numba compiles for this processor"),
        ("numpy", "OPENBLAS_CORETYPE", "OpenBLAS computes for"),
    ],
)
def test_a_library_that_does_not_obey_is_named(loaded: str, setting: str, sentence: str) -> None:
    """Loaded without its variable, which is set only afterwards."""
    late = f"import os, {loaded}\nos.environ[{setting!r}] = {numerics.PORTABLE[setting]!r}\n"
    variables = {name: value for name, value in numerics.PORTABLE.items() if name != setting}
    assert child(late + ESTABLISH, **variables).stdout.startswith(f"portable numerics did not take hold: {sentence}")


def test_native_leaves_the_choice_to_the_libraries() -> None:
    given = {"PATH": "/bin", "MKL_CBWR": "AVX2"}
    assert numerics.environment("native", given) == {"PATH": "/bin"}
    assert numerics.environment("portable", given) == {"PATH": "/bin", **numerics.PORTABLE}


@portable_only
def test_another_setting_after_the_libraries_is_refused() -> None:
    with pytest.raises(BenchError, match="native numerics have to be settled before torch is loaded"):
        numerics.settle("native")


# Replaced operators


@portable_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roots_are_rounded_as_the_standard_says(dtype: torch.dtype) -> None:
    """MKL's root is a unit in the last place off for every fifth number, which one depends on the processor's maker."""
    x = torch.arange(1, 200_000, dtype=dtype) / 1024
    assert np.array_equal(torch.sqrt(x).numpy(), np.sqrt(x.numpy()))


@portable_only
@pytest.mark.parametrize("name", ["sqrt", "log", "log10", "tan", "asin", "acos", "atan"])
def test_replaced_functions_are_functions_of_torch(name: str) -> None:
    function = getattr(torch, name)
    x = (torch.rand(5, 7, dtype=torch.float64) * 0.8 + 0.1).t().requires_grad_()
    assert torch.autograd.gradcheck(function, x)
    plain = x.detach()
    expected = function(plain)
    assert expected.stride() == plain.stride()
    assert torch.equal(getattr(plain.clone(), f"{name}_")(), expected)
    assert torch.equal(function(plain, out=torch.empty(0, dtype=torch.float64)), expected)
    assert function(plain.bfloat16()).dtype == torch.bfloat16
    assert function(torch.tensor(1)).dtype == torch.float32
    assert function(torch.tensor(0.5)).shape == ()
    assert torch.func.vmap(function)(plain).equal(expected)


def test_the_environment_of_this_process_is_as_conftest_says() -> None:
    assert all(
        os.environ.get(name) == (value if NUMERICS == "portable" else None) for name, value in numerics.PORTABLE.items()
    )
