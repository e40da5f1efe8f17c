"""Wrappers that give any filler an uncertainty; they nest."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from sgdsm.data.batch import Batch, Filled
from sgdsm.data.scaling import Inputs
from sgdsm.models.base import GapFiller


class Wrapper(GapFiller):
    """A filler around another, with the windows of that one.

    filler: what is wrapped, itself a wrapper perhaps.
    """

    def __init__(self, filler: GapFiller) -> None:
        super().__init__()
        self.filler = filler
        self.window, self.batch_size, self.decomposes = filler.window, filler.batch_size, filler.decomposes

    def setup_inputs(self, inputs: Inputs) -> None:
        self.filler.configure(inputs)
        self.setup_own()

    def adopt(self) -> None:
        """Take the variables over from a filler that is fitted already."""
        self.inputs = self.filler.inputs
        self.setup_own()

    def setup_own(self) -> None:
        """Build what the wrapper itself needs of the variables."""

    @abstractmethod
    def fill(self, batch: Batch) -> Filled:
        """As the filler does, with an uncertainty."""


def innermost(filler: GapFiller) -> Any:
    """The filler inside all wrappers."""
    while isinstance(filler, Wrapper):
        filler = filler.filler
    return filler
