"""Export of a run's network to other programs, as a torch program (.pt2) or as ONNX, usable without this package."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.data.batch import Batch
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.base import Network, blocks_of
from sgdsm.models.uncertainty.wrappers import innermost

# the fields of a `Batch` that are the inputs of an exported network, in this order
FIELDS = ("sm", "seen", "gap_age", "dynamic", "present", "static", "season", "climatology", "land")
MASKS = ("seen", "present", "land")
ENDINGS = (".pt2", ".onnx")


class Exportable(nn.Module):
    """A network with tensors as inputs and outputs.

    Inputs are `FIELDS` of one window. Outputs are the mean and, if the network estimates it, the standard deviation,
    everywhere in the window, (B, 1, T, H, W), in the target's units.

    Args:
        network: Fitted.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        sm: Tensor,
        seen: Tensor,
        gap_age: Tensor,
        dynamic: Tensor,
        present: Tensor,
        static: Tensor,
        season: Tensor,
        climatology: Tensor,
        land: Tensor,
    ) -> tuple[Tensor, ...]:
        # one argument for each input: their names become those of the exported program
        # networks of blocks do not use the place
        place = static.new_zeros(len(static), 3, *static.shape[2:])
        # truth and weights are for training only
        none = torch.zeros_like(sm)
        batch = Batch(sm, seen, gap_age, dynamic, present, static, place, season, climatology, land, land, none, none)
        filled = self.network.fill(batch)
        return (filled.mean,) if filled.std is None else (filled.mean, filled.std)


def export_network(filler: GapFiller, output: Path) -> None:
    """Write the network inside a filler, for single windows of its own size; wrappers (intervals) are left out.

    Args:
        filler: A fitted network, perhaps wrapped.
        output: File, ending in .pt2 (for `torch.export.load`) or .onnx.

    Raises:
        ConfigError: For another ending, for a filler that is no network of blocks, and for ONNX without the extra
            `onnx`.
    """
    if output.suffix not in ENDINGS:
        raise ConfigError(f"output={output}: expected a name ending in {' or '.join(ENDINGS)}")
    network = innermost(filler)
    if not isinstance(network, Network) or not blocks_of(network):
        raise ConfigError(f"export: {type(network).__name__} cannot be exported; expected a run of pconv3d or seamless")
    if output.suffix == ".onnx" and find_spec("onnxscript") is None:
        raise ConfigError(f"output={output}: ONNX needs packages of its own: pip install 'sgdsm[onnx]'")
    module, example = Exportable(network).eval(), example_of(network)
    with torch.no_grad(), warnings.catch_warnings():
        # the exporters warn of their own internals
        warnings.simplefilter("ignore")
        if output.suffix == ".pt2":
            torch.export.save(torch.export.export(module, example), output)
        else:
            names = {"input_names": list(FIELDS), "output_names": ["filled", "filled_std"][: len(module(*example))]}
            program = torch.onnx.export(module, example, dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
            assert program is not None
            program.save(output)
    log.info("%s takes %s of `Batch`, see sgdsm/data/batch.py", output.name, ", ".join(FIELDS))


def example_of(network: Network) -> tuple[Tensor, ...]:
    """Return a window of zeros, its fields in the order of `FIELDS`.

    Args:
        network: Fitted; its window and variables give the sizes.
    """
    window, (dynamic, _, static) = network.window, network.inputs.channels
    assert window.days is not None
    assert window.cells is not None
    days, cells = window.days, (window.cells, window.cells)
    one, covariates = (1, 1, days, *cells), (1, dynamic, days, *cells)
    shapes = (one, one, one, covariates, covariates, (1, static, *cells), (1, 4, days), one, one)
    # separate tensors: export would treat one that is passed twice as a single input
    fields = (torch.zeros(shape) for shape in shapes)
    return tuple(x.bool() if n in MASKS else x for n, x in zip(FIELDS, fields, strict=True))
