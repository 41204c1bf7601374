"""Every detector with every answer on a real training: the same fault, and what each answer leaves of the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch.optim import AdamW

from homeostat import HomeostatWarning, Loop
from homeostat.actuators import LearningRate
from homeostat.errors import GuardAbort
from homeostat.guards import Guard, SnapshotPolicy
from homeostat.guards.detector import Detector
from homeostat.guards.detectors import Divergence, NonFinite, Oscillation, OutOfRange, Shift, Spike, Stall
from homeostat.laws import Hold
from homeostat.observers import DeadUnits, GradientNorm, Loss, Observer
from tests.contracts.test_observers import concrete
from tests.harness import same
from tests.training import Training

STRUCK_AT = 12
EVERY = 4


class Struck(Training):
    """From the step `STRUCK_AT` on the loss is `factor` times what it is, and its gradient `slope` times.

    Where `kill` is set, all units die in that step. A metric "error" swings all the time.
    """

    def __init__(self, factor: float = 1.0, slope: float = 1.0, *, kill: bool = False) -> None:
        super().__init__()
        self.factor, self.slope, self.kill = factor, slope, kill
        self.before: list[torch.Tensor] = []
        self.norms: list[float] = []
        # What was there when each tick began.
        self.ticks: dict[int, list[torch.Tensor]] = {}

    def loss(self) -> torch.Tensor:
        struck = self.steps >= STRUCK_AT
        if self.kill and self.steps == STRUCK_AT:
            with torch.no_grad():
                # What is mixed of negative numbers is negative.
                self.model.embedding.weight.abs_().neg_()
                self.model.rotation.copy_(torch.eye(len(self.model.rotation)))
        loss = super().loss()
        if struck:
            loss.register_hook(lambda gradient: self.slope * gradient)
        return loss * self.factor if struck else loss

    def step(self, **metrics: float) -> None:
        if self.homeostat is not None:
            self.ticks[self.homeostat.tick] = self.state()
        self.before = self.state()
        super().step(error=1.0 if self.steps % 4 < 2 else -1.0, **metrics)
        gradients = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
        self.norms.append(torch.stack(gradients).norm().item())


class Case(NamedTuple):
    """A detector, what it watches, and a run in which it finds something."""

    detector: Detector
    run: Callable[[], Struck]
    observer: Observer = Loss()


THRICE, HUNDRED, NAN = (lambda f=f: Struck(f) for f in (3.0, 100.0, math.nan))
CASES = {
    "spike": Case(Spike(fewest=5), HUNDRED),
    "not finite": Case(NonFinite(), NAN),
    "out of range": Case(OutOfRange(high=50.0), HUNDRED),
    "shift": Case(Shift(fewest=5, threshold=6.0), THRICE),
    "divergence": Case(Divergence(window=4), THRICE),
    # The loss falls, but not to the half in so short a time.
    "stall": Case(Stall(ticks=6, window=3, margin=0.5), Struck),
    "oscillation": Case(Oscillation(halves=4), Struck, Loss(metric="error")),
    "dead units": Case(OutOfRange(high=0.9), lambda: Struck(kill=True), DeadUnits()),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def guarded(case: Case, answer: str) -> Struck:
    """A run under one guard, up to the step in which it finds something; that one is not taken yet."""
    run = case.run()
    guard = Guard(case.observer, case.detector, answer, every=1)
    run.attach([], guards=[guard], snapshots=SnapshotPolicy(every=EVERY, probation=1))
    return run


def step_on(run: Struck) -> None:
    while not run.homeostat.trace.interventions:
        assert run.steps < 4 * STRUCK_AT, "nothing was found"
        run.step()


def until_found(run: Struck, answer: str) -> int | None:
    """Step until the guard intervenes, and check with what; returns where the run went back to."""
    with pytest.warns(HomeostatWarning, match="^Guard"):
        step_on(run)
    (found,) = run.homeostat.trace.interventions
    assert (found.answer, found.exact, found.replayed) == (answer, True, False)
    # In the first few steps there was too little to judge by.
    assert found.tick >= 4
    return found.back_to


def test_every_detector_is_tried() -> None:
    assert {type(case.detector) for case in CASES.values()} == concrete(Detector)


@every
def test_an_alarm_changes_nothing_and_is_told_once(case: Case) -> None:
    run, alone = guarded(case, "alarm"), case.run()
    assert until_found(run, "alarm") is None
    run.run(5)
    alone.run(run.steps)
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(run.state(), alone.state(), strict=True))
    assert run.homeostat.tick == run.steps
    assert len(run.homeostat.trace.interventions) == 1


@every
def test_a_skipped_step_leaves_all_as_it_was(case: Case) -> None:
    run = guarded(case, "skip")
    assert until_found(run, "skip") is None
    assert run.homeostat.tick == run.steps - 1
    if run.kill:
        # The fault is in the weights, and stays there.
        assert run.model.embedding.weight.max() <= 0
    else:
        assert same(run.state(), run.before)


@every
def test_a_reset_lets_moments_begin_anew_and_takes_no_step(case: Case) -> None:
    run = guarded(case, "reset")
    assert until_found(run, "reset") is None
    assert run.homeostat.tick == run.steps - 1
    assert not any(value.any() for state in run.optimizer.state.values() for value in state.values())
    if not run.kill:
        assert same(run.state()[: len(list(run.model.parameters()))], run.before[: len(list(run.model.parameters()))])


@every
def test_a_rollback_puts_the_newest_good_snapshot_back_and_goes_on(case: Case) -> None:
    run = guarded(case, "rollback")
    back_to = until_found(run, "rollback")
    tick = run.homeostat.tick
    assert back_to == max(1, (tick - 1) // EVERY * EVERY)
    assert tick == run.steps - 1
    assert same(run.state(), run.ticks[back_to])


@every
def test_an_abort_leaves_the_newest_good_snapshot_and_says_why(case: Case) -> None:
    run = guarded(case, "abort")
    reason = "the run is given up.* The reason: the guard asks for it. Tried before: nothing. Look at the data"
    with pytest.raises(GuardAbort, match=reason):
        run.run(4 * STRUCK_AT)
    (found,) = run.homeostat.trace.interventions
    assert (found.answer, found.tick) == ("abort", run.homeostat.tick)
    assert found.back_to == max(1, (found.tick - 1) // EVERY * EVERY)
    assert same(run.state(), run.ticks[found.back_to])


@pytest.mark.parametrize("name", ["spike", "out of range", "shift", "divergence"])
def test_a_gradient_is_cut_to_its_usual_norm_and_the_step_taken(name: str) -> None:
    detector = OutOfRange(high=20.0) if name == "out of range" else CASES[name].detector
    run = guarded(Case(detector, lambda: Struck(slope=100.0), GradientNorm()), "cut")
    assert until_found(run, "cut") is None
    assert run.homeostat.tick == run.steps
    assert min(run.norms[:STRUCK_AT]) < run.norms[-1] < max(run.norms[:STRUCK_AT])


def test_a_gradient_that_is_no_number_cannot_be_cut_and_the_step_is_skipped() -> None:
    run = guarded(Case(NonFinite(), lambda: Struck(slope=math.nan), GradientNorm()), "cut")
    until_found(run, "skip")
    assert same(run.state(), run.before)


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
def test_dead_units_are_found_in_every_step_and_live_again_when_the_run_has_gone_back() -> None:
    run = guarded(CASES["dead units"], "skip")
    run.run(3 * STRUCK_AT)
    found = [(i.tick, i.answer) for i in run.homeostat.trace.interventions]
    assert found == [(STRUCK_AT, "skip")] * 3 + [(STRUCK_AT, "rollback")]
    assert run.homeostat.tick == run.steps - 4
    assert run.model.embedding.weight.max() > 0


class Broken(Training):
    """One batch is NaN from the embedding on, so that no unit of it is positive."""

    def loss(self) -> torch.Tensor:
        bad = self.steps == STRUCK_AT
        hook = self.model.embedding.register_forward_hook(lambda *a: a[-1] * (math.nan if bad else 1.0))
        loss = super().loss()
        hook.remove()
        return loss


@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
@pytest.mark.parametrize("guard", [Guard(Loss(), NonFinite()), Guard(DeadUnits(), OutOfRange(high=0.9), every=1)])
def test_units_are_not_counted_in_a_batch_whose_step_is_skipped(guard: Guard) -> None:
    run = Broken()
    loop = Loop(DeadUnits(), Hold(), LearningRate(), every=1)
    run.attach([loop], guards=[guard])
    run.run(STRUCK_AT + 3)
    assert [(i.tick, i.answer) for i in run.homeostat.trace.interventions] == [(STRUCK_AT, "skip")]
    shares = run.homeostat.trace.loop("learning_rate")["reading.0"].tolist()
    assert len(shares) == STRUCK_AT + 2
    assert max(shares) < 0.5


def test_units_are_not_counted_in_a_batch_whose_step_a_fused_optimizer_skips() -> None:
    run = Broken()
    run.optimizer = AdamW(run.model.parameters(), fused=True)
    run.attach([Loop(DeadUnits(), Hold(), LearningRate(), every=1)])
    for step in range(STRUCK_AT + 3):
        # As torch.amp.GradScaler hands them to it.
        run.optimizer.grad_scale = torch.tensor(1.0)
        run.optimizer.found_inf = torch.tensor(float(step == STRUCK_AT))
        run.run(1)
    assert run.homeostat.tick == STRUCK_AT + 2
    shares = run.homeostat.trace.loop("learning_rate")["reading.0"].tolist()
    assert len(shares) == STRUCK_AT + 2
    assert max(shares) < 0.5
