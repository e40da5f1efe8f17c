"""The simulated world: soil moisture, orbits, microwave sensors.

May import `core`. It serves the demo, tests and experiments with a known truth.
"""
