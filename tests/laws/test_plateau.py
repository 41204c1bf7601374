from __future__ import annotations

import math

import pytest
from hypothesis import given as ranging
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from homeostat.laws import Plateau
from tests.laws.steps import commands, given


@pytest.mark.parametrize("rising", [False, True])
@ranging(st.lists(st.sampled_from([1.0, 1.01, 1.2, 1.9, 2.0, 2.01]), min_size=1, max_size=60), st.integers(1, 5))
@settings(max_examples=40)
def test_it_decides_as_torchs_scheduler(rising: bool, readings: list[float], patience: int) -> None:
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    twin = ReduceLROnPlateau(
        optimizer, "max" if rising else "min", factor=0.5, patience=patience, threshold=0.015, eps=0.0
    )
    expected = []
    for reading in readings:
        twin.step(reading)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = commands(Plateau(patience=patience, margin=0.015, rising=rising), readings)
    assert [math.exp(u) for u in ours] == pytest.approx(expected)


def test_patience_is_in_ticks() -> None:
    law = Plateau(patience=10, step=1.0)
    state, knob = law.init(), 0.0
    for elapsed, expected in [(1, 0.0), (5, 0.0), (5, 0.0), (1, 1.0), (10, 1.0), (1, 2.0), (100, 3.0)]:
        (knob,), state, _ = law.update(state, given(7.0, admitted=knob, elapsed=elapsed))
        assert knob == expected


def test_a_hold_is_no_waiting() -> None:
    law = Plateau(patience=10, step=1.0)
    state = law.update(law.init(), given(7.0)).state
    held = given(7.0, elapsed=1010)._replace(held=1000)
    assert law.update(state, held).command == (0.0,)
    assert law.update(law.update(state, held).state, given(7.0)).command == (1.0,)


def test_a_negative_best_must_be_beaten_downwards_too() -> None:
    """A margin as a factor of the best would count -0.99 as better than -1."""
    assert commands(Plateau(patience=2, step=1.0, margin=0.1), [-1.0, -1.05, -0.99, -1.05, -1.2]) == [0, 0, 0, 1, 1]
