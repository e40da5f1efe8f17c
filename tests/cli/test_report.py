from __future__ import annotations

import json
import shutil
import sys

import pytest
import xarray as xr

from tests.conftest import BLOCKS, SMALL_WORLD
from tests.report.records import filled_record

QUIET = "trainer.progress=false"


def test_report_of_runs_and_a_filled_file(run_command, tmp_path):
    """Train two runs, fill, write the page: its size, its words, and what it says of bad input."""
    pytest.importorskip("bokeh", reason="the maps need bokeh")
    train = [*SMALL_WORLD, QUIET]
    for model in ("climatology", "linear_time"):
        code, _, err = run_command("train", f"model={model}", *train, *BLOCKS, f"hydra.run.dir=runs/{model}")
        assert code == 0, err
    (tmp_path / "runs" / "climatology" / "notes.txt").write_text("few <b>days</b>\n")
    code, out, err = run_command("predict", "run=runs/climatology", "output=new/filled.nc", "report=one.html", QUIET)
    assert code == 0, err
    assert "report: one.html (" in out
    text = (tmp_path / "one.html").read_text()
    assert "Soil moisture filled by climatology" in text
    assert "few &lt;b&gt;days" in text
    assert text.count('id="map-') == 3
    # a part on another grid than the run's: without the maps of the run
    part = ["output=part.nc", "report=part.html", "bbox=[-130,20,-118,60]"]
    code, out, err = run_command("predict", "run=runs/climatology", *part, QUIET)
    assert code == 0, err
    assert (tmp_path / "part.html").read_text().count('id="map-') == 2
    (tmp_path / "new" / "filled.nc").rename(tmp_path / "filled.nc")
    code, _, err = run_command("members", "filled=filled.nc", "number=2", "output=members.nc")
    assert code == 0, err
    words = ["runs", "filled=filled.nc", "members=members.nc", "title='Two runs'"]
    code, out, err = run_command("report", *words, "output=new/page.html")
    assert code == 0, err
    assert "report: new/page.html (" in out
    assert "The maps show every cell and day of the record" in out
    text = (tmp_path / "new" / "page.html").read_text()
    assert "<title>Two runs</title>" in text
    assert text.count('id="map-') == 4
    assert "2 members: possible series" in text
    assert (tmp_path / "new" / "page.html").stat().st_size < 5e6
    bad_input(run_command, tmp_path)


def bad_input(run_command, tmp_path):
    (tmp_path / "folder.html").mkdir()
    filled_record().to_netcdf(tmp_path / "other.nc")
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "nothing.nc")
    shutil.copytree(tmp_path / "runs" / "climatology", tmp_path / "unscored")
    (tmp_path / "unscored" / "metrics.json").unlink()
    shutil.copytree(tmp_path / "runs" / "climatology", tmp_path / "validated")
    metrics = json.loads((tmp_path / "validated" / "metrics.json").read_text())
    metrics["protocol"] |= {"digest": "other", "scored_split": "validation"}
    (tmp_path / "validated" / "metrics.json").write_text(json.dumps(metrics))
    cases = {
        ("output=page.html",): "name run folders, or filled=FILE",
        ("runs/climatology", "output=page.txt"): "output=page.txt: expected a name that ends in .html",
        ("runs/climatology", "output=folder.html"): "output=folder.html: is a folder",
        ("runs/climatology", "megabytes=-1"): "megabytes=-1: expected more than 0",
        ("unscored",): "the run is not finished",
        ("nowhere",): "report: nowhere: no such folder",
        ("runs/climatology", "runs/climatology"): "a run is named twice",
        ("runs/climatology", "validated"): "scored by different protocols",
        ("runs/climatology", "filled=other.nc"): "is on another grid than 'other.nc'",
        ("filled=nothing.nc",): "nothing.nc: not a filled Dataset",
        ("runs/climatology", "stations=other.nc"): "stations=other.nc: no variable 'r'",
        ("filled=filled.nc", "members=other.nc"): "members=other.nc: no variable 'sm_members'",
        ("filled=other.nc", "members=members.nc"): "members=members.nc: sm_members is on another grid than 'other.nc'",
        ("runs/climatology", "members=members.nc"): "members=members.nc: give filled=FILE too",
        ("runs/climatology", "trends=other.nc"): "trends=other.nc: no variable 'slope_filled'",
        ("runs/climatology", "reference=x"): "reference=x: expected one of the runs",
    }
    # of another run, though on the same grid and days; and a run whose notes are a file elsewhere
    xr.open_dataset(tmp_path / "members.nc").assign_attrs(source="another").to_netcdf(tmp_path / "strange.nc")
    cases["filled=filled.nc", "members=strange.nc"] = (
        "members=strange.nc: are of what another filled, expected those of"
    )
    shutil.copytree(tmp_path / "runs" / "climatology", tmp_path / "linked")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "linked" / "notes.txt").unlink()
    (tmp_path / "linked" / "notes.txt").symlink_to(tmp_path / "secret")
    cases["linked",] = "linked/notes.txt: leads out of its folder"
    for words, said in cases.items():
        code, out, err = run_command("report", *words)
        assert code == 1, words
        assert said in err, (words, err)
        assert len(err.strip().splitlines()) == 1, err
        assert not (tmp_path / "report.html").exists(), words


def test_without_bokeh(run_command, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    code, _, err = run_command("report", "filled=filled.nc")
    assert code == 1
    assert "pip install 'sgdsm[report]'" in err
