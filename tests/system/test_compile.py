"""Moving a dial does not compile a model anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.optim import SGD

from homeostat import Homeostat, Loop
from homeostat import nn as hnn
from homeostat.actuators import Dial, Dropout, LearningRate
from homeostat.laws import Schedule
from homeostat.observers import Loss
from homeostat.profile import Profile

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 1)
        self.dropout, self.gain = hnn.Dropout(0.1), hnn.Dial(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.tanh(self.first(x)))) * self.gain()


def rising(low: float, high: float) -> Schedule:
    return Schedule(profile=Profile(points=((0, low), (20, high))))


@pytest.mark.parametrize("in_place", [False, True], ids=["torch.compile", "model.compile"])
def test_moving_dials_compiles_once(in_place):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, counter = Net(), CompileCounter()
    run = model
    if in_place:
        model.compile(backend=counter)
    else:
        run = torch.compile(model, backend=counter)
    optimizer = SGD(model.parameters(), lr=0.1)
    loops = [
        Loop(Loss(), rising(0.1, 0.4), Dropout(), every=1),
        Loop(Loss(), rising(1.0, 2.0), Dial(dials="*gain", low=0.1, high=9.0), every=1),
        Loop(Loss(), rising(0.0, 1.0), LearningRate(low=0.1, high=10), every=1),
    ]
    homeostat = Homeostat(loops).attach(run, optimizer)
    compiled = []
    for _ in range(10):
        loss = (run(torch.randn(4, 6)) - 1).square().mean()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        compiled.append(counter.frame_count)
    assert compiled == [1] * 10
    assert homeostat.knobs["dial"] == pytest.approx((1.45,))
    assert homeostat.knobs["dropout"] == pytest.approx((0.235,))
    homeostat.detach()
    torch._dynamo.reset()


def test_a_compiled_model_reads_the_dial_it_was_moved_to():
    torch._dynamo.reset()
    model = Net().eval()
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(4, 6)
    first = compiled(x)
    model.gain.set(3.0)
    torch.testing.assert_close(compiled(x), 3 * first)
    torch._dynamo.reset()


def test_a_compiled_optimizer_step_ticks():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Net()
    optimizer = SGD(model.parameters(), lr=torch.tensor(0.1), foreach=False)
    loops = [Loop(Loss(), rising(1.0, 1.0), LearningRate(low=0.1, high=10), every=1)]
    homeostat = Homeostat(loops).attach(model, optimizer)
    step = torch.compile(optimizer.step, backend="eager")
    for _ in range(3):
        loss = (model(torch.randn(4, 6)) - 1).square().mean()
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        before = model.last.bias.item()
        step()
        assert before - model.last.bias.item() == pytest.approx(0.2718281828 * model.last.bias.grad.item(), rel=1e-4)
    assert homeostat.tick == 3
    assert optimizer.param_groups[0]["lr"].item() == pytest.approx(0.1)
    torch._dynamo.reset()
