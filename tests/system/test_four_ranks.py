"""Four real processes decide alike however the model is shared, and go on when some are late, wrong or done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.crew import FAULT_AT, GOOD_AT, HALF, NAN_AT, STEPS
from tests.system.processes import run_ranks

WORKER = Path(__file__).with_name("crew.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of four ranks saw; one start of the processes serves every test."""
    folder = tmp_path_factory.mktemp("crew")
    run_ranks(WORKER, folder, 4)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(4)]


def commands(seen: dict[str, Any]) -> dict[str, list[float]]:
    return {name: columns["command.0"] for name, columns in seen["loops"].items()}


@pytest.mark.parametrize("scene", ["ddp", "late", "hsdp"])
def test_four_ranks_decide_alike_to_the_last_bit(ranks, scene):
    assert all(rank[scene] == ranks[0][scene] for rank in ranks)
    assert ranks[0][scene]["tick"] == STEPS
    assert len(set(commands(ranks[0][scene])["learning_rate"])) > 3


def test_a_rank_that_is_late_changes_no_decision(ranks):
    assert ranks[0]["late"] == ranks[0]["ddp"]


@pytest.mark.parametrize("scene", ["ddp", "hsdp"])
def test_one_rank_without_a_number_holds_all_four_in_the_same_tick(ranks, scene):
    for rank in ranks:
        rate = rank[scene]["loops"]["learning_rate"]
        assert [tick for tick, held in zip(rate["tick"], rate["held"], strict=True) if held] == [NAN_AT]


def test_replicas_of_shards_decide_as_replicas_of_the_whole_do(ranks):
    replicas, shards = commands(ranks[0]["ddp"]), commands(ranks[0]["hsdp"])
    for loop in ("learning_rate", "clip_norm", "update_limit", "dial"):
        assert shards[loop] == pytest.approx(replicas[loop], rel=1e-5)
    for one, other in zip(ranks[0]["ddp"]["weights"], ranks[0]["hsdp"]["weights"], strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_two_groups_given_by_the_user_train_apart(ranks):
    first, second, third, fourth = (rank["halves"] for rank in ranks)
    assert first == second
    assert third == fourth
    assert commands(first) != commands(third)
    # The rank that was fed a NaN is in the first.
    assert any(first["loops"]["learning_rate"]["held"])
    assert "held" not in third["loops"]["learning_rate"] or not any(third["loops"]["learning_rate"]["held"])


@pytest.mark.parametrize("scene", ["guarded", "guarded shards", "guarded against one"])
def test_a_loss_that_is_no_number_or_too_large_on_one_rank_takes_all_four_back_in_the_same_tick(ranks, scene):
    assert all(rank[scene]["found"] == [[FAULT_AT, "rollback", GOOD_AT]] for rank in ranks)
    for rank in ranks:
        before, after = rank[scene]["shards"][FAULT_AT - 1], rank[scene]["shards"][FAULT_AT]
        # What was there when the last good snapshot was taken, of each rank's shards, to the last bit.
        assert after == rank[scene]["shards"][GOOD_AT - 1]
        assert rank[scene]["shards"][-1] != after or not any(after)
        assert before != after or not any(after)
        assert rank[scene]["tick"] == STEPS - 1
        assert rank[scene]["weights"] == ranks[0][scene]["weights"]


def test_a_fault_in_one_group_of_two_takes_back_that_group_and_not_the_other(ranks):
    found = [rank["guarded halves"]["found"] for rank in ranks]
    assert found == [[[FAULT_AT, "rollback", GOOD_AT]]] * 2 + [[]] * 2
    first, second, third, fourth = (rank["guarded halves"] for rank in ranks)
    assert first == second
    assert first["shards"][FAULT_AT] == first["shards"][GOOD_AT - 1]
    assert third == fourth


def test_ranks_that_run_out_of_batches_tick_along(ranks):
    seen = [rank["uneven"] for rank in ranks]
    assert [one.pop("steps") for one in seen] == [3, 4, 5, 6]
    assert all(one == seen[0] for one in seen)
    assert seen[0]["tick"] == 6
    assert len(set(commands(seen[0])["learning_rate"])) == 3


def test_a_join_without_the_controller_is_refused_and_one_that_begins_with_it(ranks):
    for rank in ranks:
        without, first = rank["refused"]
        assert without.startswith("A Homeostat must be in the same Join as its model; got a Join without it.")
        assert first.startswith("A Homeostat must come after its model in a Join; got it first.")


@pytest.mark.parametrize(("scene", "at_a_decision"), [("ddp", 1), ("fsdp", 1), ("fsdp with a norm", 2)])
def test_a_decision_costs_one_collective_and_a_tick_between_none(ranks, scene, at_a_decision):
    # Ticks 1 to 7 of loops that are due every 3; the whole norm of shards is joined by one more.
    expected = [0, 0, at_a_decision, 0, 0, at_a_decision, 0]
    assert [rank["counted"][scene] for rank in ranks] == [expected] * 4


def goes_on(whole: dict[str, Any], other: dict[str, Any]) -> None:
    """Check that a run went on with another number of ranks as it does with as many as saved it."""
    assert other["tick"] == whole["tick"] == 2 * HALF
    for loop in ("learning_rate", "clip_norm", "update_limit", "dial"):
        went_on, all_along = commands(other)[loop], commands(whole)[loop]
        # Sums of float32 in another order.
        assert went_on == pytest.approx(all_along[-len(went_on) :], rel=1e-5)
        assert len(went_on) >= 2
    assert other["dial"] == pytest.approx(whole["dial"], rel=1e-6)
    for one, same in zip(whole["weights"], other["weights"], strict=True):
        assert same == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_a_checkpoint_of_four_ranks_goes_on_with_two(ranks):
    four = [rank["worlds"][0] for rank in ranks]
    assert all(one == four[0] for one in four)
    two = [rank["worlds"][1] for rank in ranks[:2]]
    assert two[0] == two[1]
    goes_on(four[0], two[0])


def test_a_checkpoint_of_two_ranks_goes_on_with_four(ranks):
    four = [rank["grown"][0] for rank in ranks]
    assert all(one == four[0] for one in four)
    two = [rank["grown"][1] for rank in ranks[:2]]
    assert two[0] == two[1]
    goes_on(two[0], four[0])
