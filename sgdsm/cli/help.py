"""Help texts, made of the dataclasses of the commands and the docstrings of what their groups build."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from hydra.errors import HydraException

from sgdsm.cli.commands import command_names, load, summary_of
from sgdsm.cli.overrides import as_hydra_reads, groups
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import argument_help, help_lines
from sgdsm.core.specification import TARGET, locate
from sgdsm.training.compose import compose_settings, problem_of

WIDTH, COLUMN = 110, 34


def overview() -> str:
    """Return the list of commands."""
    lines = ["usage: sgdsm COMMAND key=value ...", ""]
    lines += [f"  {name:14} {summary_of(name)}" for name in command_names()]
    return "\n".join([*lines, "", "`sgdsm COMMAND --help` explains the settings of a command."])


def of_command(command: str, overrides: Sequence[str]) -> str:
    """Return the help of a command: each setting, its type, its default, and what it does.

    Args:
        command: Its name.
        overrides: Words beside `--help`: they choose the files of groups, whose settings are listed too.

    Raises:
        ConfigError: The overrides cannot be read.
    """
    module = load(command)
    lines = [f"sgdsm {command}: {summary_of(command)}", "", f"usage: sgdsm {command} {module.USAGE}", ""]
    for name, kind, text in help_lines(module.Settings):
        lines += _entry(name, text + (f" ({kind})" if kind != "group" else ""))
    own_groups = [field.name for field in fields(module.Settings) if field.metadata["group"]]
    for group in own_groups:
        lines += _entry(f"{group}=", "one of " + ", ".join(groups().get(group, [])))
    try:
        values = compose_settings(command, module.Settings, as_hydra_reads(module.Settings, overrides))
    except HydraException as error:
        raise ConfigError(problem_of(error)) from error
    for group in own_groups:
        given = values.get(group) or {}
        # a group of several specifications has one at each name
        named = {f"{group}.{name}": spec for name, spec in given.items() if isinstance(spec, Mapping)}
        for name, spec in ({group: given} if given.get(TARGET) else named).items():
            if spec.get(TARGET):
                lines += ["", *_of_spec(name, spec)]
    if note := getattr(module, "NOTE", None):
        lines += ["", note]
    return "\n".join(lines)


def _of_spec(name: str, spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of a specification, explained by the docstring of what it makes."""
    target = locate(spec[TARGET])
    yield f"{name} ({spec[TARGET]})"
    explained = _explained(target)
    for key, value in spec.items():
        if isinstance(value, Mapping) and value.get(TARGET):
            yield from _of_spec(f"{name}.{key}", value)
        elif key != TARGET:
            yield from _entry(f"{name}.{key}={_written(value)}", explained.get(key, ""))


def _explained(target: Any) -> dict[str, str]:
    """Return the explanations of arguments, those that are given elsewhere ("See `as_cube`") looked up."""
    texts = argument_help(target)
    for name, text in texts.items():
        elsewhere = re.match(r"See `(\w+)`", text)
        if elsewhere:
            texts[name] = argument_help(getattr(sys.modules[target.__module__], elsewhere[1], None)).get(name, text)
    return texts


def _entry(name: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - COLUMN) or [""]
    rest = [f"{'':{COLUMN + 2}}{line}" for line in lines[1:]]
    if len(name) > COLUMN - 2:
        return [f"  {name}", f"{'':{COLUMN + 2}}{lines[0]}".rstrip(), *rest]
    return [f"  {name:{COLUMN}}{lines[0]}".rstrip(), *rest]


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
