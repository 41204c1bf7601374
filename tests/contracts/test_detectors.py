"""One suite for every detector: what a guard may rely on whichever detector it holds."""

from __future__ import annotations

import inspect
import json
import math
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.guards import detectors
from homeostat.guards.detector import Detector, Finding
from homeostat.guards.detectors import Divergence, NonFinite, Oscillation, OutOfRange, Shift, Spike, Stall
from homeostat.part import Part
from homeostat.state import from_data, to_data

EXAMPLES: dict[type[Detector], list[Detector]] = {
    Divergence: [Divergence(window=4, share=0.1), Divergence(window=1, rise=1.1)],
    NonFinite: [NonFinite()],
    Oscillation: [Oscillation(halves=4, tolerance=0.9)],
    OutOfRange: [OutOfRange(high=100.0, patience=3), OutOfRange(low=0.0), OutOfRange(low=-0.5, high=1e30)],
    Shift: [Shift(window=6, fewest=3, threshold=3.0), Shift(log=False, window=6, fewest=3, threshold=0.5, allowance=0)],
    Spike: [
        Spike(),
        Spike(window=5, fewest=3, threshold=1e-3, rise=1.01, least=0),
        Spike(window=8, fewest=4, log=False),
    ],
    Stall: [Stall(ticks=10, window=3)],
}
NAMED = {f"{kind.__name__}.{i}": part for kind, parts in EXAMPLES.items() for i, part in enumerate(parts)}
every = pytest.mark.parametrize("name", NAMED)

# Why it is not so for one that lacks a property.
ABSOLUTE = {**dict.fromkeys(("OutOfRange", "Oscillation"), "its limits are in the reading's units")}
PATIENT = {
    **dict.fromkeys(("Stall", "Oscillation"), "no reading is at fault by itself, it is told where a look is due")
}
LOSSES = {"OutOfRange.0": "the limit is below some levels", "Stall": "it is not to stay the same"}


def without(excused: dict[str, str]) -> pytest.MarkDecorator:
    names = [name for name in NAMED if not {name, name.split(".")[0]} & set(excused)]
    return pytest.mark.parametrize("name", names)


READINGS = st.one_of(
    st.floats(0.5, 2.0),
    st.floats(1e-3, 1e3),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -1.0, 1e-300, 1e300, math.nan, math.inf, -math.inf]),
)
COURSE = st.lists(st.tuples(READINGS, st.integers(1, 40)), max_size=15)


def run(detector: Detector, course: Iterable[tuple[float, int]], state: Any = None) -> tuple[list[Finding], Any]:
    state = detector.init() if state is None else state
    found = []
    for reading, elapsed in course:
        finding, state = detector.update(state, reading, elapsed)
        found.append(finding)
    return found, state


def known() -> set[type[Part]]:
    return {
        kind
        for kind in Part.kinds.values()
        if issubclass(kind, Detector) and kind.__module__.startswith("homeostat.") and not inspect.isabstract(kind)
    }


def test_every_detector_has_an_example_and_is_exported() -> None:
    assert known() == set(EXAMPLES)
    assert {kind.__name__ for kind in EXAMPLES} == set(detectors.__all__)
    assert detectors.__all__ == sorted(detectors.__all__)


@every
def test_json_brings_back_an_equal_part(name: str) -> None:
    assert Detector.model_validate_json(NAMED[name].model_dump_json()) == NAMED[name]


@every
@given(before=COURSE, after=COURSE)
@settings(max_examples=10)
def test_cut_anywhere_and_resumed_it_finds_the_same(name: str, before: Any, after: Any) -> None:
    detector = NAMED[name]
    _, state = run(detector, before)
    restored = from_data(detector.init(), json.loads(json.dumps(to_data(state))))
    kept = repr(state)
    assert repr(run(detector, after, restored)) == repr(run(detector, after, state))
    assert repr(state) == kept
    assert detector.screen(restored) == detector.screen(state)


@every
@given(course=COURSE, bad=st.sampled_from([math.nan, math.inf, -math.inf]))
@settings(max_examples=10)
def test_what_is_not_finite_is_faulty_and_not_remembered(name: str, course: Any, bad: float) -> None:
    detector = NAMED[name]
    _, state = run(detector, course)
    finding, after = detector.update(state, bad)
    least, greatest = detector.screen(state)
    assert finding.faulty
    assert finding.text
    assert repr(detector.rest(after)) == repr(detector.rest(state))
    assert not least <= bad <= greatest


@without(PATIENT)
@given(course=COURSE, reading=READINGS, elapsed=st.integers(1, 1000))
@settings(max_examples=25)
def test_a_reading_within_the_screen_is_not_faulty(name: str, course: Any, reading: float, elapsed: int) -> None:
    detector = NAMED[name]
    _, state = run(detector, course)
    least, greatest = detector.screen(state)
    for x in (reading, least, greatest, 0.5 * least + 0.5 * greatest):
        finding, _ = detector.update(state, x, elapsed)
        assert not (finding.faulty and least <= x <= greatest)
        assert finding.faulty == bool(finding.text)
        assert not math.isnan(finding.score)


@every
@given(course=COURSE, reading=READINGS)
@settings(max_examples=10)
def test_a_faulty_reading_does_not_enter_what_is_normal(name: str, course: Any, reading: float) -> None:
    """After the evidence is forgotten nothing is left of it."""
    detector = NAMED[name]
    _, state = run(detector, course)
    finding, after = detector.update(state, reading)
    if finding.faulty:
        assert repr(detector.rest(after)) == repr(detector.rest(state))


@every
@given(course=COURSE)
@settings(max_examples=10)
def test_at_rest_there_is_no_evidence(name: str, course: Any) -> None:
    detector = NAMED[name]
    _, state = run(detector, course)
    assert repr(detector.rest(detector.rest(state))) == repr(detector.rest(state))


@without(LOSSES)
@pytest.mark.parametrize("level", [1e-30, 0.7, 1.0, 2.5e7])
def test_a_constant_reading_is_never_faulty(name: str, level: float) -> None:
    found, state = run(NAMED[name], [(level, 1 + i % 7) for i in range(300)])
    assert not any(finding.faulty for finding in found)
    assert not NAMED[name].update(NAMED[name].rest(state), level)[0].faulty


@without(ABSOLUTE)
@given(seed=st.integers(0, 10**6), power=st.integers(-20, 20))
@settings(max_examples=20)
def test_units_do_not_matter(name: str, seed: int, power: int) -> None:
    # Drawn without ties, which rounding would break one way or the other.
    course = [(math.exp(random.Random(seed + i).gauss(0, 2)), 1) for i in range(50)]
    plain, _ = run(NAMED[name], course)
    scaled, _ = run(NAMED[name], [(x * 2.0**power, t) for x, t in course])
    assert [finding.faulty for finding in plain] == [finding.faulty for finding in scaled]
