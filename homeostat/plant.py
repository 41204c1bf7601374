"""The training run as the controller sees it: model, optimizers, metrics, and the facts of the current step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from homeostat.errors import AttachError
from homeostat.metrics import Metrics

T = TypeVar("T")


class Plant:
    """What observers measure and actuators change.

    Names are resolved at each use, never cached across ticks: `load_state_dict`, `.to(...)` and
    `add_param_group` replace the objects behind them.

    Args:
        model: the module that is trained.
        optimizers: those that step it; the first is the clock.

    Attributes:
        tick: optimizer steps that changed weights, counted from attach (or from the restored state).
        faults: faults that guards have found since attach; what was known of the run before one may hold no longer.
        metrics: the values given to `Homeostat.observe`.
        stepping: the optimizers whose step is under way: one, within a step; all of them, outside.
        scales: what each optimizer's gradients are multiplied by (`GradScaler`, in the step of a fused one), or None.
        scaled: whether any of them is.
    """

    def __init__(self, model: nn.Module, optimizers: tuple[Optimizer, ...]) -> None:
        self.model = model
        self.optimizers = optimizers
        self.tick = 0
        self.faults = 0
        self.stepping = optimizers
        self._unscaled: list[Tensor | None] = [None] * len(optimizers)
        self.scales, self.scaled = self._unscaled, False
        self.device = _device_of(model, optimizers)
        # float64 keeps means over long intervals exact; MPS does not have it.
        self.dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.metrics = Metrics(self.dtype)
        self._cache: dict[str, Any] = {}

    @property
    def groups(self) -> Iterator[dict[str, Any]]:
        """Every parameter group of every optimizer, in order."""
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def places(self) -> list[tuple[int, int]]:
        """Return (optimizer, group within it) of every group, which stays when an optimizer before it gets more."""
        return [(i, j) for i, optimizer in enumerate(self.optimizers) for j in range(len(optimizer.param_groups))]

    def begin(self, optimizer: Optimizer) -> None:
        """Note that `optimizer` begins a step, and how its own gradients are scaled.

        A scaler unscales the gradients of most optimizers before their step; a fused one does it within its step.
        """
        if self._cache:
            self._cache.clear()
        self.stepping = (optimizer,)
        scale: Tensor | None = getattr(optimizer, "grad_scale", None)
        self.scales, self.scaled = self._unscaled, scale is not None
        if scale is not None:
            self.scales = [scale if other is optimizer else None for other in self.optimizers]

    def end(self) -> None:
        """Note that no step is under way; a fused optimizer has unscaled its gradients in it."""
        if self._cache:
            self._cache.clear()
        self.stepping = self.optimizers
        self.scales, self.scaled = self._unscaled, False

    def moves(self, parameter: Tensor) -> bool:
        """Whether the step under way is of the optimizer that holds `parameter`; the clock stands in for none."""
        if len(self.stepping) == len(self.optimizers):
            return True
        held = [o for o in self.optimizers if any(p is parameter for g in o.param_groups for p in g["params"])]
        return any(optimizer in self.stepping for optimizer in held or self.optimizers[:1])

    def schedule(self) -> float:
        """Where the learning-rate schedule stands, relative to its own reference, as the first group says; 1 for none.

        The reference is the group's `max_lr` (one-cycle), else `initial_lr` (torch's schedulers), else the rate the
        optimizer was built with.
        """
        optimizer = self.optimizers[0]
        group = optimizer.param_groups[0]
        if "lr" not in group:
            return 1.0
        reference = float(group.get("max_lr") or group.get("initial_lr") or optimizer.defaults.get("lr", group["lr"]))
        return float(group["lr"]) / reference if reference else 1.0

    def cached(self, key: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, made once a tick however many parts ask."""
        if key not in self._cache:
            self._cache[key] = compute()
        found: T = self._cache[key]
        return found

    def forget(self) -> None:
        """Drop what was computed for this tick."""
        if self._cache:
            self._cache.clear()

    def parameters(self) -> list[Tensor]:
        """Every parameter the optimizers hold, in group order."""
        return [p for group in self.groups for p in group["params"]]

    def gradients(self) -> list[Tensor]:
        """This step's dense gradients, scaled as the optimizer finds them; parameters without one are left out."""
        return [p.grad for p in self.parameters() if p.grad is not None]

    def named_parameters(self, glob: str) -> dict[str, nn.Parameter]:
        """The model's parameters whose qualified name matches `glob`.

        Raises:
            AttachError: none does.
        """
        found = {n: p for n, p in self.model.named_parameters() if fnmatchcase(n, glob)}
        return self._nonempty(found, glob, "parameter", [n for n, _ in self.model.named_parameters()])

    def modules(self, glob: str, *kinds: type[T], what: str = "") -> dict[str, T]:
        """The model's modules of one of the classes `kinds`, called `what`, whose qualified name matches `glob`.

        Raises:
            AttachError: none does.
        """
        # A large model has thousands of modules, and several parts look for theirs in one tick.
        named = self.cached("named_modules", lambda: dict(self.model.named_modules()))
        every = {n: m for n, m in named.items() if isinstance(m, kinds)}
        found = {n: m for n, m in every.items() if fnmatchcase(n, glob)}
        return self._nonempty(found, glob, what or kinds[0].__name__, list(every))

    def _nonempty(self, found: dict[str, T], glob: str, what: str, choices: list[str]) -> dict[str, T]:
        if found:
            return found
        shown = ", ".join(choices[:8]) + (", ..." if len(choices) > 8 else "") if choices else "none at all"
        msg = f"{glob!r} must match a {what} of {type(self.model).__name__}; got no match. It offers: {shown}."
        raise AttachError(msg)


def estimates_rate(group: Mapping[str, Any]) -> bool:
    """Whether a parameter group is of an optimizer that estimates its own learning rate (Prodigy, D-Adaptation).

    They keep the estimate there as `d`; torch's Adafactor has a `d` too, its clipping threshold.
    """
    return "d" in group and ("d0" in group or "growth_rate" in group)


def _device_of(model: nn.Module, optimizers: tuple[Optimizer, ...]) -> torch.device:
    for parameter in (p for group in optimizers[0].param_groups for p in group["params"]):
        return torch.device(parameter.device)
    return next((p.device for p in model.parameters()), torch.device("cpu"))
