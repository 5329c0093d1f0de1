"""What makes the command line easy: completion, nearest names, rows of a suite, sizes, progress that knows what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.cli.progress import Progress, Watch, clock
from retable.bench.record import Status
from retable.bench.report.numbers import fact
from retable.bench.run.expect import Expectations
from retable.bench.run.job import Event
from retable.bench.run.pulse import Beat, beating, read
from tests.bench.cli.test_progress import Terminal
from tests.bench.conftest import TINY, Bench
from tests.bench.fake_runs import job, template

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bench run ti", {"tiny"}),
        ("bench run tiny --only ", {"low", "high", "cited"}),
        ("bench show tiny/h", {"tiny/high"}),
        ("bench table tiny --column ", {"weight"}),
    ],
)
def test_a_shell_completes_suites_rows_and_metrics(bench: Bench, line: str, expected: set[str]) -> None:
    pytest.importorskip("argcomplete")
    (bench.folder / "pyproject.toml").write_text(f'[tool.retable]\nplugins = ["{TINY}"]\n')
    answer = bench.folder / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    subprocess.run(
        [sys.executable, "-m", "retable"],
        cwd=bench.folder,
        env={**os.environ, **asked, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert expected <= {word.strip() for word in answer.read_text().split("\n")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_code_is_printed(bench: Bench, shell: str) -> None:
    pytest.importorskip("argcomplete")
    assert "bench" in bench("completion", shell).stdout


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("run", "tyni"), "did you mean 'tiny'"),
        (("run", "tiny", "--only", "hihg"), "did you mean 'high'"),
        (("gate", "tiny", "--only", "lwo"), "did you mean 'low'"),
        (("show", "tiny/lowe"), "did you mean 'low'"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(bench: Bench, command: tuple[str, ...], told: str) -> None:
    bench("run", "tiny", "--jobs", "0", "--quiet", "--seeds", "1", "--only", "low")
    done = bench(*command)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_suite_is_shown_by_its_rows(bench: Bench) -> None:
    bench("run", "tiny", "--jobs", "0", "--quiet", "--only", "low", "--seeds", "2")
    rows = {row["name"]: row for row in bench.json("show", "tiny")["rows"]}
    assert (rows["low"]["stored"], rows["low"]["seeds"]) == (2, 3)
    assert rows["cited"]["measured"] is False
    text = bench("show", "tiny").stdout
    assert "2/3" in text
    assert "reported" in text


def test_sizes_are_for_people() -> None:
    assert fact("memory", 25276514304) == "23.5 GiB (25276514304 bytes)"
    assert fact("bytes", 512) == "512 bytes"
    assert fact("cores", 2**20) == str(2**20)


class TestProgress:
    def test_a_row_is_expected_to_take_what_it_took_at_other_seeds(self) -> None:
        known = Expectations.__new__(Expectations)
        known._seen = {}
        one = template("one", status=Status.OK, timings={"wall": 60.0})
        assert known.left([one], 1) is None
        known.add(one)
        known.add(replace(one, status=Status.FAILED, timings={"wall": 1.0}))
        assert known.seconds(one) == 60.0
        assert known.left([one, one], 2) == 60.0
        assert known.left([one, one], 1, spent=30.0) == 90.0

    def test_a_stage_shows_its_steps_its_loss_and_what_is_left(self, tmp_path: Path) -> None:
        one = template("one", status=Status.OK, timings={"wall": 3600.0})
        known = Expectations.__new__(Expectations)
        known._seen = {}
        known.add(one)
        pulses, stream = tmp_path / "running", Terminal()
        watched = job("one")
        watch = Watch(templates={watched.key: watched.template}, expectations=known, pulses=pulses)
        with Progress(total=2, stream=stream, watch=watch) as progress:
            (pulses / f"{watched.key}.json").write_text(json.dumps({"step": 1240, "loss": 0.3125}))
            progress(Event(kind="started", job=watched))
            assert progress._live is not None
            progress._live._bars.refresh()
            (pulses / f"{watched.key}.json").unlink()
        assert "step 1,240, loss 0.3125" in stream.getvalue()
        assert "59:5" in stream.getvalue() or "1:00:00" in stream.getvalue()
        assert "0/2" in stream.getvalue()
        assert not pulses.exists()

    def test_a_training_beats_only_where_somebody_looks_and_leaves_torch_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from retable.bench.run import pulse

        monkeypatch.setattr(pulse, "EVERY", 0.005)
        before = torch.Tensor.backward
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1)

        def train(folder: Path) -> Beat:
            found = Beat()
            with beating(folder, "k"):
                deadline = time.monotonic() + 20
                while not (found.step and found.loss is not None) and time.monotonic() < deadline:
                    weight.square().sum().backward()
                    optimizer.step()
                    found = read(folder, "k")
                    if not folder.is_dir():
                        break
            return found

        assert train(tmp_path / "nobody") == Beat()
        (tmp_path / "running").mkdir()
        assert train(tmp_path / "running").step >= 1
        assert torch.Tensor.backward is before
        assert list((tmp_path / "running").iterdir()) == []


def test_a_clock_has_hours_where_it_needs_them() -> None:
    assert [clock(7), clock(750), clock(11050)] == ["0:07", "12:30", "3:04:10"]
