"""Tables: rows of a target and its predictors, as a CSV or Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import local_only
from sgdsm.core.validation import read_values

SUFFIXES = (".csv", ".parquet")


@checked
def read_table(
    path: str,
    target: str,
    predictors: Sequence[str],
    units: Mapping[str, str | int],
    *,
    time: str = "date",
    flag: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read a table whose rows hold a target and predictors of one place and day.

    Args:
        path: CSV or Parquet file.
        target: Column of the target.
        predictors: Their columns.
        units: Of target and predictors, by column: a table does not tell them.
        time: Column of the dates.
        flag: Columns of classes that scores are told by.
        sources: Where predictors come from, by column, as in the attribute `source` of files.

    Returns:
        Dataset with the dim `row`, its variables with roles, units and sources as in a cube, and the coordinate `time`.

    Raises:
        CubeError: The file is missing, or a column is missing or holds what it should not.
        ConfigError: Units of a column are not given.
    """
    named = [target, *predictors, *flag]
    for name in (target, *predictors):
        if name not in units:
            raise ConfigError(f"data.units: no units of '{name}': write data.units={{{name}: ..}}, or 1 for a number")
        if named.count(name) > 1:
            raise ConfigError(f"data.predictors={list(predictors)}: '{name}' is named twice among target and others")
    if not predictors:
        raise ConfigError("data.predictors=[]: expected at least one column")
    frame = read_columns(Path(path), [*named, time])
    arrays = {}
    for name in named:
        try:
            arrays[name] = ("row", np.asarray(frame[name].to_numpy(), np.float32))
        except (TypeError, ValueError):
            raise CubeError(f"{path}: column '{name}' holds text, expected numbers") from None
    table = xr.Dataset(arrays, {"time": ("row", days_of(frame[time], time, path))})
    for name in named:
        role = "target" if name == target else "dynamic" if name in predictors else "flag"
        table[name].attrs = {"role": role, "units": str(units.get(name, 1)), "source": (sources or {}).get(name, "")}
    for name in (target, *predictors):
        table[name].encoding["source"] = path
        try:
            read_values(table[name])
        except CubeError as error:
            cure = "leave missing cells empty, and give units of the numbers as they are in data.units"
            raise CubeError(f"{error} (a table has no attributes: {cure})") from error
    return table


def read_columns(path: Path, names: Sequence[str], key: str = "data.path") -> Any:
    """Return a CSV or Parquet file as a pandas DataFrame.

    Args:
        path: The file.
        names: Columns that it must have.
        key: Setting that names the file, for messages.

    Raises:
        CubeError: There is no such file, it is no table, or lacks a column.
    """
    import pandas as pd

    local_only(key, str(path))
    if path.suffix not in SUFFIXES:
        raise CubeError(f"{path}: expected a table that ends in {' or '.join(SUFFIXES)}; data=netcdf opens cubes")
    if not path.is_file():
        raise CubeError(f"{path}: no such file")
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from None
    except (ValueError, OSError) as error:  # those of pandas and of pyarrow are ValueErrors
        raise CubeError(f"{path}: not a table: {' '.join(str(error).split())[:150]}") from error
    known = [str(column) for column in frame.columns]
    for name in names:
        if name not in known:
            raise CubeError(f"{path}: no column '{name}'{suggest(name, known)}; there are {', '.join(known)}")
    if not len(frame):
        raise CubeError(f"{path}: the table has no rows")
    return frame


def days_of(column: Any, name: str, path: str) -> np.ndarray:
    """Return the days of a column of dates, datetime64[ns], (N,).

    Args:
        column: A pandas Series.
        name: Of the column, for messages.
        path: Of the file, for messages.

    Raises:
        CubeError: It holds something that is no date.
    """
    import pandas as pd

    if column.dtype.kind in "iuf" and len(str(int(column.iloc[0] if column.iloc[0] == column.iloc[0] else 0))) == 8:
        column = column.astype("Int64").astype(str)  # 20190131
    elif column.dtype.kind in "iufb":
        raise CubeError(f"{path}: column '{name}' holds numbers, expected dates like 2019-01-31")
    try:
        days = pd.to_datetime(column, format="ISO8601").to_numpy().astype("datetime64[D]").astype("datetime64[ns]")
    except (ValueError, TypeError, OverflowError) as error:
        raise CubeError(f"{path}: column '{name}': {str(error).splitlines()[0][:80]}: expected 2019-01-31") from error
    if np.isnat(days).any():
        raise CubeError(f"{path}: column '{name}' lacks a date in row {int(np.flatnonzero(np.isnat(days))[0]) + 1}")
    found: np.ndarray = days
    return found
