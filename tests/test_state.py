"""State as plain data."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import StateError
from homeostat.state import from_data, to_data


class Inner(NamedTuple):
    count: int = 0
    history: tuple[float, ...] = ()


class Outer(NamedTuple):
    value: float | None = None
    inner: Inner = Inner()
    name: str = ""
    on: bool = False


finite = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, st.integers(), st.lists(finite).map(tuple))
outers = st.builds(Outer, st.none() | finite, inners, st.text(), st.booleans())


@given(outers)
def test_named_tuples_survive_json_bit_by_bit(state: Outer) -> None:
    restored = from_data(Outer(), json.loads(json.dumps(to_data(state))))
    assert restored == state
    assert isinstance(restored.inner, Inner)
    assert repr(restored) == repr(state)  # tells -0.0 from 0.0, and True from 1


@given(st.tuples(inners, outers, st.just(())))
def test_tuples_of_states_keep_their_types(states: tuple) -> None:
    restored = from_data((Inner(), Outer(), ()), json.loads(json.dumps(to_data(states))))
    assert restored == states
    assert [type(item) for item in restored] == [Inner, Outer, tuple]


def test_data_is_lists_and_scalars_only() -> None:
    assert to_data(Outer(1.5, Inner(2, (3.0, 4.0)), "x", True)) == [1.5, [2, [3.0, 4.0]], "x", True]


@pytest.mark.parametrize("data", [[1.0], [1.0, 2.0, 3.0], 4.0, None, "xy"])
def test_refuses_data_of_another_shape(data: object) -> None:
    with pytest.raises(StateError, match="must have the 2 fields of Inner"):
        from_data(Inner(), data)
