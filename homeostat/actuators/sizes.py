"""What is known of the sizes of weights on the host, without waiting for the device."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from homeostat.norms import each_norm

REFRESH = 10


class _Sent(NamedTuple):
    """Norms on their way to the host."""

    tensors: list[Tensor]
    norms: Tensor
    arrived: torch.cuda.Event | None

    def values(self) -> list[float]:
        """Return the norms, which have long arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        values: list[float] = self.norms.tolist()
        return values


class Sizes:
    """Bounds on the rms of every tensor of a group.

    Every `REFRESH` steps the norms are sent on their way, and taken in at the next occasion, when they have long
    arrived. What the steps since then can have changed is accounted for.

    Attributes:
        known: the rms when it was sent.
        span: the least and the greatest of them.
        since: bounds on what happened since then.
    """

    def __init__(self) -> None:
        self.known: dict[Tensor, float] = {}
        self.span = (0.0, math.inf)
        self._ids: list[int] = []
        self.since = Drift()
        self._sent: _Sent | None = None
        self._since_sent = Drift()
        self._steps = 0

    def refresh(self, tensors: list[Tensor]) -> None:
        """Take in what was sent, and send anew, if it is time."""
        self._steps += 1
        if self._steps % REFRESH != 1:
            return
        if self._sent is not None:
            pairs = zip(self._sent.tensors, self._sent.values(), strict=True)
            self._know({t: norm / math.sqrt(t.numel()) for t, norm in pairs})
            self.since = self._since_sent
        self._sent = _send(tensors)
        self._since_sent = Drift()

    def save(self, parameters: list[Tensor]) -> list[Any]:
        """Return all of it as plain data, tensors by their place among `parameters`."""
        place = {p: i for i, p in enumerate(parameters)}
        known = [[place[t], size] for t, size in self.known.items()]
        sent = None if self._sent is None else [[place[t] for t in self._sent.tensors], self._sent.values()]
        return [known, list(self.since), sent, list(self._since_sent), self._steps]

    def load(self, parameters: list[Tensor], saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        known, since, sent, since_sent, self._steps = saved
        self._know({parameters[i]: size for i, size in known})
        self.since, self._since_sent = Drift(*since), Drift(*since_sent)
        self._sent = None
        if sent is not None:
            # In float64, which holds every float32.
            norms = torch.tensor(sent[1], dtype=torch.float64)
            self._sent = _Sent([parameters[i] for i in sent[0]], norms, None)

    def knows(self, tensors: list[Tensor]) -> bool:
        """Whether these are the tensors whose sizes are known, all of them in the same order."""
        return self._ids == [id(tensor) for tensor in tensors]

    def _know(self, known: dict[Tensor, float]) -> None:
        self.known = known
        # A tensor's hash and its comparison are far slower than those of numbers.
        self._ids = list(map(id, known))
        self.span = (min(known.values(), default=0.0), max(known.values(), default=math.inf))

    def step(self, limit: float, rate: float, decay: float) -> None:
        """Account for a step limited to `limit` whose update is at most `rate` + `decay` * rms(weight)."""
        self.since = self.since.after(limit, rate, decay)
        self._since_sent = self._since_sent.after(limit, rate, decay)


class Drift(NamedTuple):
    """Bounds on how steps changed rms(weight): at least by `cut`, or by `kept` and `travel`, whichever says more.

    Attributes:
        cut: product of 1 - limit.
        kept: product of 1 - decay.
        travel: sum of the updates, decay apart.
    """

    cut: float = 1.0
    kept: float = 1.0
    travel: float = 0.0

    def after(self, limit: float, rate: float, decay: float) -> Drift:
        """Return the bounds one step later."""
        return Drift(self.cut * max(0.0, 1 - limit), self.kept * max(0.0, 1 - decay), self.travel + rate)

    def least(self, size: float) -> float:
        """Return the least rms that `size` can have become."""
        return max(size * self.cut, size * self.kept - self.travel)

    def most(self, size: float) -> float:
        """Return the greatest, decay apart."""
        return size + self.travel


def _send(tensors: list[Tensor]) -> _Sent:
    with torch.no_grad():
        norms = each_norm(tensors)
    if not norms.is_cuda:
        return _Sent(tensors, norms.to("cpu"), None)
    host = torch.empty(norms.shape, dtype=norms.dtype, pin_memory=True)
    host.copy_(norms, non_blocking=True)
    arrived = torch.cuda.current_stream(norms.device).record_event()
    return _Sent(tensors, host, arrived)
