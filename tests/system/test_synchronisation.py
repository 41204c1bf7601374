"""Between decisions nothing waits for the device: no tensor's value is asked for on the host."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from homeostat import Loop
from homeostat.actuators import LearningRate
from homeostat.laws import Hold
from homeostat.observers import Loss
from tests.training import Training, every_loop

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


def test_between_decisions_nothing_waits_for_the_device():
    training, alone = Training(), Training()
    # The limits act on every step, so that they are part of the test.
    training.attach(every_loop(every=20), report_every=20)
    training.run(11)
    alone.run(11)
    for _ in range(8):
        # AdamW's own step counts live on the host; they are what a run without a controller asks for as well.
        assert count(training).waits == count(alone).waits


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
