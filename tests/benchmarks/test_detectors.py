"""The replay of recorded losses judges them as a guard would."""

from __future__ import annotations

import numpy as np

from benchmarks.detectors.__main__ import DETECTORS, FACTORS, PLACES, delays, false_alarms, findings, margin
from homeostat.guards.detectors import NonFinite, Spike

QUIET = 2.0 * np.exp(0.05 * np.random.default_rng(0).normal(size=400))


def test_a_reading_outside_of_the_screen_is_judged_at_once_and_others_where_they_are_due() -> None:
    losses = QUIET.tolist()
    losses[203] = 50.0
    losses[255] = float("nan")
    assert list(findings(Spike(), losses, 10)) == [203, 255]
    assert list(findings(NonFinite(), losses, 100)) == [255]


def test_clean_losses_raise_no_alarm_and_faults_are_found_with_their_delay() -> None:
    traces = {"quiet": np.column_stack([QUIET, QUIET])}
    assert all(n == 0 for name in DETECTORS for n in false_alarms(traces)[name]["quiet"].values())
    assert margin(traces, 1) < 0.9
    found = delays(traces)
    assert found["Spike"]["one step"][10.0] == (1.0, 0.0)
    assert found["Shift"]["one step"][10.0] == (0.0, None)
    share, wait = found["Shift"]["lasting"][2.0]
    assert share == 1.0
    assert wait < 20
    assert [len(kinds) for kinds in found["Divergence"].values()] == [len(FACTORS)] * 2
    assert len(PLACES) == 5
