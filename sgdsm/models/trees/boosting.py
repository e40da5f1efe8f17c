"""XGBoost fitted to rows in batches: from memory, from disk, or on a dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xgboost
from torch import Tensor

from sgdsm.core.dask_cluster import cluster
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.models.trees.row_reservoir import RowReservoir

PAGE_ROWS = 50_000  # rows read from disk together
CACHE = 1.5  # size of XGBoost's own copy on disk, in multiples of that of the rows


class RowBatches(xgboost.DataIter):
    """Passes rows to XGBoost batch by batch, so that they are never joined into one table.

    The trees are identical to those of one table (tests/models/test_trees.py).

    Args:
        rows: The sample.
        names: Of the features.
    """

    def __init__(self, rows: RowReservoir, names: list[str]) -> None:
        # XGBoost writes its cache into the folder of the rows, which is deleted with them
        super().__init__(cache_prefix=None if rows.folder is None else str(rows.folder / "cache"))
        self.rows, self.names = rows, names
        self.least = 1 if rows.folder is None else PAGE_ROWS
        self.reset()

    def reset(self) -> None:
        self._batches = self.rows.batches(self.least)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Pass the next batch to XGBoost.

        Args:
            input_data: Function of XGBoost that takes a batch.

        Returns:
            False if there is no further batch.
        """
        batch = next(self._batches, None)
        if batch is None:
            return False
        input_data(data=batch[0], label=batch[1], feature_names=self.names)
        return True


@dataclass(frozen=True)
class Fitting:
    """Settings common to the boosters of a filler.

    Attributes:
        names: Of the features.
        rounds: Of boosting.
        patience: Rounds without a better score on the validation rows after which boosting stops; None: never.
    """

    names: list[str]
    rounds: int
    patience: int | None = None

    def fit(self, objectives: list[dict[str, Any]], rows: RowReservoir, checked: RowReservoir) -> list[xgboost.Booster]:
        """Fit a booster for each set of parameters.

        Args:
            objectives: Parameters of XGBoost, one dict for each booster.
            rows: Training rows; in memory they are deleted once XGBoost has its copy.
            checked: Validation rows, for early stopping.
        """
        threads = objectives[0]["nthread"] or None
        data = self._matrix(rows, threads)
        # validation rows use the bins of the training rows
        evals = [] if self.patience is None else [(self._matrix(checked, threads, data), "validation")]
        train = xgboost.train
        return [self._best(train(p, data, self.rounds, **self._stopping(evals))) for p in objectives]

    def fit_on_cluster(
        self, objectives: list[dict[str, Any]], rows: RowReservoir, checked: RowReservoir
    ) -> list[xgboost.Booster]:
        """Fit as `fit` does, on the workers of a dask cluster, each with a share of the rows.

        Args:
            objectives: Parameters of XGBoost, one dict for each booster.
            rows: Training rows.
            checked: Validation rows, for early stopping.

        Raises:
            ConfigError: If no scheduler answers.
        """
        from_dask = xgboost_dask()
        with cluster("model.cluster=true") as client:
            data = self._distribute(client, rows)
            evals = [] if self.patience is None else [(self._distribute(client, checked, data), "validation")]
            fitted = [from_dask.train(client, p, data, self.rounds, **self._stopping(evals)) for p in objectives]
            return [self._best(one["booster"]) for one in fitted]

    def _matrix(self, rows: RowReservoir, threads: int | None, ref: xgboost.DMatrix | None = None) -> xgboost.DMatrix:
        rows.check_room(CACHE)
        kind = xgboost.QuantileDMatrix if rows.folder is None else xgboost.ExtMemQuantileDMatrix
        matrix = kind(RowBatches(rows, self.names), ref=ref, nthread=threads)
        if rows.folder is None:
            rows.close()
        return matrix

    def _distribute(self, client: Any, rows: RowReservoir, ref: Any = None) -> Any:
        """Return the rows as a matrix of XGBoost on the workers of a cluster."""
        import dask.array as da

        workers = list(client.ncores())
        pieces: list[list[Any]] = [[], []]
        # every worker gets a piece of every batch, so that none is without rows
        for batch in rows.batches(PAGE_ROWS):
            for worker, *arrays in zip(workers, *(np.array_split(array, len(workers)) for array in batch), strict=True):
                for array, into in zip(arrays, pieces, strict=True):
                    future = client.scatter(array, workers=[worker])
                    into.append(da.from_delayed(future, array.shape, array.dtype))
        rows.close()
        features, truth = (da.concatenate(piece) for piece in pieces)
        return xgboost_dask().DaskQuantileDMatrix(client, features, truth, feature_names=self.names, ref=ref)

    def _stopping(self, evals: list[Any]) -> dict[str, Any]:
        return {"evals": evals, "early_stopping_rounds": self.patience, "verbose_eval": False} if evals else {}

    def _best(self, booster: xgboost.Booster) -> xgboost.Booster:
        if self.patience is None:
            return booster
        best = booster.best_iteration
        log.info("round %d of %d is best on the validation split", best + 1, self.rounds)
        # rounds after the best one are cut off
        return booster[: best + 1]


def xgboost_dask() -> Any:
    """Return XGBoost's module for dask.

    Raises:
        ConfigError: If distributed or pyarrow, which it needs, is not installed.
    """
    try:
        from xgboost import dask
    except ImportError as error:
        raise ConfigError(f"model.cluster=true: {error}; pip install 'sgdsm[cluster]'") from error
    return dask


def forest_parameters(trees: int, max_depth: int, min_child_weight: float, column_share: float) -> dict[str, Any]:
    """Return XGBoost's parameters of a random forest: one round of parallel trees.

    Args:
        trees: Number of trees.
        max_depth: Of a tree.
        min_child_weight: Smallest number of rows in a leaf.
        column_share: Share of the features tried at each split.
    """
    return {
        # a single round without shrinkage: the mean of the trees
        "eta": 1.0,
        "num_parallel_tree": trees,
        "max_depth": max_depth,
        "min_child_weight": min_child_weight,
        # share of different rows in a bootstrap sample, 1 - 1 / e
        "subsample": 0.632,
        "colsample_bynode": column_share,
        # leaves are plain means
        "lambda": 0.0,
    }


def booster_bytes(booster: xgboost.Booster) -> Tensor:
    """Return a booster as UBJSON bytes, (N,) uint8."""
    return torch.frombuffer(booster.save_raw("ubj"), dtype=torch.uint8).clone()


def booster_of(raw: Tensor, threads: int = 0) -> xgboost.Booster:
    """Return the booster of UBJSON bytes.

    Args:
        raw: (N,) uint8.
        threads: 0: all.
    """
    booster = xgboost.Booster({"nthread": threads})
    booster.load_model(bytearray(raw.cpu().numpy().tobytes()))
    return booster
