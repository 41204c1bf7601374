"""What exists between attach and detach: sensors, runners, hooks, and the order of one tick."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import distributed as dist
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from homeostat.agenda import Agenda
from homeostat.agreement import Agreement
from homeostat.analysis.vitals import frame, vitals_later
from homeostat.answering import Answering
from homeostat.assembly import Assembly
from homeostat.closing import run_all
from homeostat.errors import HomeostatError, HomeostatWarning
from homeostat.guarding import Guarding
from homeostat.guards.ladder import MILD
from homeostat.guards.protection import NOTHING, Protection
from homeostat.guards.snapshot import Snapshots
from homeostat.guards.withheld import Withheld
from homeostat.hearing import Hearing
from homeostat.loop import CoupledLoop
from homeostat.monitoring import Monitoring
from homeostat.plant import Plant
from homeostat.replicas import leave_dials_alone
from homeostat.resuming import Precedence, Resuming
from homeostat.runner import Runner
from homeostat.sensing import Senses
from homeostat.steered import STEERED, refuse_hidden_state
from homeostat.step import found_inf, has_closure, is_initialising, on_error, uncompiled
from homeostat.trace import Event, Trace, Vitals
from homeostat.transient import Transients
from homeostat.uneven import refuse_half_joined


class Engine:
    """Loops at work on one plant.

    Args:
        loops: what is carried out.
        plant: what it is carried out on.
        group: process group that readings are reduced over, None for one process.
        latency: ticks between measuring and deciding.
        trace: takes the records.
        report_every: ticks between two records of the observed metrics, which are this rank's own.
        vitals_every: ticks between two records of the vitals, in the first 10 of them; later a tenth to a fifth of
            the run so far. 0 for none.
        advise: decide and record, and write nothing.
        protection: what answers faults.

    Attributes:
        answering: carries out what guards ask for, and remembers what there is to go back to.
        left_out: why optional loops and guards are absent.
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
        protection: Protection = NOTHING,
    ) -> None:
        self.plant = plant
        self.group, self.joined = group, False
        agreement = None if group is None else Agreement(group, self.knobs)
        self._senses = Senses(plant, group, latency, agreement, self.warn)
        self._monitoring = Monitoring(plant, latency, report_every, trace)
        self._trace = trace
        self._agenda = Agenda(plant, self._senses, self._monitoring, vitals_every)
        self._assembly = Assembly(plant, self._senses, advise=advise)
        self.runners, self.left_out = self._assembly.runners, self._assembly.left_out
        exact = group is None and latency == 0
        self._guards, self.answering = self._protect(protection, exact=exact, advise=advise)
        self._resuming = Resuming(plant, self.runners, self._senses, self._monitoring, self._guards)
        self._late, self._busy, self._withheld = False, True, Withheld()
        self._hearing = Hearing(plant, self._senses, self._guards)
        self._handles: list[RemovableHandle] = []
        self._undo: list[Callable[[], None]] = []
        self._transients = Transients(plant, ())
        try:
            for loop in loops:
                self._assembly.add(loop)
            self._monitoring.expect(self._assembly.expected)
            for guard in protection.guards:
                self.left_out += self._guards.add(guard)
        except BaseException:
            self.close(keep=False)
            raise
        self._frames = {runner.name: frame(runner.loop.model_dump(mode="json")) for runner in self.runners}
        pairs = [(a, m) for r in self.runners for a, m in zip(r.loop.actuators, r.memories, strict=True)]
        self._transients = Transients(plant, () if advise else pairs)
        self._unchecked = pairs
        for optimizer in plant.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(uncompiled(self._before_step)))
            self._handles.append(optimizer.register_step_post_hook(uncompiled(self._after_step)))
            self._undo.append(on_error(optimizer, self._give_up))
            STEERED.add(optimizer)
        self._undo += leave_dials_alone(plant.model)
        self._agenda.arm()

    def close(self, *, keep: bool) -> None:
        """Leave the plant as it was found, or with its knobs where they are.

        What fails does not keep the rest from being done; the first error is raised at the end.
        """
        if self._handles:
            STEERED.difference_update(self.plant.optimizers)
        actions: list[Callable[[], object]] = [self._transients.end, self.plant.forget]
        actions += [handle.remove for handle in self._handles]
        actions += [*self._undo, self._senses.close, self.answering.close]
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

    def go_back(self, state: Mapping[str, Any]) -> None:
        """Decide as when `state` was returned, whatever has happened since; the weights are put back already."""
        self.load_state_dict(state, "checkpoint", back=True)

    def retry(self) -> None:
        """Forget what was heard in the tick under way: its step is not taken, and the next is of the same tick."""
        self._hearing.take_back()

    def depart(self, state: Mapping[str, Any]) -> None:
        """Put the knobs where they were in `state`, and let laws and guards go on from there."""
        self._hearing.let_stand()
        for runner in self.runners:
            runner.depart(tuple(state["loops"][runner.name]["delivered"]))
        if self._guards is not None:
            self._guards.depart(state["guards"])
        # What a deferred guard has found too late is in every interval under way, and would be found again.
        self.plant.metrics.forget()
        self._senses.forget()
        self._agenda.arm()

    def tick_along(self) -> None:
        """Pass a tick in which other ranks step and this one does not: it measures nothing and decides as they do."""
        self._transients.end()
        self._busy = self.plant.tick >= self._agenda.busy_at
        if self._sense_and_decide(silent=True):
            self._end_tick()
            self.answering.after_step(self.plant.optimizers[0])

    def vitals(self, last: int = 100) -> Vitals:
        """Return how well the loops did in their last decisions."""
        return vitals_later(self._trace, self._frames, tick=self.plant.tick, last=last)()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next decisions depend on."""
        self._transients.end()
        return self._resuming.state_dict()

    def check(self, state: Mapping[str, Any], precedence: Precedence) -> None:
        """Refuse a state that does not fit, before anything is changed.

        Raises:
            StateError: it is not whole, or of other loops, laws, actuators, observers or groups.
        """
        self._transients.end()
        self._resuming.check(state, precedence)

    def load_state_dict(self, state: Mapping[str, Any], precedence: Precedence, *, back: bool = False) -> None:
        """Continue from `state_dict`, which has been checked; `back` within the same run."""
        self._transients.end()
        self._hearing.let_stand()
        if back:
            self._resuming.load_state_dict(state, precedence, back=True)
        else:
            self._resuming.load_or_leave(state, precedence)
            self.answering.leave()
        self._agenda.arm()

    def _protect(self, protection: Protection, *, exact: bool, advise: bool) -> tuple[Guarding, Answering]:
        snapshots = None
        if protection.snapshots is not None or any(guard.answer == "reset" for guard in protection.guards):
            refuse_hidden_state(self.plant.optimizers)
        if protection.snapshots is not None:
            snapshots = Snapshots(protection.snapshots, self.plant, protection.restores, group=self.group)
        skips = any(guard.answer in MILD for guard in protection.guards)
        answering = Answering(protection.ladder, self.plant, snapshots, self, self._trace, skips=skips, advise=advise)
        return Guarding(self.plant, self._senses, answering, exact=exact), answering

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._transients.open or self._withheld.open:
            self._give_up()
        if is_initialising(optimizer):
            return
        clocks = optimizer is self.plant.optimizers[0]
        if getattr(optimizer, "found_inf", None) is not None and found_inf(optimizer):
            if clocks:
                self.plant.metrics.discard()
                self._agenda.arm()
            return
        self.plant.begin(optimizer)
        closure = (len(args) > 1 or bool(kwargs)) and has_closure(args, kwargs)
        if clocks:
            self._busy = self.plant.tick >= self._agenda.busy_at
            # With a closure this step's gradients and losses exist only after it.
            self._late = closure
            if not closure and not self._sense_and_decide():
                self._withhold(optimizer)
                self._agenda.arm()
                return
            if self._busy:
                self._senses.before_step()
        elif self.answering.skips(optimizer):
            self._withhold(optimizer)
            return
        self._transients.begin()

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        if self._withheld.open:
            self._withheld.give_back()
            return
        clocks = optimizer is self.plant.optimizers[0]
        if clocks and self._busy and self._transients.open:
            self._senses.after_update()
        if not self._transients.end():
            return
        if clocks:
            if self._late and not self._sense_and_decide():
                return
            if self._busy:
                self._senses.after_step()
            self._end_tick()
        self.answering.after_step(optimizer)

    def _give_up(self) -> None:
        """Undo what a step that raised has left in place."""
        self._transients.end()
        self._withheld.give_back()
        self.plant.end()

    def _end_tick(self) -> None:
        self.plant.tick += 1
        if self._busy:
            self._agenda.arm()
            self.plant.forget()
        elif self.plant.tick > self._agenda.record_at:
            self._agenda.arm_records()
        if self._unchecked:
            self._warn_of_unread()

    def _withhold(self, optimizer: Optimizer) -> None:
        """Keep an optimizer from taking the step under way, which its post-hook then does not count."""
        self._withheld.take(optimizer)
        self.plant.end()

    def _sense_and_decide(self, *, silent: bool = False) -> bool:
        """Measure, decide and act; False where a guard keeps the step from being taken."""
        plant, guards = self.plant, self._guards
        if not guards.sound() and not guards.look(late=self._late):
            return False
        records = plant.tick >= self._agenda.record_at or plant.metrics.heard_of_more
        if records:
            self._monitoring.take_up()
        arrived: dict[int, float] | None = None
        if self._busy:
            refuse_half_joined(plant.model, joined=self.joined)
            arrived = self._hearing.hear(silent=silent, late=self._late)
            if arrived is None:
                return False
        else:
            plant.metrics.commit()
        for text in self._monitoring.record() if records else ():
            self.warn(text)
        if records or self._busy:
            self._contain()
        if arrived is None:
            return True
        with torch.no_grad():
            for runner, inputs in self._assembly.inputs:
                self._run(runner, {i: arrived[index] for i, index in enumerate(inputs) if index in arrived})
        if self._agenda.vitals_due():
            self._trace.judge(plant.tick, vitals_later(self._trace, self._frames, tick=plant.tick, last=100))
        return True

    def _contain(self) -> None:
        """Put back knobs that something else has moved outside their limits."""
        for runner in self.runners:
            runner.contain()
            self._raise_alarms(runner)

    def _run(self, runner: Runner, fresh: Mapping[int, float]) -> None:
        record = runner.decide(fresh)
        if record is not None:
            self._trace.append(record)
        self._raise_alarms(runner)

    def _raise_alarms(self, runner: Runner) -> None:
        for alarm in runner.alarms:
            self.warn(alarm.text)
        runner.alarms.clear()

    def _warn_of_unread(self) -> None:
        unread = [name for actuator, memory in self._unchecked for name in actuator.unread(self.plant, memory)]
        self._unchecked = []
        if unread:
            self.warn(
                f"A knob must be read by the model to have an effect; got none that reads {', '.join(unread)} in the "
                "first step. Call the dial in the forward pass, or drop its loop."
            )

    def warn(self, text: str) -> None:
        """Raise an alarm."""
        self._trace.append(Event(self.plant.tick, text))
        warnings.warn(text, HomeostatWarning, stacklevel=2)
