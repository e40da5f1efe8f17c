"""What can be chosen on the maps of a report: layers with their colours, and the controls around maps and series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.filled import SM_FLAG, SM_LOWER, level_of
from sgdsm.report.interactive import MEMBER, line_colour, palettes
from sgdsm.report.packing import Question

SOURCES = {"observed": "#0072B2", "filled": "#E69F00"}
FLAGS = ("#A6CEE3", "#E69F00", "#CC79A7", "#5E3C99", "#11A579", "#3969AC", "#F2B701", "#E73F74")
SHOWN = 2  # filled records that are shown at first


def choices(content: Mapping[str, Any], questions: Sequence[Question]) -> dict[str, Any]:
    """Return the layers that can be chosen, by name, and what else the script of the page needs.

    Args:
        content: Of the packed layers.
        questions: The records that were packed.

    Returns:
        `views`, each with its title, a note with units, the colours and their limits, and the names of classes or None;
        and `step_days`.
    """
    colours, units = palettes(), str(questions[0].observed.attrs.get("units", "1"))
    products = content["products"]

    def layers(key: str) -> list[dict[str, Any]]:
        """Return the packed layers of a name that are not empty, of all products."""
        found = [content["layers"][one["layers"][key]] for one in products if key in one["layers"]]
        return [layer for layer in found if not layer["empty"]]

    def numbers(
        title: str, note: str, palette: str, found: Sequence[Mapping[str, Any]], low: float | None = None
    ) -> Any:
        least = min(one["low"] for one in found) if low is None else low
        most = max(one["high"] for one in found)
        step = f", in steps of {max(one['step'] for one in found):g}" if "step" in found[0] else ""
        return _view(title, f"{note}{step}", colours[palette], least, max(most, least + 1e-6))

    observed = [content["layers"][question["observed"]] for question in content["questions"]]
    moisture = [layer for layer in (*observed, *layers("filled")) if not layer["empty"]]
    moisture = moisture or [{"low": 0.0, "high": 1.0}]
    views = {
        "filled": numbers("filled values", f"filled soil moisture [{units}]", "moisture", moisture),
        "observed": numbers("observed values", f"observed soil moisture [{units}]", "moisture", moisture),
    }
    if layers("std"):
        views["std"] = numbers("uncertainty", f"standard deviation in gaps [{units}]", "spread", layers("std"), 0.0)
    views["source"] = _classes("source", "where a value comes from", list(SOURCES), list(SOURCES.values()), 1)
    if layers("age"):
        views["age"] = numbers("gap age", "days to the nearest observation of the cell", "spread", layers("age"), 0.0)
    if layers("flag"):
        names = _flag_names(questions, int(max(one["high"] for one in layers("flag"))))
        views["flag"] = _classes("flag", "why a filled value should be doubted", names, FLAGS[: len(names)], 0)
    if any(question["truth"] is not None for question in content["questions"]):
        limit = content["error_limit"]
        error = f"filled minus hidden truth [{units}], on days that are scored"
        views["error"] = _view("error at hidden values", error, colours["error"], -limit, limit)
        rmse = f"root mean square error of each cell, of all its hidden values [{units}]"
        views["rmse"] = _view("RMSE of the cells", rmse, colours["spread"], 0.0, limit)
        bias = f"mean of filled minus true values of each cell, of all its hidden values [{units}]"
        views["bias"] = _view("bias of the cells", bias, colours["error"], -limit / 2, limit / 2)
    days = np.array(content["days"], "datetime64[D]")
    step_days = float(np.median(np.diff(days).astype(int))) if len(days) > 1 else 1.0
    return {"views": views, "step_days": step_days}


def _view(title: str, note: str, palette: Sequence[str], low: float, high: float) -> dict[str, Any]:
    return {"title": title, "note": note, "palette": palette, "low": low, "high": high, "classes": None}


def _classes(title: str, note: str, names: Sequence[str], palette: Sequence[str], first: int) -> dict[str, Any]:
    """Return a view of whole numbers from `first` on, each with a colour and a name."""
    limits = {"low": first - 0.5, "high": first + len(names) - 0.5}
    return {"title": title, "note": note, "palette": list(palette), "classes": list(names), **limits}


def _flag_names(questions: Sequence[Question], highest: int) -> list[str]:
    """Return the meaning of each code of the flag, from 0 to that of all bits that there are."""
    flag = next(p.filled[SM_FLAG] for q in questions for p in q.products if SM_FLAG in p.filled)
    meanings = str(flag.attrs.get("flag_meanings", "")).split()
    masks = np.atleast_1d(flag.attrs.get("flag_masks", []))
    if len(meanings) != len(masks) or masks.dtype.kind not in "iu":
        masks, meanings = np.array([], int), []
    known = {int(mask): name.replace("_", " ") for mask, name in zip(masks, meanings, strict=True)}
    codes = range(min(max(highest, 1, max(known, default=1)) + 1, len(FLAGS)))
    if known:
        codes = range(min(sum(known) + 1, len(FLAGS)))
    return [
        ", ".join(name for mask, name in known.items() if code & mask) or ("no doubt" if not code else f"code {code}")
        for code in codes
    ]


def controls(content: Mapping[str, Any], questions: Sequence[Question]) -> str:
    """Return HTML of the controls, and of the empty elements that maps and series are drawn in.

    Args:
        content: Of the packed layers, with their `choices`.
        questions: The records that were packed.
    """
    days, products = content["days"], content["products"]
    layers = "".join(
        f'<option value="{key}">{escape(view["title"])}</option>'
        for key, view in content["views"].items()
        if key != "observed"
    )
    boxes = "".join(
        f'<label><input type="checkbox" id="show-{k}"{" checked" if k < SHOWN else ""}> '
        f'<span class="swatch line" style="background:{line_colour(k)}"></span>{escape(one["name"])}</label>'
        for k, one in enumerate(products)
    )
    source = "observed" if len(questions) == 1 else f"observed ({products[0]['name']})"
    names = [source, *(one["name"] for one in products)]
    panels = "\n".join(
        f'<figure class="panel" id="panel-{k}"><figcaption>{escape(name)}</figcaption>'
        f'<div class="plot" id="map-{k}"></div></figure>'
        for k, name in enumerate(names)
    )
    row, column = content["grid"]["dims"]
    unit, step = ("degrees", "any") if row == "lat" else ("m", "any")
    scored = any(one["scores"] for one in products)
    scores = (
        '<div class="scroll" role="region" tabindex="0" aria-label="Scores of the cell"><table><caption><span>'
        f"Scores of the cell at its hidden values, RMSE and bias in {escape(_units(questions))}</span></caption>"
        '<thead><tr><th scope="col">model</th><th scope="col">N</th><th scope="col">RMSE</th><th scope="col">bias</th>'
        '<th scope="col">R</th></tr></thead><tbody id="cell-scores"></tbody></table></div>'
    )
    return f"""<p id="status" role="status">Unpacking the maps ...</p>
<noscript><p>The maps need JavaScript; tables and pictures do not.</p></noscript>
<div id="interactive">
<div class="controls">
<label class="wide">Day: <strong id="date-shown">{days[0]}</strong>
<input type="range" id="day" min="0" max="{max(len(days) - 1, 0)}" step="1" value="0"></label>
<button type="button" id="play">Play</button>
<label>Date <br><input type="date" id="date" min="{days[0]}" max="{days[-1]}" value="{days[0]}"></label>
<label>Layer <br><select id="layer">{layers}</select></label>
<fieldset class="wide"><legend>Show</legend>{boxes}</fieldset>
</div>
<p class="note">Colours: <span id="layer-note"></span></p>
<ul class="key"><li><span class="swatch" style="background:var(--gap)"></span>land without a value</li>
<li><span class="swatch" style="background:var(--sea)"></span>no land</li></ul>
<ul class="key" id="layer-key"></ul>
<div id="maps" role="group" tabindex="0" aria-label="Maps. The arrow keys move the chosen cell, a click chooses one.">
{panels}
</div>
<h3>Series of the cell at <span id="place"></span></h3>
<form class="controls" id="go-to">
<label>{row} [{unit}] <br><input type="number" id="row" step="{step}"></label>
<label>{column} [{unit}] <br><input type="number" id="column" step="{step}"></label>
<button type="submit">Show</button>
<button type="button" id="csv">Download as CSV</button>
</form>
<p class="note">Soil moisture [{escape(_units(questions))}]; the wheel, or two fingers, zoom.</p>
<ul class="key">
<li><span class="swatch dot" style="background:#0072B2"></span>observed</li>
<li><span class="swatch gap"></span>gap</li>
<li id="interval-key"><span class="swatch" style="background:{line_colour(0)}55"></span>{_interval(questions)} of \
<span id="interval-name"></span></li>
{_members_key(products)}
{'<li><span class="swatch open"></span>hidden truth</li>' if scored else ""}
<li>lines: filled, in the colours of <em>Show</em></li>
</ul>
<div class="plot" id="series" role="img" aria-label="Series of the chosen cell; its numbers: Download as CSV"></div>
{scores if scored else ""}
</div>"""


def _members_key(products: Sequence[Mapping[str, Any]]) -> str:
    """Return HTML that says what the thin lines of the series are; '' where there are none."""
    most = max(len(one["members"]) for one in products)
    swatch = f'<span class="swatch line" style="background:{MEMBER}"></span>'
    return f'<li id="members-key">{swatch}{most} members: possible series</li>' if most else ""


def _units(questions: Sequence[Question]) -> str:
    return str(questions[0].observed.attrs.get("units", "1"))


def _interval(questions: Sequence[Question]) -> str:
    """Return the name of the interval, with its probability where a file tells it."""
    filled: list[xr.Dataset] = [product.filled for question in questions for product in question.products]
    levels = [level_of(one[SM_LOWER].attrs) for one in filled if SM_LOWER in one]
    known = {f"{100 * level:g} % interval" for level in levels if np.isfinite(level)}
    return known.pop() if len(known) == 1 else "interval"
