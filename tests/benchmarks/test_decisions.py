"""The cost of decisions is taken from loops that decide, and fitted by a line."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from benchmarks.decisions import COUNTS, Run, course, fit, laws
from homeostat.laws import PID


def test_a_law_is_asked_again_what_it_was_asked():
    law = PID(gain=-0.5, integral_time=20)
    asked = course(law)
    assert len(asked) == 200
    for (state, given), (after, _) in pairwise(asked):
        assert law.update(state, given).state == after


def test_every_loop_of_the_run_decides_at_every_tick():
    run = Run(3)
    with pytest.warns(match="dial"):
        run.time(4)
    for i in range(3):
        assert [record.tick for record in run.homeostat.trace.records(f"loop {i}", 10)] == [0, 1, 2, 3]


def test_costs_on_a_line_are_fitted_exactly():
    times = {0: [10.0], **{count: [10.0 + 40.0 + 3.0 * count] for count in COUNTS}}
    found = fit(times)
    assert found["us_a_loop"] == pytest.approx(3.0)
    assert found["start_us"] == pytest.approx(40.0)
    assert found["greatest_relative_error"] < 1e-9
    assert found["exponent_100_to_1000"] == pytest.approx(math.log10(3040 / 340))


def test_laws_are_one_a_kind():
    found = laws()
    assert {"PID", "EMA", "StateFeedback", "PublishedKL"} <= set(found)
    assert all(type(law).__name__ == name for name, law in found.items())
