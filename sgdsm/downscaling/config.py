"""The settings of `sgdsm downscale train`, and their checks before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import check_part, setting
from sgdsm.core.specification import TARGET, build, check_spec
from sgdsm.data.months import Months
from sgdsm.downscaling.regressors import Regressor

KINDS: dict[str, Any] = {"data": xr.Dataset, "regressor": Regressor, "splits": Months}
GROUPS = tuple(KINDS)
DEMO = {"regressors": list, "fine_days": int, "write_fine": bool}
MONTHS = "sgdsm.data.Months"
REGION = "sgdsm.sources.simulated_region"


@dataclass(frozen=True, kw_only=True)
class DownscaleConfig:
    """Fit a regressor to values of 1 km, score it on the test months, and print the folder of the run."""

    data: dict[str, Any] = setting("region", "a cube or a table: data=netcdf, data=prepared, data=table", group=True)
    regressor: dict[str, Any] = setting("random_forest", "what is fitted", group=True)
    splits: dict[str, Any] = setting("months", "days of validation and test", group=True)
    seed: int = setting(0, "of training: rows and predictors of trees, first weights")
    level: float | None = setting(0.9, "of the intervals, by quantile trees; null: no intervals and no distance")
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting("auto", "as in pytorch_lightning.Trainer")
    figures: bool = setting(True, "whether figures are drawn")
    demo: dict[str, Any] | None = setting(help="scores at 10 m of an experiment", from_experiment=True)

    def __post_init__(self) -> None:
        for group, kind in KINDS.items():
            spec = getattr(self, group)
            if not isinstance(spec, Mapping):
                raise ConfigError(f"{group}={spec!r}: expected settings with {TARGET}")
            if group == "splits" and spec.get(TARGET) != MONTHS:
                raise ConfigError(f"splits: {spec.get(TARGET)} is for gap-fillers, expected splits=months")
            check_spec(spec, kind, group)
            if group != "data":
                build(spec, kind)
        if self.level is not None and not 0.5 <= self.level <= 0.99:
            raise ConfigError(f"level={self.level}: expected 0.5 to 0.99, or null")
        check_part("demo", self.demo, DEMO)
        if self.demo is not None and self.data.get(TARGET) != REGION:
            raise ConfigError("demo: the truth at 10 m is known of data=region only")

    def training(self) -> dict[str, Any]:
        """Return what a run folder keeps in config.yaml, as plain values."""
        own = {name: getattr(self, name) for name in (*GROUPS, "seed", "level")}
        return {"command": "downscale train", **own}
