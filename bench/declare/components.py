"""The methods, data sets and tasks that a suite names, followed through `extends` and `needs` and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from retable.bench import registry
from retable.bench.contracts import usable
from retable.bench.declare.grammar import SECTIONS
from retable.bench.declare.params import ParameterError, construct
from retable.bench.declare.shapes import ABSENT
from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import BenchError, BrokenComponentError, DeclarationError, nearest
from retable.bench.registry import Kind
from retable.bench.suite import Component


@dataclass(frozen=True, kw_only=True)
class _Flat:
    """A declaration after `extends`: where its name, parameters and needs stand."""

    use: Node
    params: Node
    needs: Mapping[str, Node]


class Components:
    """The named components of a suite at one profile; every place that uses a name gets the same Component."""

    def __init__(self, suite: Node, *, strict: bool, sizes: Mapping[str, Node] | None = None) -> None:
        """`strict` refuses a component whose module does not import; else only the cases that use it fail.

        `sizes` are a rehearsal's parameters by section and registered name, laid upon every component of that name.
        """
        self._strict = strict
        self._sizes: dict[Kind, dict[str, Node]] = {
            kind: sizes[section].value if sizes and section in sizes else {} for kind, section in SECTIONS.items()
        }
        self._sized: set[tuple[Kind, str]] = set()
        self._named: dict[Kind, dict[str, Node]] = {
            kind: suite.value[section].value if section in suite.value else {} for kind, section in SECTIONS.items()
        }
        self._read_before: dict[tuple[Kind, str], Component] = {}

    def check(self) -> None:
        """Read every named component that has a value at this profile, used or not."""
        for kind, named in self._named.items():
            for name, node in named.items():
                if node.value is not ABSENT:
                    self._by_name(kind, Node(name, node.path, node.line, name))

    def check_sizes(self) -> None:
        """Once all rows are read: sizes are those of components that the suite uses. Raises DeclarationError."""
        for kind, sizes in self._sizes.items():
            used = [use for of, use in self._sized if of == kind]
            for use, node in sizes.items():
                if use not in used:
                    raise node.error(f"no {kind} of this suite uses {use!r}{nearest(use, used)}")

    def get(self, kind: Kind, node: Node) -> Component:
        """The component that `node` names or holds. Raises DeclarationError."""
        return self._by_name(kind, node) if isinstance(node.value, str) else self._component(kind, node, (), ())

    def _by_name(self, kind: Kind, reference: Node, path: tuple[str, ...] = ()) -> Component:
        """`path` holds the names that led here through `needs`."""
        name = reference.value
        node = self._lookup(kind, reference)
        if name in path:
            raise reference.error(f"{kind} {name!r} needs itself: {' -> '.join((*path, name))}")
        if (kind, name) not in self._read_before:
            self._read_before[kind, name] = self._component(kind, node, (name,), (*path, name))
        return self._read_before[kind, name]

    def _lookup(self, kind: Kind, reference: Node) -> Node:
        name, named = reference.value, self._named[kind]
        if name not in named:
            hint = nearest(name, list(named))
            if name in registry.names(kind):
                hint = f"; write {{use: {name}}} for the registered one"
            raise reference.error(f"the suite has no {kind} {name!r}{hint}")
        if named[name].value is ABSENT:
            raise reference.error(f"{kind} {name!r} has no value for the profile {named[name].text!r}")
        return named[name]

    def _component(self, kind: Kind, node: Node, extended: tuple[str, ...], path: tuple[str, ...]) -> Component:
        flat = self._flatten(kind, node, extended)
        use = flat.use.value
        self._sized.add((kind, use))
        if use in self._sizes[kind]:
            flat = replace(flat, params=merge(flat.params, self._sizes[kind][use]))
        try:
            component = registry.resolve(kind, use)
            usable(kind, use, component)
            known = tuple(getattr(component, "NEEDS", ()))
            construct(kind, use, flat.params.plain())
        except ParameterError as error:
            raise flat.params.find(error.steps).error(str(error)) from error
        except BrokenComponentError as error:
            if self._strict:
                raise flat.use.error(str(error)) from error
            return Component(use=use, params=flat.params.plain(), where=node.where, broken=str(error))
        except BenchError as error:
            raise flat.use.error(str(error)) from error
        for role, need in flat.needs.items():
            if role not in known:
                alternatives = nearest(role, known) or (
                    f"; it needs {', '.join(known)}" if known else "; it needs nothing"
                )
                raise need.error(f"{kind} {use!r} has no need {role!r}{alternatives}")
        needs = {role: self._by_name("method", need, path) for role, need in flat.needs.items()}
        read = Component(use=use, params=flat.params.plain(), needs=needs, where=node.where)
        if kind == "task":
            require_needs(kind, read)
        return read

    def _flatten(self, kind: Kind, node: Node, extended: tuple[str, ...]) -> _Flat:
        own: dict[str, Node] = node.value
        params = own.get("with", Node({}, node.path, node.line))
        needs = own["needs"].value if "needs" in own else {}
        if "use" in own:
            return _Flat(use=own["use"], params=params, needs=needs)
        reference = own["extends"]
        path = (*extended, reference.value)
        if reference.value in extended:
            raise reference.error(f"{kind} {reference.value!r} extends itself: {' -> '.join(path)}")
        base = self._flatten(kind, self._lookup(kind, reference), path)
        return _Flat(use=base.use, params=merge(base.params, params), needs={**base.needs, **needs})


def require_needs(kind: Kind, component: Component) -> None:
    """Raises DeclarationError for a component, or one below it, that lacks something it builds on."""
    if component.broken:
        return
    for role in getattr(registry.resolve(kind, component.use), "NEEDS", ()):
        if role not in component.needs:
            message = f"{kind} {component.use!r} needs a {role!r}; name a method for it under 'needs'"
            raise DeclarationError(f"{component.where}: {message}")
    if kind == "method":
        for need in component.needs.values():
            require_needs("method", need)


def merge(base: Node, over: Node) -> Node:
    """`over` laid upon `base`: mappings key by key, everything else replaced; every value keeps its own line."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, over.path, over.line)
