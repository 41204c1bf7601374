"""Answers escalate, and end."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.guards import Ladder
from homeostat.guards.guard import ANSWERS
from homeostat.guards.ladder import LadderState
from homeostat.state import from_data, to_data

LADDER = Ladder(patience=2, batches=3, rollbacks=2, calm=50, budget=20, window=100)


def climb(findings, first="skip", ladder=LADDER, *, depth=3, broken=False):
    state, answers = LadderState(), []
    for tick in findings:
        rung, state = ladder.climb(state, first, tick=tick, moment=tick, depth=depth, broken=broken)
        answers.append(rung.answer if rung.answer != "rollback" else f"back {rung.back}" + " again" * rung.replay)
    return answers


def test_mild_answers_first_then_back_and_again_then_further_back_then_the_end():
    expected = [*["skip"] * 2, "back 0 again", *["skip"] * 3, "back 1", *["skip"] * 3, "abort"]
    assert climb(range(100, 111)) == expected


def test_a_guard_may_begin_higher():
    assert climb([1, 2, 3], "rollback") == ["back 0 again", "back 1", "abort"]
    assert climb([1], "abort") == ["abort"]
    assert climb([1, 2, 3, 4], "alarm") == ["alarm"] * 4


def test_what_a_mild_answer_cannot_mend_goes_back_at_once():
    assert climb([1], broken=True) == ["back 0 again"]


def test_an_incident_is_over_after_a_calm():
    assert climb([1, 2, 53]) == ["skip", "skip", "skip"]
    assert climb([1, 2, 52]) == ["skip", "skip", "back 0 again"]


def test_a_replay_stays_in_the_incident_until_the_fault_is_behind_it():
    state = LadderState()
    for tick in (100, 101, 102):
        rung, state = LADDER.climb(state, "skip", tick=tick, moment=tick, depth=3, broken=False)
    assert rung.answer == "rollback"
    # Set back to tick 20 and found again at 100.
    rung, state = LADDER.climb(state, "skip", tick=100, moment=185, depth=3, broken=False)
    assert (rung.answer, state.rollbacks) == ("skip", 1)


def test_without_a_snapshot_there_is_nothing_to_go_back_to():
    assert climb(range(12), depth=0) == ["skip"] * 12
    assert climb([1, 2], "rollback", depth=0) == ["alarm", "alarm"]


def test_no_further_back_than_there_are_snapshots():
    assert climb([1, 2], "rollback", depth=1) == ["back 0 again", "back 0"]


def test_the_budget_of_a_window_ends_the_run():
    ladder = Ladder(patience=100, budget=4, window=10)
    assert climb(range(5), ladder=ladder) == ["skip"] * 4 + ["abort"]
    assert climb(range(0, 60, 5), ladder=ladder) == ["skip"] * 12


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(ANSWERS), st.integers(0, 60), st.integers(0, 3), st.booleans()), max_size=80))
def test_never_milder_than_asked_and_the_state_survives_saving(findings):
    state, tick = LadderState(), 0
    for first, later, depth, broken in findings:
        tick += later
        saved = from_data(LadderState(), json.loads(json.dumps(to_data(state))))
        rung, after = LADDER.climb(saved, first, tick=tick, moment=tick, depth=depth, broken=broken)
        assert (rung, after) == LADDER.climb(state, first, tick=tick, moment=tick, depth=depth, broken=broken)
        assert ANSWERS.index(rung.answer) >= ANSWERS.index(first) or depth == 0
        assert len(after.moments) <= LADDER.budget + 1
        state = after
