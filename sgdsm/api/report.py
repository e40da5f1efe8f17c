"""The page of a filled Dataset, from Python."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import maps_of, observed_of
from sgdsm.core.io.stores import check_folder, local_only
from sgdsm.report.interactive import require_bokeh
from sgdsm.report.packing import Product, Question
from sgdsm.report.page import MEGABYTES, PAGES, Report, write_report


@checked
def report(
    filled: xr.Dataset,
    path: str | Path,
    megabytes: float = MEGABYTES,
    *,
    title: str | None = None,
    members: xr.DataArray | None = None,
) -> Path:
    """Write a page of a filled Dataset, as `sgdsm report` does of a file.

    Args:
        filled: As `sgdsm.fill` returns it, or predict.py writes it.
        path: FILE.html.
        megabytes: Largest size of the page, 10^6 bytes; maps of large records are thinned for it.
        title: Of the page; by default that of the Dataset.
        members: Possible values from `sgdsm.members`, of which the series of a cell shows ten.

    Returns:
        `path`.

    Raises:
        CubeError: The Dataset is not a filled one, or nothing says which variable holds the observed values.
        ConfigError: The name of the file, a page that cannot be so small, or bokeh is missing.
    """
    require_bokeh()
    local_only("path", path, "a page is written here, and can be copied")
    path = Path(path)
    if path.suffix not in PAGES or path.is_dir():
        raise ConfigError(f"path={path}: expected a name that ends in .html")
    check_folder("path", path)
    maps_of(filled)
    name = title or str(filled.attrs.get("title") or "Filled soil moisture")
    sizes = ", ".join(f"{n} {dim}" for dim, n in filled.sizes.items())
    about = {"size": sizes, **{str(k): v for k, v in filled.attrs.items()}}
    question = Question(observed_of(filled), [Product("filled", filled, members)])
    write_report(Report(name, questions=[question], sources={"Filled Dataset": about}), path, megabytes)
    return path
