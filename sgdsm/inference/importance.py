"""What a run's estimates rest on: importances of its covariates, and of the features of its trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sgdsm.core.cube import ConfigError, log

if TYPE_CHECKING:
    from sgdsm.data.batch import Scene
    from sgdsm.data.datamodule import GapData
    from sgdsm.evaluation.metrics import State
    from sgdsm.models.base import GapFiller
    from sgdsm.models.trees.filler import TreeFiller
    from sgdsm.report.importances import Importance

PERMUTE, SHAP_ROWS = 10, 2000


def with_permutation(found: list[Importance], filler: GapFiller, scene: Scene, block_days: int) -> list[Importance]:
    """Add the permutation importance (Breiman, Machine Learning 45, 5, 2001) of each covariate to a table.

    A dynamic covariate keeps its maps and their order within blocks of days, and no block stays in its place; a static
    one is dealt to other cells on land. What is seen of the target, season and place stay as they are.

    Raises ConfigError where there is one block only: a covariate in its own place tells nothing.
    """
    from sgdsm.evaluation.metrics import bootstrap
    from sgdsm.report.importances import Importance

    days = len(scene.seen)
    if days <= block_days:
        raise ConfigError(f"block_days={block_days}: the record has {days} days, expected two blocks or more")
    lines = {one.name: one for one in found if one.kind == "covariate"}
    complete = _scores(filler, scene, block_days)
    for name in permuted(scene, block_days):
        value, lower, upper = bootstrap(_scores(filler, scene, block_days), reference=complete)
        log.info("without %s the RMSE grows by %.5f", name, value)
        line = lines.get(name, Importance("covariate", name, name))
        lines[name] = line._replace(permutation=value, permutation_lower=lower, permutation_upper=upper)
    return [*lines.values(), *(one for one in found if one.kind == "feature")]


def permuted(scene: Scene, block_days: int) -> Iterator[str]:
    """Names of the covariates, each while it is permuted in the scene."""
    inputs, days, land = scene.inputs, len(scene.seen), scene.record.land
    for c, name in enumerate(inputs.dynamic):
        rng = np.random.default_rng([PERMUTE, c])
        blocks = [np.arange(b, min(b + block_days, days)) for b in range(0, days, block_days)]
        ring = rng.permutation(len(blocks))  # each block goes where its neighbour in the ring was: none stays
        after = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
        order = np.concatenate([blocks[after[k]] for k in range(len(blocks))])
        own = scene.dynamic[c].copy(), scene.present[c].copy()
        scene.dynamic[c], scene.present[c] = own[0][order], own[1][order]
        yield name
        scene.dynamic[c], scene.present[c] = own
    for c, name in enumerate(inputs.static):
        rng = np.random.default_rng([PERMUTE, len(inputs.dynamic) + c])
        values = scene.static[c].copy()
        scene.static[c][land] = rng.permutation(values[land])
        yield name
        scene.static[c] = values


def of_trees(filler: TreeFiller, data: GapData) -> list[Importance]:
    """Gain and SHAP of each feature of a tree filler, and of all that tell of one covariate together.

    The contributions of a group's features add up before their size is taken. SHAP: on SHAP_ROWS rows at most.
    """
    import xgboost

    from sgdsm.data.features import source_of, to_rows
    from sgdsm.models.trees.row_reservoir import RowReservoir
    from sgdsm.report.importances import Importance

    rows = RowReservoir(SHAP_ROWS, 0, spill=False)
    names: list[str] = []
    for index, batch in enumerate(data.val_dataloader()):
        features, _, names = to_rows(batch, batch.wanted, filler.inputs)
        rows.add(features.numpy(), batch.truth[batch.wanted].numpy(), (0, index))
    (table,) = (features for features, _ in rows.batches(SHAP_ROWS))
    booster = filler.booster
    assert booster is not None
    shap = booster.predict(xgboost.DMatrix(table), pred_contribs=True)[:, :-1] * filler.inputs.anomaly_scale
    score = booster.get_score(importance_type="total_gain")
    gain = np.array([score.get(f"f{k}", 0.0) for k in range(len(names))])
    gain = gain / max(float(gain.sum()), 1e-30)
    sources = np.array([source_of(name, filler.inputs) for name in names])

    def line(kind: str, name: str, source: str, chosen: np.ndarray) -> Importance:
        return Importance(kind, name, source, float(gain[chosen].sum()), float(abs(shap[:, chosen].sum(1)).mean()))

    groups = [line("covariate", name, name, sources == name) for name in dict.fromkeys(sources.tolist())]
    single = [
        line("feature", n, s, np.arange(len(names)) == k)
        for k, (n, s) in enumerate(zip(names, sources.tolist(), strict=True))
    ]
    return groups + single


def _scores(filler: GapFiller, scene: Scene, block_days: int) -> State:
    """Errors at the wanted values of a scene, by block of days."""
    from sgdsm.evaluation.metrics import bin_statistics, error_statistics
    from sgdsm.inference.blend import fill_scene

    record, wanted = scene.record, scene.wanted
    axes = filler.window.tile(wanted.shape, record.circular)
    filled = fill_scene(filler, scene, axes, (0, 0, 0), wanted.shape)["mean"]
    block = np.nonzero(wanted)[0] // block_days
    values = error_statistics(filled[wanted], record.values[wanted])
    return bin_statistics(values, block, -(-len(wanted) // block_days))
