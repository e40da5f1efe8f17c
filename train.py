"""Train a gap-filler, such as `python train.py model=pconv3d data=simulate`."""

from sgdsm.cli.console import main

if __name__ == "__main__":
    main("train")
