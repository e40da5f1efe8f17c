"""Tree models behind the same trainer: the same windows, gaps, splits and scaling, turned into rows."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xgboost
from torch import Tensor

from sgdsm.core.cube import ConfigError, SgdsmError, log, suggest
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.features import HALO_CELLS, HALO_DAYS, features_of, to_rows
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.trees.boosting import Fitting, xgboost_dask
from sgdsm.models.trees.row_reservoir import RowReservoir

ROWS_CHOSEN = 9


class TreeFiller(GapFiller):
    """XGBoost on the rows of hidden values (features: `sgdsm.data.features`), fitted at the end of the last pass.

    The target is the anomaly from the cell's climatology. Lightning's loop only brings the batches: manual
    optimisation, no optimiser, no gradient. Where Lightning trains on a GPU, XGBoost does; it always fills on the CPU.

    gap_draws: gap draws over the record to take rows from. max_rows: most rows kept, a random subset of all; with
    `features x 4 bytes` each it bounds the memory. spill: keep rows, and XGBoost's copy of them, on disk (TMPDIR), so
    that max_rows may exceed the memory. cluster: fit on the dask cluster of DASK_SCHEDULER_ADDRESS, or on one made on
    this machine. monotone: covariate -> 1 or -1: the estimate never falls (rises) with its value, today's or before.
    early_stopping_rounds: stop after so many rounds that do not improve the score on the validation draw, and keep the
    best one; None: fit them all. quantiles: lower and upper one, fitted by boosters of their own for an interval (too
    narrow as it comes: `uncertainty` calibrates one, around the mean); the standard deviation is that of a normal
    distribution with this interval. threads: 0 = all cores. seed: of rows and trees. The other arguments are XGBoost's
    own.
    """

    trains_on_cores = True
    uses_repeat_cycle = True
    window = Window(2 * HALO_DAYS + 120, 2 * HALO_CELLS + 32, HALO_DAYS, HALO_CELLS)

    def __init__(
        self,
        gap_draws: int,
        max_rows: int,
        rounds: int,
        parameters: dict[str, Any],
        threads: int,
        seed: int,
        spill: bool,
        cluster: bool,
        monotone: Mapping[str, int] | None,
        early_stopping_rounds: int | None = None,
        quantiles: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if min(gap_draws, max_rows, rounds) < 1:
            raise ConfigError(f"model.gap_draws={gap_draws}, max_rows={max_rows}, rounds={rounds}: expected at least 1")
        if early_stopping_rounds is not None and early_stopping_rounds < 1:
            raise ConfigError(f"model.early_stopping_rounds={early_stopping_rounds}: expected at least 1, or null")
        if quantiles is not None and not 0 < quantiles[0] < 0.5 < quantiles[1] < 1:
            raise ConfigError(
                f"model.quantiles={list(quantiles)}: expected [lower, upper] with 0 < lower < 0.5 < upper < 1"
            )
        for name, sign in (monotone or {}).items():
            if sign not in (-1, 1):
                raise ConfigError(f"model.monotone.{name}={sign}: expected 1 (never falls with it) or -1 (never rises)")
        self.automatic_optimization = False
        self.epochs, self.max_rows, self.rounds, self.seed = gap_draws, max_rows, rounds, seed
        self.spill, self.cluster, self.monotone = spill, cluster, dict(monotone or {})
        self.early_stopping_rounds, self.quantiles = early_stopping_rounds, quantiles
        self.level = None if quantiles is None else round(quantiles[1] - quantiles[0], 6)
        self.parameters_of_trees = {
            "objective": "reg:squarederror", "tree_method": "hist", "seed": seed, "nthread": threads, **parameters
        }  # fmt: skip
        self.booster: xgboost.Booster | None = None
        self.bounds: xgboost.Booster | None = None
        self.names: list[str] = []

    def setup_inputs(self, inputs: Inputs) -> None:
        known = (*inputs.dynamic, *inputs.static)
        for name in self.monotone:
            if name not in known:
                there = ", ".join(known) or "none"
                raise ConfigError(f"model.monotone: no covariate '{name}'{suggest(name, known)}; there are {there}")

    def configure_optimizers(self) -> None:
        return None

    def configure_callbacks(self) -> list[pl.Callback]:
        return [_LetsGo()]

    def on_train_start(self) -> None:
        if self.spill and self.device.type == "cuda":
            raise ConfigError("model.spill=true keeps rows on disk for a fit on the CPU: add trainer.accelerator=cpu")
        if self.cluster:
            xgboost_dask()  # what is missing shows before the passes over the record
        self.rows = RowReservoir(self.max_rows, self.seed, self.spill)

    def training_step(self, batch: Batch, index: int) -> None:
        """Keep the rows of a batch, those with less weight more seldom; fit once the last batch has come."""
        rng = np.random.default_rng([ROWS_CHOSEN, self.seed, self.current_epoch, index])
        weights = batch.weight[batch.wanted]
        chosen = batch.wanted.clone()
        chosen[batch.wanted] = torch.from_numpy(rng.random(len(weights), np.float32)).to(weights) < weights
        features, _, self.names = to_rows(batch, chosen, self.inputs)
        self.rows.add(features.cpu().numpy(), batch.truth[chosen].cpu().numpy(), (self.current_epoch, index))
        trainer = self.trainer
        if self.current_epoch + 1 == trainer.max_epochs and index + 1 == trainer.num_training_batches:
            self._fit()

    def fill(self, batch: Batch) -> Filled:
        if self.booster is None:
            raise SgdsmError("the trees are not fitted")
        if not batch.wanted.any():
            nothing = torch.zeros_like(batch.sm)
            return Filled(nothing) if self.bounds is None else Filled(nothing, nothing, nothing, nothing)
        features = to_rows(batch, batch.wanted, self.inputs)[0].cpu().numpy()
        mean = self.booster.inplace_predict(features)
        filled = self._in_units(mean, batch)
        if self.bounds is None:
            return Filled(filled)
        assert self.quantiles is not None
        # quantiles of separate trees may cross, one another or the mean
        found = np.column_stack([mean, self.bounds.inplace_predict(features)])
        lower, upper = (self._in_units(side, batch) for side in (found.min(1), found.max(1)))
        low, high = (NormalDist().inv_cdf(q) for q in self.quantiles)
        return Filled(filled, (upper - lower) / (high - low), lower, upper)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The boosters as UBJSON bytes: checkpoints hold tensors only."""
        boosters = {"mean": self.booster, "bounds": self.bounds}
        return {
            name: torch.frombuffer(booster.save_raw("ubj"), dtype=torch.uint8).clone()
            for name, booster in boosters.items()
            if booster is not None
        }

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `get_extra_state`."""
        found = {name: self._loaded(raw) for name, raw in state.items()}
        self.booster, self.bounds = found.get("mean"), found.get("bounds")

    def _loaded(self, raw: Tensor) -> xgboost.Booster:
        booster = xgboost.Booster({"nthread": self.parameters_of_trees["nthread"]})
        booster.load_model(bytearray(raw.cpu().numpy().tobytes()))
        return booster

    def _in_units(self, rows: np.ndarray, batch: Batch) -> Tensor:
        anomaly = torch.zeros_like(batch.sm)
        anomaly[batch.wanted] = torch.from_numpy(np.asarray(rows, np.float32)).to(anomaly.device)
        return self.in_units(anomaly, batch)

    def _fit(self) -> None:
        count = self.rows.count
        if not count:
            raise SgdsmError("no hidden value to learn from")
        log.info("fitting trees to %d rows of %d features", count, len(self.names))
        common = dict(self.parameters_of_trees)
        if self.device.type == "cuda" and not self.cluster:
            common["device"] = str(self.device)
        signs = {
            f: sign for name, sign in self.monotone.items() for f in features_of(name, ahead=False) if f in self.names
        }
        objectives = [common | ({"monotone_constraints": signs} if signs else {})]
        if self.quantiles is not None:
            # XGBoost sets leaves to quantiles when a tree is grown, constraint or not
            objectives.append(common | {"objective": "reg:quantileerror", "quantile_alpha": list(self.quantiles)})
        checked = RowReservoir(self.max_rows, self.seed, self.spill)
        fitting = Fitting(self.names, self.rounds, self.early_stopping_rounds)
        fit = fitting.fit_on_cluster if self.cluster else fitting.fit
        try:
            if self.early_stopping_rounds is not None:
                self._keep_validation(checked)
            found = fit(objectives, self.rows, checked)
        finally:
            self.rows.close()
            checked.close()
        for booster in found:
            booster.feature_names = None  # rows come as plain arrays
            booster.set_param({"device": "cpu"})
        self.booster, self.bounds = found[0], (found[1] if self.quantiles is not None else None)
        self.log("rows", float(count))
        self.log("rounds", float(self.booster.num_boosted_rounds()))

    def _keep_validation(self, rows: RowReservoir) -> None:
        """The rows of the validation draw."""
        for index, batch in enumerate(self.trainer.datamodule.val_dataloader()):  # type: ignore[attr-defined]
            features, _, _ = to_rows(batch, batch.wanted, self.inputs)
            rows.add(features.numpy(), batch.truth[batch.wanted].numpy(), (self.epochs, index))


class _LetsGo(pl.Callback):
    """Lets go of the rows, and of their folder, where the training is broken off."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        rows = getattr(pl_module, "rows", None)
        if isinstance(rows, RowReservoir):
            rows.close()


class XGBoost(TreeFiller):
    """Gradient-boosted trees (Chen and Guestrin, KDD 2016)."""

    def __init__(
        self,
        gap_draws: int = 10,
        max_rows: int = 400_000,
        rounds: int = 800,
        learning_rate: float = 0.04,
        max_depth: int = 8,
        min_child_weight: float = 20.0,
        subsample: float = 0.7,
        column_share: float = 0.5,
        early_stopping_rounds: int | None = None,
        quantiles: tuple[float, float] | None = None,
        monotone: Mapping[str, int] | None = None,
        spill: bool = False,
        cluster: bool = False,
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
        common = (gap_draws, max_rows, rounds, parameters, threads, seed, spill, cluster, monotone)
        super().__init__(*common, early_stopping_rounds, quantiles)


class RandomForest(TreeFiller):
    """A random forest as one round of `trees` parallel XGBoost trees.

    It differs from Breiman's forest (Machine Learning 45, 5, 2001): rows are drawn without replacement (63.2 % of
    them, the share that a bootstrap holds), splits are found on 256 quantiles of each feature, missing values have a
    branch of their own, and leaves may be shrunk.
    """

    def __init__(
        self,
        gap_draws: int = 6,
        max_rows: int = 200_000,
        trees: int = 60,
        max_depth: int = 16,
        min_child_weight: float = 5.0,
        column_share: float = 0.33,
        monotone: Mapping[str, int] | None = None,
        spill: bool = False,
        cluster: bool = False,
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
        super().__init__(gap_draws, max_rows, 1, parameters, threads, seed, spill, cluster, monotone)
