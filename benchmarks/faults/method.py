"""What is to protect a run: nothing, the usual means, the published ones, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from benchmarks.clipping import AutoClip, ZClip, clip_to_one
from benchmarks.faults.training import Training
from homeostat import Homeostat
from homeostat.guards import SnapshotPolicy

EVERY, PROBATION = 25, 10
Clip = Callable[[Iterable[Parameter]], None]


class Method:
    """The bare loop; the others add to it.

    Args:
        training: the run to be protected.
        folder: where it may keep what survives the process.
    """

    restores = False
    """Whether it can put back weights that are lost."""

    def __init__(self, training: Training, folder: Path | None = None) -> None:
        self.training, self.folder = training, folder

    def observe(self, loss: Tensor) -> None:
        """Hear of the loss, before the backward pass."""

    def validate(self, loss: float) -> None:
        """Hear of the loss on held-out data."""

    def step(self) -> None:
        """Take the optimizer's step."""
        self.training.optimizer.step()

    @property
    def interventions(self) -> list[str]:
        """What was done about faults, in words."""
        return []


class Clipped(Method):
    """Clips the gradients before every step."""

    def __init__(self, training: Training, folder: Path | None = None, *, clip: Callable[[], Clip]) -> None:
        super().__init__(training, folder)
        self._clip = clip()

    def step(self) -> None:
        """Clip, and step."""
        self._clip(self.training.model.parameters())
        super().step()


class _Plateau:
    """PyTorch's scheduler with its defaults, after a linear warm-up of 10 steps; an epoch is 5 steps."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._peak = [group["initial_lr"] for group in optimizer.param_groups]
        self._plateau = ReduceLROnPlateau(optimizer)
        self._losses: list[float] = []
        self._steps = 0
        self._warm_up()

    def hear(self, loss: float) -> None:
        self._losses.append(loss)

    def step(self) -> None:
        self._steps += 1
        if self._steps <= 10:
            self._warm_up()
        if len(self._losses) == 5:
            self._plateau.step(fmean(self._losses))
            self._losses.clear()

    def _warm_up(self) -> None:
        for group, peak in zip(self._optimizer.param_groups, self._peak, strict=True):
            group["lr"] = peak * min(1.0, (self._steps + 1) / 10)


class Plateau(Method):
    """Lowers the rate where the training loss no longer falls; takes the place of the loop's own schedule."""

    def __init__(self, training: Training, folder: Path | None = None) -> None:
        super().__init__(training, folder)
        self._plateau = training.scheduler = _Plateau(training.optimizer)

    def observe(self, loss: Tensor) -> None:
        """Note the loss."""
        self._plateau.hear(loss.item())


class Ours(Method):
    """The recipe of the training, with its guards.

    The runs are short: the recipe's snapshots are taken every `EVERY` ticks instead of every 100. Where the loader can
    be set back a rollback replays; else the run goes on with the weights that were.
    """

    restores = True

    def __init__(self, training: Training, folder: Path | None = None, *, rewinds: bool) -> None:
        super().__init__(training, folder)
        policy = SnapshotPolicy(every=EVERY, probation=PROBATION, directory=folder, disk_every=EVERY)
        self.homeostat = Homeostat.from_recipe(training.recipe, snapshots=policy)
        restores = (training.scheduler, training.loader) if rewinds else (training.scheduler,)
        self.homeostat.attach(training.model, training.optimizer, restores=restores)
        if folder is not None:
            self.homeostat.resume()

    def observe(self, loss: Tensor) -> None:
        """Report the loss."""
        self.homeostat.observe(loss=loss)

    def validate(self, loss: float) -> None:
        """Report the held-out loss."""
        self.homeostat.observe(validation_loss=loss)

    @property
    def interventions(self) -> list[str]:
        """What the guards did."""
        return [intervention.sentence for intervention in self.homeostat.trace.interventions]


class Entry(NamedTuple):
    """A row of the comparison.

    Attributes:
        make: the method on a training, with a folder for what is to survive the process.
        resumes: another process can go on with the run.
        watches: it intervenes, rightly or not.
    """

    make: Callable[[Training, Path | None], Method]
    resumes: bool = False
    watches: bool = False


METHODS = {
    "bare loop": Entry(Method),
    "clip_grad_norm_(1.0)": Entry(partial(Clipped, clip=lambda: clip_to_one)),
    "ZClip": Entry(partial(Clipped, clip=ZClip)),
    "AutoClip": Entry(partial(Clipped, clip=AutoClip)),
    "ReduceLROnPlateau": Entry(Plateau),
    "ours": Entry(partial(Ours, rewinds=True), resumes=True, watches=True),
    "ours, goes on": Entry(partial(Ours, rewinds=False), resumes=True, watches=True),
}
