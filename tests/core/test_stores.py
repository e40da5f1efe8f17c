"""Cubes and filled files on an object store (an S3 server on this machine) and on a web server."""

from __future__ import annotations

import functools
import http.server
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
import xarray as xr
import zarr

from sgdsm.core.cube import open_cube, open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import chunks
from sgdsm.core.specification import build
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import ZarrOutput, writer_for
from sgdsm.models.base import GapFiller
from sgdsm.preprocessing.export import is_begun, write_zarr
from sgdsm.training.run import file_stamp
from tests.conftest import TINY_PCONV, in_process
from tests.forked import Forked

pytestmark = pytest.mark.slow

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}
NAMES = ["data=netcdf", "data.target=sm", "data.dynamic=[precipitation]", "data.land=land"]
ON_CPU = ["trainer.progress=false", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[s3fs.S3FileSystem]:
    """The files of a server that has the bucket `bucket`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # moto keeps its buckets in the process: another worker's order of tests may come back to this fixture
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "ours")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem(use_listings_cache=False)
        files.mkdir("bucket")
        yield files
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def s3_cube(bucket, world) -> str:
    """The small world on the object store."""
    write_zarr(world, "s3://bucket/cube.zarr")
    return "s3://bucket/cube.zarr"


@pytest.fixture
def elsewhere(monkeypatch) -> Iterator[pytest.MonkeyPatch]:
    """For tests that change the environment: no connection is kept."""
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    yield monkeypatch
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def web(tmp_path) -> Iterator[tuple[http.server.ThreadingHTTPServer, str]]:
    """A web server of the test's folder, and its URL."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Forbidding(Quiet):
    def do_GET(self) -> None:
        self.send_error(403)

    do_HEAD = do_PUT = do_GET


def filler_of(cube: xr.Dataset) -> GapFiller:
    from tests.inference.test_fill import fitted

    return fitted("sgdsm.models.LinearTime", cube)


def assert_same(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6, err_msg=str(name))


@pytest.fixture(scope="module")
def folder(bucket, s3_cube, world, tmp_path_factory) -> Path:
    """Holds the cube, and runs trained on it `here` and on that of the object store, `there`."""
    made: Path = tmp_path_factory.mktemp("stores")
    world.to_netcdf(made / "cube.nc")
    for name, path in {"here": made / "cube.nc", "there": s3_cube}.items():
        words = [*TINY_PCONV, *NAMES, *ON_CPU, "trainer.max_epochs=1", f"data.path={path}", f"hydra.run.dir={name}"]
        in_process(made, "train", *words)
    return made


def test_trained_and_filled_there_as_here(bucket, folder, run_command, tmp_path):
    output = "s3://bucket/filled.zarr"
    assert run_command("predict", f"run={folder / 'here'}", "output=filled.nc", *ON_CPU)[0] == 0
    words = [f"run={folder / 'there'}", f"output={output}", *ON_CPU]
    code, out, err = run_command("predict", *words)
    assert code == 0, err
    assert f"filled: {output}" in out
    with xr.open_dataset(tmp_path / "filled.nc") as here, open_dataset(output) as there:
        assert_same(there, here)
    before = bucket.find("bucket/filled.zarr", detail=True)
    assert run_command("predict", *words)[0] == 0
    code, _, err = run_command("predict", f"run={folder / 'here'}", f"output={output}", *ON_CPU)
    assert code == 1
    assert "exists and is of another run" in err
    assert bucket.find("bucket/filled.zarr", detail=True) == before


def test_scores_and_words_of_what_lies_there(bucket, s3_cube, folder, run_command):
    run = folder / "there"
    write_zarr(open_dataset(run / "evaluation" / "filled.nc"), "s3://bucket/scored.zarr")
    words = [f"truth={run / 'evaluation' / 'hidden.nc'}", f"visible={run / 'evaluation' / 'visible.nc'}"]
    code, out, err = run_command("evaluate", "filled=s3://bucket/scored.zarr", *words)
    assert code == 0, err
    rmse = json.loads((run / "metrics.json").read_text())["classes"]["all"]["rmse"]
    assert f"RMSE {rmse:.6f}" in out
    code, out, err = run_command("describe", s3_cube)
    assert code == 0, err
    assert "figure: cube.zarr.png" in out


def test_killed_in_the_middle_it_goes_on(bucket, folder, run_command, tmp_path):
    words = [f"run={folder / 'there'}", "inference.memory_gib=0.00008", *ON_CPU]
    assert run_command("predict", *words, "output=whole.nc")[0] == 0
    process = Forked(tmp_path, "tests/training/slow_predict.py", *words, "output=s3://bucket/killed.zarr")
    done, end = "bucket/killed.zarr/finished_slabs/c", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end and not bucket.exists(done):
        time.sleep(0.02)
    process.kill()
    _, err = process.communicate(timeout=60)
    assert bucket.exists(done), err
    left = zarr.open_group("s3://bucket/killed.zarr", mode="r")["finished_slabs"]
    assert 0 < left[:].sum() < left.shape[0]
    code, _, err = run_command("predict", *words, "output=s3://bucket/killed.zarr")
    assert code == 0, err
    assert "resuming" in err
    with xr.open_dataset(tmp_path / "whole.nc") as whole, open_dataset("s3://bucket/killed.zarr") as killed:
        assert_same(killed, whole)
    assert not bucket.exists("bucket/killed.zarr/finished_slabs")


def test_interrupted_before_all_arrays_are_there_it_is_made_anew(bucket, world, monkeypatch):
    path = "s3://bucket/begun.zarr"
    filler = filler_of(world)
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "create_array", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fill_cube(world, filler, writer_for(path), identity="a", trainer=QUIET)
    assert ZarrOutput.BEGUN in zarr.open_group(path, mode="r").attrs
    with pytest.raises(ConfigError, match="is of another run"):
        fill_cube(world, filler, writer_for(path), identity="b", trainer=QUIET)
    fill_cube(world, filler, writer_for(path), identity="a", trainer=QUIET)
    with open_dataset(path) as found:
        assert np.isfinite(found["sm_filled"].values[:, world["land"].values]).all()
        assert ZarrOutput.BEGUN not in found.attrs


def interrupt(*args: object, **more: object) -> None:
    raise KeyboardInterrupt


def test_what_lies_there_is_not_overwritten(bucket, world):
    bucket.pipe("bucket/notes.zarr/readme.txt", b"not ours")
    with pytest.raises(ConfigError, match="exists and is of another run"):
        fill_cube(world, filler_of(world), writer_for("s3://bucket/notes.zarr"), trainer=QUIET)
    assert bucket.find("bucket/notes.zarr") == ["bucket/notes.zarr/readme.txt"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://nobucket/x.zarr", "there is no bucket 'nobucket'"),
        ("s3://bucket/x.nc", "expected a Zarr store, ending in .zarr"),
        ("https://127.0.0.1/x.zarr", "cannot be written; expected s3://, gs:// or a local file"),
        ("s3://bucket/x::file:///tmp/x.zarr", "cannot be written; expected"),
    ],
)
def test_outputs_that_cannot_work(bucket, path, message):
    with pytest.raises(ConfigError, match=message):
        writer_for(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://nobucket/x.zarr", "there is no bucket 'nobucket'"),
        ("s3://bucket/absent.zarr", "there is no such store"),
        ("s3://bucket/notes.zarr", "cannot be read or written"),
        ("s3://bucket/x.nc", "other files must be on this machine"),
        ("ftp://127.0.0.1/x.zarr", "cannot be read; expected s3://, gs://, https://"),
        ("simplecache::s3://bucket/cube.zarr", "cannot be read; expected"),
        ("https://127.0.0.1:9/x.zarr", "cannot be read or written: Cannot connect to host"),
    ],
)
def test_cubes_that_cannot_be_read(bucket, path, message):
    bucket.pipe("bucket/notes.zarr/readme.txt", b"not ours")
    with pytest.raises((ConfigError, CubeError), match=message) as error:
        open_cube(path, "sm")
    assert "\n" not in str(error.value)


def test_stores_that_do_not_let_us_in(bucket, elsewhere):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        elsewhere.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(CubeError, match="set the credentials in the environment"):
            writer_for("s3://bucket/x.zarr")
        server.shutdown()
    s3fs.S3FileSystem.clear_instance_cache()
    elsewhere.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    elsewhere.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(CubeError, match="cannot be read or written: Could not connect"):
        open_dataset("s3://bucket/cube.zarr")


def test_a_package_that_is_missing_is_named(monkeypatch):
    from fsspec.registry import _registry

    monkeypatch.delitem(_registry, "gs", raising=False)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r"pip install 'sgdsm\[gcs\]'"):
        open_dataset("gs://bucket/cube.zarr")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("prepare", ["data=cci_era5_025", "data.path=s3://bucket/x.zarr"]),
        ("train", ["data=simulate_store", "data.path=s3://bucket/x.zarr"]),
        ("export", ["cube.nc", "output=s3://bucket/x.nc"]),
        ("export", ["s3://bucket/cube.zarr", "output=s3://bucket/cube.zarr"]),
    ],
)
def test_what_stays_on_this_machine(bucket, s3_cube, run_command, command, words):
    code, _, err = run_command(command, *words)
    last = err.strip().splitlines()[-1]
    assert code == 1
    assert last.startswith("error: ")
    assert any(told in last for told in ("on this machine", "exists: remove it"))


def test_an_export_that_was_interrupted_is_refused_and_begun_again(bucket, world, run_command, tmp_path, monkeypatch):
    world[["sm", "land"]].to_netcdf(tmp_path / "cube.nc")
    path = "s3://bucket/exported.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(zarr, "consolidate_metadata", interrupt)
        patch.setattr(zarr.core.attributes.Attributes, "pop", interrupt)
        assert run_command("export", "cube.nc", f"output={path}")[0] == 130
    assert is_begun(path)
    with pytest.raises(CubeError, match="is not finished"):
        open_cube(path, "sm")
    assert run_command("export", "cube.nc", f"output={path}")[0] == 0
    with open_dataset(path) as found, xr.open_dataset(tmp_path / "cube.nc") as expected:
        xr.testing.assert_identical(found.load().drop_attrs(), expected.load().drop_attrs())
        assert found["sm"].attrs == expected["sm"].attrs


def test_a_changed_object_is_another_cube(bucket, world):
    path = "s3://bucket/changed.zarr"
    write_zarr(world[["sm"]], path)
    before = file_stamp(path)
    assert before == file_stamp(path)
    chunk = next(name for name in bucket.find(path) if "/sm/c/" in name)
    bucket.pipe(chunk, bucket.cat(chunk) + b" ")
    assert file_stamp(path) != before


def test_a_cube_on_a_web_server(world, web, tmp_path):
    server, url = web
    write_zarr(world, tmp_path / "cube.zarr")
    cube = open_cube(f"{url}/cube.zarr", "sm", ["precipitation"], land="land")
    np.testing.assert_array_equal(cube["sm"].values, world["sm"].values)
    stamp = file_stamp(f"{url}/cube.zarr")
    assert stamp == file_stamp(f"{url}/cube.zarr")
    world.to_zarr(tmp_path / "plain.zarr", consolidated=False)
    with pytest.raises(CubeError, match="no Zarr store with consolidated metadata"):
        open_dataset(f"{url}/plain.zarr")
    assert file_stamp(f"{url}/plain.zarr") != stamp
    # what cannot be reached is no gap
    server.shutdown()
    server.server_close()
    with pytest.raises(Exception, match=r"Cannot connect|Connect call failed|disconnected"):
        cube["precipitation"].load()


@pytest.mark.parametrize("shape", [(365, 720, 1440), (16800, 720, 1440), (3650, 406, 964), (150, 10, 14)])
def test_chunks_are_aligned_and_of_some_mib(shape):
    for days in (None, 9, 16, 48, 120, 275, 61, 127):
        for rows in (None, 2, 18, 67, 72):
            check_chunks(shape, days, rows if rows is None or rows < shape[1] else None)


def check_chunks(shape, days, rows):
    time_, row, column = chunks(shape, days, rows)
    assert days is None or days % time_ == 0
    assert rows is None or rows % row == 0
    size = 4 * time_ * row * column / 2**20
    assert size <= 16.5
    whole = 4 * np.prod([days or shape[0], rows or shape[1], shape[2]]) / 2**20
    assert size >= min(1, whole) * 0.5


def test_a_spec_of_a_remote_cube_opens(bucket, s3_cube):
    spec = {"_target_": "sgdsm.preprocessing.open_prepared", "path": s3_cube}
    assert build(spec, xr.Dataset).sizes["time"] == 150
