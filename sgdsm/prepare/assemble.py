"""From product files to a cube, block of days by block of days: memory is a block, whatever the number of years."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.cube import log
from sgdsm.prepare.features import (
    HELD,
    antecedent_precipitation,
    composites,
    diurnal_temperature_range,
    n_day_mean,
)
from sgdsm.prepare.grid import Regridder
from sgdsm.prepare.quality import count, screen, table
from sgdsm.prepare.recipe import Feature, Recipe, Source
from sgdsm.prepare.store import Store
from sgdsm.prepare.template import FLAG, known, method_of, static_maps, template
from sgdsm.sources.files import Files, OnBadFile, SourceError
from sgdsm.sources.names import Reason
from sgdsm.sources.passes import mean_of_passes

VALUES_IN_A_BLOCK = 2**24
MAPS, FEATURES = "maps", "features"
DAY = np.timedelta64(1, "D")


@dataclass
class Kitchen:
    """What the making of a block needs: recipe, files and the ways onto the grid; it travels to other processes."""

    recipe: Recipe
    store: Store
    files: dict[str, Files]
    regridders: dict[str, Regridder]
    on_bad_file: OnBadFile

    def make(self, block: int) -> None:
        """Make and store the maps of a block."""
        days = self.recipe.days()[self.store.days(block)]
        bad: list[str] = []
        digests: dict[str, dict[str, str]] = {}
        values: dict[str, np.ndarray] = {}
        for name, source in self.recipe.with_role("target", "dynamic"):
            values |= self._maps(name, source, days, bad)
            digests[name] = self._digests(name, days)
        target = self.recipe.target()[1]
        static = self.store.read([n for n in self.recipe.screening.names() if n not in values], slice(None))
        reason = self._screened(values[f"{target}_reason"], values[target], {**values, **static})
        for name in (target, f"{target}_uncertainty"):
            if name in values:
                values[name] = np.where(reason == Reason.OBSERVED, values[name], np.float32(np.nan))
        values[f"{target}_reason"] = reason
        self.store.write(MAPS, block, values, {"bad": bad, "files": digests, "reasons": count(reason)})

    def make_features(self, block: int) -> None:
        """Make and store the features of a block from the maps that are stored."""
        days = self.store.days(block)
        values = {}
        for name, feature in self.recipe.features.items():
            before = min(feature.halo_days, days.start)
            names = [n for n in (feature.of, feature.minus) if n is not None]
            read = self.store.read(names, slice(days.start - before, days.stop))
            values[name] = _feature(feature, read)[before:]
        self.store.write(FEATURES, block, values, {})

    def _maps(self, name: str, source: Source, days: np.ndarray, bad: list[str]) -> dict[str, np.ndarray]:
        """Maps of a source's variables on the grid; days that it lacks are empty."""
        step = self.recipe.step_days
        single = (days[:, None] + np.arange(step) * DAY).ravel()
        found = _daily(self.files[name], single, source, self.on_bad_file, bad)
        at = np.searchsorted(single, found["time"].values)
        make = self._target if source.role == "target" else self._covariate
        maps: dict[str, np.ndarray] = {}
        for variable, original in source.variables.items():
            maps |= make(name, variable, found, original, at, len(single))
        return {n: _several_days(m, step) for n, m in maps.items()} if step > 1 else maps

    def _covariate(
        self, name: str, variable: str, found: xr.Dataset, original: str, at: np.ndarray, length: int
    ) -> dict[str, np.ndarray]:
        array = found[original]
        if f"{original}_reason" in found:
            # another sensor's soil moisture: what its product rejects is missing
            array = array.where(found[f"{original}_reason"] == Reason.OBSERVED)
        method = method_of(self.recipe.sources[name], array)
        values, maps = known(array), {variable: self._empty(length)}
        for k, day in enumerate(at):
            maps[variable][day] = self.regridders[name].apply(values[k], method)
        if f"{original}_{FLAG}" in found:
            flags = found[f"{original}_{FLAG}"].values.astype(np.float32)
            maps[f"{variable}_{FLAG}"] = np.full((length, *self.recipe.grid.shape), HELD, np.uint8)
            for k, day in enumerate(at):
                there = self.regridders[name].apply(flags[k], "nearest")
                maps[f"{variable}_{FLAG}"][day] = np.nan_to_num(there, nan=HELD)
        return maps

    def _target(
        self, name: str, variable: str, found: xr.Dataset, original: str, at: np.ndarray, length: int
    ) -> dict[str, np.ndarray]:
        regridder, method = self.regridders[name], method_of(self.recipe.sources[name], found[original])
        sm, extra, why = found[original].values, f"{original}_uncertainty", f"{original}_reason"
        given = found[why].values if why in found else np.where(np.isfinite(sm), Reason.OBSERVED, Reason.NO_DATA)
        good = given == Reason.OBSERVED
        maps = {variable: self._empty(length)}
        reason = np.full((length, *self.recipe.grid.shape), Reason.NO_DATA, np.uint8)
        if extra in self.files[name].example():
            maps[f"{variable}_uncertainty"] = self._empty(length)
        for k, day in enumerate(at):
            maps[variable][day] = regridder.apply(np.where(good[k], sm[k], np.float32(np.nan)), method)
            if extra in found:
                kept = np.where(good[k], found[extra].values[k], np.float32(np.nan))
                maps[f"{variable}_uncertainty"][day] = regridder.apply(kept, method)
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
        given: dict[str, Any] = {key: maps[name] for key, name in named.items() if name is not None}
        low, high = (-np.inf if rules.low is None else rules.low), (np.inf if rules.high is None else rules.high)
        return screen(reason, sm=values, low=low, high=high, **given)

    def _digests(self, name: str, days: np.ndarray) -> dict[str, str]:
        """Of the files whose first map that the cube uses falls in a block, so that each is noted once."""
        files, source = self.files[name], self.recipe.sources[name]
        period, reach = self.recipe.days(), (source.interpolate_days or 0) * DAY
        end, last = (d[-1] + self.recipe.step_days * DAY for d in (days, period))
        found = {}
        for file in (*files.files, *files.also):
            if not file.times.size or file.times[-1] < days[0] - reach or file.times[0] >= end + reach:
                continue
            used = file.times[(file.times >= period[0] - reach) & (file.times < last + reach)]
            # composites beyond the period belong to its first or its last block
            first = np.clip(used[:1], period[0], last - DAY)
            if ((first >= days[0]) & (first < end)).any():
                found[file.path.name] = files.digest(file)
        return found


def assemble(
    recipe: Recipe, output: Path, workers: int = 2, on_bad_file: OnBadFile = "fail", block_days: int | None = None
) -> str:
    """Make the cube of a recipe as a Zarr store; returns the table of what was rejected and why.

    An interrupted call goes on where it stopped, and a recipe with a later `end` appends. workers: processes.
    on_bad_file: 'skip' leaves the maps of a broken file empty and says so. block_days: maps in memory at once for each
    process, and in a chunk of the store; by default as many as hold 16 million values of a variable, at most 16.

    Raises SourceError naming a file that cannot be used; ConfigError where the output holds something else.
    """
    from dask.base import compute
    from dask.delayed import delayed
    from dask.diagnostics.progress import ProgressBar

    days = recipe.days()
    files = {name: source.files(recipe.folder) for name, source in recipe.sources.items()}
    _check_period(recipe, files)
    regridders = {name: Regridder(found.example(), recipe.grid) for name, found in files.items()}
    static = static_maps(recipe, files, regridders)
    most = max(1, min(16, VALUES_IN_A_BLOCK // int(np.prod(recipe.grid.shape))))
    store = Store.at(output, block_days, most)
    _check_still_there(
        [json.loads(note.read_text()) for note in store.again(recipe.plain(), _look_ahead(recipe))], files
    )
    store.begin(template(recipe, files, static, store.block_days), recipe.plain(), _look_ahead(recipe))
    kitchen = Kitchen(recipe, store, files, regridders, on_bad_file)
    how: dict[str, Any] = {"scheduler": "processes", "num_workers": workers, "chunksize": 1}
    for stage, make in ((MAPS, kitchen.make), (FEATURES, kitchen.make_features)):
        if stage == FEATURES and not recipe.features:
            continue
        blocks = store.blocks(len(days))
        left = [k for k in blocks if store.note(stage, k) is None]
        if len(left) < len(blocks):
            log.info("going on: %d of %d blocks of %s are there", len(blocks) - len(left), len(blocks), stage)
        watched = sys.stderr.isatty()
        with ProgressBar(minimum=2.0, dt=0.5, out=sys.stderr) if watched else nullcontext():
            compute(*[delayed(make)(k) for k in left], **(how if workers > 1 else {"scheduler": "synchronous"}))
    return _finish(kitchen, [store.note(MAPS, k) or {} for k in store.blocks(len(days))])


def _finish(kitchen: Kitchen, notes: list[dict[str, Any]]) -> str:
    """Land, provenance and the table of reasons, once all blocks are there."""
    recipe, store = kitchen.recipe, kitchen.store
    target = recipe.target()[1]
    if recipe.land is not None:
        land = store.read([recipe.land], slice(None))[recipe.land] > 0.5
    else:
        land = np.zeros(recipe.grid.shape, bool)
        for block in store.blocks(len(recipe.days())):
            land |= np.isfinite(store.read([target], store.days(block))[target]).any(0)
    counts: Counter[str] = Counter()
    for note in notes:
        counts.update(note["reasons"])
    bad = [line for note in notes for line in note["bad"]]
    provenance = {}
    for name, found in kitchen.files.items():
        digests = {k: v for note in notes for k, v in note["files"].get(name, {}).items()}
        if not digests:  # maps without time
            digests = {file.path.name: found.digest(file) for file in found.files}
        names = sorted(digests)
        provenance[name] = {
            "product": found.product,
            "version": str(found.example().attrs.get("product_version", "")),
            "files": f"{len(names)}: {names[0]} to {names[-1]}" if len(names) > 1 else names[0],
            "digest": hashlib.blake2b(json.dumps(digests, sort_keys=True).encode(), digest_size=16).hexdigest(),
        }
    rejected = table(dict(counts))
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attrs = {"history": f"{when} sgdsm {version('sgdsm')} prepare", "sources": json.dumps(provenance)}
    attrs |= {"rejected": rejected, "skipped_files": "\n".join(bad)}
    store.finish({"land": land.astype(np.int8)}, attrs)
    return "\n".join([rejected, *(f"skipped: {line}" for line in bad)])


def _check_period(recipe: Recipe, files: dict[str, Files]) -> None:
    days = recipe.days()
    end = days[-1] + recipe.step_days * DAY
    for name, source in recipe.with_role("target", "dynamic"):
        times = files[name].times
        if not times.size:
            raise SourceError(f"source '{name}': its maps have no time, expected role static")
        within = times[(times >= days[0]) & (times < end)]
        if source.interpolate_days is not None:
            continue
        if not within.size:
            told = f"{str(times[0])[:10]} to {str(times[-1])[:10]}"
            raise SourceError(f"source '{name}': its files hold {told}, nothing from {recipe.start} to {recipe.end}")
        all_days = np.arange(days[0], end, DAY)
        missing = all_days[~np.isin(all_days, within.astype("datetime64[D]").astype("datetime64[ns]"))]
        if missing.size:
            first = str(missing[0])[:10]
            log.info(
                "source '%s': no file for %d of %d days, the first is %s", name, missing.size, len(all_days), first
            )
    for name, _ in recipe.with_role("static"):
        if files[name].times.size:
            raise SourceError(f"source '{name}': its maps have times, expected role target or dynamic")


def _check_still_there(notes: list[dict[str, Any]], files: dict[str, Files]) -> None:
    """Raises SourceError where a block that is made anew would lose what came from a file that is gone."""
    for note in notes:
        skipped = "\n".join(note.get("bad", []))
        for name, digests in note.get("files", {}).items():
            there = {file.path.name for file in (*files[name].files, *files[name].also)}
            gone = sorted(file for file in digests if file not in there and file not in skipped)
            if gone:
                raise SourceError(
                    f"source '{name}': {gone[0]} is gone, and the last maps of the cube, which are made again, need it"
                )


def _daily(files: Files, days: np.ndarray, source: Source, on_bad_file: OnBadFile, bad: list[str]) -> xr.Dataset:
    """Maps of the days, those that the product lacks left out."""
    module = import_module(f"sgdsm.sources.{files.product}")
    if hasattr(module, "daily"):
        found: xr.Dataset = module.daily(files, days, on_bad_file, bad)
        return found
    if source.interpolate_days is not None:
        return _between(files, days, source, on_bad_file, bad)
    wanted = files.times[np.isin(files.times.astype("datetime64[D]"), days.astype("datetime64[D]"))]
    maps = files.load(wanted, on_bad_file, bad)
    dates = maps["time"].values.astype("datetime64[D]").astype("datetime64[ns]")
    maps = maps.assign_coords(time=dates)
    if len(np.unique(dates)) == len(dates):
        return maps
    if "sm_reason" not in maps:
        return maps.groupby("time").mean(keep_attrs=True)
    # reasons have no mean, and what is rejected takes no part in that of soil moisture
    times = [[part.isel(time=[k]) for k in range(part.sizes["time"])] for _, part in maps.groupby("time")]
    return xr.concat([mean_of_passes(part) for part in times], "time")


def _between(files: Files, days: np.ndarray, source: Source, on_bad_file: OnBadFile, bad: list[str]) -> xr.Dataset:
    """Composites interpolated to the days, and how each value came about."""
    assert source.interpolate_days is not None
    reach, middle = source.interpolate_days * DAY, (source.composite_days - 1) // 2 * DAY
    centres = files.times + middle
    maps = files.load(files.times[(centres >= days[0] - reach) & (centres <= days[-1] + reach)], on_bad_file, bad)
    axes = {d: maps[d] for d in maps.dims if d != "time"}
    if not maps.sizes["time"]:
        return xr.Dataset({n: maps[n] for n in source.variables.values()})
    found: dict[str, Any] = {}
    for name in source.variables.values():
        values, flags = composites(maps[name].values, maps["time"].values + middle, days, source.interpolate_days)
        found[name] = maps[name].dims, values, maps[name].attrs
        found[f"{name}_{FLAG}"] = maps[name].dims, flags
    return xr.Dataset(found, {**axes, "time": days})


def _coarse_reason(regridder: Regridder, reason: np.ndarray, values: np.ndarray) -> np.ndarray:
    """On the grid: observed where there is a value, else the most frequent reason below a cell."""
    rejected = np.where(reason == Reason.OBSERVED, np.float32(np.nan), reason.astype(np.float32))
    most = np.nan_to_num(regridder.apply(rejected, "mode"), nan=float(Reason.NO_DATA)).astype(np.uint8)
    return np.where(np.isfinite(values), np.uint8(Reason.OBSERVED), most)


def _several_days(maps: np.ndarray, step: int) -> np.ndarray:
    """Means of `step` days; of reasons and flags the least: observed where one day is."""
    if maps.dtype == np.uint8:
        return maps.reshape(-1, step, *maps.shape[1:]).min(1)
    return n_day_mean(maps, step)


def _feature(feature: Feature, maps: dict[str, np.ndarray]) -> np.ndarray:
    if feature.kind == "range":
        assert feature.minus is not None
        return diurnal_temperature_range(maps[feature.of], maps[feature.minus])
    return antecedent_precipitation(maps[feature.of], feature.days)


def _look_ahead(recipe: Recipe) -> int:
    """Maps at the end of a cube that may change when it is made longer: composites reach forward."""
    reach = [s.interpolate_days or 0 for s in recipe.sources.values()]
    return 1 + max(reach) // recipe.step_days
