"""Linear models of a plant with one knob and one reading, sampled exactly at any period."""

from __future__ import annotations

import cmath
import math
from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from homeostat.errors import AnalysisError
from homeostat.part import Part

Array = NDArray[np.float64]


class Pulse(NamedTuple):
    """A pulse transfer function: coefficients of z^0, z^-1, z^-2, ... above and below; the lower one begins with 1."""

    numerator: Array
    denominator: Array


def check_period(every: int) -> None:
    """Refuse what is no number of ticks between two decisions.

    Raises:
        AnalysisError: it is less than 1.
    """
    if not every >= 1:
        msg = f"every must be at least 1 tick; got {every}. Give the loop's own."
        raise AnalysisError(msg)


class PlantModel(Part):
    """Answers deviations of a knob with deviations of a reading. Times are in ticks; the knob is in its coordinate."""

    @abstractmethod
    def pulse(self, every: int) -> Pulse:
        """Return the transfer from the knob, held between decisions, to the reading at decisions `every` ticks apart.

        Raises:
            AnalysisError: `every` is less than 1, or the model holds at another period only.
        """


class DelayedModel(PlantModel):
    """A model in continuous time with a dead time, sampled with the hold.

    A knob moved at a tick acts from that tick on, so that a dead time of 0 is seen in the next reading. With step
    response s(t) and dead time L = d h + f at period h, the response to a held step is s(h - f), s(2 h - f), ...; its
    differences times the known denominator are the numerator (the modified z-transform), exact for any f.

    Attributes:
        dead_time: L in ticks, not necessarily whole.
    """

    dead_time: float = Field(default=0.0, ge=0, le=1e12)

    @abstractmethod
    def step_response(self, times: Array) -> Array:
        """Return the reading `times` ticks after a step of 1, without the dead time; `times` are not negative."""

    @property
    @abstractmethod
    def poles(self) -> tuple[complex, ...]:
        """Poles in continuous time, per tick."""

    def pulse(self, every: int) -> Pulse:
        """Return the transfer at period `every`."""
        check_period(every)
        whole, part = divmod(self.dead_time, every)
        denominator = np.array([1.0])
        for pole in np.exp(np.array(self.poles) * every):
            denominator = np.convolve(denominator, [1.0, -pole])
        denominator = np.real(denominator)
        # One more than the order: the dead time's fraction spills into the next period.
        places = np.arange(1, len(denominator) + 1)
        answers = self.step_response(np.asarray(places * every - part, dtype=np.float64))
        answers[1:] -= answers[:-1].copy()
        numerator = np.convolve(answers, denominator)[: len(answers)]
        return Pulse(np.concatenate((np.zeros(int(whole) + 1), numerator)), denominator)


class FirstOrderModel(DelayedModel):
    """Approaches a line exponentially, after a dead time (FOPDT).

    time_constant dy/dt = offset + gain u(t - dead_time) - y.

    Attributes:
        gain: K, reading per knob.
        time_constant: T in ticks.
        offset: the reading at knob 0, in the end.
    """

    gain: float
    time_constant: float = Field(gt=0)
    offset: float = 0.0

    def step_response(self, times: Array) -> Array:
        """Return K (1 - e^(-t / T))."""
        return -self.gain * np.expm1(-times / self.time_constant)

    @property
    def poles(self) -> tuple[complex, ...]:
        """The one at -1 / T."""
        return (-1 / self.time_constant,)


class SecondOrderModel(DelayedModel):
    """Approaches a line with inertia, in an S-shape or swinging, after a dead time.

    T^2 y'' + 2 damping T y' + y = offset + gain u(t - dead_time).

    Attributes:
        gain: K, reading per knob.
        time_constant: T in ticks; the natural frequency is 1 / T.
        damping: 1 and more do not swing.
        offset: the reading at knob 0, in the end.
    """

    gain: float
    time_constant: float = Field(gt=0)
    damping: float = Field(gt=0)
    offset: float = 0.0

    def step_response(self, times: Array) -> Array:
        """Return K (1 - (p e^(q t) - q e^(p t)) / (p - q)) with poles p and q, or its limit where they meet."""
        p, q = self.poles
        if abs(p - q) < 1e-6 * abs(p):
            return self.gain * (1.0 - np.exp(-times / self.time_constant) * (1 + times / self.time_constant))
        swing = (p * np.exp(q * times) - q * np.exp(p * times)) / (p - q)
        return np.asarray(self.gain * (1.0 - np.real(swing)), dtype=np.float64)

    @property
    def poles(self) -> tuple[complex, ...]:
        """The two roots of T^2 s^2 + 2 damping T s + 1."""
        split = cmath.sqrt(self.damping**2 - 1)
        # The slow root of a strongly damped pair would cancel; it follows from their product.
        fast = -(self.damping + split) / self.time_constant
        return fast, 1 / (self.time_constant**2 * fast)


class IntegratorModel(DelayedModel):
    """Runs away from any knob position but one, after a dead time; also stands for a plant slower than the record.

    dy/dt = slope (u(t - dead_time) - balance).

    Attributes:
        slope: reading per knob and tick.
        balance: the knob position at which the reading stands still.
    """

    slope: float
    balance: float = 0.0

    def step_response(self, times: Array) -> Array:
        """Return the ramp."""
        return self.slope * times

    @property
    def poles(self) -> tuple[complex, ...]:
        """The one at 0."""
        return (0.0,)


Model = FirstOrderModel | SecondOrderModel | IntegratorModel


class ARXModel(PlantModel):
    """The next reading is a weighted sum of the last readings and knob positions, a constant and noise.

    y_k = c + sum_i past[i] y_{k-1-i} + sum_j drive[j] u_{k-delay-j} + e_k, one step every `every` ticks.

    Attributes:
        past: weights of the last readings, newest first.
        drive: weights of the knob, newest first.
        delay: decisions until the knob acts, at least 1.
        constant: c.
        every: ticks between two steps.
    """

    past: tuple[float, ...]
    drive: tuple[float, ...] = Field(min_length=1)
    delay: int = Field(default=1, ge=1)
    constant: float = 0.0
    every: int = Field(default=1, ge=1)

    def pulse(self, every: int) -> Pulse:
        """Return the transfer at the model's own period."""
        if every != self.every:
            msg = f"An ARXModel must be used at its own period of {self.every} ticks; got {every}. Identify it anew."
            raise AnalysisError(msg)
        return Pulse(np.array([0.0] * self.delay + [*self.drive]), np.array([1.0, *(-a for a in self.past)]))

    @property
    def poles(self) -> tuple[complex, ...]:
        """Poles in discrete time, largest first; inside the unit circle: stable."""
        roots = np.roots([1.0, *(-a for a in self.past)])
        return tuple(sorted(map(complex, roots), key=abs, reverse=True))

    @property
    def static_gain(self) -> float:
        """Reading per knob in the end; infinite for an integrator."""
        resting = 1.0 - sum(self.past)
        return sum(self.drive) / resting if resting else math.copysign(math.inf, sum(self.drive))
