"""A guarded run that goes on from a snapshot on disk, or from a state that was loaded."""

from __future__ import annotations

import copy
import math

import pytest
from torch.optim import AdamW

from homeostat.errors import StateError
from homeostat.guards import Guard
from homeostat.guards.detectors import NonFinite
from homeostat.observers import Loss
from tests.guards.runs import OFTEN, Victim, broken_batch, moving_loops, once, spoil_weight
from tests.harness import same

pytestmark = pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")


def test_a_snapshot_that_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    policy = OFTEN.model_copy(update={"directory": tmp_path, "disk_every": 10})
    first = Victim().attach(loops=moving_loops(), snapshots=policy).run()
    first.homeostat.detach()
    other = Victim().attach(loops=moving_loops()[:1], snapshots=policy)
    before, state = other.state(), other.homeostat.state_dict()
    with pytest.raises(StateError, match="same loops"):
        other.homeostat.resume()
    assert same(other.state(), before)
    assert other.homeostat.state_dict() == state
    assert other.loader.position == 0
    # What the message advises can be done; the laws then start anew.
    assert other.homeostat.resume(precedence="recipe")
    assert other.homeostat.tick == other.loader.position == 50
    assert other.homeostat.state_dict() == {**state, "tick": 50}


def test_groups_that_came_later_are_added_before_a_snapshot_is_resumed(tmp_path):
    policy = OFTEN.model_copy(update={"directory": tmp_path, "disk_every": 10})

    def grown(groups: int) -> Victim:
        run = Victim(lambda model: AdamW(model[0].parameters(), lr=1e-2)).attach(replay=False, snapshots=policy)
        if groups == 2:
            run.optimizer.add_param_group({"params": list(run.model[4].parameters()), "initial_lr": 1e-2})
            run.schedule.base_lrs.append(1e-2)
        return run

    grown(2).run().homeostat.detach()
    again = grown(1)
    before = again.state()
    for precedence in ("checkpoint", "recipe"):
        with pytest.raises(StateError, match="Add the groups again"):
            again.homeostat.resume(precedence=precedence)
    assert same(again.state(), before)
    assert grown(2).homeostat.resume()


@pytest.mark.parametrize("precedence", ["checkpoint", "recipe"])
def test_a_run_that_was_left_for_a_loaded_state_does_not_come_back(tmp_path, precedence):
    policy = OFTEN.model_copy(update={"directory": tmp_path, "disk_every": 10})
    run = Victim().attach(loops=moving_loops(), snapshots=policy)
    run.loader.steps = 15
    run.run()
    saved = copy.deepcopy((run.model.state_dict(), run.optimizer.state_dict(), run.homeostat.state_dict()))
    run.loader.steps = 47
    run.run()
    run.model.load_state_dict(saved[0])
    run.optimizer.load_state_dict(saved[1])
    run.homeostat.load_state_dict(saved[2], precedence=precedence)
    run.homeostat._engine.answering.close()
    assert not [path for path in tmp_path.iterdir() if path.name[9:19] > "0000000015"]
    begun = run.state()[:6]
    run.loader.steps = 48
    run.run()
    # One of the new course is there at once, in memory and on disk.
    run.homeostat._engine.answering.close()
    assert run.homeostat._engine.answering._snapshots.ticks == (16,)
    assert max(path.name for path in tmp_path.glob("*.pt")) == "snapshot-0000000016-0of1.pt"
    run.loader.steps = 52
    run.run(once(50, spoil_weight))
    assert run.told() == [(18, "rollback", 16)]
    assert max((a - b).abs().max() for a, b in zip(begun, run.state()[:6], strict=True)) < 0.1
    other = Victim().attach(loops=moving_loops(), snapshots=policy)
    assert other.homeostat.resume()
    assert other.homeostat.tick == 16


def test_a_run_that_was_left_at_the_tick_of_its_newest_file_does_not_come_back(tmp_path):
    policy = OFTEN.model_copy(update={"directory": tmp_path, "disk_every": 10})
    run = Victim().attach(snapshots=policy)
    run.loader.steps = 20
    run.run()
    state = copy.deepcopy(run.homeostat.state_dict())
    run.loader.steps = 27
    run.run()
    run.homeostat._engine.answering.close()
    assert max(path.name for path in tmp_path.glob("*.pt")) == "snapshot-0000000020-0of1.pt"
    run.homeostat.load_state_dict(state)
    assert [path.name for path in tmp_path.glob("*.pt")] == ["snapshot-0000000010-0of1.pt"]
    run.loader.steps = 28
    run.run()
    run.homeostat.detach()
    assert max(path.name for path in tmp_path.glob("*.pt")) == "snapshot-0000000021-0of1.pt"
    # What is resumed is in its file already.
    other = Victim().attach(snapshots=policy)
    assert other.homeostat.resume()
    other.homeostat._engine.answering.close()
    assert max(path.name for path in tmp_path.glob("*.pt")) == "snapshot-0000000021-0of1.pt"
    # Unless another state is loaded after it.
    other.homeostat.load_state_dict(other.homeostat.state_dict())
    assert max(path.name for path in tmp_path.glob("*.pt")) == "snapshot-0000000010-0of1.pt"


def test_batch_normalisation_does_not_get_back_the_statistics_of_a_run_that_was_left():
    guard = Guard(Loss(), NonFinite(), "skip")
    run = Victim().attach((guard,))
    state = run.homeostat.state_dict()
    run.loader.steps = 20
    run.run()
    run.homeostat.load_state_dict(state)
    run.model[1].reset_running_stats()
    run.loader.steps = 21
    run.run(once(20, lambda r: r.model[4].weight.mul_(math.nan)))
    assert run.told()[0] == (0, "skip", None)
    assert run.model[1].num_batches_tracked == 1


def test_a_first_step_that_is_skipped_leaves_the_statistics_that_were_resumed(tmp_path):
    guard = Guard(Loss(), NonFinite(), "skip")
    policy = OFTEN.model_copy(update={"directory": tmp_path, "disk_every": 10})
    Victim(steps=20).attach((guard,), snapshots=policy).run().homeostat.detach()
    run = Victim().attach((guard,), snapshots=policy)
    assert run.homeostat.resume()
    before = [buffer.clone() for buffer in run.model.buffers()]
    first = run.loader.position
    run.loader.steps = first + 1
    run.run(broken_batch(first))
    assert [answer for _, answer, _ in run.told()] == ["skip"]
    assert same(list(run.model.buffers()), before)
