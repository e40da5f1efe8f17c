"""Triple collocation of three files, cell by cell: common days, anomalies, subsets, and the file of the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from sgdsm.core.cube import space_dims, suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import COVARIATES, FILLED, OBSERVED, SM_FILLED, SM_SOURCE
from sgdsm.core.io.hdf5 import NetcdfWriter, with_places
from sgdsm.core.logging import log
from sgdsm.core.random import Stream
from sgdsm.core.units import same_units
from sgdsm.core.validation import check_values
from sgdsm.evaluation.blocks import moving_blocks
from sgdsm.evaluation.independence import SAME, dependences, equal_share, unsaid
from sgdsm.evaluation.moving_anomaly import LEAST_IN_WINDOW, moving_anomaly
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.triple_collocation import LEVEL, STATISTICS, STATUS, TOO_FEW, resampled, triple_collocation

RAW, ANOMALY = "raw", "anomaly"
ALL = "all"
CELLS_AT_ONCE = 2**21  # values of a data set at cells whose anomalies are computed at once
BYTES_A_VALUE = 24  # in memory of each value that is read: of three data sets, and the source of the filled one
SAMPLED_MAPS = 16  # of which equal values are counted
INDEPENDENCE = (
    "The errors of the three data sets must not depend on each other, nor on the truth: where those of two do, theirs "
    "are found too small. A product whose gaps were filled with a reanalysis is not independent of that reanalysis."
)


@dataclass(frozen=True)
class Product:
    """A variable of a file, and where its values lie on the common days and cells.

    Args:
        path: The file.
        about: Attributes of the file.
        variable: Values, (T, H, W) in the order of the file's own axes, lazy.
        source: `sm_source` of a filled file, on the same axes; None without.
        row_chunk: Rows of a chunk of the file.
    """

    path: str
    about: Mapping[str, Any]
    variable: xr.DataArray
    source: xr.DataArray | None
    row_chunk: int

    @classmethod
    def open(cls, path: str, name: str) -> Product:
        """Open a variable; CubeError where it is no series of maps."""
        file = ScoredFile.of(path)
        variable = file.variable(name)
        try:
            dims = ("time", *space_dims(variable))
            if set(variable.dims) != set(dims) or 0 in variable.shape:
                raise CubeError(f"variable '{name}' has {dict(variable.sizes)}, expected maps on days")
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error
        source = None
        if name == SM_FILLED and SM_SOURCE in file.dataset:
            source = file.variable(SM_SOURCE).transpose(*dims)
        chunks = dict(zip(file.dataset[name].dims, _chunk_sizes(file.dataset[name]), strict=True))
        # the axes of the file may have other names
        row_chunk = list(chunks.values())[variable.dims.index(dims[1])]
        return cls(str(path), dict(file.dataset.attrs), variable.transpose(*dims), source, row_chunk)


@dataclass(frozen=True)
class Triplet:
    """Three products on common days and cells.

    Args:
        products: By label.
        days: Regular axis from the first to the last common day, (T,) int64, days since 1970-01-01.
        places: Of each product: index of its days on the axis, of its rows and of its columns at those of the first.
        slots: Index on the axis of each common day.
    """

    products: dict[str, Product]
    days: np.ndarray
    slots: np.ndarray
    places: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    @property
    def grid(self) -> xr.DataArray:
        """A variable on the grid of the results."""
        return next(iter(self.products.values())).variable

    @property
    def step(self) -> int:
        """Days of a step of the axis."""
        return int(self.days[1] - self.days[0]) if len(self.days) > 1 else 1

    def read(self, rows: slice, kind: str = "variable", which: int | None = None) -> np.ndarray:
        """Return values (3, T, H, W) float32, NaN where missing; of one product alone (T, H, W)."""
        numbers = range(3) if which is None else [which]
        products = list(self.products.values())
        shape = (len(self.days), len(self.places[0][1][rows]), len(self.places[0][2]))
        values = np.full((len(numbers), *shape), np.nan, np.float32)
        for place, number in enumerate(numbers):
            variable = getattr(products[number], kind)
            times, lines, columns = self.places[number]
            part = _picked(variable, (times, lines[rows], columns))
            if kind == "variable":
                _check(products[number], part)
            values[place, self.slots] = part
        return values if which is None else values[0]


def open_triplet(paths: Sequence[str], names: Sequence[str]) -> Triplet:
    """Open three variables and find their common days and cells.

    Args:
        paths: Three files.
        names: Of the variable of each.

    Returns:
        The triplet on the grid of the first file. It is labelled by the names of the variables where these differ, else
        by those of the files too.

    Raises:
        CubeError: If a file cannot be read, or there is no common day, or a file lacks cells of the first.
    """
    opened = [Product.open(path, name) for path, name in zip(paths, names, strict=True)]
    days = [product.variable["time"].values.astype("datetime64[D]").astype(np.int64) for product in opened]
    for product, own in zip(opened, days, strict=True):
        if len(np.unique(own)) < len(own):
            raise CubeError(f"{product.path}: '{product.variable.name}' has a day twice; expected one map a day")
    common = np.intersect1d(np.intersect1d(days[0], days[1]), days[2])
    if not common.size:
        periods = ", ".join(
            f"{product.path} from {own.min().astype('datetime64[D]')} to {own.max().astype('datetime64[D]')}"
            for product, own in zip(opened, days, strict=True)
        )
        raise CubeError(f"the products have no day in common: {periods}")
    step = int(np.gcd.reduce(np.diff(common))) if common.size > 1 else 1
    axis = np.arange(common[0], common[-1] + 1, step)
    slots = (common - common[0]) // step
    first = opened[0].variable
    places = []
    for product, own in zip(opened, days, strict=True):
        index = [_index(product, dim, first) for dim in first.dims[1:]]
        places.append((np.searchsorted(own, common), index[0], index[1]))
    return Triplet(dict(zip(_labels(paths, names), opened, strict=True)), axis, slots, places)


def check_independent(triplet: Triplet, allowed: bool = False) -> list[str]:
    """Return why the errors of a triplet depend on each other.

    Args:
        triplet: What `open_triplet` returns.
        allowed: Return the reasons instead of raising an error.

    Raises:
        CubeError: With the first reason, unless allowed.
    """
    variables = {label: product.variable for label, product in triplet.products.items()}
    files = {label: product.about for label, product in triplet.products.items()}
    reasons = [*dependences(variables, files), *_shared_values(triplet)]
    if reasons and not allowed:
        raise CubeError(
            f"the triplet is not independent: {reasons[0]}: errors would be found too small; take another product, or "
            "say dependent=allowed"
        )
    for reason in reasons:
        log.warning("the triplet is not independent: %s: errors are found too small", reason)
    for label in unsaid(variables, files):
        log.warning(
            "'%s': the file does not say which covariates it was filled with, or of which products they are: make sure "
            "that the other two products are none of them", label,
        )  # fmt: skip
    return reasons


def reference_of(triplet: Triplet, name: str | None) -> int:
    """Return the number of the product whose units the results have; ConfigError where there is no such product."""
    labels = list(triplet.products)
    if name is None:
        return 0
    if name not in labels:
        raise ConfigError(f"reference={name}: expected one of the products{suggest(name, labels)}: {', '.join(labels)}")
    return labels.index(name)


@dataclass
class Collocated:
    """Results by cell: arrays (product, kind, subset, cells), and where the cells are.

    Args:
        kinds: RAW, and ANOMALY where anomalies were asked for.
        subsets: `all`, and `observed` and `filled` where a filled file tells them apart.
        cells: Flat number of each cell with enough common days, (cells,).
        values: Statistics and `status` of these cells.
        n: Days of each cell of the grid, (kind, subset, H, W) int32.
    """

    kinds: list[str]
    subsets: list[str]
    cells: np.ndarray
    values: dict[str, np.ndarray]
    n: np.ndarray

    def maps(self, name: str) -> np.ndarray:
        """Return the maps of a statistic or of `status`, (product, kind, subset, H, W)."""
        found = self.values[name]
        empty = TOO_FEW if name == "status" else np.nan
        whole = np.full((*found.shape[:3], self.n[0, 0].size), empty, found.dtype)
        whole[..., self.cells] = found
        return whole.reshape(*found.shape[:3], *self.n.shape[2:])


def collocate(
    triplet: Triplet,
    *,
    reference: int = 0,
    least: int = 200,
    anomaly_days: int | None = 35,
    block_days: int = 60,
    draws: int = 200,
    seed: int = 0,
    memory_gib: float = 1.0,
) -> Collocated:
    """Return the triple collocation of three files, cell by cell; bands of rows are read one after another.

    Args:
        triplet: The files.
        reference: Number of the product whose units the results have.
        least: Least number of days with three values.
        anomaly_days: Window of the moving mean that anomalies are differences from, days; None: raw values alone.
        block_days: Length of the blocks that are drawn for the intervals, days.
        draws: Number of resampled series; 0: no intervals.
        seed: Of the draws.
        memory_gib: Memory for a band, GiB.

    Returns:
        The results.

    Raises:
        CubeError: If no cell has enough days with three values, or a file holds an undeclared fill value.
    """
    kinds = [RAW] if anomaly_days is None else [RAW, ANOMALY]
    window = max(1, round((anomaly_days or 1) / triplet.step))
    sources = [k for k, product in enumerate(triplet.products.values()) if product.source is not None]
    subsets = [ALL, "observed", "filled"] if sources else [ALL]
    rng = np.random.default_rng([Stream.MOVING_BLOCKS, seed])
    block = max(1, block_days // triplet.step)
    # the same days for all cells: a draw of maps
    weights = resampled(moving_blocks(len(triplet.days), block, draws, rng)) if draws else None
    height, width = (len(index) for index in triplet.places[0][1:])
    n = np.zeros((len(kinds), len(subsets), height, width), np.int32)
    cells: list[np.ndarray] = []
    parts: list[dict[str, np.ndarray]] = []
    for rows in _bands(triplet, memory_gib):
        values = triplet.read(rows)
        values = values.reshape(3, len(triplet.days), -1)
        known = np.isfinite(values).all(0)
        masks = {ALL: known}
        if sources:
            source = triplet.read(rows, "source", sources[0]).reshape(known.shape)
            masks |= {
                name: known & (source == code) for name, code in zip(subsets[1:], (OBSERVED, FILLED), strict=True)
            }
        counts = np.stack([mask.sum(0) for mask in masks.values()])
        n[:, :, rows] = counts.reshape(len(subsets), -1, width)
        enough = np.flatnonzero(counts[0] >= max(2, least))
        some = max(1, CELLS_AT_ONCE // len(triplet.days))
        for start in range(0, len(enough), some):
            chosen = enough[start : start + some]
            inside = {name: mask[:, chosen] for name, mask in masks.items()}
            own = values[:, :, chosen]
            found = []
            for k, kind in enumerate(kinds):
                if kind == ANOMALY:
                    own = np.stack([moving_anomaly(one, window, min(window, LEAST_IN_WINDOW)) for one in own])
                one_kind = [
                    triple_collocation(np.where(mask, own, np.nan), reference, least, weights)
                    for mask in inside.values()
                ]
                n[k].reshape(len(subsets), -1)[:, rows.start * width + chosen] = [part["n"] for part in one_kind]
                found.append(one_kind)
            parts.append(_stacked(found))
            cells.append(rows.start * width + chosen)
    if not parts:
        raise CubeError(
            f"no cell has {max(2, least)} days on which all three products have a value, the most are {n[0, 0].max()} "
            f"of {len(triplet.slots)} common days: give a lower least="
        )
    joined = {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}
    return Collocated(kinds, subsets, np.concatenate(cells), joined, n)


def table(found: Collocated, labels: Sequence[str]) -> str:
    """Return the medians over cells as text, and how many cells have no estimate and why."""
    width = max(map(len, labels))
    lines = [f"{'':8} {'':8} {'':{width}}   cells  median N  error std  (quartiles)         SNR dB   fMSE  R to truth"]
    reasons = STATUS.split()
    for k, kind in enumerate(found.kinds):
        for s, subset in enumerate(found.subsets):
            for p, label in enumerate(labels):
                status = found.values["status"][p, k, s]
                good = status == 0
                line = f"{kind:8} {subset:8} {label:{width}} {good.sum():7}"
                if good.any():
                    days = found.n[k, s].ravel()[found.cells[good]]
                    error = np.quantile(found.values["error_std"][p, k, s, good], (0.25, 0.5, 0.75))
                    snr, fmse, r = (np.median(found.values[name][p, k, s, good]) for name in ("snr", "fmse", "r"))
                    line += (
                        f"  {np.median(days):8.0f}  {error[1]:9.4f}  ({error[0]:.4f} to {error[2]:.4f})  {snr:+7.2f}  "
                        f"{fmse:5.3f}  {r:10.3f}"
                    )
                left = [f"{(status == code).sum()} {reasons[code].replace('_', ' ')}" for code in (1, 2, 3)]
                without = [text for text in left if not text.startswith("0 ")]
                lines.append(line + (f"  without: {', '.join(without)}" if without else ""))
    some = int(((found.n[0, 0] > 0) & (found.n[0, 0] < found.n[0, 0].ravel()[found.cells].min())).sum())
    return "\n".join([*lines, f"cells with too few days of three values in all: {some}"])


def write(found: Collocated, triplet: Triplet, output: Path, reference: int, about: Mapping[str, Any]) -> None:
    """Write the results as a netCDF file, whole or not at all.

    Args:
        found: The results.
        triplet: The files that they are of.
        output: FILE.nc.
        reference: Number of the product whose units they have.
        about: Further attributes of the file: the settings.
    """
    labels = list(triplet.products)
    units = [str(product.variable.attrs.get("units", "1")) for product in triplet.products.values()]
    rows, columns = (str(dim) for dim in triplet.grid.dims[1:])
    dims = ("product", "kind", "subset", rows, columns)
    texts = {"product": labels, "kind": found.kinds, "subset": found.subsets}
    meaning = {
        "product": "data set: variable of a file",
        "kind": "values themselves, or their differences from a moving mean",
        "subset": "days that are used: all, or by where the values of the filled file come from",
    }
    coords: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        name: (np.array(words, h5py.string_dtype()), {"long_name": meaning[name]}) for name, words in texts.items()
    }
    coords |= {dim: _coordinate(triplet.grid, dim) for dim in (rows, columns)}
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {
        name: (dims, np.float32, attrs)
        for name, attrs in _attributes(found, labels[reference], units, reference).items()
    }
    status = {
        "long_name": "whether there is an estimate, and why not",
        "flag_values": np.arange(len(STATUS.split()), dtype=np.int8),
        "flag_meanings": STATUS,
        "comment": "where the error variance of a data set comes out negative, the others keep their estimates",
    }
    days = {"long_name": "days on which all three data sets have a value", "units": "1"}
    variables |= {"status": (dims, np.int8, status), "n": (dims[1:], np.int32, days)}
    fixed = {
        str(name): (tuple(map(str, c.dims)), c.values, dict(c.attrs))
        for name, c in triplet.grid.coords.items()
        if name not in triplet.grid.dims and set(c.dims) <= {rows, columns} and c.dtype.kind in "fiu"
    }
    mapping = triplet.grid.attrs.get("grid_mapping")
    if mapping in fixed:
        for _, _, attrs in variables.values():
            attrs["grid_mapping"] = mapping
    first, last = (str(np.datetime64(int(day), "D")) for day in (triplet.days[0], triplet.days[-1]))
    attributes = {
        "Conventions": "CF-1.10",
        "title": "random errors of three data sets by triple collocation",
        "history": f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')} sgdsm collocate",
        "source": "; ".join(f"{label}: {product.path}" for label, product in triplet.products.items()),
        "references": "Gruber et al., Int. J. Appl. Earth Obs. 45, 200, 2016; McColl et al., GRL 41, 6229, 2014",
        "comment": INDEPENDENCE,
        "reference": labels[reference],
        "time_coverage_start": first,
        "time_coverage_end": last,
        COVARIATES: json.dumps({n: p.about[COVARIATES] for n, p in triplet.products.items() if COVARIATES in p.about}),
        **about,
    }
    partial = Path(f"{output}.partial")
    writer = NetcdfWriter(partial, coords, with_places(variables, fixed), attributes)
    try:
        for name in (*found.values, "n"):
            maps = found.n if name == "n" else found.maps(name)
            writer.write(name, maps, (slice(None),) * maps.ndim)
        for name, (_, values, _) in fixed.items():
            writer.write(name, values, (slice(None),) * values.ndim)
    finally:
        writer.close()
    partial.replace(output)


def _attributes(found: Collocated, reference: str, units: Sequence[str], number: int) -> dict[str, dict[str, Any]]:
    own, shared = units[number], all(same_units(one, units[number]) for one in units)
    told = {
        "error_std": (own, f"standard deviation of the random error, scaled to {reference}"),
        "scaling": ("1", f"factor from the values of the data set to those of {reference}"),
        "snr": ("dB", "ratio of the variances of signal and error"),
        "fmse": ("1", "share of the error in the variance"),
        "r": ("1", "correlation of the data set with the truth"),
    }
    attributes: dict[str, dict[str, Any]] = {}
    for name in STATISTICS:
        unit, text = told[name]
        base: dict[str, Any] = {"_FillValue": np.float32(np.nan), "units": unit, "cell_methods": "time: variance"}
        if name == "scaling" and not shared:
            del base["units"]
            base["comment"] = f"in {own} for one unit of the data set: {', '.join(units)}"
        if name != "error_std":
            del base["cell_methods"]
        attributes[name] = {**base, "long_name": text, "ancillary_variables": "status n"}
        for end in ("lower", "upper"):
            if f"{name}_{end}" in found.values:
                words = f"{end} bound of the {100 * LEVEL:g} % interval (moving blocks): {text}"
                attributes[f"{name}_{end}"] = {**base, "long_name": words, "level": np.float32(LEVEL)}
                attributes[name]["ancillary_variables"] += f" {name}_{end}"
    return attributes


def _coordinate(grid: xr.DataArray, dim: str) -> tuple[np.ndarray, dict[str, Any]]:
    standard = {
        "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
        "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
        "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
        "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
    }[dim]
    kept = {k: v for k, v in grid[dim].attrs.items() if k in ("units", "long_name", "standard_name", "grid_mapping")}
    return grid[dim].values.astype(np.float64), {**standard, **kept}


def _stacked(found: list[list[dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Return arrays (product, kind, subset, cells) of what was found for each kind and subset."""
    stacked = {}
    for name in found[0][0]:
        if name != "n":
            values = np.stack([[part[name] for part in one_kind] for one_kind in found])
            stacked[name] = np.moveaxis(values, 2, 0).astype(np.int8 if name == "status" else np.float32)
    return stacked


def _bands(triplet: Triplet, memory_gib: float) -> list[slice]:
    """Return bands of rows that fit into the memory, of whole chunks of the files where these are not larger."""
    height, width = (len(index) for index in triplet.places[0][1:])
    rows = max(1, int(memory_gib * 2**30 / (BYTES_A_VALUE * len(triplet.days) * width)))
    chunk = max(product.row_chunk for product in triplet.products.values())
    rows = rows // chunk * chunk if rows >= chunk else rows
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def _chunk_sizes(variable: xr.DataArray) -> tuple[int, ...]:
    if variable.chunks is not None:
        return tuple(max(sizes) for sizes in variable.chunks)
    sizes = variable.encoding.get("chunksizes") or variable.encoding.get("chunks")
    return tuple(sizes) if sizes is not None and len(sizes) == variable.ndim else (1,) * variable.ndim


def _picked(variable: xr.DataArray, index: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the values at rows of indices, read as one box: files are slow at picking."""
    box = tuple(slice(int(one.min()), int(one.max()) + 1) for one in index)
    values = np.asarray(variable[box].values, np.float32)
    return values[np.ix_(*(one - part.start for one, part in zip(index, box, strict=True)))]


def _check(product: Product, values: np.ndarray) -> None:
    try:
        check_values(product.variable, values)
    except CubeError as error:
        text = str(error)
        raise error if product.path in text else CubeError(f"{product.path}: {text}") from error
    if np.isinf(values).any():
        raise CubeError(f"{product.path}: '{product.variable.name}' holds infinite values: make them NaN")


def _index(product: Product, dim: Any, like: xr.DataArray) -> np.ndarray:
    """Return the places of a product at the coordinates of another along a dimension."""
    if dim not in product.variable.dims:
        raise CubeError(
            f"{product.path}: '{product.variable.name}' has dims {product.variable.dims}, expected {like.dims}: the "
            "three files must be on one grid"
        )
    own = product.variable[dim]
    numbers = xr.DataArray(np.arange(own.size), {dim: own.values}, (dim,), name=product.variable.name)
    return aligned(numbers, like[dim], product.path).values


def _labels(paths: Sequence[str], names: Sequence[str]) -> list[str]:
    if len(set(names)) == len(names):
        return list(names)
    stems = [f"{Path(path.rstrip('/')).stem}:{name}" for path, name in zip(paths, names, strict=True)]
    return stems if len(set(stems)) == len(stems) else [f"{k}:{stem}" for k, stem in enumerate(stems, 1)]


def _shared_values(triplet: Triplet) -> list[str]:
    """Return which products hold the same values, by some maps of them."""
    labels = list(triplet.products)
    some = np.unique(np.linspace(0, len(triplet.slots) - 1, SAMPLED_MAPS).astype(int))
    maps = []
    for product, (times, rows, columns) in zip(triplet.products.values(), triplet.places, strict=True):
        # one map after the other: they lie far apart
        picked = [_picked(product.variable, (times[[day]], rows, columns)) for day in some]
        maps.append(np.concatenate(picked))
    found = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        share = equal_share(maps[i], maps[j])
        if share > SAME:
            found.append(f"'{labels[i]}' and '{labels[j]}' hold the same values at {share:.0%} of their common places")
    return found
