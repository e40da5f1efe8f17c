"""Regressors of rows: a random forest, boosted trees, a small network and a linear one, in Lightning's trainer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xgboost
from torch import Tensor, nn

from sgdsm.core.arguments import Recorded
from sgdsm.core.errors import ConfigError, SgdsmError
from sgdsm.models.trees.boosting import booster_bytes, booster_of, forest_parameters

BATCH = 4096  # rows
MANY = 2**13  # rows: fewer are not worth an order
LEVELS, KEYS = 16, 3  # of the order of rows: classes of a predictor, and how many predictors


class Regressor(Recorded, pl.LightningModule):
    """Estimates a target from rows of predictors.

    A subclass gives `estimate`, and either `fit_rows` (trees, ridge: fitted at once to all rows, which Lightning hands
    over in batches) or the `configure_optimizers` of a network.

    Attributes:
        center: Mean of the predictors in the training rows, (P,).
        spread: Their standard deviation, (P,).
        target_center: Mean of the target.
        target_spread: Its standard deviation.
    """

    center: Tensor
    spread: Tensor
    target_center: Tensor
    target_spread: Tensor
    epochs = 1

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._rows: list[tuple[Tensor, Tensor]] = []

    def configure(self, predictors: int) -> None:
        """Make what depends on the number of predictors; called once, before fitting or loading.

        Args:
            predictors: Their number P.
        """
        for name in ("center", "spread"):
            self.register_buffer(name, torch.ones(predictors) * (name == "spread"))
            self.register_buffer(f"target_{name}", torch.tensor(float(name == "spread")))

    def scale_by(self, rows: Tensor, truth: Tensor) -> None:
        """Take mean and standard deviation from the training rows.

        Args:
            rows: (N, P).
            truth: (N,), in the target's units.
        """
        for values, center, spread in (
            (rows, self.center, self.spread),
            (truth, self.target_center, self.target_spread),
        ):
            exact = values.double()
            center.copy_(exact.mean(0))
            found = exact.std(0, correction=0)
            # a constant predictor stays a constant
            spread.copy_(torch.where(found > 0, found, torch.ones_like(found)))

    def scaled(self, rows: Tensor) -> Tensor:
        """Return rows without unit, (N, P)."""
        return (rows - self.center) / self.spread

    def estimate(self, rows: Tensor) -> Tensor:
        """Return estimates in the target's units.

        Args:
            rows: All finite, (N, P) float32.

        Returns:
            (N,) float32.
        """
        raise NotImplementedError

    def fit_rows(self, rows: Tensor, truth: Tensor) -> None:
        """Fit to all training rows at once.

        Args:
            rows: (N, P) float32.
            truth: (N,) float32, in the target's units.
        """
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        return None

    def training_step(self, batch: Sequence[Tensor], index: int) -> Tensor | None:
        """Keep the rows of a batch, and fit after the last one.

        Args:
            batch: Rows (N, P) and truth (N,).
            index: Number of the batch, given by Lightning.
        """
        rows, truth = batch
        self._rows.append((rows.cpu(), truth.cpu()))
        if index + 1 == self.trainer.num_training_batches:
            kept, self._rows = self._rows, []
            # here and not in a hook after the epoch: the validation of this epoch needs the fit
            self.fit_rows(torch.cat([part for part, _ in kept]), torch.cat([part for _, part in kept]))
        return None

    def validation_step(self, batch: Sequence[Tensor], index: int) -> None:
        """Log the error on validation rows.

        Args:
            batch: Rows (N, P) and truth (N,).
            index: Number of the batch, given by Lightning.
        """
        rows, truth = batch
        error = (self.estimate(rows) - truth).square().mean()
        self.log("validation_mse", error, batch_size=len(truth), on_epoch=True, prog_bar=True)


class Trees(Regressor):
    """What forest and boosted trees share: an XGBoost booster, stored as UBJSON.

    Args:
        rounds: Of boosting.
        parameters: XGBoost's own.
        threads: 0: as many as torch uses.
        seed: Of rows and features drawn.
    """

    def __init__(self, rounds: int, parameters: dict[str, Any], threads: int, seed: int) -> None:
        super().__init__()
        self.rounds, self.threads = rounds, threads
        self.tree_parameters = {"objective": "reg:squarederror", "tree_method": "hist", "seed": seed, **parameters}
        self.booster: xgboost.Booster | None = None

    def fit_rows(self, rows: Tensor, truth: Tensor) -> None:
        device = {"device": str(self.device)} if self.device.type == "cuda" else {}
        data = xgboost.QuantileDMatrix(rows.numpy(), truth.numpy(), nthread=threads_of(self.threads))
        parameters = {**self.tree_parameters, **device, "nthread": threads_of(self.threads)}
        self.booster = xgboost.train(parameters, data, self.rounds)

    def estimate(self, rows: Tensor) -> Tensor:
        if self.booster is None:
            raise SgdsmError("the trees are not fitted")
        return predicted(self.booster, rows, self.threads)

    def get_extra_state(self) -> Tensor:
        """Return the booster as UBJSON bytes in a tensor: checkpoints contain nothing else."""
        return torch.empty(0, dtype=torch.uint8) if self.booster is None else booster_bytes(self.booster)

    def set_extra_state(self, state: Tensor) -> None:
        """Read a booster as `get_extra_state` returns it.

        Args:
            state: UBJSON bytes.
        """
        self.booster = booster_of(state) if len(state) else None


class ForestRegressor(Trees):
    """A random forest, as one round of `trees` parallel XGBoost trees.

    It differs from scikit-learn's RandomForestRegressor (Breiman, Machine Learning 45, 5, 2001): each tree sees 63.2 %
    of the rows, drawn without replacement (there a bootstrap sample, whose different rows are as many on average);
    splits lie on 256 quantiles of each predictor (there at any value); and `min_child_weight` rows are the least of a
    leaf, as `min_samples_leaf` there. It takes no missing values here. As any forest it never leaves the range of the
    target that it was trained on.

    Args:
        trees: Number of trees.
        min_child_weight: Smallest number of rows in a leaf.
        max_depth: Of a tree.
        column_share: Share of the predictors tried at each split.
        threads: 0: as many as torch uses.
        seed: Of rows and predictors drawn.
    """

    def __init__(
        self,
        trees: int = 126,
        *,
        min_child_weight: float = 10.0,
        max_depth: int = 24,
        column_share: float = 1.0,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        parameters = forest_parameters(trees, max_depth, min_child_weight, column_share)
        super().__init__(1, parameters, threads, seed)


class BoostedRegressor(Trees):
    """Gradient-boosted trees (Chen and Guestrin, KDD 2016).

    Args:
        rounds: Of boosting.
        learning_rate: XGBoost's eta.
        max_depth: Of a tree.
        min_child_weight: Smallest number of rows in a leaf.
        subsample: Share of the rows for each tree.
        column_share: Share of the predictors for each tree.
        threads: 0: as many as torch uses.
        seed: Of rows and predictors drawn.
    """

    def __init__(
        self,
        rounds: int = 300,
        *,
        learning_rate: float = 0.05,
        max_depth: int = 6,
        min_child_weight: float = 10.0,
        subsample: float = 0.7,
        column_share: float = 0.7,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        parameters = {
            "eta": learning_rate,
            "max_depth": max_depth,
            "min_child_weight": min_child_weight,
            "subsample": subsample,
            "colsample_bytree": column_share,
        }
        super().__init__(rounds, parameters, threads, seed)


class RidgeRegressor(Regressor):
    """Linear regression on scaled predictors with a penalty on its weights (Hoerl and Kennard, Technometrics 12, 1970).

    It goes on beyond the range that it was trained on, where trees stay at their last value.

    Args:
        penalty: On the squared weights, in rows: the sum of squared errors plus this many times the squared weights is
            least.
    """

    weights: Tensor

    def __init__(self, penalty: float = 1.0) -> None:
        if penalty < 0:
            raise ConfigError(f"regressor.penalty={penalty}: expected 0 or more")
        super().__init__()
        self.penalty = penalty

    def configure(self, predictors: int) -> None:
        super().configure(predictors)
        self.register_buffer("weights", torch.zeros(predictors))

    def fit_rows(self, rows: Tensor, truth: Tensor) -> None:
        scaled = self.scaled(rows.to(self.center)).double().cpu()
        aim = ((truth.to(self.center) - self.target_center) / self.target_spread).double().cpu()
        normal = scaled.T @ scaled + self.penalty * torch.eye(scaled.shape[1], dtype=torch.float64)
        # pinv: without a penalty two equal predictors have no single solution
        self.weights.copy_(torch.linalg.pinv(normal, hermitian=True) @ (scaled.T @ aim))

    def estimate(self, rows: Tensor) -> Tensor:
        # a sum in one order, whatever the number of rows: the result does not depend on windows
        return (self.scaled(rows) * self.weights).sum(1) * self.target_spread + self.target_center


class MlpRegressor(Regressor):
    """A network of a few dense layers on scaled predictors, trained with AdamW on the squared error.

    Args:
        width: Units of a hidden layer.
        layers: Hidden layers.
        epochs: Passes over the training rows.
        learning_rate: Largest one, reached after a tenth of the steps; it falls to zero.
        weight_decay: Of AdamW.
        batch_size: Rows in a step.
        seed: Of the first weights, and of the order of rows.
    """

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        epochs: int = 20,
        *,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = True
        self.width, self.layers, self.epochs = width, layers, epochs
        self.learning_rate, self.weight_decay, self.batch_size, self.seed = (
            learning_rate,
            weight_decay,
            batch_size,
            seed,
        )

    def configure(self, predictors: int) -> None:
        super().configure(predictors)
        sizes = [predictors, *[self.width] * self.layers]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            parts: list[nn.Module] = []
            for size, following in pairwise(sizes):
                parts += [nn.Linear(size, following), nn.GELU()]
            self.net = nn.Sequential(*parts, nn.Linear(sizes[-1], 1))

    def estimate(self, rows: Tensor) -> Tensor:
        scaled: Tensor = self.net(self.scaled(rows))[:, 0]
        return scaled * self.target_spread + self.target_center

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Sequence[Tensor], index: int) -> Tensor:
        rows, truth = batch
        return ((self.estimate(rows) - truth) / self.target_spread).square().mean()


def threads_of(threads: int) -> int:
    """Return a number of threads, of which 0 means as many as torch uses."""
    return threads or torch.get_num_threads()


def predicted(booster: xgboost.Booster, rows: Tensor, threads: int) -> Tensor:
    """Return what a booster gives for rows, on their device.

    Args:
        booster: Fitted.
        rows: (N, P) float32.
        threads: 0: as many as torch uses.

    Returns:
        (N,) float32, or (N, outputs).
    """
    booster.set_param({"device": str(rows.device), "nthread": threads_of(threads)})
    if rows.device.type == "cuda":
        # of a DMatrix XGBoost copies the rows to the device by itself
        found = booster.predict(xgboost.DMatrix(rows.cpu().numpy()))
    else:
        values = rows.numpy()
        if len(values) < MANY:
            found = booster.inplace_predict(values)
        else:
            order = alike_together(booster, values)
            ordered = booster.inplace_predict(values[order])
            found = np.empty_like(ordered)
            found[order] = ordered
    return torch.from_numpy(np.ascontiguousarray(found, np.float32)).to(rows.device)


def alike_together(booster: xgboost.Booster, rows: np.ndarray) -> np.ndarray:
    """Return an order in which rows that are alike follow each other, (N,).

    XGBoost walks through a tree with 64 rows at a time. Where these take the same branches the walk is two to three
    times as fast as over the pixels of a map with speckle, and each row's estimate is the same to the last bit.

    Args:
        booster: Fitted.
        rows: (N, P), all finite.
    """
    sample = rows[:: max(1, len(rows) // 2000)]
    gains = booster.get_score(importance_type="total_gain")
    telling = np.array([gains.get(f"f{k}", 0.0) for k in range(rows.shape[1])])
    # what hardly varies among these rows tells none apart
    spread = np.ptp(np.sort(sample, 0)[len(sample) // 20 : -(len(sample) // 20) or None], axis=0)
    telling = np.where(spread > 0, telling, 0)
    key = np.zeros(len(rows), np.uint16)
    for k in np.argsort(-telling, kind="stable")[:KEYS]:
        ends = np.quantile(sample[:, k], np.linspace(0, 1, LEVELS + 1)[1:-1]).astype(np.float32)
        key = key * LEVELS + np.searchsorted(ends, rows[:, k]).astype(np.uint16)
    return np.argsort(key, kind="stable")
