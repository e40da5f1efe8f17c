"""Check README and docs: find their commands and Python blocks, run them, and look at the pages that Sphinx made.

    python docs/check.py docs/build

Each page's blocks run in order, in a fresh folder, on small files of the names that they use. Trainings are cut short
(`QUICK`). A block after a comment `<!-- not run: REASON -->` is only read. tests/test_documentation.py uses the same
functions to check that every command makes valid settings.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import xarray as xr

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STARTS = (("python", "-m", "sgdsm"), ("sgdsm",), ("python", "train.py"), ("python", "predict.py"))
# lines of a shell that are not ours
OTHERS = (".", "make", "pip", "python3", "dask", "export", "git", "jupyter")
QUICK = {
    "train": ["trainer.progress=false", "trainer.accelerator=cpu"],
    "tune": ["trainer.progress=false", "trainer.accelerator=cpu"],
    "predict": ["trainer.progress=false", "trainer.accelerator=cpu"],
    "explain": [],
    "insitu": ["draws=50"],
}
QUICK_MODELS = {
    "xgboost": ["model.gap_draws=1", "model.rounds=30"],
    "seamless": ["model.steps=2", "model.width=8", "model.window_days=64"],
    "pconv3d": ["model.steps=2", "model.width=8", "model.channels=8"],
}
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: ([^\n]+) -->\s*$")
INLINE = re.compile(r"`(sgdsm [^`]*=[^`]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: Path of the page below the repository.
        line: Its line there.
        language: As the fence says.
        text: What is in it.
        reason: Why it is not run; None: it is.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found = []
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text, max(0, match.start() - 300), match.start())
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name, line, match[1], match[2], None if reason is None else reason[1]))
    return found


def shell_lines(block: Block) -> list[list[str]]:
    """Return the words of the lines of a block for the shell, continued lines joined."""
    lines = [shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines()]
    return [words for words in lines if words]


def ours(words: Sequence[str]) -> list[str] | None:
    """Return the command and its settings if a line of the shell starts a program of ours."""
    for start in STARTS:
        if tuple(words[: len(start)]) == start:
            name = start[-1].removesuffix(".py") if start[-1].endswith(".py") else None
            return [*([name] if name else []), *words[len(start) :]]
    return None


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block: name and settings."""
    if block.language not in ("bash", ""):
        return []
    return [command for words in shell_lines(block) if (command := ours(words))]


def inline_commands(page: Path) -> list[list[str]]:
    """Return the commands with settings that stand within the text of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [shlex.split(match[1])[1:] for match in INLINE.finditer(text)]


def check_settings(words: Sequence[str]) -> None:
    """Compose the settings of a command and check them, as the command does before it reads data.

    Args:
        words: Name of the command, and its settings.

    Raises:
        SgdsmError, HydraException: For settings that the command refuses.
    """
    from sgdsm.cli.commands import command_names, load
    from sgdsm.cli.overrides import as_hydra_reads, check_words, with_positional
    from sgdsm.core.settings import made
    from sgdsm.training.compose import compose_settings

    length = 2 if " ".join(words[:2]) in command_names() else 1
    name, given = " ".join(words[:length]), list(words[length:])
    module = load(name)
    # what is for Hydra, for further packages, or for resuming
    given = [w for w in given if w not in ("-m", "--help") and not w.startswith(("hydra.", "trust="))]
    given = [w for w in given if not (name == "train" and w.startswith("run="))]
    given = with_positional(module, given) if hasattr(module, "POSITIONAL") else given
    given = as_hydra_reads(module.Settings, given)
    if "-m" in words:
        given = [re.sub(r"^([\w.]+=[\w.]+),.*", r"\1", word) for word in given]
    check_words(given)
    given = module.prepared(given) if hasattr(module, "prepared") else given
    given = [word for word in given if not word.startswith("hydra.")]
    values = compose_settings(name, module.Settings, given)
    if "--help" not in words:
        made(module.Settings, values)


def quick(words: Sequence[str]) -> list[str]:
    """Return a command with settings that cut a training short."""
    extra = list(QUICK.get(words[0], []))
    if words[0] in ("train", "tune"):
        model = next((w.partition("=")[2] for w in words if w.startswith("model=")), "pconv3d")
        typed = [w.partition("=")[0].strip("'") for w in words]
        extra += [w for w in QUICK_MODELS.get(model, []) if w.partition("=")[0] not in typed]
    return [*words, *extra]


# small files of the names that pages use


def _plain(days: int = 731, start: str = "2015-01-01") -> xr.Dataset:
    """Return a small world without roles, as a file of a user is."""
    from sgdsm.sources import simulate

    cube = simulate(6, 8, days, resolution=1.8, start=start)
    names = ["sm", "precipitation", "air_temperature", "clay", "elevation", "land"]
    plain = cube[names].assign(land=cube["land"].astype("int8"))
    for variable in plain.variables.values():
        variable.attrs.pop("role", None)
    return plain


def _noisy(path: Path, name: str, spread: float, seed: int) -> None:
    from sgdsm.sources import simulate

    truth = simulate(6, 8, 731, resolution=1.8, start="2015-01-01")["sm_true"]
    noise = np.random.default_rng(seed).normal(0, spread, truth.shape).astype(np.float32)
    (truth + noise).assign_attrs(units="m3 m-3").to_dataset(name=name).to_netcdf(path)


def _question(path: Path) -> None:
    """Write cube.nc and hidden.nc: what a filler sees, and what is hidden from it."""
    small = ["data.rows=6", "data.columns=8", "data.resolution=1.8", "data.start='2015-01-01'"]
    run_command(["protocol", *small, "scenarios=[swath]", "output=asked"])
    shutil.move("asked/swath/visible.nc", "cube.nc")
    shutil.move("asked/swath/hidden.nc", "hidden.nc")
    shutil.rmtree("asked")


def _filled(path: Path, model: str = "linear_time", cube: str = "cube.nc") -> None:
    import sgdsm

    _need(cube)
    with xr.open_dataset(cube) as seen:
        run = sgdsm.train(seen, model=model, target="sm", folder=f"run_of_{path.stem}")
        sgdsm.fill(seen, run).to_netcdf(path)


def _theirs(path: Path) -> None:
    _need("filled.nc")
    with xr.open_dataset("filled.nc") as filled:
        filled[["sm_filled"]].rename(sm_filled="sm").to_netcdf(path)


def _land_cover(path: Path) -> None:
    plain = _plain(40)
    classes = (np.arange(plain["clay"].size) % 3 + 1).reshape(plain["clay"].shape).astype("int8")
    attrs = {"flag_values": np.array([1, 2, 3], "int8"), "flag_meanings": "forest crops grass"}
    xr.Dataset({"land_cover": (("lat", "lon"), classes, attrs)}, plain[["lat", "lon"]].coords).to_netcdf(path)


def _two_sensors(path: Path) -> None:
    plain = _plain()
    if path.name == "short.nc":
        plain = plain[["sm"]].isel(time=slice(100, None))
    else:
        plain["sm"] = (1.2 * plain["sm"] + 0.02).assign_attrs(plain["sm"].attrs)
    plain.to_netcdf(path)


def _passes(path: Path) -> None:
    """Write a world with two sensors that have passes on different days."""
    from sgdsm.sources import simulate

    world = simulate(6, 8, 731, resolution=1.8, start="2015-01-01")
    days = np.arange(world.sizes["time"])[:, None, None]
    for name, every in (("tb_1h", days % 2 == 0), ("tb_10h", days % 2 == 1)):
        values = np.where(every & (days < 400 if name == "tb_1h" else True), 250.0, np.nan)
        world[name] = (world["sm"].dims, np.broadcast_to(values, world["sm"].shape).astype(np.float32), {"units": "K"})
    world.to_netcdf(path)


def _stations(path: Path) -> None:
    _need("world_filled.nc")
    run_command(
        ["insitu", "filled=world_filled.nc", "stations=simulate", "output=simulated", "figures=false", "draws=20"]
    )
    found = next(Path("simulated").rglob("*.zip"))
    shutil.move(found, path)


def _cci_folder(path: Path) -> None:
    _need("filled.nc")
    run_command(["export", "filled.nc", "layout=cci_gapfilled", f"output={path}"])


FILES: dict[str, Callable[[Path], None]] = {
    "mine.nc": lambda path: _plain().to_netcdf(path),
    "later.nc": lambda path: _plain(365, "2017-01-01").to_netcdf(path),
    "today.nc": lambda path: _plain(931).to_netcdf(path),
    "cube.nc": _question,
    "hidden.nc": _question,
    "filled.nc": _filled,
    "world_filled.nc": lambda path: _filled(path, cube="mine.nc"),
    "record.nc": lambda path: _plain(1461).to_netcdf(path),
    "record_filled.nc": lambda path: _filled(path, cube="record.nc"),
    "theirs.nc": _theirs,
    "landcover.nc": _land_cover,
    "long.nc": _two_sensors,
    "short.nc": _two_sensors,
    "ascat.nc": lambda path: _noisy(path, "sm", 0.05, 1),
    "model.nc": lambda path: _noisy(path, "swvl1", 0.03, 2),
    "smos_filled.nc": _filled,
    "amsr_filled.nc": lambda path: _filled(path, "climatology"),
    "world.nc": _passes,
    "ismn.zip": _stations,
    "cci_folder": _cci_folder,
}


def _need(name: str) -> None:
    """Make a file in this folder unless it is there."""
    if not Path(name).exists():
        FILES[name](Path(name))


def run_command(words: Sequence[str]) -> None:
    """Run a command in this process and folder.

    Raises:
        RuntimeError: With its output, if it fails.
    """
    from sgdsm.cli import console

    printed, argv, code = io.StringIO(), sys.argv, 0
    sys.argv = ["sgdsm", *words]
    os.environ.pop("HYDRA_FULL_ERROR", None)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            console.main()
    except SystemExit as end:
        code = 0 if end.code is None else int(end.code) if isinstance(end.code, int) else 1
    finally:
        sys.argv = argv
    if code:
        raise RuntimeError(f"sgdsm {shlex.join(words)}\n{printed.getvalue()[-2000:]}")


def run_page(page: Path, files: Path, made: Counter[str], log: Callable[[str], None] = print) -> None:
    """Run the blocks of a page in a fresh folder.

    Args:
        page: The page.
        files: Folder that keeps the small files between pages.
        made: Counts what was run and what was not, and why.
        log: Takes a line for each command and block.
    """
    found = [block for block in blocks(page) if block.language == "python" or commands(block)]
    text = "\n".join(block.text for block in found if block.reason is None)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        outputs = set(re.findall(r"output=(\S+)", text))
        for name in FILES:
            if re.search(rf"(?<![\w/]){re.escape(name)}\b", text) and name not in outputs:
                with contextlib.chdir(files):
                    _need(name)
                (shutil.copytree if (files / name).is_dir() else shutil.copy)(files / name, name)
        names: dict[str, object] = {}
        for block in found:
            for what, act in _steps(block, names):
                if block.reason is not None:
                    made[f"not run: {block.reason}"] += 1
                    continue
                began = time.monotonic()
                act()
                made["run"] += 1
                log(f"{block.page}:{block.line}: {what[:90]} ({time.monotonic() - began:.0f} s)")


def _steps(block: Block, names: dict[str, object]) -> Iterator[tuple[str, Callable[[], None]]]:
    if block.language == "python":
        code = compile(block.text, f"{block.page}:{block.line}", "exec")
        yield "python", lambda: _silent(lambda: exec(code, names))
        return
    for words in commands(block):
        yield f"sgdsm {shlex.join(words)}", lambda words=words: run_command(quick(words))


def _silent(act: Callable[[], None]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        act()


# the built pages


class _Page(HTMLParser):
    """Anchors and links of a page, and what a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        for key in ("src", "srcset", "poster", "data"):
            if key in values and tag in ("img", "script", "iframe", "video", "source", "object", "embed"):
                self.loaded.append(values[key])
        if tag == "link" and values.get("rel") not in ("canonical", "license", "author", "next", "prev"):
            self.loaded.append(values.get("href", ""))


def faults_of_pages(folder: Path) -> list[str]:
    """Return what is wrong with built pages: things of other hosts, dead links and anchors, missing pictures.

    Args:
        folder: What Sphinx made.
    """
    own = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in own}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        for address in page.loaded:
            if urlsplit(address).netloc:
                faults.append(f"{name}: loads {address}")
        for address in [*page.links, *page.loaded]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            aim = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            aim = aim / "index.html" if aim.is_dir() else aim
            if not aim.exists():
                faults.append(f"{name}: leads to {address}, which is not there")
            elif parts.fragment and aim in pages and unquote(parts.fragment) not in pages[aim].anchors:
                faults.append(f"{name}: leads to {address}, but there is no such anchor")
    for sheet in folder.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import )\s*[\"']?((?:https?:)?//[^)\"'\s]+)", sheet.read_text("utf-8")):
            faults.append(f"{sheet.relative_to(folder)}: loads {address}")
    return faults


def main() -> None:
    """Run all pages, look at the built ones, and end with 1 if something is wrong."""
    import matplotlib

    matplotlib.use("agg")
    built, only = [Path(word) for word in sys.argv[1:2]], sys.argv[2:]
    wrong = [fault for folder in built for fault in faults_of_pages(folder.resolve())]
    made: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as files:
        for page in PAGES:
            if only and page.name not in only:
                continue
            try:
                run_page(page, Path(files), made, lambda line: print(line, flush=True))
            except Exception as error:  # the other pages are still worth a look
                wrong.append(f"{page.name}: {type(error).__name__}: {error}")
                print(wrong[-1], flush=True)
    print(f"found {made.total()} commands and Python blocks: {made.pop('run', 0)} run")
    for reason, number in made.items():
        print(f"{number} {reason}")
    print("\n".join(wrong) or "nothing wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
