"""Plants that learn: against torch's optimizers, closed forms, and the regression that they stand for."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import SGD, Adam, Optimizer

from homeostat.laws import Hold, Schedule
from homeostat.profile import Profile
from homeostat.simulation import (
    DropoutGap,
    EdgeOfStability,
    NoisyQuadratic,
    QuadraticAdam,
    QuadraticSGD,
    simulate,
)


@pytest.mark.parametrize(
    ("kind", "optimizer", "options"),
    [(QuadraticSGD, SGD, {}), (QuadraticAdam, Adam, {}), (QuadraticAdam, Adam, {"betas": (0.8, 0.95), "eps": 1e-3})],
)
def test_a_quadratic_is_trained_as_by_torch(
    kind: type[NoisyQuadratic], optimizer: type[Optimizer], options: dict[str, object]
) -> None:
    ticks, rates = 80, np.exp(np.random.default_rng(1).normal(-3, 1, size=80))
    own = {"epsilon": options["eps"], "betas": options["betas"]} if options else {}
    plant = kind(curvatures=(2.0, 0.1, 1e-3), gradient_noise=(0.3, 0.0, 1.0), start=(1.0, -2.0, 3.0), **own)
    course = Schedule(profile=Profile(points=tuple(enumerate(np.log(rates))), interpolation="step"))
    losses = simulate(course, plant, ticks=ticks, seed=5).reading
    h, s, w = (torch.tensor(v, dtype=torch.float64) for v in (plant.curvatures, plant.gradient_noise, plant.start))
    w.requires_grad_()
    twin = optimizer([w], lr=1.0, **options)
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal((3, ticks)).T.copy())
    for tick in range(ticks):
        assert losses[tick] == pytest.approx((h * w.detach().square()).sum().item() / 2, rel=1e-9)
        w.grad = (h * w).detach() + s * noise[tick]
        twin.param_groups[0]["lr"] = rates[tick]
        twin.step()


@pytest.mark.parametrize("rate", [0.02, 0.5, 1.6])
def test_the_expected_loss_is_the_mean_over_many_weights(rate: float) -> None:
    count, ticks = 4000, 40
    fields = {"curvatures": (1.2,), "gradient_noise": (0.7,), "start": (1.5,)}
    many = QuadraticSGD(**{name: value * count for name, value in fields.items()})
    losses = simulate(Hold(), many, ticks=ticks, start=math.log(rate)).reading / count
    expected = [QuadraticSGD(**fields).expected_loss(math.log(rate), tick) for tick in range(ticks)]
    # The mean of as many squares of normal numbers is within sqrt(2 / count) of theirs.
    assert losses == pytest.approx(expected, rel=4 * math.sqrt(2 / count))


@given(st.floats(-6, 0.6), st.integers(0, 200))
@settings(max_examples=40)
def test_without_noise_the_expected_loss_is_exact(knob: float, ticks: int) -> None:
    plant = QuadraticSGD(gradient_noise=(0.0, 0.0))
    loss = simulate(Hold(), plant, ticks=ticks + 1, start=knob).reading[-1]
    assert loss == pytest.approx(plant.expected_loss(knob, ticks), rel=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.1, 10))
@settings(max_examples=40)
def test_sgd_settles_below_two_over_the_curvature_and_diverges_above(share: float, curvature: float) -> None:
    plant = QuadraticSGD(curvatures=(curvature,), gradient_noise=(0.3,), start=(1.0,))
    edge = 2 / curvature
    rate = share * edge
    settled = rate * 0.3**2 / (2 * (2 - rate * curvature))
    assert plant.expected_loss(math.log(rate), math.inf) == pytest.approx(settled, rel=1e-9)
    assert plant.expected_loss(math.log(edge / share), math.inf) == math.inf
    assert np.nanmax(simulate(Hold(), plant, ticks=300, start=math.log(edge / share)).reading) > 1e12


@pytest.mark.parametrize("ticks", [10_000, math.inf])
def test_what_diverges_without_noise_or_from_zero_has_an_expected_loss_too(ticks: float) -> None:
    fields = {"curvatures": (1.0,), "gradient_noise": (0.0,), "start": (0.0,)}
    assert QuadraticSGD(**fields).expected_loss(math.log(30), ticks) == 0
    for name in ("gradient_noise", "start"):
        assert QuadraticSGD(**fields | {name: (0.1,)}).expected_loss(math.log(30), ticks) == math.inf
    assert QuadraticSGD(curvatures=(0.0,), gradient_noise=(1.0,), start=(1.0,)).expected_loss(0.0, ticks) == 0


def test_the_edge_of_stability_is_a_cycle_of_two() -> None:
    knob, plant = math.log(0.1), EdgeOfStability(sharpening=0.08, flattening=2.0, gradient_noise=0.0)
    cycle = plant.model_copy(update={"sharpness": 20.0, "offset": math.sqrt(2 * 0.08 / 2.0)})
    state, offsets = cycle.init(), []
    for _ in range(50):
        state = cycle.advance(state, (knob,), (0.0,))
        offsets.append(state.offset)
    assert state.sharpness == pytest.approx(20.0)
    assert offsets == pytest.approx([-cycle.offset, cycle.offset] * 25)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_training_sharpens_up_to_two_over_the_rate_and_stays_there(rate: float) -> None:
    run = simulate(Hold(), EdgeOfStability(), ticks=12000, start=math.log(rate), seed=2)
    first = int(np.argmax(run.reading >= 2 / rate))
    below = run.reading[: first - 1]
    assert np.diff(below[:100]) == pytest.approx(rate * 0.1, rel=0.01)
    assert run.reading[first:] == pytest.approx(2 / rate, rel=0.25)
    assert np.mean(run.reading[-6000:]) == pytest.approx(2 / rate, rel=0.05)


def test_the_dropout_gap_is_that_of_a_linear_regression_under_dropout() -> None:
    """Dropout is averaged over every mask, the gap over 4000 data sets with fresh validation targets."""
    generator = np.random.default_rng(0)
    n, d, noise, time_constant, sets = 16, 4, 0.8, 12.0, 4000
    x = np.linalg.qr(generator.normal(size=(n, d)))[0] * math.sqrt(n)
    truth = x @ np.array([0.5, -1.0, 2.0, 0.0])
    training, validation = (truth + noise * generator.normal(size=(sets, n)) for _ in range(2))
    rates, steps = np.repeat([0.0, 0.5, 0.2], 15), 100
    w, gaps = np.zeros((sets, d)), []
    for p in rates:
        fitted = w @ x.T
        gaps.append(((validation - fitted) ** 2).mean() - ((training - fitted) ** 2).mean())
        # The gradient of the mean loss over all masks m of the inputs x m / (1 - p).
        curvature = np.zeros((d, d))
        for mask in itertools.product((0, 1), repeat=d):
            kept = x * mask / (1 - p)
            curvature += p ** (d - sum(mask)) * (1 - p) ** sum(mask) * kept.T @ kept / n
        for _ in range(steps):
            w += (training @ x / n - w @ curvature) / (time_constant * steps)
    plant = DropoutGap(optimism=2 * noise**2 * d / n, time_constant=time_constant)
    course = Schedule(profile=Profile(points=tuple(enumerate(rates)), interpolation="step"))
    assert gaps == pytest.approx(simulate(course, plant, ticks=rates.size).reading, abs=0.01)


@given(st.floats(-1, 2), st.floats(0, 1))
@settings(max_examples=40)
def test_the_gap_settles_at_one_minus_the_rate(knob: float, learned: float) -> None:
    plant = DropoutGap(optimism=2.0, time_constant=5, learned=learned)
    settled = 2.0 * (1 - min(max(knob, 0.0), 0.999))
    assert simulate(Hold(), plant, ticks=200, start=knob).reading[-1] == pytest.approx(settled, abs=1e-6)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"must be of one length; got \(2, 3, 2\)"):
        QuadraticSGD(gradient_noise=(0.0, 0.0, 1.0))
