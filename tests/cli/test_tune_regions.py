from __future__ import annotations

import csv
import json

import pytest

pytestmark = pytest.mark.slow

WORLD = ["data=model_world", "data.rows=6", "data.columns=10", "data.days=300", "splits.block_days=20",
         "splits.separation_days=6", "splits=blocks", "uncertainty=none", "trainer.progress=false"]  # fmt: skip


def test_regions_are_tuned_at_once_and_joined(run_command, tmp_path):
    pytest.importorskip("optuna")
    words = ["model=window_forest", "zone=climate", "trials=2", "startup_trials=1", "output=tuned", *WORLD]
    code, out, err = run_command("tune regions", *words)
    assert code == 0, err
    with (tmp_path / "tuned" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["region"]) for row in rows] == [
        (f"trial_00{t}", str(r)) for t in (0, 1) for r in (1, 2, 3)
    ]
    # the RMSE of the whole is made of those of the regions
    regions = json.loads((tmp_path / "tuned" / "trial_000" / "regions.json").read_text())
    metrics = json.loads((tmp_path / "tuned" / "trial_000" / "metrics.json").read_text())
    mean = sum(count * rmse**2 for rmse, count in regions.values()) / sum(count for _, count in regions.values())
    assert mean**0.5 == pytest.approx(metrics["validation_rmse"], rel=1e-3)
    # the last line is good for train
    joined = out.strip().splitlines()[-1]
    best = min((row for row in rows if row["region"] == "2"), key=lambda row: float(row["rmse"]))
    assert f"zone_2:[{best['trees']},{best['max_depth']},{best['min_samples_split']}," in joined
    code, _, err = run_command("tune regions", *[w.replace("window_forest", "xgboost") for w in words])
    assert code == 1
    assert "expected model=window_forest" in err
