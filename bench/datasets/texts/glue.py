"""GLUE (arXiv 1804.07461) as it lies on disk: a folder a task with `train.tsv` and `dev.tsv`, as the benchmark's script unpacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from retable import contents
from retable.bench.datasets.texts.labelled import rows
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    from retable.bench.datasets.texts.labelled import LabelledTextData, Sentences

Task = Literal["cola", "mnli", "mnli-mm", "mrpc", "qnli", "qqp", "rte", "sst-2", "sts-b"]
SHORT = 1000
BEST_RATING = 5
ENTAILMENT = ("entailment", "not_entailment")
BINARY = ("0", "1")


@dataclass(frozen=True)
class Layout:
    """Where a task's files are and which columns hold what; `classes` in the order of their numbers, none for a rating.

    Columns are those of the header; files without one (CoLA) are given as their places. `parts` are further development
    sets, by the name of the part.
    """

    folder: str
    first: str | int
    label: str | int
    second: str | None = None
    classes: tuple[str, ...] = BINARY
    held_out: str = "dev.tsv"
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        return ("train.tsv", self.held_out, *self.parts.values())


MNLI = Layout(
    "MNLI",
    "sentence1",
    "gold_label",
    "sentence2",
    ("contradiction", "entailment", "neutral"),
    "dev_matched.tsv",
    parts={"mm": "dev_mismatched.tsv"},
)
LAYOUTS: dict[Task, Layout] = {
    "cola": Layout("CoLA", first=3, label=1),
    "sst-2": Layout("SST-2", "sentence", "label"),
    "mrpc": Layout("MRPC", "#1 String", "Quality", "#2 String"),
    "qqp": Layout("QQP", "question1", "is_duplicate", "question2"),
    "sts-b": Layout("STS-B", "sentence1", "score", "sentence2", classes=()),
    "mnli": MNLI,
    "mnli-mm": replace(MNLI, held_out=MNLI.parts["mm"], parts={}),
    "qnli": Layout("QNLI", "question", "label", "sentence", ENTAILMENT),
    "rte": Layout("RTE", "sentence1", "label", "sentence2", ENTAILMENT),
}


@dataclass(frozen=True, kw_only=True)
class Glue:
    """One task below `$BENCH_DATA/<root>`; held out is its development set.

    `mnli` has the matched one, and the mismatched one as its part `mm`, so that one fit serves both; `mnli-mm` has the
    mismatched one alone, as suites that were published declare it.
    """

    NAME: ClassVar[str] = "glue"

    task: Task = "sst-2"
    root: str = "glue"

    def __post_init__(self) -> None:
        if self.task not in LAYOUTS:
            raise BenchError(f"`task` must be one of {', '.join(sorted(LAYOUTS))}, not {self.task!r}")

    def digest(self) -> str:
        """SHA-256 over its files. Raises MissingDataError."""
        from hashlib import sha256

        text = "".join(f"{path.name} {contents.file_digest(path)}\n" for path in self._files())
        return sha256(text.encode()).hexdigest()

    def load(self) -> LabelledTextData:
        """Raises MissingDataError, BenchError naming the line of what cannot be read."""
        from retable.bench.datasets.texts.labelled import LabelledTextData

        layout = LAYOUTS[self.task]
        train, held_out, *further = (read(path, layout) for path in self._files())
        return LabelledTextData(
            name=f"glue-{self.task}",
            train=train,
            held_out=held_out,
            num_classes=len(layout.classes) or 1,
            unlabelled=(*train.first, *(train.second or ())),
            parts=dict(zip(layout.parts, further, strict=True)),
        )

    def _files(self) -> list[Path]:
        layout = LAYOUTS[self.task]
        folder = Path(os.environ.get("BENCH_DATA", "data")) / self.root / layout.folder
        found = [folder / name for name in layout.files]
        if missing := [path for path in found if not path.is_file()]:
            *names, last = layout.files
            raise MissingDataError(
                f"GLUE's {self.task} is missing: put {', '.join(names)} and {last} of its {layout.folder} into "
                f"{missing[0].parent}"
            )
        return found


def read(path: Path, layout: Layout) -> Sentences:
    """Sentences with their labels, in the order of the file, without the few short lines that QQP has.

    Raises BenchError for a missing column, a label that is none, a line with a field too many (what follows it would be in
    another column), and for more short lines than one in `SHORT`.
    """
    import numpy as np

    from retable.bench.datasets.texts.labelled import Sentences

    lines = list(enumerate(rows(path.read_bytes(), str(path)), start=1))
    header = [] if isinstance(layout.first, int) else lines.pop(0)[1]
    first, label = (_place(name, header, path) for name in (layout.first, layout.label))
    second = first if layout.second is None else _place(layout.second, header, path)
    fields = len(header) or max(first, second, label) + 1
    if long := next((number for number, line in lines if any(map(str.strip, line[fields:]))), None):
        raise BenchError(f"{path}:{long}: more fields than {fields}: a sentence may hold a tab")
    whole = [(number, line) for number, line in lines if len(line) > max(first, second, label)]
    if (len(lines) - len(whole)) * SHORT > len(lines):
        number = next(number for number, line in lines if len(line) <= max(first, second, label))
        raise BenchError(f"{path}:{number}: too few fields, as in {len(lines) - len(whole)} of {len(lines)} lines")
    labels = [_label(line[label], layout.classes, f"{path}:{number}") for number, line in whole]
    return Sentences(
        first=tuple(line[first] for _, line in whole),
        second=None if layout.second is None else tuple(line[second] for _, line in whole),
        labels=np.array(labels, dtype=np.int64 if layout.classes else np.float64),
    )


def _place(name: str | int, header: list[str], path: Path) -> int:
    if isinstance(name, int):
        return name
    if name not in header:
        raise BenchError(f"{path}:1: there is no column {name!r} among {', '.join(header)}")
    return header.index(name)


def _label(text: str, classes: tuple[str, ...], where: str) -> float:
    try:
        found = classes.index(text) if classes else float(text)
        if not (classes or 0 <= found <= BEST_RATING):  # nan is neither
            raise ValueError
        return found
    except ValueError as error:
        expected = f"one of {', '.join(classes)}" if classes else f"a number from 0 to {BEST_RATING}"
        raise BenchError(f"{where}: the label is {text!r}, not {expected}") from error
