"""What a snapshot holds of a training run, and how it is put back."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from homeostat.errors import AttachError, StateError
from homeostat.guards.random_state import random_state, restore_random_state
from homeostat.guards.tensor_tree import PutBack, Stored, rebuilt, take_apart
from homeostat.nn import dials
from homeostat.norms import local
from homeostat.plant import Plant

# What schedules write into a group. Where the run goes on instead of being replayed, the schedule goes on too.
_SCHEDULED = frozenset({"lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "weight_decay"})


@runtime_checkable
class Stateful(Protocol):
    """Whatever goes back with the weights: a scheduler, a scaler, a loader, averaged weights."""

    def state_dict(self) -> Any:
        """Return what `load_state_dict` needs to be as now."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Be as when `state` was returned."""


class Content:
    """A run seen as one tree: what there is to save of it, and the way back.

    Model (parameters once, all buffers, dials, `get_extra_state`), optimizers (their state and groups, and parameters
    that are not the model's), `restores`, and the random generators. Everything is looked up at each use: `.to` and
    `load_state_dict` replace buffers, groups come later, and state is made in the first step.

    Args:
        plant: the run.
        restores: what goes back besides; a `torch.Generator` may be among them.

    Attributes:
        replays: whether the data go back too, so that the steps after a snapshot can be taken again: whether one of
            `restores` can be iterated over.

    Raises:
        AttachError: one of `restores` has no `state_dict` and `load_state_dict`.
    """

    def __init__(self, plant: Plant, restores: Sequence[Stateful | Generator] = ()) -> None:
        self._plant = plant
        self._restores = tuple(restores)
        for found in self._restores:
            if not isinstance(found, (Generator, Stateful)):
                msg = (
                    f"What is restored must have state_dict and load_state_dict; got {type(found).__name__}. "
                    "Give it both, or leave it out."
                )
                raise AttachError(msg)
        self.replays = any(_rewinds(found) for found in self._restores)
        # A mask may hold infinities from the start; they are no fault.
        self._infinite = {
            name for name, buffer in self._buffers() if buffer.is_floating_point() and not buffer.isfinite().all()
        }

    def taken(self) -> tuple[dict[str, Any], list[Tensor]]:
        """Return the run as plain data and the live tensors in it."""
        plant = self._plant
        return take_apart(
            {
                "tick": plant.tick,
                "model": dict(self._tensors()),
                "parameters": [name for name, _ in plant.model.named_parameters()],
                "dials": {name: dial.peek() for name, dial in dials(plant.model).items()},
                "modules": {name: module.get_extra_state() for name, module in self._with_extra_state()},
                "apart": dict(self._apart()),
                "optimizers": [_optimizer_tree(optimizer) for optimizer in plant.optimizers],
                "restores": [r.get_state() if isinstance(r, Generator) else r.state_dict() for r in self._restores],
                "random": random_state(),
            }
        )

    def refuse_unloadable(self) -> None:
        """Refuse what could be written but not be read again.

        Raises:
            AttachError: something of `restores` has a state of more than numbers, strings, lists, dicts and tensors.
        """
        for found, skeleton in zip(self._restores, self.taken()[0]["restores"], strict=True):
            written = BytesIO()
            try:
                torch.save(skeleton, written)
                written.seek(0)
                with torch.serialization.safe_globals([Stored]):
                    torch.load(written, weights_only=True)
            except (AttributeError, TypeError, pickle.PickleError) as error:
                msg = (
                    f"A state that goes to disk must be numbers, strings, lists, dicts and tensors; got that of "
                    f"{type(found).__name__}. Convert the rest in its state_dict, or give no directory."
                )
                raise AttachError(msg) from error

    def watched(self) -> list[Tensor]:
        """Return the tensors that must be finite: parameters, optimizer state, and buffers that were at first."""
        found = [tensor for name, tensor in (*self._tensors(), *self._apart()) if name not in self._infinite]
        states = [_optimizer_tree(optimizer)["state"] for optimizer in self._plant.optimizers]
        return found + take_apart(states)[1]

    def put_back(self, skeleton: Mapping[str, Any], storage: list[Tensor], *, replay: bool) -> None:
        """Make the run what it was, in place.

        Args:
            skeleton: from `taken`.
            storage: copies of the tensors it came with.
            replay: put back schedules and random generators too.

        Raises:
            StateError: a parameter has another shape than it had; nothing is changed then.
        """
        back = PutBack(storage)
        self._refuse_another_run(skeleton, storage)
        with torch.no_grad():
            live = dict(self._tensors())
            buffers = {n: back.merged(live.get(n), saved) for n, saved in skeleton["model"].items()}
            apart = dict(self._apart())
            for name, saved in skeleton["apart"].items():
                back.merged(apart.get(name), saved)
            for optimizer, tree in zip(self._plant.optimizers, skeleton["optimizers"], strict=True):
                _optimizer_back(optimizer, tree, back, replay)
            back.copy()
            self._replace({n: b for n, b in buffers.items() if b is not live.get(n)})
        for name, dial in dials(self._plant.model).items():
            if name in skeleton["dials"]:
                dial.set(skeleton["dials"][name])
        for name, module in self._with_extra_state():
            if name in skeleton["modules"]:
                module.set_extra_state(rebuilt(skeleton["modules"][name], storage))
        self._restore_others(skeleton, storage, replay)
        if replay:
            restore_random_state(rebuilt(skeleton["random"], storage))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer of the model by name, tied ones once."""
        for name, parameter in self._plant.model.named_parameters():
            if not is_lazy(parameter):
                yield name, parameter
        yield from self._buffers()

    def _buffers(self) -> Iterator[tuple[str, Tensor]]:
        own = {f"{name}.position" if name else "position" for name in dials(self._plant.model)}
        for name, buffer in self._plant.model.named_buffers():
            # A dial knows its value besides, and an expanded buffer can be replaced but not written.
            expanded = any(s == 0 and n > 1 for s, n in zip(buffer.stride(), buffer.shape, strict=True))
            if name not in own and not is_lazy(buffer) and not expanded:
                yield name, buffer

    def _apart(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter that an optimizer holds and the model does not."""
        known = {id(parameter) for parameter in self._plant.model.parameters()}
        for i, optimizer in enumerate(self._plant.optimizers):
            for j, parameter in enumerate(_parameters(optimizer)):
                if id(parameter) not in known:
                    known.add(id(parameter))
                    yield f"{i}.{j}", parameter

    def _with_extra_state(self) -> Iterator[tuple[str, nn.Module]]:
        for name, module in self._plant.model.named_modules():
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                yield name, module

    def _replace(self, buffers: Mapping[str, Tensor]) -> None:
        """Put copies where a buffer was replaced by one that cannot take its values."""
        for name, buffer in buffers.items():
            owner, _, leaf = name.rpartition(".")
            setattr(self._plant.model.get_submodule(owner), leaf, buffer)

    def _refuse_another_run(self, skeleton: Mapping[str, Any], storage: list[Tensor]) -> None:
        live = dict(self._plant.model.named_parameters())
        saved = {n: tuple(storage[s.place].shape) for n, s in skeleton["model"].items() if n in skeleton["parameters"]}
        wrong = [f"{n} {s}" for n, s in saved.items() if n not in live or tuple(local(live[n].detach()).shape) != s]
        if wrong:
            msg = (
                f"The model must have the parameters of the snapshot, shaped alike; got none like "
                f"{', '.join(wrong[:4])}. Build the same model, or start without the snapshot."
            )
            raise StateError(msg)
        for what, here in (("optimizers", self._plant.optimizers), ("restores", self._restores)):
            if len(here) != len(skeleton[what]):
                msg = (
                    f"A run must be restored with as many {what} as the snapshot has; got {len(here)} for "
                    f"{len(skeleton[what])}. Attach the same ones, in the same order."
                )
                raise StateError(msg)

    def _restore_others(self, skeleton: Mapping[str, Any], storage: list[Tensor], replay: bool) -> None:
        for found, saved in zip(self._restores, skeleton["restores"], strict=True):
            if isinstance(found, Generator):
                if replay:
                    found.set_state(rebuilt(saved, storage))
            elif replay or not isinstance(found, LRScheduler):
                found.load_state_dict(rebuilt(saved, storage))


def _rewinds(found: object) -> bool:
    return isinstance(found, (Iterable, Iterator)) and not isinstance(found, nn.Module)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_tree(optimizer: Optimizer) -> dict[str, Any]:
    """Return state and groups, with parameters by their number; `state_dict` would call the hooks of others."""
    numbers = {id(parameter): i for i, parameter in enumerate(_parameters(optimizer))}
    state = {numbers.get(id(key), key): value for key, value in optimizer.state.items()}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    # Without weights kept by somebody else's key: a tensor that is no parameter here cannot be named again.
    return {"state": {key: value for key, value in state.items() if not isinstance(key, Tensor)}, "groups": groups}


def _optimizer_back(optimizer: Optimizer, tree: Mapping[str, Any], back: PutBack, replay: bool) -> None:
    parameters = _parameters(optimizer)
    state: dict[Any, Any] = {}
    for key, saved in tree["state"].items():
        like = parameters[key] if isinstance(key, int) else None
        found = key if like is None else like
        state[found] = back.merged(optimizer.state.get(found), saved, like)
    # The same dictionary: an optimizer may keep a reference to it.
    optimizer.state.clear()
    optimizer.state.update(state)
    # A group that came after the snapshot stays as it is.
    for group, saved_group in zip(optimizer.param_groups, tree["groups"], strict=False):
        for key, saved in saved_group.items():
            if replay or key not in _SCHEDULED:
                group[key] = back.merged(group.get(key), saved)
