"""What light verbs remember is right after every change, harmless when it is torn, and never code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from retable.bench import kept as module
from retable.bench import registry
from retable.bench.cli.suites import fault, load_suite, summary
from retable.bench.kept import folder, kept
from tests.bench.conftest import SUITE

PLAIN = SUITE.replace("tiny-data", "digits").replace("read-weight", "count").replace("{use: tiny,", "{use: sew-resnet,")
PLAIN = PLAIN.replace("with: {level: 1.0}", "with: {epochs: 1}").replace("with: {level: 2.0}", "with: {epochs: 2}")
PLAIN = PLAIN.replace("weight", "params")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "_registered", {kind: {} for kind in registry.KINDS})
    yield tmp_path / "cache"
    module._but_for_sources.cache_clear()


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(PLAIN)
    return path


def test_a_file_is_read_once_and_again_when_it_changes(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_suite(suite, "mini")
    assert (fault(suite), summary(suite)["claims"]) == ("", 1)
    monkeypatch.setattr("retable.bench.declare.reader.load_suite", None)
    monkeypatch.setattr("retable.bench.declare.reader.check_suite", None)
    assert load_suite(suite, "mini") == first
    assert fault(suite) == ""
    monkeypatch.undo()
    suite.write_text(PLAIN.replace("metric: params, increasing", "metric: parms, increasing"))
    assert "tiny.yaml:" in fault(suite)
    assert "parms" in fault(suite)


def test_a_change_of_the_installation_forgets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept("x", ["a"], lambda: 1) == 1
    assert kept("x", ["a"], lambda: 2) == 1
    assert kept("x", ["b"], lambda: 2) == 2
    monkeypatch.setattr(module, "installation", lambda: "another")
    assert kept("x", ["a"], lambda: 3) == 3


def test_what_loaded_modules_decided_outlives_only_changes_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, other = os.path.realpath(module.__file__), "/nowhere/unloaded.py"
    files = {**module._files(), other: (other, 1, 1, 1)}
    made: list[int] = []

    def asked(**changed: tuple[str, int, int, int]) -> int:
        module._but_for_sources.cache_clear()
        monkeypatch.setattr(module, "_files", lambda: {**files, **changed})
        made.append(len(made))
        return module.kept_by_modules("x", ["a"], lambda: made[-1])

    assert (asked(), asked()) == (0, 0)
    assert asked(**{other: (other, 2, 2, 2)}) == 0
    assert asked(**{loaded: (loaded, 2, 2, 2)}) == 3
    assert asked(**{loaded: (loaded, 2, 2, 2), "/nowhere/table.yaml": ("/nowhere/table.yaml", 1, 1, 1)}) == 4
    assert asked(**{loaded: (loaded, 2, 2, 2), "/nowhere/new.py": ("/nowhere/new.py", 1, 1, 1)}) == 5
    module._but_for_sources.cache_clear()
    with pytest.raises(ZeroDivisionError):
        module.kept_by_modules("x", ["b"], lambda: 1 // 0)
    assert module.kept_by_modules("x", ["b"], lambda: 1) == 1


def test_a_suite_is_checked_again_after_a_change_of_what_it_declares_and_not_of_what_it_does_not(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unloaded = "/nowhere/metric.py"
    files = {**module._files(), unloaded: (unloaded, 1, 1, 1)}
    own = next(file for file in files if file.endswith("models/vision/method.py"))
    monkeypatch.setattr(module, "_files", lambda: files)
    assert fault(suite) == ""
    read: list[Path] = []
    monkeypatch.setattr("retable.bench.declare.reader.check_suite", read.append)
    for changed, times in ((unloaded, 0), (own, 1)):
        monkeypatch.setattr(module, "_files", lambda file=changed: {**files, file: (file, 0, 0, 0)})
        assert fault(suite) == ""
        assert len(read) == times


def test_only_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    for one in range(9):
        kept("x", [str(one)], str(one).strip)
        os.utime(max((folder() / "x").iterdir(), key=lambda file: file.stat().st_mtime_ns), (one, one))
    files = sorted((folder() / "x").iterdir(), key=lambda file: file.stat().st_mtime)
    assert 2 <= len(files) <= 4
    assert kept("x", ["8"], str) == "8"


def test_packages_are_read_once_for_all_changes_of_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installation", lambda: "before")
    assert registry._installed.__wrapped__() == {kind: {} for kind in registry.KINDS}
    monkeypatch.setattr(module, "installation", lambda: "after")
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    assert registry._installed.__wrapped__() == {kind: {} for kind in registry.KINDS}


def test_a_package_that_appears_on_the_path_forgets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    before = module.installation.__wrapped__()
    (tmp_path / "another-1.0.dist-info").mkdir()
    assert module.installation.__wrapped__() != before


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x04.", pickle.dumps(print), pickle.dumps([1])])
def test_a_torn_or_planted_file_is_made_again(suite: Path, content: bytes) -> None:
    first = load_suite(suite, "mini")
    (file,) = (folder() / "suites").iterdir()
    file.write_bytes(content)
    assert load_suite(suite, "mini") == first


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [kept("x", ["a"], lambda: 1), kept("x", ["a"], lambda: 2)] == [1, 2]


def test_old_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(9):
        kept("x", [str(number)], lambda: 0)
    assert len(list((folder() / "x").iterdir())) == 3
