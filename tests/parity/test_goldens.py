"""Every fixture of a paper that is implemented here must agree with the reference implementation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.conftest import PAPERS, Golden, adapters


def test_parity(paper: str, fixture_path: Path) -> None:
    if paper not in PAPERS:
        pytest.fail(f"no reference implementation of {paper!r} here; known: {', '.join(PAPERS)}")
    table = adapters(paper)
    kinds = [kind for kind in table if fixture_path.stem.startswith(kind)]
    assert kinds, f"{fixture_path.name}: no adapter among {sorted(table)}"
    table[max(kinds, key=len)](Golden(fixture_path))


def test_there_are_fixtures(request: pytest.FixtureRequest) -> None:
    from tests.parity.conftest import fixtures_below

    assert fixtures_below(Path(request.config.getoption("--goldens")).resolve()), "no .npz fixture found"
