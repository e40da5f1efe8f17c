"""Chains: steps that build on one another, run by one command; part of the composition root.

A step is a line of the words of another command, `train ...` or `predict ...`. {NAME} in it is the folder of an earlier
step, {here} that of the chain. What an interrupted chain has finished is not done again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from sgdsm.config import check_config
from sgdsm.cube import ConfigError, log, suggest
from sgdsm.evaluation.signal import format_scores, score_file, score_run
from sgdsm.runs import CONFIG, Run

Step = tuple[str, str, dict[str, Any]]
COMMANDS = ("train", "predict")
OF_RUN, OF_FILE = {"run"}, {"filled", "truth", "variable", "where", "cycle"}


def run_chain(
    config: dict[str, Any],
    overrides: list[str],
    folder: Path,
    train: Callable[[dict[str, Any], Path], Path],
    predict: Callable[[dict[str, Any]], None],
) -> str:
    """Run the steps of `chain.steps` that are not finished, then score as `chain.scores` says; returns the table.

    config: of the experiment. overrides: words of the command line that go to every training. folder: of the chain.

    Raises ConfigError for a step or a score that cannot work, before the first step runs.
    """
    chain = config.get("chain") or {}
    steps, scores = chain.get("steps") or {}, chain.get("scores") or {}
    if not steps:
        raise ConfigError("chain.steps is empty: name steps by their words, such as 'first: train model=xgboost'")
    planned = _plan(steps, overrides, folder)
    wanted = {str(label): _score_words(str(label), words, list(steps), folder) for label, words in scores.items()}
    for number, (name, command, settings) in enumerate(planned, 1):
        print(f"\n[{number}/{len(planned)}] {name}: {command}", flush=True)
        own = folder / name
        if command == "predict":
            predict(settings)  # goes on by itself with what it has written
        elif Run(own).finished():
            log.info("%s: finished already", own)
        else:
            train(settings, own)
    if not wanted:
        return f"chain: {folder}"
    found = {label: _score(words) for label, words in wanted.items()}
    table = format_scores(found)
    Run(folder).write("scores.json", {"scores": found})
    (folder / "scores.txt").write_text(table + "\n")
    return f"\n{table}\n\nchain: {folder}"


def _plan(steps: dict[str, Any], overrides: list[str], folder: Path) -> list[Step]:
    planned: list[Step] = []
    for name, line in steps.items():
        command, *words = _words(str(name), line, [step[0] for step in planned], folder)
        if command not in COMMANDS:
            raise ConfigError(f"chain.steps.{name}: '{command}' is no step; expected {' or '.join(COMMANDS)}")
        composed = compose(command, [*overrides, *words] if command == "train" else words)
        plain = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(plain, dict)
        settings = {str(k): v for k, v in plain.items() if k != "chain"}
        check_config(settings, command)
        run = Run(folder / str(name))
        if command == "train" and (run.folder / CONFIG).exists() and run.config() != settings:
            raise ConfigError(f"{run.folder} holds a run with other settings: remove it, or choose another output")
        planned.append((str(name), command, settings))
    return planned


def _words(place: str, line: Any, earlier: list[str], folder: Path) -> list[str]:
    """The words of a line, names in braces replaced."""
    known = {name: str(folder / name) for name in earlier} | {"here": str(folder)}

    def path_of(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise ConfigError(
                f"chain: {place}: {found[0]} is no earlier step{suggest(found[1], list(known))}; "
                f"known are {', '.join(known)}"
            )
        return known[found[1]]

    # split first: a folder may have blanks in its name
    words = [re.sub(r"\{(\w+)\}", path_of, word) for word in str(line).split()]
    if not words:
        raise ConfigError(f"chain: {place} is empty")
    return words


def _score_words(label: str, line: Any, steps: list[str], folder: Path) -> dict[str, str]:
    given = dict(word.partition("=")[::2] for word in _words(label, line, steps, folder))
    if set(given) not in (OF_RUN, OF_FILE):
        raise ConfigError(
            f"chain.scores: {label}: found {', '.join(given)}; expected run=, or {'=, '.join(sorted(OF_FILE))}="
        )
    return given


def _score(given: dict[str, str]) -> dict[str, float]:
    if "run" in given:
        return score_run(Run(given["run"]).evaluation)
    files = {k: Path(given[k]) for k in ("filled", "truth")}
    cycle = Run(given["cycle"]).evaluation
    return score_file(files["filled"], files["truth"], given["variable"], given["where"], cycle)
