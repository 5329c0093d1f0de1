"""Parameters: a component's dataclass filled from plain values, with the types its annotations declare.

Understood are int, float (whole numbers too), bool, str, Literal, `X | None` and other unions, tuples, `dict[str, X]`,
nested dataclasses and Any.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from retable.bench import registry
from retable.bench.declare.strict_yaml import scalar, shorten
from retable.bench.errors import BenchError, DeclarationError, UnknownNameError, nearest
from retable.bench.suite import Component

Steps = tuple[str | int, ...]

METRIC = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\[\]]+)\])?")


class ParameterError(BenchError):
    """A parameter that is unknown, missing or of the wrong type; `steps` lead to its value inside the parameters."""

    def __init__(self, sentence: str, steps: Steps = ()) -> None:
        super().__init__(sentence)
        self.steps = steps


class _MismatchError(ParameterError):
    """A value of a kind that the type does not take at all."""


_Wrong = Callable[[], _MismatchError]
"""Makes the error of a value that does not fit; most values do, and never need its sentence."""


def build(kind: registry.Kind, component: Component) -> Any:
    """The instance that a declared component stands for.

    Raises UnknownNameError, BenchError for a module that does not import, DeclarationError for its parameters; with the
    component's `file:line` where it has one.
    """
    try:
        return construct(kind, component.use, component.params)
    except BenchError as error:
        if not component.where:
            raise
        raise DeclarationError(f"{component.where}: {error}") from error


def construct(kind: registry.Kind, use: str, params: Mapping[str, Any]) -> Any:
    """The registered component `use` with `params`. Raises ParameterError, UnknownNameError or BenchError."""
    component = registry.resolve(kind, use)
    return _fill(component, params, f"{kind} {use!r}", ())


def build_metric(name: str) -> Any:
    """The metric that `fid` or `decode_ms[1024]` names; the text in brackets is its only parameter.

    Raises UnknownNameError or ParameterError.
    """
    parts = METRIC.fullmatch(name)
    if parts is None:
        raise UnknownNameError(f"{shorten(name)!r} is not a metric's name such as fid or decode_ms[1024]")
    base, text = parts.groups()
    component = registry.resolve("metric", base)
    types = parameters(component)
    if text is None:
        required = [field.name for field in types if _required(field)]
        if required:
            raise ParameterError(f"metric {base!r} needs its {required[0]} in brackets: {base}[...]")
        return _fill(component, {}, f"metric {base!r}", ())
    if len(types) != 1:
        raise ParameterError(f"metric {base!r} takes nothing in brackets")
    (field,) = types
    for value in (text, scalar_or_text(text)):
        try:
            return _fill(component, {field.name: value}, f"metric {base!r}", ())
        except ParameterError as error:
            failure = error
    raise failure


def scalar_or_text(text: str) -> Any:
    """What a plain scalar means, or the text itself where it is a number beyond range."""
    try:
        return scalar(text)
    except ValueError:
        return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """A field of a component: its name, resolved type, and default (MISSING where it has none)."""

    name: str
    type: Any
    default: Any


@cache
def parameters(component: type) -> tuple[Parameter, ...]:
    """What a component can be given. Raises BenchError for a class that is no dataclass or has annotations in vain."""
    if not dataclasses.is_dataclass(component):
        raise BenchError(
            f"{component.__module__}.{component.__qualname__} is not a dataclass, so it cannot be a component"
        )
    found = []
    for field in dataclasses.fields(component):
        if field.init:
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            found.append(Parameter(name=field.name, type=_annotation(component, field.name), default=default))
    return tuple(found)


def describe(type_: Any) -> str:
    """A type in the words of an error message."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return describe(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(describe(option) for option in arguments)
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(str(word) for word in arguments)
    if origin is tuple:
        return f"a list, each item {describe(arguments[0])}" if Ellipsis in arguments else f"a list of {len(arguments)}"
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        NoneType: "null",
        tuple: "a list",
    }
    return words.get(type_, "a mapping")


def show(value: Any) -> str:
    """A declared value in the words of an error message."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return shorten(repr(value))


def _required(parameter: Parameter) -> bool:
    return parameter.default is dataclasses.MISSING


def _annotation(component: type, name: str) -> Any:
    """The type of one field, looked up where its class is defined; other annotations may not even resolve."""
    owner = next(base for base in component.__mro__ if name in get_annotations(base))
    annotation = get_annotations(owner)[name]
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(vars(sys.modules[owner.__module__])), dict(vars(owner)))
    except Exception as error:
        place = f"{owner.__module__}.{owner.__qualname__}"
        raise BenchError(f"the type {annotation!r} of {place}.{name} cannot be resolved: {error}") from error


def _fill(component: type, values: Any, what: str, steps: Steps) -> Any:
    if not isinstance(values, Mapping):
        raise ParameterError(f"{what} takes its parameters as a mapping, not {show(values)}", steps)
    known = {parameter.name: parameter for parameter in parameters(component)}
    for name in values:
        if name not in known:
            raise ParameterError(
                f"{what} has no parameter {name!r}{_alternatives(str(name), list(known))}", (*steps, name)
            )
    filled = {
        name: _read(known[name].type, value, f"{name!r} of {what}", (*steps, name)) for name, value in values.items()
    }
    for parameter in known.values():
        if _required(parameter) and parameter.name not in filled:
            raise ParameterError(f"{what} needs the parameter {parameter.name!r}", steps)
    try:
        return component(**filled)
    except Exception as error:  # a component's own check of its parameters
        raise ParameterError(
            f"{what} refuses its parameters: {' '.join(str(error).split()) or type(error).__name__}", steps
        ) from error


def _alternatives(name: str, known: list[str]) -> str:
    return nearest(name, known) or (f"; it has {', '.join(known)}" if known else "; it has none")


def _read(type_: Any, value: Any, what: str, steps: Steps) -> Any:
    """`value` as `type_`; lists become tuples, whole numbers become floats where floats are wanted."""
    origin, arguments = get_origin(type_), get_args(type_)

    def wrong() -> _MismatchError:
        return _MismatchError(f"{what} must be {describe(type_)}, not {show(value)}{_hint(type_, value)}", steps)

    if type_ is Any:
        return value
    if origin is Annotated:
        return _read(arguments[0], value, what, steps)
    if origin in (Union, UnionType):
        return _read_union(arguments, value, what, steps, wrong)
    if origin is Literal:
        for word in arguments:
            if type(word) is type(value) and word == value:
                return word
        raise wrong()
    if type_ is tuple or origin is tuple:
        if not isinstance(value, list | tuple):
            raise wrong()
        return tuple(_read_items(arguments, value, what, steps, wrong))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise wrong()
        return {key: _read(arguments[1], item, f"{key!r} in {what}", (*steps, key)) for key, item in value.items()}
    if type_ is float and type(value) is int:
        return float(value)
    if type_ in (int, float, bool, str, NoneType):
        if type(value) is not type_:
            raise wrong()
        return value
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        if not isinstance(value, Mapping):
            raise wrong()
        return _fill(type_, value, what, steps)
    raise BenchError(f"{what} has the type {type_}, which a suite cannot declare")


def _read_items(types: tuple[Any, ...], values: Any, what: str, steps: Steps, wrong: _Wrong) -> Iterator[Any]:
    if not types:
        types = (Any, ...)
    if Ellipsis in types:
        types = (types[0],) * len(values)
    if len(types) != len(values):
        raise wrong()
    for index, (type_, value) in enumerate(zip(types, values, strict=True)):
        yield _read(type_, value, f"item {index + 1} of {what}", (*steps, index))


def _read_union(options: tuple[Any, ...], value: Any, what: str, steps: Steps, wrong: _Wrong) -> Any:
    """The first option that fits, an exact type before a convertible one; the failure that got deepest is shown."""
    failure: ParameterError | None = None
    for option in sorted(options, key=lambda option: option is not type(value)):
        try:
            return _read(option, value, what, steps)
        except ParameterError as error:
            if not isinstance(error, _MismatchError) or len(error.steps) > len(failure.steps if failure else steps):
                failure = error
    raise failure or wrong()


def _hint(type_: Any, value: Any) -> str:
    if type_ is str and isinstance(value, int | float):
        return "; put it in quotes"
    if type_ is int and isinstance(value, float) and value.is_integer():
        return f"; write {value:.0f}"
    if get_origin(type_) is Literal and isinstance(value, str):
        return nearest(value, [word for word in get_args(type_) if isinstance(word, str)])
    return ""
