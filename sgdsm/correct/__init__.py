"""Corrections of one sensor towards another: matched distributions or moments of each cell, trees on what is left."""
