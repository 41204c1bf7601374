"""`Homeostat` attaches loops to a training run and ticks them from the optimizer's own step hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from homeostat.closing import run_all
from homeostat.engine import Engine
from homeostat.errors import AttachError, HomeostatError
from homeostat.guards import Guard, Ladder, SnapshotPolicy, Stateful
from homeostat.guards.protection import Protection
from homeostat.loop import AnyLoop, refuse_shared_actuators
from homeostat.plant import Plant
from homeostat.recipes.recipe import Recipe, load
from homeostat.resuming import Precedence
from homeostat.riding import ride
from homeostat.state import upgraded
from homeostat.steered import Waiting, refuse_unsteerable, strangers
from homeostat.trace import Event, Sink, Trace, Vitals
from homeostat.uneven import Uneven
from homeostat.version import __version__


class Homeostat(Uneven):
    """Holds several quantities of a training run in balance at once, from inside the user's own loop.

    After `attach`, every optimizer step is a tick: loops that are due measure, decide and move their knobs. The
    user adds one line, `homeostat.observe(loss=loss)`, and keeps the loop.

    Args:
        loops: what is steered by what.
        guards: what answers faults.
        ladder: how their answers escalate when a fault comes again.
        snapshots: what there is to go back to; None for nothing, and then no guard can go back.
        name: of this control system, for reports.
        sinks: where the trace goes besides memory.
        capacity: records kept in memory per loop and metric.
        report_every: ticks between two records of the observed metrics.
        vitals_every: ticks between two records of the vitals, in the first 10 of them; later a tenth to a fifth of
            the run so far. 0 for none.
        advise: decide and record everything, and write nothing: the run is bit-identical to one without. Each law
            is told where its knobs really are; a record says what it would do next, with "advised" among the limits.
        in_optimizer: let the state ride in the clock's own `state_dict`, under "homeostat", from where loading it
            restores it. For `torch.save`: `torch.distributed.checkpoint` drops a foreign key.

    Attributes:
        trace: what happened and why.
        recipe: the control system as data.

    Raises:
        TypeError: loops, guards or sinks are not in a list.
        ValueError: two loops write one actuator.
    """

    def __init__(
        self,
        loops: Sequence[AnyLoop],
        *,
        guards: Sequence[Guard] = (),
        ladder: Ladder | None = None,
        snapshots: SnapshotPolicy | None = None,
        name: str = "",
        sinks: Sequence[Sink] = (),
        capacity: int = 1000,
        report_every: int = 10,
        vitals_every: int = 100,
        advise: bool = False,
        in_optimizer: bool = False,
    ) -> None:
        super().__init__()
        for what, given in (("loops", loops), ("guards", guards), ("sinks", sinks)):
            if not isinstance(given, Sequence):
                msg = f"{what} must be a list; got a {type(given).__name__}. Put it in brackets: {what}=[...]."
                raise TypeError(msg)
        self.recipe = Recipe(
            name=name, loops=tuple(loops), guards=tuple(guards), ladder=ladder or Ladder(), snapshots=snapshots
        )
        self.trace = Trace(capacity, sinks)
        self._loops = tuple(loop.coupled() for loop in loops)
        self._report_every = report_every
        self._vitals_every = vitals_every
        self._advise = advise
        self._in_optimizer = in_optimizer
        self._handles: list[RemovableHandle] = []
        refuse_shared_actuators(self._loops)
        self._engine: Engine | None = None
        self._waiting: Waiting | None = None

    @classmethod
    def from_recipe(cls, recipe: str | Path, *, horizon: int | None = None, **options: Any) -> Self:
        """Build the controller a recipe describes.

        Args:
            recipe: "steady", "echo", or the path of a YAML or JSON file.
            horizon: planned length of the run in ticks, where it is known: setpoints that have an ending reach it
                there.
            options: as in the constructor.

        Raises:
            RecipeError: there is no such recipe, or it is not valid.
        """
        found = load(recipe)
        if horizon is not None:
            found = found.over(horizon)
        parts = {"guards": found.guards, "ladder": found.ladder, "snapshots": found.snapshots, "name": found.name}
        return cls(found.loops, **{**parts, **options})

    @property
    def tick(self) -> int:
        """Optimizer steps that changed weights since attach, or since the start of the restored run."""
        return self._attached("tick").plant.tick

    @property
    def knobs(self) -> dict[str, tuple[float, ...]]:
        """Where each loop's knobs stand, in their own units."""
        return self._attached("knobs").knobs()

    def vitals(self, last: int = 100) -> Vitals:
        """Return how well the loops hold what they are to hold: each by itself, and one index over all.

        Args:
            last: decisions of each loop that count, as far as the trace keeps them; a loop is judged from its 20th on.

        Raises:
            HomeostatError: not attached.
            ValueError: `last` is below 20.
        """
        return self._attached("vitals").vitals(last)

    def attach(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *others: Optimizer,
        restores: Sequence[Stateful | torch.Generator] = (),
        process_group: dist.ProcessGroup | None = None,
        latency: int | None = None,
    ) -> Self:
        """Start steering; returns itself.

        Args:
            model: the module that is trained.
            optimizer: the clock: each of its steps is a tick.
            others: further optimizers of the same run.
            restores: what goes back with the weights when a guard goes back: schedulers, a scaler, averaged weights,
                a loader. Where the data go back too, which is where one of them can be iterated over, so do the tick,
                schedules and random generators, and the steps since are taken again; else the run goes on from where
                it is with the weights that were.
            process_group: ranks that train together; by default all, where torch.distributed is initialised.
            latency: ticks between measuring and deciding; by default 0 on the CPU and 1 on an accelerator, where
                an earlier decision would have to wait for the device.

        Raises:
            AttachError: it is attached already, or a part does not fit; nothing is changed then.
        """
        if self._engine is not None:
            msg = "A Homeostat must watch one run at a time; got a second attach. Call detach() first."
            raise AttachError(msg)
        group = process_group
        if group is None and dist.is_available() and dist.is_initialized():
            group = dist.group.WORLD
        if group is not None and dist.get_rank(group) != 0:
            # Every rank decides alike; a file or a dashboard has one writer.
            self.trace.sinks = ()
        refuse_unsteerable((optimizer, *others))
        plant = Plant(model, (optimizer, *others))
        lag = latency if latency is not None else int(plant.device.type != "cpu")
        self._engine = Engine(
            self._loops,
            plant,
            group=group,
            latency=lag,
            trace=self.trace,
            report_every=self._report_every,
            vitals_every=self._vitals_every,
            advise=self._advise,
            protection=Protection(self.recipe.guards, self.recipe.ladder, self.recipe.snapshots, restores),
        )
        self._open_sinks()
        if self._in_optimizer:
            self._handles = ride(optimizer, self.state_dict, self._check, self.load_state_dict)
        for text in ("attached", *self._engine.left_out):
            self.trace.append(Event(0, text))
        for text in strangers(model, plant.optimizers):
            self._engine.warn(text)
        self._waiting = Waiting(plant, self._engine.warn)
        return self

    def observe(self, **metrics: Tensor | float) -> None:
        """Report numbers of the step under way by name: `observe(loss=loss)`; `validation_loss=` where there is one.

        Values are copied at once; several calls before a step are averaged. No device is waited for.

        Raises:
            HomeostatError: not attached, or a value is not one number.
        """
        engine = self._engine or self._attached("observe")
        if self._waiting is not None and self._waiting.over():
            self._waiting = None
        observed = engine.plant.metrics
        for name, value in metrics.items():
            observed.observe(name, value)

    def detach(self, *, keep: bool = False) -> None:
        """Stop steering and remove every hook.

        What acts within a step only (a factor on the learning rate, a limit) ends in any case. What fails (a knob that
        is no longer there, a full disk) does not keep the rest from being done; the first error is raised at the end.

        Args:
            keep: leave the knobs where they are; by default they return to where `attach` found them.
        """
        engine = self._attached("detach")
        self._engine = self._waiting = None
        ended = partial(self.trace.append, Event(engine.plant.tick, "detached"))
        handles = [handle.remove for handle in self._handles]
        self._handles = []
        run_all([*handles, partial(engine.close, keep=keep), ended, *(sink.close for sink in self.trace.sinks)])

    def override(self, loop: str, *values: float) -> None:
        """Set the knobs of a loop by hand and keep them there until `hand_back`; on all ranks alike.

        The loop goes on measuring, and its law follows the knobs. Logged as an event, and in every record of the loop
        by "override" among the limits.

        Args:
            loop: name, as in `knobs`.
            values: of each of its knobs, in their own units.

        Raises:
            HomeostatError: not attached, no such loop, values outside of the knobs' limits, or `advise` is set.
        """
        engine = self._attached("override")
        runner = engine.runner(loop)
        runner.override(values)
        self.trace.append(Event(engine.plant.tick, f"loop {loop!r} overridden by hand: {runner.delivered}"))

    def hand_back(self, loop: str) -> None:
        """Let a loop that was overridden steer again, from where its knobs are; nothing happens to one that was not.

        A law that goes on from its knob's position does so without a bump; a `Schedule` or a filter goes to its own
        command at the next decision, as far as the actuator's `slew` lets it.

        Raises:
            HomeostatError: not attached, or no such loop.
        """
        engine = self._attached("hand_back")
        if engine.runner(loop).hand_back():
            self.trace.append(Event(engine.plant.tick, f"loop {loop!r} handed back"))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next decisions depend on, as plain data (JSON, or `torch.save` with weights_only)."""
        engine = self._attached("state_dict")
        for sink in self.trace.sinks:
            sink.flush()
        return {"homeostat": __version__, **engine.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], *, precedence: Precedence = "checkpoint") -> None:
        """Continue a run; call it after `attach`.

        A run under way is left for good: no guard goes back to it, and snapshots of it after the state's tick are
        removed from the disk.

        Args:
            state: from `state_dict`.
            precedence: "checkpoint" continues laws, readings and, unless it only advises, knobs where they were;
                "recipe" takes over the tick only and lets the laws start anew from the knobs as they are now.

        Raises:
            StateError: the state is not whole, of another version or of other loops, or was saved with parameter groups
                that have not been added again; nothing is changed then.
            ValueError: `precedence` is neither.
        """
        engine = self._attached("load_state_dict")
        self._check(state, precedence)
        engine.load_state_dict(upgraded(state), precedence)
        self._waiting = Waiting(engine.plant, engine.warn)
        for sink in self.trace.sinks:
            sink.open(self._describe())
        self.trace.append(Event(engine.plant.tick, f"resumed, precedence {precedence}"))

    def resume(self, *, precedence: Precedence = "checkpoint") -> bool:
        """Go on from the newest whole snapshot on disk; False where there is none. Call it after `attach`.

        Weights, optimizers, what `attach` was told to restore, random generators and this controller are then what
        they were at the end of that step; with precedence "recipe" this controller takes over the tick only.

        Args:
            precedence: as in `load_state_dict`.

        Raises:
            HomeostatError: not attached, or no snapshots are written (`SnapshotPolicy.directory`).
            StateError: the snapshot is of another model, of other optimizers or loops; nothing is changed then.
        """
        engine = self._attached("resume")
        restored = engine.answering.resume(partial(self._check, precedence=precedence))
        if restored is not None:
            self.load_state_dict(restored.extra, precedence=precedence)
        return restored is not None

    def _check(self, state: Mapping[str, Any], precedence: Precedence = "checkpoint") -> None:
        self._attached("load_state_dict").check(upgraded(state), precedence)

    def _open_sinks(self) -> None:
        opened: list[Sink] = []
        try:
            for sink in self.trace.sinks:
                sink.open(self._describe())
                opened.append(sink)
        except BaseException:
            engine, self._engine = self._attached("attach"), None
            run_all([partial(engine.close, keep=False), *(sink.close for sink in opened)])
            raise

    def _attached(self, what: str) -> Engine:
        if self._engine is None:
            msg = (
                f"Homeostat.{what} must be used between attach and detach; got it outside. "
                "Call attach(model, optimizer) first."
            )
            raise HomeostatError(msg)
        return self._engine

    def _describe(self) -> dict[str, Any]:
        engine = self._attached("describe")
        loops = [{**r.loop.model_dump(mode="json"), "name": r.name} for r in engine.runners]
        return {
            "version": 1,
            "homeostat": __version__,
            "torch": torch.__version__,
            "tick": engine.plant.tick,
            "name": self.recipe.name,
            "loops": loops,
        }
