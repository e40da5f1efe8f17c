from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.report.animation import ffmpeg


def first_and_last(path) -> tuple[int, np.ndarray, np.ndarray]:
    with Image.open(path) as picture:
        first = np.asarray(picture.convert("RGB"))
        picture.seek(picture.n_frames - 1)
        return picture.n_frames, first, np.asarray(picture.convert("RGB"))


def test_a_gif_has_a_frame_for_each_day_and_the_colours_of_its_values(filled, run_command, tmp_path):
    made = filled(days=12)
    days = made["sm_filled"].dims.index("time")
    # a plain map that gets wetter from day to day: the colour of a cell follows
    levels = np.linspace(0.1, 0.3, 12).reshape(12, 1, 1)
    assert days == 0
    made["sm_filled"] = (made["sm_filled"].dims, np.broadcast_to(levels, (12, 4, 5)).copy(), made["sm_filled"].attrs)
    made.to_netcdf(tmp_path / "filled.nc")
    code, out, err = run_command(
        "animate", "filled=filled.nc", "output=a.gif", "time=2020-01-02:2020-01-11", "layers=[filled,observed,source]"
    )
    assert code == 0, err
    assert out.strip().endswith("animation: a.gif")
    frames, first, last = first_and_last(tmp_path / "a.gif")
    assert frames == 10
    assert first.shape == last.shape
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0, "H.264 needs even numbers of pixels"
    changed = (first != last).any(-1)
    left = changed[:, : changed.shape[1] // 3]
    assert left.mean() > 0.2, "the map of filled values"
    # YlGnBu: the wetter the darker
    assert first[:, : left.shape[1]][left].mean() > 1.5 * last[:, : left.shape[1]][left].mean()
    assert not list(tmp_path.glob("*partial*"))
    assert not (tmp_path / "a.gif.lock").exists()
    # from Python, of a box of the same file
    part = made.sgdsm.animate(tmp_path / "b.gif", time=slice("2020-01-02", None), bbox=[5.5, 47.5, 8.5, 49.5])
    assert first_and_last(part)[0] == 11


def test_mp4_by_ffmpeg_or_a_line_that_says_what_is_missing(filled, tmp_path, monkeypatch):
    made = filled(days=6)
    try:
        program = ffmpeg()
    except ConfigError:
        program = None
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        patch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
        with pytest.raises(ConfigError, match=r"MP4 needs the program ffmpeg, or the extra video: pip install"):
            made.sgdsm.animate(tmp_path / "a.mp4")
    # a program that cannot: its last words, and no half file
    false = shutil.which("false")
    if false:
        with monkeypatch.context() as patch:
            patch.setattr("sgdsm.report.animation.ffmpeg", lambda: false)
            with pytest.raises(ConfigError, match=r"cannot write .mp4: it ended with 1; or write a .gif"):
                made.sgdsm.animate(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    if program is None:
        pytest.skip("neither ffmpeg nor imageio-ffmpeg is installed")
    made.sgdsm.animate(tmp_path / "a.mp4", frames_per_second=2)
    words = [program, "-loglevel", "error", "-i", str(tmp_path / "a.mp4"), str(tmp_path / "f%d.png")]
    subprocess.run(words, check=True)
    pictures = sorted(tmp_path.glob("f*.png"))
    assert len(pictures) == 6
    first, last = (np.asarray(Image.open(p).convert("RGB")).astype(int) for p in (pictures[0], pictures[-1]))
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0
    assert (abs(first - last) > 30).mean() > 0.02


def test_a_file_of_gaps_is_no_film(filled, run_command, tmp_path):
    made = filled(days=5)
    made.where(made["land"] > 1).assign(land=made["land"]).to_netcdf(tmp_path / "gaps.nc")
    code, _, err = run_command(
        "animate", "filled=gaps.nc", "output=a.gif", "layers=[filled]", "time=2020-01-02:2020-01-02"
    )
    assert code == 1
    assert err.strip().endswith(
        "filled=gaps.nc: 'sm_filled': no value in the 1 day and 20 cells asked for: nothing to show"
    ), err
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"path": "a.avi"}, r"output=.*a.avi: expected a name ending in .gif or .mp4"),
        ({"path": "."}, r"expected a name ending in"),
        ({"path": f"{__file__}/a.gif"}, r"is a file, expected a folder"),
        ({"layers": ["filed"]}, r"'filed' is no layer \(did you mean 'filled'\?\); there are observed, filled"),
        ({"layers": []}, r"layers=\[\]: expected different ones"),
        ({"layers": ["filled", "filled"]}, r"expected different ones"),
        ({"layers": ["uncertainty"]}, r"the layer 'uncertainty' needs maps of 'sm_std', which are not in the file"),
        ({"time": "2030:"}, r"time=2030: holds no day"),
        ({"time": slice("2020", None, 2)}, r"expected no step"),
        ({"bbox": [100, 0, 110, 10]}, r"holds no cell"),
        ({"frames_per_second": 0}, r"frames_per_second=0: expected at least 0.1"),
    ],
)
def test_what_cannot_be_animated(filled, tmp_path, words, message):
    arguments = {"path": "a.gif", **words}
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises((ConfigError, CubeError), match=message):
        filled(days=5).sgdsm.animate(**arguments)
    assert not list(tmp_path.iterdir())
