"""The form of a claim in a suite file, and of what shows that its baselines are alive."""

from __future__ import annotations

from typing import get_args

from retable.bench.declare.scalars import METRIC, NAME, PROFILE_NAMES, TOLERANCE
from retable.bench.declare.shapes import Either, Field, Items, Number, Record, Text, Words
from retable.bench.declare.strict_yaml import Node
from retable.bench.suite import ClaimKind, Strength, Tier, VerdictWord


def bounded(title: str, fields: dict[str, Field]) -> Record:
    return Record(
        title=title,
        fields={
            "metric": Field(METRIC, "The metric compared.", required=True),
            **fields,
            "equals": Field(Number(), "The value that must come out, within the tolerance."),
            "tolerance": Field(
                TOLERANCE, "Allowed distance from `equals`: a number, or a percentage of it; 0 unless said."
            ),
            "at_least": Field(Number(), "The smallest value that is right."),
            "at_most": Field(Number(), "The largest value that is right."),
        },
        one_of=(("equals", "at_least", "at_most"),),
    )


def _of_two(title: str, of: str, to: str) -> Record:
    return bounded(title, {"of": Field(NAME, of, required=True), "to": Field(NAME, to, required=True)})


def rows_of(predicate: dict[str, Node]) -> list[Node]:
    """The rows that a predicate is about, in its order."""
    found = [predicate[key] for key in ("entry", "increasing", "of", "to") if key in predicate]
    return [row for node in found for row in (node.value if isinstance(node.value, list) else [node])]


def check_correlation(predicate: dict[str, Node]) -> None:
    """Raises DeclarationError for a metric with itself, and for a bound that no correlation can have."""
    against = predicate["against"]
    if against.value == predicate["metric"].value:
        raise against.error(f"{against.value!r} always goes with itself")
    for key in ("equals", "at_least", "at_most"):
        if key in predicate and abs(predicate[key].value) > 1:
            raise predicate[key].error(f"a correlation lies between -1 and 1, not at {predicate[key].value}")


VERDICT = Words(words=get_args(VerdictWord))
CLAIM = Record(
    title="claim",
    fields={
        "name": Field(NAME, "Name of the claim.", required=True, fixed=True),
        "text": Field(Text(), "The claim in one sentence.", required=True),
        "source": Field(Text(), "Where the paper makes it: table, figure or section."),
        "value": Field(
            bounded("value", {"entry": Field(NAME, "The row it is about.", required=True)}),
            "The metric of one row meets a bound.",
        ),
        "ordering": Field(
            Record(
                title="ordering",
                fields={
                    "metric": Field(METRIC, "The metric compared.", required=True),
                    "increasing": Field(
                        Items(of=NAME, minimum=2), "Rows from the smallest value to the largest.", required=True
                    ),
                },
            ),
            "The metric increases strictly along the rows.",
        ),
        "ratio": Field(
            _of_two("ratio", "The row above the line.", "The row below the line."),
            "The metric of one row over that of another meets a bound.",
        ),
        "difference": Field(
            _of_two("difference", "The row that is taken first.", "The row that is taken away."),
            "The metric of one row less that of another, in its own unit, meets a bound.",
        ),
        "mean": Field(
            bounded("mean", {"of": Field(Items(of=NAME, minimum=2), "The rows, each counting alike.", required=True)}),
            "The mean of a metric over rows meets a bound; `name[*]` is whichever metric of that name each row measures.",
        ),
        "correlation": Field(
            bounded(
                "correlation",
                {
                    "against": Field(METRIC, "The metric that it goes with.", required=True),
                    "scale": Field(Words(words=("linear", "log")), "`log`: with the logarithm of `against`."),
                    "of": Field(Items(of=NAME, minimum=3), "The rows, each a point.", required=True),
                },
            ),
            "Pearson's correlation of two metrics over rows meets a bound.",
        ),
        "strength": Field(
            Words(words=get_args(Strength)),
            "How much it says. `number`: the paper's figure; `size`: a share of its effect; `direction`: only a sign; "
            "`property`: something exact. By the predicate's form unless said.",
            fixed=True,
        ),
        "weakens": Field(NAME, "The claim that says what the paper says, where this one says less.", fixed=True),
        "because": Field(Text(), "Why it says less than the claim that it weakens."),
        "control": Field(NAME, "A row of which the claim must not hold, in place of the first one.", gaps=True),
        "uncontrolled": Field(Text(), "Why a dead baseline, or a claim that any row would meet, does no harm here."),
        "revised": Field(Text(), "Why it is not what it was before its first result.", fixed=True),
        "profiles": Field(PROFILE_NAMES, "The profiles in which it can be seen; all unless said.", fixed=True),
        "min_seeds": Field(
            Number(whole=True, minimum=1), "Repetitions without which there is no verdict; 3 unless said."
        ),
        "tier": Field(
            Words(words=get_args(Tier)),
            "What `bench gate` does about it: a critical claim (unless said) must come out as expected, a supporting one "
            "must not come out otherwise, an advisory one is only told.",
            fixed=True,
        ),
        "expect": Field(
            Either(
                options=(
                    VERDICT,
                    Record(
                        title="expectation",
                        fields={
                            "verdict": Field(VERDICT, "The verdict expected.", required=True),
                            "or": Field(
                                VERDICT,
                                "What other repetitions are known to give, where sets of them do not agree; one of the two is "
                                "`not measured`.",
                            ),
                            "because": Field(Text(), "Why it is not `reproduced`, or not always."),
                        },
                    ),
                )
            ),
            "The verdict this suite expects, with the reason where it is not `reproduced`; `reproduced` unless said.",
            gaps=True,
        ),
    },
    one_of=(get_args(ClaimKind),),
)

ALIVE = Record(
    title="sign of life",
    fields={
        "rows": Field(Items(of=Text()), "Names of rows or globs over them; `!glob` leaves rows out.", required=True),
        **bounded("sign of life", {}).fields,
        "chance": Field(Text(), "What a row that is of no use has.", required=True),
        "covers": Field(
            Items(of=METRIC), "Metrics, without brackets, whose comparisons need it; the metric itself unless said."
        ),
    },
    one_of=(("equals", "at_least", "at_most"),),
)
