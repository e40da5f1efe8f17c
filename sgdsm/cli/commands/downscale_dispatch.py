"""Disaggregate the soil moisture of a filled file by surface temperature and NDVI of 1 km (DISPATCH)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from sgdsm.cli.commands.trends import file_and_variable
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.io.stores import check_no_input, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.core.words import counted
from sgdsm.downscaling.dispatch import Inverse
from sgdsm.downscaling.dispatch_files import DispatchFiles, Options
from sgdsm.evaluation.scored_files import ScoredFile

USAGE = "filled=FILE lst=FILE:VARIABLE ndvi=FILE:VARIABLE output=FILE.nc [inverse=line|arccos]"
NOTE = (
    "after Merlin et al. (2012, 2013); the edges of each scene need its driest and its wettest soil: where a scene is "
    "small or alike, the contrasts come out too large"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The files, and what of their pixels is used."""

    filled: str = setting(help="what predict has written, or a file of others", path=True)
    lst: str = setting(
        help="FILE:VARIABLE, temperature of the land surface by day on a fine grid [K or degC]", path=True
    )
    ndvi: str = setting(help="FILE:VARIABLE, NDVI on the grid of lst, with or without a time [1]", path=True)
    output: str = setting(help="FILE.nc", path=True)
    estimate: str = setting(SM_FILLED, "variable of the coarse soil moisture")
    inverse: Inverse = setting("line", "from efficiency to soil moisture: its tangent, or arccos shifted to the mean")
    scene_km: float = setting(100.0, "side of the parts of the map whose dry and wet edges are fitted together")
    edge_share: float = setting(0.02, "share of the pixels of like cover beyond each of the edges")
    largest_fvc: float = setting(0.9, "pixels with more vegetation cover are missing: errors grow 1/(1 - cover)-fold")
    least_share: float = setting(0.5, "of the pixels of a coarse cell that must be clear")
    ndvi_days: int = setting(16, "largest distance in time of a map of NDVI, days")

    def __post_init__(self) -> None:
        local_only("output", self.output)
        if Path(self.output).suffix != ".nc":
            raise ConfigError(f"output={self.output}: expected a name that ends in .nc")
        for name, low, high in (
            ("scene_km", 1.0, 1e5),
            ("edge_share", 0.0, 0.25),
            ("largest_fvc", 0.05, 0.99),
            ("least_share", 0.0, 1.0),
            ("ndvi_days", 0, 366),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}={getattr(self, name)}: expected {low:g} to {high:g}")
        for name in ("lst", "ndvi"):
            file_and_variable(name, getattr(self, name))


def run(settings: Settings) -> None:
    """Disaggregate each day that both files have, and print what became of the pixels."""
    output = Path(settings.output)
    with ExitStack() as stack:

        def opened(path: str) -> ScoredFile:
            return ScoredFile(stack.enter_context(open_dataset(path)), path)

        pairs = (file_and_variable(name, getattr(settings, name)) for name in ("lst", "ndvi"))
        named = [pair for pair in pairs if pair is not None]
        given = [(settings.filled, settings.estimate), *named]
        check_no_input(output, [path for path, _ in given])
        stack.enter_context(exclusive(output))
        options = Options(
            settings.inverse,
            settings.scene_km,
            settings.largest_fvc,
            settings.least_share,
            settings.edge_share,
            settings.ndvi_days,
        )
        filled, lst, ndvi = ((opened(path), variable) for path, variable in given)
        files = DispatchFiles(filled, lst, ndvi, options)
        counts = files.write(output, {"settings": json.dumps(asdict(settings))})
    period = f"{str(files.days[0])[:10]} to {str(files.days[-1])[:10]}"
    print(f"{counted(len(files.days), 'day')}, {period}\n{counts.text()}")
    print(f"disaggregated: {output}")
