"""Uncertainty of any fitted filler: MC dropout, input noise, conformal calibration, correlated errors.

`wrappers` adds spread from samples; `conformal` calibrates intervals on held-out errors and consists of one module a
step: `scale_model` (expected size of an error), `error_classes` and `quantiles` (class-wise quantile regression),
`effective_size` (number of independent days), `recalibration` (adaptation to drift), `correlation` (of the errors in
space and time) and `applicability` (dissimilarity of covariates). May import what `models` may.
"""
