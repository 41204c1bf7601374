"""Between decisions nothing waits for the device: no tensor's value is asked for on the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from homeostat import Homeostat, Loop, metrics, norms, sensing
from homeostat.actuators import LearningRate, gradient
from homeostat.guards import SnapshotPolicy
from homeostat.landing import Landing
from homeostat.laws import Hold
from homeostat.observers import AttentionReach, Loss, running_variance
from tests.training import Training, adamw, every_loop

WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.item.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.allclose.default,
}


class Operations(TorchDispatchMode):
    """Counts operations, and those whose result the host must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.total += 1
        if func in WAITS:
            self.waits.append(str(func))
        return func(*args, **(kwargs or {}))


def count(training: Training) -> Operations:
    """Operations of the controller in one tick: those inside `observe` and the hooks, and the optimizer's own."""
    loss = training.loss()
    training.optimizer.zero_grad()
    loss.backward()
    with Operations() as operations:
        if training.homeostat is not None:
            training.homeostat.observe(loss=loss)
        training.optimizer.step()
    training.steps += 1
    return operations


@pytest.fixture
def lists(monkeypatch) -> list[torch.Size]:
    """Take all tensors for a device's, on which nothing is at hand; return the shapes of those that are made lists of.

    What has landed on the host may be.
    """
    for module in (metrics, norms, sensing, gradient, running_variance):
        monkeypatch.setattr(module, "on_host", lambda _: False)
    made: list[torch.Size] = []
    real, landing = torch.Tensor.tolist, Landing.tolist

    def tolist(tensor: torch.Tensor) -> Any:
        made.append(tensor.shape)
        return real(tensor)

    def landed(arriving: Landing) -> Any:
        before = len(made)
        numbers = landing(arriving)
        del made[before:]
        return numbers

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    monkeypatch.setattr(Landing, "tolist", landed)
    return made


def test_between_decisions_nothing_waits_for_the_device(lists):
    training, alone = Training(), Training()
    # The limits act on every step, so that they are part of the test.
    training.attach(every_loop(every=20), report_every=20, latency=1)
    training.run(11)
    alone.run(11)
    lists.clear()
    for _ in range(8):
        # AdamW's own step counts live on the host; they are what a run without a controller asks for as well.
        assert count(training).waits == count(alone).waits
    assert lists == []


@pytest.mark.parametrize("policy", [None, SnapshotPolicy(every=20, probation=5)])
def test_of_all_that_steady_does_only_a_snapshot_waits_for_the_device(lists, policy):
    training, alone = Training(), Training()
    training.homeostat = Homeostat.from_recipe("steady", snapshots=policy)
    training.homeostat.attach(training.model, training.optimizer, latency=1)
    waited = set()
    for tick in range(70):
        before = len(lists)
        if count(training).waits != count(alone).waits or len(lists) > before:
            waited.add(tick)
    # After the first step; after every twentieth; and the one answer, that all in it was finite, when it is trusted.
    assert waited == (set() if policy is None else {0, 19, 24, 39, 44, 59, 64})


def test_a_tick_without_a_decision_costs_two_operations_a_metric():
    training, alone = Training(), Training()
    training.attach([Loop(Loss(), Hold(), LearningRate(), every=20)], report_every=20)
    training.run(2)
    alone.run(2)
    # Detach, copy in, add to the interval.
    assert count(training).total - count(alone).total <= 4


def test_a_due_tick_does_ask_for_values():
    training, alone = Training(), Training()
    training.attach(every_loop(every=4), report_every=4)
    training.run(4)
    alone.run(4)
    assert len(count(training).waits) > len(count(alone).waits)


class WithoutNumbers(Training):
    """The training on the meta device, which raises where a number is asked for or copied to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.model.to("meta")
        self.optimizer = adamw(self.model)

    def loss(self) -> torch.Tensor:
        with torch.device("meta"):
            tokens = torch.randint(20, (4, 7))
            return F.cross_entropy(self.model(tokens).flatten(0, 1), tokens.flatten()) + self.model.penalty()

    def keep(self, loss: torch.Tensor) -> None:
        """Nothing: its number cannot be had."""


@pytest.mark.parametrize("parts", ["every loop", "steady"])
def test_no_number_is_copied_from_the_device_but_those_that_land(monkeypatch, parts):
    landed = []

    def tolist(arriving: Landing) -> Any:
        if not isinstance(arriving._host, torch.Tensor):
            return arriving._host
        landed.append(arriving._host.shape)
        return torch.ones(arriving._host.shape).tolist()

    monkeypatch.setattr(Landing, "tolist", tolist)
    training = WithoutNumbers()
    # Where attention reaches is sampled by the device's own generator, which this device has not.
    loops = [loop for loop in every_loop(every=4) if not isinstance(loop.observer, AttentionReach)]
    controller = Homeostat(loops) if parts == "every loop" else Homeostat.from_recipe("steady", snapshots=None)
    training.homeostat = controller.attach(training.model, training.optimizer, latency=1)
    training.run(45)
    assert training.homeostat.tick == 45
    assert len(landed) > 8


def test_what_has_not_landed_cannot_be_read():
    training = WithoutNumbers()
    training.attach([Loop(Loss(), Hold(), LearningRate(), every=4)], latency=1)
    training.run(1)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        training.step()
