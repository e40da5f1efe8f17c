"""The cube: an `xarray.Dataset` with agreed dims, roles and units, and the check that a Dataset is one.

A cube has dims ``(time, lat, lon)`` or ``(time, y, x)``. Each variable that takes part carries its role in the
attribute ``role``: exactly one ``target`` (NaN = not observed), at most one ``uncertainty`` of it (a standard
deviation), any number of ``dynamic`` and ``static`` covariates and ``flag`` variables, and one boolean ``land`` map.
Code selects variables by role, never by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.axes import DAY, SPACE_DIMS, with_standard_axes
from sgdsm.core.coordinates import check_axes, check_text
from sgdsm.core.days import whole_days
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import as_decoded, is_zero, only_valid, within
from sgdsm.core.io.stores import OPENED_HERE, is_remote
from sgdsm.core.io.stores import open_dataset as open_dataset
from sgdsm.core.logging import log
from sgdsm.core.units import PER_DAY, per_day, same_units

ROLES = ("target", "uncertainty", "dynamic", "static", "flag", "land")
NO_UNCERTAINTY = "none"  # said of the name of one
FEW_MAPS = 30  # in fewer, many cells on land may never be observed
UNITS = ("units", "units_missing")  # attributes; the second marks units that a file does not give
SAMPLED = 2**20  # values that are read where all would be too many


@checked
def open_cube(
    path: str,
    target: str,
    dynamic: Sequence[str] = (),
    static: Sequence[str] = (),
    flag: Sequence[str] = (),
    land: str | None = None,
    *,
    precipitation: str | None = None,
    missing_days: Literal["refuse", "insert"] | None = None,
    circular_longitude: bool | None = None,
    repeat_cycle_days: int | None = None,
    uncertainty: str | None = None,
    if_absent: str | None = None,
    valid_range: Sequence[float] | None = None,
    group: str | None = None,
    zero_is_value: bool = False,
) -> xr.Dataset:
    """Open a file of the user's own as a cube.

    A name of a variable may be a path in the file, like `Geophysical_Data/sm_surface`.

    Args:
        path: File or store, or URL of a Zarr store; see `sgdsm.core.io.stores.open_dataset`.
        target: See `as_cube`, as for the arguments that are not named here.
        dynamic: See `as_cube`.
        static: See `as_cube`.
        flag: See `as_cube`.
        land: See `as_cube`.
        precipitation: See `as_cube`.
        missing_days: See `as_cube`.
        circular_longitude: See `as_cube`.
        repeat_cycle_days: See `as_cube`.
        uncertainty: See `as_cube`.
        if_absent: Text of the error if there is no such file.
        valid_range: See `as_cube`.
        group: Group of the file whose variables are taken.
        zero_is_value: Keep zeros of a Zarr v2 store with the fill value 0, which xarray reads as missing.

    Returns:
        The cube; its values are not read yet.

    Raises:
        CubeError: The file cannot be opened, or is no cube; names the file, the variable, what was found and what was
            expected.
    """
    if if_absent and not is_remote(path) and not Path(path).exists():
        raise CubeError(f"{path}: no such file: {if_absent}")
    names = [target, *dynamic, *static, *flag, *(n for n in (land, precipitation, uncertainty) if n)]
    dataset = open_dataset(path, "/" if group is None and any("/" in n for n in names) else group, zero_is_value)
    inside = {n: inside_of(dataset, n) for n in names}

    def all_inside(given: Sequence[str]) -> list[str]:
        return [inside[name] for name in given]

    def one_inside(name: str | None) -> str | None:
        return None if name is None else inside[name]

    try:
        return as_cube(
            dataset,
            inside[target],
            all_inside(dynamic),
            all_inside(static),
            all_inside(flag),
            one_inside(land),
            precipitation=one_inside(precipitation),
            missing_days=missing_days,
            circular_longitude=circular_longitude,
            repeat_cycle_days=repeat_cycle_days,
            uncertainty=one_inside(uncertainty),
            valid_range=valid_range,
        )
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from error


def inside_of(dataset: xr.Dataset, name: str) -> str:
    """Return the name in a Dataset of a variable that is given by its path in a file of groups.

    Args:
        dataset: What `open_dataset` returns.
        name: Path of the variable in the file, or its name, which is returned as it is.
    """
    path = name.strip("/")
    inside = (str(n) for n, v in dataset.variables.items() if v.encoding.get("inside") == path and "/" in path)
    return name if name in dataset.variables else next(inside, name)


@checked
def as_cube(
    dataset: xr.Dataset,
    target: str,
    dynamic: Sequence[str] = (),
    static: Sequence[str] = (),
    flag: Sequence[str] = (),
    land: str | None = None,
    *,
    precipitation: str | None = None,
    missing_days: Literal["refuse", "insert"] | None = None,
    circular_longitude: bool | None = None,
    repeat_cycle_days: int | None = None,
    uncertainty: str | None = None,
    valid_range: Sequence[float] | None = None,
) -> xr.Dataset:
    """Make a cube of any Dataset by naming its variables.

    Args:
        dataset: Dataset with maps on days, under any names of dims.
        target: Variable whose gaps are filled.
        dynamic: Covariates that change in time.
        static: Covariates that do not.
        flag: Variables that are kept, and used by no model.
        land: Mask (non-zero = land), (H, W); by default the cells that are ever observed.
        precipitation: Which of `dynamic` is precipitation (a rate or an amount per step); by default the one whose
            `standard_name` says so. Needed only for features of antecedent rain and for scores in rain.
        missing_days: 'refuse' (the default), or 'insert' to add the days that the time axis lacks, without
            observations.
        circular_longitude: The last column touches the first; by default derived from the longitudes.
        repeat_cycle_days: Days after which the satellite's orbit repeats (8 for SMAP). Trees and some networks use it
            to find when a composite of several days was renewed. By default training looks for a cycle in the values;
            0 for none.
        uncertainty: Standard deviation of the target's values in their units, which weighs them in training. By default
            the variable that is their standard error by the attributes of CF, or `<target>_uncertainty`; 'none' takes
            none.
        valid_range: Smallest and largest value of the target, in its units; values outside become gaps. By default the
            range of its attributes (`valid_min`, `valid_max`, `valid_range`), as for every other variable.

    Returns:
        The cube; its values are not read yet, but where land is derived from the observations.

    Raises:
        CubeError: Naming the variable, what was found and what was expected.
    """
    none_wanted = uncertainty == NO_UNCERTAINTY
    uncertainty = None if none_wanted else uncertainty
    # order matters: of two roles for one variable the message names it
    named = [target, *dynamic, *static, *flag, *(name for name in (land, uncertainty) if name)]
    _check_named(dataset, named, precipitation)
    check_text(dataset, [*named, *dataset.coords])
    if precipitation is not None and precipitation not in dynamic:
        raise CubeError(f"precipitation '{precipitation}' must be one of the dynamic variables {list(dynamic)}")

    if uncertainty is None and not none_wanted:
        uncertainty = _find_uncertainty(dataset, target, named)
        named += [] if uncertainty is None else [uncertainty]
    # the projection is kept, as a coordinate: it has no place in time or space
    mapping = dataset[target].attrs.get("grid_mapping")
    dataset = dataset.set_coords([mapping]) if mapping in dataset.data_vars else dataset
    moving = [*dynamic, *flag, *([uncertainty] if uncertainty else [])]
    _log_zeros(dataset, named)
    decoded = _decoded(dataset[named].copy(), named)
    cube = with_standard_axes(_valid(decoded.copy(), target, valid_range), target, missing_days, moving)
    if valid_range is not None:
        _log_outside(decoded[target], valid_range)
    roles = {target: "target"} | ({} if uncertainty is None else {uncertainty: "uncertainty"})
    roles |= dict.fromkeys(dynamic, "dynamic") | dict.fromkeys(static, "static") | dict.fromkeys(flag, "flag")
    cube = _with_land(_with_roles(cube, roles), target, land)
    rain = precipitation or next((n for n in dynamic if _is_precipitation(cube[n])), None)
    if rain is not None:
        _mark_precipitation(cube, rain)
    circular = is_circular(cube) if circular_longitude is None else circular_longitude
    cube.attrs["circular_longitude"] = int(circular)
    cube.attrs.pop("repeat_cycle_days", None)  # never from a file
    if repeat_cycle_days is not None:
        cube.attrs["repeat_cycle_days"] = repeat_cycle_days
    check_cube(cube)
    repeat_cycle(cube)
    return cube


def _with_roles(cube: xr.Dataset, roles: Mapping[str, str]) -> xr.Dataset:
    """Return a cube with the role of each variable, and with units where the file gives none, in its attributes."""
    unitless = [n for n, role in roles.items() if role not in ("uncertainty", "flag") and "units" not in cube[n].attrs]
    for name in unitless:
        cube[name].attrs["units_missing"] = 1
    if unitless:
        log.info("without units, taken as '1': %s", ", ".join(unitless))
    target = next(name for name, role in roles.items() if role == "target")
    for name, role in roles.items():
        variable = cube[name]
        if role == "uncertainty":
            # without units of its own it has those of the target
            variable.attrs = {k: v for k, v in cube[target].attrs.items() if k in UNITS} | variable.attrs
        if role != "flag":
            variable.attrs.setdefault("units", "1")
        variable.attrs["role"] = role
        cube[name] = variable
    return cube


def _with_land(cube: xr.Dataset, target: str, land: str | None) -> xr.Dataset:
    """Return a cube with the boolean variable `land`, made of the variable `land` or of the observations."""
    space = space_dims(cube[target])
    if land is None:
        observed = ever_observed(cube[target])
        cube["land"] = (space, observed)
        log.info("no land variable named: land = the %d cells ever observed", observed.sum())
        days = cube.sizes["time"]
        if days < FEW_MAPS and not observed.all():
            log.warning(
                "in only %d maps %d cells are never observed, count as no land and stay unfilled: name a land mask "
                "(data.land=NAME; land= in Python), or give more days",
                days, (~observed).sum(),
            )  # fmt: skip
    else:
        if set(cube[land].dims) != set(space):
            raise CubeError(f"land variable '{land}' has dims {cube[land].dims}, expected {space}")
        mask = cube[land].transpose(*space)
        cube = cube.drop_vars(land).assign(land=(space, np.nan_to_num(mask.values) != 0))
    cube["land"].attrs = {"role": "land", "long_name": "land cells", "units": "1"}
    return cube


def _mark_precipitation(cube: xr.Dataset, name: str) -> None:
    units = cube[name].attrs.setdefault("units", "1")
    if per_day(units) is None:
        raise CubeError(
            f"precipitation '{name}' is in '{units}': give it the attribute units, one of {', '.join(PER_DAY)}"
        )
    cube[name].attrs["quantity"] = "precipitation"


def repeat_cycle(cube: xr.Dataset) -> int | None:
    """Return the steps after which the orbit repeats, 0 for none, None where that is to be found in the values.

    Args:
        cube: The cube.

    Raises:
        CubeError: The attribute `repeat_cycle_days` is no whole number of steps.
    """
    if "repeat_cycle_days" not in cube.attrs:
        return None
    days, step = int(cube.attrs["repeat_cycle_days"]), step_days(cube["time"])
    if not 0 <= days <= 366 or days % step:
        raise CubeError(
            f"repeat_cycle_days={days}: expected 0 or a multiple of the {step} days between maps, at most 366"
        )
    return days // step


@checked
def check_cube(cube: xr.Dataset) -> None:
    """Raise an error unless a Dataset keeps the rules at the head of this module.

    Args:
        cube: Dataset with the attribute `role` at its variables.

    Raises:
        CubeError: Naming the variable or coordinate, what was found and what was expected.
    """
    check_text(cube)
    names = by_role(cube, "target")
    if len(names) != 1:
        raise CubeError(f"expected one variable with the attribute role='target', found {names or 'none'}")
    target = cube[names[0]]
    space = space_dims(target)
    if target.dims != ("time", *space):
        raise CubeError(f"target '{target.name}' has dims {target.dims}, expected ('time', {space[0]!r}, {space[1]!r})")
    expected = {"uncertainty": target.dims, "dynamic": target.dims, "flag": target.dims, "static": space, "land": space}
    for role, dims in expected.items():
        for name in by_role(cube, role):
            if cube[name].dims != dims:
                raise CubeError(f"{role} variable '{name}' has dims {cube[name].dims}, expected {dims}")
            if cube[name].dtype.kind not in "fiub":
                raise CubeError(f"{role} variable '{name}' is of type {cube[name].dtype}, expected numbers")
    _check_uncertainty(cube, target)
    if target.dtype.kind not in "fiu":
        raise CubeError(f"target '{target.name}' is of type {target.dtype}, expected numbers")
    if len(by_role(cube, "land")) != 1:
        raise CubeError("expected one variable with the attribute role='land'")
    if 0 in target.shape:
        raise CubeError(f"target '{target.name}' is empty: {dict(target.sizes)}")
    _check_time(cube["time"])
    check_axes(cube, space)
    rows, columns = cube[space[0]].values, cube[space[1]].values
    if len(rows) > 1 and not (np.diff(rows) < 0).all():
        raise CubeError(f"coordinate '{space[0]}' must fall strictly from north to south")
    if len(columns) > 1 and not (np.diff(columns) > 0).all():
        raise CubeError(f"coordinate '{space[1]}' must rise strictly from west to east")


def checked_cube(cube: xr.Dataset) -> xr.Dataset:
    """Check a Dataset that carries roles already, and apply what it declares.

    Every way into the product passes here or through `as_cube`: times a moment before midnight are rounded to the
    second and become days, and values outside the valid ranges of their variables become NaN, lazily.

    Args:
        cube: Dataset with the attribute `role` at its variables.

    Returns:
        The cube; what was done before, by `as_cube` or here, is not repeated.

    Raises:
        CubeError: The Dataset is no cube (see `check_cube`), or an attribute is no number.
    """
    check_cube(cube)
    times = cube["time"].values
    days = whole_days(times)
    if (days != times).any():
        cube = cube.assign_coords(time=("time", days, cube["time"].attrs))
        _check_time(cube["time"])
    roles = [name for role in ("target", "uncertainty", "dynamic", "static") for name in by_role(cube, role)]
    return _valid(_decoded(cube.copy(), roles), None, None)


def _decoded(dataset: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Return a Dataset with the packed variables among some decoded; it is altered in place."""
    for name in names:
        variable = dataset[name]
        decoded = as_decoded(variable)
        if decoded is not variable:
            dataset[name] = decoded
    return dataset


def _log_zeros(dataset: xr.Dataset, names: Sequence[str]) -> None:
    """Log which zeros of a Zarr v2 store are missing in a Dataset that xarray has opened."""
    if dataset.encoding.get(OPENED_HERE):
        return  # `open_dataset` has done it
    encodings = {name: dataset[name].encoding for name in names}
    zeros = [name for name, one in encodings.items() if "compressors" in one and is_zero(one.get("_FillValue"))]
    if zeros:
        log.info(
            "zeros of %s are read as missing, as the fill value of the Zarr store is 0: "
            "sgdsm.open_cube(..., zero_is_value=True) keeps them", ", ".join(zeros),
        )  # fmt: skip


def _valid(dataset: xr.Dataset, target: str | None, valid_range: Sequence[float] | None) -> xr.Dataset:
    """Return a Dataset with NaN outside the valid ranges of its variables; it is altered in place.

    Args:
        dataset: Dataset.
        target: Variable that `valid_range` is of.
        valid_range: Smallest and largest value of the target, in place of its attributes.

    Raises:
        CubeError: A range is none.
    """
    if target is not None and valid_range is not None:
        low, high = valid_range if len(valid_range) == 2 else (1.0, 0.0)
        if not low < high:
            raise CubeError(f"valid_range={list(valid_range)}: expected [smallest, largest]")
        dataset[target] = within(dataset[target], (float(low), float(high)))
    for name in dataset.data_vars:
        variable = dataset[name]
        valid = variable if name == target and valid_range is not None else only_valid(variable)
        if valid is not variable:
            _log_valid(variable, valid)
            dataset[name] = valid
    return dataset


def _log_valid(before: xr.DataArray, after: xr.DataArray) -> None:
    """Log the share of a sample of a variable that lies outside its valid range."""
    days = next(time_chunks(before, SAMPLED)) if before.ndim else slice(None)
    known = np.isfinite(before[days].values)
    outside = int((known & ~np.isfinite(after[days].values)).sum())
    if outside:
        low, high = after.attrs["valid_range"]
        log.info(
            "'%s': values outside %g to %g, its valid range by the file, are missing (%.1f %% of the first %d values)",
            before.name, low, high, 100 * outside / known.sum(), known.sum(),
        )  # fmt: skip


def _log_outside(target: xr.DataArray, valid_range: Sequence[float]) -> None:
    """Log how many values of the target lie outside the valid range of the settings."""
    outside = total = 0
    for days in time_chunks(target):
        values = target[days].values
        known = np.isfinite(values)
        total += int(known.sum())
        outside += int((known & ~((values >= valid_range[0]) & (values <= valid_range[1]))).sum())
    log.info("'%s': %d of %d values lie outside valid_range=%s: gaps", target.name, outside, total, list(valid_range))


def _check_uncertainty(cube: xr.Dataset, target: xr.DataArray) -> None:
    names = by_role(cube, "uncertainty")
    if len(names) > 1:
        raise CubeError(f"expected at most one variable with the attribute role='uncertainty', found {names}")
    for name in names:
        units, expected = (variable.attrs.get("units", "1") for variable in (cube[name], target))
        # of a standard deviation, 'K' and 'degC' are the same
        if not same_units(units, expected, difference=True):
            raise CubeError(f"uncertainty '{name}' is in '{units}', expected '{expected}', as '{target.name}' is")


def by_role(cube: xr.Dataset, role: str) -> list[str]:
    """Return the names of the variables with a role, in the order of the cube.

    Args:
        cube: The cube.
        role: One of ROLES.
    """
    # of the plain variables: making DataArrays of them takes longer than all else here
    roles = {str(name): cube.variables[name].attrs.get("role") for name in cube.data_vars}
    # of a stranger's file, the attribute may be an array
    return [name for name, own_role in roles.items() if isinstance(own_role, str) and own_role == role]


def target_of(cube: xr.Dataset) -> xr.DataArray:
    """Return the target variable of a cube, (T, H, W)."""
    return cube[by_role(cube, "target")[0]]


def uncertainty_of(cube: xr.Dataset) -> str | None:
    """Return the name of the uncertainty of the target, or None."""
    return next(iter(by_role(cube, "uncertainty")), None)


def precipitation_of(cube: xr.Dataset) -> str | None:
    """Return the name of the dynamic variable that is precipitation, or None."""
    return next((n for n in by_role(cube, "dynamic") if cube[n].attrs.get("quantity") == "precipitation"), None)


def seen_only(cube: xr.Dataset, seen: np.ndarray) -> xr.Dataset:
    """Return a cube whose target and uncertainty are NaN where values are not seen; reads both.

    Args:
        cube: The cube.
        seen: Mask, (T, H, W) bool, True = seen.
    """
    mask = xr.DataArray(seen, dims=target_of(cube).dims)
    masked = {}
    for name in (*by_role(cube, "target"), *by_role(cube, "uncertainty")):
        masked[name] = cube[name].where(mask).astype(np.float32).assign_attrs(cube[name].attrs)
    return cube.assign(masked)


def step_days(time: xr.DataArray) -> int:
    """Return the days between two maps: 1 for a daily cube and for a single map, n for an n-daily one.

    Files of others may lack maps: the step is the largest that divides all distances.

    Args:
        time: The coordinate `time` of a cube.
    """
    return int(np.gcd.reduce((np.diff(time.values) / DAY).astype(np.int64))) if time.size > 1 else 1


def time_chunks(array: xr.DataArray, values: int = 2**24) -> Iterator[slice]:
    """Yield slices along time that hold a limited number of values; every pass over a whole record uses them.

    Args:
        array: Array whose first axis is time.
        values: About the number of values of a slice.
    """
    per_day = int(np.prod(array.shape[1:]))
    step = max(1, values // max(1, per_day))
    return (slice(start, min(start + step, array.shape[0])) for start in range(0, array.shape[0], step))


def row_bands(array: xr.DataArray, values: int = 2**26) -> Iterator[slice]:
    """Yield slices along the rows: one slice, unless a single map is very large.

    Args:
        array: Array with the axes (T, H, ...).
        values: About the largest number of values of a map in a slice.
    """
    # a global map of 1 km does not fit as a whole
    per_row = int(np.prod(array.shape[2:]))
    step = max(1, values // max(1, per_row))
    return (slice(start, min(start + step, array.shape[1])) for start in range(0, array.shape[1], step))


def ever_observed(target: xr.DataArray) -> np.ndarray:
    """Return the cells with at least one finite value, (H, W) bool; reads the array in chunks.

    Args:
        target: Array, (T, H, W).
    """
    seen = np.zeros(target.shape[1:], bool)
    for rows in row_bands(target):
        for days in time_chunks(target[:, rows]):
            seen[rows] |= np.isfinite(target[days, rows].values).any(0)
    return seen


def is_circular(cube: xr.Dataset) -> bool:
    """Return True if the longitudes go once round the globe in equal steps.

    Args:
        cube: The cube.
    """
    if "lon" not in cube.dims or cube.sizes["lon"] < 4:
        return False
    lon = cube["lon"].values.astype(float)
    # single-precision longitudes differ in the last digits
    step = np.diff(lon)
    return bool(np.allclose(step, step[0], rtol=1e-3) and abs(lon[-1] - lon[0] + step[0] - 360) < abs(step[0]) / 2)


def suggest(name: str, known: Sequence[str]) -> str:
    """Return ' (did you mean X?)' if a known name is similar, else ''.

    Args:
        name: Name that is not known.
        known: Names that are.
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _check_named(dataset: xr.Dataset, named: Sequence[str], precipitation: str | None) -> None:
    for name in [*named, *([precipitation] if precipitation else [])]:
        _require(name, dataset.data_vars)
    for name in named:
        if dataset[name].dtype.kind not in "fiub":
            raise CubeError(f"variable '{name}' is of type {dataset[name].dtype}, expected numbers")
        if named.count(name) > 1:
            raise CubeError(
                f"variable '{name}' is named twice among target, dynamic, static, flag, land and uncertainty"
            )


def _require(name: str, known: Any) -> None:
    names = [str(k) for k in known]
    if name not in names:
        raise CubeError(f"no variable '{name}'{suggest(name, names)}; there are {', '.join(names) or 'none'}")


def _find_uncertainty(dataset: xr.Dataset, target: str, named: Sequence[str]) -> str | None:
    about = dataset[target].attrs
    standard = {str(n): str(v.attrs.get("standard_name", "")) for n, v in dataset.data_vars.items()}
    errors = [name for name, words in standard.items() if words.endswith("standard_error")]
    # CF: `ancillary_variables` names them; else the standard name; else our own file names
    declared = [name for name in str(about.get("ancillary_variables", "")).split() if name in errors]
    same = [name for name in errors if standard[name] == f"{about.get('standard_name')} standard_error"]
    for name in (*declared, *same, f"{target}_uncertainty"):
        if name not in dataset.data_vars or name in named:
            continue
        candidate, units = dataset[name], about.get("units", "1")
        if (
            candidate.dtype.kind in "fiu"
            and set(candidate.dims) == set(dataset[target].dims)
            and same_units(candidate.attrs.get("units", units), units, difference=True)
        ):
            log.info("uncertainty of '%s': '%s'", target, name)
            return name
        log.info("'%s' is not taken for the uncertainty of '%s': its dims or units are not the same", name, target)
    return None


def space_dims(target: xr.DataArray) -> tuple[str, str]:
    """Return the names of the vertical and the horizontal dimension.

    Args:
        target: Target of a cube.

    Raises:
        CubeError: The dims are not those of a cube.
    """
    space = next((s for s in SPACE_DIMS if set(s) <= set(target.dims)), None)
    if space is None:
        raise CubeError(f"target '{target.name}' has dims {target.dims}, expected time and lat, lon (or time and y, x)")
    return space


def _check_time(time: xr.DataArray) -> None:
    if time.dtype.kind != "M":
        raise CubeError(f"time holds {time.dtype} values, expected dates")
    # models count in steps, so these must be equal
    steps = np.diff(time.values)
    if steps.size and ((steps != steps[0]).any() or steps[0] <= np.timedelta64(0) or steps[0] % DAY):
        raise CubeError("time must rise in equal steps of whole days")


def _is_precipitation(variable: xr.DataArray) -> bool:
    name = str(variable.attrs.get("standard_name", "")).lower()
    return "precipitation" in name or "rainfall" in name
