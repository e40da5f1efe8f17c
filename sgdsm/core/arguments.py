"""Arguments of public functions and classes: check of type hints and ranges, and conversion to plain data."""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.public import public_name

TARGET = "_target_"
LARGEST = 2**63
NAMES = {"Sequence": "list", "Mapping": "dict"}
# of arguments with these names, whosever they are: what is beyond fails late, in other programs' words, or never ends
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("rounds", "trees", "epochs", "gap_draws", "samples", "iterations", "max_epochs", "accumulate"), (1, 10**6)
    ),
    **dict.fromkeys(("batch_size", "window_days", "window_cells", "core_cells", "steps", "check_every"), (1, 10**6)),
    "patience": (1, 10**6),
    "min_delta": (0, 1e6),
    **dict.fromkeys(("width", "channels"), (1, 2**14)),
    **dict.fromkeys(("layers", "blocks", "memory"), (0, 1000)),
    **dict.fromkeys(("subsample", "column_share"), (1e-6, 1)),
    **dict.fromkeys(("threads", "workers", "halo_days", "halo_cells"), (0, 10**4)),
    **dict.fromkeys(("dropout", "head_dropout"), (0, 0.99)),
    **dict.fromkeys(("learning_rate", "muon_rate"), (1e-12, 10)),
    "weight_decay": (0, 100),
    "global_weight": (0, 1e6),
    "beta": (0, 1),
    "gradient_clip": (1e-12, 1e12),
    "max_rows": (1, 2**31 - 1),
    "max_depth": (1, 64),
    "min_child_weight": (0, 1e9),
    "memory_gib": (1e-6, 2**20),
    "neighbours": (1, 1000),
    "num_nodes": (1, 10**4),
    "members": (1, 1000),
    "number": (1, 10**4),
    "bins": (2, 10**4),
    "values_per_bin": (2, 10**9),
    "least_values": (2, 10**9),
    "block_days": (1, 10**6),
    "anomaly_days": (1, 10**6),
    "least": (2, 10**9),
    "draws": (0, 10**6),
    "days": (1, 10**6),
    "rows": (1, 10**6),
    "columns": (1, 10**6),
    "half_life_days": (1e-3, 1e9),
    "scale_days": (1, 3650),
    "half_window_days": (0, 182),
    "least_years": (3, 1000),
    "least_days": (1, 10**6),
    "join_days": (0, 10**6),
    "time_constant": (0.01, 10**5),
    "least_share": (0, 1),
    "frames_per_second": (0.1, 50),
    "megabytes": (1e-6, 1e6),
}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80

P = ParamSpec("P")
R = TypeVar("R")


def fits(value: Any, hint: Any) -> bool:
    """Return True if a value is valid for a type hint.

    Numbers of numpy count as numbers; NaN and infinity do not.

    Args:
        value: Any value.
        hint: Type hint, also a union, a Literal, or a parametrised list, tuple, dict, Sequence or Mapping.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in arguments)
    if origin is typing.Literal:
        return isinstance(value, (str, int)) and value in arguments
    # a whole number is valid where a fraction is expected, as in YAML
    if hint is float:
        return math.isfinite(value) if isinstance(value, (float, np.floating)) else fits(value, int)
    if hint is int:
        return _is_int(value) and -LARGEST <= value < LARGEST
    if hint is bool:
        return isinstance(value, (bool, np.bool_))
    # tuple[A, B] has a fixed length, tuple[A, ...] is treated as a list below
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(arguments)
            and all(fits(v, a) for v, a in zip(value, arguments, strict=True))
        )
    if origin in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(fits(v, arguments[0]) for v in value)
    # keys are texts in YAML; only values are checked
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(v, arguments[1]) for v in value.values())
    if origin is not None and inspect.isclass(origin):
        return isinstance(value, origin)
    return not inspect.isclass(hint) or hint is Any or isinstance(value, hint)


def describe(hint: Any) -> str:
    """Return a type hint in words, for messages.

    Args:
        hint: Type hint.
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(describe(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if hint is type(None) or hint is xr.Dataset:
        return "None" if hint is type(None) else "xarray.Dataset"
    if inspect.isclass(hint) and not typing.get_args(hint):
        return hint.__name__
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if inspect.isclass(origin):
        name = NAMES.get(origin.__name__, origin.__name__)
        return f"{name}[{', '.join('...' if a is Ellipsis else describe(a) for a in arguments)}]"
    return str(hint).replace("typing.", "")


def shown(value: Any) -> str:
    """Return a value as one short line of a message; of anything but plain data its type.

    Args:
        value: Any value.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (str, int, float, list, tuple, dict, os.PathLike, type(None))):
        return f"({type(value).__name__})"
    return " ".join(SHORT.repr(os.fspath(value) if isinstance(value, os.PathLike) else value).split())


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise an error if an argument does not fit its type hint or its range, or if a seed is negative.

    Args:
        name: Name of the argument with its owner, like 'Gaps: fraction' or 'model.epochs'. `RANGES` goes by its last
            part.
        value: Value of the argument.
        hint: Type hint of the argument.

    Raises:
        ConfigError: The value does not fit.
        CubeError: The value does not fit, and a Dataset was expected.
    """
    if not fits(value, hint):
        expected = describe(hint)
        if isinstance(value, (float, np.floating)) and not math.isfinite(value):
            expected = "a finite number"
        elif _is_int(value) and not -LARGEST <= value < LARGEST:
            expected += " below 2**63"
        error = CubeError if hint is xr.Dataset else ConfigError
        raise error(f"{name}={shown(value)}: expected {expected}")
    # 'model.epochs' and 'Gaps: fraction' are both checked by the name after the owner
    argument = re.split(r"[ .=]", name)[-1]
    if argument in RANGES and fits(value, float):
        # the same name has the same range in every class
        least, most = RANGES[argument]
        if not least <= value <= most:
            low = f"at least {least}" if least >= 1e-5 or not least else "more than 0"
            raise ConfigError(f"{name}={shown(value)}: expected {low if value < least else f'at most {most}'}")
    if name.endswith("seed") and hint is int and value < 0:
        raise ConfigError(f"{name}={value}: expected 0 or more")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of the public interface check its arguments by their type hints.

    Args:
        function: Function, or the method of a class.

    Returns:
        The function, whose call raises what `check_value` raises.
    """
    whose = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # at the call, not at import: hints may name classes that are defined later
        hints = hints_of(function)
        for name, value in _given(function, args, kwargs, whose).items():
            check_value(f"{whose}: {name}", value, hints.get(name, Any))
        return function(*args, **kwargs)

    return call


def hints_of(target: Any) -> dict[str, Any]:
    """Return the type hints of the arguments of a function or a class.

    Args:
        target: Function or class.
    """
    return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)


class Recorded:
    """A class whose objects know the arguments that they were made with.

    The constructor raises ConfigError for an argument that does not fit its type hint, or that is not plain data.

    Attributes:
        spec: Public name of the class and all arguments, defaults included, as plain built-ins; `specification.build`
            makes an equal object of it. An argument that is a `Recorded` object is there as its own `spec`.
    """

    spec: Mapping[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        # past a frozen dataclass and torch's own bookkeeping
        made.__dict__["spec"] = {TARGET: public_name(cls)} | cls._arguments(args, kwargs)
        return made

    @classmethod
    def _arguments(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        hints, arguments = hints_of(cls), {}
        whose = cls.__name__
        for name, value in _given(cls.__init__, (None, *args), kwargs, whose, alone=True).items():
            check_value(f"{whose}: {name}", value, hints.get(name, Any))
            arguments[name] = plain(value, f"{whose}: {name}")
        return arguments


def plain(value: Any, name: str) -> Any:
    """Return a value as plain built-ins.

    Numbers of numpy become Python's, tuples become lists, paths text, and `Recorded` objects their `spec`.

    Args:
        value: Numbers, text, None, paths, `Recorded` objects, and lists, tuples and mappings of these.
        name: Name of the argument, for messages.

    Raises:
        ConfigError: The value is anything else.
    """
    if isinstance(value, Recorded):
        return value.spec
    if isinstance(value, Mapping):
        return {plain(k, name): plain(v, name) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, name) for v in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    # bool comes before int in the loop below, of which it is a subclass
    value = value.item() if isinstance(value, np.generic) else value
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        raise ConfigError(f"{name}={shown(value)}: expected plain data (numbers, text, lists, dicts of them)")
    return None


def _given(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], whose: str, alone: bool = False
) -> dict[str, Any]:
    """Return the arguments of a call by name, without the object itself.

    Args:
        function: Function that is called.
        args: Positional arguments.
        kwargs: Keyword arguments.
        whose: Owner of the arguments, in messages.
        alone: Refuse arguments that have no name of their own in the signature (`*args`, `**kwargs`).

    Raises:
        ConfigError: Arguments are unknown or too many.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind_partial(*args, **kwargs)  # what is missing Python says itself; a copy is made of nothing
    except TypeError as error:
        known = [name for name in signature.parameters if name != "self"]
        raise ConfigError(f"{whose}: {error}; known are {', '.join(known)}") from error
    # defaults belong to the specification: a later release may change them
    bound.apply_defaults()
    found = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind not in VARIADIC:
            found[name] = value
        elif alone and value:
            raise ConfigError(f"{whose}: {shown(value)}: expected no argument")
    found.pop("self", None)
    return found


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
