"""Ranks are told apart exactly, however many they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homeostat import DivergenceError, agreement
from homeostat.agreement import Agreement

KNOBS = st.dictionaries(st.sampled_from(["a", "b"]), st.tuples(st.floats(allow_nan=False)), min_size=1)


class Ranks:
    """Stands in for a process group: some ranks have one set of commands, the rest another."""

    def __init__(self, most: dict[str, Any], count: int, odd: dict[str, Any], others: int) -> None:
        self.everywhere = [*[most] * count, *[odd] * others]
        self.commands = most

    def get_world_size(self, _: object) -> int:
        return len(self.everywhere)

    def all_gather_object(self, found: list[Any], own: object, group: object) -> None:
        del own, group
        found[:] = self.everywhere


def check(ranks: Ranks, count: int, odd: dict[str, Any], others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.zeros((), dtype=torch.float64)
    own, other = Agreement(ranks, lambda: ranks.commands), Agreement(ranks, lambda: odd)
    with monkeypatch.context() as patch:
        patch.setattr(agreement, "dist", ranks)
        own.check((own.columns(like) * count + other.columns(like) * others).tolist())


@given(commands=KNOBS, count=st.sampled_from([1, 2, 3, 1000, 16384]))
def test_ranks_that_agree_are_never_told_apart(commands, count):
    check(Ranks(commands, count, commands, 0), count, commands, 0, pytest.MonkeyPatch())


@given(value=st.floats(0.1, 10.0), count=st.sampled_from([1, 2, 7, 16383]))
def test_one_rank_that_differs_in_the_last_bit_is_found_and_named(value, count):
    other = float(torch.tensor(value, dtype=torch.float64).nextafter(torch.tensor(20.0, dtype=torch.float64)))
    most, odd = {"rate": (value,), "clip": (1.0,)}, {"rate": (other,), "clip": (1.0,)}
    with pytest.raises(DivergenceError, match=r"got loop 'rate' at \(") as caught:
        check(Ranks(most, count, odd, 1), count, odd, 1, pytest.MonkeyPatch())
    assert f"on rank {count}" in str(caught.value)
    assert "clip" not in str(caught.value)


def test_a_loop_that_a_rank_lacks_is_named():
    with pytest.raises(DivergenceError, match=r"loop 'b' at \(2.0,\), but \(\) on rank 2"):
        check(Ranks({"a": (1.0,), "b": (2.0,)}, 2, {"a": (1.0,)}, 1), 2, {"a": (1.0,)}, 1, pytest.MonkeyPatch())
