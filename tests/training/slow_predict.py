"""predict.py with writers that take half a second a slab, so that a test can kill it in the middle."""

import time

from sgdsm.cli.console import main
from sgdsm.inference.writers import NetcdfOutput, ZarrOutput


def slowly(kind: type) -> None:
    write = kind.write

    def slow(self, slab, values):
        write(self, slab, values)
        time.sleep(0.5)

    kind.write = slow


if __name__ == "__main__":
    slowly(NetcdfOutput)
    slowly(ZarrOutput)
    main("predict")
