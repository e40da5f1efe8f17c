"""Importance of covariates for the estimates of a run, and of the features of its trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.random import Stream
from sgdsm.data.batch import Scene
from sgdsm.data.datamodule import GapData
from sgdsm.data.features import source_of, to_rows
from sgdsm.evaluation.metrics import State, bin_statistics, bootstrap, error_statistics
from sgdsm.inference.blend import fill_scene
from sgdsm.models.base import GapFiller
from sgdsm.models.trees.row_reservoir import RowReservoir
from sgdsm.report.importances import Importance

# XGBoost and matplotlib are optional: the modules that need them are imported where they are used
if TYPE_CHECKING:
    from sgdsm.models.trees.filler import TreeFiller

SHAP_ROWS = 2000  # for SHAP values, which take time in proportion


def with_permutation(
    importances: list[Importance], filler: GapFiller, scene: Scene, block_days: int
) -> list[Importance]:
    """Add the permutation importance of each covariate to a table (Breiman, Machine Learning 45, 5, 2001).

    A dynamic covariate keeps its maps and their order within blocks of days, and no block stays in its place. The
    values of a static covariate are permuted among the cells on land. The seen target, season and place stay as they
    are.

    Args:
        importances: Table to add to.
        filler: A fitted gap filler.
        scene: A record with hidden (wanted) values.
        block_days: Length of a block, days.

    Returns:
        The table; the importance is the increase of the RMSE, in the target's units, with its 95 % interval.

    Raises:
        ConfigError: When there is only one block: a covariate that stays in its place has no importance.
    """
    # a single block could only stay in its place
    days = len(scene.seen)
    if days <= block_days:
        raise ConfigError(f"block_days={block_days}: the record has {days} days, expected two blocks or more")
    lines = {one.name: one for one in importances if one.kind == "covariate"}
    complete = _scores(filler, scene, block_days)
    for name in permuted(scene, block_days):
        value, lower, upper = bootstrap(_scores(filler, scene, block_days), reference=complete)
        log.info("without %s the RMSE grows by %.5f", name, value)
        line = lines.get(name, Importance("covariate", name, name))
        lines[name] = line._replace(permutation=value, permutation_lower=lower, permutation_upper=upper)
    return [*lines.values(), *(one for one in importances if one.kind == "feature")]


def permuted(scene: Scene, block_days: int) -> Iterator[str]:
    """Permute each covariate of a scene in turn, in place.

    Args:
        scene: A record; it is restored after each step.
        block_days: Length of the blocks of days that dynamic covariates are permuted by.

    Yields:
        The name of the covariate that is permuted at that moment.
    """
    inputs, days, land = scene.inputs, len(scene.seen), scene.record.land
    for c, name in enumerate(inputs.dynamic):
        rng = np.random.default_rng([Stream.PERMUTATION, c])
        blocks = [np.arange(b, min(b + block_days, days)) for b in range(0, days, block_days)]
        # each block takes the place of its neighbour in a random ring, so that none stays where it was
        ring = rng.permutation(len(blocks))
        after = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
        order = np.concatenate([blocks[after[k]] for k in range(len(blocks))])
        original = scene.dynamic[c].copy(), scene.present[c].copy()
        scene.dynamic[c], scene.present[c] = original[0][order], original[1][order]
        yield name
        scene.dynamic[c], scene.present[c] = original
    for c, name in enumerate(inputs.static):
        rng = np.random.default_rng([Stream.PERMUTATION, len(inputs.dynamic) + c])
        # a static covariate has no order in time: its values change places among land cells
        values = scene.static[c].copy()
        scene.static[c][land] = rng.permutation(values[land])
        yield name
        scene.static[c] = values


def of_trees(filler: TreeFiller, data: GapData) -> list[Importance]:
    """Return gain and SHAP of each feature of a tree filler, and of all features made from one covariate together.

    The contributions of the features of a group are added up before their absolute value is taken. SHAP values come
    from at most SHAP_ROWS rows.

    Args:
        filler: A fitted tree filler.
        data: Its data; the validation batches are used.

    Returns:
        One entry for each covariate, then one for each feature. Gain is a share of the total ("1"), SHAP the mean
        absolute contribution in the target's units.
    """
    import xgboost

    rows = RowReservoir(SHAP_ROWS, 0, spill=False)
    names: list[str] = []
    for index, batch in enumerate(data.val_dataloader()):
        features, _, names = to_rows(batch, batch.wanted, filler.inputs)
        rows.add(features.numpy(), batch.truth[batch.wanted].numpy(), (0, index))
    (table,) = (features for features, _ in rows.batches(SHAP_ROWS))
    booster = filler.booster
    assert booster is not None
    # the last column of the contributions is the bias
    shap = booster.predict(xgboost.DMatrix(table), pred_contribs=True)[:, :-1] * filler.inputs.anomaly_scale
    score = booster.get_score(importance_type="total_gain")
    gain = np.array([score.get(f"f{k}", 0.0) for k in range(len(names))])
    # shares of the total gain, so that runs can be compared
    gain = gain / max(float(gain.sum()), 1e-30)
    # features of one covariate (lags, means) are highly correlated: they are evaluated together
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
    """Return the errors at the wanted values of a scene, by block of days."""
    record, wanted = scene.record, scene.wanted
    axes = filler.window.tile(wanted.shape, record.circular)
    filled = fill_scene(filler, scene, axes, (0, 0, 0), wanted.shape)["mean"]
    block = np.nonzero(wanted)[0] // block_days
    values = error_statistics(filled[wanted], record.values[wanted])
    return bin_statistics(values, block, -(-len(wanted) // block_days))
