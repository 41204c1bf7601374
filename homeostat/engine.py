"""What exists between attach and detach: sensors, runners, hooks, and the order of one tick."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import distributed as dist
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from homeostat.agreement import Agreement
from homeostat.analysis.vitals import frame, trace_vitals
from homeostat.closing import run_all
from homeostat.errors import AttachError, HomeostatError, HomeostatWarning, StateError
from homeostat.loop import CoupledLoop
from homeostat.observers.loss import Loss
from homeostat.plant import Plant
from homeostat.replicas import leave_dials_alone
from homeostat.runner import Runner
from homeostat.sensing import Senses
from homeostat.step import found_inf, has_closure, is_initialising, with_closure
from homeostat.trace import Event, Metric, Trace, Vitals
from homeostat.transient import Transients
from homeostat.uneven import refuse_half_joined

Precedence = Literal["checkpoint", "recipe"]

# Two controllers would undo each other's changes in the wrong order.
_STEERED: WeakSet[Optimizer] = WeakSet()


def refuse_unsteerable(optimizers: Sequence[Optimizer]) -> None:
    """Refuse optimizers without step hooks, and those that another controller steers.

    Raises:
        AttachError: one of them is of this kind.
    """
    for i, optimizer in enumerate(optimizers):
        if not isinstance(optimizer, Optimizer) or not hasattr(optimizer, "_optimizer_step_pre_hooks"):
            msg = (
                f"An optimizer must be a torch.optim.Optimizer with step hooks; got {type(optimizer).__name__}. "
                "Pass the optimizer that a wrapper holds."
            )
            raise AttachError(msg)
        if optimizer in _STEERED or any(optimizer is other for other in optimizers[:i]):
            msg = (
                f"An optimizer must be steered once; got a {type(optimizer).__name__} that is steered already. "
                "Detach the first Homeostat, or give it all the loops."
            )
            raise AttachError(msg)


class Engine:
    """Loops at work on one plant.

    Args:
        loops: what is carried out.
        plant: what it is carried out on.
        group: process group that readings are reduced over, None for one process.
        latency: ticks between measuring and deciding.
        trace: takes the records.
        report_every: ticks between two records of the observed metrics, which are this rank's own.
        vitals_every: ticks between two records of the vitals; 0 for none.
        advise: decide and record, and write nothing.

    Attributes:
        left_out: why optional loops are absent.
        joined: whether the ranks may have unequal numbers of steps (`Uneven`).

    Raises:
        AttachError: a loop does not fit; nothing is left in the plant then.
    """

    def __init__(
        self,
        loops: Sequence[CoupledLoop],
        plant: Plant,
        *,
        group: dist.ProcessGroup | None,
        latency: int,
        trace: Trace,
        report_every: int,
        vitals_every: int = 0,
        advise: bool = False,
    ) -> None:
        self.plant = plant
        self.group, self.joined = group, False
        self._advise = advise
        self.runners: list[Runner] = []
        self.left_out: list[str] = []
        agreement = None if group is None else Agreement(group, self.knobs)
        self._senses = Senses(plant, group, latency, agreement)
        # Ranks may observe different metrics (an evaluation on the first one only), so these are never reduced.
        self._monitoring = Senses(plant, None, latency)
        self._trace = trace
        self._report_every = report_every
        self._vitals_every = vitals_every
        self._monitors: dict[str, int] = {}
        self._inputs: list[tuple[Runner, tuple[int, ...]]] = []
        self._owners: dict[str, str] = {}
        self._late, self._busy = False, True
        self._handles: list[RemovableHandle] = []
        self._undo: list[Callable[[], None]] = []
        self._transients = Transients(plant, ())
        try:
            for loop in loops:
                self._add(loop)
        except BaseException:
            self.close(keep=False)
            raise
        self._frames = {runner.name: frame(runner.loop.model_dump(mode="json")) for runner in self.runners}
        pairs = [(a, m) for r in self.runners for a, m in zip(r.loop.actuators, r.memories, strict=True)]
        self._transients = Transients(plant, () if advise else pairs)
        self._unchecked = pairs
        for optimizer in plant.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(_uncompiled(self._before_step)))
            self._handles.append(optimizer.register_step_post_hook(_uncompiled(self._after_step)))
            _STEERED.add(optimizer)
        self._undo = leave_dials_alone(plant.model)
        self._senses.arm()

    def close(self, *, keep: bool) -> None:
        """Leave the plant as it was found, or with its knobs where they are.

        What fails does not keep the rest from being done; the first error is raised at the end.
        """
        if self._handles:
            _STEERED.difference_update(self.plant.optimizers)
        actions: list[Callable[[], object]] = [self._transients.end, self.plant.forget]
        actions += [handle.remove for handle in self._handles]
        actions += [*self._undo, self._senses.close]
        for runner in self.runners:
            actions += [runner.release] if keep else [runner.restore, runner.release]
        run_all(actions)

    def knobs(self) -> dict[str, tuple[float, ...]]:
        """Return where each loop's knobs stand, in their own units."""
        return {runner.name: runner.delivered for runner in self.runners}

    def runner(self, name: str) -> Runner:
        """Return the runner of the loop of this name.

        Raises:
            HomeostatError: there is none.
        """
        for runner in self.runners:
            if runner.name == name:
                return runner
        msg = f"A loop must be one of {', '.join(r.name for r in self.runners)}; got {name!r}. Use a name of `knobs`."
        raise HomeostatError(msg)

    def settle(self) -> None:
        """Undo what a step that raised has left in place; a closure under way is not disturbed."""
        self._transients.settle()

    def tick_along(self) -> None:
        """Pass a tick in which other ranks step and this one does not: it measures nothing and decides as they do."""
        self._transients.end()
        self._busy = not self._is_idle()
        self._sense_and_decide(silent=True)
        self._end_tick()

    def vitals(self, last: int = 100) -> Vitals:
        """Return how well the loops did in their last decisions."""
        return trace_vitals(self._trace, self._frames, tick=self.plant.tick, last=last)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next decisions depend on."""
        self._transients.end()
        return {
            "tick": self.plant.tick,
            "loops": {runner.name: runner.state_dict() for runner in self.runners},
            "monitors": list(self._monitors),
            "senses": self._senses.state_dict(),
            "monitoring": self._monitoring.state_dict(),
            "metrics": self.plant.metrics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], precedence: Precedence) -> None:
        """Continue from `state_dict`."""
        self._transients.end()
        if precedence == "checkpoint":
            here, saved = {runner.name for runner in self.runners}, set(state["loops"])
            if here != saved:
                msg = (
                    f"A state must be of the same loops; got {sorted(saved)} for {sorted(here)}. Use the saved recipe, "
                    "or load with precedence='recipe'."
                )
                raise StateError(msg)
            for runner in self.runners:
                runner.check(state["loops"][runner.name])
            self._senses.check(state["senses"])
        self.plant.tick = state["tick"]
        if precedence == "checkpoint":
            for name in state["monitors"]:
                self._monitor(name)
            for runner in self.runners:
                runner.load_state_dict(state["loops"][runner.name])
            self._senses.load_state_dict(state["senses"])
            self._monitoring.load_state_dict(state["monitoring"])
            self.plant.metrics.load_state_dict(state["metrics"])
        self._senses.arm()
        self._monitoring.arm()

    def _add(self, loop: CoupledLoop) -> None:
        name = loop.title
        while name in {runner.name for runner in self.runners}:
            name += "'"
        try:
            self._claim(loop, name)
            runner = Runner(loop, name, self.plant, advise=self._advise)
            try:
                inputs = self._senses.add(loop.observers, loop.every)
            except BaseException:
                runner.release()
                raise
        except AttachError as error:
            if not loop.optional:
                raise AttachError(f"Loop {loop.title!r}: {error}") from error
            self._owners = {knob: owner for knob, owner in self._owners.items() if owner != name}
            self.left_out.append(f"Loop {loop.title!r} is left out: {error}")
            return
        self.runners.append(runner)
        self._inputs.append((runner, inputs))

    def _claim(self, loop: CoupledLoop, name: str) -> None:
        """Note whose the knobs are; a knob has one owner."""
        for actuator in loop.actuators:
            for knob in sorted(actuator.targets(self.plant)):
                if knob in self._owners:
                    msg = (
                        f"A knob must be moved by one actuator; got {knob!r} in {self._owners[knob]!r} and "
                        f"{name!r}. Join the two laws in one loop, or narrow the actuators' globs."
                    )
                    raise AttachError(msg)
                self._owners[knob] = name

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        self._transients.end()
        if is_initialising(optimizer):
            return None
        clocks = optimizer is self.plant.optimizers[0]
        if found_inf(optimizer):
            if clocks:
                self.plant.metrics.discard()
            return None
        self.plant.begin(optimizer)
        closure = has_closure(args, kwargs)
        if clocks:
            self._busy = not self._is_idle()
            # With a closure this step's gradients and losses exist only after it.
            self._late = closure
            if not closure:
                self._sense_and_decide()
            if self._busy:
                self._senses.before_step()
        self._transients.begin()
        return with_closure(args, kwargs, self._transients.guard) if closure else None

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        clocks = optimizer is self.plant.optimizers[0]
        if clocks and self._busy and self._transients.open:
            self._senses.after_update()
        if not self._transients.end() or not clocks:
            return
        if self._late:
            self._sense_and_decide()
        if self._busy:
            self._senses.after_step()
        self._end_tick()

    def _end_tick(self) -> None:
        self.plant.tick += 1
        if self._busy:
            self._senses.arm()
            self._monitoring.arm()
            self.plant.forget()
        if self._unchecked:
            self._warn_of_unread()

    def _is_idle(self) -> bool:
        """Whether this tick is one between decisions, which must cost next to nothing."""
        if self._vitals_every and self.plant.tick % self._vitals_every == 0:
            return False
        if len(self.plant.metrics) > len(self._monitors):
            return False
        return self._senses.idle() and self._monitoring.idle()

    def _sense_and_decide(self, *, silent: bool = False) -> None:
        plant = self.plant
        if not self._busy:
            plant.metrics.commit()
            return
        # Before the tick is closed, so that a metric's first value is not lost to its reader.
        for name in plant.metrics.names if len(plant.metrics) > len(self._monitors) else ():
            self._monitor(name)
        plant.metrics.commit()
        observed = self._monitoring.exchange()
        for name, index in self._monitors.items():
            if index in observed:
                self._trace.append(Metric(plant.tick, name, observed[index]))
        refuse_half_joined(plant.model, joined=self.joined)
        arrived = self._senses.exchange(silent=silent)
        if arrived:
            with torch.no_grad():
                for runner, inputs in self._inputs:
                    self._run(runner, {i: arrived[index] for i, index in enumerate(inputs) if index in arrived})
        if self._vitals_every and plant.tick % self._vitals_every == 0:
            vitals = self.vitals()
            if not math.isnan(vitals.homeostasis):
                self._trace.append(vitals)

    def _run(self, runner: Runner, fresh: Mapping[int, float]) -> None:
        record = runner.decide(fresh) if fresh else None
        if record is not None:
            self._trace.append(record)
        for alarm in runner.alarms:
            self._warn(alarm.text)
        runner.alarms.clear()

    def _monitor(self, name: str) -> None:
        if name not in self._monitors:
            (self._monitors[name],) = self._monitoring.add((Loss(metric=name),), self._report_every)

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


def _uncompiled(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a hook out of a compiled optimizer step."""
    wrapped: Callable[..., Any] = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]
    return wrapped
