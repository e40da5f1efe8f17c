"""Filled records of any shape, made without a filler, for the tests of the report."""

from __future__ import annotations

import numpy as np
import xarray as xr


def filled_record(
    days: int = 30,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
    dims: tuple[str, str] = ("lat", "lon"),
    seed: int = 0,
    *,
    step: int = 1,
    std: bool = True,
    all_gaps: bool = False,
    target: str = "sm",
    units: str = "m3 m-3",
) -> xr.Dataset:
    """Return what predict.py writes; a fifth of the cells is no land."""
    rng = np.random.default_rng(seed)
    rows = np.array([49.5, 48.5, 47.5, 46.5]) if rows is None else rows
    columns = np.arange(-3.0, 2.0) if columns is None else columns
    shape = (days, len(rows), len(columns))
    land = rng.random(shape[1:]) < 0.8
    land[0, 0] = True
    truth = np.where(land, 0.25 + 0.05 * rng.standard_normal(shape), np.nan).astype(np.float32)
    seen = (rng.random(shape) < (0 if all_gaps else 0.5)) & land
    estimate = np.where(seen, truth, truth + 0.02 * rng.standard_normal(shape)).astype(np.float32)
    names = ("time", *dims)
    about = {"units": units, "long_name": "soil moisture"}
    variables = {
        target: (names, np.where(seen, truth, np.nan).astype(np.float32), about),
        "sm_filled": (names, estimate, {**about, "observed_variable": target}),
        "sm_source": (names, np.where(land, np.where(seen, 1, 2), 0).astype(np.int8)),
        "gap_age": (names, np.where(land, np.where(seen, 0, 1), np.nan).astype(np.float32), {"units": "day"}),
        "sm_flag": (
            names,
            (rng.random(shape) < 0.1).astype(np.int8),
            {"flag_masks": np.array([1, 2], np.int8), "flag_meanings": "covariates_unlike_training old"},
        ),
        "land": (dims, land.astype(np.int8)),
    }
    if std:
        spread = np.where(seen, np.nan, 0.02 + 0.01 * rng.random(shape)).astype(np.float32)
        variables["sm_std"] = (names, spread, {"units": units})
        variables["sm_lower"] = (names, (estimate - 1.64 * spread).astype(np.float32), {"level": 0.9})
        variables["sm_upper"] = (names, (estimate + 1.64 * spread).astype(np.float32), {"level": 0.9})
    start = np.datetime64("2020-01-01", "ns")
    time = start + np.arange(days) * np.timedelta64(step, "D")
    coords = {"time": time, dims[0]: rows, dims[1]: columns}
    return xr.Dataset(variables, coords, {"title": "a record", "source": "no filler"})


def members_of(record: xr.Dataset, count: int = 12, seed: int = 2) -> xr.DataArray:
    """Return members of a record, as the command `members` writes them: observed values are the same in all."""
    rng, filled = np.random.default_rng(seed), record["sm_filled"]
    noise = (
        0.02 * rng.standard_normal((len(filled), count, *filled.shape[1:])) * (record["sm_source"].values == 2)[:, None]
    )
    dims = ("time", "member", *filled.dims[1:])
    values = (filled.values[:, None] + noise).astype(np.float32)
    return xr.DataArray(values, dims=dims, coords=filled.coords, name="sm_members")


def question(record: xr.Dataset, seed: int = 1) -> tuple[xr.Dataset, xr.Dataset]:
    """Return hidden and visible files, as a run is scored with: some filled values have a truth."""
    rng = np.random.default_rng(seed)
    filled = record["sm_filled"]
    hidden = (record["sm_source"].values == 2) & (rng.random(filled.shape) < 0.5)
    truth = filled.values + 0.01 * rng.standard_normal(filled.shape)
    target = filled.attrs["observed_variable"]
    files = xr.Dataset({"truth": (filled.dims, truth.astype(np.float32), filled.attrs)}, record.coords)
    files["swath"] = (filled.dims, hidden)
    return files.assign_attrs(target=target), record[[target]]
