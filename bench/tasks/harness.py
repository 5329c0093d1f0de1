"""Zero-shot tasks through lm-eval's own Python API: its stock tasks by name, or generated ones from local files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retable.bench.datasets.texts import typos
from retable.bench.errors import BenchError, MissingDataError, nearest

if TYPE_CHECKING:
    from retable.bench.datasets.texts.text import TextData

Protocol = Literal["lm-eval", "official"]
GENERATED = (typos.NAME,)
MOST_NAMED = 8
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
    protocol: Protocol = "lm-eval"

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
    protocol: Protocol = "lm-eval",
) -> ZeroShot:
    """Ask every task without examples. Raises BenchError for an unknown task, MissingDataError for absent packages or data."""
    os.environ.update(QUIET)
    find_a_cache()
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise MissingDataError(
            f"zero-shot tasks need {error.name}: `pip install 'retable[language]'` brings it"
        ) from error
    _quiet()
    kind = _asks_as_released(HFLM) if protocol == "official" else HFLM
    lm = kind(
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
        _require_tasks(lm_eval, manager, tasks)
        _require_answers(manager, tasks)
        for name in tasks:
            found[name] = _ask(lm_eval, lm, manager, name, limit if name in stock else None)
    return ZeroShot(lm_eval=lm_eval.__version__, tasks=found, protocol=protocol)


def _asks_as_released(base: type) -> type:
    """Questions as harnesses of the 0.3 generation asked, which the papers' tables come from.

    No token begins a text, context and continuation are encoded apart, and an empty context is the end of a text. The same
    model differs by up to 20 points between the two (LLaMA-7B on ARC-e: 52.48 and 72.94).
    """

    class AsReleased(base):
        @property
        def prefix_token_id(self) -> int:
            return int(self.eot_token_id)

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            first, second = (self.tok_encode(text, add_special_tokens=False) for text in (context, continuation))
            return first, second

    return AsReleased


def find_a_cache() -> None:
    """Where Hugging Face's cache cannot be made, as in a home that is read-only, it is a folder that goes with this process.

    To be called before its packages are imported, which look for $HF_HOME once.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        Path(os.environ.get("HF_HOME") or f"{base}/huggingface").mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["HF_HOME"] = _passing().name


@cache
def _passing() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="retable-huggingface-")


def _quiet() -> None:
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("datasets").setLevel(logging.ERROR)


def _require_tasks(lm_eval: Any, manager: Any, names: Sequence[str]) -> None:
    """Raises BenchError for a name that lm-eval does not have, or that stands for several tasks."""
    for name in names:
        for kind, known in (("group", manager.all_groups), ("tag", manager.all_tags)):
            if name in known:
                members = _members(manager, name)
                listed = ": " + ", ".join(members[:MOST_NAMED]) + (", ..." if len(members) > MOST_NAMED else "")
                raise BenchError(f"{name!r} is a {kind} of {len(members)} of lm-eval's tasks; name those{listed}")
        if name not in manager.all_tasks:
            hint = nearest(name, [str(task) for task in manager.all_subtasks])
            raise BenchError(
                f"lm-eval {lm_eval.__version__} has no task {name!r}{hint}; generated here: {', '.join(GENERATED)}"
            )


def _members(manager: Any, name: str) -> list[str]:
    """The single tasks that a group or a tag stands for, as far as their files say."""
    entry = manager.task_index.get(name)
    if name in manager.all_subtasks or entry is None:
        return [name]
    own = (
        entry.get("task") if isinstance(entry, dict) else getattr(entry, "tags", None) or (entry.cfg or {}).get("task")
    )
    names = [str(one.get("task")) if isinstance(one, dict) else str(one) for one in own or () if one != name]
    return sorted({task for member in names for task in _members(manager, member)})


def _require_answers(manager: Any, names: Sequence[str]) -> None:
    """Raises BenchError for a task that is not about right and wrong answers, or has no questions; nothing is asked yet."""
    for name in names:
        task = _loaded(manager, name)
        metrics = [str(metric["metric"]) for metric in task.config.metric_list or ()]
        if "acc" not in metrics:
            raise BenchError(f"lm-eval's task {name!r} reports {', '.join(metrics) or 'nothing'}, not acc")
        if not len(task.eval_docs):
            raise BenchError(f"lm-eval's task {name!r} has no questions")


def _loaded(manager: Any, name: str) -> Any:
    """A task with its questions. Raises MissingDataError where these are not at hand."""
    from lm_eval.tasks import get_task_dict

    with _their_data(name), _unheard():
        if hasattr(manager, "load"):  # since 0.4.12, which warns of the other way
            return manager.load([name])["tasks"][name]
        return get_task_dict([name], manager)[name]


def _ask(lm_eval: Any, lm: Any, manager: Any, name: str, limit: int | None) -> Answers:
    with _their_data(name), _unheard():
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
    samples = sorted(result["samples"][name], key=lambda sample: int(sample["doc_id"]))
    norm = tuple(float(sample["acc_norm"]) for sample in samples) if "acc_norm" in samples[0] else None
    return Answers(str(result["versions"][name]), tuple(float(sample["acc"]) for sample in samples), norm)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Without lm-eval's bars and hints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _their_data(name: str) -> Iterator[None]:
    """Tells what failed: data that are not here, by MissingDataError, or the task itself."""
    try:
        yield
    except Exception as error:
        if _needs_network(error):
            raise MissingDataError(
                f"lm-eval's task {name!r} needs its data set, which is not in the cache of Hugging Face here ($HF_HOME) and cannot "
                "be fetched: run once with a network, or copy the cache, or ask for `generated-typos`"
            ) from error
        raise RuntimeError(f"lm-eval's task {name!r} failed: {type(error).__name__}: {error}") from error


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
