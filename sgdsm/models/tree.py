"""Tree models behind the same trainer: the same windows, gaps, splits and scaling, turned into rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xgboost
from torch import Tensor

from sgdsm.cube import ConfigError, SgdsmError, log
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.rows import HALO_CELLS, HALO_DAYS, to_rows
from sgdsm.models.base import GapFiller, Window

ROWS_KEPT, ROWS_CHOSEN = 5, 9


class TreeFiller(GapFiller):
    """XGBoost on the rows of hidden values (features: `sgdsm.data.rows`), fitted at the end of the last pass.

    The target is the anomaly from the cell's climatology. Lightning's loop only brings the batches: manual
    optimisation, no optimiser, no gradient.

    passes: gap draws over the record to take rows from. max_rows: most rows kept, a random subset of all; with
    `features x 4 bytes` each it bounds the memory. threads: 0 = all cores. seed: of rows and trees. The other
    arguments are XGBoost's own.
    """

    trains_on_cores = True
    uses_repeat_cycle = True
    window = Window(2 * HALO_DAYS + 120, 2 * HALO_CELLS + 32, HALO_DAYS, HALO_CELLS)

    def __init__(
        self,
        passes: int,
        max_rows: int,
        rounds: int,
        parameters: dict[str, Any],
        threads: int,
        seed: int,
    ) -> None:
        super().__init__()
        if min(passes, max_rows, rounds) < 1:
            raise ConfigError(f"model.passes={passes}, max_rows={max_rows}, rounds={rounds}: expected at least 1")
        self.automatic_optimization = False
        self.passes, self.max_rows, self.rounds, self.seed = passes, max_rows, rounds, seed
        self.parameters_of_trees = {
            "objective": "reg:squarederror", "tree_method": "hist", "seed": seed, "nthread": threads, **parameters
        }  # fmt: skip
        self.booster: xgboost.Booster | None = None
        self.names: list[str] = []

    def configure_optimizers(self) -> None:
        return None

    def on_train_start(self) -> None:
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []
        self._kept = self._met = 0

    def training_step(self, batch: Batch, index: int) -> None:
        """Keep the rows of a batch, those with less weight more seldom; fit once the last batch has come."""
        rng = np.random.default_rng([ROWS_CHOSEN, self.seed, self.current_epoch, index])
        weights = batch.weight[batch.wanted]
        chosen = batch.wanted.clone()
        chosen[batch.wanted] = torch.from_numpy(rng.random(len(weights), np.float32)).to(weights) < weights
        features, _, self.names = to_rows(batch, chosen, self.inputs)
        self._keep(features.cpu().numpy(), batch.truth[chosen].cpu().numpy(), index)
        trainer = self.trainer
        if self.current_epoch + 1 == trainer.max_epochs and index + 1 == trainer.num_training_batches:
            self._fit()

    def fill(self, batch: Batch) -> Filled:
        if self.booster is None:
            raise SgdsmError("the trees are not fitted")
        mean = torch.zeros_like(batch.sm)
        if batch.wanted.any():
            features, _, _ = to_rows(batch, batch.wanted, self.inputs)
            rows = self.booster.inplace_predict(features.cpu().numpy())
            mean[batch.wanted] = torch.from_numpy(np.asarray(rows, np.float32)).to(mean.device)
        return Filled(self.in_units(mean, batch))

    def get_extra_state(self) -> Tensor:
        """The booster as UBJSON bytes: checkpoints hold tensors only."""
        raw = bytearray() if self.booster is None else self.booster.save_raw("ubj")
        return torch.frombuffer(raw, dtype=torch.uint8).clone() if raw else torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse of `get_extra_state`."""
        if state.numel():
            self.booster = xgboost.Booster({"nthread": self.parameters_of_trees["nthread"]})
            self.booster.load_model(bytearray(state.cpu().numpy().tobytes()))

    def _keep(self, features: np.ndarray, truth: np.ndarray, index: int) -> None:
        # each row is kept with the same probability, which falls as rows come: when the store overflows, a random
        # half of it goes
        rng = np.random.default_rng([ROWS_KEPT, self.seed, self.current_epoch, index])
        kept = rng.random(len(truth)) < 0.5**self._met
        self._rows.append((features[kept], truth[kept]))
        self._kept += int(kept.sum())
        while self._kept > self.max_rows:
            self._met += 1
            halves = [rng.random(len(t)) < 0.5 for _, t in self._rows]
            self._rows = [(f[h], t[h]) for (f, t), h in zip(self._rows, halves, strict=True)]
            self._kept = sum(len(t) for _, t in self._rows)

    def _fit(self) -> None:
        features = np.concatenate([f for f, _ in self._rows])
        truth = np.concatenate([t for _, t in self._rows])
        self._rows = []
        if not len(truth):
            raise SgdsmError("no hidden value to learn from")
        log.info("fitting trees to %d rows of %d features", *features.shape)
        data = xgboost.QuantileDMatrix(features, truth, feature_names=self.names)
        self.booster = xgboost.train(self.parameters_of_trees, data, self.rounds)
        self.booster.feature_names = None  # rows come as plain arrays
        self.log("rows", float(len(truth)))


class XGBoost(TreeFiller):
    """Gradient-boosted trees (Chen and Guestrin, KDD 2016)."""

    def __init__(
        self,
        passes: int = 10,
        max_rows: int = 400_000,
        rounds: int = 800,
        learning_rate: float = 0.04,
        max_depth: int = 8,
        min_child_weight: float = 20.0,
        subsample: float = 0.7,
        column_share: float = 0.5,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        parameters = {
            "eta": learning_rate,
            "max_depth": max_depth,
            "min_child_weight": min_child_weight,
            "subsample": subsample,
            "colsample_bytree": column_share,
        }
        super().__init__(passes, max_rows, rounds, parameters, threads, seed)


class RandomForest(TreeFiller):
    """A random forest as one round of `trees` parallel XGBoost trees.

    It differs from Breiman's forest (Machine Learning 45, 5, 2001): rows are drawn without replacement (63.2 % of
    them, the share that a bootstrap holds), splits are found on 256 quantiles of each feature, missing values have a
    branch of their own, and leaves may be shrunk.
    """

    def __init__(
        self,
        passes: int = 6,
        max_rows: int = 200_000,
        trees: int = 60,
        max_depth: int = 16,
        min_child_weight: float = 5.0,
        column_share: float = 0.33,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        parameters = {
            "eta": 1.0,
            "num_parallel_tree": trees,
            "max_depth": max_depth,
            "min_child_weight": min_child_weight,
            "subsample": 0.632,
            "colsample_bynode": column_share,
            "lambda": 0.0,
        }
        super().__init__(passes, max_rows, 1, parameters, threads, seed)
