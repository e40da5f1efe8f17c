"""Settings of a command as a dataclass: defaults, types, checks and help texts in one place."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar

from sgdsm.core.arguments import check_value, describe, fits, shown
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError

REQUIRED = "???"  # as Hydra writes it
S = TypeVar("S")


def setting(
    default: Any = REQUIRED,
    help: str = "",
    *,
    group: bool = False,
    path: bool = False,
    typed: str | None = None,
    from_experiment: bool = False,
    from_run: bool = False,
) -> Any:
    """Declare one setting of a command: a field of its dataclass.

    Args:
        default: Its default; without one the setting must be given. Of a group the name of a file in `configs/GROUP`,
            or None for no file.
        help: One line of explanation, printed by `--help`.
        group: Whether it is a group of settings: its value is a mapping, its name that of a folder of `configs`.
        path: Whether it names a file or a folder: an empty text is refused.
        typed: How it is written on the command line, where its name would mean something else to Hydra.
        from_experiment: Whether only an experiment file gives it; it is then absent by default.
        from_run: Whether a run completes what the group leaves open.
    """
    about = {"help": help, "group": group, "path": path, "typed": typed, "from_experiment": from_experiment}
    about["from_run"] = from_run
    if group:
        # the value that Hydra composes, not the name of the file
        empty = (lambda: None) if default is None else dict
        return dataclasses.field(default_factory=empty, metadata={**about, "default": default})
    metadata = {**about, "default": default}
    if from_experiment:
        return dataclasses.field(default=None, metadata=metadata)
    if default == REQUIRED:
        return dataclasses.field(metadata=metadata, kw_only=True)
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def typed_name(field: dataclasses.Field[Any]) -> str:
    """Return the name of a setting as it is written on the command line."""
    return field.metadata.get("typed") or field.name


def hydra_node(settings: type, command: str, hydra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the defaults of a command as the configuration that Hydra composes.

    Args:
        settings: The dataclass of the command.
        command: Name of the command.
        hydra: What differs from the settings of Hydra itself that all commands share.
    """
    fields = dataclasses.fields(settings)
    groups = [{f.name: f.metadata["default"]} for f in fields if f.metadata["group"]]
    experiment = [{"experiment": None}] if any(f.metadata["from_experiment"] for f in fields) else []
    quiet: list[Any] = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
    values = {
        f.name: _plain(f.metadata["default"])
        for f in fields
        if not f.metadata["group"] and not f.metadata["from_experiment"]
    }
    shared = {"output_subdir": None, "run": {"dir": "."}, "job": {"chdir": False, "name": command}}
    return {"defaults": ["_self_", *groups, *experiment, *quiet], **values, "hydra": {**shared, **(hydra or {})}}


def made(settings: type[S], values: Mapping[str, Any]) -> S:
    """Make the settings object of a command from composed values, checked.

    Args:
        settings: The dataclass of the command; its `__post_init__` checks what its types do not tell.
        values: For each setting its value.

    Raises:
        ConfigError: An unknown, missing or ill-typed setting, or a combination that cannot work.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            known = sorted(map(typed_name, fields.values()))
            raise ConfigError(f"unknown key '{key}'{suggest(str(key), known)}; known are {', '.join(known)}")
    refuse_missing({k: v for k, v in values.items() if not fields[k].metadata["from_run"]}, fields)
    hints = typing.get_type_hints(settings)
    checked: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in values:
            if field.metadata["from_experiment"] or (field.metadata["group"] and field.metadata["default"] is None):
                continue
            raise ConfigError(f"{typed_name(field)} is not given: pass {typed_name(field)}=...")
        checked[name] = _checked(field, values[name], hints[name])
    return settings(**checked)


def _checked(field: dataclasses.Field[Any], value: Any, hint: Any) -> Any:
    name = typed_name(field)
    if field.metadata["group"]:
        if isinstance(value, Mapping) and value.get("path") == "":
            raise ConfigError(f"{name}.path= is empty: expected the name of a file or a folder")
        return value
    if field.metadata["from_experiment"]:
        return value  # `__post_init__` checks it: it has parts
    if value is None and field.metadata["default"] == REQUIRED and not fits(None, hint):
        raise ConfigError(f"{name}=null: pass {name}=...")
    if dataclasses.is_dataclass(hint):
        return _nested(name, value, hint)
    check_value(name, value, hint)
    if field.metadata["path"] and value == "":
        raise ConfigError(f"{name}= is empty: expected the name of a file or a folder")
    return value


def _nested(name: str, value: Any, hint: Any) -> Any:
    if not isinstance(value, Mapping):
        check_value(name, value, dict[str, Any])
    hints, fields = typing.get_type_hints(hint), {field.name for field in dataclasses.fields(hint)}
    for key in value:
        if key not in fields:
            raise ConfigError(f"{name}: unknown key '{key}'{suggest(str(key), sorted(fields))}")
    for key in fields:
        check_value(f"{name}.{key}", value.get(key), hints[key])
    return hint(**value)


def refuse_missing(value: Any, fields: Mapping[str, Any] | None = None, where: str = "") -> None:
    """Raise ConfigError for a value that must be given and is not, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = typed_name(fields[key]) if fields and not where and key in fields else str(key)
            refuse_missing(item, fields, f"{where}.{name}" if where else name)
    elif value == REQUIRED:
        raise ConfigError(f"{where} is not given: pass {where}=...")


def check_part(part: str, given: Any, known: Mapping[str, type]) -> None:
    """Raise ConfigError for what an experiment file says in `part`, where keys or types are others than known."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ConfigError(f"{part}={shown(given)}: expected {', '.join(f'{part}.{key}' for key in known)}")
    for key, value in given.items():
        if key not in known:
            raise ConfigError(
                f"{part}: unknown key '{key}'{suggest(str(key), list(known))}; known are {', '.join(known)}"
            )
        if value is not None and not isinstance(value, known[key]):
            raise ConfigError(f"{part}.{key}={shown(value)}: expected {known[key].__name__}")


def help_lines(settings: type) -> list[tuple[str, str, str]]:
    """Return for each setting its name with its default, its type, and its explanation."""
    hints, lines = typing.get_type_hints(settings), []
    for field in dataclasses.fields(settings):
        default, about = field.metadata["default"], field.metadata
        if about["from_experiment"]:
            continue
        kind = "group" if about["group"] else describe(hints[field.name])
        if dataclasses.is_dataclass(hints[field.name]):
            lines += [(f"{field.name}.{n}", k, h) for n, k, h in help_lines(typing.cast(type, hints[field.name]))]
            continue
        value = "" if default == REQUIRED else f"={_written(default)}"
        lines.append((f"{typed_name(field)}{value}", "required" if default == REQUIRED else kind, about["help"]))
    return lines


def argument_help(target: Any) -> dict[str, str]:
    """Return the explanation of each argument from the `Args:` section of a Google-style docstring."""
    texts: dict[str, list[str]] = {}
    inside, current = False, ""
    for line in (inspect.getdoc(target) or "").splitlines():
        if line.strip() == "Args:":
            inside = True
        elif inside and line and not line.startswith(" "):
            break
        elif inside and line.startswith("    ") and not line.startswith("     ") and ":" in line:
            current, _, text = line.strip().partition(":")
            texts[current] = [text.strip()]
        elif inside and current and line.strip():
            texts[current].append(line.strip())
    return {name.split(" ")[0].lstrip("*"): " ".join(words) for name, words in texts.items()}


def _plain(default: Any) -> Any:
    return dataclasses.asdict(default) if dataclasses.is_dataclass(default) else deepcopy(default)  # type: ignore[arg-type]


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
