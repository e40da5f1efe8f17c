"""Hostile and damaged files: none runs code, reads or writes elsewhere, fills the memory or is waited for."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

from sgdsm.core.cube import ever_observed, open_dataset, row_bands
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.hdf5 import open_hdf5
from sgdsm.core.io.safety import check_codecs, refuse_unsafe
from sgdsm.report.coverage import coverage
from sgdsm.sources.readers.files import SourceError, open_product

SHAPE = (6, 3, 4)


class Sentinel:
    """Makes the file `sentinel` where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def sentinel(tmp_path, monkeypatch) -> Any:
    """A path that code in a file would make; numcodecs' own guard is off, as in its earlier versions."""
    from numcodecs import pickles

    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


def store_at(path: Path, version: int, inner: bool = False, **change: Any) -> Path:
    """A Zarr store of one array, whose metadata say what they should not."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    sm = group.create_array("inner/sm" if inner else "sm", shape=SHAPE, chunks=SHAPE, dtype="f4")
    sm.attrs["_ARRAY_DIMENSIONS"] = ["time", "lat", "lon"]
    file = path / sm.path / (".zarray" if version == 2 else "zarr.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    (path / sm.path / "0.0.0").write_bytes(pickle.dumps(Sentinel(path.parent / "sentinel")))
    return path


PICKLE = {"id": "pickle", "protocol": 4}
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
HOSTILE: dict[str, tuple[int, dict[str, Any]]] = {
    "filter": (2, {"filters": [PICKLE], "compressor": None}),
    "later filter": (2, {"filters": [{"id": "delta", "dtype": "<f4"}, PICKLE], "compressor": None}),
    "compressor": (2, {"compressor": PICKLE}),
    "objects": (2, {"dtype": "|O", "fill_value": None, "filters": [PICKLE], "compressor": None}),
    "json": (2, {"dtype": "|O", "fill_value": None, "filters": [{"id": "json2"}], "compressor": None}),
    "msgpack": (2, {"dtype": "|O", "fill_value": None, "filters": [{"id": "msgpack2"}], "compressor": None}),
    "arrays": (2, {"dtype": "|O", "fill_value": None, "filters": [{"id": "vlen-array"}], "compressor": None}),
    "version 3": (3, {"codecs": [BYTES, {"name": "numcodecs.pickle", "configuration": {}}]}),
    "version 3, short": (3, {"codecs": ["bytes", "numcodecs.pickle"]}),
    "in a shard": (
        3,
        {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [BYTES, {"name": "numcodecs.pickle"}]}}]},
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_codecs_that_run_code_are_refused(kind, tmp_path, sentinel):
    version, change = HOSTILE[kind]
    for inner in (False, True):
        store = store_at(tmp_path / "a.zarr", version, inner, **change)
        with pytest.raises(CubeError, match=r"a.zarr: array '/\S*sm' is packed by '\S+', which .*: write it again"):
            open_dataset(store)["sm"].load()


@pytest.mark.parametrize("version", [2, 3])
def test_what_zarr_would_decode_is_looked_at_too(version, tmp_path, sentinel):
    """Of a store elsewhere, whose files are not looked at one by one."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    group.create_array("sm", shape=SHAPE, dtype="f4")
    described = {**group["sm"].metadata.to_dict()}
    check_codecs("a", described)
    described |= {"filters": [PICKLE]} if version == 2 else {"codecs": [{"name": "numcodecs.pickle"}]}
    with pytest.raises(CubeError, match="runs code"):
        check_codecs("a", described)


def test_texts_of_zarr_are_read(tmp_path):
    texts = xr.Dataset({"sm": ("station", np.arange(2.0))}, {"station": np.array(["a", "bc"], object)})
    for version in (2, 3):
        texts.to_zarr(tmp_path / f"{version}.zarr", zarr_format=version, consolidated=False)
        assert open_dataset(tmp_path / f"{version}.zarr")["station"].values.tolist() == ["a", "bc"]


def external_link(file: h5py.File, secret: Path) -> None:
    file["sm"] = h5py.ExternalLink(str(secret), "sm")


def soft_link_out(file: h5py.File, secret: Path) -> None:
    file["group"] = h5py.ExternalLink(str(secret), "/")
    file["sm"] = h5py.SoftLink("/group/sm")


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("deep/sm", SHAPE, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(str(secret), "sm", shape=SHAPE)
    file.create_virtual_dataset("sm", layout)


def virtual_itself(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(".", "sm", shape=SHAPE)
    file.create_virtual_dataset("sm", layout)  # to read it ends the process


@pytest.mark.parametrize("suffix", [".nc", ".h5"])
@pytest.mark.parametrize("lead_out", [external_link, soft_link_out, external_storage, virtual, virtual_itself])
def test_hdf5_that_leads_out_of_the_file_is_refused(lead_out, suffix, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["sm"] = np.ones(SHAPE, "f4")
    path = tmp_path / f"a{suffix}"
    with h5py.File(path, "w") as file:
        lead_out(file, secret)
    with pytest.raises(CubeError, match=r"a\.\w+: .*'/\w.*' has its values in other files, .*: copy them into it"):
        open_dataset(path)
    path = path.rename(tmp_path / "1_20200101.nc")
    with pytest.raises(SourceError, match="has its values in other files"):
        open_product("netcdf_grid", path, variables={"sm": "sm"}, date=r"(\d{8})")


def test_links_within_a_file_lead_nowhere_else(plain, tmp_path):
    plain().to_netcdf(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["same"], file["gone"] = h5py.SoftLink("/sm"), h5py.SoftLink("/nowhere")
        file["round"] = file["/"]  # a group in itself
    assert "sm" in open_dataset(tmp_path / "a.h5")


def test_a_picture_is_no_list_of_other_files(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    place = rasterio.transform.from_origin(0, 50, 1, 1)
    with rasterio.open(tmp_path / "secret.tif", "w", "GTiff", 4, 3, 1, "EPSG:4326", place, "float32") as file:
        file.write(np.ones((1, 3, 4), np.float32))
    band = '<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename>{}</SourceFilename>'
    (tmp_path / "sm_20200101.tif").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="3"><SRS>EPSG:4326</SRS>'
        f"{band.format(tmp_path / 'secret.tif')}<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SourceError, match=r"sm_20200101.tif: cannot be read"):
        open_product("geotiff_stack", tmp_path / "sm_20200101.tif", variable="sm", units="m3 m-3")


def zarr_chunk(path: Path) -> None:
    group = zarr.open_group(path, mode="w")
    group.create_array("sm", shape=(100, 12_000, 12_000), chunks=(100, 12_000, 12_000), dtype="f4")


def zarr_axis(path: Path) -> None:
    group = zarr.open_group(path, mode="w")
    group.create_array("lat", shape=(10**9,), chunks=(10**6,), dtype="f8", dimension_names=["lat"])


def zarr_bomb(path: Path) -> None:
    group = zarr.open_group(path, mode="w")
    group.create_array("sm", shape=(10**5, 10**5, 10**5), chunks=(1, 10**4, 10**4), dtype="f4")


def hdf5_chunk(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("sm", (10, 20_000, 20_000), "f4", chunks=(1, 20_000, 20_000), compression="gzip")


def hdf5_bomb(path: Path) -> None:
    """58 KB that unpack to 14 GB."""
    with h5py.File(path, "w") as file:
        file.create_dataset("sm", (3650, 1000, 1000), "f4", chunks=(1, 1000, 1000), compression="gzip", fillvalue=0.2)
        file.attrs["history"] = np.zeros(7000)  # up to 58 KB


def hdf5_axis(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("lat", (10**9,), "i1", chunks=(10**6,), compression="gzip")


def netcdf3_axis(path: Path) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.createDimension("lat", 2**25)
        file.set_fill_off()
        file.createVariable("lat", "i1", ("lat",))


@pytest.mark.parametrize(
    ("make", "suffix", "told"),
    [
        (zarr_chunk, ".zarr", "array 'sm' has chunks of 53.6 GiB, expected at most 1.0 GiB"),
        (zarr_axis, ".zarr", "'lat' is 1,000,000,000 long, expected a coordinate of at most 16,777,216"),
        (
            zarr_bomb,
            ".zarr",
            r"unpacks to 3,638.0 TiB, expected at most 10,000 times its \S+ (bytes|KiB): nearly nothing",
        ),
        (hdf5_chunk, ".nc", "array '/sm' has chunks of 1.5 GiB"),
        (hdf5_bomb, ".nc", "unpacks to 13.6 GiB, expected at most 10,000 times its .* KiB"),
        (hdf5_axis, ".h5", "'lat' is 1,000,000,000 long"),
        (netcdf3_axis, ".nc", "'lat' is 33,554,432 long"),
    ],
)
def test_what_unpacks_to_too_much_is_refused(make, suffix, told, tmp_path):
    make(tmp_path / f"a{suffix}")
    with pytest.raises(CubeError, match=f"a{suffix}: .*{told}"):
        open_dataset(tmp_path / f"a{suffix}")


def test_describe_tells_the_size_of_a_bomb(run_command, tmp_path):
    hdf5_bomb(tmp_path / "bomb.nc")
    code, _, err = run_command("describe", "bomb.nc", "target=sm")
    assert code == 1
    assert err.startswith("error: bomb.nc: unpacks to 13.6 GiB")
    assert err.count("\n") == 1


def test_a_huge_map_is_read_in_bands_of_rows(cube, monkeypatch):
    whole, seen = coverage(cube), ever_observed(cube["sm"])
    assert list(row_bands(cube["sm"])) == [slice(0, 4)]
    assert list(row_bands(cube["sm"], 11)) == [slice(0, 2), slice(2, 4)]
    for module in ("sgdsm.core.cube", "sgdsm.report.coverage"):
        monkeypatch.setattr(f"{module}.row_bands", lambda array: row_bands(array, 11))
    parts = coverage(cube)
    np.testing.assert_array_equal(ever_observed(cube["sm"]), seen)
    np.testing.assert_array_equal(parts.share, whole.share)
    assert parts.gaps == whole.gaps
    assert parts.by_month == pytest.approx(whole.by_month)


@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_chunk_is_named(version, plain, tmp_path):
    path = tmp_path / "a.zarr"
    coding = {"sm": {"chunks": (10, 4, 5)}}
    plain().to_zarr(path, zarr_format=version, encoding=coding, consolidated=False)
    name = "2.0.0" if version == 2 else "c/2/0/0"
    (path / "sm" / name).write_bytes(b"no such thing")
    dataset = open_dataset(path)
    dataset["sm"][:20].load()  # the others can be read
    for part in (dataset["sm"], dataset["sm"].isel(time=[3, 25], lat=2), dataset["sm"].isel(time=29, lon=-1)):
        with pytest.raises(CubeError) as error:
            part.load()
        assert f"a.zarr: array 'sm', chunk {name}, [20:30, 0:4, 0:5], cannot be read (" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_damaged_array_of_hdf5_is_named(plain, tmp_path):
    path = tmp_path / "a.h5"
    plain().to_netcdf(path, encoding={"sm": {"zlib": True, "chunksizes": (10, 4, 5)}})
    with h5py.File(path) as file:
        chunk = file["sm"].id.get_chunk_info(2)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"x" * chunk.size
    path.write_bytes(raw)
    with pytest.raises(CubeError, match=r"a.h5: array '/sm' at \(slice\(0, 40, 1\).* cannot be read"):
        open_hdf5(path)["sm"].load()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_a_chunk_that_is_no_file_of_the_store_is_refused(make, plain, tmp_path):
    plain().to_zarr(tmp_path / "a.zarr", consolidated=False)
    (tmp_path / "a.zarr/sm/c/0/0/0").unlink()
    make(tmp_path / "a.zarr/sm/c/0/0/0")
    with pytest.raises(
        CubeError, match=r"a.zarr/sm/c/0/0/0: (is a named pipe|leads out of its store), expected a file"
    ):
        open_dataset(tmp_path / "a.zarr")["sm"].load()


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # paths of sockets must be short
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a named pipe"), (a_socket, "a socket"), (a_device, "a device")]
)
@pytest.mark.parametrize("suffix", [".nc", ".h5", ".zarr"])
def test_what_is_no_file_is_refused(make, kind, suffix, tmp_path):
    make(tmp_path / f"a{suffix}")
    with pytest.raises(CubeError, match=f"a{suffix}: is {kind}, expected a file: copy it into one"):
        open_dataset(tmp_path / f"a{suffix}")


PIPES: list[tuple[str, list[str], str]] = [
    ("train", ["data=netcdf", "data.path=pipe.nc", "data.target=sm"], "pipe.nc: is a named pipe"),
    ("train", ["run=run"], "config.yaml: is a named pipe"),
    ("predict", ["run=run", "output=a.nc"], "config.yaml: is a named pipe"),
    ("evaluate", ["filled=pipe.nc", "truth=pipe.nc", "visible=pipe.nc"], "pipe.nc: is a named pipe"),
    ("describe", ["pipe.nc", "target=sm"], "pipe.nc: is a named pipe"),
    ("export", ["pipe.nc", "output=a.zarr"], "pipe.nc: is a named pipe"),
    ("members", ["filled=pipe.nc", "number=2", "output=a.nc"], "pipe.nc: is a named pipe"),
    ("correct", ["apply", "correction=pipe.nc", "source=pipe.nc", "output=a.nc"], "pipe.nc: is a named pipe"),
    ("download", ["product=links", "links=pipe.nc", "output=there"], "links=pipe.nc: no such file"),
]


@pytest.mark.parametrize(("command", "words", "told"), PIPES, ids=lambda value: str(value)[:30])
def test_no_command_waits_for_a_pipe(command, words, told, run_command, tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run/config.yaml")
    os.mkfifo(tmp_path / "pipe.nc")
    code, _, err = run_command(command, *words)
    assert code == 1
    assert told in err.splitlines()[-1]


def test_no_file_of_a_run_is_a_pipe(tmp_path):
    from sgdsm.training.run import Run

    (tmp_path / "members/seed_0").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    os.mkfifo(tmp_path / "members/seed_0/last.ckpt")
    with pytest.raises(ConfigError, match=r"last.ckpt: is a named pipe"):
        Run(tmp_path).config()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.with_name("victim"))])
def test_a_lock_is_neither_followed_nor_waited_for(make: Callable[[Path], None], tmp_path):
    from sgdsm.core.lock import exclusive

    (tmp_path / "victim").write_text("kept")
    make(tmp_path / "a.nc.lock")
    with pytest.raises(ConfigError, match=r"a.nc.lock: is a link or a named pipe"), exclusive(tmp_path / "a.nc"):
        pass
    assert (tmp_path / "victim").read_text() == "kept"


def test_what_is_missing_passes(tmp_path):
    refuse_unsafe(tmp_path / "nothing.nc")
