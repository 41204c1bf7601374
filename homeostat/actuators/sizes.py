"""What is known of the sizes of weights on the host, without waiting for the device."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from homeostat.landing import Landing, on_host
from homeostat.norms import each_norm

REFRESH = 10


class Bounds(NamedTuple):
    """What a step can do at most: rms(update) <= rate + decay * rms(weight), of so many tensors."""

    rate: float
    decay: float
    tensors: int

    def at(self, share: float) -> Bounds:
        """Return the bounds at this share of the learning rate."""
        return Bounds(share * self.rate, share * self.decay, self.tensors)


class Rule(NamedTuple):
    """What an optimizer's settings for a group say of its steps: the bounds follow from them.

    Attributes:
        rate: the greatest learning rate.
        decay: the weight decay.
        betas: of Adam.
        tensors: parameters of the group.
    """

    rate: float
    decay: float
    betas: tuple[float, float]
    tensors: int


class _Sent(NamedTuple):
    """Norms on their way to the host."""

    tensors: list[Tensor]
    norms: Landing


class Sizes:
    """Bounds on the rms of every tensor of a group.

    Every `REFRESH` steps, or at the next occasion after them, the norms are measured: known at once on the CPU, else
    sent on their way and taken in at the occasion after that, when they have long arrived. What the steps since then
    can have changed is accounted for.

    Where it is known that no step can exceed a limit for a while, that many are granted: they need no look.

    Attributes:
        known: the rms when it was sent.
        span: the least and the greatest of them.
        since: bounds on what happened since then.
    """

    def __init__(self) -> None:
        self.known: dict[Tensor, float] = {}
        self.span = (0.0, math.inf)
        self._ids: set[int] = set()
        self.since = Drift()
        self._sent: _Sent | None = None
        self._since_sent = Drift()
        self._steps = 0
        self._granted = self._left = 0
        self._limit = 1.0
        self._bounds = Bounds(0.0, 0.0, 0)
        self._rule = Rule(0.0, 0.0, (0.0, 0.0), 0)

    def refresh(self, tensors: list[Tensor]) -> None:
        """Measure, if it is time, or take in what was sent and send anew."""
        if (self._sent is not None or self.known) and self._steps < REFRESH:
            return
        with torch.no_grad():
            norms = each_norm(tensors)
        if on_host(norms):
            self._take_in(_Sent(tensors, Landing(norms)), Drift())
            self._sent = None
        else:
            if self._sent is not None:
                self._take_in(self._sent, self._since_sent)
            self._sent = _Sent(tensors, Landing(norms))
        self._since_sent, self._steps = Drift(), 0

    def knows(self, tensors: list[Tensor]) -> bool:
        """Whether the sizes of all these tensors are known."""
        return self._ids.issuperset(map(id, tensors))

    def step(self, limit: float, bounds: Bounds, steps: int = 1) -> None:
        """Account for steps limited to `limit` within `bounds`."""
        if bounds.rate < math.inf:
            self.since = self.since.after(limit, bounds, steps)
            self._since_sent = self._since_sent.after(limit, bounds, steps)
            self._steps += steps

    def grant(self, steps: int, limit: float, bounds: Bounds, rule: Rule) -> None:
        """Let the next steps pass without a look, each limited to `limit`, as long as they keep to the rule.

        Args:
            steps: how many.
            limit: of each.
            bounds: of each, by the rule.
            rule: what the optimizer's settings may be.
        """
        self._granted, self._left, self._limit, self._bounds, self._rule = steps, steps, limit, bounds, rule

    def passes(self, limit: float, group: dict[str, Any]) -> bool:
        """Whether this step is granted, limited to `limit`, with the settings of the optimizer as they are."""
        # Asked in every step: no call within.
        rule, rate = self._rule, group["lr"]
        granted = (
            self._left > 0
            and limit == self._limit
            and type(rate) is float
            and rate <= rule.rate
            and group["weight_decay"] <= rule.decay
            and group["betas"] == rule.betas
            and len(group["params"]) == rule.tensors
        )
        self._left -= granted
        return granted

    def end_grant(self) -> None:
        """Account for the granted steps that were taken, and grant no more."""
        taken = self._granted - self._left
        self._granted = self._left = 0
        if taken:
            self.step(self._limit, self._bounds, taken)

    def save(self, parameters: list[Tensor]) -> list[Any]:
        """Return all of it as plain data, tensors by their place among `parameters`."""
        place = {p: i for i, p in enumerate(parameters)}
        known = [[place[t], size] for t, size in self.known.items()]
        sent = None if self._sent is None else [[place[t] for t in self._sent.tensors], self._sent.norms.tolist()]
        grant = [self._granted, self._left, self._limit, list(self._bounds), list(self._rule)]
        return [known, list(self.since), sent, list(self._since_sent), self._steps, grant]

    def load(self, parameters: list[Tensor], saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        known, since, sent, since_sent, self._steps, (self._granted, self._left, self._limit, *told) = saved
        self._know({parameters[i]: size for i, size in known})
        bounds, (rate, decay, betas, tensors) = told
        self.since, self._since_sent, self._bounds = Drift(*since), Drift(*since_sent), Bounds(*bounds)
        self._rule = Rule(rate, decay, tuple(betas), tensors)
        self._sent = None
        if sent is not None:
            # In float64, which holds every float32.
            norms = torch.tensor(sent[1], dtype=torch.float64, device="cpu")
            self._sent = _Sent([parameters[i] for i in sent[0]], Landing(norms))

    def _take_in(self, sent: _Sent, since: Drift) -> None:
        pairs = zip(sent.tensors, sent.norms.tolist(), strict=True)
        self._know({t: norm / math.sqrt(t.numel()) for t, norm in pairs})
        self.since = since

    def _know(self, known: dict[Tensor, float]) -> None:
        self.known = known
        # A tensor's hash and its comparison are far slower than those of numbers.
        self._ids = set(map(id, known))
        self.span = (min(known.values(), default=0.0), max(known.values(), default=math.inf))


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

    def after(self, limit: float, bounds: Bounds, steps: int = 1) -> Drift:
        """Return the bounds so many steps later, each limited to `limit`."""
        cut, kept = max(0.0, 1 - limit) ** steps, max(0.0, 1 - bounds.decay) ** steps
        return Drift(self.cut * cut, self.kept * kept, self.travel + bounds.rate * steps)

    def least(self, size: float) -> float:
        """Return the least rms that `size` can have become."""
        return max(size * self.cut, size * self.kept - self.travel)

    def most(self, size: float) -> float:
        """Return the greatest, decay apart."""
        return size + self.travel

    def keeps(self, least: float, greatest: float, bounds: Bounds, limit: float, floor: float) -> bool:
        """Whether no tensor that was from `least` to `greatest` large can now be moved further than `limit`."""
        moved = bounds.rate + bounds.decay * self.most(greatest)
        return moved <= limit * max(self.least(least), floor)
