"""Write questions that anybody can fill and have scored: what is hidden of a cube, by scenario, and what is shown."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.settings import setting
from sgdsm.core.specification import build
from sgdsm.data.gaps import Gaps
from sgdsm.data.held_out import masks_digest
from sgdsm.data.record import day_numbers, usable, warn_unusual
from sgdsm.data.splits import Scenario
from sgdsm.evaluation.protocol import HIDDEN, VISIBLE, write_question
from sgdsm.evaluation.questions import SCENARIOS, Cube, check_scenarios, draw_questions
from sgdsm.evaluation.score import GAP_LENGTHS, gap_lengths
from sgdsm.training.config import check_groups
from sgdsm.training.run import SCORED, fingerprint
from sgdsm.training.task import orbit_of

USAGE = "data=.. output=FOLDER [scenarios=[swath,outage]]"
GROUPS = ("data", "gaps")
RECORD, READ_ME = "protocol.json", "README.txt"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The cube that is asked for, and the scenarios."""

    data: dict[str, Any] = setting("simulate", "the cube", group=True)
    gaps: dict[str, Any] = setting("transplant", "sizes of outages, and where the masks of swaths are from", group=True)
    output: str = setting(help="folder of the questions, one folder a scenario", path=True)
    scenarios: list[str] = setting([*SCENARIOS], "what is asked for")
    hidden: float = setting(0.1, "share of the observed values that a scenario hides (a season: what it has)")
    seed: int = setting(0, "of the draws")

    def __post_init__(self) -> None:
        check_groups({group: getattr(self, group) for group in GROUPS}, GROUPS)
        check_scenarios(self.scenarios)
        local_only("output", self.output)
        if not 0 < self.hidden < 1:
            raise ConfigError(f"hidden={self.hidden}: expected a share between 0 and 1")
        if Path(self.output).is_file():
            raise ConfigError(f"output={self.output}: a file; expected a folder")


def run(settings: Settings) -> None:
    """Draw the questions, write their files and print what they ask for."""
    output = Path(settings.output)
    _refuse_others(output)
    cube = usable(build(settings.data, xr.Dataset))
    warn_unusual(cube)
    drawn = _cube(cube, settings)
    questions = draw_questions(drawn, settings.scenarios, settings.hidden, settings.seed)
    record = _record(cube, settings, questions)
    output.mkdir(parents=True, exist_ok=True)
    with exclusive(output):
        if _is_made(output, record):
            log.info("%s: finished already", output)
        else:
            _write(output, cube, questions, record)
    print(_table(questions, drawn))
    print(f"protocol {record['digest']}: {output}")


def _cube(cube: xr.Dataset, settings: Settings) -> Cube:
    target = target_of(cube)
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    gaps: Gaps = build(settings.gaps, Gaps)
    return Cube(np.isfinite(target.values) & land, day_numbers(cube["time"]), gaps, orbit_of(cube))


def _record(cube: xr.Dataset, settings: Settings, questions: dict[str, Scenario]) -> dict[str, Any]:
    """Return what the questions were made from, and a digest of each and of all."""
    record = {
        "data": fingerprint(cube, SCORED),
        "target": str(target_of(cube).name),
        "units": str(target_of(cube).attrs.get("units", "1")),
        "days": [str(cube["time"].values[k])[:10] for k in (0, -1)],
        "gaps": settings.gaps,
        "hidden_share": settings.hidden,
        "seed": settings.seed,
        "scenarios": {
            name: {
                "about": SCENARIOS[name].about,
                "hidden": int(scenario.all_hidden.sum()),
                "seen": int(scenario.seen.sum()),
                "digest": masks_digest([scenario]),
            }
            for name, scenario in questions.items()
        },
    }
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
    return {**record, "digest": digest}


def _refuse_others(output: Path) -> None:
    """Raise ConfigError for a folder with anything but questions; those of an interrupted call are made again."""
    ours = {*SCENARIOS, READ_ME, RECORD, f"{RECORD}.partial"}
    if output.is_dir() and {path.name for path in output.iterdir()} - ours:
        raise ConfigError(f"output={output}: holds other files: choose a new folder")


def _is_made(output: Path, record: dict[str, Any]) -> bool:
    """Return True if the folder holds these questions; ConfigError where it holds others."""
    if not (output / RECORD).is_file():
        return False
    try:
        found = json.loads((output / RECORD).read_text(encoding="utf-8"))["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{output / RECORD}: not what `sgdsm protocol` writes: choose a new folder") from error
    if found != record["digest"]:
        raise ConfigError(
            f"output={output}: holds the questions {found}, of other data or settings than {record['digest']}: choose "
            "a new folder"
        )
    return True


def _write(output: Path, cube: xr.Dataset, questions: dict[str, Scenario], record: dict[str, Any]) -> None:
    for name in SCENARIOS:
        # of a call that was interrupted, perhaps with other settings
        shutil.rmtree(output / name, ignore_errors=True)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for name, scenario in questions.items():
        about = {
            "title": f"a question for gap-fillers, scenario {name}: {SCENARIOS[name].about}",
            "scenario": name,
            "seed": record["seed"],
            "protocol": record["digest"],
            "data_fingerprint": record["data"],
            "history": f"{when} sgdsm {version('sgdsm')} protocol",
        }
        write_question(output / name, cube, scenario, about)
    (output / READ_ME).write_text(_read_me(next(iter(questions)), record), encoding="utf-8")
    # last: a folder without it is begun again
    partial = output / f"{RECORD}.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(output / RECORD)


def _read_me(name: str, record: dict[str, Any]) -> str:
    lines = [
        f"Questions for gap-fillers, protocol {record['digest']}; {RECORD} tells what they were made from.",
        "",
        f"Each folder is a scenario. {VISIBLE} is a cube: '{record['target']}' without its hidden values, and all",
        "covariates. Fill its gaps as you like, from nothing else, and write a NetCDF file with the variable",
        f"sm_filled in the units of '{record['target']}' ({record['units']}), visible values unchanged, and perhaps",
        f"sm_lower, sm_upper and sm_std. {HIDDEN} holds the truth: it is for scoring alone.",
        "",
        f"  sgdsm evaluate filled=FILE.nc truth={name}/{HIDDEN} visible={name}/{VISIBLE}",
        "",
        "sgdsm's own fillers, trained and scored at once; data=.. is the cube that the questions were made from:",
        "",
        f"  sgdsm train model=xgboost data=.. splits=protocol splits.path={name}",
        "",
        *(f"{n}: {one['about']}; {one['hidden']} hidden values" for n, one in record["scenarios"].items()),
    ]
    return "\n".join(lines) + "\n"


def _table(questions: dict[str, Scenario], cube: Cube) -> str:
    """Return a line for each question: how many values are hidden, and in gaps of what lengths."""
    rows = [["scenario", "hidden", "share", *(name.removeprefix("gap_").replace("_", " ") for name in GAP_LENGTHS)]]
    for name, scenario in questions.items():
        mask = scenario.all_hidden
        length = gap_lengths(scenario.seen)[mask]
        shares = [np.mean((length >= low) & (length <= high)) for low, high in GAP_LENGTHS.values()]
        share = mask.sum() / cube.observed.sum()
        rows.append([name, str(mask.sum()), f"{share:.1%}", *(f"{one:.1%}" for one in shares)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
