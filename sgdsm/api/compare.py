"""`sgdsm.compare`: runs that were scored by one protocol in one table, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sgdsm.core.arguments import checked
from sgdsm.core.errors import ConfigError
from sgdsm.evaluation.compare import Entry, check_protocol, comparison
from sgdsm.evaluation.labels import run_labels
from sgdsm.evaluation.protocol import SCORES
from sgdsm.evaluation.score import Scores
from sgdsm.training.run import Run


@checked
def compare(
    runs: Mapping[str, Run | str | Path] | Sequence[Run | str | Path], reference: str | None = None
) -> pd.DataFrame:
    """Compare runs that were scored at the same hidden values, as `sgdsm compare` does.

    Args:
        runs: Runs or their folders, by short names that the table then shows; of a list `run_labels` of the folders.
        reference: Name of the run that the others are measured by; by default 'linear_time', or else the first.

    Returns:
        A row for each run, that with the smallest RMSE first. `rmse` with `rmse_lower` and `rmse_upper` (95 %
        interval), `mae`, `bias`, ... in the units of the target; `share`, the RMSE over that of the reference;
        `difference`, `lower` and `upper`, the RMSE minus the reference's and its interval, paired over blocks of days
        in regions; `beyond_chance`, whether that interval leaves out 0; `rmse_CLASS` of the other classes;
        `fit_seconds`.

    Raises:
        ConfigError: A run is not finished, or runs were scored by different protocols.
    """
    if isinstance(runs, Mapping):
        found = {name: run if isinstance(run, Run) else Run(run) for name, run in runs.items()}
    else:
        listed = [run if isinstance(run, Run) else Run(run) for run in runs]
        found = dict(zip(run_labels([run.folder for run in listed]), listed, strict=True))
    entries = [
        Entry(name, run.folder, run.metrics(), Scores.load(run.evaluation / SCORES)) for name, run in found.items()
    ]
    check_protocol(entries)
    if reference is None:
        reference = "linear_time" if "linear_time" in found else next(iter(found))
    elif reference not in found:
        raise ConfigError(f"reference={reference}: expected one of the runs, {', '.join(found)}")
    table = pd.DataFrame(comparison(entries, reference)).set_index("label")
    outside = (table["lower"] > 0) | (table["upper"] < 0)
    # without an interval nothing is known
    table["beyond_chance"] = outside & np.isfinite(table["lower"]) & (table.index != reference)
    return table.rename_axis("model")
