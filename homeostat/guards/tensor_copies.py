"""Copies of many tensors, made again and again, without stopping the run whose tensors they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_HOST = torch.device("cpu")
# Elements between the beginnings of two tensors are a multiple of this, so that each begins where vectors may.
_ALIGNED = 16
# Bytes of a buffer that takes no more tensors. Without an end it could need more in one piece than a device has free,
# and pinned memory is given out in powers of two: up to twice as much as is asked for.
FULL = 1 << 28


def space_for(live: Iterable[Tensor]) -> int:
    """Return the bytes that copies of these tensors take."""
    return sum(_length(t) * t.itemsize if t.layout is torch.strided else _bytes(t) for t in live)


class _Alike(NamedTuple):
    """What tensors of one buffer have in common.

    Attributes:
        alone: the place of one that has its own.
        number: of the buffer among those of the kind.
    """

    dtype: torch.dtype
    device: torch.device
    unwatched: bool
    alone: int | None
    number: int


def _by_buffer(live: Sequence[Tensor], unwatched: Collection[int]) -> dict[_Alike, list[int]]:
    """Return the places of the tensors of each buffer."""
    found: defaultdict[_Alike, list[int]] = defaultdict(list)
    bytes_so_far: defaultdict[_Alike, int] = defaultdict(int)
    for place, tensor in enumerate(live):
        plain = tensor.layout is torch.strided and type(tensor) in {Tensor, nn.Parameter}
        kind = _Alike(tensor.dtype, tensor.device, place in unwatched, None if plain else place, 0)
        found[kind._replace(number=bytes_so_far[kind] // FULL)].append(place)
        bytes_so_far[kind] += space_for([tensor])
    return found


class Room:
    """Memory for copies of some tensors: a few buffers for those of one type and place, and a view for each.

    What lies in a buffer is one transfer from a device, and one norm tells whether all of it is finite; with
    thousands of tensors each of these would take longer than their numbers do.

    Args:
        live: the tensors. One that is not plain and dense gets memory of its own kind.
        unwatched: the places of those that need not be finite; they have buffers of their own.
        home: where the copies are; None beside each tensor.
        pinned: in memory from which a CUDA device reads by itself, on the host.

    Attributes:
        views: one for each tensor.
        buffers: what they are views of.
        watched: those of the buffers in which all must be finite.
    """

    def __init__(
        self, live: Sequence[Tensor], unwatched: Collection[int], home: torch.device | None, *, pinned: bool
    ) -> None:
        self._kind = _kind(live)
        self._unwatched = unwatched
        found: dict[int, Tensor] = {}
        self.buffers: list[Tensor] = []
        self.watched: list[Tensor] = []
        for kind, places in _by_buffer(live, unwatched).items():
            tensors = [live[place] for place in places]
            memory = kind.device if home is None else home
            make = _shared if kind.alone is None else _own
            buffer, views = make(tensors, memory, pinned=pinned and memory == _HOST)
            found.update(zip(places, views, strict=True))
            self.buffers.append(buffer)
            if not kind.unwatched:
                self.watched.append(buffer)
        self.views = [found[place] for place in range(len(live))]

    @property
    def nbytes(self) -> int:
        """Its size."""
        return sum(map(_bytes, self.buffers))

    def fits(self, live: Sequence[Tensor], unwatched: Collection[int]) -> bool:
        """Whether it has been made for tensors like these."""
        return self._unwatched == unwatched and self._kind == _kind(live)


class Copies(NamedTuple):
    """Copies of tensors, what to wait for before they are read (None where they are there), and what must be finite.

    The last are buffers beside the run's own tensors.
    """

    room: Room
    made: torch.cuda.Event | None
    watched: list[Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """The copies in the order of what they are copies of."""
        return self.room.views


class Copier:
    """Copies tensors to host memory, or to other memory of their device.

    From a CUDA device to the host it goes by way of a second copy on the device, made in the run's own stream: the run
    may change its tensors at once, while another stream carries that copy to pinned memory. The host waits for neither.

    Args:
        device: of the run.
        on_device: leave the copies on the device.
    """

    def __init__(self, device: torch.device, *, on_device: bool = False) -> None:
        self._home = None if on_device else _HOST
        aside = device.type == "cuda" and not on_device
        self._side = torch.cuda.Stream(device) if aside else None  # type: ignore[no-untyped-call]
        self._staged: Room | None = None
        self._made: torch.cuda.Event | None = None

    def copy(self, live: Sequence[Tensor], unwatched: Collection[int] = (), memory: Room | None = None) -> Copies:
        """Copy `live`, into the `memory` of earlier copies if it fits.

        Args:
            live: the tensors.
            unwatched: the places of those that need not be finite.
            memory: of copies that are not needed any more.
        """
        room = self._room(live, unwatched, memory, self._home)
        if self._side is None:
            _copy(room.views, live)
            return Copies(room, None, room.watched)
        run = torch.cuda.current_stream(self._side.device)
        if self._made is not None:
            run.wait_event(self._made)
        self._staged = self._room(live, unwatched, self._staged, None)
        _copy(self._staged.views, live)
        self._side.wait_stream(run)
        with torch.cuda.stream(self._side):
            _copy(room.buffers, self._staged.buffers)
            self._made = self._side.record_event()
        for tensor in self._staged.buffers:
            if tensor.is_cuda:
                tensor.record_stream(self._side)
        return Copies(room, self._made, self._staged.watched)

    def _room(
        self, live: Sequence[Tensor], unwatched: Collection[int], memory: Room | None, home: torch.device | None
    ) -> Room:
        if memory is not None and memory.fits(live, unwatched):
            return memory
        return Room(live, unwatched, home, pinned=self._side is not None)


def _kind(live: Sequence[Tensor]) -> tuple[list[torch.Size], list[torch.dtype], list[torch.device]]:
    return [t.shape for t in live], [t.dtype for t in live], [t.device for t in live]


def _bytes(tensor: Tensor) -> int:
    if tensor.layout is torch.strided:
        return tensor.nbytes
    entries: int = tensor._nnz()
    return entries * (tensor.itemsize + 8 * tensor.ndim)


def _length(tensor: Tensor) -> int:
    return -(-tensor.numel() // _ALIGNED) * _ALIGNED


def _own(tensors: list[Tensor], home: torch.device, *, pinned: bool) -> tuple[Tensor, list[Tensor]]:
    (tensor,) = tensors
    copy = torch.empty_like(tensor, device=home, pin_memory=pinned)
    return copy, [copy]


def _shared(tensors: list[Tensor], home: torch.device, *, pinned: bool) -> tuple[Tensor, list[Tensor]]:
    """Return a buffer and a view of it for each tensor, laid out as a copy of the tensor would be."""
    starts, end = [], 0
    for tensor in tensors:
        starts.append(end)
        end += _length(tensor)
    # What lies between the tensors must be finite too.
    buffer = torch.zeros(end, dtype=tensors[0].dtype, device=home, pin_memory=pinned)
    alike = [torch.empty_like(tensor, device="meta") for tensor in tensors]
    return buffer, [buffer.as_strided(a.shape, a.stride(), s) for a, s in zip(alike, starts, strict=True)]


def _copy(to: Sequence[Tensor], live: Sequence[Tensor]) -> None:
    if to:
        # Only a CUDA device puts what follows behind a copy that it still makes.
        with torch.no_grad():
            torch._foreach_copy_(list(to), list(live), non_blocking=any(tensor.is_cuda for tensor in live))
