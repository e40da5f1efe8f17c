"""The runs of a sweep (`-m`): which was best, and what becomes of one that fails; part of the composition root."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from sgdsm.core.cube import SgdsmError, log

TUNE_EXTRA = "hydra/sweeper: a package is not there: pip install 'sgdsm[tune]'"


class RunFailed(SgdsmError):
    """A run of a sweep has failed, and its line is printed: others follow."""


@dataclass
class Sweep:
    """The validation RMSE that each run of a sweep ended with, its folder, and the words that made it."""

    ended: list[tuple[float, Path, str]] = field(default_factory=list)

    def add(self, score: float, folder: Path) -> None:
        """Keep the score of the run that is in progress; nothing where it is no part of a sweep."""
        if swept():
            log.info("validation RMSE %.6f", score)
            self.ended.append((score, folder, words_of_run()))

    def summary(self) -> str:
        """A line on the best run."""
        score, folder, words = min(self.ended)
        return f"best of {len(self.ended)} runs: validation RMSE {score:.6f}, {folder}: {words}"


def swept() -> bool:
    """Whether what runs is one run of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def goes_on() -> bool:
    """Whether the sweep goes on when a run fails."""
    return bool(HydraConfig.get().sweeper.get("max_failure_rate"))


def words_of_run() -> str:
    """The overrides of the run that is in progress, as they are typed."""
    return shlex.join(HydraConfig.get().overrides.task)
