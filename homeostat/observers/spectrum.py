"""How many directions a matrix really uses."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor

from homeostat import nn
from homeostat.errors import AttachError
from homeostat.norms import gathered
from homeostat.observers.observer import Observer
from homeostat.plant import Plant


class _Rows(NamedTuple):
    """Rows looked at of each parameter, None for all; and the name of the width dial."""

    chosen: dict[str, Tensor | None]
    dial: str | None


class EffectiveRank(Observer):
    """Measures the effective rank of an embedding or any other matrix: exp of the entropy of its singular values.

    With p_i = s_i / sum(s), the reading is exp(-sum_i p_i log p_i), from 1 (one direction) to d (all alike);
    Roy and Vetterli, "The effective rank", EUSIPCO 2007, definition 1. Where several parameters match it is the mean.

    It is taken from a random sample of rows, drawn once from `seed`, so that its cost does not grow with the
    vocabulary: the singular values of (rows, d). A sample reads low, as it has `rows` directions at most (a
    Gaussian matrix with d = 128: 3 % at 1024 rows): compare readings with each other, not with those of whole
    matrices. On a GPU the decomposition waits for the device, once per reading.

    Attributes:
        parameters: glob of the parameters' qualified names; shapes (n, d).
        width: glob of a dial that says how many columns are active. The reading is then the share of them that
            is used, in (0, 1]: the rank alone falls with the width, and a loop on it would close the width down.
        rows: sampled of each parameter.
        seed: of the sample.

    Raises:
        AttachError: no parameter matches, one that does is no matrix, or several dials match.
    """

    parameters: str
    width: str | None = None
    rows: int = Field(default=1024, ge=2)
    seed: int = 0

    def init(self, plant: Plant) -> _Rows:
        """Draw the sample."""
        dials = [] if self.width is None else list(plant.modules(self.width, nn.Dial))
        if len(dials) > 1:
            msg = f"EffectiveRank.width must match one dial; got {', '.join(dials)}. Narrow the glob."
            raise AttachError(msg)
        generator = torch.Generator().manual_seed(self.seed)
        chosen: dict[str, Tensor | None] = {}
        for name, parameter in plant.named_parameters(self.parameters).items():
            if parameter.ndim != 2:
                msg = (
                    f"EffectiveRank.parameters must match matrices; got {name} of shape {tuple(parameter.shape)}. "
                    "Narrow the glob."
                )
                raise AttachError(msg)
            n = len(parameter)
            drawn = torch.randperm(n, generator=generator, device="cpu")[: self.rows].sort().values
            chosen[name] = None if n <= self.rows else drawn.to(parameter.device)
        return _Rows(chosen, dials[0] if dials else None)

    def observe(self, plant: Plant, memory: _Rows) -> Tensor:
        """Return the effective rank now, or the share of the active width."""
        width = None
        if memory.dial is not None:
            width = cast("nn.Dial", plant.model.get_submodule(memory.dial)).peek()
        matrices = [(gathered(plant.model.get_parameter(name).detach()), rows) for name, rows in memory.chosen.items()]
        ranks = [_rank(_sampled(matrix, rows), width) for matrix, rows in matrices]
        return torch.stack([rank.to(plant.device) for rank in ranks]).mean()


def _sampled(matrix: Tensor, rows: Tensor | None) -> Tensor:
    return matrix if rows is None else matrix.index_select(0, rows)


def _rank(matrix: Tensor, width: float | None) -> Tensor:
    """Return the effective rank of the active columns, over their number if a width is given."""
    active = matrix.shape[1] if width is None else min(max(math.ceil(width), 1), matrix.shape[1])
    wide = matrix if matrix.dtype == torch.float64 else matrix.float()
    values = torch.linalg.svdvals(wide[:, :active])
    rank: Tensor = torch.special.entr(values / values.sum()).sum().exp()
    return rank if width is None else rank / active
