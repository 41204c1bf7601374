"""The size of the parameters."""

from __future__ import annotations

from torch import Tensor

from homeostat.norms import each_norm
from homeostat.observers.observer import Observer
from homeostat.plant import Plant


class ParameterNorm(Observer):
    """Measures the 2-norm of a parameter, of the one where it is greatest; of sharded ones, of the whole.

    It changes slowly whatever is learned. A weight that memory or a moment gone wrong has made huge shows here, also
    where the loss hides it: behind a normalisation, or in a part that few examples use. One foreach pass.
    """

    def observe(self, plant: Plant, memory: None) -> Tensor:
        """Return the greatest norm."""
        del memory
        return each_norm([p.detach() for group in plant.groups for p in group["params"]]).max()
