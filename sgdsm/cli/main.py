"""From the words of a command line to a command; errors of a user's making end in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from sgdsm import __version__
from sgdsm.cli.commands import command_names, load
from sgdsm.cli.error_lines import log_to_screen, one_line
from sgdsm.cli.help import of_command, overview
from sgdsm.cli.hydra_state import Sweep, is_sweep, overrides_text, run_folder, shown
from sgdsm.cli.overrides import (
    as_hydra_reads,
    check_words,
    joined_flags,
    search_path,
    unknown_setting,
    with_default_model,
    with_positional,
)
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.settings import made
from sgdsm.core.signals import going_on, has_stopped
from sgdsm.core.specification import TRUST, build, trust
from sgdsm.training.compose import config_folder, register

GO_ON, RESUMING = (
    "the same words go on",
    ("predict", "prepare", "members", "export", "correct apply", "downscale predict"),
)
ON_RESUME = ("accelerator", "devices", "num_nodes", "workers", "progress")
HELP = ("--help", "-h")


def run(command: str | None = None) -> None:
    """Run a command with the words of the command line.

    Args:
        command: Its name; by default the first word.
    """
    words = joined_flags([*([] if command is None else [command]), *sys.argv[1:]])
    log_to_screen()
    # without it, Hydra prints errors itself, several lines long, and exits
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    HydraConfig.instance().cfg = None  # of an earlier command of this process
    with _errors_as_lines(command or "sgdsm", wants_traceback):
        by_name = command is not None
        command, words = _command_of(words)
        if command == "train" and not by_name:
            words = with_default_model(words)
        _dispatch(command, _without_trust(words), wants_traceback)
    _leave_shared_run(0)


def _command_of(words: list[str]) -> tuple[str, list[str]]:
    """Return the command that the first words name, and the others; flags may stand before it."""
    if "--version" in words:
        print(f"sgdsm {__version__}")
        sys.exit(0)
    plain = [word for word in words if not word.startswith("-")]
    known = command_names()
    if not plain:
        print(overview())
        sys.exit(0)
    for length in (2, 1):
        name = " ".join(plain[:length])
        if name in known:
            for word in plain[:length]:
                words.remove(word)
            return name, words
    seconds = [name.partition(" ")[2] for name in known if name.startswith(f"{plain[0]} ")]
    if seconds:
        second = f"found {plain[1]!r}" if plain[1:] else "found nothing"
        lists = f"`sgdsm {plain[0]} {seconds[0]} --help` lists the settings"
        raise ConfigError(f"{plain[0]}: {second}; expected {' or '.join(seconds)}; {lists}")
    near = suggest(plain[0], known)
    print(f"error: unknown command '{plain[0]}'{near}; expected {', '.join(known)}", file=sys.stderr)
    sys.exit(2)


def _without_trust(words: Sequence[str]) -> list[str]:
    """Return the words without `trust=PACKAGE`, which lets specifications name classes of that package."""
    for word in words:
        if word.startswith(f"{TRUST}="):
            trust(word.partition("=")[2])
    return [word for word in words if not word.startswith(f"{TRUST}=")]


def _dispatch(command: str, words: list[str], wants_traceback: bool) -> None:
    if command == "train" and any(word.startswith("run=") for word in words):
        _resume(words)
        return
    module = load(command)
    given, words = sys.argv, as_hydra_reads(module.Settings, with_positional(module, words))
    check_words(words)
    words = module.prepared(words) if hasattr(module, "prepared") else words
    if any(word in HELP for word in words):
        print(of_command(command, [*(word for word in words if not word.startswith("-")), *search_path(words)]))
        return
    # Hydra wants its own flags first
    sys.argv = [given[0], *sorted(words, key=lambda word: not word.startswith("-"))]
    sweep = Sweep()

    def one(cfg: DictConfig) -> float | None:
        # lines here too: Hydra would print its own
        with _errors_as_lines(command, wants_traceback), _no_empty_folder():
            values: Any = OmegaConf.to_container(cfg, resolve=True)
            settings = made(module.Settings, values)
            _check_processes(values, command)
            # further processes of a run are started with the words, and in the environment, of the first
            sys.argv = given
            if not wants_traceback:
                del os.environ["HYDRA_FULL_ERROR"]
            try:
                with going_on(lambda: GO_ON) if command in RESUMING else nullcontext():
                    score: float | None = module.run(settings)
            finally:
                os.environ["HYDRA_FULL_ERROR"] = "1"
            if score is not None:
                sweep.add(score, shown(run_folder()))
        return score

    name = register(command, module.Settings, getattr(module, "HYDRA", None))
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=name)(one)()
    except ConfigCompositionException as error:
        line = None if wants_traceback else unknown_setting(error, command, module.Settings, words)
        if line is None:
            raise
        raise ConfigError(line) from error
    if sweep.ended:
        print(sweep.summary())


@contextmanager
def _errors_as_lines(command: str, wants_traceback: bool) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        os._exit(1)  # who read what we print has gone: `sgdsm train --help | head`
    except Exception as error:  # the one place that turns errors into lines
        if has_stopped(error):
            raise KeyboardInterrupt from error
        if wants_traceback:
            raise
        where = f"run {HydraConfig.get().job.num} ({overrides_text()}): " if is_sweep() else ""
        print(f"error: {where}{one_line(error, command)}", file=sys.stderr)
        _leave_shared_run(1)
        sys.exit(1)


def _leave_shared_run(code: int) -> None:
    """Exit at once where several processes share a run: gloo's threads abort a process that is slow to end."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return
    if distributed.get_world_size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def _no_empty_folder() -> Iterator[None]:
    """Remove the folder that Hydra made for a run that did not begin."""
    try:
        yield
    except BaseException:
        folder = run_folder()
        if folder != Path.cwd() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _check_processes(values: dict[str, Any], command: str) -> None:
    """Raise ConfigError where devices are not there, or several processes would each do all runs of an experiment."""
    from sgdsm.training.task import TrainerOptions

    if not values.get("trainer"):
        return
    options = build(values["trainer"], TrainerOptions)
    options.check_there()
    if (is_sweep() or command in ("compare", "chain", "tune")) and options.several:
        raise ConfigError(f"trainer.devices={values['trainer']['devices']}: for single runs of train.py, one at a time")


def _resume(words: list[str]) -> None:
    from sgdsm.cli.commands.train import train_and_print
    from sgdsm.training.config import TrainingConfig
    from sgdsm.training.run import Run, only_open

    given = dict(word.partition("=")[::2] for word in words)
    run = Run(named := given.pop("run"))
    if not named:
        raise ConfigError("run= is empty: expected the name of a folder")
    changes = {}
    for key, value in given.items():
        group, _, name = key.partition(".")
        if group != "trainer" or name not in ON_RESUME:
            raise ConfigError(
                f"run= goes on with a run as it is; take away {key}={value} "
                f"(what may change: {', '.join(f'trainer.{n}' for n in ON_RESUME)})"
            )
        changes[name] = yaml.safe_load(value)
    config = run.config()
    config["trainer"] |= changes
    settings = made(TrainingConfig, config)
    _check_processes(config, "train")
    only_open(config["data"])
    if run.finished():
        log.info("the run is finished already")
        print(f"run: {shown(run.folder)}")
    else:
        train_and_print(settings, run)
