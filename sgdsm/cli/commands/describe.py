"""Print what is in a cube: dims, roles, ranges, coverage by season, gaps; with a figure. Or in a filled file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdsm.core.cube import by_role, checked_cube, open_cube, open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.io.stores import check_folder, is_remote
from sgdsm.core.settings import setting
from sgdsm.report.coverage import availability, availability_lines, coverage, figure, ranges
from sgdsm.report.coverage import describe as lines
from sgdsm.report.filled_text import filled_lines

USAGE = "CUBE | FILE target=NAME [dynamic=[NAME,NAME]] [static=[NAME]]"
POSITIONAL = "cube"
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps", ".ps")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The file to look at."""

    cube: str = setting(help="a cube, a filled file, or any file with target=NAME", path=True)
    target: str | None = setting(None, "of a file of your own: its soil moisture")
    dynamic: list[str] = setting([], "of a file of your own: covariates with a time, such as [precipitation]")
    static: list[str] = setting([], "of a file of your own: covariates that are maps")
    valid_range: list[float] | None = setting(None, "of target=: values outside are gaps, like [0,0.6]")
    zero_is_value: bool = setting(False, "of a Zarr v2 store with fill_value 0: zeros are values")
    figure: str | None = setting(None, "by default CUBE.png beside the cube", path=True)


def run(settings: Settings) -> None:
    """Print what is in a cube, and draw it."""
    path = settings.cube
    if settings.target is None and _describe_filled(settings):
        return
    # of a cube elsewhere, the figure lies here
    picture = _picture(settings.figure or f"{path.rstrip('/').rpartition('/')[2] if is_remote(path) else path}.png")
    cube = _opened(settings)
    text, problem = ranges(cube)
    print(text)
    if problem is not None:
        # the values of a file know its name
        raise problem if Path(path).name in str(problem) else CubeError(f"{path}: {problem}")
    shares = coverage(cube)
    print(lines(cube, shares))
    available = availability(cube)
    if available:
        print(availability_lines(available))
    print(f"figure: {figure(cube, shares, picture, available)}")


def _describe_filled(settings: Settings) -> bool:
    """Print what is in a filled file; False for other files."""
    with open_dataset(settings.cube) as dataset:
        if SM_FILLED not in dataset or by_role(dataset, "target"):
            return False
        if settings.figure is not None:
            raise ConfigError(f"figure={settings.figure}: a filled file is described in words: leave it out")
        try:
            print(filled_lines(dataset))
        except CubeError as error:
            raise CubeError(f"{settings.cube}: {error}") from error
    return True


def _opened(settings: Settings) -> Any:
    path, target = settings.cube, settings.target
    if target is None:
        for key in ("valid_range", "zero_is_value", "dynamic", "static"):
            if getattr(settings, key):
                raise ConfigError(f"{key}={getattr(settings, key)}: only with target=NAME, of a file of your own")
        cube = open_dataset(path)
    else:
        # of a file of the user's own, its soil moisture and the covariates that are named
        cube = open_cube(
            path,
            target,
            settings.dynamic,
            settings.static,
            missing_days="insert",
            valid_range=settings.valid_range,
            zero_is_value=settings.zero_is_value,
        )
    for role in ("target", "land"):
        if len(by_role(cube, role)) != 1:
            raise CubeError(
                f"{path}: expected a cube, with one variable of the attribute role='{role}', as prepare writes it; "
                "of a file of your own say target=NAME"
            )
    if target is None:
        try:
            cube = checked_cube(cube)
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error
    elif not cube["land"].values.any():
        raise CubeError(f"{path}: '{target}' has no value anywhere")
    return cube


def _picture(named: str) -> Path:
    """Where a figure is drawn; ConfigError where matplotlib cannot, or in the place of its folder is a file."""
    path = Path(named)
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"figure={path}: expected a name ending in {', '.join(PICTURES)}")
    if path.is_dir():
        raise ConfigError(f"figure={path}: is a folder, expected the name of a file")
    check_folder("figure", path)
    return path
