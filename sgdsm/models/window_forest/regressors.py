"""Regressions on the samples of many blocks: the forest of LIU and the models that it is compared with.

Each returns estimates of the targets and, for the calibration of residuals, out-of-sample estimates of the samples:
out-of-bag for the forest, leave-one-out for the linear regression, and cross-fitted in three parts for the others. The
article states neither the settings of its comparison models (its supplement does) nor their residuals; ours are our
choice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgdsm.models.window_forest.presets import ForestShape
from sgdsm.models.window_forest.trees import binned, forest_means, grow, poisson_counts, quantile_edges

FOLDS = 3
MLR_RIDGE = 1.0  # in samples: without it columns that hardly vary in a window get huge slopes


class Samples(NamedTuple):
    """Samples and targets of G blocks, padded to the largest.

    Attributes:
        x: Covariates of the samples, (G, n, F).
        y: Values of the samples, (G, n).
        mask: False for padding, (G, n) bool.
        target: Covariates of the targets, (G, m, F).
        target_mask: False for padding, (G, m) bool.
        slot: Index of a sample in the window of its block, (G, n) int64.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    target: Tensor
    target_mask: Tensor
    slot: Tensor


# estimates of the targets (G, m) and out-of-sample estimates of the samples (G, n); NaN where there is none
Estimates = tuple[Tensor, Tensor]
Regressor = Callable[[Samples], Estimates]


def shared_forest(samples: Samples, shape: ForestShape, slots: int, seed: int) -> Estimates:
    """Fit the forests of all blocks at once.

    Args:
        samples: Samples and targets of the blocks.
        shape: Settings of the forests.
        slots: Size of a window. The slot of a sample decides which trees draw it, so that the result does not depend on
            the other blocks of the chunk.
        seed: Of bootstrap and splits.

    Returns:
        Estimates of targets and samples.
    """
    generator = torch.Generator().manual_seed(seed)
    table = poisson_counts((shape.trees, slots), generator).to(samples.x.device)
    mean = _mean(samples)
    edges = quantile_edges(samples.x, samples.mask)
    bins = binned(torch.cat([samples.x, samples.target], 1), edges)
    counts = torch.where(samples.mask[:, None], table[:, samples.slot].transpose(0, 1), 0.0)
    number = samples.x.shape[1]
    trees = grow(bins[:, :number].contiguous(), samples.y - mean, counts, shape, generator)
    # targets are in no bootstrap: all trees estimate them
    none = torch.zeros(len(counts), shape.trees, samples.target.shape[1], device=counts.device)
    mask = torch.cat([samples.mask, samples.target_mask], 1)
    estimates = forest_means(trees, bins, torch.cat([counts, none], 2), mask) + mean
    return estimates[:, number:], estimates[:, :number]


def linear(samples: Samples, ridge: float = MLR_RIDGE) -> Estimates:
    """Fit a multiple linear regression in each block, all blocks in one solve.

    Args:
        samples: Samples and targets of the blocks.
        ridge: Strength of the shrinkage of slopes towards 0, in samples.

    Returns:
        Estimates of targets and samples.
    """
    x, target = standardised(samples)
    weight = samples.mask.double()[..., None]
    design = torch.cat([torch.ones_like(x[..., :1]), x], 2) * weight
    mean = _mean(samples).double()
    y = (samples.y - mean) * weight[..., 0]
    gram = design.transpose(1, 2) @ design
    shrink = torch.full((gram.shape[1],), ridge, dtype=gram.dtype, device=gram.device)
    shrink[0] = 0
    inverse = torch.linalg.inv(gram + torch.diag(shrink))
    slope = (inverse @ (design.transpose(1, 2) @ y[..., None]))[..., 0]
    leverage = ((design @ inverse) * design).sum(2)
    fitted = (design @ slope[..., None])[..., 0]
    # leave-one-out residuals follow from the leverages, without refitting
    out_of_sample = y - (y - fitted) / (1 - leverage).clamp(min=1e-3)
    estimate = slope[:, :1] + (target @ slope[:, 1:, None])[..., 0]
    return (estimate + mean).float(), (out_of_sample + mean).float()


def literal_forest(samples: Samples, shape: ForestShape, seed: int) -> Estimates:
    """Fit scikit-learn's forest in each block, one after the other.

    Args:
        samples: Samples and targets of the blocks.
        shape: Settings of the forests.
        seed: Of bootstrap and splits.

    Returns:
        Estimates of targets and samples.
    """
    from sklearn.ensemble import RandomForestRegressor

    def forest(x: np.ndarray, y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        trees = RandomForestRegressor(
            n_estimators=shape.trees,
            max_depth=shape.max_depth,
            min_samples_split=shape.min_samples_split,
            max_features=shape.max_features,
            random_state=seed,
        )
        trees.fit(x, y)
        return trees.predict(target), _out_of_bag(trees, x)

    return _one_by_one(samples, forest)


def _out_of_bag(forest: Any, x: np.ndarray) -> np.ndarray:
    """Return the mean over the trees that did not draw a sample, NaN if all did (oob_score would warn and return 0)."""
    drawn_by = np.stack([np.bincount(rows, minlength=len(x)) > 0 for rows in forest.estimators_samples_])
    each = np.stack([tree.predict(x) for tree in forest.estimators_])
    number = (~drawn_by).sum(0)
    return np.where(number, (each * ~drawn_by).sum(0) / np.maximum(number, 1), np.nan)


def one_by_one(samples: Samples, make: Callable[[], Any]) -> Estimates:
    """Fit a model with `fit` and `predict` in each block, on standardised samples and values.

    Args:
        samples: Samples and targets of the blocks.
        make: Returns a new model.

    Returns:
        Estimates of targets and samples.
    """
    x, target = standardised(samples)
    standard = samples._replace(x=x, target=target)

    def cross_fitted(x: np.ndarray, y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, spread = y.mean(), max(float(y.std()), 1e-6)
        z, fold, held_out = (y - mean) / spread, np.arange(len(y)) % FOLDS, np.empty(len(y))
        for part in range(FOLDS):
            held_out[fold == part] = make().fit(x[fold != part], z[fold != part]).predict(x[fold == part])
        return make().fit(x, z).predict(target) * spread + mean, held_out * spread + mean

    return _one_by_one(standard, cross_fitted)


def support_vectors() -> Any:
    """Return a support vector regression with Gaussian kernels."""
    from sklearn.svm import SVR

    return SVR(C=1.0, epsilon=0.1)


def neural_network(seed: int) -> Any:
    """Return a network with one hidden layer of 8 units.

    Args:
        seed: Of its weights.
    """
    from sklearn.neural_network import MLPRegressor

    # few steps: a window of a hundred samples is overfitted soon
    return _Quiet(MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", alpha=1.0, max_iter=60, random_state=seed))


def boosted_trees(seed: int) -> Any:
    """Return gradient-boosted trees.

    Args:
        seed: Of the rows of each tree.
    """
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=40, max_depth=3, learning_rate=0.1, subsample=0.8, n_jobs=1, random_state=seed)


class _Quiet:
    """A model without the warning that its steps ended before it converged.

    Args:
        model: With a method `fit`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, x: np.ndarray, y: np.ndarray) -> Any:
        """Fit the model and return it.

        Args:
            x: Covariates, (n, F).
            y: Values, (n,).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.model.fit(x, y)


def comparison_model(name: str, seed: int) -> Regressor:
    """Return the regression of a name.

    Args:
        name: mlr, svm, ann or xgboost.
        seed: Of its random numbers.
    """
    if name == "mlr":
        return linear
    makers: dict[str, Callable[[], Any]] = {
        "svm": support_vectors,
        "ann": partial(neural_network, seed),
        "xgboost": partial(boosted_trees, seed),
    }
    return partial(one_by_one, make=makers[name])


def standardised(samples: Samples) -> tuple[Tensor, Tensor]:
    """Return covariates with mean 0 and standard deviation 1 over the samples of each block.

    Args:
        samples: Samples and targets of the blocks.

    Returns:
        Of samples, (G, n, F), and targets, (G, m, F), float64.
    """
    weight = samples.mask.double()[..., None]
    number = weight.sum(1, keepdim=True)
    x, target = samples.x.double(), samples.target.double()
    mean = (x * weight).sum(1, keepdim=True) / number
    spread = (((x - mean).square() * weight).sum(1, keepdim=True) / number).sqrt()
    # a column that does not vary among the samples becomes 0
    scale = torch.where(spread > 1e-6, 1 / spread.clamp(min=1e-6), 0.0)
    return (x - mean) * scale * weight, (target - mean) * scale


def _mean(samples: Samples) -> Tensor:
    """Return the mean of the samples of each block, (G, 1)."""
    number = samples.mask.sum(1, keepdim=True)
    return torch.where(samples.mask, samples.y, 0.0).sum(1, keepdim=True) / number


def _one_by_one(
    samples: Samples, estimate: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> Estimates:
    """Call a function with the samples of each block, without padding, and return its estimates as tensors."""
    x, y, mask, target, target_mask, _ = (part.cpu().numpy() for part in samples)
    of_targets, of_samples = np.full(target_mask.shape, np.nan, np.float32), np.full(mask.shape, np.nan, np.float32)
    for g in range(len(x)):
        kept, wanted = mask[g], target_mask[g]
        of_targets[g, wanted], of_samples[g, kept] = estimate(x[g, kept], y[g, kept], target[g, wanted])
    return torch.from_numpy(of_targets).to(samples.x.device), torch.from_numpy(of_samples).to(samples.x.device)
