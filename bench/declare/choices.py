"""Choices by profile: one suite file, several readings.

A mapping whose keys are all names of profiles is a choice, anywhere below a key of the file; the rest of `bench` sees
the tree with its choices made.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from functools import cached_property

from retable.bench.declare.grammar import SUITE
from retable.bench.declare.scalars import NAME, PROFILE_NAMES
from retable.bench.declare.shapes import ABSENT, Passed, Shape, check
from retable.bench.declare.strict_yaml import Node
from retable.bench.errors import UnknownNameError, nearest


def at_profile(node: Node, profile: str, profiles: tuple[str, ...]) -> Node:
    """The tree with its choices made; one without a value for `profile` becomes ABSENT.

    A choice is a mapping whose keys are all names of profiles. What holds none is the same node at every profile.
    """
    if isinstance(node.value, list):
        items = [at_profile(item, profile, profiles) for item in node.value]
        same = all(map(operator.is_, items, node.value))
        return node if same else Node(items, node.path, node.line)
    if not isinstance(node.value, dict):
        return node
    chosen = [key for key in node.value if key in profiles]
    if not chosen:
        values = {key: at_profile(item, profile, profiles) for key, item in node.value.items()}
        same = all(map(operator.is_, values.values(), node.value.values()))
        return node if same else Node(values, node.path, node.line)
    for key, item in node.value.items():
        if key not in profiles:
            hint = nearest(key, profiles) or f"; the profiles are {', '.join(profiles)}"
            raise item.error(f"{key!r} is not a profile, but stands beside the profile {chosen[0]!r}{hint}")
    if profile not in node.value:
        return Node(ABSENT, node.path, node.line, profile)
    return at_profile(node.value[profile], profile, profiles)


@dataclass(frozen=True)
class Declaration:
    """A suite file as a tree, before a profile is chosen."""

    root: Node
    usable_metrics: set[str] = field(default_factory=set, repr=False, compare=False)
    """What readings at other profiles have found to be one."""
    _passed: Passed = field(default_factory=dict, repr=False, compare=False)
    _trees: dict[str, Node] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.root.value, dict) or "profiles" not in self.root.value:
            self.check(self.root, SUITE, "the suite")
        node = self.root.value["profiles"]
        self.check(node, SUITE.fields["profiles"].of, "'profiles'")
        if "mini" not in self.profiles:
            raise node.error("the profiles need 'mini', the one that runs anywhere")
        for section in ("entries", "claims", "tables"):
            self._check_names(section)
        _ = self._rehearsed

    def check(self, node: Node, shape: Shape, what: str) -> None:
        """As `shapes.check`; what stands alike at two profiles is compared once."""
        check(node, shape, what, self._passed)

    @cached_property
    def profiles(self) -> tuple[str, ...]:
        return tuple(self.root.value["profiles"].value)

    def read_as(self, profile: str) -> str:
        """The profile whose reading of the file `profile` has: its own, for a rehearsal that of what it rehearses."""
        return self._rehearsed.get(profile, profile)

    @cached_property
    def _rehearsed(self) -> dict[str, str]:
        declared = {name: node.value for name, node in self.root.value["profiles"].value.items()}
        found: dict[str, str] = {}
        for name, own in declared.items():
            if "of" not in own:
                if stray := next((key for key in ("sizes", "skip", "without") if key in own), None):
                    raise own[stray].error(f"{stray!r} goes with 'of', the profile that {name!r} rehearses")
                continue
            of = own["of"]
            if of.value not in declared or "of" in declared[of.value]:
                known = [other for other, fields in declared.items() if "of" not in fields]
                raise of.error(f"{of.value!r} cannot be rehearsed{nearest(of.value, known)}")
            found[name] = of.value
        return found

    @cached_property
    def entry_names(self) -> tuple[str, ...]:
        """Names of all rows, whatever their profiles."""
        return tuple(node.value["name"].value for node in self._items("entries"))

    @cached_property
    def shown_metrics(self) -> frozenset[str]:
        """Metrics that some row reports or measures at some profile."""
        sections = [self.root.value[key] for key in ("entries", "defaults") if key in self.root.value]
        return frozenset(name for section in sections for name in _metric_mentions(section))

    def profiles_of(self, node: Node) -> tuple[str, ...]:
        """Those that an entry or a claim is limited to."""
        if "profiles" not in node.value:
            return self.profiles
        limited = node.value["profiles"]
        self.check(limited, PROFILE_NAMES, "'profiles'")
        for item in limited.value:
            if item.value not in self.profiles:
                raise item.error(f"the suite has no profile {item.value!r}{nearest(item.value, self.profiles)}")
        return tuple(item.value for item in limited.value)

    def judged_at(self, node: Node) -> tuple[str, ...]:
        """The profiles at which a claim is made: a rehearsal shows nothing, so none is made there."""
        found = tuple(name for name in self.profiles_of(node) if name not in self._rehearsed)
        if not found:
            raise node.value["profiles"].error("a rehearsal judges nothing; name a profile that shows the claim")
        return found

    def _items(self, section: str) -> list[Node]:
        return self.root.value[section].value if section in self.root.value else []

    def _check_names(self, section: str) -> None:
        """Lists of named mappings, no name twice."""
        first: dict[str, Node] = {}
        what = section.rstrip("s") if section != "entries" else "entry"
        if section in self.root.value and not isinstance(self._items(section), list):
            self.check(self.root.value[section], SUITE.fields[section].of, f"{section!r}")
        for node in self._items(section):
            if not isinstance(node.value, dict) or "name" not in node.value:
                raise node.error(f"each {what} is a mapping with a name")
            name = node.value["name"]
            self.check(name, NAME, f"the name of the {what}")
            if name.value in first:
                raise name.error(f"another {what} on line {first[name.value].line} is called {name.value!r}")
            first[name.value] = name

    def at(self, profile: str) -> Node:
        """The tree at a profile, without the rows of others; a claim it cannot see is read at the first one that can.

        Raises UnknownNameError for a profile that the file does not have.
        """
        if profile not in self.profiles:
            hint = nearest(profile, self.profiles) or f"; it has {', '.join(self.profiles)}"
            raise UnknownNameError(f"{self.root.path} has no profile {profile!r}{hint}")
        read_as = self.read_as(profile)
        if read_as not in self._trees:
            self._trees[read_as] = self._tree(read_as)
        return self._trees[read_as]

    def _tree(self, profile: str) -> Node:
        values: dict[str, Node] = {}
        for key, node in self.root.value.items():
            if key == "profiles":
                values[key] = node
            elif key == "entries":
                rows = [item for item in node.value if profile in self.profiles_of(item)]
                if node.value and not rows:
                    raise node.error(f"no entry is left at the profile {profile!r}")
                values[key] = Node([at_profile(item, profile, self.profiles) for item in rows], node.path, node.line)
            elif key == "claims":
                values[key] = Node([self._claim_at(item, profile) for item in node.value], node.path, node.line)
            else:
                values[key] = at_profile(node, profile, self.profiles)
        return Node(values, self.root.path, self.root.line)

    def _claim_at(self, node: Node, profile: str) -> Node:
        seen = self.judged_at(node)
        return at_profile(node, profile if profile in seen else seen[0], self.profiles)


def _metric_mentions(node: Node, key: str = "") -> set[str]:
    """All that stands under a key `metrics` or `reported`, through choices."""
    if isinstance(node.value, str):
        return {node.value} if key == "metrics" else set()
    found: set[str] = set()
    if isinstance(node.value, list):
        for item in node.value:
            found |= _metric_mentions(item, key)
    elif isinstance(node.value, dict):
        for name, item in node.value.items():
            found |= {name} if key == "reported" else set()
            found |= _metric_mentions(item, name if name in ("metrics", "reported") else key)
    return found
