"""Properties of control: what the suite of every law (test_laws.py) asks of those that steer, filter or combine.

A law that lacks a property is named in that property's table with the reason. The table is held to the truth: what
is excused must fail. `NAMED` gives the n-th example of a kind as "Kind.n"; a table may name the kind or one example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from homeostat import CoupledLoop
from homeostat import nn as hnn
from homeostat.actuators import Dial
from homeostat.laws import Input, Law
from homeostat.observers import Loss
from homeostat.plant import Plant
from homeostat.runner import Runner
from tests.contracts.test_laws import EXAMPLES
from tests.contracts.units import in_units, is_filter

NAMED = {f"{kind.__name__}.{i}": law for kind, laws in EXAMPLES.items() for i, law in enumerate(laws)}
every_law = pytest.mark.parametrize("name", NAMED)


def moderate(numbers: object) -> bool:
    """Whether no number in a law's fields is at the end of its range, where the arithmetic saturates."""
    if isinstance(numbers, dict):
        return all(map(moderate, numbers.values()))
    if isinstance(numbers, list):
        return all(map(moderate, numbers))
    return not isinstance(numbers, float) or numbers == 0 or 1e-6 < abs(numbers) < 1e6


# Units and limits mean nothing to a gain of 1e100: such examples are for the runner and for test_laws.py.
MODERATE = [name for name, law in NAMED.items() if moderate(law.model_dump(mode="json"))]
every_moderate_law = pytest.mark.parametrize("name", MODERATE)

LOGARITHMIC = {"LogIntegrator.0", "LogIntegrator.1", "PID.3", "DeadBand.1"}
FILTER = "a filter: its command is a reading or made of one, not a position of the knob"


def table(reason: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


def hold(check: Callable[[Law], None], name: str, excused: Mapping[str, str]) -> None:
    """Run the check; where the law is excused, make sure that it needs to be."""
    if {name, name.split(".", maxsplit=1)[0]} & set(excused):
        with pytest.raises(AssertionError):
            check(NAMED[name])
    else:
        check(NAMED[name])


def fed(
    law: Law,
    readings: list[float],
    *,
    setpoint: float = 1.0,
    start: float = 0.0,
    limit: float = math.inf,
    units: tuple[float, float] = (1.0, 1.0),
    turned: float = 0.0,
) -> np.ndarray:
    """Positions (decisions, knobs) of knobs that follow the law within +-limit, every reading being the same.

    Readings and setpoints are multiplied by the first of `units`, positions by the second. At the last decision
    something else has moved the knobs by `turned`, and the command is returned as it is.
    """
    n, m = law.shape
    state, out = law.init(), []
    position = (start * units[1],) * m
    for i, reading in enumerate(readings):
        last = i == len(readings) - 1
        if last and turned:
            position = tuple(p + turned for p in position)
        goals = (setpoint * units[0],) * n
        seen = Input((reading * units[0],) * n, goals, position, (i == 0 or (last and turned != 0),) * m, 1)
        command, state, _ = law.update(state, seen)
        position = tuple(min(max(c, -limit), limit) for c in command)
        out.append(position)
    return np.array(out)


WANDER = (0.7 * np.exp(np.random.default_rng(11).normal(size=40).cumsum() * 0.3)).tolist()


# ---- by the real runner ----

NASTY = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324, 0.0, 1.0]),
    st.floats(allow_nan=True, allow_infinity=True),
)
LOW, HIGH, SLEW = 0.25, 3.0, 0.5


def runner(law: Law, scale: str) -> tuple[Runner, Plant]:
    n, m = law.shape
    model = nn.ModuleDict({f"k{i}": hnn.Dial(1.0) for i in range(m)} | {"body": nn.Linear(1, 1)})
    plant = Plant(model, (SGD(model.parameters(), lr=0.1),))
    loop = CoupledLoop(
        observers=tuple(Loss(metric=f"m{i}") for i in range(n)),
        law=law,
        actuators=tuple(Dial(dials=f"k{i}", low=LOW, high=HIGH, slew=SLEW, scale=scale) for i in range(m)),
        setpoints=(1.0,) * n,
        every=1,
    )
    return Runner(loop, "r", plant), plant


@every_law
@for_all(data=st.data(), scale=st.sampled_from(["linear", "log"]))
@settings(max_examples=10)
def test_whatever_is_read_the_runner_admits_within_limits_and_slew(name: str, data: st.DataObject, scale: str) -> None:
    law = NAMED[name]
    n = law.shape[0]
    loop, plant = runner(law, scale)
    actuator = loop.loop.actuators[0]
    before, last = np.full(law.shape[1], actuator.coordinate(1.0)), -1
    for pause in data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=10)):
        plant.tick += pause
        readings = data.draw(st.tuples(*[NASTY] * n))
        record = loop.decide(dict(enumerate(readings)))
        assert record is not None
        assert ("held" in record.limits) == (not all(map(math.isfinite, readings)))
        assert all(map(math.isfinite, record.commands))
        assert all(LOW * (1 - 1e-9) <= value <= HIGH * (1 + 1e-9) for value in record.admitted)
        now = np.array([actuator.coordinate(value) for value in record.admitted])
        assert abs(now - before).max() <= SLEW * (plant.tick - last if last >= 0 else 1) + 1e-9
        before, last = now, plant.tick


# ---- no bump ----

BUMPS = {
    **table(FILTER, "EMA", "Affine", "DeadBand", "Median", "Kalman", "CUSUM", "Chain.1", "SlewLimit"),
    **table("its first step is a step like any other", "AIMD", "LossRatchet", "SignIntegrator.0"),
    **table("without integral action it is proportional about the position found", "PID.0", "Cascade.1"),
    "Schedule": "it is where its course starts",
    "Threshold": "a reading beyond a threshold switches at once",
}


@every_law
def test_a_law_starts_where_the_knob_is(name: str) -> None:
    def check(law: Law) -> None:
        for reading in (0.3, 1.0, 5.0):
            assert (fed(law, [reading], start=0.7) == 0.7).all()

    hold(check, name, BUMPS)


TURNS = {
    **table(FILTER, "EMA", "Affine", "DeadBand", "Median", "Kalman", "CUSUM"),
    **table("its model predicts what the new position will do", "SmithPredictor.0", "StateFeedback.0"),
    "AIMD.0": "its steps are shares of the position",
    "Schedule": "it overwrites what something else did",
    "Threshold": "a reading beyond a threshold switches at once",
}


@every_moderate_law
def test_a_knob_that_something_else_moved_is_taken_from_where_it_is(name: str) -> None:
    """Turned farther by one, the knob ends farther by one: the law's own step is the same from anywhere."""

    def check(law: Law) -> None:
        for end in (5, 20, 31, 40):
            near, far = (fed(law, WANDER[:end], start=0.5, turned=turned)[-1] for turned in (1.0, 2.0))
            assert far - near == pytest.approx(1.0, abs=1e-9)

    hold(check, name, TURNS)


# ---- holds ----

PASSING = {
    "Schedule": "it is where it would be without the hold",
    **table("its experiment goes by the clock", "StepTest", "AutoTune", "ExtremumSeeking.0"),
    **table("in a hold its model comes to rest", "SmithPredictor.0", "StateFeedback.0"),
    "SelfTuning.0": "after a pause it takes its own last moves, which dead time hides, as done",
    "DeadBand.1": "after its settling time a low reading is passed on no more",
}


@every_moderate_law
def test_a_hold_is_not_made_up_for(name: str) -> None:
    """After a hold of a thousand ticks the knob goes no farther than it would have gone without it."""

    def check(law: Law) -> None:
        n, m = law.shape
        for reading in (0.03, 1.7, 5.0):
            state, position = law.init(), (0.5,) * m
            for i in range(12):
                seen = Input((reading,) * n, (1.0,) * n, position, (i == 0,) * m, 1)
                near = np.subtract(law.update(state, seen).command, position)
                far = np.subtract(law.update(state, seen._replace(elapsed=1001, held=1000)).command, position)
                assert (abs(far) <= abs(near) * (1 + 1e-9) + 1e-9).all() or i == 0
                position, state, _ = law.update(state, seen)

    hold(check, name, PASSING)


# ---- limits ----

DEEP = 1.5  # the limit on either side; the setpoint 1 lies within for the filters that answer with it
MOST = 100  # decisions that any law may take to leave a limit

WINDUP = {
    **table("it drives no knob to a limit", "Hold", "RelayTest", "StepTest", "AutoTune", "ExtremumSeeking"),
    **table("it does not follow a reading that comes back", "Plateau", "Schedule"),
    "Kalman.2": "without drift it is the mean of all readings",
    **table("it compares a reading with the last one only", "LossRatchet", "Chain.1"),
    **table("a law in it wants the limit for a reading of its own", "Select"),
}


@every_moderate_law
def test_it_leaves_a_limit_in_bounded_time_however_long_it_was_there(name: str) -> None:
    def check(law: Law) -> None:
        readings = (math.exp(-3), math.exp(5)) if name in LOGARITHMIC else (-3.0, 5.0)
        waits = {held: [left(law, a, b, held) for a, b in (readings, readings[::-1])] for held in (300, 1500)}
        assert any(wait is not None for wait in waits[300])
        assert all(wait is None or wait <= MOST for pair in waits.values() for wait in pair)

    hold(check, name, WINDUP)


def left(law: Law, wrong: float, back: float, held: int) -> int | None:
    """Decisions until every knob has left the limit that `held` wrong readings drove it to; None if none did."""
    path = fed(law, [wrong] * held + [back] * (MOST + 1), limit=DEEP)
    at = abs(path[held - 1]) >= DEEP
    if not at.any():
        return None
    moved = (path[held:, at] != path[held - 1, at]).all(axis=1)
    return int(np.argmax(moved)) if moved.any() else MOST + 1


# ---- rest ----


@pytest.mark.parametrize("name", [name for name, law in NAMED.items() if "dead_band" in type(law).model_fields])
@for_all(st.lists(st.floats(-0.499, 0.499), min_size=1, max_size=20), st.floats(-5, 5))
@settings(max_examples=20)
def test_nothing_moves_within_the_dead_band(name: str, errors: list[float], start: float) -> None:
    law = NAMED[name].model_copy(update={"dead_band": 0.5} | ({"lead": 0.0} if hasattr(NAMED[name], "lead") else {}))
    readings = [math.exp(e) if name in LOGARITHMIC else 1.0 + e for e in errors]
    assert (fed(law, readings, start=start) == start).all()


# ---- symmetry and units ----

LOPSIDED = {
    **table("it has a good direction and a bad one", "AIMD", "LossRatchet", "Plateau", "Select", "Chain.1"),
    **table("its numbers differ between the two sides", "DeadBand", "Threshold", "Affine", "Schedule"),
    **table("a test steps one way first", "RelayTest", "StepTest", "AutoTune", "ExtremumSeeking"),
    "GainSchedule": "its gains follow a reading, which is mirrored too",
}


@every_moderate_law
def test_mirrored_readings_give_mirrored_commands(name: str) -> None:
    """Bit for bit; of laws on logarithms the reciprocal readings, to rounding."""

    def check(law: Law) -> None:
        plain = fed(law, WANDER, setpoint=1.5, start=0.5)
        if name in LOGARITHMIC:
            mirrored = fed(law, [1 / r for r in WANDER], setpoint=1 / 1.5, start=-0.5)
            np.testing.assert_allclose(mirrored, -plain, rtol=1e-9, atol=1e-9)
        else:
            assert np.array_equal(fed(law, [-r for r in WANDER], setpoint=-1.5, start=-0.5), -plain)

    hold(check, name, LOPSIDED)


@every_moderate_law
def test_units_do_not_matter(name: str) -> None:
    """In other units of readings and knobs, by powers of two so that rounding is alike, the same law does the same."""

    law = NAMED[name]
    units = (8.0, 8.0) if is_filter(law) else (8.0, 0.25)
    plain = fed(law, WANDER, setpoint=1.5, start=0.5)
    scaled = fed(in_units(law, *units), WANDER, setpoint=1.5, start=0.5, units=units)
    np.testing.assert_allclose(scaled, plain * units[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("excused", [BUMPS, TURNS, PASSING, WINDUP, LOPSIDED])
def test_only_laws_that_exist_are_excused(excused: dict[str, str]) -> None:
    assert set(excused) <= {*NAMED, *(kind.__name__ for kind in EXAMPLES)}


def test_every_kind_has_a_moderate_example() -> None:
    assert {name.split(".")[0] for name in MODERATE} == {kind.__name__ for kind in EXAMPLES}
