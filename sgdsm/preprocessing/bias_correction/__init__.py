"""Correct the bias of one sensor relative to another: CDF matching, moments, and trees on the residuals.

May import `core` to `sources`.
"""
