"""What exists between attach and detach: sensors, runners, hooks, and the order of one tick."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from homeostat.errors import AttachError, HomeostatWarning, StateError
from homeostat.loop import CoupledLoop
from homeostat.observers.loss import Loss
from homeostat.plant import Plant
from homeostat.runner import Runner
from homeostat.sensing import Senses
from homeostat.trace import Event, Metric, Trace

Precedence = Literal["checkpoint", "recipe"]


class Engine:
    """Loops at work on one plant.

    Args:
        loops: what is carried out.
        plant: what it is carried out on.
        senses: measures it.
        trace: takes the records.
        report_every: ticks between two records of the observed metrics.

    Raises:
        AttachError: a loop does not fit; nothing is left in the plant then.
    """

    def __init__(
        self, loops: Sequence[CoupledLoop], plant: Plant, senses: Senses, trace: Trace, report_every: int
    ) -> None:
        self.plant = plant
        self.runners: list[Runner] = []
        self._senses = senses
        self._trace = trace
        self._report_every = report_every
        self._monitors: dict[str, int] = {}
        self._inputs: list[tuple[Runner, dict[int, int]]] = []
        self._open = False
        self._closure = False
        self._handles: list[RemovableHandle] = []
        try:
            for loop in loops:
                self._add(loop)
        except BaseException:
            self.close(keep=False)
            raise
        pairs = [(a, m) for r in self.runners for a, m in zip(r.loop.actuators, r.memories, strict=True)]
        self._transient = sorted((pair for pair in pairs if pair[0].transient), key=lambda pair: pair[0].order)
        self._unchecked = pairs
        clock, *others = plant.optimizers
        for optimizer, before, after in [
            (clock, self._before_tick, self._after_tick),
            *((other, self._before_other, self._after_other) for other in others),
        ]:
            self._handles.append(optimizer.register_step_pre_hook(_uncompiled(before)))
            self._handles.append(optimizer.register_step_post_hook(_uncompiled(after)))
        senses.arm()

    def close(self, *, keep: bool) -> None:
        """Leave the plant as it was found, or with its knobs where they are."""
        self._end_step()
        for handle in self._handles:
            handle.remove()
        self._senses.close()
        for runner in self.runners:
            if not keep and runner.delivered != runner.found:
                runner.write(runner.found)
            for actuator, memory in zip(runner.loop.actuators, runner.memories, strict=True):
                actuator.release(self.plant, memory)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next decisions depend on."""
        self._end_step()
        return {
            "tick": self.plant.tick,
            "loops": {runner.name: runner.state_dict() for runner in self.runners},
            "monitors": list(self._monitors),
            "senses": self._senses.state_dict(),
            "metrics": self.plant.metrics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], precedence: Precedence) -> None:
        """Continue from `state_dict`."""
        self.plant.tick = state["tick"]
        if precedence == "checkpoint":
            here, saved = {runner.name for runner in self.runners}, set(state["loops"])
            if here != saved:
                msg = (
                    f"A state must be of the same loops; got {sorted(saved)} for {sorted(here)}. Use the saved recipe, "
                    "or load with precedence='recipe'."
                )
                raise StateError(msg)
            for name in state["monitors"]:
                self._monitor(name)
            for runner in self.runners:
                runner.load_state_dict(state["loops"][runner.name])
            self._senses.load_state_dict(state["senses"])
            self.plant.metrics.load_state_dict(state["metrics"])
        self._senses.arm()

    def _add(self, loop: CoupledLoop) -> None:
        try:
            name = loop.title
            while name in {runner.name for runner in self.runners}:
                name += "'"
            runner = Runner(loop, name, self.plant)
            inputs = {self._senses.add(o, loop.every): i for i, o in enumerate(loop.observers)}
        except AttachError as error:
            if not loop.optional:
                raise AttachError(f"Loop {loop.title!r}: {error}") from error
            self._trace.append(Event(0, f"Loop {loop.title!r} is left out: {error}"))
            return
        self._refuse_shared_targets(runner)
        self.runners.append(runner)
        self._inputs.append((runner, inputs))

    def _refuse_shared_targets(self, runner: Runner) -> None:
        def targets(one: Runner) -> frozenset[str]:
            return frozenset().union(*(actuator.targets(self.plant) for actuator in one.loop.actuators))

        for other in self.runners:
            shared = targets(runner) & targets(other)
            if shared:
                msg = (
                    f"A knob must be moved by one loop; got {sorted(shared)[0]!r} in {other.name!r} and "
                    f"{runner.name!r}. Join the two laws in one loop, or narrow the actuators' globs."
                )
                raise AttachError(msg)

    def _before_tick(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._end_step()
        if _initialising(optimizer):
            return
        if _found_inf(optimizer):
            self.plant.metrics.discard()
            return
        self.plant.forget()
        self.plant.grad_scale = getattr(optimizer, "grad_scale", None)
        # With a closure this step's gradients and losses exist only after it.
        self._closure = bool(args[1:]) or kwargs.get("closure") is not None
        if not self._closure:
            self._sense_and_decide()
        self._senses.before_step()
        self._begin_step()

    def _after_tick(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del optimizer, args, kwargs
        if not self._open:
            return
        self._end_step()
        if self._closure:
            self._sense_and_decide()
        self.plant.tick += 1
        self._senses.after_step()
        self._senses.arm()
        self.plant.forget()
        if self._unchecked:
            self._warn_of_unread()

    def _before_other(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del optimizer, args, kwargs
        self._end_step()
        self.plant.forget()
        self._begin_step()

    def _after_other(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del optimizer, args, kwargs
        self._end_step()
        self.plant.forget()

    def _sense_and_decide(self) -> None:
        plant = self.plant
        plant.metrics.commit()
        if plant.tick % self._report_every == 0:
            for name in plant.metrics.names:
                self._monitor(name)
        with torch.no_grad():
            self._senses.measure()
            arrived = self._senses.arrivals()
            if not arrived:
                return
            for name, index in self._monitors.items():
                if index in arrived:
                    self._trace.append(Metric(plant.tick, name, arrived[index]))
            for runner, inputs in self._inputs:
                self._run(runner, {inputs[i]: value for i, value in arrived.items() if i in inputs})

    def _run(self, runner: Runner, fresh: Mapping[int, float]) -> None:
        record = runner.decide(fresh) if fresh else None
        if record is not None:
            self._trace.append(record)
        for alarm in runner.alarms:
            self._warn(alarm.text)
        runner.alarms.clear()

    def _begin_step(self) -> None:
        self._open = True
        for actuator, memory in self._transient:
            actuator.before_step(self.plant, memory)

    def _end_step(self) -> None:
        """Undo what was done to the step; also after one that raised, before anything else is looked at."""
        if not self._open:
            return
        self._open = False
        for actuator, memory in reversed(self._transient):
            actuator.after_step(self.plant, memory)

    def _monitor(self, name: str) -> None:
        if name not in self._monitors:
            self._monitors[name] = self._senses.add(Loss(metric=name), self._report_every)

    def _warn_of_unread(self) -> None:
        unread = [name for actuator, memory in self._unchecked for name in actuator.unread(self.plant, memory)]
        self._unchecked = []
        if unread:
            self._warn(
                f"A knob must be read by the model to have an effect; got none that reads {', '.join(unread)} in the "
                "first step. Call the dial in the forward pass, or drop its loop."
            )

    def _warn(self, text: str) -> None:
        self._trace.append(Event(self.plant.tick, text))
        warnings.warn(text, HomeostatWarning, stacklevel=2)


def _uncompiled(hook: Callable[..., None]) -> Callable[..., None]:
    """Keep a hook out of a compiled optimizer step."""
    wrapped: Callable[..., None] = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]
    return wrapped


def _initialising(optimizer: Optimizer) -> bool:
    """Whether this is `torch.distributed.checkpoint` creating optimizer state: no learning rate and no gradient."""
    if any(float(group["lr"]) != 0.0 for group in optimizer.param_groups):
        return False
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return not any(bool(g.any()) for g in gradients)


def _found_inf(optimizer: Optimizer) -> bool:
    """Whether `GradScaler` found this step's gradients not finite and the (fused) optimizer will skip it."""
    found: Tensor | None = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found.item())
