"""Pages of the report in a browser, as a person uses them; skipped where Chromium, playwright or bokeh is missing."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.filled import observed_of
from sgdsm.report.packing import Product, Question
from sgdsm.report.page import Report, write_report
from tests.report.records import filled_record, members_of, question
from tests.report.test_page import HOSTILE, entries_of, report_of

pytest.importorskip("bokeh", reason="the maps need bokeh")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))  # npm install axe-core
SIZES = [(1280, 900), (390, 800)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def record() -> xr.Dataset:
    return filled_record(60)


@pytest.fixture(scope="module")
def page_path(record: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two runs and a filled file."""
    hidden, visible = question(record)
    runs = Question(visible["sm"], [Product("good", record), Product("bad", record)], hidden["truth"], hidden["swath"])
    file = Question(observed_of(record), [Product("filled.nc", record, members_of(record))])
    path = tmp_path_factory.mktemp("report") / "page.html"
    write_report(report_of(entries_of(), questions=[file, runs]), path, 5)
    return path


def opened(browser: Any, path: Path, size: tuple[int, int] = SIZES[0]) -> tuple[Any, list[str]]:
    """Return a page that is ready, and the list of what it asks for and complains of."""
    page, said = browser.new_page(viewport={"width": size[0], "height": size[1]}), []
    page.on("request", lambda request: said.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(path.as_uri())
    page.wait_for_function("document.getElementById('status').textContent !== 'Unpacking the maps ...'")
    assert page.inner_text("#status") == ""
    return page, said


def series(page: Any) -> list[dict[str, str]]:
    """Return the series of the chosen cell as a person downloads it."""
    with page.expect_download() as download:
        page.click("#csv")
    return list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))


def numbers(rows: list[dict[str, str]], column: str) -> np.ndarray:
    return np.array([float(row[column] or "nan") for row in rows])


@pytest.mark.parametrize("size", SIZES)
def test_keys_clicks_and_series(browser, record, page_path, size):
    page, said = opened(browser, page_path, size)
    # the arrow keys move the day by as many, and the picture with it
    before, first = page.locator("#map-1").screenshot(), page.inner_text("#date-shown")
    page.focus("#day")
    keys = 5 if first < "2020-02-15" else -5
    for _ in range(5):
        page.keyboard.press("ArrowRight" if keys > 0 else "ArrowLeft")
    assert page.inner_text("#date-shown") == str(np.datetime64(first) + keys)
    page.wait_for_timeout(200)
    assert page.locator("#map-1").screenshot() != before
    # a click in the middle of a cell, whichever it is: the page says which
    plot = page.evaluate(
        "() => { const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name('map-1'));"
        "const frame = view.frame.bbox; const box = view.el.getBoundingClientRect();"
        "return [box.left + frame.left, box.top + frame.top, frame.width, frame.height]; }"
    )
    row, column = np.argwhere(record["land"].values)[-1]
    x = plot[0] + (column + 0.5) / record.sizes["lon"] * plot[2]
    y = plot[1] + (row + 0.5) / record.sizes["lat"] * plot[3]
    page.mouse.click(x, y)
    lat, lon = float(record["lat"][row]), float(record["lon"][column])
    page.wait_for_function(f"document.getElementById('place').textContent === 'lat {lat:g}\u00b0, lon {lon:g}\u00b0'")
    rows, cell = series(page), {"lat": row, "lon": column}
    assert [line["date"] for line in rows] == [str(day)[:10] for day in record["time"].values]
    filled = numbers(rows, "filled.nc filled [m3 m-3]")
    assert abs(filled - record["sm_filled"].isel(cell).values).max() <= 2e-4
    seen = numbers(rows, "observed (filled.nc) [m3 m-3]")
    assert np.array_equal(np.isnan(seen), np.isnan(record["sm"].isel(cell).values))
    assert np.nanmax(abs(seen - record["sm"].isel(cell).values)) <= 2e-4
    lower = numbers(rows, "good lower [m3 m-3]")
    assert np.nanmax(abs(lower - record["sm_lower"].isel(cell).values)) <= 1e-3
    member = numbers(rows, "filled.nc member 9 [m3 m-3]")
    assert np.nanmax(abs(member - members_of(record).isel(member=9, **cell).values)) <= 3e-3
    assert "filled.nc member 10 [m3 m-3]" not in rows[0]
    assert page.is_visible("#members-key")
    # the arrow keys of the maps choose another cell
    page.focus("#maps")
    page.keyboard.press("ArrowUp")
    assert f"lon {lon:g}" in page.inner_text("#place")
    assert f"lat {lat:g}\u00b0" not in page.inner_text("#place")
    # every layer can be drawn; play and pause
    for layer in page.eval_on_selector_all("#layer option", "all => all.map((one) => one.value)"):
        page.select_option("#layer", layer)
        assert page.inner_text("#layer-note")
    page.click("#play")
    page.wait_for_function(f"document.getElementById('date-shown').textContent !== '{page.inner_text('#date-shown')}'")
    page.click("#play")
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    # labels of dates have room
    assert page.evaluate(
        "() => { const axis = Bokeh.documents[0].get_model_by_name('series').below[0];"
        "return Bokeh.index.find_one(axis).tick_coords.major[0].length; }"
    ) <= (5 if size[0] < 400 else 14)
    assert said == [page_path.as_uri()]
    page.close()


def test_tab_order_and_accessibility(browser, page_path):
    page, _ = opened(browser, page_path)
    order = []
    for _ in range(16):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    found = [name for name in dict.fromkeys(order) if name]
    assert found[:7] == ["day", "play", "date", "layer", "show-0", "show-1", "show-2"]
    page.focus("#csv")
    page.keyboard.press("Tab")
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm install axe-core")
    page.add_script_tag(path=str(AXE))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        faults = page.evaluate("axe.run().then((result) => result.violations)")
        assert [fault["id"] for fault in faults if fault["impact"] in ("serious", "critical")] == []
    page.close()


def test_texts_of_strangers_do_nothing(browser, tmp_path):
    record = filled_record(5, target=HOSTILE, units=HOSTILE)
    record["sm_flag"].attrs["flag_meanings"] = HOSTILE.replace(" ", "_") + " b"
    report = Report(
        title="Unchanged",
        questions=[Question(observed_of(record), [Product(HOSTILE, record)])],
        notes=[HOSTILE],
        sources={HOSTILE: {HOSTILE: HOSTILE}},
    )
    write_report(report, tmp_path / "page.html", 5)
    page, said = opened(browser, tmp_path / "page.html")
    page.select_option("#layer", "flag")
    assert page.title() == "Unchanged"
    assert HOSTILE in page.inner_text("main")
    assert said == [(tmp_path / "page.html").as_uri()]
    page.close()


ODD: dict[str, dict[str, Any]] = {
    "one day": {"days": 1},
    "one cell": {"rows": np.array([10.0]), "columns": np.array([5.0])},
    "all gaps": {"all_gaps": True},
    "no sm_std": {"std": False},
    "projected": {"dims": ("y", "x"), "rows": np.arange(4)[::-1] * 9000.0, "columns": np.arange(5) * 9000.0},
    "3-day steps": {"step": 3},
    "date line": {"columns": np.array([178.0, 179.0, -180.0, -179.0])},
    "rows of unequal height": {"rows": np.array([60.0, 50.0, 42.0, 35.0, 29.0])},
}


def test_odd_records_have_pages_that_work(browser, tmp_path):
    for name, shape in ODD.items():
        record = filled_record(**{"days": 12, **shape})
        path = tmp_path / f"{name.replace(' ', '_')}.html"
        write_report(Report(title=name, questions=[Question(observed_of(record), [Product("a", record)])]), path, 3)
        page, said = opened(browser, path, SIZES[1])
        rows = series(page)
        assert len(rows) == record.sizes["time"], name
        place = page.inner_text("#place")
        dims = record["sm_filled"].dims[1:]
        at = [float(part.split()[1].strip("°")) for part in place.replace(" m", "").split(", ")]
        cell = record["sm_filled"].sel(dict(zip(dims, at, strict=True)) if name != "date line" else {"lat": at[0]})
        if name != "date line":
            assert np.nanmax(abs(numbers(rows, "a filled [m3 m-3]") - cell.values)) <= 5e-4, name
        assert page.evaluate("document.documentElement.scrollWidth") == 390, name
        assert said == [path.as_uri()], name
        page.close()
