"""Taking a run back in memory."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from homeostat.errors import AttachError, HomeostatError, StateError
from homeostat.guards.snapshot import SnapshotPolicy, Snapshots
from homeostat.nn import Dial, Dropout
from homeostat.plant import Plant
from tests.guards.batches import Batches


class Training:
    """A run with everything that goes back: running statistics, a dial, random numbers, a schedule, data."""

    def __init__(self, *, replays: bool = True, **policy: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), Dropout(0.2), nn.Linear(8, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.schedule = CosineAnnealingLR(self.optimizer, 50)
        self.batches = Batches(8, 4)
        self.plant = Plant(self.model, (self.optimizer,))
        restores = (self.schedule, self.batches) if replays else (self.schedule,)
        self.snapshots = Snapshots(SnapshotPolicy(**{"every": 4, "probation": 2, **policy}), self.plant, restores)
        self.losses: dict[int, float] = {}
        self.told: list[str] = []

    def run(self, until: int, fault: Callable[[], object] = lambda: None) -> None:
        """Train; `fault` comes after the snapshot of a tick is taken, where a restored run goes on."""
        while self.plant.tick < until:
            loss = F.mse_loss(self.model(next(self.batches)), torch.ones(8, 2))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.plant.tick += 1
            self.losses[self.plant.tick] = loss.item()
            self.snapshots.confirm()
            if self.snapshots.due():
                self.told += filter(None, [self.snapshots.take({"tick": self.plant.tick})])
            fault()
            self.schedule.step()

    def back(self, by: int = 0) -> int:
        restored = self.snapshots.restore(by)
        self.plant.tick = restored.tick
        assert restored.extra == {"tick": restored.tick}
        self.schedule.step()
        return restored.tick


def test_steps_that_are_taken_again_are_the_same_to_the_bit() -> None:
    training = Training()
    training.run(11)
    losses, weights = dict(training.losses), [p.clone() for p in training.model.parameters()]
    assert training.back() == 8
    training.run(11)
    assert training.losses == losses
    assert all(torch.equal(now, then) for now, then in zip(training.model.parameters(), weights, strict=True))


def test_damage_of_every_kind_is_undone() -> None:
    clean = Training()
    clean.run(12)
    hurt = Training()
    hurt.run(10)
    with torch.no_grad():
        for parameter in hurt.model.parameters():
            parameter.fill_(torch.nan)
    hurt.model[1].running_mean.fill_(torch.inf)
    hurt.model[2].rate.set(0.9)
    hurt.optimizer.state.clear()
    hurt.optimizer.param_groups[0]["lr"] = 1000.0
    hurt.optimizer.param_groups[0]["betas"] = (0.0, 0.0)
    torch.manual_seed(5)
    assert hurt.back() == 8
    hurt.run(12)
    assert hurt.losses == clean.losses


def test_a_snapshot_is_gone_back_to_once_its_probation_is_over() -> None:
    training = Training()
    training.run(9)
    assert training.snapshots.ticks == (1, 4)
    training.run(10)
    assert training.snapshots.ticks == (1, 4, 8)
    training.run(17)
    assert training.snapshots.ticks == (8, 12)
    assert training.back(1) == 8
    assert training.snapshots.ticks == (8,)
    assert training.back(5) == 8


def test_a_fault_under_probation_leaves_the_snapshot_out() -> None:
    training = Training()
    training.run(9)
    training.snapshots.doubt()
    training.run(12)
    assert training.snapshots.ticks == (1, 4)


def test_a_snapshot_of_what_is_not_finite_is_never_trusted() -> None:
    training = Training()
    training.run(8)

    def hurt() -> None:
        if training.plant.tick == 9:
            training.optimizer.state[training.model[0].weight]["exp_avg_sq"][0, 0] = torch.inf

    training.run(16, hurt)
    assert training.snapshots.ticks == (4, 8)
    assert training.back() == 8


def test_infinities_that_a_buffer_has_from_the_start_are_no_damage() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.full((2, 2), -torch.inf))
    snapshots = Snapshots(SnapshotPolicy(), Plant(model, (torch.optim.SGD(model.parameters()),)))
    snapshots.take({})
    assert snapshots.ticks == (0,)


def test_without_data_that_go_back_the_schedule_goes_on() -> None:
    training = Training(replays=False)
    training.run(10)
    epoch, random = training.schedule.last_epoch, torch.get_rng_state()
    weights = training.model[0].weight.clone()
    assert training.back() == 8
    assert not torch.equal(training.model[0].weight, weights)
    assert training.schedule.last_epoch == epoch + 1
    assert torch.equal(torch.get_rng_state(), random)


def test_data_that_could_go_back_need_not() -> None:
    training = Training()
    training.run(10)
    training.snapshots.restore(replay=False)
    assert training.batches.drawn == 10
    assert training.schedule.last_epoch == 10


def test_tensors_keep_their_identity() -> None:
    training = Training()
    training.run(10)
    held = [*training.model.parameters(), *training.model.buffers()]
    held += [v for state in training.optimizer.state.values() for v in state.values()]
    training.back()
    now = [*training.model.parameters(), *training.model.buffers()]
    now += [v for state in training.optimizer.state.values() for v in state.values()]
    assert all(a is b for a, b in zip(held, now, strict=True))


def test_a_dial_is_turned_back_and_its_buffer_with_it() -> None:
    model = nn.ModuleList([Dial(3.0)])
    plant = Plant(model, (torch.optim.SGD([nn.Parameter(torch.ones(1))]),))
    snapshots = Snapshots(SnapshotPolicy(), plant)
    snapshots.take({})
    model[0].set(5.0)
    model[0].position.fill_(7.0)
    snapshots.restore()
    assert model[0].value == model[0]().item() == 3.0


def test_a_group_that_came_later_stays() -> None:
    training = Training()
    training.run(3)
    later = nn.Parameter(torch.ones(2))
    training.optimizer.add_param_group({"params": [later], "lr": 0.5})
    training.run(6)
    training.back(1)
    assert training.plant.tick == 1
    assert later.equal(torch.ones(2))
    assert len(training.optimizer.param_groups) == 2
    assert len(training.optimizer.state) == 6


def test_memory_is_bounded_and_used_again() -> None:
    training = Training()
    training.run(30)
    one = training.snapshots.nbytes // 3
    assert training.snapshots.nbytes == 3 * one
    snapshot = training.snapshots._trusted[0].copies.tensors
    training.run(40)
    held = [s.copies.tensors[0] for s in training.snapshots._trusted]
    assert any(snapshot[0] is tensor for tensor in held)

    scarce = Training(max_bytes=2 * one + one // 2)
    scarce.run(30)
    (told,) = scarce.told
    assert told.startswith("3 snapshots must fit into max_bytes")
    assert "Only 2 are kept." in told
    assert scarce.snapshots.nbytes == 2 * one
    assert scarce.back() == 28


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(AttachError, match=r"must fit into max_bytes; got \d+ bytes for one of them"):
        Training(max_bytes=1000)


@pytest.mark.parametrize(("free", "kept"), [(1 << 40, 3), (5.0, 2), (3.9, 0)])
def test_snapshots_take_at_most_half_of_what_is_free(monkeypatch, free, kept) -> None:
    whole = Training()
    whole.run(30)
    one = whole.snapshots.nbytes // 3
    monkeypatch.setattr("homeostat.guards.snapshot.free_memory", lambda _: int(free * one))
    training = Training()
    training.run(30)
    assert training.snapshots.nbytes == kept * one
    assert len(training.told) == (kept < 3)
    assert all("must fit into half of the free memory" in text for text in training.told)
    assert training.losses == whole.losses


def test_where_nothing_fits_nobody_asks_again(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("homeostat.guards.snapshot.free_memory", lambda device: asked.append(device) or 0)
    training = Training()
    training.run(30)
    assert len(asked) == 1
    assert not training.snapshots.due()
    assert training.snapshots.ticks == ()
    assert "None is taken, so that no guard can take the run back." in training.told[0]


def test_a_copy_on_the_way_from_the_device_must_fit_there_too(monkeypatch) -> None:
    free = {"cpu": 1 << 40, "cuda": 0}
    monkeypatch.setattr("homeostat.guards.snapshot.free_memory", lambda device: free[device.type])
    training = Training()
    training.snapshots._plant = SimpleNamespace(device=torch.device("cuda"))
    assert training.snapshots._room(100) == 0
    free["cuda"] = 200
    training.snapshots._most = "auto"
    assert training.snapshots._room(100) == 3


def test_where_nobody_can_tell_what_is_free_snapshots_are_not_limited(monkeypatch) -> None:
    monkeypatch.setattr("homeostat.guards.snapshot.free_memory", lambda _: None)
    training = Training()
    training.run(30)
    assert training.snapshots.ticks == (20, 24, 28)
    assert training.told == []


def test_there_is_no_going_back_to_nothing() -> None:
    with pytest.raises(HomeostatError, match="must have a trusted snapshot to go back to"):
        Training().snapshots.restore()


def test_what_cannot_be_restored_is_refused() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(AttachError, match="must have state_dict and load_state_dict; got list"):
        Snapshots(SnapshotPolicy(), Plant(model, (torch.optim.SGD(model.parameters()),)), ([],))


def test_another_model_is_refused_and_left_alone() -> None:
    training = Training()
    training.run(1)
    training.model[3] = nn.Linear(8, 3)
    before = training.model[0].weight.clone()
    with pytest.raises(StateError, match=r"got none like 3.weight \(2, 8\) float32, 3.bias \(2,\) float32"):
        training.back()
    assert training.model[0].weight.equal(before)


def test_a_policy_under_which_nothing_is_ever_trusted_is_refused() -> None:
    with pytest.raises(ValueError, match="probation must be at most every"):
        SnapshotPolicy(every=10, probation=11)


class Graph(nn.Module):
    """A layer on a graph, whose edges are a sparse matrix."""

    def __init__(self, edges: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.sparse.mm(self.edges, x)).square().mean()


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_model_with_a_sparse_buffer_goes_back(layout: torch.layout) -> None:
    model = Graph(torch.eye(4).to_sparse(layout=layout))
    optimizer = AdamW(model.parameters(), lr=0.1)
    snapshots = Snapshots(SnapshotPolicy(), Plant(model, (optimizer,)))
    snapshots.take({})
    before = model(torch.ones(4, 4))
    before.backward()
    optimizer.step()
    assert model(torch.ones(4, 4)) != before
    assert not snapshots.damaged()
    snapshots.restore()
    assert model(torch.ones(4, 4)) == before
