"""Random streams: one number for each purpose, so that no two of them share their random numbers."""

from __future__ import annotations

from enum import IntEnum


class Stream(IntEnum):
    """A word of the seed of `numpy.random.default_rng([Stream.X, seed, ...])`.

    The numbers never change: a run would draw others. The simulated world itself uses [seed, 0] to [seed, 2].
    """

    TRAINING_GAPS = 1  # what is hidden in each epoch
    SCORED_GAPS = 2  # what is hidden for validation, calibration and test
    ASSIGNMENT = 3  # of blocks of days to splits
    WINDOW_ORDER = 4
    ROW_RESERVOIR = 5  # which rows of trees are kept
    GAP_MATCHING = 6
    SENSOR_PHASES = 7  # of the simulated satellites
    REGION = 7  # simulated, at 10 m; not beside SENSOR_PHASES
    SENSOR_NOISE = 8
    TREE_ROWS = 9  # which values become rows
    SECOND_SENSOR = 9  # a second word, apart from the world's own; not beside TREE_ROWS
    PERMUTATION = 10  # of covariates, for importances
    FOREST_ROWS = 11
    KRIGING_VALUES = 12
    INPUT_NOISE = 13
    DROPOUT_MASKS = 14
    ERROR_PAIRS = 15  # from which the correlation of errors is fitted
    ERROR_FIELDS = 16  # of members
    APPLICABILITY = 17  # values that covariates are compared with
    RECALIBRATION = 18
    HELD_PARTS = 19  # of a large cube
    PART_ORDER = 20
    FOLDS = 21  # of a bias correction
    CORRECTION_ROWS = 22
    MOVING_BLOCKS = 23  # of resampled series
    STATION_NETWORK = 24  # simulated
    QUESTIONS = 25  # of `sgdsm protocol`: what each scenario hides
