"""Fetch the files of a product, or say where to get them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sgdsm.core.errors import ConfigError
from sgdsm.core.region import check_bbox
from sgdsm.core.settings import setting
from sgdsm.sources.download.products import download

USAGE = "product=P start=A end=B output=FOLDER"
NOTE = "the same words go on where an interrupted call stopped; null: what the product takes by itself"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Product, period, and options that some products have."""

    product: str = setting(help="esa_cci, smap, era5_land, chirps, links; others print where to get them")
    start: str | None = setting(None, "first day")
    end: str | None = setting(None, "last day")
    output: str | None = setting(None, "folder; what is there already is not fetched again", path=True)
    kind: str | None = setting(None, "esa_cci: COMBINED, PASSIVE, ACTIVE; smap: SPL3SMP, SPL3SMP_E; chirps: p25, p05")
    version: str | float | None = setting(None, "esa_cci: v09.1; smap: 009")
    variables: list[str] | None = setting(None, "era5_land: names of the Climate Data Store")
    bbox: list[Any] | None = setting(None, "era5_land: [west, south, east, north], degrees")
    links: str | None = setting(None, "links: text file with an address on each line", path=True)
    base_url: str | None = setting(None, "esa_cci, chirps: of a mirror")
    workers: int | None = setting(None, "files at once")
    deadline_minutes: float | None = setting(
        None, "esa_cci, chirps, links: for a whole file, waits and new tries included; 120"
    )

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_bbox(self.bbox)
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url={self.base_url}: expected an address that begins with https:// or http://")


def run(settings: Settings) -> None:
    """Fetch the files, or print how to get them."""
    download(asdict(settings))
