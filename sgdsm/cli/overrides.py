"""Words of a command line on their way to Hydra, and errors on their way back, as one line each."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf

from sgdsm.core.cube import ConfigError, SgdsmError, log, suggest
from sgdsm.training.config import KEYS, config_folder, config_name

FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "--resolve", "--multirun", "-m", "--run", "-r", "--info"),
    *("--config-dir", "--package", "--shell-completion"),
)
SHOWN = ("job", "hydra", "all")
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
# of a file of a group, or several of them in a sweep
NAMES = re.compile(r"(?!\.|(null|true|false|[\d.]+)$)[\w./-]+|(?![\[{]).*[,(].*", re.IGNORECASE)


def first_of_two(command: str, words: list[str]) -> tuple[str, list[str]]:
    """A command of two words, like `correct fit`, and the words after it; ConfigError where the second is unknown."""
    known = [name.partition(" ")[2] for name in KEYS if name.startswith(f"{command} ")]
    if not words or words[0] not in known:
        found = f"found {words[0]!r}" if words else "found nothing"
        lists = f"`python -m sgdsm {command} {known[0]} --help` lists the settings"
        raise ConfigError(f"{command}: {found}; expected {' or '.join(known)}; {lists}")
    return f"{command} {words[0]}", words[1:]


def quoted(word: str) -> str:
    """A word as Hydra reads it: an open end of time, and the braces of {year}, are no values to it."""
    name, _, value = word.partition("=")
    special = (name in ("time", "period") and ":" in value) or (name == "output" and "{" in value)
    return f"{name}='{value}'" if special and not value.startswith(("'", '"')) else word


def check_words(words: list[str]) -> None:
    """Raise ConfigError for words that Hydra would take for something else, or answer in words of its own."""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            _check_flag(word, words)
        elif not name:
            raise ConfigError(f"'{word}': expected key=value")
        elif name == "hydra":
            raise ConfigError(f"{word}: expected one of its settings, like hydra.run.dir=FOLDER")
        elif name in FOLDERS and value.strip("'\"") in ("", "null"):
            raise ConfigError(f"{word}: expected the name of a folder")
        elif equals and name.lstrip("+") in (known := _groups()) and not NAMES.fullmatch(value):
            raise ConfigError(f"{word}: expected one of {', '.join(known[name.lstrip('+')])}")


def _check_flag(word: str, words: list[str]) -> None:
    name, equals, value = word.partition("=")
    if name not in FLAGS:
        raise ConfigError(f"unknown word '{word}'{suggest(name, FLAGS)}; settings are key=value, --help lists them")
    if name == "--cfg" and (value if equals else next(iter(words[words.index(word) + 1 :]), "")) not in SHOWN:
        raise ConfigError(f"{word}: expected --cfg={' or --cfg='.join(SHOWN)}")
    if name == "--config-dir" and not Path(value).is_dir():
        raise ConfigError(f"{word}: there is no such folder")


def _groups() -> dict[str, list[str]]:
    """The groups of settings, and the names of each."""
    folders = [path for path in config_folder().iterdir() if path.is_dir() and path.name != "hydra"]
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def unknown_setting(error: Exception, command: str, words: list[str]) -> str | None:
    """A misspelt override in words of our own, with the nearest setting that there is."""
    found = re.search(r"Could not override '([^']+)'", str(error))
    if not found:
        return None
    key = found[1]
    others = [word for word in words if not word.startswith((f"{key}=", "-"))]
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            known = list(_flat(OmegaConf.to_container(compose(config_name(command), others), resolve=False)))
    except HydraException:
        known = []
    return f"unknown setting '{key}'{suggest(key, known)}; --help with the same words lists the settings"


def _flat(value: Any, name: str = "") -> Iterator[str]:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield f"{name}{key}"
        yield from _flat(item, f"{name}{key}.")


def one_line(error: Exception, step: str) -> str:
    """What to print of an error. step: the command that met it."""
    if isinstance(error, SgdsmError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        cure = ": expected the name of a folder" if isinstance(error, FileExistsError | NotADirectoryError) else ""
        return f"{error.filename}: {error.strerror}{cure}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"cannot read '{error.override}'; a value with special characters goes in quotes: \"{key}='{value}'\""
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return f"{step}: the memory of this machine does not suffice: ask for less at once ({text[:150]})"
    if type(error).__module__.startswith(("hydra.", "omegaconf.")):
        text = re.sub(r"^\w+Error raised while resolving interpolation: ", "", text).partition(" full_key:")[0]
        key = str(getattr(error, "full_key", None) or "")
        text = f"{key}: {text}" if key and not text.startswith(key) else text
        cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ is not None else ""
        return text.partition(" Config search path")[0] + cause
    told = text or type(error).__name__
    return f"unexpected error while running {step}: {told}; please report it; HYDRA_FULL_ERROR=1 shows where"


def log_to_screen() -> None:
    """Notes go to the screen, without the names of modules."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
