"""Error bars: MC-dropout, input noise, conformal calibration, correlated errors.

Wrappers take any fitted filler.
"""
