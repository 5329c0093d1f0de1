"""Task `finetune-text` on parts of the data and epochs of the fit: MNLI is trained once and measured twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.cli.main import main
from retable.bench.datasets.texts.glue import Glue
from retable.bench.errors import BenchError
from retable.bench.metrics.sentences import Glue as GlueScore
from retable.bench.rehearsal.texts import glue
from retable.bench.run import weights
from retable.bench.tasks.finetune_text import FinetuneText, FinetuneTextEvidence
from retable.models.spikelm.method import SpikingBert

SUITES = Path(__file__).parents[3] / "suites"
SMALL: dict[str, Any] = {
    "T": 2, "width": 16, "layers": 1, "heads": 2, "hidden": 16, "vocabulary": 60, "length": 20,
    "epochs": 4, "batch_size": 8, "lr": 1e-2,
}  # fmt: skip
BEST, LAST = FinetuneText(epoch="best"), FinetuneText(part="mm", epoch="last")


@pytest.fixture(scope="module")
def mnli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A miniature of MNLI's three files, and of RTE's two."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(root))
        for task in ("mnli", "rte"):
            glue(Glue(task=task), root)
        yield


def fit(keep: Any, data: Any) -> tuple[bytes, Any, dict[str, Any]]:
    """The stored weights, the model as it is restored from them, and the log."""
    method = SpikingBert(**SMALL, keep=keep)
    fitted, log = method.fit(data, {}, seed=42, device="cpu")
    stored = weights.dump(fitted, "it")
    return stored, method.load(weights.read(stored), data, {}, device="cpu"), log


def measured(task: FinetuneText, model: Any, data: Any) -> FinetuneTextEvidence:
    return task.evidence(model, data, seed=42, device="cpu")


def test_both_rows_of_the_suite_have_one_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--profile", "paper", "--dry-run", "--only", "run-mnli-*t4", "--store", str(tmp_path / "none")]
    assert main(["run", str(SUITES / "table_spikelm.yaml"), *arguments]) == 0
    stages = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("table_spikelm/")]
    assert stages == [
        ["table_spikelm/run-mnli-t4/0", "fit"],
        ["table_spikelm/run-mnli-t4/0", "evaluate"],
        ["table_spikelm/run-mnli-mm-t4/0", "evaluate"],
    ]


@pytest.mark.usefixtures("mnli")
def test_one_fit_has_the_numbers_of_two() -> None:
    matched, mismatched = Glue(task="mnli").load(), Glue(task="mnli-mm").load()
    stored, both, log = fit("both", matched)
    stored_best, best, log_best = fit("best", matched)
    stored_last, last, log_last = fit("last", mismatched)
    scores = log["task"].pop("scores")
    assert scores.index(max(scores)) < len(scores) - 1, "the best epoch is not the last, or nothing is shown"
    assert log_best["task"].pop("scores") == scores
    assert log == log_best == log_last
    for task, alone, data in ((BEST, best, matched), (LAST, last, mismatched)):
        got, want = measured(task, both, matched), measured(FinetuneText(), alone, data)
        assert got.data.name == want.data.name
        assert np.array_equal(got.outputs_NK, want.outputs_NK)
        assert got.artefacts() == want.artefacts(), "predictions and the account"
        score = GlueScore(task=data.name.removeprefix("glue-"))
        assert score.measure(got) == score.measure(want)
    assert not np.array_equal(
        measured(BEST, both, matched).outputs_NK, measured(FinetuneText(epoch="last"), both, matched).outputs_NK
    )
    names = {name for one in (stored_best, stored_last) for name in weights.read(one)}
    assert names == set(SpikingBert(**SMALL).build(matched).state_dict()), "one epoch is stored as it always was"
    assert len(stored_best) < 0.6 * len(stored)


@pytest.mark.usefixtures("mnli")
def test_what_the_fit_or_the_data_lack_is_one_sentence() -> None:
    rte, matched = Glue(task="rte").load(), Glue(task="mnli").load()
    alone = torch.nn.Linear(1, 1)
    both = torch.nn.ModuleDict({"best": alone, "last": alone})
    for task, model, data, sentence in (
        (FinetuneText(part="mm"), alone, rte, "glue-rte has no held-out part 'mm', but only its first"),
        (FinetuneText(part="m"), alone, matched, "glue-mnli has no held-out part 'm', but mm"),
        (LAST, alone, matched, "kept one epoch's weights, and `epoch: last` of the task needs one that kept several"),
        (FinetuneText(), both, matched, "kept the epochs best, last, and the task names no `epoch`"),
        (BEST, torch.nn.ModuleDict({"last": alone}), matched, "kept the epochs last, and the task names `epoch: best`"),
    ):
        with pytest.raises(BenchError, match=sentence):
            measured(task, model, data)
