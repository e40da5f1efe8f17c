"""What Hydra knows of the call that is in progress: folder, overrides, sweep."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log


@dataclass
class Sweep:
    """The validation RMSE of each run of a sweep, its folder, and its overrides."""

    ended: list[tuple[float, Path, str]] = field(default_factory=list)

    def add(self, score: float, folder: Path) -> None:
        """Keep the score of the run in progress; does nothing where it is no part of a sweep."""
        if is_sweep():
            log.info("validation RMSE %.6f", score)
            self.ended.append((score, folder, overrides_text()))

    def summary(self) -> str:
        """Return a line on the best run."""
        score, folder, overrides = min(self.ended)
        return f"best of {len(self.ended)} runs: validation RMSE {score:.6f}, {folder}: {overrides}"


def is_sweep() -> bool:
    """Return True if the run in progress is one of a sweep (`-m`)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def overrides_text() -> str:
    """Return the overrides of the run in progress, as they are typed."""
    return shlex.join(HydraConfig.get().overrides.task)


def overrides_for_trainings(*own: str) -> list[str]:
    """Return the overrides that go to the trainings of an experiment: all but those of the command itself.

    Args:
        *own: Names of the settings of the command itself.
    """
    return [word for word in HydraConfig.get().overrides.task if word.lstrip("+~").partition("=")[0] not in own]


def experiment_name() -> str | None:
    """Return the name of the experiment file of the call, None without one."""
    name: str | None = HydraConfig.get().runtime.choices.get("experiment")
    return name


def run_folder() -> Path:
    """Return the folder that Hydra made for the run in progress."""
    return Path(HydraConfig.get().runtime.output_dir)


def is_run_folder_given() -> bool:
    """Return True if the call names its folder by hydra.run.dir."""
    return any(word.lstrip("+").startswith("hydra.run.dir=") for word in HydraConfig.get().overrides.hydra)


def output_folder(output: str | None, label: str) -> Path:
    """Return the folder for the results of a command that trains several runs.

    Args:
        output: What the user says, None for a folder with the date and `label` in `runs`.
        label: End of the name of that folder.

    Raises:
        ConfigError: It is a file, or is given as hydra.run.dir.
    """
    if is_run_folder_given():
        raise ConfigError("give output=FOLDER in place of hydra.run.dir=FOLDER")
    if Path(output or ".").is_file():
        raise ConfigError(f"output={output}: a file; expected a folder")
    return Path(output or Path("runs") / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{label}")


def shown(folder: Path) -> Path:
    """Return a path as seen from the working directory, where it lies within."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_absolute() and folder.is_relative_to(here) else folder
