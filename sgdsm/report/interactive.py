"""Maps and series of a report, drawn in the browser by Bokeh; `page.js` fills them from the packed layers.

No text of a file is ever given to Bokeh: it would read `$$...$$` as a formula, and fetch MathJax for it. Names and
units stand in the page around the pictures.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.report.packing import Packed

# colours that people with any colour vision tell apart (Okabe and Ito, 2008), without those that are faint on white
LINES = ("#D55E00", "#009E73", "#CC79A7", "#8C6BB1", "#B8860B", "#56B4E9", "#7F7F7F", "#A0522D")
DASHES = ("solid", "dashed", "dotdash", "dotted")
SEEN = "#0072B2"
MEMBER = "#7C7F86"  # of the thin lines of members, on white and on black
PALETTES = {"moisture": "Cividis256", "spread": "Viridis256", "error": "PuOr11"}
MAP_WIDTH, SERIES_HEIGHT = 420, 320
NEEDED = "report: the maps of the page need bokeh: pip install 'sgdsm[report]'"


def has_bokeh() -> bool:
    """Return True if the package that draws the maps is installed."""
    return find_spec("bokeh") is not None


def require_bokeh() -> None:
    """Raise ConfigError if the package that draws the maps is not installed."""
    if not has_bokeh():
        raise ConfigError(NEEDED)


def scripts() -> str:
    """Return the elements of a page with Bokeh's own code and ours; both come with the packages."""
    from bokeh.resources import Resources

    code = "\n".join(Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw)
    return (
        f"<script>{code}</script>\n<script>{Path(__file__).with_name('page.js').read_text(encoding='utf-8')}</script>"
    )


def script_json(content: Any, identifier: str) -> str:
    """Return an element that holds plain data for a script; no text in it can end the element.

    Args:
        content: Plain data.
        identifier: Of the element.
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{identifier}">{text}</script>'


def figures(packed: Packed) -> dict[str, Any]:
    """Return the empty figures: what Bokeh embeds, as plain data.

    Args:
        packed: Layers of the page.

    Returns:
        `document` and `roots`; the elements of the maps are `map-0` (observed values), `map-1` and so on (one for each
        filled record), that of the series `series`.
    """
    from bokeh.core.json_encoder import serialize_json
    from bokeh.document import Document
    from bokeh.models import Range1d

    west, east, south, north = packed.content["grid"]["edges"]
    x_range, y_range = Range1d(west, east, name="x"), Range1d(south, north, name="y")
    degrees = packed.content["grid"]["dims"][0] == "lat"
    stretch = 1 / np.cos(np.deg2rad(np.clip((south + north) / 2, -75, 75))) if degrees else 1.0
    shape = float(np.clip(stretch * (north - south) / (east - west), 0.2, 2.5))
    count = len(packed.content["products"])
    maps = [_map(k, x_range, y_range, shape, degrees) for k in range(count + 1)]
    members = any(product["members"] for product in packed.content["products"])
    plots = [*maps, _series(packed.content["days"], packed.content["span"], count, members)]
    document = Document()
    for plot in plots:
        document.add_root(plot)
    return {
        "document": json.loads(serialize_json(document.to_json(deferred=False))),
        # of each figure the element of the page that it is drawn in
        "roots": {plot.id: plot.name for plot in plots},
    }


def palettes() -> dict[str, list[str]]:
    """Return the colours of the maps by what they show."""
    from bokeh import palettes as known

    colours = {name: list(getattr(known, palette)) for name, palette in PALETTES.items()}
    return colours | {"moisture": colours["moisture"][::-1]}  # wet is blue


def line_colour(number: int) -> str:
    """Return the colour of the line of a filled record."""
    return LINES[number % len(LINES)]


def _map(number: int, x_range: Any, y_range: Any, shape: float, degrees: bool) -> Any:
    """Return an empty map: land, values, the chosen cell, and the colour scale."""
    from bokeh.models import (
        BasicTicker,
        ColorBar,
        ColumnDataSource,
        CustomJS,
        CustomJSTickFormatter,
        LinearColorMapper,
    )
    from bokeh.plotting import figure

    plot: Any = figure(
        name=f"map-{number}",
        x_range=x_range,
        y_range=y_range,
        tools="pan,wheel_zoom,box_zoom,reset",
        active_drag=None,
        width=MAP_WIDTH,
        height=round(MAP_WIDTH * shape) + 90,
        sizing_mode="scale_width",
        toolbar_location="above",
        output_backend="canvas",
    )
    plot.toolbar.logo = None
    plot.xgrid.visible = plot.ygrid.visible = False
    unit = "degrees" if degrees else "km"
    for axis, name in ((plot.xaxis, "longitude" if degrees else "x"), (plot.yaxis, "latitude" if degrees else "y")):
        axis.axis_label = f"{name} [{unit}]"
        if not degrees:
            axis.formatter = CustomJSTickFormatter(code="return (tick / 1000).toFixed(0)")
        axis.ticker = BasicTicker(desired_num_ticks=4)
    # pictures of one pixel: the script puts in the real ones
    one = np.zeros((1, 1), np.float32)
    place = {"x": x_range.start, "y": y_range.start, "dw": x_range.end - x_range.start}
    place["dh"] = y_range.end - y_range.start
    for name in ("land", "values"):
        mapper = LinearColorMapper(["#808080"], low=0, high=1, nan_color="#00000000", name=f"mapper-{name}-{number}")
        source = ColumnDataSource({"image": [one]}, name=f"{name}-{number}")
        plot.image("image", source=source, color_mapper=mapper, **place)
    bar = ColorBar(
        color_mapper=mapper,
        ticker=BasicTicker(desired_num_ticks=4),
        height=10,
        padding=4,
        margin=0,
        title=None,
        name=f"bar-{number}",
    )
    plot.add_layout(bar, "below")
    cell = ColumnDataSource({"x": [x_range.start], "y": [y_range.start]}, name=f"cell-{number}")
    for colour, size, width in (("#ffffff", 14, 4), ("#000000", 14, 1.6)):
        plot.scatter("x", "y", source=cell, size=size, fill_color=None, line_color=colour, line_width=width)
    plot.js_on_event("tap", CustomJS(code="window.sgdsmReport.tap(cb_obj.x, cb_obj.y)"))
    return plot


def _series(days: list[str], span: list[int], count: int, members: bool) -> Any:
    """Return the empty series of a cell: gaps, interval, members, filled records, observed values, hidden truth.

    Args:
        days: Of the page.
        span: First and last day with filled values, which are shown at first.
        count: Number of filled records.
        members: Whether one of them has members.
    """
    from bokeh.models import BasicTicker, ColumnDataSource, DatetimeTicker, Range1d, Span
    from bokeh.plotting import figure

    ends = (days[0], days[-1], days[span[0]], days[span[1]])
    first, last, begin, end = (float(np.datetime64(day, "ms").astype(np.int64)) for day in ends)
    edge = max(0.01 * (last - first), 43_200_000.0)
    plot: Any = figure(
        name="series",
        x_axis_type="datetime",
        x_range=Range1d(begin - edge, end + edge, name="time", bounds=(first - edge, last + edge)),
        y_range=Range1d(0, 1, name="value"),
        tools="xpan,xwheel_zoom,box_zoom,reset",
        active_drag="xpan",
        active_scroll="xwheel_zoom",
        height=SERIES_HEIGHT,
        min_width=200,
        sizing_mode="stretch_width",
        toolbar_location="above",
    )
    plot.toolbar.logo = None
    plot.xgrid.visible = False
    plot.yaxis.ticker = BasicTicker(desired_num_ticks=5)
    # few labels: a narrow screen has room for four
    plot.xaxis.ticker = DatetimeTicker(desired_num_ticks=4)

    def source(name: str, columns: tuple[str, ...]) -> Any:
        # bokeh warns of sources that are empty at first
        return ColumnDataSource({column: [first if column[0] == "x" else 0.0] for column in columns}, name=name)

    # as broad as the step, which the script knows
    plot.vstrip("x0", "x1", source=source("gaps", ("x0", "x1")), fill_color="#808080", fill_alpha=0.16, line_color=None)
    band = source("interval", ("x", "top", "bottom", "xw"))
    plot.vbar("x", "xw", "top", "bottom", source=band, fill_color=LINES[0], fill_alpha=0.3, line_color=None)
    if members:
        lines = ColumnDataSource({"xs": [[first, first]], "ys": [[0.0, 0.0]]}, name="members")
        plot.multi_line("xs", "ys", source=lines, line_width=0.9, line_alpha=0.8, line_color=MEMBER)
    for k in range(count):
        style: dict[str, Any] = {
            "line_color": LINES[k % len(LINES)],
            "line_dash": DASHES[k // len(LINES) % len(DASHES)],
        }
        line = source(f"filled-{k}", ("x", "y"))
        plot.line("x", "y", source=line, line_width=1.6, name=f"line-{k}", **style)
        plot.scatter("x", "y", source=line, size=3, color=LINES[k % len(LINES)], name=f"dots-{k}")
    plot.scatter("x", "y", source=source("observed", ("x", "y")), size=5, color=SEEN)
    truth = source("truth", ("x", "y"))
    plot.scatter("x", "y", source=truth, size=8, marker="diamond", fill_color=None, line_width=1.6, name="diamonds")
    plot.add_layout(Span(location=first, dimension="height", line_dash="dashed", line_width=1.5, name="today"))
    return plot
