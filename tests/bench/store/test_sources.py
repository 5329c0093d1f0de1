"""Source digests: one token changes them, comments and layout do not, and the closure stays where it should."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench import kept
from retable.bench.store import sources
from retable.bench.store.sources import source_digest, source_files, token_digest

SOURCE = '''
def scale(x, factor=2):
    """Doc."""
    return f"{x * factor!r:>10} of {factor}"
'''


@pytest.mark.parametrize(
    "same",
    [
        SOURCE + "\n# a comment\n",
        SOURCE.replace("\n    return", "\n\n    # why\n    return"),
        SOURCE.replace("factor=2", "factor = 2"),
        SOURCE.replace("    ", "  "),
    ],
)
def test_layout_does_not_count(same: str) -> None:
    assert token_digest(same) == token_digest(SOURCE)


@pytest.mark.parametrize(
    "other",
    [SOURCE.replace("factor=2", "factor=3"), SOURCE.replace(" of ", " off "), SOURCE.replace("return", "yield")],
)
def test_one_token_counts(other: str) -> None:
    assert token_digest(other) != token_digest(SOURCE)


@given(st.lists(st.sampled_from(["a = 1", "b = a", "if a:\n    c = 2", "# note", ""]), max_size=6))
def test_comments_and_blank_lines_never_count(lines: list[str]) -> None:
    bare = [line for line in lines if line and not line.startswith("#")]
    assert token_digest("\n".join(lines) + "\n") == token_digest("\n".join(bare) + "\n")


def forget() -> None:
    """What was read once stays read within a process."""
    for one in vars(sources).values():
        if hasattr(one, "cache_clear"):
            one.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package with one method that imports a helper, which imports another, and the harness."""
    folder = tmp_path / "mypackage"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "method.py").write_text(
        "import retable.bench.store\nimport json\n\n\ndef fit():\n    from .helper import h\n"
    )
    (folder / "helper.py").write_text("from mypackage import deep\n\n\ndef h(): ...\n")
    (folder / "deep.py").write_text("X = 1\n")
    (folder / "unrelated.py").write_text("Y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield folder
    for name in [name for name in sys.modules if name.startswith("mypackage")]:
        del sys.modules[name]


def test_closure_holds_what_the_method_imports_and_nothing_else(package: Path) -> None:
    files = {path.name for path in source_files("mypackage.method")}
    assert files == {"method.py", "helper.py", "deep.py", "__init__.py"}


def test_a_token_in_an_imported_module_changes_the_digest(package: Path) -> None:
    before = source_digest("mypackage.method")
    (package / "unrelated.py").write_text("Y = 2\n")
    forget()
    assert source_digest("mypackage.method") == before
    (package / "deep.py").write_text("X = 2\n")
    forget()
    assert source_digest("mypackage.method") != before


def test_a_move_changes_nothing_but_another_target_does(package: Path) -> None:
    before = source_digest("mypackage.method")
    (package / "room").mkdir()
    (package / "helper.py").rename(package / "room" / "helper.py")
    method = package / "method.py"
    method.write_text(method.read_text().replace("from .helper import", "from .room.helper import"))
    (package / "__init__.py").write_text("# the same as nothing\n")
    forget()
    assert source_digest("mypackage.method") == before
    (package / "rival.py").write_text("from mypackage import deep\n\n\ndef h(): return 1\n")
    (package / "method.py").write_text(method.read_text() + "import mypackage.rival\n")
    forget()
    both = source_digest("mypackage.method")
    method.write_text(method.read_text().replace("from .room.helper import h", "from .rival import h"))
    forget()
    assert source_digest("mypackage.method") != both, "the same name from another file of the closure"


def test_what_stands_beside_an_import_counts(package: Path) -> None:
    method = package / "method.py"
    method.write_text("if 1: from mypackage import deep\n")
    before = source_digest("mypackage.method")
    method.write_text("if 0: from mypackage import deep\n")
    forget()
    assert source_digest("mypackage.method") != before


def test_a_helper_beside_a_plug_in_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("one_method", "lone_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "one_method.py").write_text("import json, os, torch\nimport lone_helper\n")
    (tmp_path / "lone_helper.py").write_text("X = 1\n")
    forget()
    before = source_digest("one_method")
    assert [path.name for path in source_files("one_method")] == ["lone_helper.py", "one_method.py"]
    (tmp_path / "lone_helper.py").write_text("X = 2\n")
    forget()
    assert source_digest("one_method") != before


def test_data_files_that_code_names_count(package: Path) -> None:
    method = package / "method.py"
    method.write_text(
        "from pathlib import Path\nA = Path(__file__).with_name('costs.yaml')\nB = Path(__file__).parent / 'deep' / 'w.bin'\n"
        "C = sorted((Path(__file__).parent / 'tables').glob('*'))\n"
    )
    (package / "costs.yaml").write_text("mac: 4.6\n")
    (package / "other.yaml").write_text("nobody reads it\n")
    for folder in ("deep", "tables"):
        (package / folder).mkdir()
        (package / folder / "w.bin").write_bytes(b"1")
    assert {path.name for path in source_files("mypackage.method")} == {"method.py", "costs.yaml", "w.bin"}
    for file in (package / "costs.yaml", package / "deep" / "w.bin", package / "tables" / "w.bin"):
        forget()
        before = source_digest("mypackage.method")
        file.write_bytes(file.read_bytes() + b"!")
        forget()
        assert source_digest("mypackage.method") != before, file


def test_the_cost_table_belongs_to_the_metric_of_energy() -> None:
    assert "costs.yaml" in {path.name for path in source_files("retable.bench.metrics.operations")}


def test_reference_code_reaches_its_own_sources_only() -> None:
    names = {path.as_posix().rpartition("models/")[2] for path in source_files("retable.models.aim.method")}
    assert {"aim/method.py", "aim/stage2.py", "aim/tokenizer.py", "ssm/mamba2.py"} <= names
    assert not any("bench" in path.parts for path in source_files("retable.models.aim.method"))


def test_the_harness_is_not_part_of_a_metric() -> None:
    files = {path.name for path in source_files("retable.bench.metrics.frechet")}
    assert "frechet.py" in files
    assert not files & {"store.py", "record.py", "registry.py"}


def test_after_an_edit_only_the_edited_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stamp, read_source = sources.stamp, sources._read
    read: list[str] = []

    def digest(edit: str) -> str:
        """The digest where speech.py looks as `edit` left it."""
        monkeypatch.setattr(sources, "stamp", lambda path, status: (edit * ("speech" in path), *stamp(path, status)))
        monkeypatch.setattr(sources, "_read", lambda module, path: read.append(module) or read_source(module, path))
        forget()
        read.clear()
        return sources._source_digest("retable.bench.metrics.speech")

    first = digest("one")
    assert len(read) > 1
    assert digest("one") == first
    assert read == []
    assert digest("two") == first
    assert read == ["retable.bench.metrics.speech"]


def test_a_remembered_digest_is_made_again_when_any_of_its_sources_is_touched_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = "retable.models.stfn.method"
    files, read = dict(kept._files()), list[str]()
    behind = {str(path.resolve()) for path in (Path(sources.__file__), *source_files(own)) if path.suffix == ".py"}
    apart = next(file for file in files if file.endswith("models/aim/method.py"))
    assert apart not in behind
    assert len(behind) > 3
    monkeypatch.setattr(sources, "_source_digest", lambda module: read.append(module) or "digest")  # type: ignore[func-returns-value]
    for touched in (apart, *sorted(behind)):
        times = []
        for now in (files, {**files, touched: (touched, 0, 0, 0)}):
            monkeypatch.setattr(kept, "_files", lambda now=now: now)
            source_digest.__wrapped__(own)
            times.append(len(read))
        assert times[1] - times[0] == (touched in behind), touched
