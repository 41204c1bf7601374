"""Whether all ranks decide alike: their commands are compared inside the collective that joins the readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import torch
from torch import Tensor
from torch import distributed as dist

from homeostat.errors import AttachError, DivergenceError

# Twice the exponent of the greatest group, 2^14 ranks, and twice these bits are at most 53, so that float64 is exact.
_BITS = 11


def refuse_outsider(group: dist.ProcessGroup | None) -> None:
    """Refuse a group that this rank is not in.

    Raises:
        AttachError: it is not.
    """
    if group is not None and dist.get_rank(group) < 0:
        msg = (
            f"A rank must be in the process group that it attaches with; got rank {dist.get_rank()}, which is not. "
            "Attach on the ranks of the group only, or give this one a group of its own."
        )
        raise AttachError(msg)


class Agreement:
    """Compares where the knobs stand on all ranks, without a collective of its own.

    A checksum of 32 bits is cut into three parts h_i; sum h_i and sum h_i^2 ride in the vector that is summed over
    the n ranks anyway. By Cauchy and Schwarz n sum h_i^2 >= (sum h_i)^2, with equality where all are equal, and only
    there; in whole numbers, so exactly.

    Args:
        group: the ranks.
        commands: by loop, where its knobs stand on this rank.
    """

    def __init__(self, group: dist.ProcessGroup, commands: Callable[[], Mapping[str, Sequence[float]]]) -> None:
        self._group = group
        self._commands = commands

    def columns(self, like: Tensor) -> Tensor:
        """Return h_i and h_i^2 of this rank, shape (3, 2), in the type and on the device of `like`."""
        checksum = crc32(repr(sorted(self._commands().items())).encode())
        parts = [checksum >> shift & (1 << _BITS) - 1 for shift in (0, _BITS, 2 * _BITS)]
        columns = torch.tensor([[part, part * part] for part in parts], dtype=like.dtype, device="cpu")
        # From pinned memory the copy does not wait for the device.
        return columns.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else columns.to(like.device)

    def check(self, sums: Sequence[Sequence[float]]) -> None:
        """Look at the sums over the ranks, three pairs, which are the same on all of them.

        Raises:
            DivergenceError: they say that the ranks differ; it names the loops and the ranks, on every rank.
        """
        ranks = dist.get_world_size(self._group)
        if all(ranks * squares == total * total for total, squares in sums):
            return
        everywhere: list[dict[str, tuple[float, ...]]] = [{}] * ranks
        own = {name: tuple(values) for name, values in self._commands().items()}
        # All ranks come here together, since all have the same sums.
        dist.all_gather_object(everywhere, own, group=self._group)
        raise DivergenceError(
            "All ranks must have their knobs at the same values; got "
            f"{'; '.join(_differences(everywhere)) or 'ranks that differed and agree again'}. Load the same state, "
            "override knobs on every rank alike, and attach the same loops everywhere."
        )


def _differences(everywhere: Sequence[Mapping[str, tuple[float, ...]]]) -> list[str]:
    """Say of each loop which ranks stand apart from the most common value."""
    found = []
    for name in sorted({name for commands in everywhere for name in commands}):
        values = [commands.get(name, ()) for commands in everywhere]
        common = Counter(values).most_common(1)[0][0]
        apart = [f"{value} on rank {rank}" for rank, value in enumerate(values) if value != common]
        if apart:
            found.append(f"loop {name!r} at {common}, but {', '.join(apart)}")
    return found
