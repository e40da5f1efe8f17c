"""Scores, comparisons, figures and reports; reads files, never models."""
