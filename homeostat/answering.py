"""What is done about a fault: answers carried out on a plant."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch.optim import Optimizer

from homeostat.errors import GuardAbort, HomeostatError, HomeostatWarning
from homeostat.guards.detector import Finding
from homeostat.guards.guard import Answer
from homeostat.guards.ladder import MILD, Ladder, LadderState, Rung
from homeostat.guards.lookout import Lookout
from homeostat.guards.moments import reset_moments
from homeostat.guards.running_statistics import RunningStatistics
from homeostat.guards.snapshot import Restored, SnapshotPolicy, Snapshots
from homeostat.guards.snapshot_damage import Damage
from homeostat.norms import local
from homeostat.plant import Plant
from homeostat.state import from_data, to_data
from homeostat.trace import Event, Intervention, Trace


class Guarded(Protocol):
    """The controller as its guards need it."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next decisions depend on."""

    def go_back(self, state: Mapping[str, Any]) -> None:
        """Decide as it did when `state` was returned: laws, readings, knobs and tick."""

    def depart(self, state: Mapping[str, Any]) -> None:
        """Put the knobs where they were in `state`, and let laws and guards go on from there."""

    def retry(self) -> None:
        """Forget what was heard in the tick under way: its step is not taken, and the next is of the same tick."""


class Found(NamedTuple):
    """A fault, who found it in which reading, and whether the step under way can still be kept from it."""

    lookout: Lookout
    reading: float
    finding: Finding
    exact: bool


class Answering:
    """Carries answers out.

    Args:
        ladder: how they escalate.
        plant: on what.
        snapshots: what there is to go back to, None for nothing.
        controller: whose guards they are.
        trace: takes a record of every intervention.
        skips: whether a guard may ask for a step not to be taken.
        advise: only say what would be done.
    """

    def __init__(
        self,
        ladder: Ladder,
        plant: Plant,
        snapshots: Snapshots | None,
        controller: Guarded,
        trace: Trace,
        *,
        skips: bool,
        advise: bool,
    ) -> None:
        self._ladder, self._plant, self._snapshots = ladder, plant, snapshots
        self._controller, self._trace, self._advise = controller, trace, advise
        self._climbed = LadderState()
        # Steps that were skipped or taken back; with the tick they number the steps that were begun.
        self._lost = 0
        # When each guard last raised an alarm.
        self._alarmed: dict[str, int] = {}
        self._soonest = self._due = math.inf if snapshots is None or advise else 0.0
        # The tick at which the steps since the run last went back have been taken again.
        self._again = math.inf
        # Which optimizer stepped last, and which did in the iteration before.
        self._stepped = self._last = plant.optimizers[-1]
        self._several = len(plant.optimizers) > 1
        self._statistics = RunningStatistics(plant.model.modules() if skips and not advise else ())
        self._has_statistics = bool(self._statistics)
        self._to_skip: set[int] = set()
        # Whether the state that is loaded next is that of a snapshot, to which the run has been set already.
        self._resumed = False

    def answer(self, found: Found, rest: Callable[[], None]) -> bool:
        """Carry out what the ladder says; False where the step under way is not to be taken.

        Args:
            found: the fault.
            rest: lets the detectors forget their evidence.

        Raises:
            GuardAbort: the run is given up; it stands where the last good snapshot was, if there is one.
        """
        rung, tick = self._climb(found), self._plant.tick
        # Where it is only said, a run that would have been given up goes on.
        told_once = rung.answer == "alarm" or (rung.answer == "abort" and self._advise)
        if told_once and not self._is_news(found.lookout.name):
            return True
        back_to, replayed = (None, False) if self._advise or rung.answer == "alarm" else self._carry_out(rung, found)
        if rung.answer in {"reset", "rollback"} and not replayed:
            rest()
        said = (found.lookout.name, rung.answer, f"{found.lookout.guard.watched} {found.finding.text}", found.exact)
        self._tell(Intervention(tick, *said, back_to, replayed, self._advise), rung.reason)
        if self._advise or rung.answer in {"alarm", "cut"}:
            return True
        self._skip()
        return False

    def skips(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer that steps after the clock must not, since the clock did not."""
        if id(optimizer) not in self._to_skip:
            return False
        self._to_skip.discard(id(optimizer))
        return True

    def after_step(self, optimizer: Optimizer) -> None:
        """After a step was taken: remember what there may be to go back to."""
        if self._has_statistics:
            self._statistics.keep()
        if self._several:
            self._note(optimizer)
        if self._plant.tick >= self._due and optimizer is self._last and self._snapshots is not None:
            self._remember(self._snapshots)
        elif self._again != math.inf and self._snapshots is not None:
            self._snapshots.replaying()

    def state_dict(self) -> dict[str, Any]:
        """How far answers have escalated, as plain data."""
        return {"climbed": to_data(self._climbed), "lost": self._lost, "alarmed": dict(self._alarmed)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._climbed = from_data(LadderState(), state["climbed"])
        self._lost, self._alarmed = state["lost"], dict(state["alarmed"])

    def resume(self, check: Callable[[Mapping[str, Any]], object]) -> Restored | None:
        """Make the run what it was at the newest whole snapshot on disk; None where there is none.

        Args:
            check: refuses the controller's own state, by raising, before anything is changed.

        Raises:
            HomeostatError: no snapshots are written to disk.
            StateError: the snapshot is of another run; nothing is changed then.
        """
        if self._snapshots is None:
            msg = "A run must have snapshots to resume from one; got none. Give SnapshotPolicy(directory=...)."
            raise HomeostatError(msg)
        restored = self._snapshots.resume(check)
        self._resumed = restored is not None
        return restored

    def leave(self) -> None:
        """Forget what the run was up to now, after a state was loaded; its later snapshots leave the disk, too.

        A snapshot is due after the next step.
        """
        resumed, self._resumed = self._resumed, False
        if resumed:
            # The weights are in place, so that a skip of the very first step has something to put back.
            self._statistics.keep()
        else:
            self._statistics.forget()
        self._to_skip.clear()
        if self._snapshots is not None:
            self._snapshots.leave(self._plant.tick, resumed=resumed)
            self._due, self._again = self._soonest, math.inf

    def close(self) -> None:
        """Wait until the snapshots are on disk."""
        if self._snapshots is not None:
            self._snapshots.close()

    def _climb(self, found: Found) -> Rung:
        first: Answer = found.lookout.guard.answer
        if first == "cut" and found.lookout.share(found.reading) is None:
            first = "skip"
        if first in {"cut", "skip"} and not found.exact:
            first = "rollback"
        if self._snapshots is not None:
            self._snapshots.confirm()
        if first in MILD:
            # Before it is asked what else the batch has broken.
            self._statistics.put_back()
        depth = self._depth()
        tick = self._plant.tick
        rung, climbed = self._ladder.climb(
            self._climbed,
            first,
            tick=tick,
            moment=tick + self._lost,
            depth=depth,
            # Ranks might differ in it, and there no verdict is exact.
            broken=found.exact and first in MILD and self._broken(),
        )
        self._climbed = climbed
        return rung

    def _carry_out(self, rung: Rung, found: Found) -> tuple[int | None, bool]:
        """Do what the rung says, the skip apart; returns what `_go_back` does, where the run goes back."""
        self._plant.faults += 1
        if self._snapshots is not None:
            self._snapshots.doubt()
            if rung.answer in {"rollback", "abort"} and self._snapshots.ticks:
                return self._go_back(self._snapshots, rung)
        if rung.answer == "cut":
            self._cut(found.lookout.share(found.reading) or 1.0)
        elif rung.answer == "reset":
            for optimizer in self._plant.optimizers:
                reset_moments(optimizer)
        return None, False

    def _note(self, optimizer: Optimizer) -> None:
        """Note which optimizer steps last: going back takes the place of the steps of all."""
        if optimizer is self._plant.optimizers[0]:
            self._last = self._stepped
            self._to_skip.clear()
        self._stepped = optimizer

    def _is_news(self, guard: str) -> bool:
        """Whether an alarm of this guard has not been raised for a while: once says it."""
        last, tick = self._alarmed.get(guard), self._plant.tick
        if last is not None and tick < last + self._ladder.calm:
            return False
        self._alarmed[guard] = tick
        return True

    def _depth(self) -> int:
        if self._snapshots is None:
            return 0
        return self._snapshots.imagined if self._advise else len(self._snapshots.ticks)

    def _go_back(self, snapshots: Snapshots, rung: Rung) -> tuple[int, bool]:
        """Put a good snapshot back; returns its tick, and whether the steps since are taken again."""
        replay = snapshots.replays and (rung.replay or rung.answer == "abort")
        restored, tick = snapshots.restore(rung.back, replay=replay), self._plant.tick
        self._say(restored.told)
        if restored.replayed:
            self._lost += tick - restored.tick
            self._controller.go_back(restored.extra)
            self._again = tick
        else:
            self._controller.depart(restored.extra)
        self._statistics.keep()
        self._due = min(self._next_snapshot(snapshots.policy), self._again)
        return restored.tick, restored.replayed

    def _remember(self, snapshots: Snapshots) -> None:
        """Take a snapshot, or end the probation of the last; says when it is time for the other."""
        tick, policy = self._plant.tick, snapshots.policy
        if tick >= self._again:
            self._again = math.inf
            self._say(snapshots.replayed())
        if snapshots.due():
            self._say(snapshots.take(self._controller.state_dict()))
            self._due = min(tick + max(1, policy.probation), self._next_snapshot(policy))
        else:
            snapshots.confirm()
            self._due = self._next_snapshot(policy)
        self._due = min(self._due, self._again)

    def _say(self, told: str) -> None:
        if told:
            self._trace.append(Event(self._plant.tick, told))
            warnings.warn(told, HomeostatWarning, stacklevel=2)

    def _next_snapshot(self, policy: SnapshotPolicy) -> int:
        return self._plant.tick - self._plant.tick % policy.every + policy.every

    def _skip(self) -> None:
        self._lost += 1
        self._to_skip = {id(optimizer) for optimizer in self._plant.optimizers[1:]}
        self._controller.retry()

    def _cut(self, share: float) -> None:
        with torch.no_grad():
            torch._foreach_mul_([g._values() if g.is_sparse else local(g) for g in self._plant.gradients()], share)

    def _broken(self) -> bool:
        if self._snapshots is None:
            return False
        if self._advise:
            # Buffers have not been put back, so that what a bad batch has left there says nothing of a skip.
            return Damage(self._plant.parameters(), self._plant.device, None).found()
        return self._snapshots.damaged()

    def _tell(self, intervention: Intervention, reason: str) -> None:
        self._trace.append(intervention)
        text = f"{intervention.sentence}{f' The reason: {reason}.' if reason else ''}"
        if intervention.answer == "abort" and not intervention.advised:
            raise GuardAbort(f"{text} {self._diagnosis(intervention.guard)}")
        warnings.warn(text, HomeostatWarning, stacklevel=2)

    def _diagnosis(self, gives_up: str) -> str:
        """Say what was tried before the run was given up by this guard."""
        tried = Counter((i.guard, i.answer) for i in self._trace.interventions if i.answer not in {"alarm", "abort"})
        told = ", ".join(f"{answer} by {guard!r} {count} times" for (guard, answer), count in tried.items())
        # One that gives up has not been asked for alarms: it would have gone back.
        if any(i.guard == gives_up and i.answer == "alarm" for i in self._trace.interventions):
            told += f"{', ' * bool(told)}to go back, without a snapshot to go back to"
        return f"Tried before: {told or 'nothing'}. Look at the data, the rate and the weights at that tick."
