"""A controller that tests its plant, tunes itself, and goes on as PID."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydantic import Field

from homeostat.dynamics.design import Rule, design
from homeostat.dynamics.identification import identify
from homeostat.dynamics.recording import Recording
from homeostat.dynamics.rules import Gains
from homeostat.errors import AnalysisError
from homeostat.laws.law import Decision, Input, Law, bounded
from homeostat.laws.pid import PID, PIDState
from homeostat.laws.relay_test import RelayTest, RelayTestState


class AutoTuneState(NamedTuple):
    """The test, what it recorded, and the controller.

    Attributes:
        test: state of the relay test.
        ticks: of the test's decisions.
        readings: at those.
        knobs: position until the next of those; one shorter while the test runs.
        gap: ticks since the last of those in which readings were passed over.
        gains: gain, integral and derivative time once tuned; empty before, and after a refusal.
        pid: state of the controller.
    """

    test: RelayTestState = RelayTestState()
    ticks: tuple[float, ...] = ()
    readings: tuple[float, ...] = ()
    knobs: tuple[float, ...] = ()
    gap: int = 0
    gains: tuple[float, ...] = ()
    pid: PIDState = PIDState()


class AutoTune(Law):
    """Performs a relay test, identifies the plant in it, tunes a PID and goes on as that PID, without a bump.

    The state holds the recorded test until the tuning, which takes up to a second once; a run cut anywhere
    goes on as if it had not been. Where the test was broken off, or its data do not support a model, the knob is
    held where it was before the test, and the term `refused` is 1: no loop is closed on a guess. Terms: those of the
    test; then those of the PID, with `gain`, `integral_time` and `derivative_time`.

    Attributes:
        test: the experiment; its amplitude is the authority.
        rule: see `homeostat.analysis.tune`.
        setpoint_weight: of the PID.
        log_error: compare logarithms, in test and control; a reading that has none is passed over.

    Source: K. J. Åström and T. Hägglund, Automatic tuning of simple regulators, Automatica 20 (1984).
    """

    test: RelayTest
    rule: Rule = "iae"
    setpoint_weight: float = Field(default=1.0, ge=0, le=1)
    log_error: bool = False

    @property
    def needs_setpoint(self) -> bool:
        """A controller always does."""
        return True

    @property
    def positive_setpoints(self) -> tuple[bool, ...]:
        """The one, with an error of logarithms."""
        return (self.log_error,)

    def init(self) -> AutoTuneState:
        """Return the state before the test."""
        return AutoTuneState()

    def update(self, state: AutoTuneState, given: Input) -> Decision:
        """Go on with the test, tune, or control."""
        # A loop without a setpoint must fail at once, not after the test.
        given.setpoints[0]
        if state.gains:
            return self._control(state, given)
        if state.test.phase in {"done", "aborted"}:
            ended = self.test.update(state.test, given)
            return ended._replace(state=state._replace(test=ended.state), terms={"refused": 1.0})
        (reading,) = given.readings
        if self.log_error:
            if reading <= 0:
                gap = state.gap + given.elapsed if state.ticks else 0
                return Decision((bounded(given.admitted[0]),), state._replace(gap=gap), {})
            reading = math.log(reading)
        elapsed = given.elapsed + state.gap
        step = self.test.update(state.test, given._replace(readings=(reading,), elapsed=elapsed))
        knobs = (*state.knobs, bounded(given.admitted[0])) if state.ticks else ()
        last = state.ticks[-1] if state.ticks else 0.0
        state = AutoTuneState(step.state, (*state.ticks, last + elapsed), (*state.readings, bounded(reading)), knobs)
        if step.state.phase == "done":
            return self._tuned(state, given, step)
        kept = AutoTuneState(step.state) if step.state.phase == "aborted" else state
        return step._replace(state=kept)

    def _tuned(self, state: AutoTuneState, given: Input, step: Decision) -> Decision:
        """Return the controller's first decision, or the refusal's."""
        try:
            found = tuned(state.ticks, state.readings, (*state.knobs, state.test.start), self.rule)
        except AnalysisError:
            return step._replace(state=AutoTuneState(state.test), terms={**step.terms, "refused": 1.0})
        # The controller departs from the position before the test, not from the relay's last level.
        begun = given._replace(admitted=step.command, moved=(True,))
        return self._control(AutoTuneState(state.test, gains=tuple(found)), begun)

    def _control(self, state: AutoTuneState, given: Input) -> Decision:
        decision = _pid(state.gains, self.setpoint_weight, self.log_error).update(state.pid, given)
        named = zip(Gains._fields, state.gains, strict=True)
        return decision._replace(state=state._replace(pid=decision.state), terms={**decision.terms, **dict(named)})


def tuned(ticks: tuple[float, ...], readings: tuple[float, ...], knobs: tuple[float, ...], rule: Rule) -> Gains:
    """Return the gains for a recorded test.

    Raises:
        AnalysisError: the data do not support a model.
    """
    every = int(np.median(np.diff(ticks)))
    fit = identify(Recording.of(ticks, readings, knobs))
    return design(fit.model, rule=rule, every=every, plausible=fit.plausible)


@lru_cache(maxsize=256)
def _pid(found: tuple[float, float, float], weight: float, log_error: bool) -> PID:
    gain, integral_time, derivative_time = found
    return PID(
        gain=gain,
        integral_time=integral_time,
        derivative_time=derivative_time,
        setpoint_weight=weight,
        log_error=log_error,
    )
