from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from sgdsm.evaluation.realism import LAGS, PERIODS, Realism
from sgdsm.report.coastlines import coastlines
from sgdsm.report.hovmoeller import CHANGE, ERROR, GAPS, with_difference
from sgdsm.report.maps import NO_LAND, NO_VALUE, colour_bar, draw_map, hatch, outline
from sgdsm.report.realism import realism_figure
from sgdsm.report.score_figures import class_figure
from sgdsm.report.style import subplots

EXTENT = (10.0, 13.0, 0.0, 2.0)
LAND = np.array([[True, True, False], [True, True, False]])
VALUES = np.array([[0.2, np.nan, 0.3], [0.4, 0.9, np.nan]])


def test_a_map_tells_values_missing_values_and_no_land_apart():
    figure, axis = subplots(figsize=(3, 2), layout="none")
    axis.set_position((0, 0, 1, 1))
    image = draw_map(axis, VALUES, EXTENT, "auto", LAND, vmin=0.2, vmax=0.5, cmap="YlGnBu")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    height, width = pixels.shape[:2]
    middle = pixels[[height // 4, 3 * height // 4]][:, [width // 6, width // 2, 5 * width // 6]]
    np.testing.assert_allclose(middle[0, 1], to_rgb(NO_VALUE), atol=0.01)
    np.testing.assert_allclose(middle[:, 2], [to_rgb(NO_LAND)] * 2, atol=0.01)
    np.testing.assert_allclose(middle[0, 0], image.to_rgba(0.2)[:3], atol=0.01)
    # both sides of the border between land and no land, and nothing else
    assert sorted(outline(LAND, EXTENT).tolist()) == [[[12, 1], [12, 0]], [[12, 2], [12, 1]]]
    # .9 is beyond the scale, nothing is below it
    assert colour_bar(image, axis, "sm [m3 m-3]").extend == "max"
    image.set_clim(0.25, 1)
    assert colour_bar([image, image], axis, "sm [m3 m-3]").extend == "min"


def test_hatched_cells_are_those_that_are_asked_for():
    _, axis = subplots(figsize=(3, 2), layout="none")
    hatch(axis, LAND, EXTENT)
    (patch,) = axis.patches
    boxes = patch.get_path().vertices.reshape(2, 5, 2)
    np.testing.assert_array_equal(boxes.min(1), [[10, 1], [10, 0]])
    np.testing.assert_array_equal(boxes.max(1), [[12, 2], [12, 1]])
    hatch(axis, LAND & False, EXTENT)
    assert len(axis.patches) == 1


def test_classes_of_few_values_are_marked():
    table = {"gap_1_day": {"a": (5000.0, 0.02, 0.018, 0.022)}, "gap_3_days": {"a": (199.0, 0.03, 0.01, 0.05)}}
    axis = class_figure(table, "length of the gap", "m3 m-3").axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1 day\nN 5000", "3 days*\nN 199"]
    points = [line for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [point.get_markerfacecolor() == "white" for point in points] == [False, True]
    assert "N < 200" in axis.get_xlabel()


def test_the_difference_of_means_is_of_the_same_cells_or_says_that_it_is_not():
    means = {"observed": np.array([[0.2, np.nan]]), "filled": np.array([[0.3, 0.4]])}
    same, error = np.array([[1e-9, np.nan]]), np.array([[np.nan, 0.01]])
    kept = with_difference({**means, CHANGE: same})
    assert list(kept) == ["observed", "filled", GAPS]
    np.testing.assert_allclose(kept[GAPS], [[0.1, np.nan]])
    assert with_difference({**means, CHANGE: same + 0.02})[CHANGE][0, 0] == pytest.approx(0.02)
    assert list(with_difference({**means, CHANGE: same + 0.02, ERROR: error})) == ["observed", "filled", ERROR]


@pytest.mark.filterwarnings("error")
def test_a_model_without_drydown_is_drawn_without_a_warning(tmp_path):
    pair = np.array([0.03, 0.02])
    whole = Realism(
        pair, np.ones((2, len(LAGS))), np.ones((2, len(PERIODS))), np.array([50.0, 100.0]), np.ones((2, 2)), pair, pair,
        np.array([1.0, np.nan]),
    )  # fmt: skip
    lost = whole._replace(drydown_days=np.array([5.0, np.nan]), seam_time=np.array([0.0, 0.0]))
    assert realism_figure({"a": whole, "b": lost}, tmp_path / "a.png", "title", "m3 m-3").stat().st_size > 10_000


def test_coastlines_of_the_package_lie_in_the_map(tmp_path, monkeypatch):
    island = np.array([[-170.0, 5], [-165, 5], [-165, 8], [-170, 5]], "<f4")
    pond = np.array([[20.0, 5], [20.01, 5], [20, 5.01], [20, 5]], "<f4")
    (tmp_path / "gshhs_l.dat").write_bytes(island.tobytes() + pond.tobytes())
    (tmp_path / "gshhsmeta_l.dat").write_text("1 90000.0 4 5 8 0 32 1\n2 0.5 4 5 5.01 32 32 2\n3 9e9 4 5 8 0 32 3\n")
    monkeypatch.setattr("sgdsm.report.coastlines._folder", lambda: tmp_path)
    (line,) = coastlines((0, 360, -90, 90))
    np.testing.assert_array_equal(line, island + [360, 0])
    assert not coastlines((0, 90, -90, 90))
    monkeypatch.setattr("sgdsm.report.coastlines._folder", lambda: None)
    assert coastlines((0, 360, -90, 90)) == []
