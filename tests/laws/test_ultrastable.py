"""Ashby's homeostat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as ranging
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from homeostat.laws import Input, Ultrastable
from homeostat.simulation import TwoByTwo, simulate

BOUNDS = {"low": (-1.0, -1.0), "high": (1.0, 1.0), "rates": (0.1, 0.1)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("gains", "interaction"), [((1.0, -1.0), (0.5, 0.5)), ((-1.0, -1.0), (0.8, 0.2))])
def test_finds_by_itself_which_way_the_knobs_of_a_coupled_plant_act(gains: tuple, interaction: tuple, seed: int):
    plant = TwoByTwo(gains=gains, interaction=interaction, offset=(2.0, -1.5))
    law = Ultrastable(**BOUNDS, trial=100, seed=seed)
    run = simulate(law, plant, ticks=6000, low=-5.0, high=5.0)
    assert np.abs(run.reading[0]).max() > 1  # out of bounds at the start
    assert np.abs(run.reading[-500:]).max() <= 1


def test_the_mean_number_of_draws_is_that_of_a_geometric_trial() -> None:
    """One knob on one reading: a field is good if its sign is, so half are, and a trial ends with chance 1 / 2."""
    draws = []
    for seed in range(60):
        law = Ultrastable(low=(-1.0,), high=(1.0,), rates=(0.5,), decades=0.5, trial=150, seed=seed)
        state, level, knob = law.init(), 3.0, 0.0
        for tick in range(1500):
            decision = law.update(state, Input((level,), (), (knob,), (tick == 0,), 1))
            state, knob = decision.state, min(5.0, max(-5.0, decision.command[0]))
            level += 0.1 * (3.0 + knob - level)
        assert abs(level) <= 1
        draws.append(state.draws)
    # Draws follow a geometric law with mean 1 and variance 2: the mean of 60 has a standard deviation of 0.18.
    assert np.mean(draws) == pytest.approx(1.0, abs=3 * 0.18)
    assert max(draws) >= 3


def test_starts_without_a_bump() -> None:
    law = Ultrastable(**BOUNDS, trial=10)
    first = law.update(law.init(), Input((5.0, -3.0), (), (2.0, 1.0), (True, True), 1))
    assert first.command == (2.0, 1.0)
    assert law.update(first.state, Input((5.0, -3.0), (), (2.0, 1.0), (False, False), 1)).command != (2.0, 1.0)


def test_redraws_only_after_a_trial_and_only_out_of_bounds() -> None:
    law = Ultrastable(**BOUNDS, trial=10)
    state = law.init()
    for tick, (reading, elapsed, draws) in enumerate(
        [(5.0, 7, 0), (5.0, 1, 0), (5.0, 8, 0), (0.9, 5, 0), (5.0, 1, 1), (5.0, 9, 1), (5.0, 1, 2), (-0.5, 99, 2)]
    ):
        decision = law.update(state, Input((reading, 0.0), (), (0.0, 0.0), (tick == 0,) * 2, elapsed))
        assert decision.state.draws == draws
        assert (decision.state.field == state.field) == (draws == state.draws)
        state = decision.state


@ranging(st.integers(0, 2**31 - 1), st.integers(0, 1000), st.sampled_from([0.0, 1.0, 4.0]))
def test_fields_depend_on_seed_and_number_alone_and_stay_in_their_range(seed: int, number: int, decades: float):
    law = Ultrastable(**BOUNDS, trial=10, seed=seed, decades=decades)
    field = np.array(law._draw(number))
    assert (np.abs(field) <= 0.1).all()
    assert (field == law._draw(number)).all()
    assert not (field == law._draw(number + 1)).any()


@ranging(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=2), st.integers(1, 1000))
@settings(max_examples=50)
def test_a_knob_moves_no_faster_than_its_bound(readings: list, elapsed: int) -> None:
    law = Ultrastable(**BOUNDS, trial=10)
    started = law.init()._replace(ticks=0)
    decision = law.update(started, Input(tuple(readings), (), (3.0, -2.0), (False, False), elapsed))
    assert np.abs(np.array(decision.command) - (3.0, -2.0)).max() <= 2 * 2 * 0.1 * elapsed * (1 + 1e-12)


def test_rests_in_the_middle_of_its_bounds() -> None:
    law = Ultrastable(low=(2.0,), high=(4.0,), rates=(1.0, 1.0), trial=10)
    assert law.shape == (1, 2)
    started = law.init()._replace(ticks=0)
    assert law.update(started, Input((3.0,), (), (1.0, 5.0), (False, False), 7)).command == (1.0, 5.0)


def test_refuses_bounds_that_are_none() -> None:
    with pytest.raises(ValidationError, match="low must be below its high"):
        Ultrastable(low=(1.0,), high=(1.0,), rates=(1.0,), trial=10)
    with pytest.raises(ValidationError, match="low must be below its high"):
        Ultrastable(low=(1.0,), high=(2.0, 3.0), rates=(1.0,), trial=10)
    with pytest.raises(ValidationError, match="rates must be positive"):
        Ultrastable(low=(1.0,), high=(2.0,), rates=(0.0,), trial=10)
