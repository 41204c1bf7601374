"""From a recording to a model, or to the reason why it does not hold one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from homeostat.dynamics.fit import WORSE, Fit, fit
from homeostat.dynamics.grid import Grid
from homeostat.dynamics.noise import WHITE
from homeostat.dynamics.problem import SHAPES
from homeostat.dynamics.recording import Recording
from homeostat.errors import AnalysisError

Structure = Literal["auto", "first_order", "second_order", "integrator"]

FEWEST = 10
# The probability at which an effect counts as chance.
DOUBT = 0.001
# Where more than this share of the knob's moves is a controller's answer, chance has it easier: answer and noise have
# the same past. Of 40 knobs without effect, moved by a PID under noises of five kinds, the least doubt was 2e-5.
ANSWERING, DOUBT_OF_ANSWERS = 0.9, 1e-8
# Every trial of a fit simulates all steps.
MOST_STEPS = 100_000


def identify(recording: Recording, *, structure: Structure = "auto") -> Fit:
    """Find the plant's model in a recording.

    Works on data of an experiment and on those of a loop at work. A reading that wanders by itself, as most do while a
    model learns, is judged by its steps from one decision to the next; noise with a shorter memory, by its innovations.
    What a controller without changes of setpoint records is its own answer to noise, which would pass for a plant that
    is the controller's inverse. So a knob's effect is what it explains beyond the best model without one (a fading
    start, a line and ARMA(1, 1) noise); where the knob but answers the last readings, that has to be much.

    Args:
        recording: what happened.
        structure: "first_order", "second_order", "integrator", or "auto": the one of least Bayesian information
            criterion.

    Raises:
        AnalysisError: no such structure, too few readings, a knob or a reading at rest, or no response that stands out
            of the noise.
    """
    if structure != "auto" and structure not in SHAPES:
        msg = f"structure must be one of auto, {', '.join(SHAPES)}; got {structure!r}. Choose one."
        raise AnalysisError(msg)
    grid = _excited(recording)
    fits = _fits(grid, tuple(SHAPES) if structure == "auto" else (structure,))
    best = min(fits, key=lambda each: each.criterion)
    # Data that hardly tell two structures apart leave both plausible.
    near = [each for each in fits if each is not best and each.criterion - best.criterion < WORSE]
    plausible = sum(((each.model, *each.plausible) for each in near), best.plausible)
    best = best._replace(plausible=plausible, every=recording.every, log_reading=recording.log_reading)
    answers = grid.answered() > ANSWERING
    if best.doubt > (DOUBT_OF_ANSWERS if answers else DOUBT):
        remedy = "Change the setpoint, or perform a test" if answers else "Record for longer, or move the knob further"
        msg = (
            f"The knob's effect must stand out of the noise; got one that explains {100 * best.explained:.0f} % of the "
            f"reading's variation, by chance with probability {best.doubt:.2g}"
            f"{', where the knob but answers the reading' if answers else ''}. {remedy}."
        )
        raise AnalysisError(msg)
    return best


def _fits(grid: Grid, shapes: Sequence[str]) -> list[Fit]:
    """Return a fit of each shape, all of noise with a memory if that is much the better."""
    fits = {name: fit(grid, name) for name in shapes}
    best = min(fits, key=lambda name: fits[name].criterion)
    if (noise := fits[best].likely) == WHITE:
        return list(fits.values())
    coloured = fit(grid, best, noise=noise)
    if coloured.criterion > fits[best].criterion - WORSE:
        return list(fits.values())
    return [coloured, *(fit(grid, name, noise=noise) for name in shapes if name != best)]


def _excited(recording: Recording) -> Grid:
    seen = recording.reading[np.isfinite(recording.reading)]
    if len(seen) < FEWEST:
        msg = f"Identification must have at least {FEWEST} finite readings; got {len(seen)}. Record for longer."
        raise AnalysisError(msg)
    if np.ptp(seen) == 0:
        msg = f"Readings must vary to identify a plant; got {seen[0]:g} throughout. Check what is measured."
        raise AnalysisError(msg)
    if (steps := recording.span / recording.step) > MOST_STEPS:
        msg = (
            f"A recording must have at most {MOST_STEPS} steps of its finest distance; got {steps:.0f}. "
            "Cut a part out of it, or keep decisions at even distances."
        )
        raise AnalysisError(msg)
    grid = Grid(recording)
    if not grid.moved:
        msg = (
            f"The knob must move to identify a plant; got {recording.knob[0]:g} throughout. "
            "Perform a StepTest or a RelayTest."
        )
        raise AnalysisError(msg)
    return grid
