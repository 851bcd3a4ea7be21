"""Dataclasses that check their own fields against their type hints. Standard library only."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import InputError

CODE = "CTR-EVT-003"


class Checked:
    """Base of frozen dataclasses. Numpy values and lists become plain numbers and tuples; wrong types are refused."""

    def __post_init__(self) -> None:
        for name, hint in fields_of(type(self)).items():
            object.__setattr__(self, name, coerce(getattr(self, name), hint, f"{type(self).__name__}.{name}"))
        self.check()

    def check(self) -> None:
        """What the types cannot say; raises a CTReasonerError."""


@cache
def fields_of(kind: type) -> dict[str, Any]:
    """Field name -> type hint of a dataclass."""
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def rebuild(kind: type, content: dict[str, Any]) -> Any:
    """An instance of a dataclass from its plain form; a missing field is an InputError."""
    for f in fields(kind):
        if f.name not in content and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"{kind.__name__} has no {f.name}.", code=CODE)
    return kind(**content)


def coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as its type hint says, or InputError (`where` names the field)."""
    value = value.tolist() if hasattr(value, "tolist") else value
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return _json_value(value, where)
    if origin in (Union, UnionType):
        return _one_of(value, inner, where)
    if origin is Literal:
        if value in inner and isinstance(value, str):
            return value
        raise _wrong(where, "one of " + ", ".join(map(repr, inner)), value)
    if origin is tuple:
        return _tuple(value, inner, where)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise _wrong(where, "an object with named fields", value)
        return {k: coerce(v, inner[1], f"{where}[{k!r}]") for k, v in value.items()}
    if is_dataclass(hint):
        return _nested(value, hint, where)
    return _simple(value, hint, where)


def plain(value: Any) -> Any:
    """The form that JSON knows."""
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in fields_of(type(value))}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


def _simple(value: Any, hint: type, where: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    raise _wrong(where, names[hint], value)


def _tuple(value: Any, inner: tuple, where: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise _wrong(where, "a list", value)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(coerce(v, inner[0], f"{where}[{n}]") for n, v in enumerate(value))
    if len(value) != len(inner):
        raise _wrong(where, f"a list of {len(inner)}", value)
    return tuple(coerce(v, h, f"{where}[{n}]") for n, (v, h) in enumerate(zip(value, inner, strict=True)))


def _one_of(value: Any, hints: tuple, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    hints = [h for h in hints if h is not type(None)]
    for hint in hints[:-1]:
        try:
            return coerce(value, hint, where)
        except InputError:
            continue
    return coerce(value, hints[-1], where)


def _nested(value: Any, kind: type, where: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise _wrong(where, f"a {kind.__name__}", value)
    return rebuild(kind, {k: v for k, v in value.items() if k in fields_of(kind)})


def _json_value(value: Any, where: str, depth: int = 0) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if depth < 32:
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, list | tuple):
            return [_json_value(v, where, depth + 1) for v in value]
        if isinstance(value, dict) and all(isinstance(k, str) for k in value):
            return {k: _json_value(v, where, depth + 1) for k, v in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            return plain(value)
    raise _wrong(where, "what JSON can hold", value)


def _wrong(where: str, wanted: str, value: Any) -> InputError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return InputError(f"{where} must be {wanted}, not {shown}.", code=CODE)
