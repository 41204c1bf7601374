"""Moving a dial does not compile a model anew."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters
from torch.optim import SGD, AdamW

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
    counters.clear()
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
    assert not counters["graph_break"]
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


@pytest.mark.parametrize(("kind", "foreach"), [(SGD, True), (AdamW, False)])
def test_a_compiled_optimizer_step_ticks_and_a_moving_rate_compiles_nothing(kind, foreach):
    def train(controlled: bool) -> tuple[list[int], int, list[float]]:
        torch._dynamo.reset()
        counters.clear()
        torch.manual_seed(0)
        model, counter = Net(), CompileCounter()
        optimizer = kind(model.parameters(), lr=torch.tensor(0.1), foreach=foreach)
        loops = [Loop(Loss(), rising(-1.0, 1.0), LearningRate(low=0.1, high=10), every=1)]
        homeostat = Homeostat(loops).attach(model, optimizer) if controlled else None
        step, compiled, rates = torch.compile(optimizer.step, backend=counter), [], []
        for tick in range(6):
            loss = (model(torch.randn(4, 6)) - 1).square().mean()
            if homeostat is not None:
                homeostat.observe(loss=loss)
                assert homeostat.tick == tick
            optimizer.zero_grad()
            loss.backward()
            before = model.last.bias.item()
            step()
            compiled.append(counter.frame_count)
            rates.append((before - model.last.bias.item()) / model.last.bias.grad.item())
            assert optimizer.param_groups[0]["lr"].item() == pytest.approx(0.1)
        return compiled, sum(counters["graph_break"].values()), rates

    alone, controlled = train(controlled=False), train(controlled=True)
    assert controlled[0] == alone[0]
    assert controlled[1] <= alone[1], "a graph break more than without a controller"
    # The first two steps may compile, since they make the optimizer's state.
    assert len(set(controlled[0][1:])) == 1
    if kind is SGD:
        assert controlled[2] == pytest.approx([0.1 * math.exp(-1 + tick / 10) for tick in range(6)], rel=1e-3)
    torch._dynamo.reset()
