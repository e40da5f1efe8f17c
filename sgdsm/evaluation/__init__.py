"""Metrics, scores, protocols and comparisons: files in, numbers out.

May import `core` and `data`; never models, never matplotlib. Add a metric in `metrics.py`.
"""
