"""Files that a pattern with {date} and {band} names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sgdsm.core.errors import ConfigError, CubeError

DATE, BAND = "{date}", "{band}"


@dataclass
class Scene:
    """Files of one image.

    Attributes:
        day: datetime64[D]; NaT without a date.
        name: Of one of the files.
        bands: Their paths by band; of files with several bands one path, under ''.
    """

    day: np.datetime64
    name: str
    bands: dict[str, Path] = field(default_factory=dict)


def scenes(folder: Path, pattern: str, where: str) -> list[Scene]:
    """Return the images whose files a pattern names, by day and name.

    Args:
        folder: Where relative patterns start.
        pattern: Like `s2/*_{date}_{band}.tif`; dates are YYYYMMDD, YYYY-MM-DD or YYYYDDD, `*` is any text.
        where: The source, for messages.

    Raises:
        ConfigError: A key other than {date} and {band} is in the pattern.
        CubeError: It names no file, or a date that is none.
    """
    rest = pattern.replace(DATE, "").replace(BAND, "")
    if "{" in rest or "}" in rest:
        raise ConfigError(f"{where}: files={pattern}: expected no other keys than {DATE} and {BAND}")
    whole = str(folder / pattern)
    text = re.escape(whole).replace(r"\*", "([^/]*)")
    dates, bands = re.escape(DATE), re.escape(BAND)
    # a star takes no digit of a date: seven of eight digits are one as well
    before, _, after = whole.partition(DATE)
    left, right = ("" if near.isdigit() else edge for near, edge in ((before[-1:], r"(?<!\d)"), (after[:1], r"(?!\d)")))
    # the second time that a key occurs it is the same text
    text = text.replace(dates, rf"{left}(?P<date>\d{{4}}-\d\d-\d\d|\d{{8}}|\d{{7}}){right}", 1)
    text = text.replace(dates, "(?P=date)")
    text = text.replace(bands, "(?P<band>[A-Za-z0-9]+)", 1).replace(bands, "(?P=band)")
    named = re.compile(text)
    found: dict[tuple[str, ...], Scene] = {}
    band_group = named.groupindex.get("band")
    start = Path(Path(whole).anchor)
    # a bracket in the name of a folder is no pattern
    pattern_of_all = str(Path(whole).relative_to(start)).replace("[", "[[]").replace(DATE, "*").replace(BAND, "*")
    pattern_of_all = re.sub(r"\*+", "*", pattern_of_all)  # ** is a whole folder, or an error
    for path in sorted(map(str, start.glob(pattern_of_all))):
        match = named.fullmatch(path)
        if match is None or not Path(path).is_file():
            continue
        parts = match.groupdict()
        day = day_of(parts["date"], path) if DATE in pattern else np.datetime64("NaT", "D")
        band = parts.get("band", "")
        # files that differ in the band only are of one scene
        key = tuple(text for k, text in enumerate(match.groups(), 1) if k != band_group)
        scene = found.setdefault(key, Scene(day, Path(path).name))
        scene.bands[band] = Path(path)
    if not found:
        raise CubeError(f"{where}: no file is named like {whole}")
    return sorted(found.values(), key=lambda scene: (str(scene.day), scene.name))


def day_of(text: str, path: str) -> np.datetime64:
    """Return the day of a date as it is in names of files; CubeError where it is none."""
    digits = text.replace("-", "")
    try:
        if len(digits) == 7:
            year, number = np.datetime64(digits[:4], "Y"), int(digits[4:])
            day = year.astype("datetime64[D]") + (number - 1)
            if day.astype("datetime64[Y]") != year:
                raise ValueError
            return day
        return np.datetime64(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}", "D")
    except ValueError:
        raise CubeError(f"{path}: '{text}' in its name is no date") from None
