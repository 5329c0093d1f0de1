"""Source digests: one token changes them, comments and layout do not, and the closure stays where it should."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    sources._package_folder.cache_clear()
    source_digest.cache_clear()
    yield folder
    for name in [name for name in sys.modules if name.startswith("mypackage")]:
        del sys.modules[name]


def test_closure_holds_what_the_method_imports_and_nothing_else(package: Path) -> None:
    files = {path.name for path in source_files("mypackage.method")}
    assert files == {"method.py", "helper.py", "deep.py", "__init__.py"}


def test_a_token_in_an_imported_module_changes_the_digest(package: Path) -> None:
    before = source_digest("mypackage.method")
    (package / "unrelated.py").write_text("Y = 2\n")
    source_digest.cache_clear()
    assert source_digest("mypackage.method") == before
    (package / "deep.py").write_text("X = 2\n")
    source_digest.cache_clear()
    assert source_digest("mypackage.method") != before


def test_reference_code_reaches_its_own_sources_only() -> None:
    names = {path.as_posix().rpartition("models/")[2] for path in source_files("retable.models.aim.method")}
    assert {"aim/method.py", "aim/stage2.py", "aim/tokenizer.py", "ssm/mamba2.py"} <= names
    assert not any("bench" in path.parts for path in source_files("retable.models.aim.method"))


def test_the_harness_is_not_part_of_a_metric() -> None:
    files = {path.name for path in source_files("retable.bench.metrics.frechet")}
    assert "frechet.py" in files
    assert not files & {"store.py", "record.py", "registry.py"}
