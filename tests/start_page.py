"""Walk through the start page as a person does who has read nothing else: her own file, filled, and its page opened.

    python -m tests.start_page [FOLDER] [short]

Takes the command lines out of docs/start.md, and runs them in order, as they are, in a folder with nothing in it but
`mine.nc`. Each page of a report is opened in a browser (playwright and Chromium; without them it is only read). Prints
the seconds of each step. With the word `short` trainings are cut short, as in `make docs`, which runs the same lines.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import xarray as xr

from docs.check import ROOT, blocks, commands, quick

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def steps() -> list[list[str]]:
    """Return the commands of the start page, in order."""
    page = ROOT / "docs" / "start.md"
    return [words for block in blocks(page) if block.reason is None for words in commands(block)]


def page_of(words: list[str]) -> str | None:
    """Return the page that a command writes; None where it writes none."""
    key = "output=" if words[0] == "report" else "report="
    return next((word.removeprefix(key) for word in words if word.startswith(key)), None)


def own_file(path: Path) -> None:
    """Write a file as a person has it: 731 days of 24 x 48 cells, with names of her own and no attributes of ours."""
    from sgdsm.sources import simulate

    cube = simulate(24, 48, 731, start="2015-01-01")
    own = cube[["sm", "precipitation", "air_temperature", "clay", "elevation"]]
    for variable in own.variables.values():
        variable.attrs.pop("role", None)
    xr.Dataset(own.data_vars, own.coords).to_netcdf(path)


def opened(page: Path) -> str:
    """Open a page of a report, and return what was seen of it.

    Raises:
        AssertionError: The page does not work.
    """
    text = page.read_text(encoding="utf-8")
    assert 'id="map-1"' in text
    chromium = next((path for name in NAMES if (path := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return f"{len(text) / 1e6:.1f} MB, not opened: needs playwright and Chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab, asked = browser.new_page(), []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector("#interactive.ready", state="attached")
        assert asked == [page.resolve().as_uri()]
        day, place = tab.inner_text("#date-shown"), tab.inner_text("#place")
        browser.close()
    return f"{len(text) / 1e6:.1f} MB, shows {day} and the series of the cell at {place}"


def main() -> None:
    """Make the file, run the steps, and print how long they take."""
    given = [word for word in sys.argv[1:] if word != "short"]
    short = len(given) < len(sys.argv) - 1
    folder = Path(given[0]) if given else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    own_file(folder / "mine.nc")
    began, first_page = time.monotonic(), True
    for words in (quick(words) if short else words for words in steps()):
        since = time.monotonic()
        subprocess.run([sys.executable, "-m", "sgdsm", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        print(f"{time.monotonic() - since:5.0f} s  sgdsm {shlex.join(words)}", flush=True)
        page = page_of(words)
        if page is not None:
            print(f"         {page}: {opened(folder / page)}")
        if page is not None and first_page:
            print(f"{time.monotonic() - began:5.0f} s  from the file to its page", flush=True)
            first_page = False
    print(f"{time.monotonic() - began:5.0f} s  the whole page, in {folder}")


if __name__ == "__main__":
    main()
