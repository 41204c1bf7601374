"""Precision, recomputation and devices as users have them: real scalers, autocast, activation checkpointing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.checkpoint import checkpoint

from homeostat import Homeostat, Loop
from homeostat import nn as hnn
from homeostat.actuators import LearningRate
from homeostat.guards import Guard, SnapshotPolicy
from homeostat.guards.detectors import NonFinite
from homeostat.laws import Hold
from homeostat.observers import AttentionReach, DeadUnits, GradientNorm, Loss
from homeostat.observers.observer import Observer
from tests.system.parts import loops
from tests.training import Training


def batch(step: int) -> Tensor:
    return torch.randn(16, 8, generator=torch.Generator().manual_seed(step))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))


def watch(observer: Observer) -> Loop:
    return Loop(observer, Hold(), LearningRate(), every=1, name="watch")


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_skipped_by_a_real_scaler_is_no_tick_and_gradients_are_read_unscaled(fused):
    def run(scale: float | None) -> tuple[Homeostat, nn.Module]:
        model = network()
        optimizer = AdamW(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        homeostat = Homeostat([watch(GradientNorm())]).attach(model, optimizer)
        for step in range(5):
            for overflows in (True, False) if scale and step == 2 else (False,):
                loss = model(batch(step)).square().mean()
                homeostat.observe(loss=loss)
                (scaler.scale(loss) * (math.inf if overflows else 1.0)).backward()
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
        assert scaler.get_scale() == (scale / 2 if scale else 1.0)
        return homeostat, model

    # Powers of two: what is scaled and unscaled is the same bit for bit.
    (scaled, model), (plain, twin) = run(1024.0), run(None)
    assert scaled.tick == plain.tick == 5
    assert scaled.trace.loop("watch")["reading.0"].tolist() == plain.trace.loop("watch")["reading.0"].tolist()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
def test_going_back_puts_the_scaler_back():
    model = network()
    optimizer = AdamW(model.parameters(), lr=0.01, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    guard = Guard(Loss(), NonFinite(), "rollback")
    homeostat = Homeostat([], guards=[guard], snapshots=SnapshotPolicy(every=2, probation=0))
    homeostat.attach(model, optimizer, restores=(scaler,))
    scales = []
    for step in range(6):
        loss = model(batch(step)).square().mean()
        homeostat.observe(loss=math.nan if step == 5 else loss)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        scales.append(scaler.get_scale())
    (intervention,) = homeostat.trace.interventions
    assert (intervention.answer, intervention.back_to) == ("rollback", 4)
    # Each update doubles it; the snapshot of tick 4 is older than the update that followed.
    assert scales == [16.0, 32.0, 64.0, 128.0, 256.0, 128.0]


def test_steady_decides_under_bfloat16_what_it_decides_without():
    def run(enabled: bool) -> Homeostat:
        model = network()
        optimizer = AdamW(model.parameters(), lr=1e-4)
        homeostat = Homeostat.from_recipe("steady").attach(model, optimizer)
        for step in range(60):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                x = batch(step)
                loss = (model(x).float() - x.roll(1, 1)).square().mean()
            homeostat.observe(loss=loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return homeostat

    low, full = run(True), run(False)
    assert not low.trace.interventions
    knobs = {name: low.trace.loop(name)["delivered.0"].tolist()[-1] for name in ("learning_rate", "clip_norm")}
    # The rate was far too low: both find that out.
    assert knobs["learning_rate"] > 3
    for name, knob in knobs.items():
        assert knob == pytest.approx(full.trace.loop(name)["delivered.0"].tolist()[-1], rel=0.1), name


class Attending(nn.Module):
    """A rectifier and an attention tap, with recomputation on the way back or without."""

    def __init__(self, recomputes: bool, reentrant: bool = False) -> None:
        super().__init__()
        self.net, self.tap, self.recomputes, self.reentrant = network(), hnn.AttentionTap(), recomputes, reentrant
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.recomputes:
            return self._pass(x)
        out: Tensor = checkpoint(self._pass, x, use_reentrant=self.reentrant)
        return out

    def _pass(self, x: Tensor) -> Tensor:
        self.calls += 1
        first, relu, last = self.net
        h = first(x)
        # The call that does not count would read otherwise.
        wrong = self.calls != (2 if self.reentrant else 1)
        self.tap(h.view(1, 1, 16, 32) * (2 if wrong else 1), h.view(1, 1, 16, 32), scale=1.0)
        positive = relu(h)
        if wrong:
            with torch.no_grad():
                relu(-h)
        out: Tensor = last(positive)
        return out


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("observer", [DeadUnits(), AttentionReach(window=None, distance=3)])
def test_a_pass_that_is_computed_again_is_measured_once_and_one_without_gradients_never(observer, reentrant):
    def read(recomputes: bool) -> list[float]:
        model = Attending(recomputes, recomputes and reentrant)
        optimizer = AdamW(model.parameters(), lr=0.01)
        homeostat = Homeostat([watch(observer)]).attach(model, optimizer)
        for step in range(4):
            if recomputes:
                with torch.no_grad():
                    model((-batch(step)).requires_grad_())
            model.calls = 0
            loss = model(batch(step).requires_grad_()).square().mean()
            homeostat.observe(loss=loss)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            assert model.calls == (2 if recomputes else 1)
        return homeostat.trace.loop("watch")["reading.0"].tolist()

    readings = read(True)
    assert readings == read(False)
    assert len(set(readings)) > 1


class Elsewhere(Training):
    """Tensors that name no device are made on one that holds nothing, but for those of the model and its batches."""

    def attach(self, *args, **options):
        with torch.device("meta"):
            return super().attach(*args, **options)

    def step(self, **metrics):
        loss = self.loss()
        with torch.device("meta"):
            self.homeostat.observe(loss=loss, **metrics)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.steps == 5:
                self.homeostat.load_state_dict(self.homeostat.state_dict())
        self.keep(loss)
        self.steps += 1


@pytest.mark.parametrize("latency", [0, 1])
def test_a_default_device_is_not_where_the_controller_works(latency):
    def run(training: Training) -> list[float]:
        training.attach(
            loops(),
            latency=latency,
            guards=[Guard(Loss(), NonFinite())],
            snapshots=SnapshotPolicy(every=4, probation=1),
        )
        return training.run(10).losses

    assert run(Elsewhere()) == run(Training())
