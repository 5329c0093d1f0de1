"""Zero-shot tasks through lm-eval's own Python API: its stock tasks by name, or generated ones from local files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.datasets.texts import typos
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    from retable.bench.datasets.texts.text import TextData

GENERATED = (typos.NAME,)
QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


@dataclass(frozen=True)
class Answers:
    """One task's answers: whether each is right by log-likelihood and by log-likelihood a character (None: not defined)."""

    version: str
    acc: tuple[float, ...]
    acc_norm: tuple[float, ...] | None


@dataclass(frozen=True)
class ZeroShot:
    """Answers by task, and whose harness asked."""

    lm_eval: str
    tasks: dict[str, Answers]

    def as_dict(self) -> dict[str, Any]:
        return {
            "lm_eval": self.lm_eval,
            "tasks": {
                name: {"version": a.version, "acc": a.acc, "acc_norm": a.acc_norm} for name, a in self.tasks.items()
            },
        }


def run(
    model: Any,
    data: TextData,
    tasks: Sequence[str],
    *,
    questions: int,
    limit: int | None,
    batch_size: int,
    max_length: int,
    device: str,
) -> ZeroShot:
    """Ask every task without examples. Raises BenchError for an unknown task, MissingDataError for absent packages or data."""
    os.environ.update(QUIET)
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise MissingDataError(
            f"zero-shot tasks need {error.name}: `pip install 'retable[language]'` brings it"
        ) from error
    _quiet()
    lm = HFLM(
        pretrained=model.lm,
        tokenizer=model.tokenizer,
        backend="causal",
        device=device,
        batch_size=batch_size,
        max_length=max_length,
    )
    found: dict[str, Answers] = {}
    with tempfile.TemporaryDirectory(prefix="retable-tasks-") as folder:
        stock = [name for name in tasks if name not in GENERATED]
        write_generated(Path(folder), data, questions)
        manager = TaskManager(include_path=folder, include_defaults=bool(stock))
        if unknown := [name for name in tasks if name not in manager.all_tasks]:
            raise BenchError(
                f"lm-eval {lm_eval.__version__} has no task {unknown[0]!r}; generated here: {', '.join(GENERATED)}"
            )
        for name in tasks:
            found[name] = _ask(lm_eval, lm, manager, name, limit if name in stock else None)
    return ZeroShot(lm_eval=lm_eval.__version__, tasks=found)


def _quiet() -> None:
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("datasets").setLevel(logging.ERROR)


def _ask(lm_eval: Any, lm: Any, manager: Any, name: str, limit: int | None) -> Answers:
    import contextlib
    import io

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its bars and hints
            result = lm_eval.simple_evaluate(
                model=lm,
                tasks=[name],
                task_manager=manager,
                num_fewshot=0,
                bootstrap_iters=0,
                log_samples=True,
                limit=limit,
                verbosity="ERROR",
            )
    except Exception as error:
        if _needs_network(error):
            raise MissingDataError(
                f"lm-eval's task {name!r} needs its data set, which is not in the cache of Hugging Face here ($HF_HOME) and cannot "
                "be fetched: run once with a network, or copy the cache, or ask for `generated-typos`"
            ) from error
        raise
    samples = sorted(result["samples"][name], key=lambda sample: int(sample["doc_id"]))
    norm = tuple(float(sample["acc_norm"]) for sample in samples) if "acc_norm" in samples[0] else None
    return Answers(str(result["versions"][name]), tuple(float(sample["acc"]) for sample in samples), norm)


def _needs_network(error: BaseException | None) -> bool:
    """Whether a hub or a socket stands behind an error."""
    while error is not None:
        name = type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError) or name in (
            "OfflineModeIsEnabled",
            "LocalEntryNotFoundError",
            "DatasetNotFoundError",
            "ConnectError",
            "ProxyError",
            "ConnectTimeout",
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def write_generated(folder: Path, data: TextData, count: int) -> None:
    """The task files and questions of every generated task."""
    lines = [
        json.dumps({"context": q.context, "choices": list(q.choices), "gold": q.gold})
        for q in typos.questions(data.held_out, count)
    ]
    file = folder / f"{typos.NAME}.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
    task = {
        "task": typos.NAME,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(file.resolve())}},
        "output_type": "multiple_choice",
        "validation_split": "validation",
        "doc_to_text": "{{context}}",
        "doc_to_target": "gold",
        "doc_to_choice": "{{choices}}",
        "num_fewshot": 0,
        "metric_list": metrics,
        "metadata": {"version": float(typos.VERSION)},
    }
    (folder / f"{typos.NAME}.yaml").write_text(json.dumps(task), encoding="utf-8")
