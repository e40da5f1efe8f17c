"""Draw possible maps of a filled file, with correlated errors, for error bars of means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.lock import exclusive
from sgdsm.core.region import box_of, check_bbox, period_of
from sgdsm.core.settings import setting
from sgdsm.inference.members import write_members
from sgdsm.inference.writers import writer_for
from sgdsm.training.run import file_stamp

USAGE = "filled=FILE number=N output=FILE [time=A:B] [bbox=[W,S,E,N]]"
NOTE = "time= and bbox= draw a part; parts with one seed fit together"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled file, and how many members."""

    filled: str = setting(help="what predict has written, of a run with uncertainty", path=True)
    number: int = setting(20, "of members")
    output: str = setting(help="FILE.nc or FILE.zarr", path=True)
    seed: int = setting(0, "of the random fields")
    time: str | None = setting(None, "first and last day, like 2015-04-01:2015-06-30")
    bbox: list[Any] | None = setting(None, "[west, south, east, north], degrees")

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_bbox(self.bbox)
        period_of(self.time)


def run(settings: Settings) -> None:
    """Draw the members and write them."""
    path, output = settings.filled, settings.output
    period = period_of(settings.time)
    writer = writer_for(output)
    with open_dataset(path) as filled, exclusive(output):
        if SM_FILLED not in filled:
            raise CubeError(f"filled={path}: no sm_filled: expected what predict.py writes")
        target = filled[SM_FILLED].assign_attrs(role="target").to_dataset()
        identity = f"{Path(path).name} {file_stamp(path)}"
        try:
            box = box_of(target, period, settings.bbox)
            write_members(filled, writer, box, settings.number, settings.seed, identity)
        except CubeError as error:
            raise CubeError(f"filled={path}: {error}") from error
    print(f"members: {output}")
