"""A loop at work on a plant: it looks, asks the law, moves the knobs, and says why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from homeostat.actuators.actuator import Actuator
from homeostat.bounds import outside, refuse_outside
from homeostat.closing import run_all
from homeostat.damping import Damping
from homeostat.errors import HomeostatError, StateError
from homeostat.laws.law import Decision, Input
from homeostat.loop import CoupledLoop
from homeostat.pace import Pace
from homeostat.plant import Plant
from homeostat.state import from_data, require, to_data
from homeostat.trace import Event, Record

# Who moves the knobs, and what a record says where it is not the law.
Hand = Literal["law", "operator", "nobody"]
_ASIDE: dict[Hand, tuple[str, ...]] = {"law": (), "operator": ("override",), "nobody": ("advised",)}


class Runner:
    """A loop at work: it keeps the law's state and the knobs' positions between decisions.

    Args:
        loop: what is carried out.
        name: unique among the controller's loops.
        plant: what it is carried out on.
        advise: only say what would be done.

    Raises:
        AttachError: the plant offers no such knob, or one that stands outside its limits.
    """

    def __init__(self, loop: CoupledLoop, name: str, plant: Plant, *, advise: bool = False) -> None:
        fitted = tuple(actuator.fitted(plant) for actuator in loop.actuators)
        self.loop = loop.model_copy(update={"actuators": fitted})
        self.name = name
        self._plant = plant
        self.memories: tuple[Any, ...] = ()
        try:
            for actuator in fitted:
                self.memories += (actuator.init(plant),)
            self.found = self.read()
            refuse_outside(fitted, self.found)
        except BaseException:
            self.release()
            raise
        self._law_state = loop.law.init()
        self._latched: dict[int, float] = {}
        self._positions: tuple[float, ...] | None = None
        # Until the law is asked, it is told that the knobs were found where they are.
        self._found = True
        self.delivered = self.found
        # The law hears of all ticks since it was last asked, and how many of them passed in holds: a schedule goes on
        # in them, an integral does not. The knob may use only those since the last decision, held or not.
        self._asked: int | None = None
        self._decided: int | None = None
        self._holds = 0
        self._saturated = 0
        self.pace = Pace(loop.every, loop.rest)
        self._damping = Damping(loop.law, back_off=loop.back_off)
        self._hand: Hand = "nobody" if advise else "law"
        self.alarms: list[Event] = []

    def decide(self, fresh: Mapping[int, float]) -> Record | None:
        """Take new readings by position; decide once every reading of the loop has been seen."""
        tick = self._plant.tick
        if not fresh and tick % self.pace.every == 0:
            # Without readings the knobs keep still, and the loop may rest.
            self.pace.heed(tick, self._positions or self._coordinates(self.delivered))
        self._latched.update(fresh)
        if not fresh or len(self._latched) < len(self.loop.observers):
            return None
        readings = tuple(self._latched[i] for i in range(len(self.loop.observers)))
        positions, moved = self._look()
        reasons = _ASIDE[self._hand] or (("external",) if any(moved) and not self._found else ())
        elapsed = self._ticks_since(self._asked)
        # A law that was never asked has no time to leave out.
        since = self._ticks_since(self._decided)
        held = (max(0, elapsed - since) if self._holds else 0) + self.pace.slept(since)
        given = Input(readings, self.loop.wanted(tick), positions, moved, elapsed, held)
        decision = self._ask(given)
        if decision is None:
            record = self._hold(given, reasons)
        else:
            self._law_state, self._holds, self._asked, self._found = decision.state, 0, tick, False
            record = self._move(decision.command, given, decision.terms, self._backed_off(given) + reasons)
        self._decided = tick
        self.pace.heed(tick, None if decision is None else self._positions)
        return record

    def contain(self) -> None:
        """Put knobs that something else has moved outside their limits back to where they were left: it is a fault."""
        found = outside(self.loop.actuators, self.read()) if self._hand != "nobody" else []
        if found:
            self.delivered = self.write(self.delivered)
            self._alarm(f"Loop {self.name!r}: {' '.join(found)} Put back; look for what has moved it.")

    def override(self, values: tuple[float, ...]) -> None:
        """Set the knobs to `values`, in their own units, and keep them there; the law only watches, and follows them.

        Raises:
            HomeostatError: `values` do not lie within the limits, or the controller only advises.
        """
        if self._hand == "nobody":
            msg = (
                "A knob must be moved by a controller that acts; got one that only advises. Build it with advise=False."
            )
            raise HomeostatError(msg)
        limits = [(a.low, a.high) for a in self.loop.actuators]
        if len(values) != len(limits) or not all(
            low <= value <= high for value, (low, high) in zip(values, limits, strict=True)
        ):
            shown = ", ".join(f"[{low:g}, {high:g}]" for low, high in limits)
            msg = f"Knobs of loop {self.name!r} must lie in {shown}; got {values}. Stay inside, or widen the limits."
            raise HomeostatError(msg)
        self._hand = "operator"
        self.delivered = self.write(values)
        self._positions = self._coordinates(self.delivered)

    def hand_back(self) -> bool:
        """Let the law depart from where the knobs are, not from what it would have done; False where no hand is on."""
        if self._hand != "operator":
            return False
        self._hand, self._found = "law", True
        return True

    def depart(self, values: tuple[float, ...]) -> None:
        """Put the knobs at `values`, in their units, or back to where a hand holds them; the law goes on from there."""
        if self._hand != "nobody":
            self.delivered = self.write(values if self._hand == "law" else self.delivered)
            self._positions = self._coordinates(self.delivered)
            self._found = True

    def write(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Set the knobs to `values`, in their own units; returns what was delivered."""
        return tuple(a.write(self._plant, memory, v) for (a, memory), v in zip(self._pairs(), values, strict=True))

    def read(self) -> tuple[float, ...]:
        """Return where the knobs are, in their own units."""
        return tuple(actuator.read(self._plant, memory) for actuator, memory in self._pairs())

    def restore(self) -> None:
        """Put the knobs back to where they were found, whoever moved them since."""
        run_all(partial(self._put_back, *pair, value) for pair, value in zip(self._pairs(), self.found, strict=True))

    def release(self) -> None:
        """Remove whatever besides the knobs' values was placed in the plant."""
        placed = zip(self.loop.actuators, self.memories, strict=False)
        run_all(partial(actuator.release, self._plant, memory) for actuator, memory in placed)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next decision depends on, as plain data."""
        return {
            "law": type(self.loop.law).__name__,
            "law_state": to_data(self._law_state),
            "actuators": self._kinds(),
            "memories": [to_data(a.save(self._plant, m)) for a, m in self._pairs()],
            "latched": [[i, reading] for i, reading in self._latched.items()],
            "positions": to_data(self._positions),
            "found": self._found,
            "overridden": self._hand == "operator",
            "delivered": to_data(self.delivered),
            "asked": self._asked,
            "decided": self._decided,
            "holds": self._holds,
            "saturated": self._saturated,
            "pace": self.pace.save(),
            "damping": self._damping.save(),
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that is not whole, of another law or of other knobs, before anything is changed.

        Raises:
            StateError: it is.
        """
        here = self.state_dict()
        require(state, here, f"The state of loop {self.name!r}")
        # Positions are kept in the actuators' coordinates.
        for what, saved, mine in (
            ("the law", state["law"], here["law"]),
            ("the actuators", ", ".join(state["actuators"]), ", ".join(here["actuators"])),
            ("as many knobs as", len(state["delivered"]), len(here["delivered"])),
            ("as many memories as", len(state["memories"]), len(here["memories"])),
        ):
            if saved != mine:
                msg = (
                    f"Loop {self.name!r} must resume with {what} it was saved with; got {saved} for {mine}. Use the "
                    "saved recipe, or load with precedence='recipe'."
                )
                raise StateError(msg)
        from_data(self.loop.law.init(), state["law_state"])

    def load_state_dict(self, state: Mapping[str, Any], *, back: bool = False) -> None:
        """Continue from `state_dict`, knobs included if this moves any.

        Args:
            state: as it was.
            back: in a run; then a hand on the knobs stays, and holds what it held.
        """
        self._law_state = from_data(self.loop.law.init(), state["law_state"])
        self._latched = {int(i): reading for i, reading in state["latched"]}
        self._positions = None if state["positions"] is None else tuple(state["positions"])
        if self._hand != "nobody" and not back:
            self._hand = "operator" if state["overridden"] else "law"
        held = self._hand == "operator"
        self._found = state["found"] or held != state["overridden"]
        self._asked, self._decided = state["asked"], state["decided"]
        self._holds, self._saturated = state["holds"], state["saturated"]
        self.pace.load(state["pace"])
        self._damping.load(state["damping"])
        delivered = self.delivered if back and held else tuple(state["delivered"])
        writes = self._hand != "nobody" and (back or self._positions is not None)
        self.delivered = self.write(delivered) if writes else self.read()
        for (actuator, memory), saved in zip(self._pairs(), state["memories"], strict=True):
            if saved is not None:
                actuator.load(self._plant, memory, saved)

    def _pairs(self) -> list[tuple[Actuator, Any]]:
        return list(zip(self.loop.actuators, self.memories, strict=True))

    def _put_back(self, actuator: Actuator, memory: Any, value: float) -> None:
        if actuator.read(self._plant, memory) != value:
            actuator.write(self._plant, memory, value)

    def _kinds(self) -> list[str]:
        return [f"{type(actuator).__name__} ({actuator.scale})" for actuator in self.loop.actuators]

    def _ticks_since(self, tick: int | None) -> int:
        return self.loop.every if tick is None else max(1, self._plant.tick - tick)

    def _ask(self, given: Input) -> Decision | None:
        """Return what the law answers; None where it cannot be asked, or its answer is no number."""
        if not all(math.isfinite(reading) for reading in given.readings):
            return None
        decision = self.loop.law.update(self._law_state, self._damping.tell(given))
        return decision if all(math.isfinite(c) for c in decision.command) else None

    def _look(self) -> tuple[tuple[float, ...], tuple[bool, ...]]:
        """Return where the knobs are, and which of them something else has moved since the last decision."""
        values = self.read()
        taken = self._found or self._hand != "law"
        moved = tuple(
            taken or not math.isclose(value, delivered, rel_tol=1e-6, abs_tol=1e-12)
            for value, delivered in zip(values, self.delivered, strict=True)
        )
        # A step of a quantised knob is judged from where it stands, or it would jump back.
        self.delivered = tuple(v if m else d for v, m, d in zip(values, moved, self.delivered, strict=True))
        here = self._coordinates(values)
        positions = tuple(h if m else k for h, m, k in zip(here, moved, self._positions or here, strict=True))
        return positions, moved

    def _coordinates(self, values: tuple[float, ...]) -> tuple[float, ...]:
        # A knob that something else moved outside its limits counts as standing at the nearer one.
        return tuple(a.coordinate(min(max(v, a.low), a.high)) for a, v in zip(self.loop.actuators, values, strict=True))

    def _move(
        self, command: tuple[float, ...], given: Input, terms: Mapping[str, float], reasons: tuple[str, ...]
    ) -> Record:
        ticks = self._ticks_since(self._decided)
        damped = self._damping.carry_out(command, given.admitted)
        knobs = zip(self.loop.actuators, damped, given.admitted, strict=True)
        admissions = [actuator.admit(wanted, position, ticks) for actuator, wanted, position in knobs]
        admitted = tuple(admission.position for admission in admissions)
        limits = tuple(limit for admission in admissions for limit in admission.limits)
        if self._hand == "law":
            self._positions = admitted
            limits += self._deliver(admitted) + self._watch_saturation(limits, given)
        else:
            # Followed, so that the law goes on from where the knobs are once it may.
            self._positions = given.admitted
        return self._record(given, self._values(command), admitted, tuple(dict.fromkeys(limits + reasons)), terms)

    def _deliver(self, positions: tuple[float, ...]) -> tuple[str, ...]:
        """Bring the knobs to `positions`, or to the steps nearest to them; says whether these differ."""
        knobs = zip(self.loop.actuators, positions, self.delivered, strict=True)
        steps = tuple(actuator.quantise(position, actuator.coordinate(d)) for actuator, position, d in knobs)
        values = self._values(steps)
        # An unmoved knob is not written, so that an idle loop leaves no trace in the plant; a logarithm and back
        # may change the last bit.
        if not all(math.isclose(v, d, rel_tol=1e-12) for v, d in zip(values, self.delivered, strict=True)):
            self.delivered = self.write(values)
        return ("quantised",) if steps != positions else ()

    def _hold(self, given: Input, reasons: tuple[str, ...]) -> Record:
        """Answer a reading that is no number: the law does not see it, the knobs stay."""
        self._holds += 1
        self._positions = given.admitted
        # What has moved by the time that the law is asked again, it must hear of then.
        self._found = self._found or any(given.moved)
        reasons = ("held", *reasons)
        if self._holds == self.loop.patience:
            self._alarm(
                f"Loop {self.name!r} has been held for {self._holds} decisions by readings {given.readings}; its knobs "
                f"{'go to `safe`' if self.loop.safe else 'stay where they are'}. "
                f"Look for the source of the non-finite values{'' if self.loop.safe else ', or set `safe`'}."
            )
            reasons += ("alarm",)
        if self.loop.safe and self._holds >= self.loop.patience and self._hand == "law":
            self._found = True
            safe = tuple(a.coordinate(v) for a, v in zip(self.loop.actuators, self.loop.safe, strict=True))
            return self._move(safe, given, {}, (*reasons, "safe"))
        return self._record(given, self._values(given.admitted), given.admitted, reasons, {})

    def _values(self, positions: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(a.value(p) for a, p in zip(self.loop.actuators, positions, strict=True))

    def _record(
        self,
        given: Input,
        commands: tuple[float, ...],
        admitted: tuple[float, ...],
        limits: tuple[str, ...],
        terms: Mapping[str, float],
    ) -> Record:
        knobs = (commands, self._values(admitted), self.delivered)
        return Record(self._plant.tick, self.name, given.readings, given.setpoints, *knobs, limits, terms)

    def _watch_saturation(self, limits: tuple[str, ...], given: Input) -> tuple[str, ...]:
        at_limit = [limit for limit in limits if limit in {"low", "high"}]
        self._saturated = self._saturated + 1 if at_limit else 0
        if self._saturated != self.loop.patience:
            return ()
        bounds = ", ".join(f"{type(a).__name__} in [{a.low:g}, {a.high:g}]" for a in self.loop.actuators)
        self._alarm(
            f"Loop {self.name!r} has stood at its {at_limit[0]} limit for {self._saturated} decisions ({bounds}), "
            f"readings {given.readings}, setpoints {given.setpoints}. Widen the limit, or choose a setpoint in reach."
        )
        return ("alarm",)

    def _backed_off(self, given: Input) -> tuple[str, ...]:
        """Say whether the loop carries out a part of the law's moves only, and whether that is new."""
        before = self._damping.share
        why = self._damping.watch(given) if self._hand == "law" else ""
        if why:
            self._alarm(
                f"Loop {self.name!r} oscillates: {why}. Its knobs now go {self._damping.share:g} of the way that "
                "its law asks for. Lower its gain, or raise its integral time."
            )
        return ("backed off",) * (before < 1) + ("alarm",) * bool(why)

    def _alarm(self, text: str) -> None:
        self.alarms.append(Event(self._plant.tick, text))
