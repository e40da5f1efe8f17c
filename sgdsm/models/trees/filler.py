"""Tree models in the common trainer: the same windows, gaps, splits and scaling as networks, turned into rows."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xgboost
from torch import Tensor

from sgdsm.core.compiled import compiled_module
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError, SgdsmError
from sgdsm.core.logging import log
from sgdsm.core.random import Stream
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.features import HALO_CELLS, HALO_DAYS, features_of, to_rows
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.trees.boosting import Fitting, booster_bytes, booster_of, forest_parameters, xgboost_dask
from sgdsm.models.trees.row_reservoir import RowReservoir


class TreeFiller(GapFiller):
    """XGBoost on the rows of hidden values, fitted at the end of the last epoch.

    The features are those of `sgdsm.data.features`, the target is the anomaly from the cell's climatology. Lightning's
    loop only supplies the batches: manual optimisation, no optimizer, no gradient. XGBoost trains on the device that
    Lightning uses; it fills on the device of the filler.

    Args:
        gap_draws: Number of mask samples (passes over the record with other gaps) to take rows from.
        max_rows: Largest number of rows kept, a random sample of all; with `features x 4 bytes` each it limits the
            memory.
        rounds: Of boosting.
        parameters: XGBoost's own.
        threads: 0: all cores.
        seed: Of rows and trees.
        spill: True to store rows, and XGBoost's copy of them, on disk (TMPDIR), so that max_rows may exceed the memory.
        cluster: True to fit on the dask cluster of DASK_SCHEDULER_ADDRESS, or on one started on this machine.
        monotone: Covariate -> 1 or -1: the estimate never falls (rises) with its value on the day or before.
        early_stopping_rounds: Stop after so many rounds that do not improve the score on the validation split, and
            keep the best one; None: fit all rounds.
        quantiles: Lower and upper quantile, fitted by separate boosters, for an interval. It is too narrow (use
            `uncertainty` for a calibrated one); the standard deviation is that of a normal distribution with this
            interval.

    Raises:
        ConfigError: If a setting is out of range.
    """

    trains_on_cores = True
    can_be_causal = True
    uses_repeat_cycle = True
    window = Window(2 * HALO_DAYS + 120, 2 * HALO_CELLS + 32, HALO_DAYS, HALO_CELLS)

    def __init__(
        self,
        *,
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
        # Lightning must not expect a loss
        self.automatic_optimization = False
        self.epochs, self.max_rows, self.rounds, self.seed = gap_draws, max_rows, rounds, seed
        self.spill, self.cluster, self.monotone = spill, cluster, dict(monotone or {})
        self.early_stopping_rounds, self.quantiles = early_stopping_rounds, quantiles
        self.level = None if quantiles is None else round(quantiles[1] - quantiles[0], 6)
        self.tree_parameters = {
            "objective": "reg:squarederror", "tree_method": "hist", "seed": seed, "nthread": threads, **parameters
        }  # fmt: skip
        self.booster: xgboost.Booster | None = None
        self.bounds: xgboost.Booster | None = None
        # the booster whose trees were last made into arrays, and these
        self._arrays: tuple[xgboost.Booster, Any] | None = None
        self.names: list[str] = []

    def setup_inputs(self, inputs: Inputs) -> None:
        known = (*inputs.dynamic, *inputs.static)
        for name in self.monotone:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise ConfigError(f"model.monotone: no covariate '{name}'{suggest(name, known)}; there are {listed}")

    def configure_optimizers(self) -> None:
        return None

    def configure_callbacks(self) -> list[pl.Callback]:
        return [_DeleteRows()]

    def on_train_start(self) -> None:
        if self.spill and self.device.type == "cuda":
            raise ConfigError("model.spill=true keeps rows on disk for a fit on the CPU: add trainer.accelerator=cpu")
        if self.cluster:
            xgboost_dask()  # a missing package is reported before the passes over the record
        self.rows = RowReservoir(self.max_rows, self.seed, self.spill)

    def training_step(self, batch: Batch, index: int) -> None:
        """Add the rows of a batch to the reservoir, with a probability equal to their weight; fit after the last batch.

        Args:
            batch: Windows whose wanted values are hidden ones.
            index: Number of the batch, given by Lightning.
        """
        rng = np.random.default_rng([Stream.TREE_ROWS, self.seed, self.current_epoch, index])
        weights = batch.weight[batch.wanted]
        chosen = batch.wanted.clone()
        chosen[batch.wanted] = torch.from_numpy(rng.random(len(weights), np.float32)).to(weights) < weights
        features, _, self.names = to_rows(batch, chosen, self.inputs)
        self.rows.add(features.cpu().numpy(), batch.truth[chosen].cpu().numpy(), (self.current_epoch, index))
        trainer = self.trainer
        # here and not in a hook after the epoch: the validation of this epoch needs the trees
        if self.current_epoch + 1 == trainer.max_epochs and index + 1 == trainer.num_training_batches:
            self._fit()

    def fill(self, batch: Batch) -> Filled:
        if self.booster is None:
            raise SgdsmError("the trees are not fitted")
        if not batch.wanted.any():
            nothing = torch.zeros_like(batch.sm)
            return Filled(nothing) if self.bounds is None else Filled(nothing, nothing, nothing, nothing)
        features = to_rows(batch, batch.wanted, self.inputs)[0].cpu().numpy()
        device = batch.sm.device
        mean = self._predict(self.booster, features, device)
        filled = self._in_units(mean, batch)
        if self.bounds is None:
            return Filled(filled)
        assert self.quantiles is not None
        # quantiles of separate trees may cross one another or the mean
        bounds = _predict_there(self.bounds, features, device)
        values = np.column_stack([mean, self.bounds.inplace_predict(features) if bounds is None else bounds])
        lower, upper = (self._in_units(side, batch) for side in (values.min(1), values.max(1)))
        # standard deviation of the normal distribution with these quantiles
        low, high = (NormalDist().inv_cdf(q) for q in self.quantiles)
        return Filled(filled, (upper - lower) / (high - low), lower, upper)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the boosters as UBJSON bytes in tensors: checkpoints contain nothing else."""
        boosters = {"mean": self.booster, "bounds": self.bounds}
        return {name: booster_bytes(booster) for name, booster in boosters.items() if booster is not None}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Read boosters as `get_extra_state` returns them.

        Args:
            state: UBJSON bytes by name, 'mean' and 'bounds'.
        """
        boosters = {name: booster_of(raw, self.tree_parameters["nthread"]) for name, raw in state.items()}
        self.booster, self.bounds = boosters.get("mean"), boosters.get("bounds")

    def _predict(self, booster: xgboost.Booster, rows: np.ndarray, device: torch.device) -> np.ndarray:
        """Return the anomalies of rows, (N,), by compiled loops where they give the booster's own numbers."""
        there = _predict_there(booster, rows, device)
        if there is not None:
            return there
        loops = compiled_module("sgdsm.models.trees.compiled_trees")
        if loops is not None and (self._arrays is None or self._arrays[0] is not booster):
            self._arrays = booster, loops.CompiledTrees(booster) if loops.simple(booster) else None
        trees = None if loops is None or self._arrays is None else self._arrays[1]
        if trees is None:
            return np.asarray(booster.inplace_predict(rows))
        found: np.ndarray = trees.predict(rows, self.tree_parameters["nthread"] or torch.get_num_threads())
        return found

    def _in_units(self, rows: np.ndarray, batch: Batch) -> Tensor:
        """Return anomalies of the wanted values, (N,), as fields in the target's units, (B, 1, T, H, W)."""
        anomaly = torch.zeros_like(batch.sm)
        anomaly[batch.wanted] = torch.from_numpy(np.asarray(rows, np.float32)).to(anomaly.device)
        return self.in_units(anomaly, batch)

    def _fit(self) -> None:
        count = self.rows.count
        if not count:
            raise SgdsmError("no hidden value to learn from")
        log.info("fitting trees to %d rows of %d features", count, len(self.names))
        objectives = self._objectives()
        checked = RowReservoir(self.max_rows, self.seed, self.spill)
        fitting = Fitting(self.names, self.rounds, self.early_stopping_rounds)
        fit = fitting.fit_on_cluster if self.cluster else fitting.fit
        try:
            if self.early_stopping_rounds is not None:
                self._keep_validation(checked)
            boosters = fit(objectives, self.rows, checked)
        finally:
            self.rows.close()
            checked.close()
        for booster in boosters:
            booster.feature_names = None  # in filling rows are plain arrays without names
            # also after training on a GPU
            booster.set_param({"device": "cpu"})
        self.booster, self.bounds = boosters[0], (boosters[1] if self.quantiles is not None else None)
        self.log("rows", float(count))
        self.log("rounds", float(self.booster.num_boosted_rounds()))

    def _objectives(self) -> list[dict[str, Any]]:
        """Return the parameters of the booster of the mean and, if asked for, of that of the quantiles."""
        common = dict(self.tree_parameters)
        if self.device.type == "cuda" and not self.cluster:
            common["device"] = str(self.device)
        signs = {
            f: sign for name, sign in self.monotone.items() for f in features_of(name, ahead=False) if f in self.names
        }
        objectives = [common | ({"monotone_constraints": signs} if signs else {})]
        if self.quantiles is not None:
            # without constraints: XGBoost replaces the leaves by quantiles after growing, which breaks monotonicity
            objectives.append(common | {"objective": "reg:quantileerror", "quantile_alpha": list(self.quantiles)})
        return objectives

    def _keep_validation(self, rows: RowReservoir) -> None:
        """Add the rows of the validation split to a reservoir."""
        for index, batch in enumerate(self.trainer.datamodule.val_dataloader()):  # type: ignore[attr-defined]
            features, _, _ = to_rows(batch, batch.wanted, self.inputs)
            rows.add(features.numpy(), batch.truth[batch.wanted].numpy(), (self.epochs, index))


def _predict_there(booster: xgboost.Booster, rows: np.ndarray, device: torch.device) -> np.ndarray | None:
    """Return what a booster gives for rows, (N,) or (N, outputs), computed on a GPU; None: the device is none."""
    if device.type != "cuda":
        return None
    booster.set_param({"device": str(device)})
    # of a DMatrix XGBoost copies the rows to the device by itself
    found: np.ndarray = booster.predict(xgboost.DMatrix(rows))
    return found


class _DeleteRows(pl.Callback):
    """Deletes the rows, also those on disk, when training raises."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        rows = getattr(pl_module, "rows", None)
        if isinstance(rows, RowReservoir):
            rows.close()


class XGBoost(TreeFiller):
    """Gradient-boosted trees (Chen and Guestrin, KDD 2016).

    Args:
        gap_draws: See `TreeFiller`, as all arguments without a description.
        max_rows: See `TreeFiller`.
        rounds: Of boosting.
        learning_rate: XGBoost's eta.
        max_depth: Of a tree.
        min_child_weight: Smallest number of rows in a leaf.
        subsample: Share of the rows for each tree.
        column_share: Share of the features for each tree.
        early_stopping_rounds: See `TreeFiller`.
        quantiles: See `TreeFiller`.
        monotone: See `TreeFiller`.
        spill: See `TreeFiller`.
        cluster: See `TreeFiller`.
        threads: 0: all cores.
        seed: Of rows and trees.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(
        self,
        gap_draws: int = 10,
        max_rows: int = 400_000,
        rounds: int = 800,
        *,
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
        super().__init__(
            gap_draws=gap_draws,
            max_rows=max_rows,
            rounds=rounds,
            parameters=parameters,
            threads=threads,
            seed=seed,
            spill=spill,
            cluster=cluster,
            monotone=monotone,
            early_stopping_rounds=early_stopping_rounds,
            quantiles=quantiles,
        )


class RandomForest(TreeFiller):
    """A random forest as one round of `trees` parallel XGBoost trees.

    It differs from Breiman's forest (Machine Learning 45, 5, 2001): rows are drawn without replacement (63.2 % of
    them, the share of different rows in a bootstrap sample), splits are found on 256 quantiles of each feature,
    missing values have a branch of their own, and leaves may be shrunk.

    Args:
        gap_draws: See `TreeFiller`, as all arguments without a description.
        max_rows: See `TreeFiller`.
        trees: Number of trees.
        max_depth: Of a tree.
        min_child_weight: Smallest number of rows in a leaf.
        column_share: Share of the features tried at each split.
        monotone: See `TreeFiller`.
        spill: See `TreeFiller`.
        cluster: See `TreeFiller`.
        threads: 0: all cores.
        seed: Of rows and trees.
    """

    def __init__(
        self,
        gap_draws: int = 6,
        max_rows: int = 200_000,
        trees: int = 60,
        *,
        max_depth: int = 16,
        min_child_weight: float = 5.0,
        column_share: float = 0.33,
        monotone: Mapping[str, int] | None = None,
        spill: bool = False,
        cluster: bool = False,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        parameters = forest_parameters(trees, max_depth, min_child_weight, column_share)
        super().__init__(
            gap_draws=gap_draws,
            max_rows=max_rows,
            rounds=1,
            parameters=parameters,
            threads=threads,
            seed=seed,
            spill=spill,
            cluster=cluster,
            monotone=monotone,
        )
