"""The check of stand-in photographs: every view passes as itself, and none as one that keeps another share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from retable.bench.datasets.image_folder import FolderSplit, list_split
from retable.bench.datasets.views import View
from retable.bench.rehearsal import pictures

VIEWS: tuple[View, ...] = get_args(View)


class Told(FolderSplit):
    """Says `view` and shows its pictures as the first of the views with another share does."""

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        own = FolderSplit(listing=self.listing, size=self.size, augments=False, view=self.view)
        other = next(view for view in VIEWS if share(view) != share(self.view))
        return replace(own, view=other).images(indices, rng)


def share(view: View) -> float:
    return 1.0 if view == "adm" else float(view.partition("-")[0])


@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_passes_as_itself_and_not_as_one_of_another_share(view: View, size: int, tmp_path: Path) -> None:
    pictures.imagenet(SimpleNamespace(root="photographs", classes=4, size=size, reference=None), tmp_path)
    split = list_split(tmp_path / "photographs", "val", size, augments=False, view=view)
    assert pictures.middle(SimpleNamespace(held_out=split), {}) is None
    told = Told(listing=split.listing, size=size, augments=False, view=view)
    assert f"is not seen as {view}" in (pictures.middle(SimpleNamespace(held_out=told), {}) or "")
