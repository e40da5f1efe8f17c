"""Making objects from plain specifications, safely: the public name of a class and its arguments.

A specification comes from a configuration or a checkpoint, which are data: only public names of `sgdsm` are imported.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgdsm.core.arguments import TARGET as TARGET
from sgdsm.core.arguments import VARIADIC, check_value, hints_of, shown
from sgdsm.core.arguments import describe as describe
from sgdsm.core.arguments import fits as fits
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.public import public_name, resolve

TRUST = "trust"  # the word of a command line that names packages
_TRUSTED: set[str] = set()


def trust(packages: str) -> None:
    """Let specifications name classes of other packages, for this process. Only the user's own words may ask for it.

    Args:
        packages: Names, separated by commas; they are imported when a specification names something in them.

    Raises:
        ConfigError: A name is none of a package.
    """
    for name in packages.split(","):
        if not name.isidentifier():
            raise ConfigError(f"{TRUST}={packages}: expected names of packages, like {TRUST}=mypkg")
        _TRUSTED.add(name)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where a package of one's own lies, for the script `sgdsm` too


def build(spec: Mapping[str, Any], kind: Any, **more: Any) -> Any:
    """Make the object of a specification {'_target_': 'sgdsm.module.Class', argument: value, ...}.

    Values that are specifications are built first.

    Args:
        spec: Specification.
        kind: Class, or union of classes, that the object must be of: nothing else of the package is called, whatever a
            file says.
        **more: Arguments that a file does not hold.

    Returns:
        The object.

    Raises:
        ConfigError: As `check_spec`.
    """
    # everything is checked before anything is made
    check_spec(spec, kind, supplied=tuple(more))
    hints = hints_of(locate(spec[TARGET]))
    arguments = {k: _built(v, hints.get(k)) for k, v in spec.items() if k != TARGET}
    return locate(spec[TARGET])(**arguments, **more)


def locate(path: Any) -> Any:
    """Return the class or function of a public name of this package, such as 'sgdsm.models.Climatology'.

    Args:
        path: Public name.

    Raises:
        ConfigError: The path is anything else; nothing outside the public names is imported.
    """
    package, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if package.partition(".")[0] in _TRUSTED:
        return _of_trusted(package, name)
    known = _public_names(package)
    if name not in known:
        near = suggest(name, known) if known else ""
        raise ConfigError(
            f"{TARGET}: {path!r}{near}: expected a public name of sgdsm, like "
            f"'sgdsm.models.Climatology', or {TRUST}=PACKAGE on the command line for a class of your own"
        )
    target = resolve(package, importlib.import_module(package).PUBLIC, name)
    if not callable(target):
        raise ConfigError(f"{TARGET}: {path} is not a class or a function")
    return target


def _of_trusted(module: str, name: str) -> Any:
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{TARGET}: {module}.{name}: {error}") from error
    if not callable(target):
        raise ConfigError(f"{TARGET}: {module}.{name} is not a class or a function")
    return target


def default_spec(target: type) -> dict[str, Any]:
    """Return the specification of a class with the defaults of its arguments."""
    defaults = {name: p.default for name, p in inspect.signature(target).parameters.items()}
    return {TARGET: public_name(target), **defaults}


def _public_names(package: str) -> list[str]:
    """Return the public names of a package of ours; only the top level and its direct packages have some."""
    # a specification from a stranger's checkpoint must not import other code
    if package.split(".")[0] != "sgdsm" or package.count(".") > 1:
        return []
    try:
        return [*getattr(importlib.import_module(package), "PUBLIC", {})]
    except ModuleNotFoundError:
        return []


def check_spec(spec: Mapping[str, Any], kind: Any, where: str = "", supplied: Sequence[str] = ()) -> None:
    """Raise an error if no object can be made of a specification.

    Args:
        spec: Specification.
        kind: Class, or union of classes, that the object must be of (of a function: that it must return).
        where: Place of the specification in a configuration, for messages.
        supplied: Names of arguments that are passed by the caller of `build`.

    Raises:
        ConfigError: The class is of another kind, or an argument is unknown, missing or of a wrong type.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{where or 'spec'}={shown(spec)}: expected settings with {TARGET}")
    target = locate(spec.get(TARGET))
    place = where or str(spec[TARGET]).rsplit(".", 1)[-1]
    hints = hints_of(target)
    # a function counts as what it is declared to return
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
