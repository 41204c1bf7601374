"""What guards do to a run that something happens to."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from homeostat import AttachError, Homeostat, HomeostatError, HomeostatWarning, Loop
from homeostat.actuators import Dropout, LearningRate
from homeostat.errors import GuardAbort
from homeostat.guards import Guard, Ladder, SnapshotPolicy
from homeostat.guards.detectors import NonFinite, Spike
from homeostat.laws import Affine, Hold
from homeostat.observers import GeneralizationGap, GradientNorm, Loss, RunningVariance, UpdateRatio
from tests.guards.runs import (
    GUARDS,
    OFTEN,
    STEPS,
    Victim,
    broken_batch,
    moving_loops,
    once,
    scale_weights,
    spoil_weight,
)
from tests.harness import same

pytestmark = pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")


@pytest.fixture(scope="module")
def twin():
    """The run that nothing happens to, with loops and without guards."""
    return Victim().attach((), loops=moving_loops(), snapshots=None).run()


def test_without_a_fault_guards_leave_the_run_bit_identical(twin):
    guarded = Victim().attach(loops=moving_loops()).run()
    assert guarded.losses == twin.losses
    assert same(guarded.state(), twin.state())
    assert guarded.told() == []


@pytest.mark.parametrize("act", [spoil_weight, scale_weights])
def test_after_a_passing_fault_a_replay_ends_bit_identical_to_a_run_without_it(twin, act):
    struck = Victim().attach(loops=moving_loops()).run(once(37, act))
    assert struck.told()[-1][1:] == ("rollback", 30)
    assert same(struck.state(), twin.state())
    skipped = len(struck.told()) - 1
    assert struck.iterations == STEPS + 37 - 30 + skipped + 1
    assert struck.homeostat.tick == STEPS
    for name in ("learning_rate", "clip_norm"):
        ours, theirs = (run.homeostat.trace.loop(name) for run in (struck, twin))
        assert all((ours[key] == theirs[key]).all() for key in theirs)


def test_a_step_with_a_broken_batch_is_not_taken_and_nothing_else_changes():
    class Without(Victim):
        """The same loop, which leaves the step out itself."""

        def run(self, bad):
            for x, y in self.loader:
                if self.loader.position - 1 != bad:
                    torch.nn.functional.cross_entropy(self.model(x), y).backward()
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                else:
                    # Dropout draws in the forward pass of the bad batch too.
                    torch.nn.functional.dropout(torch.ones(16, 12), 0.1)
                self.schedule.step()
            return self

    struck = Victim().attach().run(broken_batch(20))
    assert struck.told() == [(20, "skip", None)]
    assert same(struck.state(), Without().run(20).state())
    assert struck.homeostat.tick == STEPS - 1


@pytest.mark.parametrize("position", [20, 21, 24])
def test_a_step_that_a_gradient_tells_of_is_skipped_as_one_that_the_loss_tells_of(position):
    def struck(observer):
        loops = [*moving_loops(), Loop(Loss(), Affine(gain=0.1), Dropout(low=0.0, high=0.5), every=5)]
        run = Victim().attach([Guard(observer, NonFinite(), every=1)], loops=loops).run(broken_batch(position))
        assert run.told() == [(position, "skip", None)]
        trace = run.homeostat.trace
        told = [trace.metric("loss"), *(trace.loop(name) for name in ("learning_rate", "clip_norm", "dropout"))]
        return run.state(), [(name, column.tolist()) for columns in told for name, column in columns.items()]

    by_loss, by_gradient = struck(Loss()), struck(GradientNorm())
    assert same(by_loss[0], by_gradient[0])
    assert by_loss[1] == by_gradient[1]
    assert not any("nan" in str(column) for _, column in by_gradient[1])


def test_a_gap_is_not_taken_to_the_loss_of_a_step_that_was_skipped():
    def gaps(*, struck):
        model = nn.Linear(3, 1)
        optimizer = AdamW(model.parameters(), lr=1e-3)
        loop = Loop(GeneralizationGap(), Hold(), LearningRate(), every=1)
        homeostat = Homeostat([loop], guards=[Guard(GradientNorm(), NonFinite(), every=1)]).attach(model, optimizer)
        for loss, gradient in [(1.0, 1.0), *[(math.nan, math.nan)] * struck, (None, 1.0)]:
            model.weight.grad = torch.full_like(model.weight, gradient)
            homeostat.observe(validation_loss=3.0, **({} if loss is None else {"loss": loss}))
            optimizer.step()
        return homeostat.trace.loop("learning_rate")["reading.0"].tolist()

    assert gaps(struck=True) == gaps(struck=False) == [2.0, 2.0]


def test_where_the_data_cannot_go_back_the_run_goes_on_from_weights_that_were_good():
    struck = Victim().attach(loops=moving_loops(), replay=False)
    seen = []

    def strike(moment, run, batch):
        once(37, spoil_weight)(moment, run, batch)
        if moment == "batch" and run.iterations in {30, 38}:
            seen.append((copy.deepcopy(run.model.state_dict()), run.homeostat.knobs))

    struck.run(strike)
    assert struck.told() == [(37, "rollback", 30)]
    assert (struck.iterations, struck.homeostat.tick) == (STEPS, STEPS - 1)
    (before, knobs), (after, put_back) = seen
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert put_back == knobs
    assert struck.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_weights_of_a_while_ago_may_have_the_losses_of_a_while_ago():
    """Going back to where the loss was ten times as high must not look like the next fault."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
    optimizer = AdamW(model.parameters(), lr=1e-2)
    guard, policy = Guard(Loss(), Spike(), every=1), SnapshotPolicy(every=100, probation=25)
    homeostat = Homeostat([], guards=[guard], snapshots=policy).attach(model, optimizer)
    x = torch.randn(512, 16)
    y, losses = x[:, :4].argmax(1), []
    for step in range(160):
        if step == 90:
            with torch.no_grad():
                model[2].weight.neg_()
        batch = torch.randint(512, (64,))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        losses.append(loss.item())
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = homeostat.trace.interventions
    assert [i.answer for i in found] == ["skip"] * 3 + ["rollback"]
    assert found[-1].back_to == 1
    assert losses[94] > 5 * losses[89]
    assert losses[-1] < 2 * losses[89]


def test_a_fault_that_a_replay_meets_again_is_in_the_data_and_is_skipped():
    bad = (36, 37, 38, 39, 40, 41)
    watchful = Guard(Loss(), Spike(fewest=5, threshold=3.0), every=1)
    struck = Victim().attach((watchful,)).run(broken_batch(*bad, times=-1))
    answers = [answer for _, answer, _ in struck.told()]
    assert answers == ["skip"] * 3 + ["rollback"] + ["skip"] * 6
    assert struck.homeostat.tick == STEPS - 6
    assert math.isfinite(sum(struck.losses))


def test_a_run_that_cannot_be_helped_is_given_up_with_a_diagnosis():
    struck = Victim().attach(ladder=Ladder(patience=1, batches=1, rollbacks=1))
    with pytest.raises(GuardAbort, match=r"nan is not finite; .* given up, put back to tick \d+\..*rollback by .* 1 t"):
        struck.run(lambda moment, run, _: spoil_if(moment, run, 40))
    assert struck.told()[-1][1] == "abort"
    # It stands where it last was good, and can be saved.
    assert all(t.isfinite().all() for t in struck.state())


def test_a_run_that_has_nothing_to_go_back_to_is_given_up_with_that_for_a_diagnosis():
    guard = Guard(Loss(), NonFinite(), "rollback")
    struck = Victim().attach((guard,), ladder=Ladder(budget=5), snapshots=None)
    with (
        pytest.warns(HomeostatWarning, match="The reason: there is no snapshot to go back to"),
        pytest.raises(GuardAbort, match=r"given up\. The .* before: to go back, without a snapshot to go back to"),
    ):
        struck.run(lambda moment, run, _: spoil_if(moment, run, 40))


def test_a_budget_that_is_used_up_ends_the_run_and_leaves_the_rate_to_its_schedule():
    struck = Victim().attach(loops=moving_loops(), ladder=Ladder(rollbacks=99, budget=5))
    with pytest.raises(GuardAbort, match="more than 5 interventions"):
        struck.run(broken_batch(*range(20, STEPS)))
    answers = [answer for _, answer, _ in struck.told()]
    assert answers[-1] == "abort"
    assert len(answers) == 6
    assert struck.homeostat.trace.loop("learning_rate")["delivered.0"][-1] != 1.0
    assert struck.optimizer.param_groups[0]["lr"] == struck.schedule.get_last_lr()[0]


def spoil_if(moment, run, after):
    if moment == "batch" and run.loader.position > after:
        with torch.no_grad():
            spoil_weight(run)


def test_where_no_snapshot_fits_guards_go_on_without_and_say_so(monkeypatch):
    monkeypatch.setattr("homeostat.guards.snapshot.free_memory", lambda _: 0)
    victim = Victim().attach(ladder=Ladder(patience=2))
    with pytest.warns(HomeostatWarning) as warned:
        victim.run(once(20, spoil_weight))
    told = [str(warning.message) for warning in warned]
    without = [text for text in told if "None is taken, so that no guard can take the run back." in text]
    assert without == [event.text for event in victim.homeostat.trace.events if "must fit into half" in event.text]
    assert len(without) == 1
    # A broken weight cannot be put back, but no step is taken with it either.
    assert {answer for _, answer, _ in victim.told()} == {"skip"}
    assert victim.homeostat.tick == 20


def test_a_guard_that_can_only_go_back_says_that_it_cannot():
    guards = [Guard(Loss(), NonFinite(), answer="rollback")]
    victim = Victim().attach(guards, snapshots=None)
    with pytest.warns(HomeostatWarning, match="nothing is done. The reason: there is no snapshot to go back to"):
        victim.run(broken_batch(20))


def test_every_intervention_warns_and_is_recorded():
    struck = Victim().attach()
    with pytest.warns(HomeostatWarning, match=r"Guard 'loss non_finite' at tick 20: loss nan is not finite; the step"):
        struck.run(broken_batch(20))
    (intervention,) = struck.homeostat.trace.interventions
    assert (intervention.tick, intervention.exact, intervention.advised) == (20, True, False)


def test_advice_changes_nothing():
    bare = Victim().run(broken_batch(20))
    advised = Victim().attach(advise=True).run(broken_batch(20))
    assert all(same([a], [b]) or a.isnan().any() for a, b in zip(bare.state(), advised.state(), strict=True))
    assert advised.told()[0][:2] == (20, "skip")
    assert all(i.advised for i in advised.homeostat.trace.interventions)


@pytest.mark.parametrize(
    ("strike", "done"),
    [
        (once(8, spoil_weight), ["rollback", "rollback", "rollback", "abort"]),
        # The batch is said to be skipped; as it is not, its gradient breaks the weights.
        (broken_batch(20), ["skip", "rollback", "rollback", "rollback"]),
    ],
)
def test_advice_says_all_that_would_be_done_and_takes_no_snapshot_for_it(strike, done):
    """Since nothing is put back, a fault that would have been undone is found again, and the ladder climbed."""
    advised = Victim().attach(GUARDS[:1], replay=False, advise=True).run(strike)
    assert [answer for _, answer, _ in advised.told()][:4] == done
    assert len(advised.told()) < 12, "a run that would have been given up is told of once in a while"
    assert advised.homeostat._engine.answering._snapshots.nbytes == 0
    acted = Victim().attach(GUARDS[:1], replay=False).run(strike)
    assert acted.told()[0][1] == done[0]


def test_a_gradient_that_stands_out_is_cut_to_its_usual_norm():
    guard = Guard(GradientNorm(), Spike(fewest=5), "cut", every=1)
    norms = []

    def strike(moment, run, _):
        if moment == "gradient":
            if run.iterations == 30:
                for p in run.model.parameters():
                    p.grad *= 1e4
            norms.append([p.grad for p in run.model.parameters()])

    struck = Victim().attach((guard,)).run(strike)
    assert struck.told() == [(30, "cut", None)]
    usual = [torch.stack([g.norm() for g in grads]).norm().item() for grads in norms]
    assert usual[-1] < 1e3
    assert struck.homeostat.tick == STEPS


def test_what_is_measured_after_the_step_is_found_too_late_and_goes_back():
    guard = Guard(UpdateRatio(schedule=False), Spike(fewest=5), "skip", every=1)

    def strike(moment, run, _):
        if moment == "gradient" and run.iterations == 37:
            run.optimizer.param_groups[0]["lr"] *= 1e3

    struck = Victim().attach((guard,)).run(strike)
    assert struck.told() == [(38, "rollback", 30)]
    assert not struck.homeostat.trace.interventions[0].exact


def test_with_latency_the_worst_tick_is_found_when_it_arrives():
    guards = [guard.model_copy(update={"every": 2}) for guard in GUARDS]
    struck = Victim().attach(guards, latency=1).run(once(36, spoil_weight))
    (tick, answer, back_to), *_ = struck.told()
    assert (answer, back_to) == ("rollback", 30)
    assert 37 <= tick <= 40
    assert all(t.isfinite().all() for t in struck.state())


def test_a_guard_that_does_not_fit_is_refused_or_left_out():
    guard = Guard(GradientNorm(group=7), NonFinite())
    with pytest.raises(AttachError, match="gradient_norm non_finite"):
        Victim().attach((guard,))
    left = Victim().attach((guard.model_copy(update={"optional": True}),))
    assert any("is left out" in event.text for event in left.homeostat.trace.events)


def test_detached_means_gone():
    struck = Victim().attach()
    struck.homeostat.detach()
    struck.homeostat = None
    struck.run(broken_batch(20))
    assert not all(t.isfinite().all() for t in struck.state())


def test_cut_needs_the_norm():
    with pytest.raises(ValueError, match="must watch GradientNorm"):
        Guard(Loss(), Spike(), "cut")


def test_guards_are_part_of_the_recipe():
    homeostat = Homeostat([], guards=GUARDS)
    assert type(homeostat.recipe).model_validate_json(homeostat.recipe.model_dump_json()) == homeostat.recipe


def test_a_new_process_resumes_from_disk_and_ends_bit_identical(tmp_path, twin):
    policy = OFTEN.model_copy(update={"directory": tmp_path, "disk_every": 10})
    first = Victim().attach(loops=moving_loops(), snapshots=policy)
    first.loader.steps = 40
    first.run()
    first.homeostat.detach()
    second = Victim().attach(loops=moving_loops(), snapshots=policy)
    assert second.homeostat.resume()
    second.schedule.step()
    assert second.homeostat.tick == second.loader.position == 30
    assert same(second.run().state(), twin.state())
    fresh = Victim().attach(snapshots=policy.model_copy(update={"directory": tmp_path / "none"}))
    assert not fresh.homeostat.resume()


def test_resuming_needs_snapshots():
    with pytest.raises(HomeostatError, match="must have snapshots to resume from one; got none"):
        Victim().attach(snapshots=None).homeostat.resume()


def test_inputs_that_batch_normalisation_hides_are_found_in_its_statistics():
    guard = Guard(RunningVariance(), Spike(rise=100.0, fewest=3))
    struck = Victim().attach((guard,)).run(broken_batch(30, times=1e4))
    assert struck.told() == [(30, "skip", None)]
    assert all(buffer.max() < 100 for buffer in struck.model.buffers())
