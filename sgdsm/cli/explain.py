"""`sgdsm explain`: what a run's estimates rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import fits


def explain(config: dict[str, Any]) -> None:
    """Write the importances of a run as a table and a figure, measured at the hidden values of its validation split."""
    import torch

    from sgdsm.inference.importance import of_trees, with_permutation
    from sgdsm.models.checkpoint import load_filler
    from sgdsm.models.trees.filler import TreeFiller
    from sgdsm.models.uncertainty.wrappers import innermost
    from sgdsm.report.importances import importance_figure, write_table
    from sgdsm.training.config import check_config
    from sgdsm.training.run import Run, only_open
    from sgdsm.training.task import prepare

    block_days = config["block_days"]
    if not fits(block_days, int) or block_days < 1:
        raise ConfigError(f"block_days={block_days!r}: expected a whole number of at least 1")
    run = Run(config["run"])
    trained = run.config()
    check_config(trained, "train")
    only_open(trained["data"])
    filler = load_filler(run.model)
    filler = innermost(filler)
    filler.to("cuda" if torch.cuda.is_available() else "cpu")
    task = prepare(trained)
    run.check_data(task.whole)
    if not (filler.inputs.dynamic or filler.inputs.static):
        raise ConfigError(f"explain: the run {run.folder} knows no covariate, there is nothing to compare")
    scene = task.data.scene_of(task.split.scenarios["validation"])
    found = of_trees(filler, task.data) if isinstance(filler, TreeFiller) else []
    found = with_permutation(found, filler, scene, block_days)
    folder = Path(config["output"] or run.figures)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{run.folder.name}: what the estimates rest on (validation split)"
    picture = importance_figure(found, folder / "importances.png", title, filler.inputs.units)
    print(f"table: {write_table(found, folder / 'importances.csv')}\nfigure: {picture}")
