"""From product files to a cube, block of days by block of days: memory is a block, whatever the number of years."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.cube import ConfigError, log
from sgdsm.prepare.features import antecedent_precipitation, composites, diurnal_temperature_range, running_mean, terrain
from sgdsm.prepare.grid import Regridder
from sgdsm.prepare.quality import count, screen, table
from sgdsm.prepare.recipe import Feature, Recipe, Source
from sgdsm.prepare.store import Store
from sgdsm.sources.files import Files, OnBadFile, SourceError
from sgdsm.sources.names import M3, REASON_ATTRS, Reason

VALUES_IN_A_BLOCK = 2**24
MAPS, FEATURES = "maps", "features"
TERRAIN = {"slope": "degree", "northness": "1", "eastness": "1", "tpi": "m"}
DAY = np.timedelta64(1, "D")


@dataclass
class Kitchen:
    """All that the making of one block needs: recipe, files and the ways onto the grid; it travels to other processes."""

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
        note = {"bad": bad, "files": digests, "reasons": {k: int(v) for k, v in count(reason).items()}}
        self.store.write(MAPS, block, values, note)

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
        step = self.recipe.step_days
        single = (days[:, None] + np.arange(step) * DAY).ravel()
        found = _daily(self.files[name], single, source, self.on_bad_file, bad)
        at = np.searchsorted(single, found["time"].values) if found.sizes["time"] else np.zeros(0, int)
        shape = (len(single), *self.recipe.grid.shape)
        regridder = self.regridders[name]
        maps: dict[str, np.ndarray] = {}
        for variable, original in source.variables.items():
            maps[variable] = np.full(shape, np.nan, np.float32)
            array = found[original]
            method = source.method or ("mode" if array.attrs.get("kind") == "class" else "mean")
            if source.role == "dynamic" and f"{original}_reason" in found:
                # another sensor's soil moisture: what its product rejects is missing
                array = array.where(found[f"{original}_reason"] == Reason.OBSERVED)
            if source.role != "target":
                for k, day in enumerate(at):
                    maps[variable][day] = regridder.apply(array.values[k], method)
                continue
            reason = np.full(shape, Reason.NO_DATA, np.uint8)
            good = found[f"{original}_reason"].values == Reason.OBSERVED if f"{original}_reason" in found else np.isfinite(array.values)
            extra = f"{original}_uncertainty"
            if extra in self.files[name].example():
                maps[f"{variable}_uncertainty"] = np.full(shape, np.nan, np.float32)
            for k, day in enumerate(at):
                maps[variable][day] = regridder.apply(np.where(good[k], array.values[k], np.float32(np.nan)), method)
                if extra in found:
                    kept = np.where(good[k], found[extra].values[k], np.float32(np.nan))
                    maps[f"{variable}_uncertainty"][day] = regridder.apply(kept, method)
                if f"{original}_reason" in found:
                    reason[day] = _coarse_reason(regridder, found[f"{original}_reason"].values[k], maps[variable][day])
                else:
                    reason[day] = np.where(np.isfinite(maps[variable][day]), Reason.OBSERVED, Reason.NO_DATA)
            maps[f"{variable}_reason"] = reason
        if step > 1:
            maps = {n: _several_days(n.endswith("_reason"), m, step) for n, m in maps.items()}
        return maps

    def _screened(self, reason: np.ndarray, values: np.ndarray, maps: dict[str, np.ndarray]) -> np.ndarray:
        rules = self.recipe.screening
        named = {
            "surface_temperature": rules.surface_temperature,
            "albedo": rules.albedo,
            "soil_temperature": rules.soil_temperature,
            "water_fraction": rules.water_fraction,
        }
        given = {key: maps[name] for key, name in named.items() if name is not None}
        return screen(reason, values, low=rules.low, high=rules.high, **given)

    def _digests(self, name: str, days: np.ndarray) -> dict[str, str]:
        """Of the files whose first map falls in a block, so that each is noted once."""
        files = self.files[name]
        end = days[-1] + self.recipe.step_days * DAY
        return {
            file.path.name: files.digest(file)
            for file in files.files
            if file.path.exists() and days[0] <= file.times[0] < end
        }


def assemble(
    recipe: Recipe, output: Path, workers: int = 2, on_bad_file: OnBadFile = "fail", block_days: int | None = None
) -> str:
    """Make the cube of a recipe as a Zarr store; returns the table of what was rejected and why.

    An interrupted call goes on where it stopped, and a recipe with a later `end` appends. workers: processes. on_bad_file:
    'skip' leaves the maps of a broken file empty and says so. block_days: maps in memory at once, by default as many as
    hold 16 million values a variable.

    Raises SourceError naming a file that cannot be used; ConfigError where the output holds something else.
    """
    import dask
    from dask.delayed import delayed
    from dask.diagnostics.progress import ProgressBar

    days = recipe.days()
    files = {name: source.files(recipe.folder) for name, source in recipe.sources.items()}
    _check_period(recipe, files)
    regridders = {name: Regridder(found.example(), recipe.grid) for name, found in files.items()}
    static = _static(recipe, files, regridders)
    if block_days is None:
        block_days = max(1, min(len(days), 16, VALUES_IN_A_BLOCK // int(np.prod(recipe.grid.shape))))
    store = Store(output, block_days)
    store.begin(_template(recipe, files, static, store), recipe.plain(), _look_ahead(recipe))
    kitchen = Kitchen(recipe, store, files, regridders, on_bad_file)
    for stage, make in ((MAPS, kitchen.make), (FEATURES, kitchen.make_features)):
        if stage == FEATURES and not recipe.features:
            continue
        left = [k for k in store.blocks(len(days)) if store.note(stage, k) is None]
        if len(left) < len(store.blocks(len(days))):
            log.info("going on: %d of %d blocks of %s are there", len(store.blocks(len(days))) - len(left), len(store.blocks(len(days))), stage)
        scheduler = {"scheduler": "processes", "num_workers": workers, "chunksize": 1} if workers > 1 else {"scheduler": "synchronous"}
        with ProgressBar(minimum=2.0):
            dask.compute(*[delayed(make)(block) for block in left], **scheduler)
    notes = [store.note(MAPS, k) or {} for k in store.blocks(len(days))]
    return _finish(kitchen, notes)


def _finish(kitchen: Kitchen, notes: list[dict[str, Any]]) -> str:
    recipe, store = kitchen.recipe, kitchen.store
    target = recipe.target()[1]
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
        if not digests:  # a map without time
            digests = {file.path.name: found.digest(file) for file in found.files}
        whole = hashlib.blake2b(json.dumps(digests, sort_keys=True).encode(), digest_size=16).hexdigest()
        names = sorted(digests)
        version = str(found.example().attrs.get("product_version", ""))
        provenance[name] = {"product": found.product, "version": version, "files": len(names), "first": names[:1], "last": names[-1:], "digest": whole}
    rejected = table(dict(counts))
    store.finish({"land": land.astype(np.int8)}, {"sources": json.dumps(provenance), "rejected": rejected, "skipped_files": "\n".join(bad)})
    return "\n".join([rejected, *(f"skipped: {line}" for line in bad)])


def _template(recipe: Recipe, files: dict[str, Files], static: dict[str, Any], store: Store) -> xr.Dataset:
    import dask.array as da

    coords = dict(recipe.grid.coords())
    days = recipe.days()
    dims = ("time", *recipe.grid.dims)
    chunks = (store.block_days, *recipe.grid.shape)
    variables: dict[str, Any] = {}

    def lazy(attrs: dict[str, Any], dtype: str = "float32", fill: float = np.nan) -> tuple[Any, ...]:
        return dims, da.full((len(days), *recipe.grid.shape), fill, dtype=dtype, chunks=chunks), attrs

    for name, source in recipe.with_role("target", "dynamic"):
        example = files[name].example()
        for variable, original in source.variables.items():
            attrs = _attrs(example, original, files[name].product, source.role)
            variables[variable] = lazy(attrs)
            if source.role == "target":
                variables[f"{variable}_reason"] = lazy(dict(REASON_ATTRS), "uint8", Reason.NO_DATA)
                if f"{original}_uncertainty" in example:
                    extra = _attrs(example, f"{original}_uncertainty", files[name].product, None)
                    variables[f"{variable}_uncertainty"] = lazy(extra)
    for name, feature in recipe.features.items():
        attrs = {k: v for k, v in variables[feature.of][2].items() if k == "units"}
        what = {"antecedent": f"mean of {feature.of} over the {feature.days} days before", "mean": f"mean of {feature.of} over {feature.days} days", "range": f"{feature.of} minus {feature.minus}"}
        variables[name] = lazy({**attrs, "long_name": what[feature.kind], "role": "dynamic"})
    for name, (values, attrs) in static.items():
        variables[name] = (recipe.grid.dims, values, {**attrs, "role": "static"})
    variables["land"] = (recipe.grid.dims, np.zeros(recipe.grid.shape, np.int8), {"role": "land", "long_name": "cells that were ever observed", "units": "1"})
    time = xr.Variable("time", days, {"standard_name": "time", "axis": "T"}, {"units": f"days since {str(days[0])[:10]}", "dtype": "int32"})
    if "crs" in coords:
        for name in list(variables):
            variables[name][2]["grid_mapping"] = "crs"
    attrs = {"Conventions": "CF-1.10", "title": "soil moisture and its covariates on one grid"}
    return xr.Dataset(variables, {"time": time, **coords}, attrs)


def _static(recipe: Recipe, files: dict[str, Files], regridders: dict[str, Regridder]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, source in recipe.with_role("static"):
        original = files[name].map()
        for variable, its in source.variables.items():
            if its not in original:
                raise ConfigError(f"source '{name}': no variable '{its}'; {files[name].product} has {', '.join(map(str, original.data_vars))}")
            array = original[its]
            method = source.method or ("mode" if array.attrs.get("kind") == "class" else "mean")
            found[variable] = regridders[name].apply(array.values, method), _attrs(original, its, files[name].product, None)
            if variable == recipe.terrain:
                # on its own fine grid: slopes of averaged elevations are too gentle
                rows, columns = regridders[name].latitudes, regridders[name].longitudes
                for key, values in terrain(array.values, rows, columns).items():
                    found[key] = regridders[name].apply(values, "mean"), {"units": TERRAIN[key], "long_name": key}
    return found


def _attrs(example: xr.Dataset, name: str, product: str, role: str | None) -> dict[str, Any]:
    if name not in example:
        raise ConfigError(f"product {product} has no variable '{name}', expected one of {', '.join(map(str, example.data_vars))}")
    kept = {k: v for k, v in example[name].attrs.items() if k in ("units", "standard_name", "long_name", "quantity")}
    kept.setdefault("units", "1")
    return {**kept, "source": product, **({"role": role} if role else {})}


def _check_period(recipe: Recipe, files: dict[str, Files]) -> None:
    days = recipe.days()
    end = days[-1] + recipe.step_days * DAY
    for name, source in recipe.with_role("target", "dynamic"):
        times = files[name].times
        within = times[(times >= days[0]) & (times < end)]
        if not within.size and source.interpolate_days is None:
            told = f"{str(times[0])[:10]} to {str(times[-1])[:10]}" if times.size else "no times"
            raise SourceError(f"source '{name}': its files hold {told}, nothing from {recipe.start} to {recipe.end}")
        missing = len(days) * recipe.step_days - len(np.unique(within.astype("datetime64[D]")))
        if missing > 0 and source.interpolate_days is None:
            log.info("source '%s': no file for %d of %d days", name, missing, len(days) * recipe.step_days)


def _daily(files: Files, days: np.ndarray, source: Source, on_bad_file: OnBadFile, bad: list[str]) -> xr.Dataset:
    """Maps of the days, those that the product lacks left out."""
    from importlib import import_module

    module = import_module(f"sgdsm.sources.{files.product}")
    if hasattr(module, "daily"):
        found: xr.Dataset = module.daily(files, days, on_bad_file, bad)
        return found
    if source.interpolate_days is not None:
        reach = source.interpolate_days * DAY
        near = files.times[(files.times >= days[0] - reach) & (files.times <= days[-1] + reach)]
        maps = files.load(near, on_bad_file, bad)
        filled = {n: (v.dims, composites(v.values, maps["time"].values, days, source.interpolate_days)[0], v.attrs) for n, v in maps.data_vars.items() if v.dtype.kind == "f"}
        return xr.Dataset(filled, {**{d: maps[d] for d in maps.dims if d != "time"}, "time": days})
    wanted = files.times[np.isin(files.times.astype("datetime64[D]"), days.astype("datetime64[D]"))]
    maps = files.load(wanted, on_bad_file, bad)
    dates = maps["time"].values.astype("datetime64[D]").astype("datetime64[ns]")
    if len(np.unique(dates)) == len(dates):
        return maps.assign_coords(time=dates)
    return maps.assign_coords(time=dates).groupby("time").mean(keep_attrs=True)


def _coarse_reason(regridder: Regridder, reason: np.ndarray, values: np.ndarray) -> np.ndarray:
    """On the grid: observed where there is a value, else the most frequent reason below a cell."""
    rejected = np.where(reason == Reason.OBSERVED, np.nan, reason.astype(np.float32))
    most = np.nan_to_num(regridder.apply(rejected, "mode"), nan=float(Reason.NO_DATA)).astype(np.uint8)
    return np.where(np.isfinite(values), np.uint8(Reason.OBSERVED), most)


def _several_days(is_reason: bool, maps: np.ndarray, step: int) -> np.ndarray:
    """Means of `step` days, or the least reason: observed where one day is."""
    blocks = maps.reshape(-1, step, *maps.shape[1:])
    if is_reason:
        return blocks.min(1)
    known = np.isfinite(blocks).sum(1)
    total = np.nansum(blocks, 1, dtype=np.float32)
    return np.where(known > 0, total / np.maximum(known, 1), np.float32(np.nan)).astype(np.float32)


def _feature(feature: Feature, maps: dict[str, np.ndarray]) -> np.ndarray:
    if feature.kind == "range":
        assert feature.minus is not None
        return diurnal_temperature_range(maps[feature.of], maps[feature.minus])
    make = antecedent_precipitation if feature.kind == "antecedent" else running_mean
    return make(maps[feature.of], feature.days)


def _look_ahead(recipe: Recipe) -> int:
    """Maps at the end of a cube that may change when it is made longer: composites reach forward, days are incomplete."""
    reach = [s.interpolate_days or 0 for s in recipe.sources.values()]
    return 1 + max(reach) // recipe.step_days
