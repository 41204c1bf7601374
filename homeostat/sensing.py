"""From observers to readings: what is due is measured on the device and travels to the host in one vector."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils.hooks import RemovableHandle

from homeostat.observers.observer import Observer
from homeostat.plant import Plant
from homeostat.state import from_data, to_data


class Sensor:
    """One observer at work on one plant, read every `every` ticks.

    Args:
        observer: what is measured.
        every: ticks between two readings.
        plant: what it is measured on.

    Raises:
        AttachError: the plant has nothing of this kind to measure.
    """

    def __init__(self, observer: Observer, every: int, plant: Plant) -> None:
        self.observer = observer
        self.every = every
        self.memory = observer.init(plant)
        self.history = observer.start()
        self.handles: tuple[RemovableHandle, ...] = observer.attach(plant, self.memory)
        # An "updates" measurement is taken after one step and rides the vector of the next.
        self.measured: Tensor | None = None

    def due(self, tick: int) -> bool:
        """Whether a reading is wanted at `tick`."""
        return tick % self.every == 0


class _Flight(NamedTuple):
    """A vector on its way to the host: values, then what the reduction needs of each."""

    arrives: int
    sensors: tuple[int, ...]
    vector: Tensor
    landed: torch.cuda.Event | None


class Senses:
    """All sensors of a controller.

    Measurements of a tick are packed into one vector, reduced over the process group by one SUM (value, count
    and number of non-finite contributions of each sensor), and copied to the host without waiting for it; they
    are handed out `latency` ticks later, a fixed number, so that a run is reproducible.

    Args:
        plant: what is measured.
        group: process group to reduce over, None for one process.
        latency: ticks between measuring and reading.
    """

    def __init__(self, plant: Plant, group: dist.ProcessGroup | None, latency: int) -> None:
        self._plant = plant
        self._group = group
        self._latency = latency
        self._sensors: list[Sensor] = []
        self._flights: deque[_Flight] = deque()

    def add(self, observer: Observer, every: int) -> int:
        """Return the index of a sensor for `observer`; loops with equal observers and cadence share one."""
        for index, sensor in enumerate(self._sensors):
            if sensor.observer == observer and sensor.every == every:
                return index
        self._sensors.append(Sensor(observer, every, self._plant))
        return len(self._sensors) - 1

    def arm(self) -> None:
        """Before a forward pass: ready the activation sensors that are due at this tick."""
        self._prepare("activations", self._plant.tick)

    def before_step(self) -> None:
        """Before a step changes the weights: ready the update sensors that are due at the next tick."""
        self._prepare("updates", self._plant.tick + 1)

    def after_step(self) -> None:
        """After the step, with the tick advanced: measure what it did."""
        for sensor in self._sensors:
            if sensor.observer.phase == "updates" and sensor.due(self._plant.tick):
                sensor.measured = sensor.observer.observe(self._plant, sensor.memory)

    def measure(self) -> None:
        """Measure what is due at this tick and send it on its way."""
        due = tuple(i for i, sensor in enumerate(self._sensors) if sensor.due(self._plant.tick))
        if not due:
            return
        vector = self._pack([self._observe(self._sensors[i]) for i in due])
        landed = None
        if vector.is_cuda:
            host = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True)
            host.copy_(vector, non_blocking=True)
            landed = torch.cuda.Event()  # type: ignore[no-untyped-call]
            landed.record()
            vector = host
        self._flights.append(_Flight(self._plant.tick + self._latency, due, vector, landed))

    def arrivals(self) -> dict[int, float]:
        """Return the readings that arrive at this tick by sensor; a non-finite measurement is a reading too."""
        readings: dict[int, float] = {}
        while self._flights and self._flights[0].arrives <= self._plant.tick:
            flight = self._flights.popleft()
            for index, value in zip(flight.sensors, self._unpack(flight), strict=True):
                if value is None:
                    continue
                sensor = self._sensors[index]
                reading, sensor.history = sensor.observer.interpret(value, sensor.history)
                if reading is not None:
                    readings[index] = reading
        return readings

    def close(self) -> None:
        """Remove every hook and forget what is under way."""
        for sensor in self._sensors:
            for handle in sensor.handles:
                handle.remove()
        self._flights.clear()

    def state_dict(self) -> dict[str, Any]:
        """Histories, and numbers that have been measured but not read; plain data."""
        return {
            "histories": [to_data(sensor.history) for sensor in self._sensors],
            "measured": [None if s.measured is None else s.measured.item() for s in self._sensors],
            "flights": [[f.arrives, list(f.sensors), self._landed(f)] for f in self._flights],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the sensors must be the same ones."""
        for sensor, history, measured in zip(self._sensors, state["histories"], state["measured"], strict=False):
            sensor.history = from_data(sensor.observer.start(), history)
            sensor.measured = None if measured is None else torch.tensor(measured, device=self._plant.device)
        self._flights = deque(
            _Flight(arrives, tuple(sensors), torch.tensor(vector, dtype=self._plant.dtype), None)
            for arrives, sensors, vector in state["flights"]
        )

    def _prepare(self, phase: str, tick: int) -> None:
        for sensor in self._sensors:
            if sensor.observer.phase == phase and sensor.due(tick):
                sensor.observer.prepare(self._plant, sensor.memory)

    def _observe(self, sensor: Sensor) -> Tensor | None:
        if sensor.observer.phase == "updates":
            measured, sensor.measured = sensor.measured, None
            return measured
        return sensor.observer.observe(self._plant, sensor.memory)

    def _pack(self, measured: list[Tensor | None]) -> Tensor:
        plant = self._plant
        absent = torch.zeros((), dtype=plant.dtype, device=plant.device)
        values = torch.stack([absent if m is None else m.detach().to(absent).reshape(()) for m in measured])
        counts = torch.tensor([m is not None for m in measured], dtype=plant.dtype, device=plant.device)
        if self._group is None:
            return torch.stack([values, counts])
        finite = torch.isfinite(values)
        packed = torch.stack([torch.where(finite, values, 0.0), counts, (~finite).to(counts)])
        dist.all_reduce(packed, op=dist.ReduceOp.SUM, group=self._group)
        return packed

    def _landed(self, flight: _Flight) -> list[list[float]]:
        if flight.landed is not None:
            flight.landed.synchronize()
        rows: list[list[float]] = flight.vector.tolist()
        return rows

    def _unpack(self, flight: _Flight) -> list[float | None]:
        values, counts, *bad = self._landed(flight)
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
