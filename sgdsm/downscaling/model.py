"""What a run of `downscale train` leaves for `downscale predict`: a fitted regressor and what is known of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # torch raises it for a file that would run code
from typing import Any

import numpy as np
import torch
from torch import nn

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build, check_spec
from sgdsm.downscaling.intervals import Distance, QuantileTrees
from sgdsm.downscaling.regressors import Regressor
from sgdsm.models.checkpoint import first_line, save_whole
from sgdsm.training.run import MODEL, file_digest

FORMAT = "sgdsm downscaler 1"
NUMBERS = ("low", "high", "spread")


class Downscaler(nn.Module):
    """A fitted regressor with the names, units, sources and ranges of the predictors that it was trained on.

    Args:
        regressor: Configured for this number of predictors.
        predictors: Their names, in the order of the columns of rows.
        units: Of each predictor, by name.
        target: Name of the target.
        target_units: Of the target.
        sources: Attribute `source` of each predictor, by name; '' if unknown.
        low: Smallest value of each predictor in the training rows, (P,).
        high: Largest one, (P,).
        spread: Standard deviation there, (P,).

    Attributes:
        digest: Of the file, once it is saved or loaded.
        bounds: Gives intervals; None without.
        distance: Of rows from the training rows; None without.
    """

    def __init__(
        self,
        regressor: Regressor,
        predictors: list[str],
        units: Mapping[str, str],
        target: str,
        target_units: str,
        sources: Mapping[str, str],
        low: np.ndarray,
        high: np.ndarray,
        spread: np.ndarray,
    ) -> None:
        super().__init__()
        self.regressor, self.predictors = regressor, list(predictors)
        self.units, self.sources = dict(units), {name: sources.get(name, "") for name in predictors}
        self.target, self.target_units = target, target_units
        self.low, self.high, self.spread = (np.asarray(values, np.float64) for values in (low, high, spread))
        self.digest = ""
        self.bounds: QuantileTrees | None = None
        self.distance: Distance | None = None

    def estimate(self, rows: np.ndarray, intervals: bool = False) -> dict[str, np.ndarray]:
        """Estimate the target from rows of predictors.

        Args:
            rows: In the units of training, all finite, (N, P) float32.
            intervals: Whether bounds and distance are wanted too.

        Returns:
            'mean', and of intervals 'lower', 'upper' and 'distance' where the downscaler has them, (N,) float32 each,
            in the target's units; of the distance above 1 is outside the area of applicability.
        """
        there = self.regressor.center.device
        values = torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(there)
        found: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            if not len(values):
                found["mean"] = values.new_zeros(0)
            else:
                found["mean"] = self.regressor.estimate(values)
            if intervals and self.bounds is not None:
                lower, upper = self.bounds(values) if len(values) else (found["mean"], found["mean"])
                # separate trees may lie on one side of the mean
                found |= {"lower": lower.minimum(found["mean"]), "upper": upper.maximum(found["mean"])}
            if intervals and self.distance is not None:
                found["distance"] = self.distance(self.regressor.scaled(values))
        return {name: np.asarray(values.cpu().numpy(), np.float32) for name, values in found.items()}

    def about(self) -> dict[str, Any]:
        """Return what is known of the rows as plain built-ins."""
        return {
            "predictors": self.predictors,
            "units": self.units,
            "target": self.target,
            "target_units": self.target_units,
            "sources": self.sources,
            **{name: getattr(self, name).tolist() for name in NUMBERS},
            "level": None if self.bounds is None else self.bounds.level,
            "has_distance": self.distance is not None,
        }


def save(downscaler: Downscaler, folder: Path) -> None:
    """Write a downscaler into a run's folder, whole or not at all, and set its digest.

    Args:
        downscaler: Fitted.
        folder: Of the run.
    """
    check_spec(downscaler.regressor.spec, Regressor, type(downscaler.regressor).__name__)
    content = {
        "format": FORMAT,
        "spec": downscaler.regressor.spec,
        "about": downscaler.about(),
        "state": downscaler.state_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_whole(content, folder / MODEL)
    downscaler.digest = file_digest(folder / MODEL)


def load(folder: Path) -> Downscaler:
    """Read the downscaler of a run's folder, ready to estimate.

    Args:
        folder: Of the run.

    Raises:
        ConfigError: The file is missing, damaged, or no downscaler.
    """
    path = Path(folder) / MODEL
    if not path.is_file():
        raise ConfigError(f"run={folder}: no {MODEL} there; expected the folder that `sgdsm downscale train` printed")
    try:
        # weights_only: a checkpoint is data, no code from it is run
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnpicklingError) as error:
        raise ConfigError(f"{path}: not a checkpoint (damaged, or something else): {first_line(error)}") from error
    kind = content.get("format") if isinstance(content, dict) else type(content).__name__
    if kind != FORMAT:
        hint = ": a gap-filler, for `sgdsm predict`" if str(kind).startswith("sgdsm filler") else ""
        raise ConfigError(f"{path}: expected a checkpoint of the format '{FORMAT}', found '{kind}'{hint}")
    try:
        return _loaded(content, path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:  # XGBoost's own is a ValueError
        raise ConfigError(f"{path}: the checkpoint is not whole: {first_line(error)}") from error


def _loaded(content: dict[str, Any], path: Path) -> Downscaler:
    regressor: Regressor = build(content["spec"], Regressor)
    about = dict(content["about"])
    level, has_distance = about.pop("level"), about.pop("has_distance")
    regressor.configure(len(about["predictors"]))
    made = Downscaler(regressor, **about)
    made.bounds = None if level is None else QuantileTrees(level)
    made.distance = Distance(len(made.predictors)) if has_distance else None
    made.load_state_dict(content["state"])
    made.digest = file_digest(path)
    return made.eval()
