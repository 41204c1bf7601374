"""The PID of least absolute error on a model, among those robust enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.margins import FILTER, response
from homeostat.dynamics.model import Model, Pulse
from homeostat.dynamics.rules import Gains, gains, reduce
from homeostat.errors import AnalysisError

Array = NDArray[np.float64]

# Greatest Ms on the model, and on others that the data allow.
ROBUST, SAFE = 1.8, 2.2


def least_error(model: Model, *, every: int = 1, plausible: Sequence[Model] = ()) -> Gains:
    """Return the gains of least IAE over a step of the setpoint and one of the load that are robust.

    Ms is at most 1.8 on the model, and 2.2 on each of the `plausible` ones.

    The closed loop with hold and `PID`'s own arithmetic is simulated for some hundred candidates at once, first around
    the SIMC gains, then closer around the best. The setpoint moves as far as the load would push the reading.

    Raises:
        AnalysisError: the plant does not answer its knob, or no controller is safe on all of the plausible ones.

    Source: K. J. Åström and T. Hägglund, Advanced PID Control, 2006, sections 4.6 and 7.2 (constrained optimisation).
    """
    slope, lag, delay = reduce(model, every)
    begin = gains(model, rule="simc_pid", every=every)
    scale = min(lag, 8 * delay)
    steps = int(np.ceil(8 * (scale + delay) / every)) + 10
    pulse, others = model.pulse(every), [other.pulse(every) for other in plausible]
    rng = np.random.default_rng(0)
    factors = [np.geomspace(0.03, 4, 12), np.geomspace(0.15, 3, 7), np.append(0.0, np.geomspace(0.3, 6, 6))]
    trials = np.stack(np.meshgrid(*factors, indexing="ij"), axis=-1).reshape(-1, 3) * np.array(begin)
    best, error = np.array(begin), np.inf
    for spread in (0.6, 0.6, 0.3, 0.15, 0.08, 0.0):
        robust = _robust(pulse, others, trials, every)
        if len(robust):
            errors = _error(pulse, robust, every, steps, abs(slope) * scale)
            if errors.min() < error:
                best, error = robust[errors.argmin()], errors.min()
        trials = best * np.exp(spread * rng.standard_normal((100, 3)))
    if not np.isfinite(error):
        msg = (
            f"A controller must be safe on every plant that the data allow; got none for {1 + len(others)} models. "
            "Record for longer, or move the knob further."
        )
        raise AnalysisError(msg)
    return Gains(*map(float, best))


def _robust(pulse: Pulse, others: Sequence[Pulse], trials: Array, every: int) -> Array:
    """Return the candidates that are robust on the model and safe on all others."""
    trials = trials[_sensitivity(pulse, trials, every) <= ROBUST]
    for other in others:
        trials = trials[_sensitivity(other, trials, every) <= SAFE]
    return trials


def _sensitivity(pulse: Pulse, trials: Array, every: int) -> Array:
    """Return Ms of each candidate; infinite for an unstable loop.

    By Nyquist's criterion for a plant without unstable poles, 1 + L must not turn about 0: what its phase begins with
    below 0 it must have made up for at half the sampling rate. A gain of the wrong sign begins elsewhere.
    """
    turns = len(pulse.numerator)
    frequencies = np.union1d(np.geomspace(1e-4, np.pi, 150), np.linspace(1e-4, np.pi, 4 * turns))
    q = np.exp(-1j * frequencies)[:, None]
    gain, reset, rate = trials.T
    kept = _kept(rate, every)
    control = gain * (
        1 + every / (2 * reset) * (1 + q) / (1 - q) + rate * (1 - kept) / every * (1 - q) / (1 - kept * q)
    )
    loop = response(pulse, frequencies)[:, None] * control
    turn = np.unwrap(np.angle(1 + loop), axis=0)
    # An integrator's phase begins at -90 degrees, two at -180, which rounding may show as +180.
    end = turn[-1] - 2 * np.pi * (turn[0] > 0)
    stable = (np.abs(end) < np.pi / 2) & (gain * pulse.numerator.sum() > 0)
    return np.where(stable, 1 / np.abs(1 + loop).min(axis=0), np.inf)


def _kept(rate: Array, every: int) -> Array:
    """Return the share of the derivative term that lasts to the next decision."""
    return np.where(rate > 0, np.exp(-every * FILTER / np.maximum(rate, 1e-300)), 0.0)


def _error(pulse: Pulse, trials: Array, every: int, steps: int, goal: float) -> Array:
    """Return the IAE of each candidate: a setpoint of `goal` from rest, then a load of 1; infinite if it diverges."""
    gain, reset, rate = trials.T
    kept, count = _kept(rate, every), len(trials)
    order, memory = len(pulse.denominator) - 1, len(pulse.numerator)
    readings, knobs = np.zeros((order, count)), np.zeros((memory, count))
    total, integral, derivative, error, reading = (np.zeros(count) for _ in range(5))
    acting = np.flatnonzero(pulse.numerator)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(2 * steps):
            # Row (step - j) of the ring holds what was there j steps ago.
            new = pulse.numerator[acting] @ knobs[(step - acting) % memory] if step else np.zeros(count)
            new = new - sum(a * readings[(step - 1 - i) % order] for i, a in enumerate(pulse.denominator[1:]))
            readings[step % order] = new
            left = goal - new
            total += np.abs(left)
            if step:
                integral += gain * (left + error) * (every / 2) / reset
            derivative = kept * derivative - gain * rate * (1 - kept) * (new - reading) / every
            knobs[step % memory] = gain * left + integral + derivative + (step >= steps)
            error, reading = left, new
    return np.where(np.isfinite(total), total, np.inf)
