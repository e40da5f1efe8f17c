"""The words of a command line on their way to Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import local_only
from sgdsm.core.lock import is_first
from sgdsm.core.settings import typed_name
from sgdsm.training.compose import compose_settings, config_folder

FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "--resolve", "--multirun", "-m", "--run", "-r", "--info"),
    *("--config-dir", "--package", "--shell-completion"),
)
WITH_VALUE = ("--config-dir", "--cfg", "--package")
PARTS_OF_CONFIG = ("job", "hydra", "all")
OF_OWN_FILES = (
    "path",
    "target",
    "dynamic",
    "static",
    "land",
    "precipitation",
    "uncertainty",
    "valid_range",
    "missing_days",
)
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
NAMES_OF_FILES = ("output", "pattern", "static")
OF_SEVERAL = ("callbacks",)  # groups of which a list of files may be chosen
# the name of a file of a group, or several of them in a sweep
NAMES = re.compile(r"(?!\.|(null|true|false|[\d.]+)$)[\w./-]+|(?![\[{]).*[,(].*", re.IGNORECASE)


def joined_flags(words: Sequence[str]) -> list[str]:
    """Return the words with a flag and its value in one word, so that flags may stand anywhere."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in WITH_VALUE and not word.startswith("-") and "=" not in joined[-1]:
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined


def with_default_model(words: Sequence[str]) -> list[str]:
    """Return the words of `sgdsm train` with `model=auto` where none of them is about the model.

    train.py keeps the default of the configuration, `pconv3d`.
    """
    keys = {re.split(r"[=.@:]", word.lstrip("+~"))[0] for word in words}
    return list(words) if keys & {"model", "experiment", "run", "--help", "-h", "--cfg"} else [*words, "model=auto"]


def with_run_folder(words: Sequence[str]) -> list[str]:
    """Return the words with `name=` or `output=` of a run, or of the runs of a sweep, as Hydra takes its folder."""
    named = [word for word in words if word.partition("=")[0] in ("name", "output")]
    if not named:
        return list(words)
    key, _, value = named[0].partition("=")
    value = value.strip("'\"")
    given = any(word.startswith("hydra.run.dir=") for word in words)
    if given and not is_first():  # Lightning starts it with the words of the first process, and the folder
        return [word for word in words if word not in named]
    if len(named) > 1 or given:
        raise ConfigError(f"{named[0]}: the folder of the run is given twice; expected one of name= and output=")
    if key == "name" and (value in ("null", ".", "..") or not re.fullmatch(r"[\w.+ -]+", value)):
        raise ConfigError(f"{named[0]}: expected letters, digits and . _ + -, the name of a folder in runs")
    # Hydra would read more than a name
    if value in ("", "null", ".", "..") or set(value) & set("$'\"\\"):
        raise ConfigError(f"{named[0]}: expected the name of a folder, without $ ' \" \\")
    local_only(key, value, "a run is trained here, and can be copied")
    folder = f"runs/{value}" if key == "name" else value
    of_hydra = "hydra.sweep.dir" if {"-m", "--multirun"} & set(words) else "hydra.run.dir"
    return [*(word for word in words if word not in named), f"{of_hydra}='{folder}'"]


def as_hydra_reads(settings: type, words: Sequence[str]) -> list[str]:
    """Return overrides as Hydra can read them.

    A setting whose name is a folder of `configs` too (`source=` of correct) gets its own name; an open end of time,
    and the braces of {year} or {date}, are quoted.

    Args:
        settings: The dataclass of the command.
        words: Overrides as they are typed.
    """
    typed = {typed_name(field): field.name for field in fields(settings)}
    return [_quoted(word, typed) for word in words]


def _quoted(word: str, typed: dict[str, str]) -> str:
    name, equals, value = word.partition("=")
    special = (name in ("time", "period") and ":" in value) or (name in NAMES_OF_FILES and "{" in value)
    if special and not value.startswith(("'", '"')):
        value = f"'{value}'"
    return f"{typed.get(name, name)}{equals}{value}"


def with_positional(settings_module: Any, words: Sequence[str]) -> list[str]:
    """Return the words with those that are no `key=value` as the command's positional setting.

    Args:
        settings_module: The module of the command; its `POSITIONAL` names the setting, a list takes several words.
        words: Of the command line.
    """
    name = getattr(settings_module, "POSITIONAL", None)
    plain = [word for word in words if "=" not in word and not word.startswith(("-", "~"))]
    if name is None or not plain:
        return list(words)
    values = ["'" + word.replace("'", "\\'") + "'" for word in plain]
    takes_several = "list" in str(settings_module.Settings.__annotations__[name])
    given = [f"{name}=[{','.join(values)}]"] if takes_several else [f"{name}={value}" for value in values]
    return [*(word for word in words if word not in plain), *given]


def search_path(words: Sequence[str]) -> list[str]:
    """Return the override that makes Hydra look in the folder of `--config-dir` too, where settings are only composed.

    Args:
        words: Of the command line.
    """
    folders = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return (
        [f"hydra.searchpath=[{','.join(f'file://{Path(folder).resolve()}' for folder in folders)}]"] if folders else []
    )


def check_words(words: Sequence[str]) -> None:
    """Raise ConfigError for words that Hydra would take for something else, or answer in words of its own."""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            _check_flag(word)
        elif not name:
            raise ConfigError(f"'{word}': expected key=value")
        elif name == "hydra":
            raise ConfigError(f"{word}: expected one of its settings, like hydra.run.dir=FOLDER")
        elif name in FOLDERS and value.strip("'\"") in ("", "null"):
            raise ConfigError(f"{word}: expected the name of a folder")
        elif name in OF_SEVERAL and re.fullmatch(r"\[[\w./-]+(, ?[\w./-]+)*\]", value):
            chosen, known = re.split(", ?", value[1:-1]), groups()
            if not set(chosen) <= set(known[name]) or len(set(chosen)) < len(chosen):
                raise ConfigError(f"{word}: expected a list of {', '.join(known[name])}, each once")
        elif equals and name.lstrip("+") in (known := groups()) and not NAMES.fullmatch(value):
            raise ConfigError(f"{word}: expected one of {', '.join(known[name.lstrip('+')])}")


def _check_flag(word: str) -> None:
    name, _, value = word.partition("=")
    if name not in FLAGS:
        raise ConfigError(f"unknown word '{word}'{suggest(name, FLAGS)}; settings are key=value, --help lists them")
    if name == "--cfg" and value not in PARTS_OF_CONFIG:
        raise ConfigError(f"{word}: expected --cfg={' or --cfg='.join(PARTS_OF_CONFIG)}")
    if name == "--config-dir" and not Path(value).is_dir():
        raise ConfigError(f"{word}: there is no such folder")


def groups() -> dict[str, list[str]]:
    """Return the groups of settings, and the names of the files of each."""
    folders = [path for path in config_folder().iterdir() if path.is_dir()]
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def unknown_setting(error: Exception, command: str, settings: type, words: Sequence[str]) -> str | None:
    """Return a line on a misspelt override with the nearest setting that there is; None for other errors."""
    misspelt = re.search(r"Could not override '([^']+)'", str(error))
    if not misspelt:
        return None
    key = misspelt[1]
    others = [word for word in words if not word.startswith((f"{key}=", "-"))]
    if key.partition(".")[2] in OF_OWN_FILES and not any(word.startswith("data=") for word in words):
        return f"'{key}' is a setting of a file of your own: say data=netcdf too"
    try:
        known = list(_flat(compose_settings(command, settings, [*others, *search_path(words)])))
    except HydraException:
        known = []
    names = {field.name: typed_name(field) for field in fields(settings)}
    known = [names.get(name, name) for name in known]
    return f"unknown setting '{key}'{suggest(key, known)}; --help with the same words lists the settings"


def _flat(value: Any, name: str = "") -> Iterator[str]:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield f"{name}{key}"
        yield from _flat(item, f"{name}{key}.")
