"""How far a closed loop is from instability: poles, margins and sensitivity, exact for the sampled loop."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeostat.dynamics.model import Pulse
from homeostat.dynamics.rules import Gains

Array = NDArray[np.float64]

# What a PID's derivative is filtered with by default.
FILTER = 8.0


class Margins(NamedTuple):
    """Of a closed loop.

    Attributes:
        stable: whether every pole lies inside the unit circle.
        gain: factor on the loop's gain at which it becomes unstable; infinite if none does.
        phase: in degrees, that the loop may lose at the frequency where its gain is 1; infinite if it never is.
        delay: ticks of dead time that the loop may gain; infinite likewise.
        sensitivity: Ms, the greatest factor by which feedback amplifies a disturbance; 1 / Ms is the distance of
            the Nyquist curve from -1. Good loops have 1.2 to 2.
        poles: of the closed loop in z, largest first.
    """

    stable: bool
    gain: float
    phase: float
    delay: float
    sensitivity: float
    poles: tuple[complex, ...]


def pid_pulse(gains: Gains, every: int, *, derivative_filter: float = FILTER) -> Pulse:
    """Return the transfer from error to command of `homeostat.laws.PID`, deciding every `every` ticks.

    K (1 + h / (2 Ti) (1 + q) / (1 - q) + Td (1 - a) / h (1 - q) / (1 - a q)), q = z^-1, a = e^(-h N / Td).
    """
    gain, reset, rate = gains
    kept = math.exp(-every * derivative_filter / rate) if rate else 0.0
    difference, lag = np.array([1.0, -1.0]), np.array([1.0, -kept])
    rated = lag + rate * (1 - kept) / every * difference
    if math.isinf(reset):
        # With the integrator's pole and zero both kept, a loop of P or PD would count as unstable.
        return Pulse(gain * rated, lag)
    integral = every / (2 * reset) * np.convolve([1.0, 1.0], lag)
    return Pulse(gain * (np.convolve(difference, rated) + integral), np.convolve(difference, lag))


def series(first: Pulse, second: Pulse) -> Pulse:
    """Return the transfer of two systems one after the other."""
    return Pulse(*(np.convolve(a, b) for a, b in zip(first, second, strict=True)))


def response(pulse: Pulse, frequencies: Array) -> NDArray[np.complex128]:
    """Return the transfer at `frequencies`, in radians a decision."""
    q = np.exp(-1j * frequencies)
    above, below = (np.polynomial.polynomial.polyval(q, part) for part in pulse)
    return np.asarray(above / below, dtype=np.complex128)


def closed_loop_poles(loop: Pulse) -> tuple[complex, ...]:
    """Return the roots of 1 + L(z) = 0, largest first, those at 0 left out."""
    size = max(map(len, loop))
    characteristic = sum(np.pad(part, (0, size - len(part))) for part in loop)
    return tuple(sorted(map(complex, np.roots(np.asarray(characteristic))), key=abs, reverse=True))


def margins_of(loop: Pulse, every: int) -> Margins:
    """Return the margins of the loop transfer L, sampled every `every` ticks.

    Crossings of the unit circle and of the negative real axis are bracketed on a grid that follows the dead time's
    turns, and refined; frequencies end at half the sampling rate, which is itself a crossing.
    """
    from scipy.optimize import brentq, minimize_scalar  # noqa: PLC0415

    poles = closed_loop_poles(loop)
    turns = len(loop.numerator)
    grid = np.union1d(np.geomspace(1e-6, math.pi, 2000), np.linspace(1e-6, math.pi, 500 + 40 * turns))

    def at(frequency: float) -> complex:
        return complex(response(loop, np.array([frequency]))[0])

    values = response(loop, grid)
    size = np.abs(values)
    unit = [
        brentq(lambda w: abs(at(w)) - 1, grid[i], grid[i + 1], xtol=1e-14)
        for i in np.flatnonzero((size[:-1] - 1) * (size[1:] - 1) < 0)
    ]
    turned = np.flatnonzero((values.imag[:-1] * values.imag[1:] < 0) & (values.real[:-1] < 0))
    axis = [brentq(lambda w: at(w).imag, grid[i], grid[i + 1], xtol=1e-14) for i in turned if grid[i + 1] < math.pi]
    sizes = [abs(at(w)) for w in axis] + ([abs(at(math.pi))] if at(math.pi).real < 0 else [])
    gain = min((1 / s for s in sizes if s < 1), default=math.inf)
    lags = [(math.atan2(at(w).imag, at(w).real) + math.pi) % (2 * math.pi) for w in unit]
    delay = min((lag / w * every for lag, w in zip(lags, unit, strict=True)), default=math.inf)
    phase = min((math.degrees(min(lag, 2 * math.pi - lag)) for lag in lags), default=math.inf)
    near = int(np.argmin(np.abs(1 + values)))
    bounds = grid[max(near - 1, 0)], grid[min(near + 1, len(grid) - 1)]
    finest = minimize_scalar(lambda w: abs(1 + at(w)), bounds=bounds, method="bounded", options={"xatol": 1e-12})
    nearest = min(float(finest.fun), float(np.min(np.abs(1 + values))))
    return Margins(abs(poles[0]) < 1 if poles else True, gain, phase, delay, 1 / nearest, poles)
