"""Loaders that go back when they are told to, and those that do so too late."""

from __future__ import annotations

import copy
import math
import random
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from homeostat import HomeostatWarning
from homeostat.guards import Guard
from homeostat.guards.data import Data
from homeostat.guards.detectors import NonFinite
from homeostat.guards.tensor_tree import same as equal
from homeostat.observers import Loss
from tests.guards.batches import Batches
from tests.guards.runs import Loader, Victim, once, spoil_weight
from tests.harness import same


class Later(Loader):
    """Goes back in its next pass."""

    start: int | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.position, self.start = self.start or 0, None
        yield from super().__iter__()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["position"]


class Anew(Loader):
    """Goes back in its next pass too, and tells of that at once, as torchdata's StatefulDataLoader does."""

    passing: Loader | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passing = self.passing or Loader(self.steps)
        yield from self.passing

    def state_dict(self) -> dict[str, int]:
        self.passing = self.passing or Loader(self.steps)
        return self.passing.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.passing = Loader(self.steps)
        self.passing.load_state_dict(state)


def victim(loader: Loader) -> Victim:
    run = Victim(steps=40)
    run.loader = loader
    return run.attach()


def test_where_the_loader_does_not_go_back_the_run_goes_on():
    run = victim(Later(40))
    with pytest.warns(HomeostatWarning) as told:
        run.run(once(25, spoil_weight))
    assert [str(warning.message)[:58] for warning in told] == [
        "A loader in `restores` must go back while it is iterated o",
        "Guard 'loss non_finite' at tick 25: loss nan is not finite",
    ]
    without = Victim(steps=40).attach(replay=False)
    with pytest.warns(HomeostatWarning, match="goes back to tick 20"):
        without.run(once(25, spoil_weight))
    # Nothing else has gone back either.
    assert same(run.state(), without.state())
    assert torch.equal(run.random, without.random)
    assert run.homeostat.tick == without.homeostat.tick == 39
    assert run.told() == [(25, "rollback", 20)]
    assert not run.homeostat.trace.interventions[0].replayed
    assert "got Later, whose state_dict() is not what it was given" in run.homeostat.trace.events[-1].text


def test_a_loader_that_only_says_that_it_has_gone_back_is_found_out():
    run = victim(Anew(40))
    strikes = [once(25, spoil_weight), once(35, spoil_weight)]
    with pytest.warns(HomeostatWarning) as told:
        run.run(lambda *seen: [strike(*seen) for strike in strikes][-1])
    assert sum("got Anew, from which nothing was drawn since" in str(warning.message) for warning in told) == 1
    assert [i.replayed for i in run.homeostat.trace.interventions] == [True, False]
    assert [event.tick for event in run.homeostat.trace.events[1:]] == [25]


def test_a_loader_that_is_where_it_was_a_whole_epoch_later_has_gone_back():
    class Around(Loader):
        """Begins anew at the end, and says only where in the epoch it is."""

        left = 40

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            while self.left:
                self.left -= 1
                batch = next(super().__iter__())
                self.position %= self.steps
                yield batch

    run = Victim(steps=40)
    run.loader = Around(5)
    run.attach((Guard(Loss(), NonFinite(), "rollback"),))
    with pytest.warns(HomeostatWarning) as told:
        run.run(once(25, spoil_weight))
    assert [str(warning.message)[:26] for warning in told] == ["Guard 'loss non_finite' at"]
    assert run.homeostat.trace.interventions[0].replayed


def test_a_batch_that_serves_several_steps_is_no_fault():
    class Twice(Loader):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in super().__iter__():
                yield batch
                yield batch

    run = victim(Twice(20))
    with pytest.warns(HomeostatWarning) as told:
        run.run(once(25, spoil_weight))
    assert len(told) == 1
    assert run.homeostat.trace.interventions[0].replayed


class Keeping(Loader):
    """Has something in its state that does not equal its own copy."""

    kept: object = None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.kept = state["kept"]


@pytest.mark.parametrize("kept", [random.Random(0), math.nan, torch.tensor([math.nan]), np.array([1.0, math.nan])])
def test_a_loader_of_which_nobody_can_tell_is_taken_to_have_gone_back(kept: object):
    loader = Keeping(40)
    loader.kept = kept
    run = victim(loader)
    with pytest.warns(HomeostatWarning) as told:
        run.run(once(25, spoil_weight))
    assert len(told) == 1
    assert run.homeostat.trace.interventions[0].replayed


def test_a_loader_that_stays_where_it_is_is_found_out_whatever_else_it_keeps():
    class Staying(Keeping):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.kept = state["kept"]

    loader = Staying(40)
    loader.kept = random.Random(0)
    run = victim(loader)
    with pytest.warns(HomeostatWarning) as told:
        run.run(once(25, spoil_weight))
    assert "got Staying, whose state_dict() is not what it was given" in str(told[0].message)
    assert not run.homeostat.trace.interventions[0].replayed


def test_loaders_stay_where_they_are_where_another_rank_cannot_go_back():
    loader = Batches(1)
    next(loader)
    data, saved = Data([loader, torch.nn.ModuleList()]), [loader.state_dict()]
    next(loader)
    assert data.rewind(lambda: copy.deepcopy(saved), lambda _: 0).startswith("A loader in `restores`")
    assert loader.drawn == 2
    assert not data.replays


@pytest.mark.parametrize(
    ("other", "equals"),
    [
        ({"a": [1, torch.ones(2)], "b": np.arange(3)}, True),
        ({"a": (1, torch.ones(2)), "b": np.arange(3)}, True),
        ({"a": [1, torch.ones(2)]}, False),
        ({"a": [1, torch.ones(3)], "b": np.arange(3)}, False),
        ({"a": [1, torch.ones(2).double()], "b": np.arange(3)}, False),
        ({"a": [2, torch.ones(2)], "b": np.arange(3)}, False),
        ({"a": [1, torch.ones(2)], "b": np.arange(2)}, False),
        ({"a": [1], "b": np.arange(3)}, False),
        ({"a": [1, torch.ones(2)], "b": np.ones(3)}, False),
        (3, False),
    ],
)
def test_states_are_compared_whatever_they_hold(other: Any, equals: bool):
    assert equal({"a": [1, torch.ones(2)], "b": np.arange(3)}, other) is equals


class Stubborn:
    def __eq__(self, other: object) -> bool:
        raise TypeError

    __hash__ = None


Pair = namedtuple("Pair", ["a", "b"])


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ([math.nan, 1], [math.nan, 1], None),
        ([math.nan, 1], [math.nan, 2], False),
        (Pair(float("nan"), 1), Pair(float("nan"), 1), None),
        (Pair(float("nan"), 1), Pair(float("nan"), 2), False),
        (object(), object(), None),
        (Stubborn(), Stubborn(), None),
        (Stubborn(), 3, None),
        (torch.tensor([math.nan]), torch.tensor([math.nan]), None),
        (None, 3, False),
        ("a", "b", False),
    ],
)
def test_where_nobody_can_tell_it_is_said(one: Any, other: Any, told: bool | None):
    assert equal({"a": one}, {"a": other}) is told
