"""Bad files, settings and runs, through every command: one line that names what is wrong, and nothing is lost.

A line of a table is the words of a command, or the name of what they get, and after each :: what its error must say.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr

from sgdsm.cli.commands import command_names
from tests.cli.bad_inputs import make_files, make_runs

pytestmark = pytest.mark.slow

DATA = "data=netcdf data.path={} data.target=sm data.dynamic=[rain] data.static=[clay] data.precipitation=rain"
QUICK = "model=climatology trainer.progress=false"
HERE = "filled=run/evaluation/filled.nc truth=run/evaluation/hidden.nc"
# the commands that read a cube of the user's own
READERS = {
    "train": f"train {DATA} {QUICK} hydra.run.dir=new",
    "select": f"select {DATA} output=new",
    "predict": "predict run=run data=netcdf data.path={} output=new.nc trainer.progress=false",
    "recalibrate": "recalibrate run=run data=netcdf data.path={} output=new",
    "describe": "describe {} target=sm figure=new.png",
    "fit": "correct fit source={} variable=sm reference=good.nc reference_variable=sm output=new.nc",
    "fit to": "correct fit source=good.nc variable=sm reference={} reference_variable=sm output=new.nc",
    "apply": "correct apply correction=correction.nc source={} output=new.nc",
    "evaluate": f"evaluate {HERE} visible={{}}",
}
# what the error says of a file, and the readers that have a use for it
FILES = """
novars :: no variable 'sm'; there are none
nothing :: no variable 'sm'
onedim :: has dims :: expected
fourdims :: has dims :: expected :: not evaluate
empty_time :: empty :: not evaluate
nolat :: 'lat' :: no coordinate values
notime :: 'time' :: no coordinate values
textlat :: 'lat' holds <U1 values, like a: expected numbers
textlon :: 'lon' holds <U1 values, like a: expected numbers
nanlat :: 'lat' has 1 values that are missing or infinite
inflat :: 'lat' has 1 values that are missing or infinite
biglat :: 'lat' goes from 4700 to 5000: expected -90 to 90
lat95 :: 'lat' goes from 92 to 95: expected -90 to 90
lat_twice :: 'lat' holds 49 more than once
lat_mixed :: 'lat' must fall strictly :: not evaluate
lon_twice :: 'lon' holds 6 more than once
biglon :: 'lon' goes from 5000 to 9000: expected -360 to 720
widelon :: 'lon' goes from 0 to 400: expected at most once round the globe
numbers_for_time :: time holds int64 values, expected dates
nat :: time has :: missing values
day_twice :: time has 1 duplicated days, the first is 2020-01-02
hourly :: duplicated days, the first is 2020-01-01
noleap :: calendar 'noleap', expected a standard
d360 :: calendar '360_day', expected a standard
gap :: lacks 2 :: not describe :: not fit :: not fit to :: not apply
text :: 'sm' is of type <U :: expected numbers
units :: the attribute units of 'sm' is [1. 2.]: expected text
name :: the attribute standard_name of 'sm' is [1. 2.]: expected text
"""
OTHER_FILES = """
words.nc :: cannot be read as .nc
zero.nc :: cannot be read as .nc
cut.nc :: cannot be read as .nc
letters.nc :: cannot be read as .nc
folder.nc :: cannot be read as .nc
absent.nc :: no such file
table.csv :: expected a file ending in .nc
words.h5 :: cannot be read as .h5
file.zarr :: cannot be read as .zarr
empty.zarr :: cannot be read as .zarr
cut.zarr :: cannot be read as .zarr
chunk.zarr :: sm
"""
# the commands that read a run, and what they need of it
USERS = {
    "train": "train run={}",
    "predict": "predict run={} output=new.nc trainer.progress=false",
    "evaluate": "evaluate run={}",
    "explain": "explain run={} output=new",
    "recalibrate": "recalibrate run={} output=new",
    "export": "export run={} output=new.pt2",
    "compare": "compare run {} output=new",
}
# in the table of settings
SHORT = {
    "{t}": f"train {DATA.format('good.nc')} {QUICK} hydra.run.dir=new",
    "{D}": DATA.format("good.nc"),
    "{f}": "correct fit source=good.nc variable=sm reference=good.nc reference_variable=sm output=new.nc",
    "{p}": "predict run=run trainer.progress=false",
}
CONFIG, SCORES = "predict evaluate explain recalibrate", "evaluate recalibrate compare"
CHECKPOINT = "predict evaluate explain recalibrate export"
RUNS = f"""
no_config :: predict train :: config.yaml: no such file
empty_config :: train {CONFIG} :: config.yaml: expected keys and values
list_config :: {CONFIG} :: config.yaml: expected keys and values
word_config :: {CONFIG} :: config.yaml: expected keys and values
binary_config :: train {CONFIG} :: config.yaml: not a YAML file
latin_config :: {CONFIG} :: config.yaml: not a YAML file
broken_config :: {CONFIG} :: config.yaml: not a YAML file
deep_config :: {CONFIG} :: config.yaml: not a YAML file
resolving_config :: {CONFIG} :: config.yaml: model: :: no interpolation
no_trainer :: train {CONFIG} :: config.yaml: trainer is None, expected settings
null_trainer :: {CONFIG} :: config.yaml: trainer is None
list_trainer :: train {CONFIG} :: config.yaml: trainer is [1]
no_data :: train {CONFIG} :: config.yaml: data is None
word_data :: {CONFIG} :: config.yaml: data is 'x'
empty_data :: train {CONFIG} :: _target_: None: expected a public name of sgdsm
no_model :: {CONFIG} :: config.yaml: model is None
empty_model :: {CONFIG} :: _target_: None: expected a public name of sgdsm
foreign_model :: train {CONFIG} :: 'os.system': expected a public name of sgdsm
no_splits :: {CONFIG} :: config.yaml: splits is None
no_seed :: train {CONFIG} :: config.yaml: seed is not there
word_seed :: train {CONFIG} :: seed='x': expected int
other_key :: train {CONFIG} :: unknown key 'hydra'; known are
no_metrics :: {SCORES} :: metrics.json: no such file: the run is not finished
empty_metrics :: {SCORES} :: metrics.json: not a JSON file
list_metrics :: {SCORES} :: metrics.json: 'protocol' is []
null_metrics :: {SCORES} :: metrics.json: 'protocol' is None
binary_metrics :: {SCORES} :: metrics.json: not a JSON file
cut_metrics :: {SCORES} :: metrics.json: not a JSON file
deep_metrics :: {SCORES} :: metrics.json: not a JSON file
no_protocol :: {SCORES} :: metrics.json: 'protocol' is None
word_protocol :: {SCORES} :: metrics.json: 'protocol' is 'x'
no_units :: {SCORES} :: metrics.json: 'units' is None
no_provenance :: recalibrate :: provenance.json: no such file
list_provenance :: explain recalibrate :: provenance.json: 'data' is []
binary_provenance :: explain recalibrate :: provenance.json: not a JSON file
no_origin :: explain recalibrate :: provenance.json: 'data' is 3
no_checkpoint :: explain recalibrate export :: model.ckpt: no such checkpoint
no_checkpoint :: predict :: its training has not ended
word_checkpoint :: {CHECKPOINT} :: model.ckpt: not a checkpoint of a filler
zero_checkpoint :: {CHECKPOINT} :: model.ckpt: not a checkpoint of a filler
cut_checkpoint :: {CHECKPOINT} :: model.ckpt: not a checkpoint of a filler
tensor_checkpoint :: {CHECKPOINT} :: model.ckpt: expected a checkpoint of the format 'sgdsm filler 1', found Tensor
other_format :: {CHECKPOINT} :: model.ckpt: expected a checkpoint of the format 'sgdsm filler 1', found x
no_spec :: {CHECKPOINT} :: model.ckpt: 'spec' is None
list_spec :: {CHECKPOINT} :: model.ckpt: 'spec' is [1]
foreign_spec :: {CHECKPOINT} :: model.ckpt: :: 'os.system': expected a public name of sgdsm
no_inputs :: {CHECKPOINT} :: model.ckpt: 'inputs' is None
empty_inputs :: {CHECKPOINT} :: model.ckpt: inputs: not those of a filler: 'scalers'
word_scale :: {CHECKPOINT} :: model.ckpt: inputs.anomaly_scale='x': expected float
null_dynamic :: {CHECKPOINT} :: model.ckpt: inputs.dynamic=None: expected
no_scalers :: {CHECKPOINT} :: model.ckpt: inputs.scalers: no scaler of 'rain'
word_scalers :: {CHECKPOINT} :: model.ckpt: inputs: not those of a filler
no_state :: {CHECKPOINT} :: model.ckpt: 'state' is None
empty_state :: {CHECKPOINT} :: model.ckpt: weights do not fit the model
no_scores :: compare :: scores.nc: no such file
word_scores :: compare :: scores.nc: cannot be read as .nc
other_scores :: compare :: scores.nc: no variable 'statistic', expected the scores of a run
absent :: {CONFIG} train :: absent: no such folder
good.nc :: {CONFIG} :: run=good.nc: no such folder
"""


def expanded() -> Iterator[tuple[str, list[str]]]:
    """Every line of the tables: the words, and what must be said. A file goes to some of its readers, in turn."""
    for k, line in enumerate(FILES.strip().splitlines()):
        name, *said = line.split(" :: ")
        readers = [r for r in READERS if f"not {r}" not in said]
        said = [word for word in said if not word.startswith("not ")]
        for reader in {readers[j % len(readers)]: None for j in range(k, k + 9, 3)}:
            yield READERS[reader].format(f"bad/{name}.nc"), [f"bad/{name}.nc", *said]
    for k, line in enumerate(OTHER_FILES.strip().splitlines()):
        name, said = line.split(" :: ")
        for reader in list(READERS)[k % 2 :: 3]:
            yield READERS[reader].format(f"bad/{name}"), [f"bad/{name}", said]
    for k, line in enumerate(RUNS.strip().splitlines()):
        name, users, *said = line.split(" :: ")
        for user in users.split()[k % 3 :: 3] or users.split()[:1]:
            yield USERS[user].format(name), said
    for line in (Path(__file__).parent / "bad_inputs_settings.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            words, *said = line.split(" :: ")
            for short, long in SHORT.items():
                words = words.replace(short, long)
            yield words, said


CASES = list(expanded())


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and runs, good and bad."""
    return tmp_path_factory.mktemp("bad_inputs")


@pytest.fixture
def tmp_path(kitchen: Path) -> Path:
    """The folder that commands run in: the same for all, as nothing may change there."""
    return kitchen


@pytest.fixture
def stage(kitchen, plain, run_command) -> Path:
    if not (kitchen / "bad").exists():
        plain(days=60).to_netcdf(kitchen / "good.nc")
        for words in (
            f"train {DATA.format('good.nc')} {QUICK} hydra.run.dir=run",
            "predict run=run output=filled.nc trainer.progress=false",
            "correct fit source=good.nc variable=sm reference=good.nc reference_variable=sm output=correction.nc "
            "least_values=10 trees.block_days=10 trees.separation_days=2",
            "export filled.nc layout=sgd_sm output=daily",
        ):
            code, _, err = run_command(*words.split())
            assert code == 0, err
        make_runs(kitchen / "run")
        with xr.open_dataset(kitchen / "good.nc") as good:
            make_files(good, kitchen / "bad")
    return kitchen


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all files, of folders their names."""
    found = {}
    for root, folders, files in os.walk(folder):
        found |= {f"{root}/{name}": (0, 0) for name in folders}
        for name in files:
            told = Path(root, name).stat()
            found[f"{root}/{name}"] = told.st_size, told.st_mtime_ns
    return found


KNOWN = {name.partition(" ")[0] for name in command_names()}


def test_there_are_many():
    assert len({words for words, _ in CASES}) > 500
    assert {words.partition(" ")[0] for words, _ in CASES} >= KNOWN


def short(words: str) -> str:
    for brief, long in SHORT.items():
        words = words.replace(long, brief)
    return words.replace("trainer.progress=false", "").replace("  ", " ")


@pytest.mark.parametrize(("words", "said"), CASES, ids=[short(words) for words, _ in CASES])
def test_one_line_names_it_and_nothing_is_lost(stage, run_command, words, said):
    before = state(stage)
    command, *others = shlex.split(words)
    # what is no command reaches the one that tells them
    code, _, err = run_command(command if command in KNOWN else None, *([] if command in KNOWN else [command]), *others)
    after = state(stage)
    new = sorted(after.keys() - before.keys())
    for path in map(Path, new):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code in (1, 2), err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for fragment in said:
        assert fragment in lines[0]
    assert "HYDRA_FULL_ERROR" not in lines[0]
    assert not re.search(r"[A-Z]\w+(Error|Exception)\b", lines[0]), lines[0]
    assert {path: what for path, what in after.items() if path in before} == before
    assert not new
