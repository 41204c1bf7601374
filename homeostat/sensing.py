"""From observers to readings: what is due is measured on the device and travels to the host in one vector."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from homeostat.agreement import Agreement, refuse_outsider
from homeostat.errors import StateError
from homeostat.landing import Landing, on_host
from homeostat.observers.observer import Observer, Phase
from homeostat.pace import Pace
from homeostat.plant import Plant
from homeostat.sensor import Sensor
from homeostat.state import from_data, require, to_data

# Taken in one step, read in the next.
_OF_UPDATES: tuple[Phase, ...] = ("proposals", "updates")
_EARLY: tuple[Phase, ...] = (*_OF_UPDATES, "activations")


class _Flight(NamedTuple):
    """A vector on its way to the host: values, then what the reduction needs of each."""

    arrives: int
    sensors: tuple[int, ...]
    vector: Landing

    def rows(self) -> list[list[float]]:
        """Return what has arrived, by sensor."""
        return [row[: len(self.sensors)] for row in self.vector.tolist()]


class Senses:
    """All sensors of a controller.

    Measurements of a tick are packed into one vector, reduced over the process group by one SUM (value, count and
    number of non-finite contributions of each sensor, what `agreement` compares, and of each greatest value one number
    a rank), and copied to the host without waiting for it; they are handed out `latency` ticks later, a fixed number,
    so that a run is reproducible.

    Args:
        plant: what is measured.
        group: process group to reduce over, None for one process.
        latency: ticks between measuring and reading.
        agreement: what else the ranks compare in the same sum.
        warn: takes what an observer says of having nothing to measure.

    Raises:
        AttachError: this rank is not in the group.
    """

    def __init__(
        self,
        plant: Plant,
        group: dist.ProcessGroup | None,
        latency: int,
        agreement: Agreement | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        refuse_outsider(group)
        self._plant = plant
        self._group = group
        self._latency = latency
        self._agreement, self._warn = agreement, warn
        self._sensors: list[Sensor] = []
        self._updates: list[Sensor] = []
        self._activations: list[Sensor] = []
        self._flights: deque[_Flight] = deque()
        self._wake: float = 0
        self._absent = torch.zeros((), dtype=plant.dtype, device=plant.device)

    def add(self, observers: Sequence[Observer], every: int, pace: Pace | None = None) -> tuple[int, ...]:
        """Return the indices of sensors for `observers`; equal ones of equal, fixed cadence share one.

        Args:
            observers: what is measured.
            every: ticks between two readings.
            pace: the same where it may change.

        Raises:
            AttachError: the plant has nothing of this kind to measure; no sensor is left behind then.
        """
        count = len(self._sensors)
        try:
            pace = Pace(every) if pace is None else pace
            indices = tuple(self._add(observer, pace) for observer in observers)
        except BaseException:
            for sensor in self._sensors[count:]:
                sensor.close()
            del self._sensors[count:]
            raise
        self._wake = 0
        self._updates = [s for s in self._sensors if s.observer.phase in _OF_UPDATES]
        self._activations = [s for s in self._sensors if s.observer.phase == "activations"]
        return indices

    def arm(self) -> None:
        """Before a forward pass: ready the activation sensors that are due at this tick."""
        tick = self._plant.tick
        self._prepare(self._activations, tick)
        due = [(-(-tick // s.pace.every) * s.pace.every, s.observer.phase) for s in self._sensors]
        # What a step does, and activations, are prepared in the step before.
        self._wake = min((max(t - (phase in _EARLY), tick) for t, phase in due), default=math.inf)

    @property
    def wake(self) -> float:
        """The next tick at which something is to be measured, prepared or handed out; those before pass it over."""
        return min(self._wake, self._flights[0].arrives) if self._flights else self._wake

    def before_step(self) -> None:
        """Before a step changes the weights: ready the update sensors that are due at the next tick."""
        self._prepare(self._updates, self._plant.tick + 1)

    def after_update(self) -> None:
        """After the optimizer's own update, before any actuator limits it: measure what it proposes."""
        for sensor in self._due_next("proposals"):
            sensor.proposed = sensor.observer.observe(self._plant, sensor.memory)

    def after_step(self) -> None:
        """After the step, limits included: measure what it did."""
        for sensor in self._due_next("proposals"):
            sensor.measured, sensor.proposed = sensor.proposed, None
        for sensor in self._due_next("updates"):
            sensor.measured = sensor.observer.observe(self._plant, sensor.memory)

    def exchange(self, *, silent: bool = False) -> dict[int, float]:
        """Measure what is due at this tick and send it on its way; return the readings that arrive, by sensor.

        A silent rank takes part in the sum and adds to it only what its last step did.
        """
        tick = self._plant.tick
        due = tuple(i for i, sensor in enumerate(self._sensors) if tick % sensor.pace.every == 0)
        if due:
            with torch.no_grad():
                self._send(due, silent=silent)
        return self._arrivals() if self._flights else {}

    def _send(self, due: tuple[int, ...], *, silent: bool) -> None:
        sensors = [self._sensors[i] for i in due]
        measured = [self._observe(s) if not silent or s.observer.phase in _OF_UPDATES else None for s in sensors]
        if self._group is None:
            due = tuple(i for i, m in zip(due, measured, strict=True) if m is not None)
            if not due:
                return
        numbers = self._alone(measured) if self._group is None else self._pack(due, measured)
        self._flights.append(_Flight(self._plant.tick + self._latency, due, Landing(numbers)))

    def _arrivals(self) -> dict[int, float]:
        # A non-finite measurement is a reading too.
        readings: dict[int, float] = {}
        while self._flights and self._flights[0].arrives <= self._plant.tick:
            flight = self._flights.popleft()
            rows = flight.vector.tolist()
            if self._agreement is not None and len(rows[0]) > len(flight.sensors):
                self._agreement.check([row[-2:] for row in rows])
            for index, value in zip(flight.sensors, self._unpack(flight, rows), strict=True):
                if value is None:
                    continue
                sensor = self._sensors[index]
                reading, sensor.history = sensor.observer.interpret(value, sensor.history)
                if reading is not None:
                    readings[index] = reading
        return readings

    def kept(self) -> list[tuple[Any, Tensor | float | None, Any]]:
        """Return what `put_back` needs where what is exchanged is not to count after all; without latency alone."""
        return [(sensor.history, sensor.measured, sensor.observer.save(sensor.memory)) for sensor in self._sensors]

    def put_back(self, kept: list[tuple[Any, Tensor | float | None, Any]]) -> None:
        """Make histories, observers' memories, and what has been measured and not read, what they were."""
        for sensor, (history, measured, saved) in zip(self._sensors, kept, strict=True):
            sensor.history, sensor.measured = history, measured
            if sensor.observer.save(sensor.memory) != saved:
                sensor.observer.load(self._plant, sensor.memory, saved)

    def close(self) -> None:
        """Remove every hook and forget what is under way."""
        for sensor in self._sensors:
            sensor.close()
        self.forget()

    def forget(self) -> None:
        """Forget what has been measured and not read."""
        self._flights.clear()
        for sensor in self._sensors:
            sensor.measured = sensor.proposed = None

    def state_dict(self) -> dict[str, Any]:
        """Histories, and numbers that have been measured but not read; plain data."""
        return {
            "observers": self._kinds(),
            "histories": [to_data(sensor.history) for sensor in self._sensors],
            "memories": [to_data(sensor.observer.save(sensor.memory)) for sensor in self._sensors],
            "measured": [None if s.measured is None else float(s.measured) for s in self._sensors],
            # Without what the ranks compare, since there may be another number of them on load.
            "flights": [
                [f.arrives, list(f.sensors), [row[: len(f.sensors)] for row in f.vector.tolist()]]
                for f in self._flights
            ],
        }

    def check(self, state: dict[str, Any]) -> None:
        """Refuse a state that is not whole, or of other observers, before anything is changed.

        Raises:
            StateError: it is.
        """
        require(state, self.state_dict(), "The readings of a saved state")
        if state["observers"] != self._kinds():
            msg = (
                f"A state must be of the same observers; got {', '.join(state['observers'])} for "
                f"{', '.join(self._kinds())}. Use the saved recipe, or load with precedence='recipe'."
            )
            raise StateError(msg)
        counts = {key: len(state[key]) for key in ("histories", "memories", "measured")}
        if set(counts.values()) != {len(self._sensors)}:
            msg = f"A state must have one entry an observer; got {counts} for {len(self._sensors)}. Load all of it."
            raise StateError(msg)
        for sensor, history in zip(self._sensors, state["histories"], strict=True):
            from_data(sensor.observer.start(), history)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the sensors must be the same ones."""
        for sensor, history, measured in zip(self._sensors, state["histories"], state["measured"], strict=False):
            sensor.history = from_data(sensor.observer.start(), history)
            # As wide as the vector it will ride in, so that nothing is rounded.
            sensor.measured = (
                None if measured is None else torch.tensor(measured, dtype=self._plant.dtype, device=self._plant.device)
            )
        for sensor, saved in zip(self._sensors, state["memories"], strict=False):
            if saved is not None:
                sensor.observer.load(self._plant, sensor.memory, saved)
        self._flights = deque(
            _Flight(arrives, tuple(sensors), Landing(torch.tensor(vector, dtype=self._plant.dtype, device="cpu")))
            for arrives, sensors, vector in state["flights"]
        )

    def _kinds(self) -> list[str]:
        return [type(sensor.observer).__name__ for sensor in self._sensors]

    def _add(self, observer: Observer, pace: Pace) -> int:
        for index, sensor in enumerate(self._sensors):
            if sensor.observer == observer and sensor.pace.shares(pace):
                return index
        self._sensors.append(Sensor(observer, pace, self._plant))
        return len(self._sensors) - 1

    def _prepare(self, sensors: list[Sensor], tick: int) -> None:
        for sensor in sensors:
            if tick % sensor.pace.every == 0:
                sensor.observer.prepare(self._plant, sensor.memory)

    def _due_next(self, phase: Phase) -> list[Sensor]:
        tick = self._plant.tick + 1
        return [s for s in self._updates if s.observer.phase == phase and tick % s.pace.every == 0]

    def _observe(self, sensor: Sensor) -> Tensor | float | None:
        if sensor.observer.phase in _OF_UPDATES:
            measured, sensor.measured = sensor.measured, None
            return measured
        found = sensor.observer.observe(self._plant, sensor.memory)
        told = sensor.observer.missing(sensor.memory) if found is None else ""
        if told:
            self._warn(told)
        return found

    def _alone(self, measured: list[Tensor | float | None]) -> Tensor | list[Any]:
        """Return what one process has measured, as one row: numbers where nobody has to wait for them."""
        present = [m for m in measured if m is not None]
        if self._latency == 0 and all(not isinstance(m, Tensor) or on_host(m) for m in present):
            return [[m.item() if isinstance(m, Tensor) else m for m in present]]
        return torch.stack([self._value(m) for m in present]).reshape(1, -1)

    def _value(self, measured: Tensor | float | None) -> Tensor:
        """Return a measurement as a row takes it, shape ()."""
        absent = self._absent
        if measured is None:
            return absent
        if isinstance(measured, Tensor):
            return measured.to(absent).reshape(())
        return torch.full_like(absent, measured)

    def _pack(self, due: tuple[int, ...], measured: list[Tensor | float | None]) -> Tensor:
        absent = self._absent
        values = torch.stack([self._value(m) for m in measured])
        # Made on the device: numbers copied there from the host would have to wait for it.
        present = torch.ones_like(absent)
        counts = torch.stack([absent if m is None else present for m in measured])
        finite = torch.isfinite(values)
        packed = torch.stack([torch.where(finite, values, 0.0), counts, (~finite).to(counts)])
        if self._agreement is not None:
            packed = torch.cat([packed, self._agreement.columns(packed)], dim=1)
        columns = [column for column, i in enumerate(due) if self._sensors[i].observer.reduction == "max"]
        # A greatest value rides in the same sum: each rank has a row of its own, to which the others add nothing.
        rows = packed.new_zeros(dist.get_world_size(self._group), len(columns))
        for place, column in enumerate(columns):
            rows[dist.get_rank(self._group), place] = torch.where(finite & (counts > 0), values, -math.inf)[column]
        sent = torch.cat([packed.flatten(), rows.flatten()])
        dist.all_reduce(sent, op=dist.ReduceOp.SUM, group=self._group)
        packed, rows = sent[: packed.numel()].view_as(packed), sent[packed.numel() :].view_as(rows)
        for place, column in enumerate(columns):
            packed[0, column] = rows[:, place].max()
        return packed

    def _unpack(self, flight: _Flight, rows: list[list[float]]) -> list[float | None]:
        if len(rows) == 1:
            return list(rows[0])
        values, counts, *bad = rows
        unpacked: list[float | None] = []
        for column, index in enumerate(flight.sensors):
            if counts[column] == 0:
                unpacked.append(None)
            elif bad and bad[0][column] > 0:
                unpacked.append(math.nan)
            elif self._sensors[index].observer.reduction == "mean":
                unpacked.append(values[column] / counts[column])
            else:
                unpacked.append(values[column])
        return unpacked
