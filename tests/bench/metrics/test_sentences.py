"""Labelled sentences: the readers of real formats, the task's evidence, and scores as GLUE computes them."""

from __future__ import annotations

import io
import tarfile
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets.texts import movie_snippets
from retable.bench.datasets.texts.glue import LAYOUTS, Glue
from retable.bench.datasets.texts.labelled import LabelledTextData, Sentences
from retable.bench.datasets.texts.movie_snippets import MovieSnippets
from retable.bench.errors import BenchError, MissingDataError
from retable.bench.metrics.accuracy import Accuracy
from retable.bench.metrics.sentences import F1, Matthews, Pearson, Spearman
from retable.bench.metrics.sentences import Glue as GlueScore
from retable.bench.tasks.finetune_text import FinetuneText, FinetuneTextEvidence

TRAIN = {
    "CoLA": "gj04\t1\t\tThe cat sat.\ngj04\t0\t*\tThe cat sat sat.\n",
    "SST-2": 'sentence\tlabel\na "fine film\t1\ndull\t0\n',
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\tIt rained .\tRain fell .\r\n0\t7\t8\tA\tB\r\n",
    "QQP": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tWhy?\tHow?\t0\n1\t3\t4\tWho?\tWho is?\t1\n",
    "STS-B": "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tA man.\tA boy.\t2.500\n1\tnews\tOne.\tOne.\t5.000\n",
    "MNLI": "index\tsentence1\tsentence2\tgold_label\n0\tIt is.\tIt was.\tneutral\n1\tYes.\tNo.\tcontradiction\n",
    "QNLI": "index\tquestion\tsentence\tlabel\n0\tWho?\tMe.\tentailment\n1\tWhere?\tMe.\tnot_entailment\n",
    "RTE": "index\tsentence1\tsentence2\tlabel\n0\tIt is.\tIt is.\tentailment\n1\tYes.\tNo.\tnot_entailment\n",
}


@pytest.fixture
def glue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tasks' files with two sentences each; the MNLI files have the names of the benchmark."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for folder, text in TRAIN.items():
        (tmp_path / "glue" / folder).mkdir(parents=True)
        for name in (
            ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv") if folder == "MNLI" else ("train.tsv", "dev.tsv")
        ):
            (tmp_path / "glue" / folder / name).write_bytes(text.encode())
    return tmp_path / "glue"


class TestGlue:
    @pytest.mark.parametrize("task", LAYOUTS)
    def test_every_task_reads_its_own_columns(self, glue: Path, task: Any) -> None:
        data = Glue(task=task).load()
        assert data.num_classes == (3 if task.startswith("mnli") else 1 if task == "sts-b" else 2)
        assert len(data.train) == len(data.held_out) == 2
        assert (data.train.second is None) == (task in ("cola", "sst-2"))
        expected = {"cola": [1, 0], "mrpc": [1, 0], "sst-2": [1, 0], "sts-b": [2.5, 5], "qqp": [0, 1]}
        expected |= {"mnli": [2, 0], "mnli-mm": [2, 0], "qnli": [0, 1], "rte": [0, 1]}
        assert data.train.labels.tolist() == expected[task]
        assert all(text and "\t" not in text for text in data.unlabelled)

    def test_quotes_are_characters(self, glue: Path) -> None:
        assert Glue(task="sst-2").load().train.first[0] == 'a "fine film'

    def test_the_digest_is_that_of_both_files(self, glue: Path) -> None:
        before = Glue(task="rte").digest()
        assert Glue(task="qnli").digest() != before
        (glue / "RTE" / "dev.tsv").write_text(TRAIN["RTE"].replace("Yes", "Yea"))
        assert Glue(task="rte").digest() != before

    def test_missing_files_are_asked_for(self, glue: Path) -> None:
        (glue / "MNLI" / "dev_mismatched.tsv").unlink()
        with pytest.raises(MissingDataError, match=r"put train.tsv and dev_mismatched.tsv of its MNLI into"):
            Glue(task="mnli-mm").digest()
        both = r"put train.tsv, dev_matched.tsv and dev_mismatched.tsv of its MNLI into"
        with pytest.raises(MissingDataError, match=both):
            Glue(task="mnli").digest()

    def test_the_mismatched_part_of_mnli_is_its_own_file(self, glue: Path) -> None:
        before = Glue(task="mnli").digest()
        (glue / "MNLI" / "dev_mismatched.tsv").write_text(TRAIN["MNLI"].replace("Yes", "Yea"))
        assert Glue(task="mnli").digest() != before, "a key covers it"
        data = Glue(task="mnli").load()
        assert (data.held_out.first[1], data.parts["mm"].first[1]) == ("Yes.", "Yea.")
        other = data.held_out_by("mm")
        assert (other.name, other.train, other.held_out) == ("glue-mnli-mm", data.train, data.parts["mm"])

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("sentence\tlabel\nfine\t2\n", r"train.tsv:2: the label is '2', not one of 0, 1"),
            ("text\tlabel\nfine\t1\n", r"train.tsv:1: there is no column 'sentence' among text, label"),
            ("sentence\tlabel\nfine\nbad\t1\n", r"train.tsv:2: too few fields, as in 1 of 2 lines"),
        ],
    )
    def test_a_broken_file_names_its_line(self, glue: Path, text: str, sentence: str) -> None:
        (glue / "SST-2" / "train.tsv").write_text(text)
        with pytest.raises(BenchError, match=sentence):
            Glue(task="sst-2").load()

    def test_a_few_short_lines_are_left_out(self, glue: Path) -> None:
        (glue / "SST-2" / "train.tsv").write_text("sentence\tlabel\n" + "fine\t1\n" * 1500 + "cut\n")
        assert len(Glue(task="sst-2").load().train) == 1500

    def test_text_that_is_not_utf8_is_one_sentence(self, glue: Path) -> None:
        (glue / "SST-2" / "train.tsv").write_bytes(b"sentence\tlabel\n\xff\t1\n")
        with pytest.raises(BenchError, match="is not UTF-8 text"):
            Glue(task="sst-2").load()


def packed(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


class TestMovieSnippets:
    @pytest.fixture
    def archive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Fifty sentences with ratings of -2.5 to 2.4 in the layout of the published archive."""
        lines = "".join(f"{i}\t{(i - 25) / 10}\tsentence {i}\n" for i in range(50))
        content = packed(movie_snippets.INNER, packed(movie_snippets.MEMBER, lines.encode()))
        path = tmp_path / "packages" / movie_snippets.ARCHIVE
        path.parent.mkdir()
        path.write_bytes(content)
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        digest = sha256(content).hexdigest()
        real = movie_snippets.read
        monkeypatch.setattr(movie_snippets, "read", lambda path: real(path, digest))
        return path

    def test_sentiment_is_the_sign_of_clear_ratings(self, archive: Path) -> None:
        data = MovieSnippets().load()
        number = {text: int(text.split()[1]) for text in (*data.train.first, *data.held_out.first)}
        for split in (data.train, data.held_out):
            for text, label in zip(split.first, split.labels, strict=True):
                assert abs(number[text] - 25) >= 8
                assert label == (number[text] > 25)
        assert not set(data.held_out.first) & set(data.unlabelled)
        assert len(data.unlabelled) == 40
        assert data.num_classes == 2

    def test_ratings_are_all_there(self, archive: Path) -> None:
        data = MovieSnippets(task="rating", train=30, held_out=5).load()
        assert (len(data.train), len(data.held_out), data.num_classes) == (30, 5, 1)
        assert data.train.first == MovieSnippets(task="rating").load().train.first[:30]

    def test_another_archive_is_refused(self, archive: Path) -> None:
        archive.write_bytes(archive.read_bytes() + b"x")
        with pytest.raises(BenchError, match="is not the published archive"):
            MovieSnippets().load()

    def test_a_missing_archive_names_the_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        with pytest.raises(MissingDataError, match=r"pip download .* vaderSentiment==3\.3\.2"):
            MovieSnippets().digest()

    @pytest.mark.parametrize("params", [{"least": -1.0}, {"least": 4.5}, {"train": 0}])
    def test_impossible_parameters(self, params: dict[str, Any]) -> None:
        with pytest.raises(BenchError, match=f"`{next(iter(params))}` must"):
            MovieSnippets(**params)


class Lengths(torch.nn.Module):
    """Logits by the length of a sentence, without any tokenizer."""

    tokenizer = SimpleNamespace(digest=lambda: "0" * 64)

    def prepare(self, first: list[str], second: list[str] | None = None) -> tuple[torch.Tensor]:
        assert second is None
        return (torch.tensor([float(len(text)) for text in first]),)

    def forward(self, lengths_B: torch.Tensor) -> torch.Tensor:
        return torch.stack([3 - lengths_B, lengths_B - 3], dim=1)


def made(labels: list[float], outputs: Any, classes: int, name: str = "made") -> FinetuneTextEvidence:
    split = Sentences(first=("x",) * len(labels), labels=np.array(labels))
    data = LabelledTextData(name=name, train=split, held_out=split, num_classes=classes)
    return FinetuneTextEvidence(model=None, data=data, outputs_NK=np.array(outputs, dtype=float))


class TestEvidence:
    def test_batches_do_not_change_predictions(self) -> None:
        split = Sentences(first=("a", "bb", "cccc", "ddddd", "eeee"), labels=np.array([0, 0, 1, 1, 0]))
        data = LabelledTextData(name="made", train=split, held_out=split, num_classes=2)
        for size in (1, 2, 64):
            task = FinetuneText(batch_size=size, account_samples=0)
            evidence = task.evidence(Lengths(), data, seed=0, device="cpu")
            assert evidence.predictions.tolist() == [0, 0, 1, 1, 1]
            assert Accuracy().measure(evidence).value == 80
            assert b'"predictions": [0, 0, 1, 1, 1]' in evidence.artefacts()["sentences.json"]

    def test_outputs_that_are_not_finite_are_no_predictions(self) -> None:
        evidence = made([0, 1, 1], [[1, 0], [np.nan, 0], [0, 1]], 2)
        for metric in (Accuracy(), Matthews(), F1()):
            assert metric.measure(evidence).value is None

    def test_no_sentences_is_one_sentence(self) -> None:
        data = made([], np.zeros((0, 2)), 2).data
        with pytest.raises(BenchError, match="made has no held-out sentences"):
            FinetuneText().evidence(Lengths(), data, seed=0, device="cpu")

    @pytest.mark.parametrize("params", [{"batch_size": 0}, {"account_samples": -1}, {"rules": ()}])
    def test_impossible_parameters(self, params: dict[str, Any]) -> None:
        with pytest.raises(BenchError, match=f"`{next(iter(params))}` must"):
            FinetuneText(**params)


class TestScores:
    @settings(deadline=None)  # the first example imports scikit-learn
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
    def test_matthews_and_f1_are_those_of_the_confusion_matrix(self, pairs: list[tuple[bool, bool]]) -> None:
        true, predicted = (np.array(column, dtype=int) for column in zip(*pairs, strict=True))
        evidence = made(true.tolist(), np.eye(2)[predicted], 2)
        tp, fp, fn, tn = (int(((predicted == p) & (true == t)).sum()) for p, t in ((1, 1), (1, 0), (0, 1), (0, 0)))
        root = float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
        assert Matthews().measure(evidence).value == pytest.approx(100 * (tp * tn - fp * fn) / root if root else 0)
        whole = 2 * tp + fp + fn
        assert F1().measure(evidence).value == pytest.approx(200 * tp / whole if whole else 0)

    def test_correlations_of_ratings(self) -> None:
        evidence = made([1.0, 2.0, 3.0, 10.0], [[1.0], [2.0], [3.0], [4.0]], 1)
        assert Spearman().measure(evidence).value == pytest.approx(100)
        assert Pearson().measure(evidence).value == pytest.approx(100 * np.corrcoef([1, 2, 3, 10], [1, 2, 3, 4])[0, 1])
        flat = made([1.0, 2.0], [[3.0], [3.0]], 1)
        assert "all predicted ratings are equal" in str(Pearson().measure(flat).reason)

    def test_classes_and_ratings_have_their_own_scores(self) -> None:
        classes, ratings = made([0, 1], [[1, 0], [0, 1]], 2), made([0.5, 1], [[1], [2]], 1)
        assert Pearson().measure(classes).value is None
        assert Matthews().measure(ratings).value is None
        assert F1().measure(made([0, 1], np.eye(3)[[0, 1]], 3)).value is None

    @pytest.mark.parametrize(("task", "expected"), [("cola", 0), ("mrpc", 200 / 3), ("qqp", 200 / 3), ("rte", 50)])
    def test_glue_prints_the_score_of_its_task(self, task: str, expected: float) -> None:
        evidence = made([0, 1], [[0, 1], [0, 1]], 2, f"glue-{task}")
        assert GlueScore(task=task).measure(evidence).value == pytest.approx(expected)
        assert GlueScore(task="qnli").measure(evidence).reason == f"this row is about glue-{task}"

    def test_a_task_that_is_none(self) -> None:
        with pytest.raises(BenchError, match="`task` must be average or one of cola"):
            GlueScore(task="squad")
