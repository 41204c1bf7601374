"""Slots for the numbers a training loop reports: copied at once, averaged over the interval of each reader."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from homeostat.errors import HomeostatError
from homeostat.landing import on_host


class Metrics:
    """Averages of observed values, kept where they are, without a synchronisation.

    A value is copied when it is observed: a kept reference would read what `loss /= n` made of it, and would
    hold the graph alive. Calls between two ticks are averaged into one value a tick; a reader takes the mean
    of the ticks since it last read. Calls before a step that a fused optimizer was told to skip are dropped; where the
    optimizer is not called at all, they are averaged with those of the next step.

    Attributes:
        heard_of_more: whether there is a metric that is new to whoever has set this to False.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.heard_of_more = False
        self._dtype = dtype
        self._slots: dict[str, _Slot] = {}

    @property
    def names(self) -> list[str]:
        """Metrics seen so far or waited for by a reader."""
        return list(self._slots)

    def observe(self, name: str, value: Tensor | float) -> None:
        """Add one value of metric `name` to the tick under way.

        Raises:
            HomeostatError: `value` is not one number.
        """
        slot = self._slots.get(name) or self._slot(name)
        # Told in every step, so that nothing is asked of a tensor that its number answers too.
        if not isinstance(value, Tensor):
            number: Tensor | float = value if type(value) is float else _number(name, value)
        elif on_host(value):
            try:
                number = float(value.item())
            except (RuntimeError, TypeError):
                raise _no_number(name, value) from None
        elif value.numel() != 1:
            raise _no_number(name, value)
        else:
            number = value.detach().reshape(()).to(self._dtype, copy=True)
        slot.pending = number if slot.calls == 0 else slot.pending + number
        slot.calls += 1

    def reader(self, name: str) -> MetricReader:
        """Return a new reader of metric `name`, which need not have been observed yet."""
        slot = self._slot(name)
        return MetricReader(slot, slot.add_reader())

    def peak_reader(self, name: str) -> PeakReader:
        """Return a new reader of the greatest values of metric `name`, which need not have been observed yet."""
        slot = self._slot(name)
        slot.peaks.append(None)
        return PeakReader(slot, len(slot.peaks) - 1)

    def current(self, name: str) -> Tensor | float | None:
        """Return the mean of what was observed of a metric since the last tick; None where nothing was."""
        slot = self._slots.get(name)
        if slot is None or not slot.calls:
            return None
        return slot.pending if slot.calls == 1 else slot.pending / slot.calls

    def commit(self) -> None:
        """Close the tick: what was observed since the last one enters every reader's interval."""
        for slot in self._slots.values():
            if slot.calls:
                slot.commit()

    def discard(self) -> None:
        """Forget what was observed since the last tick: its step did not change the weights.

        Nothing tells a training loss from a validation loss here, so one that was observed just before the skipped
        step is lost too, and its loop waits for the next.
        """
        for slot in self._slots.values():
            slot.calls = 0

    def kept(self) -> list[tuple[_Slot, _Slot]]:
        """Return what `put_back` needs to make everything what it is now."""
        return [(slot, slot.copy()) for slot in self._slots.values()]

    def put_back(self, kept: list[tuple[_Slot, _Slot]]) -> None:
        """Make everything what it was."""
        for slot, then in kept:
            vars(slot).update(vars(then))

    def forget(self) -> None:
        """Begin every interval anew: the weights of which the values were have been put away."""
        for slot in self._slots.values():
            slot.forget()

    def state_dict(self) -> list[list[Any]]:
        """Name, sums, counts and peaks of the intervals under way, and the tick under way, of every metric."""
        return [
            [
                name,
                [float(x) for x in slot.sums],
                list(slot.counts),
                slot.calls,
                float(slot.pending),
                [None if x is None else float(x) for x in slot.peaks],
            ]
            for name, slot in self._slots.items()
        ]

    def load_state_dict(self, state: list[list[Any]]) -> None:
        """Continue the intervals of `state_dict`; readers must have been made in the same order."""
        for name, sums, counts, calls, pending, peaks in state:
            slot = self._slot(name)
            if len(counts) == len(slot.counts):
                slot.sums[:], slot.counts[:] = sums, counts
            if len(peaks) == len(slot.peaks):
                slot.peaks[:] = peaks
            slot.calls, slot.pending = calls, pending

    def _slot(self, name: str) -> _Slot:
        if name not in self._slots:
            self._slots[name] = _Slot()
            self.heard_of_more = True
        return self._slots[name]


class MetricReader:
    """One reader's view of a metric: the mean over the ticks since it last took one."""

    def __init__(self, slot: _Slot, index: int) -> None:
        self._slot = slot
        self._index = index

    def take(self) -> Tensor | float | None:
        """Return the mean and start a new interval; None if nothing was observed in it. On a device, shape ()."""
        slot, index = self._slot, self._index
        if slot.counts[index] == 0:
            return None
        mean = slot.sums[index] / slot.counts[index]
        slot.sums[index], slot.counts[index] = 0.0, 0
        return mean


class PeakReader:
    """One reader's view of a metric: the greatest value of a tick since it last took one."""

    def __init__(self, slot: _Slot, index: int) -> None:
        self._slot = slot
        self._index = index

    def take(self) -> Tensor | float | None:
        """Return the greatest value and start a new interval; None if nothing was observed. On a device, shape ()."""
        peak, self._slot.peaks[self._index] = self._slot.peaks[self._index], None
        return peak


class _Slot:
    """One metric: the tick under way, one running sum a reader, and one greatest value a reader of these.

    What is at hand, numbers and tensors on the CPU, is kept in numbers: they cost a tenth. The rest stays on its
    device, in 0-d tensors of float64 where the device has it.
    """

    def __init__(self) -> None:
        self.pending: Tensor | float = 0.0
        self.calls = 0
        self.sums: list[Tensor | float] = []
        self.counts: list[int] = []
        self.peaks: list[Tensor | float | None] = []

    def add_reader(self) -> int:
        self.sums.append(0.0)
        self.counts.append(0)
        return len(self.counts) - 1

    def copy(self) -> _Slot:
        slot = _Slot()
        slot.pending, slot.calls = self.pending, self.calls
        slot.sums, slot.counts, slot.peaks = list(self.sums), list(self.counts), list(self.peaks)
        return slot

    def forget(self) -> None:
        self.calls = 0
        self.sums = [0.0] * len(self.sums)
        self.counts = [0] * len(self.counts)
        self.peaks = [None] * len(self.peaks)

    def commit(self) -> None:
        mean = self.pending if self.calls == 1 else self.pending / self.calls
        sums, counts = self.sums, self.counts
        for reader, total in enumerate(sums):
            sums[reader] = total + mean
            counts[reader] += 1
        if self.peaks:
            self.peaks = [mean if peak is None else _greater(peak, mean) for peak in self.peaks]
        self.calls = 0


def _number(name: str, value: Any) -> float:
    """Return what is no tensor as a float: Python's numbers, and NumPy's, scalars or in an array."""
    try:
        found = value.item() if hasattr(value, "item") else value
        if not isinstance(found, (str, bytes, bytearray)):
            return float(found)
    except (TypeError, ValueError, OverflowError):
        pass
    raise _no_number(name, value)


def _no_number(name: str, value: Any) -> HomeostatError:
    shape = tuple(getattr(value, "shape", ()))
    if shape:
        return HomeostatError(f"Metric {name!r} must be one number; got shape {shape}. Reduce it, e.g. with .mean().")
    kind = getattr(value, "dtype", type(value).__name__)
    return HomeostatError(f"Metric {name!r} must be one number; got {kind}. Give a float, or a tensor of one.")


def _greater(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    """Return the greater one; NaN where either is."""
    if isinstance(a, Tensor):
        return torch.maximum(a, torch.as_tensor(b, dtype=a.dtype, device=a.device))
    if isinstance(b, Tensor):
        return _greater(b, a)
    return b if b > a or b != b else a  # noqa: PLR0124 - only NaN differs from itself
