"""Members of a filled file, as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sgdsm.core.cube import ConfigError, CubeError, open_dataset
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.lock import exclusive
from sgdsm.core.region import box_of, period_of


def draw_members(config: dict[str, Any]) -> None:
    """Draw possible maps from a filled file and write them."""
    from sgdsm.inference.members import write_members
    from sgdsm.inference.writers import writer_for
    from sgdsm.training.run import file_stamp

    path, output, seed = str(config["filled"]), str(config["output"]), config["seed"]
    if seed < 0:
        raise ConfigError(f"seed={seed}: expected 0 or more")
    period = period_of(config["time"])
    writer = writer_for(output)
    with open_dataset(path) as filled, exclusive(output):
        if SM_FILLED not in filled:
            raise CubeError(f"filled={path}: no sm_filled: expected what predict.py writes")
        target = filled[SM_FILLED].assign_attrs(role="target").to_dataset()
        try:
            box = box_of(target, period, config["bbox"])
            write_members(filled, writer, box, config["number"], seed, f"{Path(path).name} {file_stamp(path)}")
        except CubeError as error:
            raise CubeError(f"filled={path}: {error}") from error
    print(f"members: {output}")
