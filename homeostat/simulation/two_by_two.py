"""A plant on which two loops disturb each other as much as one likes."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from pydantic import Field

from homeostat.simulation.plant import AnyPlant, Readings, Vector

Pair = tuple[float, float]
Time = Annotated[float, Field(gt=0)]
Delay = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0)]


class TwoByTwoState(NamedTuple):
    """The four responses, a row a reading, and each knob's positions that have not acted yet, oldest first."""

    levels: tuple[Vector, ...]
    pending: tuple[Vector, ...]


class TwoByTwo(AnyPlant):
    """Answers each of two knobs in both of two readings, every path with a time constant of its own.

    reading_i = offset_i + x_i1 + x_i2 + noise_i * (a standard normal number), where x_ij approaches
    K_ij * knob_j(t - dead_time_j) with `time_constants[i][j]` as a `FirstOrder` does, and

    K = [[g_1, c_1 g_1], [c_2 g_2, g_2]]   with g = `gains`, c = `interaction`.

    The relative gain of either own pair (reading i on knob i) is 1 / (1 - c_1 c_2): 1 without interaction, large near
    c_1 c_2 = 1, where the plant loses a direction, negative beyond. Times are in ticks. Before the first tick the
    plant rests with its knobs at `start`.

    Source of the relative gain: E. H. Bristol, On a new measure of interaction for multivariable process control,
    IEEE Transactions on Automatic Control 11, 1966.
    """

    gains: Pair = (1.0, 1.0)
    interaction: Pair = (0.5, 0.5)
    time_constants: tuple[tuple[Time, Time], tuple[Time, Time]] = ((10.0, 10.0), (10.0, 10.0))
    dead_times: tuple[Delay, Delay] = (0, 0)
    offset: Pair = (0.0, 0.0)
    noise: tuple[Size, Size] = (0.0, 0.0)
    start: Pair = (0.0, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Two readings, two knobs."""
        return 2, 2

    @property
    def gain(self) -> tuple[Pair, Pair]:
        """K, one row a reading."""
        (g1, g2), (c1, c2) = self.gains, self.interaction
        return (g1, c1 * g1), (c2 * g2, g2)

    def init(self) -> TwoByTwoState:
        """Return the plant at rest with its knobs at `start`."""
        u1, u2 = self.start
        (k11, k12), (k21, k22) = self.gain
        pending = tuple((u,) * delay for u, delay in zip(self.start, self.dead_times, strict=True))
        return TwoByTwoState(((k11 * u1, k12 * u2), (k21 * u1, k22 * u2)), pending)

    def observe(self, state: TwoByTwoState, noise: Vector) -> Readings:
        """Return the sums of both rows, with noise."""
        rows = zip(self.offset, state.levels, self.noise, noise, strict=True)
        return tuple([offset + x1 + x2 + size * normal for offset, (x1, x2), size, normal in rows])

    def advance(self, state: TwoByTwoState, knobs: Vector, noise: Vector) -> TwoByTwoState:
        """Let the knobs, each delayed by its dead time, act for one tick."""
        del noise
        queues = [(*pending, knob) for pending, knob in zip(state.pending, knobs, strict=True)]
        acting = (queues[0][0], queues[1][0])
        levels = tuple(
            tuple(x - math.expm1(-1 / t) * (k * u - x) for x, t, k, u in zip(*row, acting, strict=True))
            for row in zip(state.levels, self.time_constants, self.gain, strict=True)
        )
        return TwoByTwoState(levels, tuple(queue[1:] for queue in queues))
