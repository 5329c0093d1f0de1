"""Suite files into suites, at one profile or at all; every name is looked up, every claim must be measurable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from retable.bench import registry
from retable.bench.contracts import usable
from retable.bench.declare import strict_yaml, values
from retable.bench.declare.beside import erratum, recipes
from retable.bench.declare.choices import Declaration
from retable.bench.declare.claim import check_correlation, rows_of
from retable.bench.declare.components import Components, require_needs
from retable.bench.declare.defaults import default_layouts
from retable.bench.declare.grammar import MEASURED, SUITE
from retable.bench.declare.overrides import overridden
from retable.bench.declare.params import build_metric
from retable.bench.declare.rehearsed import leaves_out, reasons
from retable.bench.declare.rules import RuleError, read_rule
from retable.bench.declare.shapes import ABSENT
from retable.bench.declare.strength import check_strengths
from retable.bench.declare.strict_yaml import Node
from retable.bench.declare.weights import check_named, read_weights
from retable.bench.errors import BenchError, nearest
from retable.bench.suite import (
    Alive,
    Claim,
    ClaimKind,
    Column,
    Entry,
    Expectation,
    Layout,
    Limits,
    Numerics,
    PlotKind,
    Profile,
    PublishedRecipe,
    Reproducibility,
    Rule,
    Series,
    Sketch,
    Suite,
)


def load_suite(path: str | Path, profile: str = "mini", overrides: Sequence[str] = ()) -> Suite:
    """The suite that a file declares, read for one profile; a component that does not import breaks only its own cases.

    `overrides` set parameters (`method.mine.lr=1e-3`). Raises DeclarationError (`file:line: sentence`), BenchError for a
    file that cannot be read or an override that sets nothing, UnknownNameError for a profile that the file does not have.
    """
    return _read(Declaration(strict_yaml.load(path)), profile, overrides=overrides)


def check_suite(path: str | Path) -> tuple[Suite, ...]:
    """As `load_suite`, for every profile the file has; every component has to import."""
    declaration = Declaration(strict_yaml.load(path))
    readings = tuple(_read(declaration, profile, strict=True) for profile in declaration.profiles)
    check_named(values.mapping(declaration.root.value, "weights"), readings)
    return readings


def _read(declaration: Declaration, profile: str, *, strict: bool = False, overrides: Sequence[str] = ()) -> Suite:
    root = overridden(declaration.at(profile), overrides)
    suite = _Reader(declaration=declaration, root=root, profile=profile, strict=strict).suite()
    return replace(suite, overrides=tuple(overrides))


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """One profile's tree into the nouns of `bench.suite`."""

    declaration: Declaration
    root: Node
    profile: str
    strict: bool

    def suite(self) -> Suite:
        self.declaration.check(self.root, SUITE, "the suite")
        top = self.root.value
        stem = Path(self.root.path).stem
        if top["suite"].value != stem:
            raise top["suite"].error(
                f"the suite is called {top['suite'].value!r} and its file {stem!r}; they must agree"
            )
        self.components.check()
        entries = tuple(self._entry(node) for node in top["entries"].value)
        self.components.check_sizes()
        rows = {entry.name: entry for entry in entries}
        judged = {} if self._profile.of else top  # a rehearsal shows nothing, so nothing is judged
        claims = tuple(self._claim(node, rows) for node in values.nodes(judged, "claims"))
        check_strengths(claims, values.nodes(judged, "claims"))
        return Suite(
            name=stem,
            title=values.text(top, "title"),
            paper=values.text(top, "paper"),
            arxiv=values.text(top, "arxiv"),
            version=top["version"].value,
            profile=self._profile,
            profiles=self.declaration.profiles,
            entries=entries,
            claims=claims,
            alive=tuple(self._alive(node) for node in values.nodes(judged, "alive")),
            layouts=tuple(self._layout(node) for node in values.nodes(top, "tables"))
            if "tables" in top
            else default_layouts(stem, values.text(top, "title"), entries),
            sketches=tuple(self._sketch(node) for node in values.nodes(top, "plots")),
            statistics=values.statistics(values.mapping(top, "statistics")),
            reproducibility=self._reproducibility(values.mapping(top, "reproducibility")),
            rules=tuple(self._rule(node, entries) for node in values.nodes(top, "rules")),
            errata=tuple(erratum(node.value) for node in values.nodes(top, "errata")),
            recipes=self._recipes(values.nodes(top, "recipes")),
            weights=read_weights(values.mapping(top, "weights")),
            path=self.root.path,
        )

    @cached_property
    def components(self) -> Components:
        own = self.root.value["profiles"].value[self.profile].value
        return Components(self.root, strict=self.strict, sizes=values.mapping(own, "sizes"))

    @cached_property
    def _profile(self) -> Profile:
        declared = self.root.value["profiles"].value[self.profile].value
        limits, rows = declared["limits"].value, self.declaration.entry_names
        rest = {key: declared[key].value for key in ("device", "dtype", "kernels") if key in declared}
        on_cpu = rest.get("device", "cpu") == "cpu"
        numerics: Numerics = "portable" if self.profile == "mini" and on_cpu else "native"
        if "numerics" in declared:
            numerics = declared["numerics"].value
            if numerics == "portable" and not on_cpu:
                raise declared["numerics"].error(f"portable numerics are those of the CPU, not of {rest['device']}")
        return Profile(
            name=self.profile,
            repetitions=values.plain_tuple(declared["repetitions"]),
            seed=declared["seed"].value if "seed" in declared else None,
            limits=Limits(
                timeout=values.quantity(limits["timeout"], values.SECONDS),
                memory=int(values.quantity(limits["memory"], values.BYTES)),
                **({"threads": limits["threads"].value} if "threads" in limits else {}),
            ),
            numerics=numerics,
            of=declared["of"].value if "of" in declared else "",
            skip=reasons(values.mapping(declared, "skip"), rows),
            without=reasons(values.mapping(declared, "without"), rows, sorted(self.declaration.shown_metrics)),
            **rest,
        )

    def _entry(self, node: Node) -> Entry:
        own = node.value
        name = own["name"].value
        reported = {metric: values.reported(item) for metric, item in values.mapping(own, "reported").items()}
        for metric, item in values.mapping(own, "reported").items():
            self._check_metric(metric, item)
        measured: dict[str, Any] = {}
        if "method" in own:
            measured = self._measured(node)
        elif stray := next((key for key in MEASURED if key in own), None):
            raise own[stray].error(f"entry {name!r} has {stray!r} but no method to measure")
        elif not reported:
            raise node.error(f"entry {name!r} has neither a method nor reported values")
        group = values.text(own, "group")
        return Entry(
            name=name,
            label=values.text(own, "label") or name,
            group=group,
            reported=reported,
            where=node.where,
            **measured,
        )

    def _measured(self, node: Node) -> dict[str, Any]:
        name = node.value["name"].value
        fields = {**values.mapping(self.root.value, "defaults"), **node.value}
        for key in ("dataset", "task", "metrics"):
            if key not in fields:
                raise node.error(f"entry {name!r} has a method but no {key!r}, and the defaults have none")
        method = self.components.get("method", fields["method"])
        task = self.components.get("task", fields["task"])
        if not task.broken and getattr(registry.resolve("task", task.use), "FITS", True):
            require_needs("method", method)
        for item in fields["metrics"].value:
            self._check_metric(item.value, item)
        return {
            "method": method,
            "dataset": self.components.get("dataset", fields["dataset"]),
            "task": task,
            "metrics": tuple(
                metric
                for metric in values.plain_tuple(fields["metrics"])
                if not leaves_out(self._profile.without, metric, name)
            ),
            "repetitions": values.plain_tuple(fields["repetitions"])
            if "repetitions" in fields and not self._profile.of
            else self._profile.repetitions,
        }

    def _check_metric(self, name: str, node: Node) -> None:
        if name not in self.declaration.usable_metrics:
            try:
                usable("metric", name, type(build_metric(name)))
            except BenchError as error:
                raise node.error(str(error)) from error
            self.declaration.usable_metrics.add(name)

    def _claim(self, node: Node, rows: dict[str, Entry]) -> Claim:
        own = node.value
        kind: ClaimKind = next(kind for kind in get_args(ClaimKind) if kind in own)
        predicate = own[kind].value
        names = rows_of(predicate)
        metric = predicate["metric"].value
        metrics = [predicate[key] for key in ("metric", "against") if key in predicate]
        for one in metrics if kind != "mean" or not metric.endswith("[*]") else []:
            self._check_metric(one.value, one)
        if kind == "correlation":
            check_correlation(predicate)
        profiles = self.declaration.judged_at(node)
        for item in names:
            if item.value not in self.declaration.entry_names:
                raise item.error(
                    f"the suite has no entry {item.value!r}{nearest(item.value, self.declaration.entry_names)}"
                )
            if self.profile in profiles:
                for one in metrics:
                    self._check_measured(item, one.value, rows)
        return Claim(
            name=own["name"].value,
            text=values.text(own, "text"),
            source=values.text(own, "source"),
            kind=kind,
            metric=metric,
            entries=tuple(item.value for item in names),
            bound=None if kind == "ordering" else values.bound(own[kind]),
            against=metrics[1].value if len(metrics) > 1 else "",
            log="scale" in predicate and predicate["scale"].value == "log",
            profiles=profiles,
            expect=self._expectation(own, profiles),
            stated=own["strength"].value if "strength" in own else None,
            weakens=values.text(own, "weakens"),
            because=values.text(own, "because"),
            uncontrolled=values.text(own, "uncontrolled"),
            revised=values.text(own, "revised"),
            control=self._control(own, rows, metric, profiles),
            where=node.where,
            **{key: own[key].value for key in ("min_seeds", "tier") if key in own},
        )

    def _control(self, own: dict[str, Node], rows: dict[str, Entry], metric: str, profiles: tuple[str, ...]) -> str:
        if "control" not in own or own["control"].value is ABSENT:
            return ""
        if "ordering" in own:
            raise own["control"].error("a control stands beside a value or a ratio; a row more does it in an ordering")
        if self.profile in profiles:
            self._check_measured(own["control"], metric, rows)
        name: str = own["control"].value
        return name

    def _alive(self, node: Node) -> Alive:
        own = node.value
        self._check_metric(own["metric"].value, own["metric"])
        return Alive(
            rows=self._rows(own),
            metric=own["metric"].value,
            bound=values.bound(node),
            chance=values.text(own, "chance"),
            covers=values.plain_tuple(own["covers"]) if "covers" in own else (),
        )

    def _check_measured(self, item: Node, metric: str, rows: dict[str, Entry]) -> None:
        """A claim can only be judged where its rows measure its metric."""
        entry = rows.get(item.value)
        if entry is None:
            problem = "does not exist"
        elif entry.method is None:
            problem = "has no method, so nothing is measured"
        elif entry.own(metric) not in entry.metrics:
            problem = f"does not measure {metric!r}{nearest(metric, entry.metrics)}"
        else:
            return
        raise item.error(f"at the profile {self.profile!r} the entry {item.value!r} {problem}")

    def _expectation(self, own: dict[str, Node], profiles: tuple[str, ...]) -> Expectation:
        if self.profile not in profiles:
            return Expectation(verdict="not measured", because=f"needs profile {' or '.join(profiles)}")
        if "expect" not in own or own["expect"].value is ABSENT:
            return Expectation(verdict="reproduced")
        node = own["expect"]
        given = node.value if isinstance(node.value, dict) else {"verdict": node}
        verdict, because = given["verdict"].value, values.text(given, "because")
        if verdict != "reproduced" and not because:
            raise node.error(f"an expected verdict {verdict!r} needs its reason: {{verdict: {verdict}, because: ...}}")
        if "or" not in given:
            return Expectation(verdict=verdict, because=because)
        other = given["or"]
        if "not measured" not in (verdict, other.value) or verdict == other.value or not because:
            raise other.error(
                "`or` is for a claim that some repetitions decide and others do not: one of the two verdicts is 'not measured', the "
                "other is not, and 'because' says which repetitions gave which"
            )
        return Expectation(verdict=verdict, because=because, otherwise=other.value)

    def _layout(self, node: Node) -> Layout:
        own = node.value
        columns = []
        for item in own["columns"].value:
            metric = self._shown(item.value["metric"])
            rest = {key: item.value[key].value for key in ("show", "format") if key in item.value}
            group = values.text(item.value, "group")
            columns.append(Column(label=values.text(item.value, "label"), metric=metric, group=group, **rest))
        return Layout(
            name=own["name"].value,
            title=values.text(own, "title"),
            rows=self._rows(own) or ("*",),
            columns=tuple(columns),
            note=values.text(own, "note"),
        )

    def _sketch(self, node: Node) -> Sketch:
        own = node.value
        kind: PlotKind = own["kind"].value
        wanted = {
            "scatter": ("x", "rows"),
            "lines": ("x", "series"),
            "curve": ("prefix", "rows"),
            "heat": ("prefix", "rows"),
        }[kind]
        allowed = {
            "scatter": wanted,
            "lines": (*wanted, "label"),
            "curve": (*wanted, "label", "across"),
            "heat": (*wanted, "label"),
        }[kind]
        if lacking := [key for key in wanted if key not in own]:
            raise node.error(f"a plot of the kind {kind!r} needs {lacking[0]!r}")
        if idle := [
            key for key in ("x", "rows", "series", "prefix", "label", "across") if key in own and key not in allowed
        ]:
            raise own[idle[0]].error(f"a plot of the kind {kind!r} has no {idle[0]!r}")
        lines = values.nodes(own, "series")
        return Sketch(
            name=own["name"].value,
            title=values.text(own, "title"),
            kind=kind,
            y=self._shown(own["y"]),
            x=self._shown(own["x"]) if "x" in own else "",
            rows=self._rows(own),
            series=tuple(Series(label=values.text(line.value, "label"), rows=self._rows(line.value)) for line in lines),
            prefix=own["prefix"].value if "prefix" in own else "",
            label=values.text(own, "label"),
            across=values.text(own, "across"),
            note=values.text(own, "note"),
            **({"scale": own["scale"].value} if "scale" in own else {}),
        )

    def _reproducibility(self, own: dict[str, Node]) -> Reproducibility:
        metrics = {
            self._shown(Node(name, item.path, item.line)): values.tolerance(item)
            for name, item in values.mapping(own, "metrics").items()
        }
        tolerance = values.tolerance(own["tolerance"]) if "tolerance" in own else None
        return Reproducibility(tolerance=tolerance, metrics=metrics, because=values.text(own, "because"))

    def _rule(self, node: Node, entries: tuple[Entry, ...]) -> Rule:
        try:
            return read_rule(node.value, entries)
        except RuleError as error:
            raise node.error(str(error)) from error

    def _recipes(self, nodes: list[Node]) -> tuple[PublishedRecipe, ...]:
        for node in nodes:
            self._rows(node.value)
        return recipes(nodes, tuple(self.declaration.entry_names))

    def _rows(self, own: dict[str, Node]) -> tuple[str, ...]:
        """Globs over entries, each of which has to match one."""
        names = self.declaration.entry_names
        for item in values.nodes(own, "rows"):
            pattern = item.value.removeprefix("!")
            if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
                raise item.error(f"no entry matches the row {item.value!r}{nearest(pattern, names)}")
        return tuple(item.value for item in values.nodes(own, "rows"))

    def _shown(self, node: Node) -> str:
        """A metric that some entry reports or measures."""
        name: str = node.value
        self._check_metric(name, node)
        shown = self.declaration.shown_metrics
        if name not in shown:
            raise node.error(f"no entry reports or measures {name!r}{nearest(name, sorted(shown))}")
        return name
