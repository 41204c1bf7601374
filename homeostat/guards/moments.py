"""An optimizer's memory of past gradients, begun anew."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Adagrad, Optimizer

# What begins at zero, under its usual names.
_FROM_ZERO = frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg"})


def reset_moments(optimizer: Optimizer) -> None:
    """Let an optimizer begin anew, as if it had not stepped yet.

    What begins at zero is set to it in place, so that a compiled step stays valid; any other state is dropped and made
    anew by the optimizer's next step.
    """
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                _reset(optimizer, group, parameter)


def _reset(optimizer: Optimizer, group: dict[str, object], parameter: Tensor) -> None:
    state = optimizer.state.get(parameter, {})
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if isinstance(optimizer, Adagrad):
        # It makes its state when it is built, and not again.
        state["sum"].fill_(group["initial_accumulator_value"])
        state["step"].zero_()
    elif tensors and tensors.keys() == state.keys() and tensors.keys() <= _FROM_ZERO:
        for tensor in tensors.values():
            tensor.zero_()
    else:
        optimizer.state.pop(parameter, None)
