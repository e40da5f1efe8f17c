"""Run steps that build on one another, and print one table of scores.

A step is a line of the words of another command: `train`, `predict`, `correct fit`, `correct apply`, `join`,
`homogeneity` or `trends`. {NAME} in it is the folder of an earlier step, {here} that of the chain. `chain.world`, where
it is given, are the words of the data that the steps share; it is opened, or made, before the first of them. What an
interrupted chain has finished is not done again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.cli.commands import load
from sgdsm.cli.hydra_state import experiment_name, output_folder, overrides_for_trainings, shown
from sgdsm.cli.plan import check_same, settings_of, train_once, training_of
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import local_only
from sgdsm.core.settings import setting
from sgdsm.core.signals import going_on
from sgdsm.core.specification import build
from sgdsm.evaluation.anomalies import format_scores, score_file, score_run
from sgdsm.training.config import TrainingConfig
from sgdsm.training.run import CONFIG, MODEL, Run, content_digest, file_digest

USAGE = "experiment=E [output=FOLDER]"
NOTE = "key=value changes a setting of every training, data.key=value one of chain.world where the experiment has it"
COMMANDS = ("train", "predict", "correct fit", "correct apply", "join", "homogeneity", "trends")
OF_RUN, OF_FILE = {"run"}, {"filled", "truth", "variable", "where", "cycle"}
OPTIONAL = {"estimate", "time"}  # of a score of a file
USED = "used.json"  # in the folder of a training: digests of the files that earlier steps made for it


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """An experiment with `chain.steps`; settings of `train` hold for all its trainings."""

    output: str | None = setting(
        None, "folder of the chain; steps that are finished there are not done again", path=True
    )


@dataclass
class Step:
    """A step of a chain, checked.

    Attributes:
        name: Of the step and of its folder.
        command: Of `COMMANDS`.
        settings: Of the command.
        used: Files that earlier steps make and this one reads.
    """

    name: str
    command: str
    settings: Any
    used: list[Path]

    @property
    def output(self) -> str:
        """The file that the step makes; '' of a training."""
        return str(getattr(self.settings, "output", None) or "")


def run(settings: Settings) -> None:
    """Run the steps that are not finished, then score."""
    experiment = experiment_name()
    if not experiment:
        raise ConfigError("chain: give experiment=NAME, one with chain.steps")
    folder = output_folder(settings.output, experiment)
    with going_on(lambda: f"go on with the same words and output={shown(folder)}"):
        print(run_chain(settings.chain or {}, overrides_for_trainings("output", "chain"), folder))


def run_chain(chain: dict[str, Any], overrides: list[str], folder: Path) -> str:
    """Run the steps of a chain that are not finished, then score as its `scores` say.

    Args:
        chain: `world`, `steps` and `scores` of the experiment.
        overrides: Of the command line; they go to every training, those of the data to `world` alone where it is given.
        folder: Of the chain.

    Returns:
        The table of scores.

    Raises:
        ConfigError: A step or a score cannot work (found before the first step runs), or a training is finished but
            began with other files than the steps before it have made now.
    """
    steps, scores = chain.get("steps") or {}, chain.get("scores") or {}
    if not steps:
        raise ConfigError("chain.steps is empty: name steps by their words, such as 'first: train model=xgboost'")
    world, words = _world(chain.get("world"), overrides, folder)
    planned = _plan(steps, words, folder, world)
    wanted = {str(label): _score_words(str(label), line, planned, folder, world) for label, line in scores.items()}
    if world is not None:
        build(world, xr.Dataset).close()
    for number, step in enumerate(planned, 1):
        print(f"\n[{number}/{len(planned)}] {step.name}: {step.command}", flush=True)
        if step.command != "train":
            load(step.command).run(step.settings)
        else:
            run = Run(folder / step.name)
            _check_used(run, step.used)
            train_once(run, step.settings)
    if not wanted:
        return f"chain: {folder}"
    results = {label: _score(words) for label, words in wanted.items()}
    table = format_scores(results)
    Run(folder).write("scores.json", {"scores": results})
    (folder / "scores.txt").write_text(table + "\n")
    return f"\n{table}\n\nchain: {folder}"


def _world(line: str | None, overrides: list[str], folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Data settings of `chain.world`, and the words of the command line that are left for the trainings."""
    if line is None:
        return None, overrides
    of_data = [word for word in overrides if _key(word).partition(".")[0] == "data"]
    own = _words("chain.world", line, [], folder)
    _refuse_twice("chain.world", own, of_data)
    training = training_of("chain.world", [*of_data, *own])
    return training.data, [word for word in overrides if word not in of_data]


def _plan(steps: dict[str, Any], overrides: list[str], folder: Path, world: dict[str, Any] | None) -> list[Step]:
    planned: list[Step] = []
    # what a word must name to read a file that an earlier step makes
    made = {world["path"]: Path(world["path"])} if world is not None and "path" in world else {}
    for key, line in steps.items():
        name, place = str(key), f"chain.steps.{key}"
        command, *own = _words(place, line, [step.name for step in planned], folder)
        if own and f"{command} {own[0]}" in COMMANDS:
            command = f"{command} {own.pop(0)}"
        if command not in COMMANDS:
            raise ConfigError(f"{place}: '{command}' is no step; expected {', '.join(COMMANDS)}")
        run = Run(folder / name)
        if command == "train":
            _refuse_twice(place, own, overrides)
            settings = settings_of(place, command, [*overrides, *own])
            check_same(run, settings)
        else:
            settings = settings_of(place, command, own)
        values = [word.partition("=")[2] for word in own]
        used = [file for text, file in made.items() if any(v == text or v.startswith(f"{text}/") for v in values)]
        step = Step(name, command, settings, used)
        planned.append(step)
        local_only(f"{place}: output", step.output, "the steps of a chain build on its files")
        made |= {str(run.folder): run.model} if command == "train" else {step.output: Path(step.output)}
    return planned


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _refuse_twice(place: str, own: list[str], given: list[str]) -> None:
    """Raise ConfigError for a word of the command line that the words of a step would override."""
    said = {_key(word): word for word in own}
    for word in given:
        if _key(word) in said:
            raise ConfigError(f"{word}: {place} says {said[_key(word)]} itself: change it there")


def _check_used(run: Run, used: list[Path]) -> None:
    """Record what a training begins with; ConfigError where it began with something else."""
    path = run.folder / USED
    digests = {str(file): file_digest(file) if file.name == MODEL else content_digest(file) for file in used}
    found = json.loads(path.read_text()) if path.is_file() else {}
    if (run.folder / CONFIG).exists() and found != digests:
        changed = ", ".join(name for name in {**found, **digests} if found.get(name) != digests.get(name))
        raise ConfigError(f"{run.folder} was begun with other files than are there now: remove it ({changed})")
    run.write(USED, digests)


def _words(place: str, line: Any, earlier: list[str], folder: Path) -> list[str]:
    """The words of a line, names in braces replaced."""
    known = {name: str(folder / name) for name in earlier} | {"here": str(folder)}

    def path_of(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise ConfigError(
                f"{place}: {found[0]} is no earlier step{suggest(found[1], list(known))}; known are {', '.join(known)}"
            )
        return known[found[1]]

    # split first: a folder may have blanks in its name
    words = [re.sub(r"\{(\w+)\}", path_of, word) for word in str(line).split()]
    if not words:
        raise ConfigError(f"{place} is empty")
    return words


def _score_words(
    label: str, line: Any, steps: list[Step], folder: Path, world: dict[str, Any] | None
) -> dict[str, str]:
    place = f"chain.scores.{label}"
    given = dict(word.partition("=")[::2] for word in _words(place, line, [step.name for step in steps], folder))
    if set(given) != OF_RUN and set(given) - OPTIONAL != OF_FILE:
        needed, more = ("=, ".join(sorted(names)) + "=" for names in (OF_FILE, OPTIONAL))
        raise ConfigError(f"{place}: found {', '.join(given)}; expected run=, or {needed} (and, if need be, {more})")
    runs = [str(folder / step.name) for step in steps if step.command == "train"]
    files = [step.output for step in steps if step.command in ("predict", "correct apply", "join")]
    files += [] if world is None or "path" not in world else [world["path"]]
    for key, known, what in (("run", runs, "train step"), ("cycle", runs, "train step"), ("filled", files, "output")):
        if key in given and given[key] not in known:
            raise ConfigError(f"{place}: {key}={given[key]}: expected a{'n' * (key == 'filled')} {what} of the chain")
    return given


def _score(given: dict[str, str]) -> dict[str, float]:
    if "run" in given:
        return score_run(Run(given["run"]).evaluation)
    files = {k: Path(given[k]) for k in ("filled", "truth")}
    cycle = Run(given["cycle"]).evaluation
    more = {k: given[k] for k in OPTIONAL if k in given}
    return score_file(files["filled"], files["truth"], given["variable"], given["where"], cycle, **more)
