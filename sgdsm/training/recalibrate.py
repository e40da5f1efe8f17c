"""Intervals that follow the drift of a sensor or a climate: a run's calibration, again on recent values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sgdsm.core.cube import ConfigError

if TYPE_CHECKING:
    import xarray as xr

    from sgdsm.data.gaps import Gaps
    from sgdsm.models.uncertainty.calibrated import Calibrated, CalibrationBatch

RECALIBRATION = 18  # first word of the seed
HIDDEN, FEWEST = 0.2, 300


def recalibrate(config: dict[str, Any]) -> None:
    """Fit the intervals of a run to recent values that it has not learned from, and keep it as another run."""
    import xarray as xr

    from sgdsm.core.lock import exclusive
    from sgdsm.core.specification import build
    from sgdsm.data.gaps import Gaps
    from sgdsm.models.checkpoint import load_filler, save_filler
    from sgdsm.models.uncertainty.calibrated import Calibrated
    from sgdsm.training.config import check_config
    from sgdsm.training.run import CONFIG, METRICS, MODEL, PROVENANCE, Run, fingerprint, run_data

    for key in ("days", "half_life_days"):
        if config[key] < 1:
            raise ConfigError(f"{key}={config[key]}: expected at least 1")
    run, output = Run(config["run"]), Run(str(config["output"]))
    trained, metrics = run.config(), run.metrics()
    check_config(trained, "train")
    if output.folder.exists():
        raise ConfigError(f"output={output.folder} exists: remove it, or choose another")
    if not output.folder.absolute().parent.is_dir():
        raise ConfigError(f"output={output.folder}: there is no folder {output.folder.absolute().parent}")
    if metrics["protocol"].get("learned_from"):
        raise ConfigError(f"run={run.folder} took over what another run has learned, nobody knows up to which day")
    filler = load_filler(run.model)
    if not isinstance(filler, Calibrated):
        raise ConfigError(
            f"run={run.folder}: {type(filler).__name__} has no intervals; expected a run with uncertainty=conformal"
        )
    origin = run.provenance()
    learned = origin["data"].get("last_day")
    if learned is None:
        raise ConfigError(
            f"{run.folder / PROVENANCE}: does not say up to which day the run has learned: train it again"
        )
    data = run_data(trained, config.get("data"))
    cube: xr.Dataset = build(data, xr.Dataset)
    gaps: Gaps = build(trained["gaps"], Gaps)
    told = refit(cube, filler, gaps, learned, config["days"], config["half_life_days"], config["seed"])
    with exclusive(output.folder):
        about = {"run": run.folder.name, "data": {"fingerprint": fingerprint(cube), **_path(data)}, **told}
        output.write(CONFIG, trained)
        output.write(PROVENANCE, {**origin, "recalibrated": about})
        save_filler(filler, output.folder / MODEL)
        # its scores would be those of other intervals
        output.write(METRICS, {k: v for k, v in metrics.items() if k != "classes"} | {"recalibrated": about})
    print(
        f"{told['hidden']} values hidden from {told['first_day']} to {told['last_day']}: the {100 * filler.level:g} % "
        f"interval covered {told['covered']:.3f}; it is {told['width']:.2f} times as wide now\nrun: {output.folder}"
    )


def refit(
    cube: xr.Dataset, filler: Calibrated, gaps: Gaps, learned: str, days: int, half_life_days: float, seed: int = 0
) -> dict[str, Any]:
    """Fit a filler's intervals, in place, to the last days of a cube, a value `half_life_days` older counting half.

    Split conformal prediction with weights for values that are not exchangeable (Barber et al., Ann. Stat. 51, 816,
    2023). Of the values of the last `days` days, and after the day `learned`, a fresh gap-like draw is hidden, a share
    HIDDEN, and filled by what is left as a product would be. See `Calibrated.recalibrate` for what is fitted.

    Returns what was hidden, and by how much the interval changed.

    Raises ConfigError where there are fewer than FEWEST such values.
    """
    import torch

    from sgdsm.core.cube import target_of
    from sgdsm.core.matching import warn_ranges
    from sgdsm.core.orbit import Orbit
    from sgdsm.data.batch import Scene
    from sgdsm.data.gaps import SPREAD
    from sgdsm.data.normalization import CellStatistics
    from sgdsm.data.record import read_record
    from sgdsm.inference.fill import match
    from sgdsm.models.uncertainty.correlation import positions
    from sgdsm.training.calibrate import predict_held_out

    cube, names = match(cube, filler.inputs)
    warn_ranges(cube, filler.inputs.ranges)
    record = read_record(cube, names)
    observed = record.observed & record.land
    last = int(record.days[-1])
    first = max(last - days, int(np.datetime64(learned, "D").astype(int))) + 1
    recent = observed & (record.days >= first)[:, None, None]
    orbit = Orbit(cube["lat"].values, cube["lon"].values) if "lat" in cube.dims else None
    rng = np.random.default_rng([RECALIBRATION, seed])
    hidden = np.logical_or.reduce(list(gaps.draw(observed, recent, rng, orbit, HIDDEN, part=SPREAD).values()))
    if hidden.sum() < FEWEST:
        raise ConfigError(
            f"recalibrate: {int(hidden.sum())} values could be hidden after {learned}, the last day that the run has "
            f"learned from; expected at least {FEWEST}: data= names a cube that goes on"
        )
    seen = observed & ~hidden
    climatology = CellStatistics.of(record.values, seen, record.days).solve()
    scene = Scene.of(record, filler.inputs, seen, hidden, climatology)
    age = (last - record.days)[:, None, None] / half_life_days
    weight = np.broadcast_to(0.5**age, hidden.shape).astype(np.float32)
    calibration = predict_held_out(
        filler.filler, scene, positions(target_of(cube)), {"enable_progress_bar": False}, weight
    )
    with torch.no_grad():
        covered, before = _cover(filler, calibration)
        filler.recalibrate(calibration)
        _, after = _cover(filler, calibration)
    return {
        "first_day": str(np.datetime64(first, "D")),
        "last_day": str(np.datetime64(last, "D")),
        "half_life_days": half_life_days,
        "seed": seed,
        "hidden": int(hidden.sum()),
        "covered": covered,
        "width": after / before,
    }


def _cover(filler: Calibrated, calibration: list[CalibrationBatch]) -> tuple[float, float]:
    """How often the interval holds the values, by their weights, and its mean width."""
    import torch

    widths = torch.cat([filler.widths(one.batch, one.std)[0] for one in calibration])
    weights = torch.cat([one.weights() for one in calibration])
    inside = torch.cat([one.errors for one in calibration]).abs() <= widths
    return float((inside * weights).sum() / weights.sum()), float((widths * weights).sum() / weights.sum())


def _path(data: dict[str, Any]) -> dict[str, Any]:
    return {k: str(v) for k, v in data.items() if k == "path"}
