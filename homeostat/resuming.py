"""All that the next decisions depend on, as one state: returned, held against the run that it is for, put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from homeostat.errors import StateError
from homeostat.guarding import Guarding
from homeostat.monitoring import Monitoring
from homeostat.plant import Plant
from homeostat.runner import Runner
from homeostat.sensing import Senses
from homeostat.state import VERSION, require

Precedence = Literal["checkpoint", "recipe"]


class Resuming:
    """The state of a controller at work.

    Args:
        plant: the run.
        runners: its loops.
        senses: their sensors.
        monitoring: the metrics that are recorded.
        guards: what looks out for faults.
    """

    def __init__(
        self, plant: Plant, runners: Sequence[Runner], senses: Senses, monitoring: Monitoring, guards: Guarding
    ) -> None:
        self._plant, self._runners, self._guards = plant, runners, guards
        self._senses, self._monitoring = senses, monitoring

    def state_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "version": VERSION,
            "tick": self._plant.tick,
            "groups": self._groups(),
            "loops": {runner.name: runner.state_dict() for runner in self._runners},
            "senses": self._senses.state_dict(),
            **self._monitoring.state_dict(),
            "metrics": self._plant.metrics.state_dict(),
            "guards": self._guards.state_dict(),
        }

    def check(self, state: Mapping[str, Any], precedence: Precedence) -> None:
        """Refuse a state that is not whole, or of another run, before anything is changed.

        Raises:
            StateError: it is.
            ValueError: `precedence` is neither.
        """
        if precedence not in get_args(Precedence):
            msg = f"precedence must be 'checkpoint' or 'recipe'; got {precedence!r}. Choose what wins."
            raise ValueError(msg)
        if precedence == "recipe":
            require(state, ("tick",), "A saved state")
            return
        # Of older states the groups are not known.
        require(state, self.state_dict().keys() - {"groups"}, "A saved state")
        require(state["loops"], (), "The loops of a saved state")
        here, saved = {runner.name for runner in self._runners}, set(state["loops"])
        if here != saved:
            raise StateError(
                f"A state must be of the same loops; got {sorted(saved)} for {sorted(here)}. Use the saved recipe, "
                "or load with precedence='recipe'."
            )
        self._refuse_fewer_groups(state.get("groups", []))
        for runner in self._runners:
            runner.check(state["loops"][runner.name])
        self._senses.check(state["senses"])
        self._monitoring.check(state)
        if state["guards"] is not None:
            self._guards.check(state["guards"])

    def load_state_dict(self, state: Mapping[str, Any], precedence: Precedence, *, back: bool) -> None:
        """Continue from a state that has been checked; `back` within the same run."""
        self._plant.tick = state["tick"]
        if precedence == "recipe":
            return
        for runner in self._runners:
            runner.load_state_dict(state["loops"][runner.name], back=back)
        self._senses.load_state_dict(state["senses"])
        self._monitoring.load_state_dict(state)
        self._plant.metrics.load_state_dict(state["metrics"])
        if state["guards"] is not None:
            self._guards.load_state_dict(state["guards"], back=back)

    def load_or_leave(self, state: Mapping[str, Any], precedence: Precedence) -> None:
        """Continue from a state that has been checked, from all of it or from nothing.

        Raises:
            StateError: a part of it cannot be read.
        """
        before = self.state_dict()
        try:
            self.load_state_dict(state, precedence, back=False)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            self.load_state_dict(before, "checkpoint", back=True)
            msg = f"A saved state must be whole; got one with {error!r} in it. Load another checkpoint."
            raise StateError(msg) from error

    def _groups(self) -> list[list[int]]:
        """Return how many tensors the groups of each optimizer have: parts remember them by their place."""
        return [[len(group["params"]) for group in optimizer.param_groups] for optimizer in self._plant.optimizers]

    def _refuse_fewer_groups(self, saved: list[list[int]]) -> None:
        here = self._groups()
        short = len(here) < len(saved) or any(
            len(mine) < len(then) or any(a < b for a, b in zip(mine, then, strict=False))
            for mine, then in zip(here, saved, strict=False)
        )
        if short:
            msg = (
                f"The optimizers must have the parameter groups of the saved state; got {here} tensors in theirs for "
                f"{saved}. Add the groups again before loading, or load with precedence='recipe'."
            )
            raise StateError(msg)
