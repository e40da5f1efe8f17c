"""Correct one sensor towards another: CDF matching, moments, and trees on the residuals.

May import `core` to `sources`.
"""
