"""The nouns of a declaration: Suite, Entry, Claim, Case. How they are read from YAML is `bench.declare.reader`'s business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch, fnmatchcase
from hashlib import sha256
from typing import Any, Literal

VerdictWord = Literal["reproduced", "contradicted", "not measured"]
ClaimKind = Literal["value", "ordering", "ratio", "difference", "mean", "correlation"]
Strength = Literal["number", "size", "direction", "property"]
"""How much a claim says: the paper's own figure, a share of its effect, only a sign, or something exact that is counted."""
Side = Literal["at_least", "at_most"]
Numerics = Literal["portable", "native"]
Tier = Literal["critical", "supporting", "advisory"]
"""What a gate does about a claim or rule: a critical one must be met, a supporting one must not fail, an advisory one is told."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A named method, dataset or task with its parameters, as `{use: name, with: {...}}` declares it.

    `broken` is why its module does not import; its parameters and needs are not known to be right then.
    """

    use: str
    params: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Component] = field(default_factory=dict)
    where: str = field(default="", compare=False)
    broken: str = ""


Sense = Literal["<", ">", "<=", ">=", "~"]


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number as a paper prints it: `148M` is value 148e6 and text `148M`; `not found` has no value.

    `spread` is what follows ±, `bound` the side on which the paper's number lies of `value`, `~` for about.
    """

    value: float | None
    text: str
    spread: float | None = None
    bound: Sense | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one stage of one case may use: seconds, bytes of resident memory, torch threads."""

    timeout: float
    memory: int
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One reading of a suite's declaration (`mini`, `paper`, `rehearsal`)."""

    name: str
    repetitions: tuple[int, ...]
    limits: Limits
    device: str = "cpu"
    dtype: str = "float32"
    kernels: str = "auto"
    numerics: Numerics = "native"
    of: str = ""
    """The profile that a rehearsal is one of; its rows and parameters are that profile's but for sizes."""
    skip: Mapping[str, str] = field(default_factory=dict)
    """Of a rehearsal: why rows (globs over their names) cannot be rehearsed."""
    without: Mapping[str, str] = field(default_factory=dict)
    """Of a rehearsal: why metrics (globs with their brackets as they are) cannot be measured."""
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row: a method on a dataset under a task, or only what the paper reports (`method` is None)."""

    name: str
    label: str
    group: str = ""
    reported: Mapping[str, Reported] = field(default_factory=dict)
    method: Component | None = None
    dataset: Component | None = None
    task: Component | None = None
    metrics: tuple[str, ...] = ()
    repetitions: tuple[int, ...] = ()
    where: str = field(default="", compare=False)

    def own(self, metric: str) -> str:
        """The metric; of `name[*]` the only one of that name that the row measures, if there is one."""
        base, star, _ = metric.partition("[*]")
        found = [one for one in self.metrics if star and one.startswith(f"{base}[")]
        return found[0] if len(found) == 1 else metric

    @property
    def part(self) -> str | None:
        """The part of the data set that the task measures in place of the first held-out one, where it names one."""
        named = None if self.task is None else self.task.params.get("part")
        return None if named is None else str(named)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a claim's number must be: equal within an absolute tolerance, or on one side of a limit."""

    equals: float | None = None
    tolerance: float = 0.0
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The verdict a suite expects at a profile, and why where it is not `reproduced`.

    `otherwise` is what other repetitions are known to give, where these do not agree; one of the two is `not measured`.
    """

    verdict: VerdictWord
    because: str = ""
    otherwise: VerdictWord | None = None

    @property
    def allowed(self) -> tuple[VerdictWord, ...]:
        return (self.verdict, self.otherwise) if self.otherwise else (self.verdict,)

    def __str__(self) -> str:
        return " or ".join(self.allowed)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A checkable sentence of a paper.

    value: `metric` of `entries[0]` meets `bound`. ratio: `metric` of `entries[0]` over that of `entries[1]` meets `bound`.
    difference: `metric` of `entries[0]` less that of `entries[1]` meets `bound`.
    mean: `metric` over all `entries`, each counting alike, meets `bound`; `glue[*]` is what each row measures of that name.
    correlation: Pearson's, of `metric` with `against` over `entries`, meets `bound`; `log` takes the logarithm of `against`.
    ordering: `metric` increases strictly along `entries`.
    `profiles` are those in which it can be seen; elsewhere the verdict is `not measured: needs profile ...`.
    `weakens` names the claim that says what the paper says, where this one says less, `because` why it does. `control` is
    a row of which the claim must not hold. `uncontrolled` says why no control and no live baseline are asked for, `revised`
    why the claim is not what it was before its first result.
    """

    name: str
    text: str
    source: str
    kind: ClaimKind
    metric: str
    entries: tuple[str, ...]
    bound: Bound | None = None
    against: str = ""
    log: bool = False
    profiles: tuple[str, ...] = ()
    min_seeds: int = 3
    expect: Expectation = Expectation(verdict="reproduced")
    tier: Tier = "critical"
    stated: Strength | None = None
    weakens: str = ""
    because: str = ""
    control: str = ""
    uncontrolled: str = ""
    revised: str = ""
    where: str = field(default="", compare=False)

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that its rows must measure."""
        return (self.metric, self.against) if self.against else (self.metric,)

    @property
    def sentence(self) -> str:
        """The claim with its source, if it has one."""
        return f"{self.text} ({self.source})" if self.source else self.text

    @property
    def strength(self) -> Strength:
        """As stated, or what the predicate is by its form."""
        if self.stated is not None:
            return self.stated
        if self.bound is None:
            return "direction"
        return "size" if self.bound.equals is None else "number"


@dataclass(frozen=True, kw_only=True)
class Alive:
    """What shows that rows (globs) work at all, so that a comparison with them says something: a metric and its bound.

    `chance` is what a row without any use has. `covers` are the metrics, without brackets, whose comparisons need it; its
    own unless said.
    """

    rows: tuple[str, ...]
    metric: str
    bound: Bound
    chance: str
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: a metric, shown as the paper reports it, as measured here, or side by side.

    Neighbours of one `group` share a head in print.
    """

    label: str
    metric: str
    show: Literal["reported", "measured", "both"] = "both"
    format: str = ".4g"
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One printed table of a suite: which rows (globs over entry names), which columns."""

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    note: str = ""


PlotKind = Literal["scatter", "lines", "curve", "heat"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line of a plot through rows of the suite."""

    label: str
    rows: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """One plot of a suite: metrics against each other, or what the details of one metric hold.

    `scatter` has a point a row, `lines` a line a series through its rows' points. `curve` has a line a row through those
    details of `y` whose names start with `prefix`; the rest of a name is the place on the x axis. `heat` has a map a row of
    such details, by time step where an accountant counted by step.
    """

    name: str
    title: str
    kind: PlotKind
    y: str
    x: str = ""
    rows: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    prefix: str = ""
    label: str = ""
    """Of the y axis, where the metric's own name does not tell what is drawn."""
    across: str = ""
    """Of a curve's x axis, where its prefix does not."""
    scale: Literal["linear", "log"] = "linear"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a suite's verdicts may cost: the rate of false alarms, and the chance to see an effect that is there.

    `effect` is the smallest one worth seeing, in standard deviations of the paired differences between seeds (of the
    values, for a value claim). Where it is declared, fewer seeds than show it with `power` give no verdict.
    """

    alpha: float = 0.05
    power: float = 0.8
    effect: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a number may be from a frozen one: an absolute distance, or a share of the frozen number."""

    absolute: float = 0.0
    relative: float = 0.0

    def around(self, value: float) -> float:
        return max(self.absolute, self.relative * abs(value))


@dataclass(frozen=True, kw_only=True)
class Reproducibility:
    """How closely frozen numbers come back, where a suite knows better than what was measured; `because` says why.

    `metrics` has those that are not held to `tolerance`. Timings are only compared when they are named.
    """

    tolerance: Tolerance | None = None
    metrics: Mapping[str, Tolerance] = field(default_factory=dict)
    because: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A condition that a gate holds numbers to, beyond the paper's claims.

    `kind` is what is compared with `limit`: the `value`, its `change` since a frozen version, or that change as a `share`
    of the frozen value (-0.05 is 5 % less). Empty `entry`: every row that measures the metric.
    """

    text: str
    metric: str
    entry: str
    kind: Literal["value", "change", "share"]
    side: Side
    limit: float
    tier: Tier = "critical"


@dataclass(frozen=True, kw_only=True)
class Erratum:
    """Where a paper, its released code and arithmetic part: what is so, who says it, and what it does to the numbers."""

    sentence: str
    source: str
    effect: str = "effect not measured"


@dataclass(frozen=True, kw_only=True)
class PublishedRecipe:
    """How near a training of `rows` comes to the published one: what is missing, nothing where it is complete."""

    rows: tuple[str, ...]
    source: str
    missing: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        return f"missing: {'; '.join(self.missing)}" if self.missing else "complete"


def chosen(name: str, globs: tuple[str, ...]) -> bool:
    """Whether the last glob that matches takes the name in; one that starts with `!` takes it out."""
    taken = False
    for glob in globs:
        if fnmatchcase(name, glob.removeprefix("!")):
            taken = not glob.startswith("!")
    return taken


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Published weights that rows load, and what is known of them; `place` lies below $BENCH_DATA, as methods name it.

    `bytes` and `sha256` (or its first digits) are those of the file, in a folder of the one called `file`, where the authors
    state them.
    """

    place: str
    address: str
    file: str = ""
    licence: str = "not found"
    bytes: int | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What is to be measured for one table, a paper's or one's own, resolved for one profile; nothing about how it runs.

    `overrides` are the parameters that a command set, as it wrote them.
    """

    name: str
    title: str
    paper: str = ""
    arxiv: str = ""
    version: int
    profile: Profile
    profiles: tuple[str, ...]
    entries: tuple[Entry, ...]
    claims: tuple[Claim, ...] = ()
    alive: tuple[Alive, ...] = ()
    layouts: tuple[Layout, ...] = ()
    sketches: tuple[Sketch, ...] = ()
    statistics: Statistics = Statistics()
    reproducibility: Reproducibility = Reproducibility()
    rules: tuple[Rule, ...] = ()
    errata: tuple[Erratum, ...] = ()
    recipes: tuple[PublishedRecipe, ...] = ()
    weights: Mapping[str, Weights] = field(default_factory=dict)
    path: str = ""
    overrides: tuple[str, ...] = ()

    def entry(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def cited(self) -> str:
        """The paper with its number, as far as there is one."""
        number = f"arXiv {self.arxiv}" if self.arxiv else ""
        return f"{self.paper} ({number})" if self.paper and number else self.paper or number

    def limited(self, only: str) -> Suite:
        """The suite without the rows that the glob does not match, and without claims that concern one of them."""
        return replace(
            self,
            entries=tuple(entry for entry in self.entries if fnmatch(entry.name, only)),
            claims=tuple(claim for claim in self.claims if all(fnmatch(name, only) for name in claim.entries)),
        )

    def cases(self, only: str = "*", repetitions: tuple[int, ...] | None = None) -> list[Case]:
        """Every entry that has a method, for each of its repetitions; `only` is a glob over entry names."""
        return [
            Case(suite=self, entry=entry, repetition=repetition)
            for entry in self.entries
            if entry.method is not None and fnmatch(entry.name, only)
            for repetition in (entry.repetitions if repetitions is None else repetitions)
        ]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One entry at one repetition and profile: the unit that runs, fails and is cached."""

    suite: Suite
    entry: Entry
    repetition: int

    @property
    def name(self) -> str:
        return f"{self.suite.name}/{self.entry.name}/{self.suite.profile.name}/{self.repetition}"

    @property
    def seed(self) -> int:
        """One seed for all rows on the same data, so that comparisons between rows are paired.

        A profile that states a published seed has it at repetition 0, and the numbers after it at the others.
        """
        if self.suite.profile.seed is not None:
            return self.suite.profile.seed + self.repetition
        data = self.entry.dataset.use if self.entry.dataset else ""
        text = f"{self.suite.name}:{data}:{self.repetition}"
        return int.from_bytes(sha256(text.encode()).digest()[:4], "big")
