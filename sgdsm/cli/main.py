"""What a command line asks for: which command, with which settings; errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from sgdsm.cli.commands import COMMANDS, announce, shown, train_in
from sgdsm.cli.overrides import check_words, first_of_two, log_to_screen, one_line, quoted, unknown_setting
from sgdsm.cli.sweep import TUNE_EXTRA, RunFailed, Sweep, goes_on, swept, words_of_run
from sgdsm.core.cube import ConfigError, log, suggest
from sgdsm.core.signals import going_on, has_stopped
from sgdsm.training.config import check_config, config_folder, config_name, renamed

GO_ON, GOES_ON = "the same words go on", ("predict", "prepare", "members", "export", "correct apply")
ON_RESUME = ("accelerator", "devices", "num_nodes", "workers", "progress")
USAGE = """usage: python -m sgdsm COMMAND key=value ...

  train     [model=..] [data=..] [experiment=..]          fit a filler; prints the folder of the run
  predict   run=PATH output=FILE [time=A:B] [bbox=[..]]   fill a cube
  members   filled=FILE number=N output=FILE              possible maps, for error bars of means
  recalibrate run=PATH [data=..] output=NEWRUN            intervals that follow a drift
  evaluate  run=PATH | filled=.. truth=.. visible=..      score a run, or any filled file
  compare   RUN RUN ... | experiment=E                    one table of several runs
  explain   run=PATH                                      what a run's estimates rest on: a table and a figure
  chain     experiment=E                                  steps that build on one another, and one table
  prepare   data=RECIPE                                   a cube from product files
  correct   fit source=.. reference=.. output=FILE        one sensor towards another, cell by cell
  correct   apply correction=FILE source=.. output=FILE   a cube with its target corrected
  describe  CUBE | FILE target=NAME                       what is in a cube, in words and a figure
  select    data=.. output=FOLDER [stratum=NAME]          which covariates to give a filler
  export    CUBE output=FILE.nc|.h5|.zarr|FOLDER          a cube or a filled file in another layout
  export    run=PATH output=FILE.pt2|FILE.onnx            the network of a run, for other programs
  download  product=P start=A end=B output=FOLDER         fetch a product's files, or say where to get them

`python -m sgdsm COMMAND --help` lists the settings of a command."""


def run(command: str | None = None) -> None:
    """Run a command with the words of the command line; errors of a user's making end in one line."""
    words = sys.argv[1:]
    if command is None:
        known = {name.partition(" ")[0] for name in COMMANDS}
        if not words or words[0] not in known:
            if words and not words[0].startswith("-"):
                told = f"{suggest(words[0], sorted(known))}; expected {', '.join(sorted(known))}"
                print(f"error: unknown command '{words[0]}'{told}", file=sys.stderr)
                sys.exit(2)
            print(USAGE)
            sys.exit(0)
        command, words = words[0], words[1:]
    log_to_screen()
    # without it, Hydra prints errors itself, several lines long, and exits
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # what an earlier command of this process has left
    HydraConfig.instance().cfg = None
    with _errors_as_lines(command, wants_traceback):
        _dispatch(command, words, wants_traceback)


@contextmanager
def _errors_as_lines(command: str, wants_traceback: bool) -> Iterator[None]:
    try:
        yield
    except RunFailed:
        if swept():
            raise
        sys.exit(1)
    except Exception as error:  # the one place that turns errors into lines
        if has_stopped(error):
            raise KeyboardInterrupt from error
        if wants_traceback:
            raise
        where = f"run {HydraConfig.get().job.num} ({words_of_run()}): " if swept() else ""
        print(f"error: {where}{one_line(error, command)}", file=sys.stderr)
        if swept() and goes_on():
            raise RunFailed from error
        _end_in_failure()


def _end_in_failure() -> NoReturn:
    """Exit with code 1; at once where several processes share a run: gloo's threads abort one that is slow to end."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    sys.exit(1)


@contextmanager
def _no_empty_folder() -> Iterator[None]:
    """Take away the folder that Hydra made for a run that did not begin."""
    try:
        yield
    except BaseException:
        folder = Path(HydraConfig.get().runtime.output_dir)
        if folder != Path.cwd() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _check_processes(config: dict[str, Any], command: str) -> None:
    """Raise ConfigError where devices are not there, or several processes would each do all the runs of a sweep, or of
    an experiment."""
    from sgdsm.core.specification import build
    from sgdsm.training.task import TrainerOptions

    if not config.get("trainer"):
        return
    options = build(config["trainer"], TrainerOptions)
    options.check_there()
    if (swept() or command in ("compare", "chain")) and options.several:
        raise ConfigError(f"trainer.devices={config['trainer']['devices']}: for single runs of train.py, one at a time")


def _dispatch(command: str, words: list[str], wants_traceback: bool) -> None:
    if command == "correct":
        command, words = first_of_two(command, words)
    if command == "train" and any(word.startswith("run=") for word in words):
        _resume(words)
        return
    if command == "compare":
        # names of runs are no overrides: Hydra gets them as one
        runs = [w for w in words if "=" not in w and not w.startswith(("-", "~"))]
        words = [w for w in words if w not in runs]
        if runs:
            names = ",".join("'" + run.replace("'", "\\'") + "'" for run in runs)
            words.append(f"runs=[{names}]")
    if command in ("describe", "export"):
        words = [w if "=" in w or w.startswith("-") else "cube='" + w.replace("'", "\\'") + "'" for w in words]
    words = renamed(command, words)
    check_words(words)
    # Hydra wants its own flags first
    words = sorted(map(quoted, words), key=lambda word: not word.startswith("-"))
    given, sys.argv = sys.argv, [sys.argv[0], *words]
    task, sweep = COMMANDS[command], Sweep()

    def one(cfg: DictConfig) -> float | None:
        # lines here too: Hydra would print its own
        with _errors_as_lines(command, wants_traceback), _no_empty_folder():
            config = OmegaConf.to_container(cfg, resolve=True)
            assert isinstance(config, dict)
            plain = {str(k): v for k, v in config.items()}
            check_config(plain, command)
            _check_processes(plain, command)
            # further processes of a run are started with the words, and in the environment, of the first
            sys.argv = given
            if not wants_traceback:
                del os.environ["HYDRA_FULL_ERROR"]
            try:
                with going_on(lambda: GO_ON) if command in GOES_ON else nullcontext():
                    score = task(plain)
            finally:
                os.environ["HYDRA_FULL_ERROR"] = "1"
            if score is not None:
                sweep.add(score, shown(Path(HydraConfig.get().runtime.output_dir)))
        return score

    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name(command))(one)()
    except ConfigCompositionException as error:
        told = None if wants_traceback else unknown_setting(error, command, words)
        if told is None:
            raise
        raise ConfigError(told) from error
    except RuntimeError as error:
        raise ConfigError(TUNE_EXTRA) if str(error).startswith("Unknown plugin class") else error from error
    if sweep.ended:
        print(sweep.summary())


def _resume(words: list[str]) -> None:
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
    check_config(config, "train")
    _check_processes(config, "train")
    only_open(config["data"])
    if run.finished():
        log.info("the run is finished already")
    else:
        train_in(config, run.folder)
    announce(run.folder)
