"""Figures and HTML pages.

The only package that imports matplotlib. May import `core` to `preprocessing`.
"""
