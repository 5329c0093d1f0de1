"""The form of a suite file, described once: the reader's errors and the JSON schema of editors both come from here.

What the values mean (names that must exist, claims that must be measurable) is the business of `bench.declare.reader`.
"""

from __future__ import annotations

from typing import get_args

from retable.bench.declare.beside import ERRATUM, RECIPE
from retable.bench.declare.claim import ALIVE, CLAIM
from retable.bench.declare.scalars import (
    ARXIV,
    DURATION,
    FORMAT,
    METRIC,
    METRICS,
    NAME,
    PROFILE_NAMES,
    REPETITIONS,
    REPORTED,
    SHARE,
    SIZE,
    TOLERANCE,
)
from retable.bench.declare.shapes import Anything, Either, Field, Items, Named, Number, Record, Text, Words
from retable.bench.registry import Kind
from retable.bench.suite import Numerics, PlotKind

SECTIONS: dict[Kind, str] = {"method": "methods", "dataset": "datasets", "task": "tasks"}
"""Where a suite names its components."""

PROFILE = Record(
    title="profile",
    fields={
        "repetitions": Field(
            REPETITIONS,
            "Numbers of the repetitions; each gives one seed, shared by all rows.",
            required=True,
            fixed=True,
        ),
        "seed": Field(
            Number(whole=True, minimum=0, maximum=2**32 - 1_000_000),
            "A published seed, for repetition 0; repetition n has this plus n. Derived from the suite's name unless said.",
            fixed=True,
        ),
        "limits": Field(
            Record(
                title="limits",
                fields={
                    "timeout": Field(DURATION, "Time after which a stage is stopped.", required=True, fixed=True),
                    "memory": Field(
                        SIZE, "Resident memory beyond which a stage is stopped.", required=True, fixed=True
                    ),
                    "threads": Field(
                        Number(whole=True, minimum=1, maximum=1024),
                        "Threads of torch in one worker; 1 unless said.",
                        fixed=True,
                    ),
                },
            ),
            "What one stage of one case may use.",
            required=True,
            fixed=True,
        ),
        "device": Field(
            Text(noun="cpu, cuda or cuda:0", pattern=r"cpu|cuda(:[0-9]{1,3})?"),
            "Where it runs; cpu unless said.",
            fixed=True,
        ),
        "dtype": Field(
            Words(words=("float32", "float64", "bfloat16", "float16")),
            "Type of the numbers; float32 unless said.",
            fixed=True,
        ),
        "kernels": Field(
            Words(words=("auto", "reference", "numba", "triton", "mamba_ssm")),
            "Backend of the operators; auto, the first that can run, unless said. Records tell which ran.",
            fixed=True,
        ),
        "numerics": Field(
            Words(words=get_args(Numerics)),
            "`portable`: the same bits on every x86-64-v3 processor, as `mini` has them on the CPU unless said; `native`: "
            "as fast as the libraries can, as all others.",
            fixed=True,
        ),
        "of": Field(
            NAME,
            "The profile that this one rehearses: its rows, tasks and metrics, on stand-ins of its files; `bench rehearse` "
            "runs it, and nothing of it is shown.",
            fixed=True,
        ),
        "sizes": Field(
            Record(
                title="sizes",
                fields={
                    section: Field(
                        Named(of=Anything(), key=Text(noun=f"a {kind}'s name", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")),
                        f"By registered name: parameters of every {kind} of that name.",
                        fixed=True,
                    )
                    for kind, section in SECTIONS.items()
                },
            ),
            "Of a rehearsal: the parameters that differ from those of the profile it is of.",
            fixed=True,
        ),
        "skip": Field(
            Named(of=Text(), key=Text(noun="a glob over names of rows", pattern=r"[a-z0-9*?._-]+")),
            "Of a rehearsal: rows that cannot be rehearsed, each with the reason.",
            fixed=True,
        ),
        "without": Field(
            Named(
                of=Text(),
                key=Text(
                    noun="a glob over metrics, or `METRIC of ROW`",
                    pattern=r"[A-Za-z0-9*?._\[\]-]+( of [a-z0-9*?._-]+)?",
                ),
            ),
            "Of a rehearsal: metrics that cannot be rehearsed, of every row or of some, each with the reason.",
            fixed=True,
        ),
    },
)


def component(kind: Kind) -> Record:
    """A declared component: a registered name with parameters, or another one with changes."""
    return Record(
        title=kind,
        fields={
            "use": Field(Text(suggests=kind), f"Registered name of the {kind}."),
            "extends": Field(NAME, f"Name of another {kind} of this suite, of which this one is a variant."),
            "with": Field(Anything(), "Parameters; they are merged into those of the extended one."),
            "needs": Field(
                Named(of=NAME, key=Text(noun="a word", pattern=r"[A-Za-z_][A-Za-z0-9_]*")),
                "Which methods it builds on, by role.",
            ),
        },
        one_of=(("use", "extends"),),
    )


def components(kind: Kind) -> Field:
    says = f"The suite's {kind}s by name. One without a value at some profile can only be used at the others."
    return Field(Named(of=component(kind), key=NAME, gaps=True), says)


def reference(kind: Kind) -> Either:
    """A component by its name in this suite, or written in place."""
    return Either(options=(Text(noun=f"the name of a {kind} of this suite", pattern=NAME.pattern), component(kind)))


MEASURED: dict[str, Field] = {
    "dataset": Field(reference("dataset"), "The data."),
    "task": Field(reference("task"), "How the method is put to work."),
    "metrics": Field(METRICS, "What is measured."),
    "repetitions": Field(REPETITIONS, "Repetitions of this row, where they are not the profile's."),
}

ENTRY = Record(
    title="entry",
    fields={
        "name": Field(NAME, "Name of the row, for claims and the command line.", required=True, fixed=True),
        "label": Field(Text(), "What the table prints; the name unless said."),
        "group": Field(Text(), "Rows of one group stand together."),
        "profiles": Field(PROFILE_NAMES, "The only profiles that have this row; all unless said.", fixed=True),
        "reported": Field(
            Named(of=REPORTED, key=METRIC), "The paper's own numbers, as it prints them; `not found` for a gap."
        ),
        "method": Field(reference("method"), "What is measured; without it the row only shows what is reported."),
        **MEASURED,
    },
)


TABLE = Record(
    title="table",
    fields={
        "name": Field(NAME, "Name of the table.", required=True, fixed=True),
        "title": Field(Text(), "What stands above it.", required=True),
        "rows": Field(Items(of=Text()), "Names of rows or globs over them; `!glob` leaves rows out; all unless said."),
        "columns": Field(
            Items(
                of=Record(
                    title="column",
                    fields={
                        "label": Field(Text(), "Head of the column.", required=True),
                        "metric": Field(METRIC, "What it shows.", required=True),
                        "show": Field(
                            Words(words=("reported", "measured", "both")),
                            "The paper's number, ours, or both (unless said).",
                        ),
                        "format": Field(FORMAT, "How a number is printed; .4g unless said, si for 148M."),
                        "group": Field(Text(), "What stands above neighbouring columns of one group in print."),
                    },
                )
            ),
            "The columns from left to right.",
            required=True,
        ),
        "note": Field(Text(), "What stands below it."),
    },
)

PLOT = Record(
    title="plot",
    fields={
        "name": Field(NAME, "Name of the plot and of its files.", required=True, fixed=True),
        "title": Field(Text(), "What stands above it.", required=True),
        "kind": Field(
            Words(words=get_args(PlotKind)),
            "`scatter`: a point a row; `lines`: a line a series; `curve`: a line a row through details of a metric; `heat`: a map a row of them, by time step.",
            required=True,
        ),
        "rows": Field(Items(of=Text()), "For all but lines: names of rows or globs; `!glob` leaves rows out."),
        "series": Field(
            Items(
                of=Record(
                    title="series",
                    fields={
                        "label": Field(Text(), "Name of the line.", required=True),
                        "rows": Field(Items(of=NAME), "Its rows.", required=True),
                    },
                )
            ),
            "For lines: the lines, each through rows.",
        ),
        "x": Field(METRIC, "For scatter and lines: the metric along the x axis."),
        "y": Field(METRIC, "The metric along the y axis.", required=True),
        "prefix": Field(
            Text(), "For curve and heat: details of `y` whose names start so; the rest is the place on the x axis."
        ),
        "label": Field(Text(), "For lines, curve and heat: name of the y axis; the metric's unless said."),
        "across": Field(Text(), "For curve: name of the x axis; the prefix unless said."),
        "scale": Field(Words(words=("linear", "log")), "Scale of the x axis; linear unless said."),
        "note": Field(Text(), "What stands below it."),
    },
)

STATISTICS = Record(
    title="statistics",
    fields={
        "alpha": Field(SHARE, "Rate of wrong verdicts that is accepted, of each claim by itself; 5 % unless said."),
        "power": Field(SHARE, "Chance with which `effect` must be seen; 80 % unless said."),
        "effect": Field(
            Number(minimum=0),
            "The smallest effect worth seeing, in standard deviations of the paired differences between seeds; with "
            "fewer seeds than show it there is no verdict.",
            gaps=True,
        ),
    },
)

REPRODUCIBILITY = Record(
    title="reproducibility",
    fields={
        "because": Field(Text(), "Why these tolerances, and not those that were measured.", required=True),
        "tolerance": Field(
            TOLERANCE,
            "How far every frozen number may move: a number, or a percentage of it; what certificates showed unless said.",
        ),
        "metrics": Field(
            Named(of=TOLERANCE, key=METRIC),
            "The same for single metrics; timings are compared only when they are named here.",
        ),
    },
)

PLACE = Text(noun="a place below $BENCH_DATA such as survey/sew-resnet-18.pth", pattern=r"[A-Za-z0-9][A-Za-z0-9._+/-]*")
WEIGHTS = Record(
    title="weights",
    fields={
        "address": Field(
            Text(),
            "Where its authors publish it; `not found` where nobody here has found that.",
            required=True,
            fixed=True,
        ),
        "file": Field(
            Text(), "Its name there, where that is not the place's; of a folder the file of the tensors.", fixed=True
        ),
        "licence": Field(Text(), "Under which it may be used; `not found` unless said.", fixed=True),
        "bytes": Field(Number(whole=True, minimum=1), "Its size, where the authors state it.", fixed=True),
        "sha256": Field(
            Text(noun="a SHA-256 or its first digits, in quotes", pattern=r"[0-9a-f]{8,64}"),
            "Its digest, or as many of the first digits as the authors publish.",
            fixed=True,
        ),
    },
)

SUITE = Record(
    title="suite",
    fields={
        "suite": Field(NAME, "Name of the suite: that of its file.", required=True, fixed=True),
        "title": Field(Text(), "What the table is about.", required=True),
        "paper": Field(Text(), "Title of the paper whose table it is, if it is one's."),
        "arxiv": Field(ARXIV, "The paper's number at arXiv."),
        "version": Field(Number(whole=True, minimum=1), "Raised when the suite changes its meaning.", required=True),
        "profiles": Field(
            Named(of=PROFILE, key=NAME),
            "The readings of this file: `mini` runs anywhere in minutes, `paper` is the paper's own setting.",
            required=True,
            fixed=True,
        ),
        "methods": components("method"),
        "weights": Field(
            Named(of=WEIGHTS, key=PLACE),
            "Published weights by their place below $BENCH_DATA, as methods name it: what to put there, and how it is known.",
            fixed=True,
        ),
        "datasets": components("dataset"),
        "tasks": components("task"),
        "defaults": Field(
            Record(title="defaults", fields=MEASURED), "What every row with a method has unless it says otherwise."
        ),
        "entries": Field(Items(of=ENTRY), "The rows.", required=True, fixed=True),
        "claims": Field(Items(of=CLAIM, minimum=0), "The paper's sentences that can be checked.", fixed=True),
        "errata": Field(
            Items(of=ERRATUM, minimum=0), "Where the paper's text, its released code and arithmetic part.", fixed=True
        ),
        "recipes": Field(
            Items(of=RECIPE, minimum=0),
            "How near rows that the profile `paper` trains, or whose weights it reads, come to the published training.",
            fixed=True,
        ),
        "alive": Field(
            Items(of=ALIVE, minimum=0),
            "What shows that a row works, for claims that compare it by this metric; a dead one gives no verdict.",
            gaps=True,
        ),
        "tables": Field(
            Items(of=TABLE, minimum=0),
            "The tables that are printed; unless said one of all rows and of all that they report or measure.",
            fixed=True,
        ),
        "plots": Field(Items(of=PLOT, minimum=0), "The plots of the report.", fixed=True),
        "statistics": Field(STATISTICS, "Error rates of the verdicts."),
        "reproducibility": Field(
            REPRODUCIBILITY,
            "How closely frozen numbers must come back to `bench gate --against`, where that is not what was measured.",
        ),
        "rules": Field(
            Items(of=Text(), minimum=0),
            "Conditions that `bench gate` holds numbers to: `METRIC [of ROW] >= NUMBER`, `... <= NUMBER`, or, against a "
            "frozen version, `METRIC [of ROW] drops|rises by [at least|at most] NUMBER [%]`; `supporting:` or `advisory:` "
            "before it names its tier.",
            gaps=True,
        ),
    },
)
