"""How answers escalate when a fault comes again, and when a run gives up."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from homeostat.guards.guard import Answer
from homeostat.part import Part

MILD = frozenset({"cut", "skip", "reset"})


class Rung(NamedTuple):
    """What is to be done.

    Attributes:
        answer: what.
        back: of a rollback, how many good snapshots are passed over, from the newest.
        replay: of a rollback, whether the data go back too, where they can.
        reason: of an abort, why.
    """

    answer: Answer
    back: int = 0
    replay: bool = False
    reason: str = ""


class LadderState(NamedTuple):
    """How far an incident has gone: findings that follow each other.

    Attributes:
        until: last tick at which a finding is still part of it; None outside of an incident.
        mild: cuts, skips and resets since it began or the run last went back.
        rollbacks: how often the run went back in it.
        moments: when interventions took place, in steps that were begun, which no rollback sets back.
    """

    until: int | None = None
    mild: int = 0
    rollbacks: int = 0
    moments: tuple[int, ...] = ()


class Ladder(Part):
    """Escalates from a guard's own answer: to going back, to going back further and leaving data out, to giving up.

    A fault is in the data, and then the next step is well again without it; or in the weights, and then it is there
    in every step until they are put back. So the mild answers come first, `patience` of them in an incident. Then the
    run goes back to the last good snapshot, and takes the same steps again where the data can go back. Where the fault
    comes again all the same it is in the data, since the weights were good: up to `batches` mild answers follow. Then
    the run goes back further, and leaves the data in between out. After `rollbacks` of these, or more than `budget`
    interventions in `window` steps, it is aborted.

    An incident is over when `calm` ticks have passed without a finding.

    Attributes:
        patience: mild answers before the run goes back for the first time.
        batches: mild answers between two rollbacks.
        rollbacks: in one incident, before it is aborted.
        calm: ticks.
        budget: interventions of all guards.
        window: steps, skipped ones included, in which the budget may be used up.
    """

    patience: int = Field(default=3, ge=0)
    batches: int = Field(default=30, ge=0)
    rollbacks: int = Field(default=3, ge=0)
    calm: int = Field(default=200, ge=1)
    budget: int = Field(default=100, ge=1)
    window: int = Field(default=1000, ge=1)

    def climb(
        self, state: LadderState, first: Answer, *, tick: int, moment: int, depth: int, broken: bool
    ) -> tuple[Rung, LadderState]:
        """Return what is done about a finding, and the state after it.

        Args:
            state: as it was.
            first: what the guard answers with at first.
            tick: when.
            moment: the same in steps that were begun.
            depth: good snapshots there are to go back to.
            broken: weights or buffers are not finite, so that a mild answer would not help.
        """
        if first == "alarm":
            return Rung("alarm"), state
        if state.until is None or tick > state.until:
            state = LadderState(moments=state.moments)
        moments = tuple(m for m in state.moments if m > moment - self.window)
        # In a replay the tick is set back; the incident lasts until the place of the fault is well behind.
        until = max(tick + self.calm, state.until or 0)
        state = state._replace(until=until, moments=(*moments, moment))
        reason = self._gives_up(state, first)
        if reason:
            return Rung("abort", reason=reason), state
        patience = self.batches if state.rollbacks else self.patience
        if first in MILD and (depth == 0 or (state.mild < patience and not broken)):
            return Rung(first), state._replace(mild=state.mild + 1)
        if depth == 0:
            return Rung("alarm", reason="there is no snapshot to go back to"), state
        if state.rollbacks == self.rollbacks:
            return Rung("abort", reason=f"the fault came again after {self.rollbacks} rollbacks"), state
        rung = Rung("rollback", back=min(state.rollbacks, depth - 1), replay=state.rollbacks == 0)
        return rung, state._replace(mild=0, rollbacks=state.rollbacks + 1)

    def _gives_up(self, state: LadderState, first: Answer) -> str:
        if first == "abort":
            return "the guard asks for it"
        over = len(state.moments) > self.budget
        return f"more than {self.budget} interventions in {self.window} steps" if over else ""
