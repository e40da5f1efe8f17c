"""Fill the gaps of a cube, such as `python predict.py run=PATH output=filled.nc`."""

from sgdsm.cli.console import main

if __name__ == "__main__":
    main("predict")
