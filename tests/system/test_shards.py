"""Sharded parameters are measured and limited as wholes; ranks that differ are told; a state loads anywhere."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import checkpoint
from torch.optim import AdamW

import homeostat.observers.update
from homeostat import Homeostat
from homeostat.actuators import Actuator
from homeostat.actuators.dial import DialActuator
from homeostat.observers import Observer
from tests.contracts.test_observers import concrete
from tests.system import parts
from tests.system.processes import run_ranks
from tests.system.shards import STEPS, train
from tests.system.small_net import Net, loops
from tests.training import Training

WORKER = Path(__file__).with_name("shards.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left; one start of them serves every test."""
    folder = tmp_path_factory.mktemp("shards")
    run_ranks(WORKER, folder, 2)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """The same run in one process."""
    model = Net()
    optimizer = AdamW(model.parameters(), lr=0.05)
    return train(model, Homeostat(loops()).attach(model, optimizer), optimizer)


def test_shards_were_uneven_and_one_was_empty(ranks):
    assert [rank["sharded"]["shards"] for rank in ranks] == [[16, 2, 3, 1], [8, 1, 0, 0]]


def test_both_ranks_read_and_decide_alike(ranks):
    for key in ("readings", "delivered", "weights"):
        assert ranks[0]["sharded"][key] == ranks[1]["sharded"][key]


@pytest.mark.parametrize("loop", ["learning_rate", "clip_norm", "update_limit", "dial"])
def test_shards_read_as_the_whole_does(ranks, whole, loop):
    for key in ("readings", "delivered"):
        assert ranks[0]["sharded"][key][loop] == pytest.approx(whole[key][loop], rel=1e-5)


def test_shards_are_clipped_and_cut_as_the_whole_is(ranks, whole):
    assert ranks[0]["sharded"]["weights"] == pytest.approx(whole["weights"], rel=1e-5)
    # The limits act: they are what this run is made of.
    assert max(whole["readings"]["clip_norm"]) > 0.5
    assert whole["readings"]["rotary_base"] == pytest.approx([0.02] * len(whole["readings"]["rotary_base"]), rel=1e-3)


def test_the_update_ratio_of_shards_is_near_that_of_the_whole(ranks, whole):
    reading = ranks[0]["sharded"]["readings"]["rotary_base"]
    assert reading == pytest.approx(whole["readings"]["rotary_base"], rel=0.5)


def test_a_checkpoint_of_two_ranks_loads_on_two_and_on_one(ranks, folder):
    assert [rank["sharded"]["restored"] for rank in ranks] == [True, True]
    model = Net()
    homeostat = Homeostat(loops()).attach(model, AdamW(model.parameters(), lr=0.05))
    with warnings.catch_warnings():
        # That there is one process only.
        warnings.simplefilter("ignore")
        checkpoint.load({"homeostat": homeostat}, checkpoint_id=folder / "checkpoint")
    assert homeostat.tick == STEPS
    last = {name: values[-1] for name, values in ranks[0]["sharded"]["delivered"].items()}
    assert {name: knobs[0] for name, knobs in homeostat.knobs.items()} == last
    assert model.gain.value == last["dial"]


@pytest.fixture(scope="module")
def every_part() -> dict[str, Any]:
    """The run of `parts` in one process."""
    return parts.run(Training())


def test_the_run_has_every_observer_and_every_kind_of_actuator():
    loops = [loop.coupled() for loop in parts.loops()]
    observers = {type(part) for loop in loops for part in loop.observers}
    actuators = {type(part) for loop in loops for part in loop.actuators}
    assert set(concrete(Observer)) == observers
    # One dial is as good as another: a dial is never sharded.
    assert {kind for kind in concrete(Actuator) if not issubclass(kind, DialActuator)} <= actuators


@pytest.mark.parametrize("loop", [loop.name for loop in parts.loops() if loop.name not in parts.SAMPLED])
def test_every_part_reads_and_moves_shards_as_it_does_the_whole(ranks, every_part, loop):
    assert ranks[0]["parts"] == ranks[1]["parts"]
    for key in ("readings", "knobs"):
        whole, shards = every_part[key][loop], ranks[0]["parts"][key][loop]
        assert len(whole) >= 3
        # Sums of float32 in another order, carried on through 12 steps.
        assert shards == pytest.approx(whole, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("layout", ["uneven", "on one rank", "partly sharded"])
def test_the_greatest_norm_is_that_of_the_whole(ranks, layout):
    whole, shards = zip(*(rank["norms"][layout] for rank in ranks), strict=True)
    assert shards == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("layout", ["shards", "units over ranks", "units of a DTensor", "rows of a DTensor"])
def test_dead_units_of_a_layer_that_is_spread_over_ranks_are_those_of_the_whole(ranks, layout):
    whole = ranks[0]["dead"]["whole"]
    assert 0 < whole < 1
    # What a rank reads of its own units is no whole; the mean over the ranks is.
    assert sum(rank["dead"][layout] for rank in ranks) / 2 == pytest.approx(whole)


def test_the_greatest_value_of_all_ranks_is_read(ranks):
    # What is no number is written as null.
    assert [rank["peaks"] for rank in ranks] == [{"both": -1.0, "one": -3.0, "broken": None}] * 2


def test_ranks_keep_as_many_snapshots_as_the_one_with_the_least_room(ranks):
    assert [rank["kept"]["ticks"] for rank in ranks] == [[3, 4]] * 2
    (plenty, *later), (scarce, *_) = (rank["kept"]["told"] for rank in ranks)
    assert later == [""] * 4
    assert plenty.startswith("3 snapshots must fit on every rank; got room for 2 on one of them. Only 2 are kept.")
    assert scarce.startswith("3 snapshots must fit into max_bytes; got ")


def test_the_weights_of_a_run_with_every_part_are_those_of_the_whole(ranks, every_part):
    for name, weights in every_part["weights"].items():
        # A key's bias has no gradient but for rounding, as softmax is blind to it, and Adam enlarges that.
        if name != "key.bias":
            assert ranks[0]["parts"]["weights"][name] == pytest.approx(weights, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("loop", parts.SAMPLED)
def test_the_update_ratio_is_the_mean_of_what_the_shards_read(ranks, monkeypatch, loop):
    readings = []
    for rank in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(homeostat.observers.update, "local", lambda tensor, rank=rank: tensor.chunk(2)[rank])
            readings.append(parts.run(Training())["readings"][loop])
    mean = [(first + second) / 2 for first, second in zip(*readings, strict=True)]
    assert ranks[0]["parts"]["readings"][loop] == pytest.approx(mean, rel=2e-5)


def test_a_group_of_ones_own_joins_nothing(ranks):
    assert [rank["alone"] for rank in ranks] == [[0.0], [1.0]]


def test_all_ranks_put_aside_the_snapshots_of_a_run_that_they_do_not_resume(ranks):
    files = [f"snapshot-{tick:010d}-{rank}of2.pt" for tick in (1, 2) for rank in (0, 1)]
    assert [rank["begun twice"] for rank in ranks] == [[*(f"earlier-1/{file}" for file in files), *files[:2]]] * 2


def test_a_knob_that_one_rank_alone_moved_is_told_on_all(ranks):
    for rank in ranks:
        said = rank["diverging"]["said"]
        assert said.startswith("All ranks must have their knobs at the same values; got loop 'dial' at (")
        assert "but (5.0,) on rank 1." in said
        assert "learning_rate" not in said


def test_dials_are_left_out_of_the_broadcast_while_attached(ranks):
    for number, rank in enumerate(ranks):
        seen = rank["diverging"]
        assert seen["ignored"] == sorted(seen["dials"]) == ["gain.position", "rotary_base.position"]
        assert seen["after"] == []
        assert (seen["gain"] == seen["tensor"] == 5.0) == (number == 1)
