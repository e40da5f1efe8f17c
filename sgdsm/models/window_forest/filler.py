"""Regression in adaptive windows of space and time with calibrated residuals (Liu et al., HESS 27, 577, 2023: LIU)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sgdsm.core.errors import ConfigError
from sgdsm.core.extras import need
from sgdsm.core.logging import log
from sgdsm.core.random import Stream
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import GapFiller
from sgdsm.models.window_forest.blocks import Blocks, Chunk, stages
from sgdsm.models.window_forest.covariates import Covariates
from sgdsm.models.window_forest.gwr import KERNEL, bisquare, coefficients, smoothed
from sgdsm.models.window_forest.region import RegionForest
from sgdsm.models.window_forest.regressors import (
    Regressor,
    Samples,
    comparison_model,
    literal_forest,
    shared_forest,
    standardised,
)
from sgdsm.models.window_forest.settings import check_sizes, own_presets, shapes_of, window_of

AT_ONCE = 400_000  # samples or matrix elements in memory together


class RegionRows(NamedTuple):
    """Random sample of the training rows of a region.

    Attributes:
        columns: Covariates, (N, F).
        values: In the regressed units, (N,).
        number: Random number of each row, by which the sample is chosen, (N,).
    """

    columns: Tensor
    values: Tensor
    number: Tensor


class WindowForest(GapFiller):
    """A random forest for every wanted value, fitted to the seen values around it.

    The window around a value grows until it contains enough samples. If even the largest one contains too few, the
    region's forest, which is fitted in training to the values of one mask sample, gives the estimate, and without that
    the climatology. The forest's out-of-bag residuals are interpolated by geographically weighted regression on
    position and covariates, smoothed, and added (Eqs. 5-6).

    LIU leaves details open, so this is inspired by it: days and cells grow by turns; the bandwidth of the GWR is half
    the width of the window, its distances are in cells and ignore days; windows with too few samples are used down to
    `fewest`; a covariate with gaps is regressed on with its mask instead of being left out; regression is on
    standardised columns with a small ridge.

    Args:
        windows: False: the region's forest gives all estimates (LIU's 'global regression').
        cells: Smallest and largest number of cells across the window, odd.
        days: Smallest and largest number of days on each side of the day.
        samples_per_covariate: Samples for each covariate at which a window stops growing.
        fewest: Smallest number of samples of a window.
        share_cells: Rows and columns of the blocks of neighbouring values that share one regression on the samples of
            all their windows; 1 and 1 day: a regression for each value, as in the paper, by scikit-learn's forest
            (slow).
        share_days: Days of these blocks.
        regressor: The forest, or a model that LIU compares it with in the same windows.
        preset: Climate region whose forest (Table 3, or one of `presets`) is used.
        presets: Forests of the user's own: name -> [trees, max_depth, min_samples_split, max_features].
        zone: Name of a static variable with codes of climate regions (strata).
        zones: Preset of each code; other codes have `preset`.
        trees: Replaces the preset's number of trees; None: the preset's, as for the next three.
        max_depth: Replaces the preset's.
        min_samples_split: Replaces the preset's.
        max_features: Replaces the preset's share of covariates tried at each split.
        covariates: Names of those to use; None: all.
        corrected: Names of those that are a model's soil moisture, to be rescaled to the satellite's mean and spread in
            each cell (Eq. 4); the whole record is then in memory.
        towards: {name: other}: a dynamic variable that is rescaled in the same way to another one, such as a model's
            temperature range to that of a satellite, in which clouds leave gaps.
        position: True to use day, row and column as covariates in windows (place and season in the region's forest);
            not in the paper. They are used in any case if there is no other covariate.
        anomalies: True to regress departures from the cell's climatology; not in the paper.
        calibrate: True to add the interpolated residuals.
        ridge: Of the GWR, in samples: strength of the shrinkage of slopes towards 0.
        max_rows: Largest number of values that a region's forest is fitted to.
        seed: Of all random numbers.

    Raises:
        ConfigError: If a setting is out of range.
    """

    epochs = 1
    trains_on_cores = True

    def __init__(
        self,
        windows: bool = True,
        cells: tuple[int, int] = (5, 7),
        days: tuple[int, int] = (1, 4),
        *,
        samples_per_covariate: int = 8,
        fewest: int = 10,
        share_cells: int = 3,
        share_days: int = 2,
        regressor: Literal["forest", "mlr", "svm", "ann", "xgboost"] = "forest",
        preset: str = "semi_arid",
        presets: dict[str, list[float]] | None = None,
        zone: str | None = None,
        zones: dict[int, str] | None = None,
        trees: int | None = 20,
        max_depth: int | None = None,
        min_samples_split: int | None = None,
        max_features: float | None = None,
        covariates: Sequence[str] | None = None,
        corrected: Sequence[str] = (),
        towards: dict[str, str] | None = None,
        position: bool = False,
        anomalies: bool = True,
        calibrate: bool = True,
        ridge: float = 10.0,
        max_rows: int = 20_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        check_sizes(cells, days, samples_per_covariate, fewest, (share_cells, share_days), max_rows, ridge)
        if not windows and (calibrate or regressor != "forest"):
            raise ConfigError(
                f"model.windows=false: expected calibrate=false and regressor=forest, found {calibrate}, {regressor}"
            )
        # found now, not after the covariates were read
        if regressor in ("svm", "ann"):
            need("sklearn", "classical", f"model.regressor={regressor}")
        elif regressor == "forest" and windows and share_cells == share_days == 1:
            need("sklearn", "classical", "model.share_cells=1 model.share_days=1")
        self.windows, self.block = windows, (share_days, share_cells, share_cells)
        self.grown = stages(cells, days)
        self.samples_per_covariate, self.fewest = samples_per_covariate, fewest
        self.regressor, self.literal = regressor, share_cells == share_days == 1
        self.presets = own_presets(presets or {})
        overrides = {"trees": trees, "max_depth": max_depth, "min_samples_split": min_samples_split}
        self.shapes = shapes_of(preset, zones or {}, {**overrides, "max_features": max_features}, self.presets)
        self.preset, self.zone, self.zones = preset, zone, dict(zones or {})
        self.chosen, self.corrected, self.towards = covariates, list(corrected), dict(towards or {})
        self.position, self.anomalies, self.calibrate, self.ridge = position, anomalies, calibrate, ridge
        self.max_rows, self.seed = max_rows, seed
        self.forests = nn.ModuleDict({name: RegionForest() for name in self.shapes})
        self.window = window_of(self.grown[-1], self.block, calibrate, bool(corrected or towards))

    def setup_inputs(self, inputs: Inputs) -> None:
        self.covariates = Covariates(inputs, self.chosen, self.corrected, self.towards)
        self.with_position = self.position or not self.covariates.count
        if self.zone is not None and self.zone not in inputs.static:
            maps = ", ".join(inputs.static) or "none, name them in data.static"
            raise ConfigError(f"model.zone={self.zone}: expected a map among the static variables, which are {maps}")

    def configure_optimizers(self) -> None:
        return None

    def on_train_start(self) -> None:
        self._rows: dict[str, RegionRows] = {}

    def training_step(self, batch: Batch, index: int) -> None:
        """Keep a random sample of the values of each region; fit the forests after the last batch.

        Args:
            batch: Windows whose wanted values are hidden ones.
            index: Number of the batch, given by Lightning.
        """
        rng = np.random.default_rng([Stream.FOREST_ROWS, self.seed, index])
        columns, truth = self._columns(batch, region=True), self._to_regress(batch.truth, batch)
        for name, inside in self._regions(batch):
            place = (batch.wanted[:, 0] & inside).nonzero(as_tuple=True)
            # a value is taken with a probability equal to its weight; numbers of taken ones are uniform again
            number = torch.from_numpy(rng.random(len(place[0]))).to(truth.device) / batch.weight[:, 0][place]
            taken = number < 1
            place, number = tuple(part[taken] for part in place), number[taken]
            new = RegionRows(columns.movedim(1, -1)[place], truth[place], number)
            old = self._rows.get(name, RegionRows(*(part[:0] for part in new)))
            rows = RegionRows(*(torch.cat(pair) for pair in zip(old, new, strict=True)))
            # reservoir sampling: the rows with the smallest random numbers
            first = rows.number.argsort()[: self.max_rows]
            self._rows[name] = RegionRows(*(part[first] for part in rows))
        if index + 1 == self.trainer.num_training_batches:
            self._fit()

    def _fit(self) -> None:
        """Fit the forest of each region with enough values."""
        for name, rows in self._rows.items():
            if len(rows.values) >= self.fewest:
                log.info("fitting the forest of region '%s' to %d rows of %d columns", name, *rows.columns.shape)
                forest = self.forests[name]
                assert isinstance(forest, RegionForest)
                forest.fit(rows.columns, rows.values, self.shapes[name], self.seed)
        self._rows = {}

    def fill(self, batch: Batch) -> Filled:
        wanted = batch.wanted[:, 0]
        estimate = self._by_region(batch)
        if self.windows and wanted.any():
            columns, values = self._columns(batch), self._to_regress(batch.sm, batch)
            for b in range(len(wanted)):
                if wanted[b].any():
                    one = Batch(*(field[b : b + 1] for field in batch))
                    with torch.autocast(
                        batch.sm.device.type, enabled=False
                    ):  # products count samples: exactly only in float32
                        estimate[b] = self._in_windows(one, columns[b], values[b], estimate[b])
        return Filled(self._from_regressed(estimate, batch)[:, None])

    def _in_windows(self, batch: Batch, columns: Tensor, values: Tensor, estimate: Tensor) -> Tensor:
        """Return the estimates of one window, (T, H, W), those of the region's forest where there are too few samples.

        Args:
            batch: One window.
            columns: Covariates, (F, T, H, W).
            values: In the units that are regressed, (T, H, W).
            estimate: Of the region's forest, (T, H, W).
        """
        wanted = batch.wanted[0, 0]
        if self.calibrate:  # the smoothing filter needs estimates around the wanted values too
            near = nn.functional.max_pool2d(wanted.float()[:, None], KERNEL, 1, KERNEL // 2)[:, 0] > 0
            wanted = near & batch.land[0, 0]
        days, rows, width = wanted.shape
        blocks = Blocks((days, rows, width), self.block, self.grown)
        table, y, seen = (blocks.padded(part) for part in (columns, values, batch.seen[0, 0]))
        table = table.T.contiguous()
        result, residual = (torch.full_like(y, torch.nan) for _ in range(2))
        enough = self.samples_per_covariate * max(1, self.covariates.count)
        for name, inside in self._regions(batch):
            regress = self._regressor(name, blocks)
            # limits the memory of trees, and of the normal equations
            most = AT_ONCE // max(self.shapes[name].trees, 2 * table.shape[1])
            for chunk in blocks.chunks(seen, blocks.padded(wanted & inside[0]), enough, self.fewest, most):
                samples = self._samples(chunk, table, y)
                of_targets, of_samples = regress(samples)
                places = chunk.targets[chunk.target_mask]
                result[places] = of_targets[chunk.target_mask]
                if self.calibrate:
                    residual[places] = self._residuals(chunk, samples, samples.y - of_samples)[chunk.target_mask]
        result, residual = blocks.cropped(result), blocks.cropped(residual)
        known = result.isfinite()
        if self.calibrate:
            result = result + smoothed(residual.nan_to_num(), known & residual.isfinite())
        return torch.where(known, result, estimate)

    def _regressor(self, name: str, blocks: Blocks) -> Regressor:
        """Return the regression for the windows of a region."""
        if self.regressor != "forest":
            return comparison_model(self.regressor, self.seed)
        if self.literal:
            return partial(literal_forest, shape=self.shapes[name], seed=self.seed)
        return partial(shared_forest, shape=self.shapes[name], slots=len(blocks.offsets), seed=self.seed)

    def _samples(self, chunk: Chunk, table: Tensor, y: Tensor) -> Samples:
        """Return covariates and values of the samples and targets of a chunk."""
        x, target = table[chunk.samples], table[chunk.targets]
        if self.with_position:
            x, target = torch.cat([x, chunk.sample_at], 2), torch.cat([target, chunk.target_at], 2)
        return Samples(x, y[chunk.samples], chunk.sample_mask, target, chunk.target_mask, chunk.slot)

    def _residuals(self, chunk: Chunk, samples: Samples, residual: Tensor) -> Tensor:
        """Return the residuals at the targets by GWR on row, column and covariates, (G, m)."""
        covariates = samples.x.shape[2] - (3 if self.with_position else 0)
        x, target = (
            torch.cat([values[..., :covariates], at[..., 1:]], 2)
            for values, at in ((samples.x, chunk.sample_at), (samples.target, chunk.target_at))
        )
        # covariates are standardised again: residuals use row and column, but no days
        z, zt = standardised(samples._replace(x=x, target=target))
        known = samples.mask & residual.isfinite()
        distance = torch.cdist(chunk.target_at[..., 1:].double(), chunk.sample_at[..., 1:].double())
        weights = bisquare(distance, chunk.side.double()[:, None, None] + 0.5) * known[:, None]
        one, one_t = torch.ones_like(z[..., :1]), torch.ones_like(zt[..., :1])
        y = torch.where(known, residual, 0.0).double()
        z, zt = torch.cat([one, z], 2), torch.cat([one_t, zt], 2)
        at_once = max(1, AT_ONCE // (z.shape[1] * z.shape[2] ** 2))
        parts = zip(z.split(at_once), y.split(at_once), weights.split(at_once), strict=True)
        slopes = torch.cat([coefficients(a, b, w, self.ridge) for a, b, w in parts])
        return (slopes * zt).sum(2).float()

    def _by_region(self, batch: Batch) -> Tensor:
        """Return the estimates of the regions' forests, else the climatology, (B, T, H, W), in the regressed units."""
        estimate = self._to_regress(torch.zeros_like(batch.sm), batch)
        columns = self._columns(batch, region=True)
        for name, inside in self._regions(batch):
            place = (batch.wanted[:, 0] & inside).nonzero(as_tuple=True)
            forest = self.forests[name]
            assert isinstance(forest, RegionForest)
            if len(place[0]) and forest.trees is not None:
                estimate[place] = forest(columns.movedim(1, -1)[place])
        return estimate

    def _columns(self, batch: Batch, region: bool = False) -> Tensor:
        """Return the covariates, (B, F, T, H, W); for a region's forest perhaps with place and season."""
        # soil moisture itself, also if anomalies are regressed: Eq. 4 compares soil moisture
        columns = self.covariates.of(batch, self._standard(batch.sm, batch))
        if not (region and self.with_position):
            return columns
        size = columns.shape[2:]
        place = batch.place[:, :, None].expand(-1, -1, *size)
        season = batch.season[..., None, None].expand(-1, -1, *size)
        return torch.cat([columns, place, season], 1)

    def _regions(self, batch: Batch) -> list[tuple[str, Tensor]]:
        """Return the names of presets, and the cells of each, (B, 1, H, W) bool."""
        shape = batch.static[:, :1].shape
        if self.zone is None:
            return [(self.preset, torch.ones(shape, dtype=torch.bool, device=batch.static.device))]
        scaler = self.inputs.scalers[self.zone]
        # back from scaled values to whole numbers
        codes = batch.static[:, self.inputs.static.index(self.zone)][:, None] * scaler.scale + scaler.offset
        codes = codes.round().long()
        # codes without a preset use the default one
        index = torch.full_like(codes, list(self.shapes).index(self.preset))
        for code, name in self.zones.items():
            index[codes == code] = list(self.shapes).index(name)
        return [(name, index == k) for k, name in enumerate(self.shapes)]

    def _standard(self, anomaly: Tensor, batch: Batch) -> Tensor:
        """Return standardised soil moisture, (B, T, H, W), from anomalies, (B, 1, T, H, W)."""
        values = (self.in_units(anomaly, batch) - self.inputs.mean) / self.inputs.anomaly_scale
        return values[:, 0]

    def _to_regress(self, anomaly: Tensor, batch: Batch) -> Tensor:
        """Return values in the regressed units (mean near 0, spread near 1), (B, T, H, W), from anomalies."""
        return anomaly[:, 0].clone() if self.anomalies else self._standard(anomaly, batch)

    def _from_regressed(self, values: Tensor, batch: Batch) -> Tensor:
        """Return values in the target's units, (B, T, H, W), from the regressed units."""
        if self.anomalies:
            return self.in_units(values[:, None], batch)[:, 0]
        return self.inputs.mean + self.inputs.anomaly_scale * values
