"""A folder of daily files of others as one lazy Dataset: ESA CCI's gap-filled layout, that of SGD-SM, or any other.

Facts: Preimesberger et al. (ESSD 17, 4305, 2025) for COMBINED_GAPFILLED; Zhang et al. (ESSD 13, 1385, 2021) for SGD-SM,
whose integers are whole percent and whose negative codes are missing values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from sgdsm.core.axes import SPACE_DIMS, axis_names
from sgdsm.core.coordinates import dates_of
from sgdsm.core.cube import suggest
from sgdsm.core.days import whole_days
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import decode
from sgdsm.core.io.safety import refuse_unsafe

SUFFIXES = (".nc", ".nc4")
DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12]\d|3[01])")


@dataclass(frozen=True)
class Layout:
    """What is known of the daily files of a product.

    Attributes:
        estimate: Variable of the filled values.
        units: Of that variable, where the file does not say them.
        rounding: Largest change of a value by rounding, in these units.
        negative_is_missing: True where negative codes are missing values.
    """

    estimate: str
    units: str
    rounding: float = 0.0
    negative_is_missing: bool = False


LAYOUTS = {
    "cci_gapfilled": Layout("sm", "m3 m-3"),
    "sgd_sm": Layout("reconstructed_sm_c1", "percent", 0.5, negative_is_missing=True),
}


def open_folder(folder: Path, estimate: str, layout: Layout | None = None) -> xr.Dataset:
    """Open the daily files of a folder (.nc, .nc4), lazily.

    The date of a file is the first one in its name (20150401, 2015-04-01), else its time.

    Args:
        folder: Of files of one grid, one map each.
        estimate: Variable of the filled values.
        layout: What is known of the files.

    Returns:
        `estimate`, (T, H, W), in the order of the dates.

    Raises:
        CubeError: If there are no such files, a file has no date, or cannot be read. A file of another grid raises
            it when its values are read.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise CubeError(f"{folder}: holds no file ending in {' or '.join(SUFFIXES)}")
    first = _map_of(paths[0], estimate)
    days = np.array([_day_of(path, estimate) for path in paths], "datetime64[ns]")
    order = np.argsort(days, kind="stable")
    once, count = np.unique(days, return_counts=True)
    if (count > 1).any():
        raise CubeError(f"{folder}: two files are of {str(once[count > 1][0])[:10]}: expected one a day")
    lazy = _DailyMaps([paths[k] for k in order], estimate, first, layout)
    attrs = {k: v for k, v in first.attrs.items() if k in ("units", "long_name", "standard_name")}
    if layout is not None:
        attrs.setdefault("units", layout.units)
    variable = xr.Variable(("time", *first.dims), indexing.LazilyIndexedArray(lazy), attrs, {"source": str(folder)})
    coords = {str(d): (d, first[d].values, first[d].attrs) for d in first.dims}
    return xr.Dataset({estimate: variable}, {"time": days[order], **coords})


class _DailyMaps(BackendArray):
    """Maps of files, read day by day.

    Args:
        paths: Of the files, in the order of the days.
        name: Of the variable.
        like: The map of one file, whose grid all must have.
        layout: What is known of the files.
    """

    def __init__(self, paths: list[Path], name: str, like: xr.DataArray, layout: Layout | None) -> None:
        self.paths, self.name, self.like, self.layout = paths, name, like, layout
        self.shape, self.dtype = (len(paths), *like.shape), np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        days = np.arange(self.shape[0])[key[0]]
        maps = [self._values(self.paths[day])[key[1]][..., key[2]] for day in np.atleast_1d(days)]
        return maps[0] if days.ndim == 0 else np.stack(maps)

    def _values(self, path: Path) -> np.ndarray:
        found = _map_of(path, self.name)
        if found.dims != self.like.dims or any(not np.array_equal(found[d], self.like[d]) for d in found.dims):
            raise CubeError(f"{path}: another grid than {self.paths[0].name}, expected one grid in a folder")
        if found.attrs.get("units") != self.like.attrs.get("units"):
            raise CubeError(
                f"{path}: '{self.name}' is in '{found.attrs.get('units')}', in {self.paths[0].name} in "
                f"'{self.like.attrs.get('units')}', expected one unit in a folder"
            )
        values = np.asarray(found.values, np.float32)
        if self.layout is not None and self.layout.negative_is_missing:
            values[~(values >= 0)] = np.nan
        return values


def _map_of(path: Path, name: str) -> xr.DataArray:
    """Return the map of a file, dims lat, lon or y, x; its values are read."""
    try:
        refuse_unsafe(path)
        with xr.open_dataset(path, decode_cf=False) as raw:
            if name not in raw:
                names = [str(n) for n in raw.data_vars]
                raise CubeError(f"no variable '{name}'{suggest(name, names)}; there are {', '.join(names) or 'none'}")
            # others may have attributes that cannot be decoded, as the times of ESA CCI
            found = decode(raw[[name]].load())[name]
        found = found.rename({d: new for d, new in axis_names(found.to_dataset(), found.dims).items() if d != new})
        found = found.squeeze([d for d, n in found.sizes.items() if n == 1 and d not in ("lat", "lon", "y", "x")])
        space = next((s for s in SPACE_DIMS if set(s) == set(found.dims)), None)
        if space is None:
            raise CubeError(f"'{name}' has dims {found.dims}, expected one map with lat and lon (or y and x)")
        lacking = [d for d in space if d not in found.coords]
        if lacking:
            raise CubeError(f"dimension '{lacking[0]}' has no coordinate values")
        return found.transpose(*space)
    except CubeError as error:
        raise error if str(error).startswith(str(path)) else CubeError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CubeError(f"{path}: cannot be read (truncated, or no such file): {reason}") from error


def _day_of(path: Path, name: str) -> np.datetime64:
    by_name = DATE.search(path.name)
    if by_name is not None:
        try:
            return np.datetime64("-".join(by_name.groups()), "ns")
        except ValueError as error:
            raise CubeError(f"{path}: {'-'.join(by_name.groups())} is no date") from error
    found = _map_of(path, name)
    if "time" not in found.coords:
        raise CubeError(f"{path}: no time, and no date in its name, like 20150401")
    try:
        day: np.datetime64 = whole_days(dates_of(found["time"])).reshape(-1)[0]
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from error
    return day
