"""Animations of a filled Dataset, as GIF or MP4: maps beside each other, a frame for each day."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from sgdsm.core.arguments import checked, shown
from sgdsm.core.cube import space_dims, suggest, time_chunks
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import FILLED, GAP_AGE, LAND, NONE, OBSERVED, SM_FILLED, SM_SOURCE, SM_STD, maps_of, observed_of
from sgdsm.core.io.stores import check_folder
from sgdsm.core.region import check_bbox, part_of
from sgdsm.core.words import counted
from sgdsm.report.maps import draw_land, extent_of, limits, map_key, name_axes
from sgdsm.report.style import BLUE, RED, subplots

# a layer -> its variable; the observed values have the name of the target
LAYERS = {"observed": "", "filled": SM_FILLED, "uncertainty": SM_STD, "gap_age": GAP_AGE, "source": SM_SOURCE}
TITLES = {
    "observed": "observed",
    "filled": "filled",
    "uncertainty": "standard deviation in the gaps",
    "gap_age": "age of the gap",
    "source": "source of the values",
}
ENDINGS = (".gif", ".mp4")
DPI = 100
SAMPLED_DAYS = 20  # of which the colour scales are taken
MOST_IN_A_ROW = 3
PANEL_INCHES = 5.0


@checked
def animate(
    dataset: xr.Dataset,
    path: str | Path,
    layers: Sequence[str] = ("observed", "filled"),
    *,
    time: str | slice | None = None,
    bbox: Sequence[float] | None = None,
    frames_per_second: float = 4,
    observed: str | None = None,
) -> Path:
    """Write an animation of a filled Dataset: maps beside each other, a frame for each day, one colour scale.

    The figure is drawn once and its maps are replaced from frame to frame. A few days are in memory at a time.

    Args:
        dataset: As `sgdsm.fill` returns it, or predict.py writes it.
        path: FILE.gif, or FILE.mp4, which needs the program ffmpeg or the package imageio-ffmpeg.
        layers: Maps from left to right: 'observed', 'filled', 'uncertainty', 'gap_age' (days), 'source'.
        time: First and last day, like '2015-06-01:2015-06-30' or slice('2015-06-01', '2015-06-30').
        bbox: [west, south, east, north], degrees.
        frames_per_second: Days shown in a second.
        observed: Name of the variable with the observed values, see `sgdsm.core.filled.observed_of`.

    Returns:
        `path`.

    Raises:
        CubeError: The Dataset is not a filled one, lacks a layer, or has no day, cell or value in `time` and `bbox`.
        ConfigError: The name of the file, a layer or a program that is needed.
    """
    path = animation_path(path)
    encoder = ffmpeg() if path.suffix.lower() == ".mp4" else ""
    check_layers(layers)
    if bbox is not None:
        check_bbox(bbox)
    maps = _layers_of(dataset, layers, time, bbox, observed)
    _check_not_empty(maps, layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        frames = _frames(_Drawing.of(maps), maps)
        if encoder:
            _write_mp4(frames, partial, encoder, frames_per_second)
        else:
            _write_gif(frames, partial, frames_per_second)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def animation_path(path: str | Path) -> Path:
    """Return the path of an animation.

    Args:
        path: As the user gave it.

    Raises:
        ConfigError: Its ending is no format of animations, it is a folder, or its folder is a file.
    """
    found = Path(path)
    if found.suffix.lower() not in ENDINGS:
        raise ConfigError(f"output={found}: expected a name ending in .gif or .mp4")
    if found.is_dir():
        raise ConfigError(f"output={found}: is a folder, expected the name of a file")
    check_folder("output", found)
    return found


def ffmpeg() -> str:
    """Return the program that writes MP4: ffmpeg, or the one of the package imageio-ffmpeg.

    Raises:
        ConfigError: There is neither.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        try:
            import imageio_ffmpeg  # type: ignore[import-not-found, unused-ignore]

            found = str(imageio_ffmpeg.get_ffmpeg_exe())
        except (ImportError, RuntimeError) as error:
            raise ConfigError(
                "MP4 needs the program ffmpeg, or the extra video: pip install 'sgdsm[video]'; or write a .gif"
            ) from error
    return found


def check_layers(layers: Sequence[str]) -> None:
    """Raise an error unless all names are those of different layers.

    Args:
        layers: Names, see `animate`.

    Raises:
        ConfigError: A name is unknown or there twice, or there is none.
    """
    for name in layers:
        if name not in LAYERS:
            raise ConfigError(f"layers={shown(list(layers))}: {name!r} is no layer{suggest(name, list(LAYERS))}; "
                              f"there are {', '.join(LAYERS)}")  # fmt: skip
    if not layers or len(set(layers)) < len(layers):
        raise ConfigError(f"layers={shown(list(layers))}: expected different ones of {', '.join(LAYERS)}")


def _layers_of(
    dataset: xr.Dataset,
    layers: Sequence[str],
    time: str | slice | None,
    bbox: Sequence[float] | None,
    observed: str | None,
) -> xr.Dataset:
    """Return the layers and the land of a part of a filled Dataset, (T, H, W), rows from north to south."""
    filled = maps_of(dataset)
    found = {}
    for name in layers:
        variable = LAYERS[name]
        if variable and (variable not in dataset or set(dataset[variable].dims) != set(filled.dims)):
            raise CubeError(f"the layer '{name}' needs maps of '{variable}', which are not in the file")
        found[name] = dataset[variable] if variable else observed_of(dataset, observed)
        if name == "source":
            found[name] = found[name].where(found[name] > NONE)  # 0: no value
    rows, columns = space_dims(filled)
    maps = xr.Dataset(found).assign_attrs(name=str(observed_of(dataset, observed).name))
    if LAND in dataset and set(dataset[LAND].dims) == {rows, columns}:
        maps[LAND] = dataset[LAND].astype(bool)
    # the axes may have been turned or sorted by the user
    maps = maps.transpose("time", rows, columns)
    if not maps.indexes[rows].is_monotonic_decreasing:
        maps = maps.sortby(rows, ascending=False)
    if not maps.indexes[columns].is_monotonic_increasing:
        maps = maps.sortby(columns)
    # xarray drops attributes in computations
    maps.attrs["units"] = filled.attrs.get("units", "1")
    return part_of(maps, layers[0], time, bbox)


def _check_not_empty(maps: xr.Dataset, layers: Sequence[str]) -> None:
    """Raise CubeError where no layer has any value: the film would be blank."""
    for name in layers:
        for days in time_chunks(maps[name]):
            if np.isfinite(maps[name][days].values).any():
                return
    names = " and ".join(repr(LAYERS[name] or maps.attrs["name"]) for name in layers)
    raise CubeError(
        f"{names}: no value in the {counted(maps.sizes['time'], 'day')} and "
        f"{counted(maps[layers[0]][0].size, 'cell')} asked for: nothing to show"
    )


@dataclass
class _Drawing:
    """The figure of all frames.

    Args:
        canvas: Of the figure.
        background: All that does not change, as the canvas keeps it.
        images: Layer -> its map.
        date: The line with the day.
    """

    canvas: FigureCanvasAgg
    background: Any
    images: dict[str, AxesImage]
    date: Text

    @classmethod
    def of(cls, maps: xr.Dataset) -> _Drawing:
        layers = [str(name) for name in maps.data_vars if name != LAND]
        rows, columns = space_dims(maps[layers[0]])
        extent, aspect = extent_of(maps, layers[0])
        per_row = len(layers) if len(layers) <= MOST_IN_A_ROW else -(-len(layers) // 2)
        height = -(-len(layers) // per_row)
        figure, axes = subplots(
            height, per_row, figsize=_size(maps.sizes[rows], maps.sizes[columns], aspect, height, per_row),
            layout="compressed", sharex=True, sharey=True, squeeze=False,
        )  # fmt: skip
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        images = {}
        for axis, name in zip(axes.flat, layers, strict=False):
            images[name] = _empty_map(axis, maps, name, extent, aspect)
        for axis in axes.flat[len(layers) :]:
            axis.set_axis_off()
        lowest = [axes[(len(layers) - 1 - column) // per_row, column] for column in range(per_row)]
        for axis in lowest:
            axis.tick_params(labelbottom=True)
        name_axes(maps, lowest, axes[:, 0])
        _colour_bars(maps, images)
        date = figure.suptitle("2000-01-01", fontsize=13)
        canvas.draw()
        # the room of the parts, the date's too, is the same in all frames
        figure.set_layout_engine("none")
        date.set_animated(True)
        canvas.draw()
        return cls(canvas, canvas.copy_from_bbox(figure.bbox), images, date)

    def frame(self, day: dict[str, np.ndarray], title: str) -> Image.Image:
        """Return the picture of a day: its maps by layer, (H, W), and its title."""
        self.canvas.restore_region(self.background)
        for name, image in self.images.items():
            image.set_data(np.ma.masked_invalid(day[name]))
            image.axes.draw_artist(image)
            # what lies over the map
            for artist in (*image.axes.patches, *image.axes.collections, *image.axes.spines.values()):
                image.axes.draw_artist(artist)
        self.date.set_text(title)
        self.canvas.figure.draw_artist(self.date)
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")


def _size(rows: int, columns: int, aspect: str | float, height: int, per_row: int) -> tuple[float, float]:
    """Return width and height of the figure, inches, both of an even number of pixels, as H.264 needs."""
    cell = 1.0 if aspect == "equal" else float(aspect)
    tall = PANEL_INCHES * cell * rows / columns
    wide = PANEL_INCHES * min(1.0, PANEL_INCHES / tall)
    tall = min(max(tall, 1.0), PANEL_INCHES)
    pixels = (DPI * (per_row * max(wide, 2.6) + 0.8), DPI * (height * (tall + 1.7) + 0.1))
    return 2 * round(pixels[0] / 2) / DPI, 2 * round(pixels[1] / 2) / DPI


def _empty_map(axis: Any, maps: xr.Dataset, name: str, extent: Any, aspect: Any) -> AxesImage:
    """Draw where there is land, and over it a map without values, which the frames fill."""
    shape = maps[name].shape[1:]
    draw_land(axis, maps[LAND].values if LAND in maps else np.ones(shape, bool), extent, aspect)
    axis.set_title(TITLES[name], fontsize=11)
    image = axis.imshow(
        np.full(shape, np.nan),
        extent=extent,
        aspect=aspect,
        animated=True,
        interpolation="nearest",
        **_scale(maps, name),
    )
    return image


def _scale(maps: xr.Dataset, name: str) -> dict[str, Any]:
    """Return colours and limits of a layer; observed and filled values have the same."""
    if name == "source":
        return {"cmap": ListedColormap([BLUE, RED]), "vmin": OBSERVED - 0.5, "vmax": FILLED + 0.5}
    of_water = name in ("observed", "filled")
    variable = maps["filled" if of_water and "filled" in maps else name]
    days = np.unique(np.linspace(0, variable.sizes["time"] - 1, SAMPLED_DAYS).astype(int))
    low, high = limits(*(variable[day].values for day in days))
    if of_water:
        return {"cmap": "YlGnBu", "vmin": low, "vmax": high}
    return {"cmap": "magma_r", "vmin": 0, "vmax": max(high, 1.0) if name == "gap_age" else high}


def _colour_bars(maps: xr.Dataset, images: dict[str, AxesImage]) -> None:
    """Draw a colour bar under each map, one for observed and filled values where they are neighbours."""
    names = list(images)
    groups = [[name] for name in names]
    if set(names[:2]) == {"observed", "filled"}:
        groups = [names[:2], *groups[2:]]
    figure = images[names[0]].axes.figure
    about: dict[str, Any] = {"location": "bottom", "fraction": 0.06, "aspect": 40, "pad": 0.03}
    for group in groups:
        image, axes = images[group[0]], [images[name].axes for name in group]
        if group == ["source"]:
            bar = figure.colorbar(image, ax=axes, ticks=[OBSERVED, FILLED], **about)
            bar.set_ticklabels(["observed", "filled"])
        elif group == ["gap_age"]:
            figure.colorbar(
                image, ax=axes, label="days to the nearest observation", extend="max",
                ticks=MaxNLocator(6, integer=True), **about,
            )  # fmt: skip
        else:
            water = group != ["uncertainty"]
            label = f"{maps.attrs['name']} [{maps.attrs['units']}]" if water else f"[{maps.attrs['units']}]"
            figure.colorbar(image, ax=axes, label=label, extend="both" if water else "max", **about)
    map_key(figure, LAND in maps and not maps[LAND].values.all())


def _frames(drawing: _Drawing, maps: xr.Dataset) -> Iterator[Image.Image]:
    """Yield the picture of each day; a few days are in memory."""
    names = list(drawing.images)
    first = maps[names[0]]
    days = maps["time"].values.astype("datetime64[D]").astype(str)
    for part in time_chunks(first, 2**24 // len(names)):
        values = {name: maps[name][part].values.astype(np.float32) for name in names}
        for k, day in enumerate(days[part]):
            yield drawing.frame({name: values[name][k] for name in names}, day)


def _write_gif(frames: Iterator[Image.Image], path: Path, frames_per_second: float) -> None:
    """Write frames as GIF, which repeats for ever."""
    first = next(frames)
    # one palette: colours that change from frame to frame would flicker
    palette = first.quantize(255, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)

    def reduced(frame: Image.Image) -> Image.Image:
        return frame.quantize(palette=palette, dither=Image.Dither.NONE)

    reduced(first).save(
        path, format="GIF", save_all=True, append_images=map(reduced, frames), loop=0,
        duration=round(1000 / frames_per_second), optimize=False,
    )  # fmt: skip


def _write_mp4(frames: Iterator[Image.Image], path: Path, encoder: str, frames_per_second: float) -> None:
    """Write frames as MP4 (H.264) through ffmpeg.

    Raises:
        ConfigError: ffmpeg says no.
    """
    first = next(frames)
    words = [
        encoder, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{first.width}x{first.height}", "-r", str(frames_per_second), "-i", "-", "-an",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path.absolute()),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said) as process:
            assert process.stdin is not None
            _feed(process.stdin, first, frames)
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or [f"it ended with {process.returncode}"]
            raise ConfigError(f"{encoder} cannot write {path.suffix}: {lines[-1]}; or write a .gif")


def _feed(pipe: IO[bytes], first: Image.Image, frames: Iterator[Image.Image]) -> None:
    try:
        pipe.write(first.tobytes())
        for frame in frames:
            pipe.write(frame.tobytes())
        pipe.close()
    except BrokenPipeError:
        # the program has ended: it says why
        pass
