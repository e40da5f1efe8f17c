"""A device that is not there: tensors on it are computed on the CPU, but may not meet tensors of the CPU.

As on a GPU, an operation on tensors of both devices is an error (numbers, tensors without dimensions, are taken along),
and so is `numpy()`. What torch knows of devices is changed, so this runs in a process of its own:

    python -m tests.models.pretended_device MODEL...    prints for each model and what was done with it an error, or ""

Each model is fitted on the CPU. Then its networks take a step of training there, and it fills, alone and in each
wrapper of `configs/uncertainty`; the results must be those of the CPU.
"""

from __future__ import annotations

import copy
import functools
import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import TARGET
from sgdsm.data.batch import Batch
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.base import Network
from sgdsm.models.networks.layers import recurrent
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.compose import config_folder
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.models.test_models import settings_of

NAME = "pretended"
SMALL = ("data.rows=6", "data.columns=8", "data.days=70", "trainer.accelerator=cpu", "trainer.precision=32-true")


def register() -> torch.device:
    """Make the device known to torch, autograd included."""
    module = _DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    _setup_privateuseone_for_python_backend(NAME, module)
    return torch.device(NAME, 0)


class There(Tensor):
    """A tensor on the pretended device; `here` holds its values."""

    here: Tensor
    is_cuda = True  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        made: There = Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=torch.device(NAME, 0)
        )
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:
        return f"There({self.here!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of Pretended")


class Pretended(TorchDispatchMode):
    """Runs operations where their tensors are."""

    def __enter__(self) -> Pretended:
        # lists that index a tensor are made on the CPU first, then moved by an operation that is seen here
        torch._C._set_only_lift_cpu_tensors(True)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = any(isinstance(x, There) for x in tensors)
        target = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
        if target == NAME:
            kwargs["device"] = torch.device("cpu")
        if func._overloadpacket.__name__ == "copy_":
            there = isinstance(args[0], There)
        elif there:
            strangers = [tuple(x.shape) for x in tensors if not isinstance(x, There) and x.ndim]
            assert not strangers, f"{func} on tensors of two devices, on the CPU: {strangers}"
        found = func(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
        if target == "cpu" or not (there or target == NAME):
            return found
        if func._schema.is_mutable:
            # in place, or into `out`: the tensor that was given
            given = {id(x.here): x for x in tensors if isinstance(x, There)}
            return tree_map(lambda x: given.get(id(x), x), found)
        return tree_map(wrapped, found)


def unwrapped(x: Any) -> Any:
    return x.here if isinstance(x, There) else x


def wrapped(x: Any) -> Any:
    return There(x) if isinstance(x, Tensor) and not isinstance(x, There) else x


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    """Put a module on the device, as Lightning does: parameters and buffers, whatever else it holds stays."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(There(parameter.data), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = There(buffer)
        if hasattr(part, "_device"):
            part._device = device
    return module


def stepped(filler: GapFiller, batch: Batch) -> list[Tensor]:
    """Losses and gradients of a step of training of the networks in a filler."""
    found = []
    for network in (part for part in filler.modules() if isinstance(part, Network)):
        torch.manual_seed(0)
        optimizer = network.train().make_optimizer()
        loss = network.loss(network.estimate(batch), batch)
        loss.backward()
        optimizer.step()
        found += [loss.detach(), *(p.grad for p in network.parameters() if p.grad is not None)]
    return found


@torch.no_grad()
def filled(filler: GapFiller, batch: Batch) -> list[Tensor]:
    """What a filler gives at the wanted places."""
    return [field[batch.wanted] for field in filler.eval().fill(batch) if field is not None]


def problem(filler: GapFiller, batch: Batch, device: torch.device, task: Callable[..., list[Tensor]]) -> str:
    """Return what goes wrong on the device; "" if nothing does."""
    expected = task(copy.deepcopy(filler), batch)
    try:
        with Pretended():
            found = task(moved(copy.deepcopy(filler), device), Batch(*map(There, batch)))
    except Exception:
        return traceback.format_exc()
    if not all(isinstance(x, There) for x in found):
        return "a result is on the CPU"
    # rounding may depend on how much is computed at once, which depends on the device
    close = [
        torch.allclose(a, b.here, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in zip(expected, found, strict=True)
    ]
    return "" if all(close) else f"{close.count(False)} of {len(close)} results differ"


def refused(device: torch.device, task: Callable[[Tensor], object]) -> bool:
    with Pretended():
        x = torch.ones(3, device=device)
        try:
            task(x)
        except (AssertionError, TypeError, RuntimeError):
            return True
    return False


def fitted(model: str) -> tuple[Batch, dict[str, GapFiller | str]]:
    """A batch, and a fitted filler for each thing to do with it, or why there is none."""
    task = TrainingTask.from_config(settings_of(model, *SMALL))
    with tempfile.TemporaryDirectory() as folder:
        fit(task, Path(folder))
    found: dict[str, GapFiller | str] = {"step": task.filler, "fill": task.filler}
    for name in sorted(path.stem for path in (config_folder() / "uncertainty").glob("*.yaml")):
        spec = wrapper(name)
        if spec[TARGET] is not None:
            try:
                found[name] = add_uncertainty(task, spec)
            except ConfigError as error:
                found[name] = f"skipped: {error}"
    return task.data.training_batches(0)[0], found


@functools.cache
def wrapper(name: str) -> dict[str, Any]:
    """The specification of `configs/uncertainty/NAME.yaml`, with few samples."""
    spec: dict[str, Any] = settings_of("seamless", f"uncertainty={name}")["uncertainty"]
    if "samples" in spec.get("filler", {}):
        spec["filler"]["samples"] = 3
    return spec


def main(models: list[str]) -> None:
    warnings.simplefilter("ignore")
    # day by day: kernels of Triton need a GPU that is there, those of numba a CPU
    recurrent.find_spec = lambda name: None
    # before the first gradients: torch then makes a thread for each device
    device = register()
    found: dict[str, dict[str, Any]] = {
        "refused": {
            "a sum": refused(device, lambda x: x + torch.zeros(3)),
            "numpy": refused(device, lambda x: x.numpy()),
            "an index": refused(device, lambda x: x[torch.tensor([0, 2])]),
        }
    }
    for model in models:
        batch, cases = fitted(model)
        found[model] = {
            name: filler
            if isinstance(filler, str)
            else problem(filler, batch, device, stepped if name == "step" else filled)
            for name, filler in cases.items()
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
