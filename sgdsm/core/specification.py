"""Objects from plain specifications, safely: a class path inside this package and its arguments.

A specification comes from a config file or a checkpoint, which are data: nothing outside `sgdsm.` is imported.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from sgdsm.core.arguments import TARGET as TARGET
from sgdsm.core.arguments import VARIADIC, check_value, hints_of, shown
from sgdsm.core.arguments import describe as describe
from sgdsm.core.arguments import fits as fits
from sgdsm.core.cube import ConfigError, suggest
from sgdsm.core.public import resolve


def build(spec: Mapping[str, Any], kind: Any, **more: Any) -> Any:
    """Make the object of a specification {'_target_': 'sgdsm.module.Class', argument: value, ...}.

    kind: what it must be, a class or a union of classes: nothing else of the package is called, whatever a file says.
    Values that are specifications are built first. `more` are arguments that a file does not hold.

    Raises ConfigError as `check_spec` does.
    """
    check_spec(spec, kind, supplied=tuple(more))
    hints = hints_of(locate(spec[TARGET]))
    arguments = {k: _built(v, hints.get(k)) for k, v in spec.items() if k != TARGET}
    return locate(spec[TARGET])(**arguments, **more)


def locate(path: Any) -> Any:
    """Return the class or function of a public name of this package, such as 'sgdsm.models.Climatology'.

    Raises:
        ConfigError: The path is anything else; nothing outside the public names is imported.
    """
    package, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    known = _public_names(package)
    if name not in known:
        near = suggest(name, known) if known else ""
        raise ConfigError(f"{TARGET}: {path!r}{near}: expected a public name of sgdsm, like 'sgdsm.models.Climatology'")
    # not getattr: a module of the same name (sources.pseudo_labelled) hides the function once it is imported
    target = resolve(package, importlib.import_module(package).PUBLIC, name)
    if not callable(target):
        raise ConfigError(f"{TARGET}: {path} is not a class or a function")
    return target


def _public_names(package: str) -> list[str]:
    """Return the public names of a package of ours; only the top level and its direct packages have some."""
    if package.split(".")[0] != "sgdsm" or package.count(".") > 1:
        return []
    try:
        return [*getattr(importlib.import_module(package), "PUBLIC", {})]
    except ModuleNotFoundError:
        return []


def check_spec(spec: Mapping[str, Any], kind: Any, where: str = "", supplied: Sequence[str] = ()) -> None:
    """Raise ConfigError where a specification does not make a `kind` (a class, or what a function returns), or has an
    unknown or missing argument or one of a wrong type."""
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{where or 'spec'}={shown(spec)}: expected settings with {TARGET}")
    target = locate(spec.get(TARGET))
    place = where or str(spec[TARGET]).rsplit(".", 1)[-1]
    hints = hints_of(target)
    made = target if inspect.isclass(target) else hints.get("return")
    if not (inspect.isclass(made) and issubclass(made, kind)):
        raise ConfigError(f"{TARGET}: {spec[TARGET]} does not make a {describe(kind)}")
    parameters = {n: p for n, p in inspect.signature(target).parameters.items() if p.kind not in VARIADIC}
    for name, value in spec.items():
        if name == TARGET:
            continue
        if name not in parameters:
            known = [p for p in parameters if p not in supplied]
            raise ConfigError(
                f"{place}: unknown key '{name}'{suggest(str(name), known)}; known are {', '.join(known) or 'none'}"
            )
        if _is_spec(value):
            check_spec(value, _kind_alone(hints.get(name, types.NoneType)), f"{place}.{name}")
        elif _holds_specs(value):
            for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
                if not _is_spec(inner):
                    raise ConfigError(f"{place}.{name}.{key}={inner!r}: expected settings with {TARGET}")
                check_spec(inner, _kind_inside(hints.get(name)), f"{place}.{name}.{key}")
        else:
            check_value(f"{place}.{name}", value, hints.get(name, Any))
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in spec and name not in supplied:
            raise ConfigError(f"{place}: '{name}' is not given")


def _built(value: Any, hint: Any) -> Any:
    """Return a value with the specifications in it built."""
    if _is_spec(value):
        return build(value, _kind_alone(hint))
    if not _holds_specs(value):
        return value
    kind = _kind_inside(hint)
    if isinstance(value, Mapping):
        return {key: build(inner, kind) for key, inner in value.items()}
    return [build(inner, kind) for inner in value]


def _holds_specs(value: Any) -> bool:
    """Return True for a dict or a list with specifications in it."""
    if isinstance(value, Mapping):
        return any(_is_spec(inner) for inner in value.values())
    return isinstance(value, (list, tuple)) and any(_is_spec(inner) for inner in value)


def _kind_alone(hint: Any) -> Any:
    """Return what a single specification may make under a type hint: a union without its dicts and lists."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    kinds = [part for part in typing.get_args(hint) if not typing.get_args(part)]
    return functools.reduce(operator.or_, kinds) if kinds else types.NoneType


def _kind_inside(hint: Any) -> Any:
    """Return what the specifications in a dict or a list may make under a type hint; NoneType where none is allowed."""
    for part in typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if origin is dict:
            return arguments[1]
        if origin in (list, Sequence):
            return arguments[0]
    return types.NoneType


def _is_spec(value: Any) -> bool:
    return isinstance(value, Mapping) and TARGET in value
