"""Fit a regressor to soil moisture of 1 km, for maps of 10 m; prints its scores and the folder of the run."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from sgdsm.cli.hydra_state import is_run_folder_given, is_sweep, run_folder, shown
from sgdsm.cli.overrides import with_run_folder
from sgdsm.core.errors import ConfigError
from sgdsm.core.words import counted
from sgdsm.downscaling.config import DownscaleConfig as Settings
from sgdsm.downscaling.demo import demo
from sgdsm.downscaling.train import train
from sgdsm.evaluation.rows import rows_text
from sgdsm.training.compose import compose_settings
from sgdsm.training.run import CONFIG

USAGE = "[data=..] [regressor=..] [splits=months] [experiment=downscale_demo] | -m experiment=tune_downscale"
NOTE = (
    "data=table --help shows the settings of a table of your own, data=netcdf those of a cube; name=NAME puts the run "
    "into runs/NAME, output=FOLDER into any folder; -m regressor.trees=50,100 trains one after the other and names the "
    "best by the RMSE of the validation months"
)
HYDRA = {
    "run": {"dir": "runs/${now:%Y-%m-%d_%H-%M-%S}_downscale_${hydra:runtime.choices.regressor}"},
    "sweep": {
        "dir": "runs/${now:%Y-%m-%d_%H-%M-%S}_downscale_sweep",
        "subdir": "${hydra:job.num}_${hydra:runtime.choices.regressor}",
    },
}


prepared = with_run_folder


def run(settings: Settings) -> float:
    """Train in the folder that Hydra made; returns the validation RMSE, which sweeps minimise."""
    folder = run_folder()
    if (folder / CONFIG).exists() and not (is_sweep() or is_run_folder_given()):
        # another training began within the same second, after which folders are named
        folder = next(free for k in count(2) if not (free := Path(f"{folder}_{k}")).exists())
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds a run already: remove it, or choose another name=")
    config = settings.training()
    others = {}
    for name in (settings.demo or {}).get("regressors") or []:
        others[name] = compose_settings("downscale train", Settings, [f"regressor={name}", f"seed={settings.seed}"])
    trained = train(config, folder, settings.accelerator, settings.figures)
    metrics = trained.metrics()
    days = metrics["protocol"]["test_days"]
    period = f"{counted(len(days), 'day')} of the test months, {days[0]} to {days[-1]}"
    print(f"\nscores at 1 km on {period} [{metrics['units']}]")
    print(rows_text(metrics["classes"]))
    if "coverage" in metrics:
        print(f"intervals of level {metrics['level']:g} hold {metrics['coverage']:.3f} of the test values")
    if settings.demo is not None:
        specs = {name: other["regressor"] for name, other in others.items()}
        own = str(HydraConfig.get().runtime.choices["regressor"])
        print(demo(settings.demo, config, specs, folder, own, settings.accelerator))
    print(f"run: {shown(folder)}")
    score: float = metrics["validation_rmse"]
    return score
