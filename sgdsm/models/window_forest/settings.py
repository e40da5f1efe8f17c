"""Checks of the settings of `sgdsm.models.window_forest.filler`, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sgdsm.core.errors import ConfigError
from sgdsm.models.base import Window
from sgdsm.models.window_forest.gwr import KERNEL
from sgdsm.models.window_forest.presets import PRESETS, ForestShape

CORE_DAYS, CORE_CELLS = 48, 48  # size of a tile without its halo


def window_of(largest: tuple[int, int], block: tuple[int, int, int], calibrate: bool, whole_record: bool) -> Window:
    """Return tile size and receptive field: multiples of the block, so that blocks are aligned in all tiles.

    Args:
        largest: Cells and days on each side of the largest window.
        block: Days, rows and columns that share a regression.
        calibrate: True if residuals are smoothed over neighbouring cells.
        whole_record: True if a tile must contain all days.
    """

    def multiple(reach: int, size: int) -> int:
        return math.ceil(reach / size) * size

    side, days = largest
    share_days, share = block[:2]
    # the smoothing filter uses estimates around the core; their blocks extend to the next multiple
    around = multiple(KERNEL // 2, share) if calibrate else 0
    halo_cells, halo_days = multiple(around + side, share), multiple(days, share_days)
    cells = multiple(CORE_CELLS, share) + 2 * halo_cells
    # the rescaling to the satellite needs the statistics of all days
    if whole_record:
        return Window(None, cells, None, halo_cells)
    return Window(multiple(CORE_DAYS, share_days) + 2 * halo_days, cells, halo_days, halo_cells)


def own_presets(given: Mapping[str, Sequence[float]]) -> dict[str, ForestShape]:
    """Return presets of the user's own, such as `tune regions` finds them.

    Args:
        given: Name -> [trees, max_depth, min_samples_split, max_features].

    Raises:
        ConfigError: If one has not four numbers, or one is out of range.
    """
    found = {}
    for name, values in given.items():
        if len(values) != 4 or not (values[0] >= 1 and values[1] >= 1 and values[2] >= 2 and 0 < values[3] <= 1):
            raise ConfigError(
                f"model.presets.{name}={list(values)}: expected [trees, max_depth, min_samples_split, max_features], "
                "at least 1, 1 and 2, and a share up to 1"
            )
        found[name] = ForestShape(int(values[0]), int(values[1]), int(values[2]), float(values[3]))
    return found


def shapes_of(
    preset: str,
    zones: Mapping[int, str],
    overrides: Mapping[str, int | float | None],
    own: Mapping[str, ForestShape] | None = None,
) -> dict[str, ForestShape]:
    """Return settings of forests by the name of their preset, the default preset first.

    Args:
        preset: For places without a stratum.
        zones: Preset of each code of a stratum.
        overrides: Settings that replace those of the presets; None: the preset's.
        own: Further presets by name.

    Raises:
        ConfigError: If a name is unknown, a code is no whole number, or a setting is out of range.
    """
    known = {**PRESETS, **(own or {})}
    for key, name in {"preset": preset, **{f"zones.{code}": name for code, name in zones.items()}}.items():
        if name not in known:
            raise ConfigError(f"model.{key}={name}: expected one of {', '.join(known)}")
    for code in zones:
        if not isinstance(code, int):
            raise ConfigError(f"model.zones: found the code '{code}', expected whole numbers")
    for key, value in overrides.items():
        least = {"min_samples_split": 2, "max_features": 0}.get(key, 1)
        if value is not None and (value < least or (key == "max_features" and not 0 < value <= 1)):
            expected = "a share above 0 and up to 1" if key == "max_features" else f"at least {least}"
            raise ConfigError(f"model.{key}={value}: expected {expected}")
    given = {key: value for key, value in overrides.items() if value is not None}
    names = dict.fromkeys([preset, *zones.values()])
    return {name: ForestShape(**{**vars(known[name]), **given}) for name in names}


def check_sizes(
    cells: Sequence[int],
    days: Sequence[int],
    per_covariate: int,
    fewest: int,
    share: tuple[int, int],
    max_rows: int,
    ridge: float,
) -> None:
    """Check the sizes of a `WindowForest`.

    Args:
        cells: Smallest and largest number of cells across a window.
        days: Smallest and largest number of days on each side.
        per_covariate: Samples for each covariate at which a window stops growing.
        fewest: Smallest number of samples of a window.
        share: Cells and days of a block.
        max_rows: Largest number of rows of a region's forest.
        ridge: Of the GWR, in samples.

    Raises:
        ConfigError: If one cannot work.
    """
    if len(cells) != 2 or not 1 <= cells[0] <= cells[1] or any(c % 2 == 0 for c in cells):
        raise ConfigError(f"model.cells={list(cells)}: expected [smallest, largest], both odd")
    if len(days) != 2 or not 0 <= days[0] <= days[1]:
        raise ConfigError(f"model.days={list(days)}: expected [smallest, largest], both at least 0")
    if min(per_covariate, *share, max_rows) < 1 or fewest < 4:
        raise ConfigError(
            f"model.samples_per_covariate={per_covariate}, share_cells={share[0]}, share_days={share[1]}, "
            f"max_rows={max_rows}, fewest={fewest}: expected at least 1, and 4 for fewest"
        )
    if not ridge > 0:
        raise ConfigError(f"model.ridge={ridge}: expected more than 0")
