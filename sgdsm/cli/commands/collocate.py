"""Estimate the errors of three products without a known truth (triple collocation), cell by cell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import check_folder
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.evaluation.collocated_files import (
    INDEPENDENCE,
    check_independent,
    collocate,
    open_triplet,
    reference_of,
    table,
    write,
)

USAGE = "products=[A.nc,B.nc,C.nc] variables=[NAME,NAME,NAME] output=FILE.nc"
NOTE = "errors of the three must be independent: a product filled with a reanalysis is not independent of it"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The products, and what is asked of them."""

    products: list[str] = setting(help="three files on one grid, the filled one first")
    variables: list[str] = setting(help="the variable of each")
    output: str = setting(help="FILE.nc", path=True)
    reference: str | None = setting(None, "product whose units the errors have; the first by default")
    least: int = setting(200, "days on which all three have a value")
    anomaly_days: int | None = setting(35, "window of the moving mean that anomalies leave out; null: raw values alone")
    block_days: int = setting(60, "length of the blocks of days that are drawn for the intervals")
    draws: int = setting(200, "of blocks; 0: no intervals")
    seed: int = setting(0, "of the draws")
    dependent: Literal["refuse", "allowed"] = setting(
        "refuse", "products whose errors depend on each other, by what their files say"
    )
    memory_gib: float = setting(1.0, "for the rows that are in memory at once")

    def __post_init__(self) -> None:
        for key in ("products", "variables"):
            given = getattr(self, key)
            if len(given) != 3 or not all(given):
                raise ConfigError(f"{key}={given}: expected three, like [A.nc,B.nc,C.nc] and [sm_filled,sm,swvl1]")
        if len(set(zip(self.products, self.variables, strict=True))) < 3:
            raise ConfigError(f"products={self.products}: one of them is given twice; expected three different ones")
        if Path(self.output).suffix != ".nc":
            raise ConfigError(f"output={self.output}: expected FILE.nc")
        if self.output in self.products:
            raise ConfigError(f"output={self.output}: is one of the products; expected another name")
        check_folder("output", self.output)


def run(settings: Settings) -> None:
    """Estimate the errors, print the medians over cells, and write the maps."""
    triplet = open_triplet(settings.products, settings.variables)
    reference = reference_of(triplet, settings.reference)
    with exclusive(settings.output):
        reasons = check_independent(triplet, settings.dependent == "allowed")
        found = collocate(
            triplet,
            reference=reference,
            least=settings.least,
            anomaly_days=settings.anomaly_days,
            block_days=settings.block_days,
            draws=settings.draws,
            seed=settings.seed,
            memory_gib=settings.memory_gib,
        )
        about = {"settings": json.dumps(asdict(settings)), "dependences": "; ".join(reasons)}
        write(found, triplet, Path(settings.output), reference, about)
    labels = list(triplet.products)
    print(f"error std in units of {labels[reference]}; medians over cells\n{table(found, labels)}")
    print(f"{INDEPENDENCE}\nmaps: {settings.output}")
