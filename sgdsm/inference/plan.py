"""Put together what fills a cube: its variables in the filler's units, the slabs, the layout of the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, checked_cube, target_of, uncertainty_of
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.logging import log
from sgdsm.core.matching import check_target, in_units_of, warn_ranges
from sgdsm.core.region import Box
from sgdsm.data.batch import check_cap
from sgdsm.data.normalization import Climatology, Inputs
from sgdsm.data.record import Names, day_numbers
from sgdsm.inference.reader import SlabReader
from sgdsm.inference.schema import layout
from sgdsm.inference.slab_filler import SlabFiller
from sgdsm.inference.slabs import Slab, cells_to_read, plan_slabs, preceding_days
from sgdsm.inference.survey import Surveyor
from sgdsm.inference.writers import Writer
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.base import use_bf16


def plan_filling(
    cube: xr.Dataset,
    filler: GapFiller,
    writer: Writer,
    *,
    source: str = "sgdsm",
    identity: str = "",
    box: Box | None = None,
    climatology_from: xr.Dataset | None = None,
    climatology: Climatology | None = None,
    wanted_days: np.ndarray | None = None,
    max_gap_days: int | None = None,
    memory_gib: float = 1.0,
    window_cells: int | None = None,
    precision: dict[str, str] | None = None,
) -> SlabFiller:
    """Return the module that fills the slabs of a cube one by one; nothing is written yet.

    Args:
        cube: What the filler may see.
        filler: A fitted gap filler.
        writer: Destination of the slabs.
        source: What filled the cube, for the attribute `source` of the output.
        identity: Identifies filler and data; an interrupted output is resumed only if it is the same.
        box: The part to fill (default: all); the cells around it are read too, where windows cover them.
        climatology_from: A cube on the same grid whose values give the climatology of the cells (default: `cube`).
        climatology: That of the cells of the whole cube, in its place.
        wanted_days: Days to fill, (T,) bool (default: all); on the others gaps stay NaN.
        max_gap_days: Values farther in time from the nearest observation of their cell stay NaN, days.
        memory_gib: Memory for one slab, GiB; up to three are in memory: one is read, one filled, one written. An output
            that was begun keeps its slabs.
        window_cells: Side of the windows that go through the filler, cells; see `fill_packed`.
        precision: "setting", what `trainer.precision` says, and "used", in which precision networks compute then. An
            output that was begun keeps its precision. None: nothing is known of it, and nothing changed.

    Returns:
        The Lightning module that `fill_cube` runs.

    Raises:
        CubeError: When the cube lacks variables that the filler was fitted for, or holds invalid values.
        ConfigError: When max_gap_days is not a valid cap, or the output was begun with another setting of the
            precision.
    """
    check_cap(max_gap_days)
    inputs = filler.inputs
    if inputs.causal and climatology is None and climatology_from is None:
        raise ConfigError("a causal filling takes the climatology from the training: give climatology=")
    cube, names = match(cube, inputs)
    warn_ranges(cube, inputs.ranges)
    target = cube[names.target]
    # on a global grid windows may cross the date line
    circular = bool(cube.attrs.get("circular_longitude", 0))
    axes = filler.window.tile(target.shape, circular, filling=True)
    box = Box(*(slice(0, length) for length in target.shape)) if box is None else box
    plan: dict[str, Any] = {
        "identity": identity,
        "box": [[part.start, part.stop] for part in box],
        **({} if max_gap_days is None else {"max_gap_days": max_gap_days}),
    }
    # the machine that began it may have had other memory, and another precision
    begun = writer.begun(plan) or {}
    if "slabs" in begun:
        slabs = [
            Slab(number, _shifted(days, box.days.start), _shifted(rows, box.rows.start))
            for number, (days, rows) in enumerate(begun["slabs"])
        ]
    else:
        slabs = plan_slabs(axes, len(inputs.dynamic) + (names.uncertainty is not None), memory_gib, box)
    # in the output, whose first day and row are those of the box
    plan["slabs"] = [
        [list(_shifted(slab.days, -box.days.start)), list(_shifted(slab.rows, -box.rows.start))] for slab in slabs
    ]
    if kept := _keep_precision(filler, precision, begun.get("precision")):
        plan["precision"] = kept
    used = inputs.dynamic if filler.uses_covariates else ()
    covariates = {name: str(cube[name].attrs.get("source", "")) for name in used}
    file_layout = layout(cube, filler.error_bars, source, box, max_gap_days, covariates, inputs.causal)
    # boxes of days that will be read; a slab reads fewer where it continues the one before
    boxes = [
        cells_to_read(axes[0], slab.days, before) for slab in slabs for before in (None, preceding_days(slab, slabs))
    ]
    reader = SlabReader(
        cube,
        names,
        inputs,
        axes=axes,
        halo=filler.window.halo_cells,
        columns=box.columns,
        slabs=slabs,
        # made before anything is written: it raises the errors of invalid data
        surveyor=Surveyor(cube, names, inputs, boxes, climatology_from, climatology),
        wanted_days=np.ones(target.shape[0], bool) if wanted_days is None else wanted_days,
        max_gap_days=max_gap_days,
    )
    return SlabFiller(filler, reader, layout=file_layout, plan=plan, writer=writer, box=box, window_cells=window_cells)


def _shifted(edges: Sequence[int], by: int) -> tuple[int, int]:
    return edges[0] + by, edges[1] + by


def _keep_precision(
    filler: GapFiller, wanted: dict[str, str] | None, begun: dict[str, str] | None
) -> dict[str, str] | None:
    """Let a filler compute in the precision in which its output was begun, and return that precision."""
    if wanted is None or begun is None:
        kept = wanted or begun
    elif begun["setting"] == wanted["setting"]:
        kept = begun
    else:
        raise ConfigError(
            f"trainer.precision={wanted['setting']}: the output was begun with trainer.precision={begun['setting']}: "
            "go on with that, or remove what is there"
        )
    if kept is not None and kept["setting"] == "auto":
        if wanted is not None and kept != wanted:
            log.info("going on in precision %s, in which the output was begun", kept["used"])
        # on all devices alike, those without instructions for it too
        use_bf16(filler, kept["used"] == "bf16-mixed", emulated=True)
    return kept


def match(cube: xr.Dataset, inputs: Inputs) -> tuple[xr.Dataset, Names]:
    """Convert a cube to the units that a filler was fitted in, and select the variables that it was fitted for.

    Args:
        cube: A cube with roles.
        inputs: What the filler was fitted for.

    Returns:
        The cube in these units (converted as it is read), and the names of its variables in the filler's order.

    Raises:
        CubeError: When a variable is missing, its units do not convert, or the time steps differ.
    """
    cube = checked_cube(cube)
    target = target_of(cube)
    for role, wanted in {"dynamic": inputs.dynamic, "static": inputs.static}.items():
        # other variables of the cube are ignored
        missing = [n for n in wanted if n not in by_role(cube, role)]
        if missing:
            raise CubeError(f"the run was trained with {role} {list(wanted)}; the cube lacks {missing}")
    steps = np.diff(day_numbers(target["time"]))
    if steps.size and steps[0] != inputs.step_days:
        raise CubeError(
            f"the cube has a map every {steps[0]} days, the run was trained on one every {inputs.step_days}"
        )
    known = dict(inputs.variable_units)
    moisture_units = known.pop(inputs.target, inputs.units)
    # the target may have another name than in training, so its units go by its role
    moisture = [*by_role(cube, "target"), *by_role(cube, "uncertainty")]
    cube = in_units_of(cube, {**dict.fromkeys(moisture, moisture_units), **known}, "training")
    check_target(target_of(cube), moisture_units, inputs.lowest, inputs.highest)
    land, uncertainty = by_role(cube, "land")[0], uncertainty_of(cube)
    return cube, Names(str(target.name), inputs.dynamic, inputs.static, land, inputs.precipitation, uncertainty)
