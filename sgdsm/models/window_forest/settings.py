"""What the settings of `sgdsm.models.window_forest.filler` mean, and which cannot work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sgdsm.core.cube import ConfigError
from sgdsm.models.base import Window
from sgdsm.models.window_forest.gwr import KERNEL
from sgdsm.models.window_forest.presets import PRESETS, ForestShape

CORE_DAYS, CORE_CELLS = 48, 48


def window_of(largest: tuple[int, int], block: tuple[int, int, int], calibrate: bool, whole_record: bool) -> Window:
    """Window and reach: multiples of the block, so that blocks lie the same in all tiles."""

    def multiple(reach: int, size: int) -> int:
        return math.ceil(reach / size) * size

    side, days = largest
    share_days, share = block[:2]
    # estimates around the core are smoothed into it; their blocks reach to the next multiple
    around = multiple(KERNEL // 2, share) if calibrate else 0
    halo_cells, halo_days = multiple(around + side, share), multiple(days, share_days)
    cells = multiple(CORE_CELLS, share) + 2 * halo_cells
    if whole_record:
        return Window(None, cells, None, halo_cells)
    return Window(multiple(CORE_DAYS, share_days) + 2 * halo_days, cells, halo_days, halo_cells)


def shapes_of(preset: str, zones: Mapping[int, str], own: Mapping[str, int | float | None]) -> dict[str, ForestShape]:
    """Forests by the name of their preset, that of places without a zone first; `own` settings in place of a preset's.

    Raises ConfigError for an unknown name, a code that is no number, a setting out of range.
    """
    for key, name in {"preset": preset, **{f"zones.{code}": name for code, name in zones.items()}}.items():
        if name not in PRESETS:
            raise ConfigError(f"model.{key}={name}: expected one of {', '.join(PRESETS)}")
    for code in zones:
        if not isinstance(code, int):
            raise ConfigError(f"model.zones: found the code '{code}', expected whole numbers")
    for key, value in own.items():
        least = {"min_samples_split": 2, "max_features": 0}.get(key, 1)
        if value is not None and (value < least or (key == "max_features" and not 0 < value <= 1)):
            expected = "a share above 0 and up to 1" if key == "max_features" else f"at least {least}"
            raise ConfigError(f"model.{key}={value}: expected {expected}")
    given = {key: value for key, value in own.items() if value is not None}
    names = dict.fromkeys([preset, *zones.values()])
    return {name: ForestShape(**{**vars(PRESETS[name]), **given}) for name in names}


def check_sizes(
    cells: Sequence[int],
    days: Sequence[int],
    per_covariate: int,
    fewest: int,
    share: tuple[int, int],
    max_rows: int,
    ridge: float,
) -> None:
    """Raise ConfigError for a size that cannot work."""
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
