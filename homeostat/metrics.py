"""Slots for the numbers a training loop reports: copied at once, averaged over the interval of each reader."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from homeostat.errors import HomeostatError


class Metrics:
    """Averages of observed values, kept on the device, without a synchronisation.

    A value is copied when it is observed: a kept reference would read what `loss /= n` made of it, and would
    hold the graph alive. Calls between two ticks are averaged into one value a tick; a reader takes the mean
    of the ticks since it last read. Calls before a step that a fused optimizer was told to skip are dropped; where the
    optimizer is not called at all, they are averaged with those of the next step.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
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
        if isinstance(value, Tensor) and value.numel() != 1:
            msg = f"Metric {name!r} must be one number; got shape {tuple(value.shape)}. Reduce it, e.g. with .mean()."
            raise HomeostatError(msg)
        self._slot(name).add(value)

    def reader(self, name: str) -> MetricReader:
        """Return a new reader of metric `name`, which need not have been observed yet."""
        slot = self._slot(name)
        return MetricReader(slot, slot.add_reader())

    def commit(self) -> None:
        """Close the tick: what was observed since the last one enters every reader's interval."""
        for slot in self._slots.values():
            slot.commit()

    def discard(self) -> None:
        """Forget what was observed since the last tick: its step did not change the weights.

        Nothing tells a training loss from a validation loss here, so one that was observed just before the skipped
        step is lost too, and its loop waits for the next.
        """
        for slot in self._slots.values():
            slot.calls = 0

    def state_dict(self) -> list[list[Any]]:
        """Name, sums and counts of the intervals under way, and the tick under way, of every metric."""
        return [[n, s.sums.tolist(), list(s.counts), s.calls, s.pending.item()] for n, s in self._slots.items()]

    def load_state_dict(self, state: list[list[Any]]) -> None:
        """Continue the intervals of `state_dict`; readers must have been made in the same order."""
        for name, sums, counts, calls, pending in state:
            slot = self._slot(name)
            if len(counts) == len(slot.counts):
                slot.sums.copy_(torch.tensor(sums, dtype=self._dtype))
                slot.counts[:] = counts
            slot.calls = calls
            slot.pending.fill_(pending)

    def _slot(self, name: str) -> _Slot:
        if name not in self._slots:
            # A metric may first be seen in an evaluation; tensors made there could never be written again.
            with torch.inference_mode(False):
                self._slots[name] = _Slot(self._device, self._dtype)
        return self._slots[name]


class MetricReader:
    """One reader's view of a metric: the mean over the ticks since it last took one."""

    def __init__(self, slot: _Slot, index: int) -> None:
        self._slot = slot
        self._index = index

    def take(self) -> Tensor | None:
        """Return the mean as a 0-d tensor and start a new interval; None if nothing was observed in it."""
        count = self._slot.counts[self._index]
        if count == 0:
            return None
        mean = self._slot.sums[self._index] / count
        self._slot.sums[self._index] = 0.0
        self._slot.counts[self._index] = 0
        return mean


class _Slot:
    """The device side of one metric: the tick under way, and one running sum a reader."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.pending = torch.zeros((), device=device, dtype=dtype)
        self.calls = 0
        self.sums = torch.zeros(0, device=device, dtype=dtype)
        self.counts: list[int] = []

    def add_reader(self) -> int:
        self.sums = torch.cat([self.sums, self.sums.new_zeros(1)])
        self.counts.append(0)
        return len(self.counts) - 1

    def add(self, value: Tensor | float) -> None:
        if isinstance(value, Tensor):
            value = value.detach().reshape(())
            if self.calls == 0:
                self.pending.copy_(value, non_blocking=True)
            else:
                self.pending.add_(value.to(self.pending))
        elif self.calls == 0:
            self.pending.fill_(value)
        else:
            self.pending.add_(value)
        self.calls += 1

    def commit(self) -> None:
        if self.calls == 0:
            return
        self.sums.add_(self.pending, alpha=1.0 / self.calls)
        self.counts = [count + 1 for count in self.counts]
        self.calls = 0
