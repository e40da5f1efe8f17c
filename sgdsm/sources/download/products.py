"""Products that the command `download` fetches: their addresses, or the library that fetches them.

The options of a product are the arguments of its function.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.words import counted
from sgdsm.sources.download.errors import LOGINS, DownloadError
from sgdsm.sources.download.fetch import DEADLINE_MINUTES, Job, fetch_all, library, write_own
from sgdsm.sources.download.manual import ELSEWHERE

CEDA = "https://dap.ceda.ac.uk/neodc/esacci/soil_moisture/data/daily_files"
CHC = "https://data.chc.ucsb.edu/products/CHIRPS-2.0/global_daily/netcdf"
CDS_KEY = (
    "needs a key in ~/.cdsapirc (https://cds.climate.copernicus.eu/how-to-api) and the data set's licence accepted"
)
CCI_GROUPS = {"COMBINED": "SSMV", "PASSIVE": "SSMV", "ACTIVE": "SSMS"}
SMAP_VERSIONS = {"SPL3SMP": "009", "SPL3SMP_E": "006"}


def download(config: dict[str, Any]) -> None:
    """Fetch a product's files, or print how to get them.

    Args:
        config: The product and its options; None = not given.

    Raises:
        ConfigError: If the product or an option is unknown, or an option is missing.
        DownloadError: If a file cannot be fetched.
    """
    product = config["product"]
    if product in ELSEWHERE:
        print(ELSEWHERE[product])
        return
    known = [*PRODUCTS, *ELSEWHERE]
    if product not in PRODUCTS:
        raise ConfigError(f"product={product}{suggest(product, known)}: expected one of {', '.join(known)}")
    given = {key: value for key, value in config.items() if key != "product" and value is not None}
    options = inspect.signature(PRODUCTS[product]).parameters
    for key in given:
        if key not in options:
            raise ConfigError(f"{key}={given[key]}: {product} has no such option; it has {', '.join(options)}")
    for key, option in options.items():
        if key not in given and option.default is option.empty:
            raise ConfigError(f"{key} is not given: pass {key}=...")
    PRODUCTS[product](**given)


def esa_cci(
    start: str,
    end: str,
    output: str,
    kind: str = "COMBINED",
    version: str | float = "v09.1",
    base_url: str = CEDA,
    workers: int = 4,
    deadline_minutes: float = DEADLINE_MINUTES,
) -> None:
    """Fetch ESA CCI soil moisture, one file a day, from the open archive of CEDA.

    Args:
        start: First day, as '2016-01-31'.
        end: Last day.
        output: Folder for the files.
        kind: 'COMBINED', 'PASSIVE' or 'ACTIVE'.
        version: Version, as 'v09.1'.
        base_url: Address of the archive.
        workers: Number of files at once.
        deadline_minutes: Largest time for each file.

    Raises:
        ConfigError: If an option is not possible.
        DownloadError: If a file cannot be fetched.
    """
    if kind not in CCI_GROUPS:
        raise ConfigError(f"kind={kind}: expected one of {', '.join(CCI_GROUPS)}")
    try:
        # 9.1, 'v9.1' and 'v09.1' mean the same
        version = f"v{float(str(version).lstrip('v')):04.1f}"
    except ValueError as error:
        raise ConfigError(f"version={version}: expected one like v09.1") from error
    jobs = []
    for day in _days(start, end):
        name = f"ESACCI-SOILMOISTURE-L3S-{CCI_GROUPS[kind]}-{kind}-{day:%Y%m%d}000000-f{version}.nc"
        jobs.append(Job(f"{base_url.rstrip('/')}/{kind}/{version}/{day:%Y}/{name}", f"{day:%Y}/{name}"))
    _fetched(jobs, output, workers, deadline_minutes)


def chirps(
    start: str,
    end: str,
    output: str,
    kind: str = "p25",
    base_url: str = CHC,
    workers: int = 2,
    deadline_minutes: float = DEADLINE_MINUTES,
) -> None:
    """Fetch CHIRPS 2.0 daily precipitation, one file a year.

    Args:
        start: First day, as '2016-01-31'.
        end: Last day.
        output: Folder for the files.
        kind: 'p25' (0.25 degree) or 'p05' (0.05 degree, 1 GB a year).
        base_url: Address of the archive.
        workers: Number of files at once.
        deadline_minutes: Largest time for each file.

    Raises:
        ConfigError: If an option is not possible.
        DownloadError: If a file cannot be fetched.
    """
    if kind not in ("p25", "p05"):
        raise ConfigError(f"kind={kind}: expected p25 or p05")
    years = sorted({day.year for day in _days(start, end)})
    names = [f"chirps-v2.0.{year}.days_{kind}.nc" for year in years]
    jobs = [Job(f"{base_url.rstrip('/')}/{kind}/{name}", name) for name in names]
    _fetched(jobs, output, workers, deadline_minutes)


def smap(
    start: str, end: str, output: str, kind: str = "SPL3SMP", version: str | int | None = None, workers: int = 4
) -> None:
    """Fetch SMAP L3 soil moisture, one file a day, with earthaccess.

    Args:
        start: First day, as '2016-01-31'.
        end: Last day.
        output: Folder for the files.
        kind: 'SPL3SMP' (36 km) or 'SPL3SMP_E' (9 km).
        version: Version of the product, as '009'; None: the one of `SMAP_VERSIONS`.
        workers: Number of files at once.

    Raises:
        ConfigError: If an option is not possible.
        DownloadError: If the login is refused, the archive has nothing, or a file cannot be fetched.
    """
    if kind not in SMAP_VERSIONS:
        raise ConfigError(f"kind={kind}: expected one of {', '.join(SMAP_VERSIONS)}")
    version = SMAP_VERSIONS[kind] if version is None else str(version).zfill(3)
    days = _days(start, end)
    earthaccess = library("earthaccess")
    # a token or a password in the environment is what clusters use
    strategy = "environment" if {"EARTHDATA_TOKEN", "EARTHDATA_USERNAME"} & set(os.environ) else "netrc"
    with _errors_of("earthaccess", f"it needs {LOGINS['nasa.gov']}"):
        if not earthaccess.login(strategy=strategy).authenticated:
            raise ValueError("the login was refused")
        granules = earthaccess.search_data(short_name=kind, version=version, temporal=(start, end))
    if not granules:
        raise DownloadError(f"{kind} version {version}: the archive has nothing from {start} to {end}")
    log.info("%s version %s: %d files for %d days", kind, version, len(granules), len(days))
    with _errors_of("earthaccess", "complete files are kept; to resume, run the same command again"):
        paths = earthaccess.download(granules, local_path=str(Path(output).expanduser()), threads=workers)
    print(f"{counted(len(paths), 'file')} in {output}")


def era5_land(
    start: str,
    end: str,
    output: str,
    variables: Sequence[str] = ("2m_temperature", "total_precipitation"),
    bbox: Sequence[float] | None = None,
) -> None:
    """Fetch ERA5-Land, hourly, one request and one file for each month that the days touch, with cdsapi.

    Args:
        start: First day, as '2016-01-31'.
        end: Last day.
        output: Folder for the files.
        variables: Names of the Climate Data Store.
        bbox: West, south, east, north in degrees.

    Raises:
        ConfigError: If the days are not possible.
        DownloadError: If a request fails, or the folder holds files of another request.
    """
    folder = Path(output).expanduser()
    days = _days(start, end)
    cdsapi = library("cdsapi")
    folder.mkdir(parents=True, exist_ok=True)
    months = sorted({day.replace(day=1) for day in days})
    for number, month in enumerate(months):
        target = folder / f"era5_land_{month:%Y%m}.nc"
        request = _era5_request(month, variables, bbox)
        if _requested_already(target, request):
            continue
        log.info("%s: month %d of %d; a request may wait for hours in the queue", target.name, number + 1, len(months))
        part = target.with_name(f"{target.name}.part")
        part.unlink(missing_ok=True)  # the library would write to the target of a link
        with _errors_of("cdsapi", f"{month:%Y-%m}: {CDS_KEY}"):
            cdsapi.Client().retrieve("reanalysis-era5-land", request, str(part))
        with part.open("rb") as file:
            # the store sends zip archives for some requests, whatever was asked for
            if file.read(2) == b"PK":
                raise DownloadError(f"{part}: a zip archive came, expected NetCDF: unpack it by hand")
        write_own(_request_file(target), json.dumps(request))
        part.replace(target)
    print(f"{counted(len(months), 'file')} in {output}")


def links(links: str, output: str, workers: int = 4, deadline_minutes: float = DEADLINE_MINUTES) -> None:
    """Fetch any files from a list of addresses.

    Args:
        links: Text file with an address on each line; one that ends in .md5 or .sha256 is the checksum of the file
            beside it.
        output: Folder for the files.
        workers: Number of files at once.
        deadline_minutes: Largest time for each file.

    Raises:
        ConfigError: If the file does not exist, or a line is no address of a file.
        DownloadError: If a file cannot be fetched.
    """
    path = Path(links).expanduser()
    if not path.is_file():
        raise ConfigError(f"links={links}: no such file; expected a text file with an address on each line")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ConfigError(f"links={links}: is no text; expected a text file with an address on each line") from error
    urls = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    for url in urls:
        # what is printed must not move the cursor, or hide what stands there
        if not re.fullmatch(r"https?://[^/\s]+/\S*[^/\s]", url) or not url.isprintable():
            raise ConfigError(f"{links}: {url[:80]!r}: expected the http or https address of a file")
    # by the address of the file that they belong to
    sidecars = {url.rpartition(".")[0]: url for url in urls if url.endswith((".md5", ".sha256"))}
    # checksum files are not kept, they only check their neighbours
    jobs = [Job(url, _name_in(url), sidecar=sidecars.get(url)) for url in urls if url not in sidecars.values()]
    _fetched(jobs, output, workers, deadline_minutes)


def _name_in(url: str) -> str:
    """Return the file name at the end of an address.

    Raises:
        DownloadError: If the name would be a path.
    """
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if "/" in name:
        raise DownloadError(f"{name!r}: expected the name of a file, found a path, in {url[:80]}")
    return name


PRODUCTS: dict[str, Callable[..., None]] = {
    "esa_cci": esa_cci,
    "smap": smap,
    "era5_land": era5_land,
    "chirps": chirps,
    "links": links,
}


def _fetched(jobs: Sequence[Job], output: str, workers: int, deadline_minutes: float) -> None:
    """Fetch files and print how many; ConfigError for options that are not possible."""
    if workers < 1:
        raise ConfigError(f"workers={workers}: expected at least 1")
    if not 0 < deadline_minutes < 1e6:
        raise ConfigError(f"deadline_minutes={deadline_minutes}: expected minutes, more than 0")
    new = fetch_all(jobs, output, workers, deadline_minutes)
    print(f"{counted(len(jobs), 'file')} in {output}, {new} of them new")


def _days(start: str, end: str) -> list[date]:
    """Return the days from `start` to `end`; ConfigError for dates that are not possible."""
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError as error:
        raise ConfigError(f"start={start} end={end}: expected days like 2016-01-31") from error
    if last < first:
        raise ConfigError(f"start={start} end={end}: ends before it starts")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _era5_request(month: date, variables: Sequence[str], bbox: Sequence[float] | None) -> dict[str, Any]:
    """Return the request for a month, as cdsapi takes it."""
    # 31 days after the first is always in the next month
    after = (month + timedelta(days=31)).replace(day=1)
    request: dict[str, Any] = {
        "variable": list(variables),
        "year": f"{month:%Y}",
        "month": f"{month:%m}",
        "day": [f"{day:02d}" for day in range(1, (after - month).days + 1)],
        "time": [f"{hour:02d}:00" for hour in range(24)],
        "data_format": "netcdf",
        "download_format": "unarchived",
    }
    if bbox is not None:
        west, south, east, north = bbox
        request["area"] = [north, west, south, east]
    return request


def _requested_already(target: Path, request: dict[str, Any]) -> bool:
    """Return True if the file of a request exists.

    Raises:
        DownloadError: If it was fetched with another request.
    """
    if not target.exists():
        return False
    file = _request_file(target)
    if not file.exists() or json.loads(file.read_text()) != request:
        raise DownloadError(f"{target}: was fetched with other variables or another bbox: choose another output")
    return True


def _request_file(target: Path) -> Path:
    """Return the path of the request beside its file."""
    return target.with_suffix(".request.json")


@contextmanager
def _errors_of(name: str, hint: str) -> Iterator[None]:
    """Turn any error of a library into a DownloadError with a hint."""
    try:
        yield
    except Exception as error:  # such libraries raise many kinds, not documented
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise DownloadError(f"{name}: {text}; {hint}") from error
