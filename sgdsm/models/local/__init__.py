"""Regressions inside small windows around the gaps, many at once: what `sgdsm.models.window_forest` is made of."""
