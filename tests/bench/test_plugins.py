"""A plug-in is a file of any name, with files beside it; an edit of whatever it reads is seen, or said not to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retable.bench.errors import BenchError
from retable.bench.registry import resolve
from tests.bench.conftest import SUITE, TINY, Done

METHOD = """\
from dataclasses import dataclass
from pathlib import Path
from retable import register
import {helper}
from tests.bench.tiny import Tiny

@register("method", "mine")
@dataclass(frozen=True, kw_only=True)
class Mine(Tiny):
    def fit(self, data, needs, *, seed, device):
        {extra}
        model, log = super().fit(data, needs, seed=seed, device=device)
        with __import__("torch").no_grad():
            model.weight.add_({helper}.SHIFT)
        return model, log
"""


class World:
    """A project in a folder of its own, and the console script there: its own folder is not on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tiny.yaml").write_text(SUITE.replace("low: {use: tiny, with: {level: 1.0}}", "low: {use: mine}"))
        self.plugin("mine.py")

    def plugin(self, name: str, *, helper: str = "helper", extra: str = "pass") -> None:
        (self.folder / name).write_text(METHOD.format(helper=helper, extra=extra))
        (self.folder / f"{helper}.py").write_text("SHIFT = 0.0\n")

    def __call__(self, *arguments: str, plugin: str = "mine.py") -> Done:
        command = "import sys; from retable.bench.cli.main import main; sys.exit(main(sys.argv[1:]))"
        plugins = ["--plugin", plugin, "--plugin", str(TINY)]
        done = subprocess.run(
            [sys.executable, "-P", "-c", command, *arguments, *plugins],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**__import__("os").environ, "PYTHONPATH": str(TINY.parents[2])},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, plugin: str = "mine.py") -> Done:
        return self("run", "tiny.yaml", "--only", "low", "--jobs", "1", "--seeds", "1", plugin=plugin)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_edit_of_the_helper_runs_the_case_again(world: World) -> None:
    assert "1 cases executed" in world.run().stderr
    assert "0 cases executed, 1 cached" in world.run().stderr
    (world.folder / "helper.py").write_text("SHIFT = 1.0\n")
    done = world.run()
    assert "1 cases executed, 0 cached" in done.stderr
    assert "no key" not in done.stderr


@pytest.mark.parametrize(
    "name", ["models.py", "bench.py", "json.py", "random.py", "torch.py", "numpy.py", "types.py", "copy.py"]
)
def test_a_plug_in_may_have_any_name(world: World, name: str) -> None:
    world.plugin(name)
    done = world("check", "tiny.yaml", plugin=name)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_project_may_have_folders_called_models_and_bench(world: World) -> None:
    for folder in ("models", "bench"):
        (world.folder / folder).mkdir()
        (world.folder / folder / "mynet.py").write_text("SHIFT = 0.5\n")
    world.plugin("mine.py")
    source = (world.folder / "mine.py").read_text()
    (world.folder / "mine.py").write_text(
        source.replace("import helper", "from models import mynet as helper\nimport bench.mynet")
    )
    done = world.run()
    assert done.returncode == 0, done.stderr
    (world.folder / "models" / "mynet.py").write_text("SHIFT = 0.75\n")
    assert "1 cases executed, 0 cached" in world.run().stderr


def test_a_file_that_no_key_covers_is_named(world: World) -> None:
    world.plugin("mine.py", extra="print(open(str(Path(__file__).parent) + '/' + 'sh' + 'ift.txt').read())")
    (world.folder / "shift.txt").write_text("0")
    done = world.run()
    assert f"{world.folder / 'shift.txt'} was read by low and belongs to no key" in done.stderr
    assert "helper.py" not in done.stderr


def test_plug_ins_with_helpers_of_one_name_are_refused(world: World) -> None:
    other = world.folder / "other"
    other.mkdir()
    (other / "second.py").write_text("import helper\n")
    (other / "helper.py").write_text("SHIFT = 3.0\n")
    done = world("check", "tiny.yaml", "--plugin", "other/second.py")
    assert done.returncode == 2
    assert "are both importable as 'helper'; rename one" in done.stderr


def test_a_project_lists_its_plug_ins(world: World) -> None:
    listed = world.folder / "pyproject.toml"
    listed.write_text('[tool.retable]\nplugins = ["mine.py"]\n')
    below = world.folder / "deep"
    below.mkdir()
    (world.folder / "tiny.yaml").rename(below / "tiny.yaml")
    assert world("check", "deep/tiny.yaml", plugin=str(TINY)).returncode == 0
    for text, sentence in (
        ("[tool.retable]\nplugin = []\n", "has no 'plugin'; it has plugins"),
        ('[tool.retable]\nplugins = "mine.py"\n', "is a list of files and modules"),
        ('[tool.retable]\nplugins = ["none.py"]\n', "none.py cannot be loaded"),
        ("[tool.retable\n", "is not TOML"),
    ):
        listed.write_text(text)
        done = world("list", plugin=str(TINY))
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert sentence in done.stderr


def test_a_plug_in_that_exits_is_an_error(world: World) -> None:
    (world.folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    done = world("check", "tiny.yaml", plugin="leaves.py")
    assert done.returncode == 2
    assert "plugin leaves.py cannot be loaded: SystemExit" in done.stderr


def test_the_old_import_names_mean_the_same_modules() -> None:
    code = (
        "import retable, bench.registry as a, retable.bench.registry as b\n"
        "from models.spiking import neurons as c\nimport retable.models.spiking.neurons as d\n"
        "import bench, models; print(a is b, c is d, bench.__name__, models.__name__)\n"
    )
    for folder in (TINY.parents[2], Path("/")):  # the repository's own folders on the path, and nothing of these names
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["True", "True", "retable.bench", "retable.models"]


def test_a_name_like_none_that_is_known_says_how_files_of_ones_own_are_named() -> None:
    with pytest.raises(BenchError, match=r"unknown method 'qqqq'; what a file of your own registers .* --plugin FILE"):
        resolve("method", "qqqq")
    with pytest.raises(BenchError, match="did you mean 'sew-resnet'"):
        resolve("method", "sew-resnets")
