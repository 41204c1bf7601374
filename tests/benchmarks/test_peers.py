"""The peers do what they published."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from benchmarks.peers import LIBRARY_RATE, PublishedADA, PublishedGreedy, PublishedKL, PublishedTCP, TorchPlateau
from homeostat.laws import Input, Law


def positions(law: Law, readings: list[float], *, setpoint: float = 1.0, start: float = 0.0) -> list[float]:
    state, knob, found = law.init(), start, []
    for reading in readings:
        (knob,), state, _ = law.update(state, Input((reading,), (setpoint,), (knob,), (False,), 1))
        found.append(knob)
    return found


def test_a_tenfold_weight_takes_the_copied_kl_rule_451_updates():
    course = positions(PublishedKL(rate=LIBRARY_RATE), [100.0] * 500)
    assert sum(knob < math.log(10) for knob in course) + 1 == 451


def test_the_kl_rule_is_proportional_within_its_clip():
    assert positions(PublishedKL(), [6.6], setpoint=6.0) == [pytest.approx(math.log(1 + 0.1 * 0.1))]
    assert positions(PublishedKL(), [0.0], setpoint=6.0) == [pytest.approx(math.log(1 - 0.1 * 0.2))]


def test_ada_goes_from_nothing_to_always_in_500_thousand_images():
    course = positions(PublishedADA(), [1.0] * 2000, setpoint=0.6)
    assert sum(p < 1 for p in course) * 64 * 4 == pytest.approx(500_000, abs=64 * 4)
    assert positions(PublishedADA(), [0.0, 0.0, 1.0], setpoint=0.6)[:2] == [0.0, 0.0]


def test_tcp_starts_slowly_halves_and_goes_on_by_one():
    course = positions(PublishedTCP(), [0, 0, 0, 2, 0, 0, 2, 0], start=1.0)
    assert course == [2, 4, 8, 4, 5, 6, 3, 4]
    assert positions(PublishedTCP(), [2, 2], start=3.0) == [2, 2]


def schedulers(law: TorchPlateau | PublishedGreedy, optimizer: torch.optim.Optimizer):
    if isinstance(law, TorchPlateau):
        return ReduceLROnPlateau(optimizer)
    from transformers.optimization import GreedyLR

    return GreedyLR(optimizer)


@pytest.mark.parametrize("law", [TorchPlateau(), PublishedGreedy()], ids=lambda law: type(law).__name__)
def test_a_scheduler_moves_the_rate_as_it_does_by_itself(law):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler, rates = schedulers(law, optimizer), []
    losses = [3 - tick / 20 if tick < 40 else 1 + (tick * 7 % 11) / 11 for tick in range(120)]
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert len(set(rates)) > 3
    assert [math.exp(knob) for knob in positions(law, losses, start=math.log(0.5))] == pytest.approx(rates, rel=1e-9)
