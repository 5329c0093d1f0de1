"""The command's grammar, start-up, and the verbs that only read."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from retable.bench.cli.main import repetitions
from tests.bench.conftest import Bench

PROJECT = Path(__file__).parents[3]
LIGHT = """
import sys
from retable.bench.cli.main import main
try:
    main({arguments!r})
except SystemExit:
    pass
heavy = sorted({{"torch", "numpy", "scipy", "pandas", "sklearn", "rich", "torchvision"}} & set(sys.modules))
print("HEAVY", heavy, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["check"], ["show", "table2_aim/aim-b"], ["run", "--help"], ["doctor"]]
)
def test_light_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(arguments=arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HEAVY []" in done.stderr, done.stderr


def test_checking_all_suites_anew_imports_no_more_than_what_they_declare(tmp_path: Path) -> None:
    """What only a run needs of the standard library, and the accountant's rules, cost a reader a quarter of his time."""
    unneeded = ("email", "sqlite3", "subprocess", "tempfile", "concurrent.futures", "retable.bench.accountant.rules")
    told = "import sys; from retable.bench.cli.main import main; main(['check', *{suites}]); print(set({unneeded}) & set(sys.modules))"
    for suites in (["table2_aim"], []):  # the first one reads which packages are installed besides
        done = subprocess.run(
            [sys.executable, "-c", told.format(suites=suites, unneeded=unneeded)],
            cwd=PROJECT,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_list_names_every_suite_with_its_profiles() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "retable", "list", "--json"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    names = {suite["suite"] for suite in json.loads(done.stdout)}
    assert names == {path.stem for path in (PROJECT / "suites").glob("*.yaml")}


def test_check_accepts_what_ships_and_refuses_a_broken_file(bench: Bench) -> None:
    assert bench("check").returncode == 0
    bench.edit("level: 2.0", "levle: 2.0")
    done = bench("check")
    assert done.returncode == 2
    assert "tiny.yaml:11" in done.stderr
    assert "level" in done.stderr


def test_show_explains_where_a_number_came_from(bench: Bench) -> None:
    bench("run", "suites/tiny.yaml", "--jobs", "0")
    shown = bench("show", "tiny/high").stdout
    for expected in ("weight", "level", "seed", "torch", "wall", "repetition"):
        assert expected in shown
    records = bench.json("show", "tiny/high")
    assert {record["stage"] for record in records} == {"fit", "evaluate"}
    key = records[0]["key"]
    assert key in bench("show", key[:10]).stdout


@pytest.mark.parametrize("case", ["tiny/nobody", "feedbeef", "nothing/at/all/0"])
def test_show_of_something_unknown_is_one_sentence(bench: Bench, case: str) -> None:
    bench("run", "suites/tiny.yaml", "--jobs", "0", "--only", "low", "--seeds", "1")
    done = bench("show", case)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_gate_exit_statuses(bench: Bench) -> None:
    assert bench("gate", "suites/tiny.yaml").returncode == 3
    bench("run", "suites/tiny.yaml", "--jobs", "0")
    assert bench("gate", "suites/tiny.yaml").returncode == 0
    bench.edit("increasing: [low, high]", "increasing: [high, low]")
    falsified = bench("gate", "suites/tiny.yaml")
    assert falsified.returncode == 1
    assert "contradicted" in falsified.stdout


def test_gate_misses_a_required_case(bench: Bench) -> None:
    bench("run", "suites/tiny.yaml", "--jobs", "0", "--only", "low")
    assert bench("gate", "suites/tiny.yaml").returncode == 3


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv"])
def test_table_goes_to_stdout_or_a_file(bench: Bench, form: str) -> None:
    bench("run", "suites/tiny.yaml", "--jobs", "0")
    printed = bench("table", "suites/tiny.yaml", "--format", form).stdout
    bench("table", "suites/tiny.yaml", "--format", form, "--output", "out")
    assert (bench.folder / "out").read_text() == printed
    assert "Low" in printed


def test_reading_verbs_create_nothing(bench: Bench) -> None:
    for verb in ("table", "gate"):
        bench(verb, "suites/tiny.yaml")
    bench("show", "tiny/low")
    bench("doctor")
    assert sorted(path.name for path in bench.folder.iterdir()) == ["suites"]


@pytest.mark.parametrize("name", ["suites/absent.yaml", "absent", "../tiny.yaml", "suites"])
def test_a_suite_that_is_not_there(bench: Bench, name: str) -> None:
    done = bench("run", name)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_profile_that_is_not_there(bench: Bench) -> None:
    done = bench("run", "suites/tiny.yaml", "--profile", "papr")
    assert done.returncode == 2
    assert "paper" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"), [("3", (0, 1, 2)), ("0,2", (0, 2)), ("7,", None), ("x", None), ("0", None), ("9" * 9, None)]
)
def test_repetitions(text: str, expected: tuple[int, ...] | None) -> None:
    import argparse

    if expected is None:
        with pytest.raises(argparse.ArgumentTypeError):
            repetitions(text)
    else:
        assert repetitions(text) == expected


def test_a_plugin_that_does_not_load_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no')\n")
    done = bench("check", "--plugin", "broken.py")
    assert done.returncode == 2
    assert "broken.py" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "amount"),
    [("--jobs", "1000000000"), ("--jobs", "²"), ("--seeds", "1000000000"), ("--max-jobs", "9" * 12)],
)
def test_absurd_amounts_are_refused(bench: Bench, option: str, amount: str) -> None:
    done = bench("run", "tiny", option, amount)
    assert done.returncode == 2
    assert f"argument {option}:" in done.stderr
    bench.edit("threads: 1}}\n  paper", "threads: 1000000000}}\n  paper")
    assert "'threads' of 'limits' of" in (done := bench("check")).stderr
    assert done.stderr.rstrip().endswith("must be a whole number from 1 to 1024, not 1000000000")


@pytest.mark.parametrize("kind", ["file", "pipe", "folder", "another's"])
def test_a_store_that_no_verb_can_open_is_no_success_of_doctor(bench: Bench, kind: str) -> None:
    path = bench.folder / "results" / "work" / "records.sqlite"
    path.parent.mkdir(parents=True)
    {
        "file": lambda: path.write_bytes(b"not a database" * 100),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "another's": lambda: sqlite3.connect(path).execute("CREATE TABLE other (a)"),
    }[kind]()
    assert bench("table", "tiny").returncode == 2
    done = bench("doctor")
    assert done.returncode == 3
    assert str(path.relative_to(bench.folder)) in done.stdout


def test_a_pipe_in_place_of_a_manifest_is_damage(bench: Bench) -> None:
    manifest = bench.folder / "results" / "tiny" / "v1" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    os.mkfifo(manifest)
    done = bench("verify", plugin=False)
    assert done.returncode == 1
    assert "its manifest cannot be read (it is no file)" in done.stderr or "it is no file" in done.stderr


def test_doctor_reports_machine_and_data(bench: Bench) -> None:
    done = bench("doctor")
    assert done.returncode == 0
    for expected in ("python", "torch", "store", "imagenet"):
        assert expected in done.stdout
