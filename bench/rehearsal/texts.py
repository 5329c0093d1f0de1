"""Miniatures of text corpora: sentences of a few words, in the columns and rows of the real files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SEED = 20240706
WORDS = [
    "the",
    "a",
    "of",
    "film",
    "story",
    "it",
    "was",
    "not",
    "very",
    "good",
    "bad",
    "long",
    "short",
    "quiet",
    "slow",
    "bright",
    "people",
    "who",
    "say",
    "little",
    "much",
    "and",
    "but",
    "never",
    "river",
    "town",
    "night",
    "light",
    "work",
    "book",
    "end",
    "first",
]
SENTENCES = {"train": 24, "held_out": 12}
GLUE_HEADERS = {
    "sst-2": "sentence label",
    "mrpc": "Quality|#1 ID|#2 ID|#1 String|#2 String",
    "qqp": "id qid1 qid2 question1 question2 is_duplicate",
    "sts-b": "index genre filename year old_index source1 source2 sentence1 sentence2 score",
    "mnli": "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
    "sentence1 sentence2 label1 gold_label",
    "qnli": "index question sentence label",
    "rte": "index sentence1 sentence2 label",
}
"""The columns of the published files; CoLA has four without names."""


def sentence(rng: np.random.Generator, words: int = 8) -> str:
    return " ".join(rng.choice(WORDS, words))


def glue(dataset: Any, root: Path) -> None:
    """`train.tsv` and the development sets of one task; labels take turns, ratings grow."""
    import numpy as np

    from retable.bench.datasets.texts.glue import LAYOUTS

    layout, rng = LAYOUTS[dataset.task], np.random.default_rng(SEED)
    head = GLUE_HEADERS.get("mnli" if dataset.task == "mnli-mm" else dataset.task, "")
    header = head.split("|") if "|" in head else head.split()
    folder = root / dataset.root / layout.folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in layout.files:
        lines = ["\t".join(header)] if header else []
        for number in range(SENTENCES["train" if file == "train.tsv" else "held_out"]):
            label = layout.classes[number % len(layout.classes)] if layout.classes else f"{number % 6 * 0.9:.3f}"
            cells = dict.fromkeys(header or range(4), "x")
            cells |= {layout.first: sentence(rng), layout.label: label}
            cells |= {layout.second: sentence(rng)} if layout.second else {}
            lines.append("\t".join(cells.values()))
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def wikitext2(dataset: Any, root: Path) -> None:
    """`wiki.<split>.raw` with as many lines as the published ones; most are blank, so that it stays small."""
    import numpy as np

    from retable.bench.datasets.texts.wikitext2 import ROWS

    rng, folder = np.random.default_rng(SEED), root / dataset.root
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in ROWS.items():
        lines = [" \n"] * count
        lines[1:60] = [f" {sentence(rng, 24)} . \n" for _ in range(59)]
        (folder / f"wiki.{split}.raw").write_text("".join(lines), encoding="utf-8")


STAND_INS: Mapping[str, Callable[..., None]] = {"glue": glue, "wikitext-2": wikitext2}
