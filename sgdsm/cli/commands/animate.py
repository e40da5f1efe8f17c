"""Write an animation of a filled file: observed and filled maps beside each other, day by day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import CubeError
from sgdsm.core.lock import exclusive
from sgdsm.core.region import check_bbox, period_of
from sgdsm.core.settings import setting
from sgdsm.report.animation import animate, animation_path, check_layers, ffmpeg

USAGE = "filled=FILE output=FILE.gif|.mp4 [time=A:B] [bbox=[W,S,E,N]] [layers=[observed,filled]]"
NOTE = "MP4 needs the program ffmpeg, or pip install 'sgdsm[video]'"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled file, and what is shown of it."""

    filled: str = setting(help="what predict has written", path=True)
    output: str = setting(help="FILE.gif or FILE.mp4", path=True)
    time: str | None = setting(None, "first and last day, like 2015-06-01:2015-06-30")
    bbox: list[Any] | None = setting(None, "[west, south, east, north], degrees")
    layers: list[str] = setting(["observed", "filled"], "from left to right; also uncertainty, gap_age, source")
    frames_per_second: float = setting(4, "days shown in a second")
    observed: str | None = setting(None, "variable with the observed values, where the file does not say which")

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_bbox(self.bbox)
        period_of(self.time)
        check_layers(self.layers)
        if animation_path(self.output).suffix.lower() == ".mp4":
            ffmpeg()


def run(settings: Settings) -> None:
    """Draw the frames and write them."""
    with open_dataset(settings.filled) as filled, exclusive(settings.output):
        try:
            path = animate(
                filled,
                settings.output,
                settings.layers,
                time=settings.time,
                bbox=settings.bbox,
                frames_per_second=settings.frames_per_second,
                observed=settings.observed,
            )
        except CubeError as error:
            raise CubeError(f"filled={settings.filled}: {error}") from error
    print(f"animation: {path}")
