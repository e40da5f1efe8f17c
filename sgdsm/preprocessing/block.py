"""Make the maps and the features of one block of days of a cube from product files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.axes import DAY
from sgdsm.core.days import whole_days
from sgdsm.preprocessing.features import (
    HELD,
    antecedent_precipitation,
    composites,
    diurnal_temperature_range,
    mean_of_two,
    n_day_mean,
)
from sgdsm.preprocessing.recipe import Feature, Recipe, Source
from sgdsm.preprocessing.regrid import Regridder
from sgdsm.preprocessing.screening import count, screen
from sgdsm.preprocessing.store import FIRST_STAGE, Store
from sgdsm.preprocessing.template import FLAG, known, method_of
from sgdsm.sources.readers.files import Files, OnBadFile
from sgdsm.sources.readers.names import Reason
from sgdsm.sources.readers.passes import mean_of_passes

MAPS, FEATURES = FIRST_STAGE, "features"
VALUES_AT_ONCE = 2**23  # of a product's maps, while they are put on the grid


@dataclass
class BlockBuilder:
    """Makes blocks of a cube; it can be sent to other processes.

    Args:
        recipe: How to make the cube.
        store: The store that the blocks are written to.
        files: Files of each source.
        regridders: For each source, from its grid to that of the cube.
        on_bad_file: 'fail', or 'skip' to leave the maps of a broken file empty.
    """

    recipe: Recipe
    store: Store
    files: dict[str, Files]
    regridders: dict[str, Regridder]
    on_bad_file: OnBadFile

    def build(self, stage: str, block: int) -> dict[str, Any]:
        """Make and store a block of a stage.

        Args:
            stage: MAPS or FEATURES.
            block: Number of the block.

        Returns:
            What to note of it, plain values.

        Raises:
            SourceError: When a file cannot be used.
        """
        return self.build_maps(block) if stage == MAPS else self.build_features(block)

    def build_maps(self, block: int) -> dict[str, Any]:
        """Make and store the maps of a block; return what to note of it."""
        days = self.recipe.days()[self.store.days(block)]
        bad: list[str] = []
        digests: dict[str, dict[str, str]] = {}
        values: dict[str, np.ndarray] = {}
        for name, source in self.recipe.with_role("target", "dynamic"):
            values |= self._maps(name, source, days, bad)
            digests[name] = self._digests(name, days)
        # screening comes last: its rules may name any variable of the cube
        target = self.recipe.target()[1]
        static = self.store.read([n for n in self.recipe.screening.names() if n not in values], slice(None))
        reason = self._screened(values[f"{target}_reason"], values[target], {**values, **static})
        for name in (target, f"{target}_uncertainty"):
            if name in values:
                values[name] = np.where(reason == Reason.OBSERVED, values[name], np.float32(np.nan))
        values[f"{target}_reason"] = reason
        self.store.write(block, values)
        return {"bad": bad, "files": digests, "reasons": count(reason), "inputs": self.inputs(block)}

    def inputs(self, block: int) -> dict[str, list[int]]:
        """Return size in bytes and modification time in ns of each file that a block reads, by 'source/file name'."""
        days = self.recipe.days()[self.store.days(block)]
        states = {}
        for name, source in self.recipe.with_role("target", "dynamic"):
            # a block depends on the composites on both sides of its days as well
            reach = ((source.interpolate_days or 0) + source.composite_days - 1) * DAY
            begin, end = days[0] - reach, days[-1] + reach + self.recipe.step_days * DAY
            for file in (*self.files[name].files, *self.files[name].also):
                if file.times.size and file.times[0] <= end and file.times[-1] >= begin and file.path.exists():
                    status = file.path.stat()
                    states[f"{name}/{file.path.name}"] = [status.st_size, status.st_mtime_ns]
        return states

    def changed(self) -> list[int]:
        """Return the finished blocks whose files have changed since: others were added, or were replaced."""
        blocks = []
        for block in self.store.blocks(len(self.recipe.days())):
            note = self.store.note(MAPS, block)
            before = {} if note is None else note["inputs"]
            if note is not None and any(before.get(name) != status for name, status in self.inputs(block).items()):
                blocks.append(block)
        return blocks

    def build_features(self, block: int) -> dict[str, Any]:
        """Make and store the features of a block from the stored maps; there is nothing to note."""
        days = self.store.days(block)
        values = {}
        for name, feature in self.recipe.features.items():
            # the maps before the block are in the store already: features are a second stage
            before = min(feature.halo_days, days.start)
            read = self.store.read(feature.names, slice(days.start - before, days.stop))
            values[name] = _feature(feature, read)[before:]
        self.store.write(block, values)
        return {}

    def _maps(self, name: str, source: Source, days: np.ndarray, bad: list[str]) -> dict[str, np.ndarray]:
        """Return maps of a source's variables on the grid; days that the source lacks are empty."""
        step = self.recipe.step_days
        # every day of a map of several days
        single = (days[:, None] + np.arange(step) * DAY).ravel()
        if source.interpolate_days is not None:
            maps = self._between(name, source, single, bad)
        else:
            # fewer days at once when the product's grid is finer than the cube's: memory stays bounded
            example = self.files[name].example()
            cells = int(np.prod([example.sizes[d] for d in example.dims if d != "time"])) * len(source.variables)
            count = max(1, VALUES_AT_ONCE // cells)
            parts = [self._days(name, source, single[k : k + count], bad) for k in range(0, len(single), count)]
            maps = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]} if len(parts) > 1 else parts[0]
        return {n: _several_days(m, step) for n, m in maps.items()} if step > 1 else maps

    def _days(self, name: str, source: Source, days: np.ndarray, bad: list[str]) -> dict[str, np.ndarray]:
        product = _daily(self.files[name], days, self.on_bad_file, bad)
        at = np.searchsorted(days, product["time"].values)
        expected = np.isin(days, whole_days(self.files[name].times))
        # days whose file exists but gave no map: 'skip' left it out
        skipped = np.setdiff1d(np.flatnonzero(expected), at)
        maps: dict[str, np.ndarray] = {}
        for variable, original in source.variables.items():
            if source.role == "target":
                maps |= self._target(name, variable, product, original, at, len(days))
                maps[f"{variable}_reason"][skipped] = Reason.FILE_SKIPPED
            else:
                maps[variable] = self._covariate(name, product, original, at, len(days))
        return maps

    def _between(self, name: str, source: Source, days: np.ndarray, bad: list[str]) -> dict[str, np.ndarray]:
        """Return composites on the grid, interpolated to the days, and a flag of how each value was made."""
        assert source.interpolate_days is not None
        files, middle = self.files[name], (source.composite_days - 1) // 2 * DAY
        reach, centres = source.interpolate_days * DAY, files.times + middle
        # composites beyond the days may be the neighbours that a day is interpolated between
        near = files.times[(centres >= days[0] - reach) & (centres <= days[-1] + reach)]
        parts = [files.load(near[k : k + 1], self.on_bad_file, bad) for k in range(len(near))]
        parts = [part for part in parts if part.sizes["time"]]
        maps: dict[str, np.ndarray] = {}
        for variable, original in source.variables.items():
            # no composite near enough: nothing to interpolate
            if not parts:
                maps[variable] = self._empty(len(days))
                maps[f"{variable}_{FLAG}"] = np.full(maps[variable].shape, HELD, np.uint8)
                continue
            coarse = np.concatenate([self._covariate(name, p, original, np.zeros(1, int), 1) for p in parts])
            times = np.concatenate([part["time"].values for part in parts]) + middle
            values, flags = composites(coarse, times, days, source.interpolate_days)
            maps |= {variable: values, f"{variable}_{FLAG}": flags}
        return maps

    def _covariate(self, name: str, product: xr.Dataset, original: str, at: np.ndarray, length: int) -> np.ndarray:
        array = product[original]
        if f"{original}_reason" in product:
            # another sensor's soil moisture: what its product rejects is missing
            array = array.where(product[f"{original}_reason"] == Reason.OBSERVED)
        method = method_of(self.recipe.sources[name], array)
        values, maps = known(array), self._empty(length)
        for k, day in enumerate(at):
            maps[day] = self.regridders[name].apply(values[k], method)
        return maps

    def _target(
        self, name: str, variable: str, product: xr.Dataset, original: str, at: np.ndarray, length: int
    ) -> dict[str, np.ndarray]:
        regridder, method = self.regridders[name], method_of(self.recipe.sources[name], product[original])
        sm, uncertainty, why = product[original].values, f"{original}_uncertainty", f"{original}_reason"
        given = product[why].values if why in product else np.where(np.isfinite(sm), Reason.OBSERVED, Reason.NO_DATA)
        good = given == Reason.OBSERVED
        maps = {variable: self._empty(length)}
        reason = np.full((length, *self.recipe.grid.shape), Reason.NO_DATA, np.uint8)
        if uncertainty in self.files[name].example():
            maps[f"{variable}_uncertainty"] = self._empty(length)
        for k, day in enumerate(at):
            maps[variable][day] = regridder.apply(np.where(good[k], sm[k], np.float32(np.nan)), method)
            if uncertainty in product:
                errors = np.where(good[k], product[uncertainty].values[k], np.float32(np.nan))
                maps[f"{variable}_uncertainty"][day] = regridder.apply(errors, method)
            reason[day] = _coarse_reason(regridder, given[k], maps[variable][day])
        return {**maps, f"{variable}_reason": reason}

    def _empty(self, length: int) -> np.ndarray:
        return np.full((length, *self.recipe.grid.shape), np.nan, np.float32)

    def _screened(self, reason: np.ndarray, values: np.ndarray, maps: dict[str, np.ndarray]) -> np.ndarray:
        rules = self.recipe.screening
        named = {
            "surface_temperature": rules.surface_temperature,
            "albedo": rules.albedo,
            "soil_temperature": rules.soil_temperature,
            "water_fraction": rules.water_fraction,
        }
        # rules that the recipe does not name are left out
        given: dict[str, Any] = {key: maps[name] for key, name in named.items() if name is not None}
        low, high = (-np.inf if rules.low is None else rules.low), (np.inf if rules.high is None else rules.high)
        return screen(reason, sm=values, low=low, high=high, **given)

    def _digests(self, name: str, days: np.ndarray) -> dict[str, str]:
        """Return the digests of the files whose first map used by the cube is in this block, noted once each."""
        files, source = self.files[name], self.recipe.sources[name]
        period, reach = self.recipe.days(), (source.interpolate_days or 0) * DAY
        end, last = (d[-1] + self.recipe.step_days * DAY for d in (days, period))
        digests = {}
        for file in (*files.files, *files.also):
            if not file.times.size or file.times[-1] < days[0] - reach or file.times[0] >= end + reach:
                continue
            used = file.times[(file.times >= period[0] - reach) & (file.times < last + reach)]
            # composites beyond the period belong to its first or its last block
            first = np.clip(used[:1], period[0], last - DAY)
            if ((first >= days[0]) & (first < end)).any():
                digests[file.path.name] = files.digest(file)
        return digests


def _daily(files: Files, days: np.ndarray, on_bad_file: OnBadFile, bad: list[str]) -> xr.Dataset:
    """Return the maps of the days; days that the product lacks are left out."""
    module = import_module(f"sgdsm.sources.products.{files.product}")
    if hasattr(module, "daily"):
        daily: xr.Dataset = module.daily(files, days, on_bad_file, bad)
        return daily
    wanted = files.times[np.isin(whole_days(files.times), whole_days(days))]
    maps = files.load(wanted, on_bad_file, bad)
    dates = whole_days(maps["time"].values)
    maps = maps.assign_coords(time=dates)
    if len(np.unique(dates)) == len(dates):
        return maps
    if "sm_reason" not in maps:
        return maps.groupby("time").mean(keep_attrs=True)
    # reasons have no mean, and rejected values are left out of the mean of soil moisture
    times = [[part.isel(time=[k]) for k in range(part.sizes["time"])] for _, part in maps.groupby("time")]
    return xr.concat([mean_of_passes(part) for part in times], "time")


def _coarse_reason(regridder: Regridder, reason: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return reasons on the grid: observed where there is a value, else the most frequent reason in the cell."""
    rejected = np.where(reason == Reason.OBSERVED, np.float32(np.nan), reason.astype(np.float32))
    most = np.nan_to_num(regridder.apply(rejected, "mode"), nan=float(Reason.NO_DATA)).astype(np.uint8)
    return np.where(np.isfinite(values), np.uint8(Reason.OBSERVED), most)


def _several_days(maps: np.ndarray, step: int) -> np.ndarray:
    """Return means of `step` days; for reasons and flags the smallest code, which is 'observed' if one day is."""
    if maps.dtype == np.uint8:
        # OBSERVED is the smallest code, so the minimum is OBSERVED if any day is
        return maps.reshape(-1, step, *maps.shape[1:]).min(1)
    return n_day_mean(maps, step)


def _feature(feature: Feature, maps: dict[str, np.ndarray]) -> np.ndarray:
    if feature.kind == "range":
        assert feature.minus is not None
        return diurnal_temperature_range(maps[feature.of], maps[feature.minus])
    if feature.kind == "mean":
        assert feature.also is not None
        return mean_of_two(maps[feature.of], maps[feature.also])
    return antecedent_precipitation(maps[feature.of], feature.days)
