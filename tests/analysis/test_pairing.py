import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from homeostat.analysis import pair, relative_gains
from homeostat.errors import AnalysisError, HomeostatWarning

# Skogestad and Postlethwaite's distillation column, LV configuration.
DISTILLATION = [[87.8, -86.4], [108.2, -109.6]]


def test_the_textbooks_column_has_its_textbook_array():
    np.testing.assert_allclose(relative_gains(DISTILLATION), [[35.1, -34.1], [-34.1, 35.1]], atol=0.1)


@settings(max_examples=40)
@given(
    arrays(float, (3, 3), elements=st.floats(-1, 1)),
    st.lists(st.integers(-9, 9), min_size=6, max_size=6),
)
def test_rows_and_columns_add_to_one_in_any_units(noise, units):
    gains = noise + np.diag([5.0, 4.0, 6.0])
    array = relative_gains(gains)
    np.testing.assert_allclose(array.sum(axis=0), 1, atol=1e-9)
    np.testing.assert_allclose(array.sum(axis=1), 1, atol=1e-9)
    scaled = gains * np.power(10.0, units[:3])[:, None] * np.power(10.0, units[3:])
    np.testing.assert_allclose(relative_gains(scaled), array, atol=1e-6)


def test_crossed_knobs_are_uncrossed_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pair([[0.1, 2.0, 0.0], [0.0, 0.3, 5.0], [1.0, 0.0, 0.2]])
    assert found.knobs == (1, 2, 0)
    assert found.niederlinski > 0
    assert found.problem == ""


@pytest.mark.parametrize(
    ("gains", "knobs", "words"),
    [
        (DISTILLATION, (0, 1), "relative gain of 35 .* will fight"),
        (DISTILLATION, (1, 0), "Niederlinski index"),
        ([[1.0, 0.9], [-0.9, 1.0]], (1, 0), "relative gain of 0.45"),
        ([[0.0, 1.0], [1.0, 1.0]], (0, 1), "Niederlinski index"),
    ],
)
def test_a_bad_pairing_is_warned_of(gains, knobs, words):
    with pytest.warns(HomeostatWarning, match=words):
        found = pair(gains, knobs=knobs)
    assert found.knobs == knobs
    assert "CoupledLoop" in found.problem


def test_a_negative_index_is_unstable_with_integral_action_indeed():
    """Loops on knobs paired crosswise, both slow: the static plant under two integrators has a growing mode."""
    gains = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.warns(HomeostatWarning):
        index = pair(gains, knobs=(0, 1)).niederlinski
    assert index < 0
    assert np.linalg.eigvals(-gains).real.max() > 0
    assert pair(gains).knobs == (1, 0)
    assert np.linalg.eigvals(-gains[:, [1, 0]]).real.max() < 0


@pytest.mark.parametrize(
    ("gains", "knobs", "message"),
    [
        ([[1.0, 2.0]], None, "square matrix"),
        ([[1.0, 2.0], [2.0, 4.0]], None, "different directions"),
        ([[1.0, np.nan], [2.0, 4.0]], None, "finite"),
        ([[1.0, 0.0], [0.0, 1.0]], (0, 0), "each of 2 knobs once"),
    ],
)
def test_nonsense_is_refused(gains, knobs, message):
    with pytest.raises(AnalysisError, match=message):
        pair(gains, knobs=knobs)
