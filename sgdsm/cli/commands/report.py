"""Write a page that shows runs and a filled file: moving maps, series of cells, scores, where it all came from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from sgdsm.cli.reports import check_page, entries_of, report_of, write_page
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.settings import setting
from sgdsm.report import html
from sgdsm.report.insitu_figures import boxes, station_map
from sgdsm.report.interactive import require_bokeh
from sgdsm.report.page import MEGABYTES
from sgdsm.report.style import plain_text
from sgdsm.report.trend_figures import trend_figures

USAGE = "RUN RUN ... [filled=FILE] output=FILE.html"
POSITIONAL = "runs"
NOTE = "the page is one file that needs no network; needs the extra: pip install 'sgdsm[report]'"
STATION_SCORES = {"n": ("N", 0), "r": ("R", 3), "ubrmsd": ("ubRMSD", 4), "bias": ("bias", 4)}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Runs and files to show, and how large the page may be."""

    runs: list[str] = setting([], "folders of finished runs of one protocol, or folders of runs")
    filled: str | None = setting(None, "what predict has written, on the grid of the runs", path=True)
    members: str | None = setting(None, "what members has written of filled=, for the series of cells", path=True)
    stations: str | None = setting(None, "stations.nc, what insitu has written", path=True)
    trends: str | None = setting(None, "what trends has written", path=True)
    output: str = setting("report.html", "the page", path=True)
    reference: str | None = setting(
        None, "the run that the others are measured by: its name or the end of it; default: linear_time, or the first"
    )
    title: str | None = setting(None, "of the page")
    megabytes: float = setting(MEGABYTES, "largest size of the page: maps of large records are thinned for it")

    def __post_init__(self) -> None:
        check_page("output", self.output)
        if not self.runs and self.filled is None:
            raise ConfigError("report: name run folders, or filled=FILE, or both")
        if self.members is not None and self.filled is None:
            raise ConfigError(f"members={self.members}: give filled=FILE too, which they are of")


def run(settings: Settings) -> None:
    """Read what is to be shown, and write the page."""
    require_bokeh()
    entries = entries_of(settings.runs)
    sections = []
    if settings.stations is not None:
        sections.append(("Stations", station_section(open_dataset(settings.stations), settings.stations)))
    if settings.trends is not None:
        sections.append(("Trends", trend_section(open_dataset(settings.trends), settings.trends)))
    report = report_of(
        entries,
        settings.filled,
        members=settings.members,
        title=settings.title,
        reference=settings.reference,
        sections=sections,
    )
    write_page(report, settings.output, settings.megabytes)


@plain_text()
def station_section(table: xr.Dataset, name: str) -> str:
    """Return HTML of scores at stations: pictures, and a table.

    Args:
        table: What insitu has written.
        name: Its path, for messages.

    Raises:
        CubeError: The file is another one.
    """
    lacking = [n for n in ("r", "ubrmsd", "bias", "n", "lat", "lon") if n not in table.variables]
    if lacking or not {"station", "subset"} <= set(table.dims):
        raise CubeError(
            f"stations={name}: no variable '{(lacking or ['r'])[0]}' of stations: expected what insitu writes"
        )
    units = str(table["ubrmsd"].attrs.get("units", "1"))
    subsets = [str(s) for s in table["subset"].values if str(s) in ("observed", "filled")]
    head = ["station", *(f"{label}, {subset} days" for subset in subsets for label, _ in STATION_SCORES.values())]
    rows = [
        [
            str(station),
            *(
                f"{float(table[key].sel(subset=subset).values[k]):.{digits}f}".replace("nan", "-")
                for subset in subsets
                for key, (_, digits) in STATION_SCORES.items()
            ),
        ]
        for k, station in enumerate(table["station"].values)
    ]
    shown = html.pictures(
        [
            html.picture(
                station_map(table), "Map of the stations by R", "R at the stations, on observed and filled days"
            ),
            html.picture(boxes(table), "Boxes of R, R of anomalies and ubRMSD", "Scores of the stations by group"),
        ]
    )
    return shown + html.table(head, rows, f"Scores at {len(rows)} stations, ubRMSD and bias in {units}")


@plain_text()
def trend_section(trends: xr.Dataset, name: str) -> str:
    """Return HTML of trends: their pictures.

    Args:
        trends: What trends has written.
        name: Its path, for messages.

    Raises:
        CubeError: The file is another one.
    """
    if "slope_filled" not in trends or "period" not in trends.attrs:
        raise CubeError(f"trends={name}: no variable 'slope_filled': expected what trends writes")
    with tempfile.TemporaryDirectory() as folder:
        paths = trend_figures(trends, Path(folder) / "trends.nc")
        return html.pictures(
            html.picture(p, f"Trends: {p.stem.removeprefix('trends_')}", f"Trends: {p.stem.removeprefix('trends_')}")
            for p in paths
        )
