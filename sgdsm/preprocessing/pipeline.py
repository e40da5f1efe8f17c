"""Make a cube from product files, block of days by block of days: memory is one block, whatever the number of years."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sgdsm.core.axes import DAY
from sgdsm.core.dask_cluster import cluster, results
from sgdsm.core.days import whole_days
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.preprocessing.block import FEATURES, MAPS, BlockBuilder
from sgdsm.preprocessing.processes import in_processes
from sgdsm.preprocessing.recipe import Recipe
from sgdsm.preprocessing.regrid import Regridder
from sgdsm.preprocessing.screening import table
from sgdsm.preprocessing.store import Store
from sgdsm.preprocessing.template import static_maps, template
from sgdsm.sources.readers.files import Files, OnBadFile, SourceError

VALUES_IN_A_BLOCK = 2**24
STATIC = "sgdsm_static"  # digests of the files of maps without time


def assemble(
    recipe: Recipe,
    output: Path,
    workers: int = 2,
    on_bad_file: OnBadFile = "fail",
    block_days: int | None = None,
    on_cluster: bool = False,
) -> str:
    """Make the cube of a recipe as a Zarr store.

    To resume an interrupted call, make the same call again. A recipe with a later `end` appends, and blocks whose files
    have changed are made again.

    Args:
        recipe: How to make the cube.
        output: Folder of the store.
        workers: Processes (a script that calls this needs `if __name__ == "__main__":`).
        on_bad_file: 'skip' leaves the maps of a broken file empty and lists it in the result; 'fail' raises.
        block_days: Maps in memory at once for each process, and in a chunk of the store; by default as many as hold 16
            million values of a variable, at most 16.
        on_cluster: Make the blocks on a dask cluster, see `sgdsm.core.dask_cluster`.

    Returns:
        The table of what was rejected and why, as text.

    Raises:
        SourceError: When a file cannot be used; the message names it.
        ConfigError: When the output holds something else.
    """
    with exclusive(output):
        try:
            return _assemble(recipe, output, workers, on_bad_file, block_days, on_cluster)
        except OSError as error:
            # Zarr names no file when the disk is full
            raise error if error.filename else OSError(error.errno, error.strerror, str(output)) from error


def _assemble(
    recipe: Recipe, output: Path, workers: int, on_bad_file: OnBadFile, block_days: int | None, on_cluster: bool
) -> str:
    days = recipe.days()
    files = {name: source.files(recipe.folder) for name, source in recipe.sources.items()}
    _check_period(recipe, files)
    regridders = {name: Regridder(source_files.example(), recipe.grid) for name, source_files in files.items()}
    static = static_maps(recipe, files, regridders)
    most = max(1, min(16, VALUES_IN_A_BLOCK // int(np.prod(recipe.grid.shape))))
    store = Store.at(output, block_days, most)
    _check_still_there([store.note(MAPS, k) for k in store.again(recipe.plain(), _look_ahead(recipe))], files)
    made = template(recipe, files, static, store.block_days)
    made.attrs[STATIC] = json.dumps(_static_digests(recipe, files, store.attrs().get(STATIC)))
    store.begin(made, recipe.plain(), _look_ahead(recipe))
    builder = BlockBuilder(recipe, store, files, regridders, on_bad_file)
    # files may have been replaced or added since an earlier call
    changed = builder.changed()
    if changed:
        _check_still_there([store.note(MAPS, k) for k in changed], files)
        log.info("%d blocks are made again: their files are not as they were", len(changed))
    # features of later blocks depend on these maps: `drop` removes their notes as well
    store.drop(changed)
    with cluster("cluster=true", workers) if on_cluster else nullcontext() as client:
        for stage in (MAPS, FEATURES) if recipe.features else (MAPS,):
            blocks = store.blocks(len(days))
            left = [k for k in blocks if store.note(stage, k) is None]
            if len(left) < len(blocks):
                log.info("resuming: %d of %d blocks of %s are finished", len(blocks) - len(left), len(blocks), stage)
            if client is None:
                in_processes(partial(builder.build, stage), store, stage, left, workers)
            else:
                for block, note in results(client, partial(builder.build, stage), left, f"blocks of {stage}"):
                    store.keep(stage, block, note)
    return _finish(builder, [store.note(MAPS, k) or {} for k in store.blocks(len(days))])


def _finish(builder: BlockBuilder, notes: list[dict[str, Any]]) -> str:
    """Write land, provenance and the table of reasons, once all blocks are there."""
    recipe, store = builder.recipe, builder.store
    target = recipe.target()[1]
    if recipe.land is not None:
        land = store.read([recipe.land], slice(None))[recipe.land] > 0.5
    else:
        land = np.zeros(recipe.grid.shape, bool)
        # without a mask, land is where the target was ever observed
        for block in store.blocks(len(recipe.days())):
            land |= np.isfinite(store.read([target], store.days(block))[target]).any(0)
    counts: Counter[str] = Counter()
    for note in notes:
        counts.update(note["reasons"])
    bad = [line for note in notes for line in note["bad"]]
    provenance, static = {}, json.loads(str(store.attrs()[STATIC]))
    for name, source_files in builder.files.items():
        # the digest of a source is one number for all of its files
        digests = {k: v for note in notes for k, v in note["files"].get(name, {}).items()} or static[name]
        names = sorted(digests)
        provenance[name] = {
            "product": source_files.product,
            "version": str(source_files.example().attrs.get("product_version", "")),
            "files": f"{len(names)}: {names[0]} to {names[-1]}" if len(names) > 1 else names[0],
            "digest": hashlib.blake2b(json.dumps(digests, sort_keys=True).encode(), digest_size=16).hexdigest(),
        }
    rejected = table(dict(counts))
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attrs = {"history": f"{when} sgdsm {version('sgdsm')} prepare", "sources": json.dumps(provenance)}
    attrs |= {"rejected": rejected, "skipped_files": "\n".join(bad)}
    store.finish({"land": land.astype(np.int8)}, attrs)
    return "\n".join([rejected, *(f"skipped: {line}" for line in bad)])


def _check_period(recipe: Recipe, files: dict[str, Files]) -> None:
    days = recipe.days()
    end = days[-1] + recipe.step_days * DAY
    for name, source in recipe.with_role("target", "dynamic"):
        times = files[name].times
        if not times.size:
            raise SourceError(f"source '{name}': its maps have no time, expected role static")
        within = times[(times >= days[0]) & (times < end)]
        if source.interpolate_days is not None:
            continue
        if not within.size:
            period = f"{str(times[0])[:10]} to {str(times[-1])[:10]}"
            raise SourceError(f"source '{name}': its files hold {period}, nothing from {recipe.start} to {recipe.end}")
        # missing days are valid, but usually an incomplete download
        all_days = np.arange(days[0], end, DAY)
        missing = all_days[~np.isin(all_days, whole_days(within))]
        if missing.size:
            first = str(missing[0])[:10]
            log.info(
                "source '%s': no file for %d of %d days, the first is %s", name, missing.size, len(all_days), first
            )
    for name, _ in recipe.with_role("static"):
        if files[name].times.size:
            raise SourceError(f"source '{name}': its maps have times, expected role target or dynamic")


def _check_still_there(notes: Sequence[dict[str, Any] | None], files: dict[str, Files]) -> None:
    """Raise SourceError if blocks that are made again would lose what came from a file that no longer exists."""
    for note in notes:
        if note is None:
            continue
        skipped = "\n".join(note["bad"])
        before = [name.partition("/")[::2] for name in note["inputs"]]
        for name, file in before:
            # a file that was skipped when the block was made may be gone
            there = {other.path.name for other in (*files[name].files, *files[name].also)}
            if file not in there and file not in skipped:
                raise SourceError(f"source '{name}': {file} is gone, and maps of the cube that are made again need it")


def _static_digests(recipe: Recipe, files: dict[str, Files], before: Any) -> dict[str, dict[str, str]]:
    """Return the digests of the files of static sources; raise SourceError if the cube was begun with others."""
    now = {
        name: {file.path.name: files[name].digest(file) for file in files[name].files}
        for name, _ in recipe.with_role("static")
    }
    begun = now if before is None else json.loads(str(before))
    for name, digests in now.items():
        other = next((file for file, digest in digests.items() if begun.get(name, {}).get(file) != digest), None)
        if other is not None:
            raise SourceError(
                f"source '{name}': {other} is not the file that the cube was begun with: make another cube"
            )
    return now


def _look_ahead(recipe: Recipe) -> int:
    """Return how many maps at the end of a cube may change when it is extended: composites reach forward."""
    reach = [s.interpolate_days or 0 for s in recipe.sources.values()]
    return 1 + max(reach) // recipe.step_days
