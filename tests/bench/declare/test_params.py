"""Parameters: what a component's annotations make of declared values, and the sentence where they do not fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.bench.tiny
from retable.bench.declare.params import ParameterError, build, build_metric, construct, parameters
from retable.bench.errors import BenchError, DeclarationError, UnknownNameError
from retable.bench.registry import register
from retable.bench.suite import Component


@register("method", "toy-typed")
@dataclass(frozen=True, kw_only=True)
class Typed:
    """One parameter of every kind that a suite can declare."""

    @dataclass(frozen=True)
    class Inner:
        rate: float
        name: str = "x"

    count: int = 1
    rate: float | None = None
    flag: bool = False
    word: Literal["one", "two"] = "one"
    sizes: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "a")
    inner: Inner | None = None
    table: dict[str, float] = field(default_factory=dict)
    mixed: int | str | tuple[float, ...] = 0
    anything: Any = None
    UNDECLARED: ClassVar[NowhereDefined] = None  # type: ignore[name-defined]  # noqa: F821

    def __post_init__(self) -> None:
        if self.count == 13:
            raise KeyError("thirteen")


@register("method", "toy-needy")
@dataclass(frozen=True)
class Needy:
    width: int


@register("method", "toy-broken-annotation")
@dataclass(frozen=True)
class BrokenAnnotation:
    width: NowhereDefined = 1  # type: ignore[name-defined]  # noqa: F821


@register("method", "toy-set")
@dataclass(frozen=True)
class WithSet:
    words: set[str] = field(default_factory=set)


def typed(**params: Any) -> Any:
    return construct("method", "toy-typed", params)


def test_parameters_take_the_types_of_their_annotations() -> None:
    built = typed(
        rate=3,
        sizes=[1, 2],
        pair=[4, "b"],
        inner={"rate": 1},
        table={"a": 1},
        mixed=[1],
        anything={"x": [1]},
    )
    assert built == Typed(
        rate=3.0,
        sizes=(1, 2),
        pair=(4, "b"),
        inner=Typed.Inner(1.0),
        table={"a": 1.0},
        mixed=(1.0,),
        anything={"x": [1]},
    )
    assert [type(value) for value in (built.rate, built.inner.rate, built.table["a"], built.mixed[0])] == [float] * 4
    assert type(typed(mixed=3).mixed) is int
    assert typed(rate=None).rate is None


@pytest.mark.parametrize(
    ("params", "steps", "fragment"),
    [
        ({"count": True}, ("count",), "must be a whole number, not true"),
        ({"count": 2.5}, ("count",), "must be a whole number, not 2.5"),
        ({"count": 1e5}, ("count",), "; write 100000"),
        ({"count": "3"}, ("count",), "must be a whole number, not '3'"),
        ({"count": None}, ("count",), "must be a whole number, not empty"),
        ({"rate": "fast"}, ("rate",), "must be a number or null, not 'fast'"),
        ({"rate": False}, ("rate",), "must be a number or null, not false"),
        ({"flag": "no"}, ("flag",), "must be true or false, not 'no'"),
        ({"flag": 1}, ("flag",), "must be true or false, not 1"),
        ({"word": "tow"}, ("word",), "must be one of one, two, not 'tow'; did you mean 'two'?"),
        ({"word": 1}, ("word",), "must be one of one, two, not 1"),
        ({"sizes": 3}, ("sizes",), "must be a list, each item a whole number, not 3"),
        ({"sizes": [1, "x"]}, ("sizes", 1), "item 2 of 'sizes' of method 'toy-typed' must be a whole number"),
        ({"pair": [1]}, ("pair",), "must be a list of 2, not a list"),
        ({"inner": {"rate": 1, "nmae": "y"}}, ("inner", "nmae"), "has no parameter 'nmae'; did you mean 'name'?"),
        ({"inner": {"rate": 1, "name": 5}}, ("inner", "name"), "must be text, not 5; put it in quotes"),
        ({"inner": {}}, ("inner",), "needs the parameter 'rate'"),
        ({"inner": 3}, ("inner",), "must be a mapping or null, not 3"),
        ({"table": {"a": "b"}}, ("table", "a"), "must be a number, not 'b'"),
        ({"mixed": [1, "x"]}, ("mixed", 1), "must be a number, not 'x'"),
        ({"cuont": 3}, ("cuont",), "has no parameter 'cuont'; did you mean 'count'?"),
        ({"zzz": 3}, ("zzz",), "; it has count, rate, flag"),
        ({"count": 13}, (), "refuses its parameters: 'thirteen'"),
    ],
)
def test_wrong_parameters(params: dict[str, Any], steps: tuple[str | int, ...], fragment: str) -> None:
    with pytest.raises(ParameterError) as caught:
        typed(**params)
    assert fragment in str(caught.value)
    assert caught.value.steps == steps


@pytest.mark.parametrize(
    ("use", "params", "fragment"),
    [
        ("toy-needy", {}, "method 'toy-needy' needs the parameter 'width'"),
        ("toy-broken-annotation", {}, "'NowhereDefined'"),
        ("toy-set", {"words": ["a"]}, "which a suite cannot declare"),
        ("toy-tpyed", {}, "did you mean 'toy-typed'"),
    ],
)
def test_components_that_cannot_be_built(use: str, params: dict[str, Any], fragment: str) -> None:
    with pytest.raises(BenchError) as caught:
        build("method", Component(use=use, params=params))
    assert fragment in str(caught.value)


def test_building_a_declared_component_says_where_it_stands() -> None:
    with pytest.raises(DeclarationError, match=r"^suite\.yaml:7: 'level' of method 'tiny' must be a number"):
        build("method", Component(use="tiny", params={"level": "x"}, where="suite.yaml:7"))
    assert build("method", Component(use="tiny", params={"level": 2})) == tests.bench.tiny.Tiny(level=2.0)


def test_any_json_as_parameters_is_built_or_refused() -> None:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    )
    known = st.sampled_from([parameter.name for parameter in parameters(Typed)])

    @given(st.dictionaries(known, values, max_size=4))
    def attempt(params: dict[str, Any]) -> None:
        message = ""
        try:
            typed(**params)
        except ParameterError as error:
            message = str(error)
        assert "\n" not in message

    attempt()


def test_metrics_by_name() -> None:
    assert build_metric("decode_ms[1024]").length == 1024
    assert build_metric("fd[digits-cnn-v1]").network == "digits-cnn-v1"
    assert type(build_metric("params")).__name__ == "Parameters"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "fd",
        "fd[]",
        "fd[a",
        "fd[a][b]",
        "fd[a]b",
        "decode_ms[x]",
        "decode_ms[1.5]",
        "decode_ms[012]",
        "params[1]",
        "nlll",
        "a\nb",
    ],
)
def test_metrics_that_nobody_can_measure(name: str) -> None:
    with pytest.raises((UnknownNameError, ParameterError)) as caught:
        build_metric(name)
    assert "\n" not in str(caught.value)
