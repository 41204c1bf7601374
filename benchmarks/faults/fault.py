"""What can go wrong, done to a run from outside of whatever is to protect it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from benchmarks.faults.training import Training

Moment = Literal["batch", "forward", "loss", "backward", "step"]
"""Where in an iteration: on the batch; before the forward pass; on the loss; after the backward pass, before the
method and the optimizer see the gradients; on the learning rates for the time of the step alone."""


class Fault(NamedTuple):
    """One kind of fault.

    Attributes:
        moment: when it acts.
        act: takes the training, the value at that moment (a batch, a loss, else None) and a generator of its own, and
            returns the value as it is from then on.
        length: batches, or iterations, that it lasts.
        of_data: bound to places in the data, which a run that goes back meets again; else it happens once in time.
        needs: the module that a model must have for it.
        text: what it does.
    """

    moment: Moment
    act: Callable[[Training, Any, Generator], Any]
    text: str
    length: int = 1
    of_data: bool = False
    needs: str = ""


def flip(values: Tensor, element: int) -> None:
    """Flip the highest bit of the exponent of one float32: a number below 2 becomes 2^128 times itself."""
    bits = values.detach().view(torch.int32).view(-1)
    bits[element] ^= 1 << 30


def _any_element(tensors: list[Tensor], generator: Generator) -> None:
    """Flip a bit of one element, all elements of all tensors being equally likely."""
    element = int(torch.randint(sum(t.numel() for t in tensors), (), generator=generator))
    for tensor in tensors:
        if element < tensor.numel():
            return flip(tensor, element)
        element -= tensor.numel()
    return None


def _flip_weight(training: Training, _: None, generator: Generator) -> None:
    _any_element(list(training.model.parameters()), generator)


def _flip_gradient(training: Training, _: None, generator: Generator) -> None:
    _any_element([p.grad for p in training.model.parameters() if p.grad is not None], generator)


def _flip_moment(training: Training, _: None, generator: Generator) -> None:
    moment = ("exp_avg", "exp_avg_sq")[int(torch.randint(2, (), generator=generator))]
    _any_element([state[moment] for state in training.optimizer.state.values()], generator)


def _zero_gradients(training: Training, _: None, __: Generator) -> None:
    for parameter in training.model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()


def _lose_state(training: Training, _: None, __: Generator) -> None:
    training.optimizer.state.clear()


def _raise_rate(training: Training, _: None, __: Generator) -> None:
    for group in training.optimizer.param_groups:
        group["lr"] *= 1000


def _nan_inputs(training: Training, batch: Any, _: Generator) -> Any:
    return training.with_inputs(batch, lambda inputs: inputs * torch.nan)


def _huge_inputs(training: Training, batch: Any, _: Generator) -> Any:
    return training.with_inputs(batch, lambda inputs: inputs * 1e4)


def _half_garbage(training: Training, batch: Any, generator: Generator) -> Any:
    def change(inputs: Tensor) -> Tensor:
        noise = 10 * float(inputs.detach().std()) * torch.randn(inputs.shape, generator=generator)
        half = torch.arange(len(inputs)) < len(inputs) // 2
        return torch.where(half.view(-1, *[1] * (inputs.ndim - 1)), noise, inputs)

    return training.with_inputs(batch, change)


def _shuffle_labels(training: Training, batch: Any, generator: Generator) -> Any:
    return training.with_shuffled_labels(batch, generator)


def _infinite_loss(_: Training, loss: Tensor, __: Generator) -> Tensor:
    return loss * torch.inf


def _turn(training: Training, _: None, __: Generator, *, dial: str, to: Callable[[float], float]) -> None:
    knob = training.model.get_submodule(dial)
    knob.set(to(knob.peek()))  # type: ignore[operator]


def _scale_rotations(training: Training, _: None, __: Generator) -> None:
    for name, parameter in training.model.named_parameters():
        if name.endswith("rotation.matrix"):
            parameter.data *= 10


def _stick_dropout(training: Training, _: None, __: Generator) -> None:
    training.set_dropout(0.95)


def _kill(_: Training, __: None, ___: Generator) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


KILLED = "process killed"

FAULTS = {
    "learning rate x1000": Fault(
        "step", _raise_rate, "every group's rate is 1000 times the schedule's in 5 steps", length=5
    ),
    "NaN batch": Fault("batch", _nan_inputs, "the inputs of one batch are NaN", of_data=True),
    "infinite loss": Fault("loss", _infinite_loss, "the loss of one step is multiplied by infinity"),
    "bit of a weight": Fault("forward", _flip_weight, "the highest exponent bit of one weight flips; it stays so"),
    "bit of a gradient": Fault("backward", _flip_gradient, "the same in one element of one step's gradient"),
    "bit of a moment": Fault("forward", _flip_moment, "the same in Adam's first or second moment; it stays so"),
    "label noise": Fault(
        "batch", _shuffle_labels, "the labels of 10 batches are dealt out anew", length=10, of_data=True
    ),
    "inputs x1e4": Fault("batch", _huge_inputs, "the inputs of one batch are 10^4 times too large", of_data=True),
    "zero gradients": Fault("backward", _zero_gradients, "every gradient is 0 in 5 steps", length=5),
    "state lost": Fault("forward", _lose_state, "the optimizer's state is emptied; it stays so"),
    "rank with garbage": Fault(
        "batch", _half_garbage, "half of each of 10 batches is noise, 10 times as large", length=10, of_data=True
    ),
    "dropout stuck": Fault("forward", _stick_dropout, "dropout is set to 0.95; it stays until somebody moves it"),
    "rotary base x1000": Fault(
        "forward", partial(_turn, dial="dials.rotary_base", to=lambda base: 1000 * base),
        "the dial is turned; it stays until somebody moves it", needs="dials.rotary_base",
    ),
    "rotation scaled": Fault(
        "forward", _scale_rotations, "every rotation matrix is multiplied by 10; it stays so",
        needs="encoder.turner.slots.0.rotation",
    ),
    "window stuck": Fault(
        "forward", partial(_turn, dial="dials.attention_window", to=lambda _: 1.0),
        "the dial of the attention window is set to 1; it stays until somebody moves it",
        needs="dials.attention_window",
    ),
    KILLED: Fault("forward", _kill, "the process gets SIGKILL; where a method resumes, another one goes on"),
}  # fmt: skip
"""By name. What is not of the data happens once in time; a replay does not meet it again."""


def applies(fault: str, training: Training) -> bool:
    """Whether a model has the part that a fault strikes."""
    return not FAULTS[fault].needs or any(n == FAULTS[fault].needs for n, _ in training.model.named_modules())


class Injector:
    """One fault in one run.

    Args:
        fault: by name; none for a clean run.
        start: iteration, or position in the data, at which it begins.
        seed: of what it draws, the same for every method and at every replay.
    """

    def __init__(self, fault: str | None, start: int, seed: int) -> None:
        self._fault = FAULTS[fault] if fault else None
        self._start, self._seed = start, seed
        self.iteration = 0

    def __call__(self, moment: Moment, training: Training, value: Any = None) -> Any:
        """Return the value as it is at this moment, after the fault if that acts now."""
        fault = self._fault
        if fault is None or fault.moment != moment:
            return value
        # The loader has moved on when its batch is at hand.
        now = training.loader.position - 1 if fault.of_data else self.iteration
        if not self._start <= now < self._start + fault.length:
            return value
        with torch.no_grad() if moment != "loss" else torch.enable_grad():
            return fault.act(training, value, torch.Generator().manual_seed(1_000_003 * self._seed + now))

    @contextmanager
    def rates(self, training: Training) -> Iterator[None]:
        """Let what strikes the learning rates act within, and take it back after, unless somebody else has."""
        before = [group["lr"] for group in training.optimizer.param_groups]
        self("step", training)
        struck = [group["lr"] for group in training.optimizer.param_groups]
        yield
        for group, rate, wrong in zip(training.optimizer.param_groups, before, struck, strict=True):
            if group["lr"] == wrong:
                group["lr"] = rate
