"""Speed on a GPU, each step beside its floor on that machine: needs torch, pytorch_lightning, numpy, xarray and h5py.

python benchmarks/gpu.py [--device cuda] [--out FOLDER] [--only limits,scan,...] [--rows 360 --columns 720 --days 366]

Measured first: how fast memory is copied and matrices are multiplied. The floor of a step is the longer of its bytes at
that bandwidth and its operations at that rate. Operations are those of matrix products and convolutions
(`torch.utils.flop_counter`); bytes count each of them as reading its inputs and weights and writing its output once, as
if everything between were fused into them and the scan over the days were free. A layer and the scan count what they
must read and write. Rows named fp32 are as torch comes (convolutions in TF32, products in fp32), their floor is that of
TF32.

The world is made of noise on the device and kept in main memory; networks are not trained, which does not change their
speed. Prints a table for RESULTS.md row by row; FOLDER gets it as gpu.json and gpu.md after each row, so a run that is
cut off leaves what it found, and, where matplotlib is installed, roofline.png. After `--limit` seconds no part begins.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from sgdsm.core.cube import as_cube
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch
from sgdsm.data.datamodule import GapData
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.data.splits import All
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import NetcdfOutput
from sgdsm.models.base import GapFiller, quiet_lightning
from sgdsm.models.networks.base import Network, compile_blocks
from sgdsm.models.networks.layers.partial import PartialConv3d
from sgdsm.models.networks.layers.recurrent import gated_scan
from sgdsm.models.uncertainty.conformal import Conformal

PARTS = ("limits", "scan", "layer", "network", "step", "kernels", "stream", "train")
SHAPES = ((2, 32, 9, 64, 64), (1, 16, 16, 128, 128))
NETWORKS = {"pconv3d": "PartialConvNetwork", "seamless": "Seamless"}
TINY = {
    "pconv3d": {"window_days": 16, "core_cells": 8, "channels": 4, "width": 8, "memory": 1},
    "seamless": {"window_days": 20, "width": 8, "blocks": 1},
}
ALL_DAYS, GLOBE, YEARS = 16_800, 720 * 1440, 4
TOP = 8  # kernels of a step


HEAD = "| part | what | time | floor | share of it | more |\n|---|---|---|---|---|---|"


@dataclass
class Row:
    """A step and what it took; floor: seconds at least, 0 where there is none."""

    part: str
    what: str
    seconds: float
    flops: float = 0.0
    bytes: float = 0.0
    floor: float = 0.0
    more: dict[str, float] = field(default_factory=dict)


class Bench:
    """The settings, the limits of the machine, and the rows found so far."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.device = given, torch.device(given.device)
        self.on_gpu = self.device.type == "cuda"
        self.precisions = ("fp32", "bf16")
        self.bandwidth, self.rates = float("nan"), {"fp32": float("nan"), "bf16": float("nan")}
        self.rows: list[Row] = []
        self.machine = machine_of(self)
        self._cube: xr.Dataset | None = None

    @property
    def cube(self) -> xr.Dataset:
        if self._cube is None:
            self._cube = world(self.given.days, self.given.rows, self.given.columns, self.device)
        return self._cube

    def add(
        self, part: str, what: str, seconds: float, counts: tuple[float, float, str] | None = None, **more: float
    ) -> None:
        """Note a step and tell it. counts: operations, bytes, and the precision whose rate sets the floor."""
        row = Row(part, what, seconds, more=more)
        if counts is not None:
            row.flops, row.bytes, precision = counts
            rate = max(self.rates[precision], self.rates.get("TF32", 0.0) if precision == "fp32" else 0.0)
            row.floor = max(row.bytes / self.bandwidth, row.flops / rate)
        self.rows.append(row)
        print(line(row), flush=True)
        found = {"machine": self.machine, "bandwidth": self.bandwidth, "rates": self.rates}
        (self.given.out / "gpu.md").write_text(table(self) + "\n")
        (self.given.out / "gpu.json").write_text(
            json.dumps({**found, "rows": [asdict(r) for r in self.rows]}, indent=1)
        )

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, task: Callable[[], object]) -> float:
        """Median time of a task, repeated for `--seconds`, after two runs that do not count."""
        times: list[float] = []
        for number in range(1002):
            begin = time.perf_counter()
            task()
            self.wait()
            if number > 1:
                times.append(time.perf_counter() - begin)
            if sum(times) > self.given.seconds:
                break
        return median(times)

    def peak(self, task: Callable[[], object]) -> float:
        """Largest memory of the device during a task, GiB; 0 on the CPU."""
        if not self.on_gpu:
            task()
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        task()
        self.wait()
        return torch.cuda.max_memory_allocated() / 2**30

    def autocast(self, precision: str) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    def network(self, name: str) -> Network:
        """A network as it comes, for the variables of the world."""
        small = world(40, 24, 48, torch.device("cpu"))
        record = read_record(small)
        settings = TINY[name] if self.given.tiny else {}
        net: Network = build({"_target_": f"sgdsm.models.{NETWORKS[name]}", **settings}, GapFiller)
        net.configure(Inputs.fit(record, Names.of(small), record.observed, "m3 m-3", 1, "train"))
        with torch.no_grad():
            for weights in net.parameters():
                # an untrained output is 0: then all precisions agree
                if weights.ndim > 1 and not weights.any():
                    weights.normal_(std=0.05)
        net = net.to(self.device).eval()
        if self.given.compile:
            compile_blocks(net)
        return net


def world(days: int, rows: int, columns: int, device: torch.device) -> xr.Dataset:
    """A global cube of noise: a third land, swaths that see half of it a day, two covariates and a map."""
    torch.manual_seed(0)

    def smooth(*size: int) -> Tensor:
        field = torch.randn(1, size[0], 9, 17, device=device)
        return nn.functional.interpolate(field, size[1:], mode="bicubic")[0]

    relief = smooth(1, rows, columns)[0]
    land = relief > relief.flatten()[:: max(1, relief.numel() // 100_000)].quantile(0.67)
    column, row = torch.arange(columns, device=device), torch.arange(rows, device=device)[:, None]
    fields = {name: np.empty((days, rows, columns), np.float32) for name in ("sm", "rain", "temperature")}
    for day in range(days):
        rain = smooth(1, rows, columns)[0].clamp(min=0)
        warmth = 15 + 10 * np.cos(day / 58) + smooth(1, rows, columns)[0]
        sm = 0.25 + 0.03 * relief + 0.05 * rain + 0.02 * torch.randn(rows, columns, device=device)
        seen = land & ((column + row // 4 + 61 * day) % 120 < 60)
        for name, values in (("sm", sm.where(seen, float("nan"))), ("rain", rain), ("temperature", warmth)):
            fields[name][day] = values.cpu().numpy()
    dims = ("time", "lat", "lon")
    variables = {name: (dims, values, {"units": "m3 m-3" if name == "sm" else "1"}) for name, values in fields.items()}
    maps = {"land": (dims[1:], land.cpu().numpy()), "relief": (dims[1:], relief.cpu().numpy(), {"units": "1"})}
    coords = {
        "time": np.datetime64("2019-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D"),
        "lat": 90 - (np.arange(rows) + 0.5) * 180 / rows,
        "lon": -180 + (np.arange(columns) + 0.5) * 360 / columns,
    }
    found = xr.Dataset({**variables, **maps}, coords)
    return as_cube(found, "sm", ["rain", "temperature"], ["relief"], land="land", circular_longitude=True)


def limits(bench: Bench) -> None:
    """Bandwidth of a copy and rates of matrix products, which all floors rest on."""
    values = 2**28 if bench.on_gpu else 2**23
    x = torch.ones(values, device=bench.device)
    y = torch.empty_like(x)
    took = bench.seconds(lambda: y.copy_(x))
    bench.bandwidth = 2 * 4 * values / took
    bench.add("limits", "copy", took, GB_per_s=bench.bandwidth / 1e9)
    size = 8192 if bench.on_gpu else 768
    kinds = {"fp32": (torch.float32, False), "TF32": (torch.float32, True), "bf16": (torch.bfloat16, False)}
    for name, (dtype, tf32) in kinds.items():
        if tf32 and not bench.on_gpu:
            continue
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(size, size, device=bench.device, dtype=dtype)
        took = bench.seconds(lambda a=a: a @ a)
        bench.rates[name] = 2 * size**3 / took
        bench.add("limits", f"matrix product {name}", took, TFLOP_per_s=bench.rates[name] / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = False


def scan(bench: Bench) -> None:
    """The gated scan, forward and backward, and how far it is from the same in float64, day by day."""
    days, series, width = (366, 4096, 64) if bench.on_gpu else (40, 8, 16)
    for precision in bench.precisions if bench.on_gpu else ("fp32",):
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        x = torch.randn(days, series, 4 * width, device=bench.device, dtype=kind)
        grad = torch.randn(days, series, 2 * width, device=bench.device, dtype=kind)
        exact, own = (x[:, :8].to(to).requires_grad_() for to in (torch.float64, kind))
        found = []
        for leaf in (exact, own):
            out = gated_scan(leaf)
            out.backward(grad[:, :8].to(leaf.dtype))
            found.append((out.detach().double(), leaf.grad.double()))
        off, off_grad = (float((a - b).abs().max()) for a, b in zip(*found, strict=True))
        with torch.no_grad():
            took = bench.seconds(lambda x=x: gated_scan(x))
        unit = x.element_size() * days * series * width
        what = f"{(days, series, 4 * width)} {precision}"
        bench.add("scan", f"forward {what}", took, (0.0, 6.0 * unit, precision), largest_error=off)
        x.requires_grad_()
        both = bench.seconds(lambda x=x, grad=grad: torch.autograd.grad(gated_scan(x), x, grad))
        bench.add("scan", f"both ways {what}", both, (0.0, 18.0 * unit, precision), largest_error_of_gradient=off_grad)


def layer(bench: Bench) -> None:
    """A partial convolution and a plain one, forward and backward."""
    for shape in SHAPES if bench.on_gpu else ((1, 8, 4, 16, 16),):
        channels, values = shape[1], int(np.prod(shape))
        mask = (torch.rand(shape[0], 1, *shape[2:], device=bench.device) < 0.5).float()
        partial = PartialConv3d(channels, channels, (3, 3, 3)).to(bench.device)
        plain = nn.Conv3d(channels, channels, 3, padding=1).to(bench.device)
        for precision in bench.precisions:
            kind = torch.bfloat16 if precision == "bf16" else torch.float32
            x = torch.randn(shape, device=bench.device, dtype=kind)
            x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
            tasks = {"partial": lambda x, of=partial, mask=mask: of(x, mask)[0], "plain": lambda x, of=plain: of(x)}
            for name, task in tasks.items():
                with bench.autocast(precision):
                    took = bench.seconds(lambda task=task, x=x: task(x).sum().backward())
                # reads x, writes y; reads the gradient of y and x, writes the gradient of x
                counts = (6.0 * 27 * channels * values, 5.0 * values * x.element_size(), precision)
                bench.add("layer", f"{name} {shape} {precision}", took, counts)


class Traffic(TorchDispatchMode):
    """Counts the bytes that matrix products and convolutions read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            for value in (*args, *(found if isinstance(found, tuple) else (found,))):
                self.bytes += value.nbytes if isinstance(value, Tensor) else 0
        return found


def counted(task: Callable[[], object]) -> tuple[float, float]:
    """Operations and bytes of a task."""
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        task()
    return float(flops.get_total_flops()), float(traffic.bytes)


def batch_of(net: Network, count: int, cells: int, device: torch.device) -> Batch:
    """Windows of noise, all on land, half of it seen."""
    days = net.window.days or 366
    dynamic, _, static = net.inputs.channels
    one = (count, 1, days, cells, cells)
    sm, climatology, truth = (torch.randn(one, device=device) for _ in range(3))
    seen = torch.rand(one, device=device) < 0.5
    covariates = torch.randn(count, dynamic, days, cells, cells, device=device)
    maps, season = torch.randn(count, static, cells, cells, device=device), torch.randn(count, 4, days, device=device)
    return Batch(
        sm * seen, seen, (~seen).float(), covariates, covariates > -9, maps, maps[:, :1].expand(-1, 3, -1, -1), season,
        climatology, sm > -9, ~seen, truth * ~seen, (~seen).float(),
    )  # fmt: skip


def networks(bench: Bench) -> None:
    """Filling one window as wide as on a GPU, and how far halves are from full numbers."""
    for name in NETWORKS:
        net = bench.network(name)
        assert net.wide_cells is not None
        batch = batch_of(net, 1, net.wide_cells if bench.on_gpu else net.window.cells or 8, bench.device)
        full = None
        for precision in bench.precisions:

            def fill(net: Network = net, batch: Batch = batch) -> Tensor:
                return net.fill(batch).mean

            with torch.inference_mode(), bench.autocast(precision):
                took, gib = bench.seconds(fill), bench.peak(fill)
                found = fill()[batch.wanted].float()
            # inference mode hides the operations from the counters
            with torch.no_grad(), bench.autocast(precision):
                count = counted(fill)
            full = found if full is None else full
            more = {"million_values_per_s": batch.sm.numel() / took / 1e6, "peak_GiB": gib}
            if precision == "bf16":
                away = full - batch.climatology[batch.wanted]
                more["rms_from_fp32_over_spread"] = float((found - full).square().mean().sqrt() / away.std())
            bench.add("network", f"{name} {tuple(batch.sm.shape)} {precision}", took, (*count, precision), **more)


def step_of(bench: Bench, name: str, count: int | None) -> tuple[Callable[[str], None], tuple[int, ...]]:
    """A training step (forward, backward, optimizer) on so many windows, and their shape; None: the default."""
    net = bench.network(name).train()
    batch = batch_of(net, count or net.batch_size, net.window.cells or 8, bench.device)
    optimizer = net.make_optimizer()

    def step(precision: str) -> None:
        optimizer.zero_grad()
        with bench.autocast(precision):
            loss = net.loss(net.estimate(batch), batch)
        loss.backward()
        optimizer.step()

    return step, tuple(batch.sm.shape)


def steps(bench: Bench) -> None:
    """A training step at the default batch and at a larger one."""
    for name in NETWORKS:
        for count in (None, bench.given.batch if name == "seamless" else 8 if bench.on_gpu else 2):
            step, shape = step_of(bench, name, count)
            for precision in bench.precisions:

                def task(precision: str = precision, step: Callable[[str], None] = step) -> None:
                    step(precision)

                took, gib = bench.seconds(task), bench.peak(task)
                more = {"million_values_per_s": float(np.prod(shape)) / took / 1e6, "peak_GiB": gib}
                bench.add("step", f"{name} {shape} {precision}", took, (*counted(task), precision), **more)


def kernels(bench: Bench) -> None:
    """What a training step at the default batch spends its time on."""
    kind = torch.profiler.ProfilerActivity.CUDA if bench.on_gpu else torch.profiler.ProfilerActivity.CPU
    for name in NETWORKS:
        step, _ = step_of(bench, name, None)
        for _ in range(3):
            step("bf16")
        bench.wait()
        with torch.profiler.profile(activities=[kind]) as profile:
            step("bf16")
            bench.wait()
        spent = "self_device_time_total" if bench.on_gpu else "self_cpu_time_total"
        found = sorted(profile.key_averages(), key=lambda one: -getattr(one, spent))
        total, launches = sum(getattr(one, spent) for one in found), sum(one.count for one in found)
        bench.add("kernels", f"{name}, all of a step", total / 1e6, launches=launches)
        for one in found[:TOP]:
            took = getattr(one, spent)
            what = one.key[:70].replace("|", "/")
            bench.add("kernels", f"{name}: {what}", took / 1e6, calls=one.count, share=took / max(total, 1e-9))


class Output(NetcdfOutput):
    """Tells how long writing took, which goes on beside the filling, and joining, which does not."""

    writing = joining = 0.0

    def write(self, *slab: Any) -> None:
        begin = time.perf_counter()
        super().write(*slab)
        self.writing += time.perf_counter() - begin

    def finish(self, *land: Any) -> None:
        begin = time.perf_counter()
        super().finish(*land)
        self.joining = time.perf_counter() - begin


class InNetwork:
    """Seconds that a filler works, told by the device, without making the host wait."""

    def __init__(self, filler: GapFiller, bench: Bench) -> None:
        self.fill, self.bench = filler.fill, bench
        self.spans: list[tuple[Any, Any]] = []
        filler.fill = self  # type: ignore[method-assign, assignment]

    def __call__(self, *batch: Any) -> Any:
        begin = self._now()
        found = self.fill(*batch)
        self.spans.append((begin, self._now()))
        return found

    def _now(self) -> Any:
        if not self.bench.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        self.bench.wait()
        return sum(a.elapsed_time(b) / 1e3 if self.bench.on_gpu else b - a for a, b in self.spans)


def with_intervals(net: Network) -> Conformal:
    """The network in the default intervals; they are not fitted, which does not change their speed."""
    wrapper = Conformal(net)
    wrapper.adopt()
    for buffer in wrapper.buffers():
        if buffer.is_floating_point():
            buffer.nan_to_num_(1.0)
    return wrapper.to(net.device).eval()


def stream(bench: Bench) -> None:
    """The whole way: a cube in memory, filled slab by slab with intervals and written with h5py."""
    cube, days = bench.cube, bench.given.days
    cells = cube.sizes["lat"] * cube.sizes["lon"]
    trainer = {
        "accelerator": "gpu" if bench.on_gpu else "cpu", "devices": 1, "enable_progress_bar": False,
        "precision": "bf16-mixed" if bench.on_gpu else "32-true",
    }  # fmt: skip
    for name in NETWORKS:
        net = bench.network(name)
        filler = with_intervals(net)
        inside, whole = InNetwork(net, bench), InNetwork(filler, bench)
        with tempfile.TemporaryDirectory() as folder:
            output = Output(Path(folder) / "filled.nc")

            def fill(filler: GapFiller = filler, output: Output = output) -> None:
                fill_cube(cube, filler, output, memory_gib=bench.given.memory_gib, trainer=trainer)

            begin = time.perf_counter()
            gib = bench.peak(fill)
            took = time.perf_counter() - begin
        in_network, in_filler = inside.seconds(), whole.seconds()
        bench.add(
            "stream", f"{name} with intervals, {days} days of {cube.sizes['lat']} x {cube.sizes['lon']}", took,
            million_values_per_s=days * cells / took / 1e6, network_s=in_network, intervals_s=in_filler - in_network,
            network_share=in_network / took, windows=len(inside.spans), peak_GiB=gib, writing_s=output.writing,
            joining_s=output.joining, minutes_for_46_years=ALL_DAYS * took / days * GLOBE / cells / 60,
        )  # fmt: skip


def training(bench: Bench) -> None:
    """Some steps of training the flagship on the cube, with its own gaps and windows cut by processes."""
    given = bench.given
    net = bench.network("seamless").train()
    begin = time.perf_counter()
    record = read_record(bench.cube)
    split = All().split(record.observed & record.land, record.days, Gaps())
    axes = net.window.tile(record.values.shape, record.circular)
    data = GapData(record, net.inputs, split, Gaps(), axes, given.batch, cores=True)
    read = time.perf_counter() - begin
    begin = time.perf_counter()
    batches = data.training_batches(0)
    drawn = time.perf_counter() - begin
    optimizer, times = net.make_optimizer(), []
    loader = DataLoader(batches, batch_size=None, num_workers=given.workers, pin_memory=bench.on_gpu)
    last = time.perf_counter()
    for batch, _ in zip(loader, range(given.steps), strict=False):
        batch = Batch(*(x.to(bench.device, non_blocking=True) for x in batch))
        optimizer.zero_grad()
        with bench.autocast("bf16" if bench.on_gpu else "fp32"):
            loss = net.loss(net.estimate(batch), batch)
        loss.backward()
        optimizer.step()
        bench.wait()
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
    took = float(np.mean(times[len(times) // 4 :]))
    # of the globe at a quarter of a degree
    share = given.days / 365.25 * record.land.size / GLOBE
    one_pass = (len(batches) * took + drawn) / share * YEARS
    bench.add(
        "train", f"seamless, a step of {given.batch} windows, cut by {given.workers} processes", took,
        reading_s=read, gaps_of_a_pass_s=drawn, steps_of_a_pass=len(batches),
        minutes_a_pass_over_4_years=one_pass / 60, passes_in_30_minutes=1800 / one_pass,
    )  # fmt: skip


def line(row: Row) -> str:
    """A row of the table."""
    floor = f"{1e3 * row.floor:.3g} ms" if row.floor else ""
    share = f"{row.floor / row.seconds:.0%}" if row.floor else ""
    more = ", ".join(
        f"{name.replace('_per_s', '/s').replace('_', ' ')} {value:.3g}" for name, value in row.more.items()
    )
    return f"| {row.part} | {row.what} | {1e3 * row.seconds:.4g} ms | {floor} | {share} | {more} |"


def table(bench: Bench) -> str:
    """What goes into RESULTS.md."""
    return "\n".join([bench.machine, "", HEAD, *map(line, bench.rows)])


def roofline(bench: Bench, path: Path) -> None:
    """Operations a second over operations a byte, below what the machine can."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    intensity = np.logspace(-1, 4, 100)
    for name in bench.precisions:
        axes.loglog(intensity, np.minimum(intensity * bench.bandwidth, bench.rates[name]) / 1e12, label=f"limit {name}")
    for row in bench.rows:
        if row.flops and row.bytes:
            axes.plot(row.flops / row.bytes, row.flops / row.seconds / 1e12, "o", ms=4, color="0.3")
            axes.annotate(f"{row.part} {row.what}", (row.flops / row.bytes, row.flops / row.seconds / 1e12), fontsize=5)
    axes.set(xlabel="operations per byte", ylabel="TFLOP/s")
    axes.legend()
    figure.savefig(path, dpi=150)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each small measurement")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, limits always among them")
    for name, value in {"rows": 360, "columns": 720, "days": 366, "batch": 64, "steps": 60, "workers": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--memory-gib", type=float, default=4.0, help="for a slab")
    parser.add_argument("--limit", type=float, default=400.0, help="seconds from the start after which no part begins")
    parser.add_argument("--compile", action="store_true", help="torch.compile the blocks")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try this script out")
    return parser.parse_args()


def machine_of(bench: Bench) -> str:
    name = torch.cuda.get_device_name() if bench.on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    words = " ".join(sys.argv[1:])
    return f"`python benchmarks/gpu.py {words}`, {time.strftime('%Y-%m-%d')}, {name}, torch {torch.__version__}"


def main() -> None:
    began = time.perf_counter()
    given = arguments()
    parts = given.only.split(",")
    if set(parts) - set(PARTS):
        raise SystemExit(f"--only {given.only}: expected some of {','.join(PARTS)}")
    quiet_lightning()
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given)
    print(f"{bench.machine}\n\n{HEAD}", flush=True)
    tasks = (limits, scan, layer, networks, steps, kernels, stream, training)
    for name, task in zip(PARTS, tasks, strict=True):
        if name not in parts and name != "limits":
            continue
        if time.perf_counter() - began > given.limit:
            print(f"{name}: left out, {given.limit:.0f} s are over (--limit)", flush=True)
            continue
        task(bench)
        if bench.on_gpu:
            torch.cuda.empty_cache()
    with contextlib.suppress(ImportError):
        roofline(bench, given.out / "roofline.png")


if __name__ == "__main__":
    main()
