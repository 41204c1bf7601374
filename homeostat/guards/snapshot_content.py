"""What a snapshot holds of a training run, and how it is put back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.lr_scheduler import LRScheduler

from homeostat.errors import AttachError, StateError
from homeostat.guards.data import Data, gives_data
from homeostat.guards.optimizer_tree import (
    optimizer_back,
    optimizer_groups,
    optimizer_state,
    parameters_of,
    refuse_fewer_groups,
)
from homeostat.guards.random_state import random_state, restore_random_state
from homeostat.guards.tensor_tree import PutBack, Stored, TakeApart, rebuilt, take_apart
from homeostat.nn import Dial
from homeostat.norms import local
from homeostat.plant import Plant


@runtime_checkable
class Stateful(Protocol):
    """Whatever goes back with the weights: a scheduler, a scaler, a loader, averaged weights."""

    def state_dict(self) -> Any:
        """Return what `load_state_dict` needs to be as now."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Be as when `state` was returned."""


class Taken(NamedTuple):
    """A run as plain data, the live tensors in it, and the places of those of them that need not be finite."""

    skeleton: dict[str, Any]
    tensors: list[Tensor]
    unwatched: frozenset[int]

    @property
    def watched(self) -> list[Tensor]:
        """Those that must be."""
        return [tensor for place, tensor in enumerate(self.tensors) if place not in self.unwatched]


class Content:
    """A run seen as one tree: what there is to save of it, and the way back.

    Model (parameters once, all buffers, dials, `get_extra_state`), optimizers (their state and groups, and parameters
    that are not the model's), `restores`, and the random generators. Everything is looked up at each use: `.to` and
    `load_state_dict` replace buffers, groups come later, and state is made in the first step.

    Args:
        plant: the run.
        restores: what goes back besides; a `torch.Generator` may be among them.

    Attributes:
        data: what of `restores` can be iterated over.

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
        self.data = Data(self._restores)
        self._take_model_apart = TakeApart()
        # A mask may hold infinities from the start; they are no fault.
        floats = {name: b for name, b in _Parts(plant.model).buffers.items() if b.is_floating_point()}
        self._infinite = {name for name, buffer in floats.items() if not buffer.isfinite().all()}

    def taken(self) -> Taken:
        """Return the run as plain data and the live tensors in it; no device is waited for."""
        plant, parts = self._plant, _Parts(self._plant.model)
        model, tensors = self._take_model_apart(
            {
                "model": {**parts.parameters, **parts.buffers},
                "apart": self._apart(),
                "states": [optimizer_state(optimizer) for optimizer in plant.optimizers],
            }
        )
        # Rates change from step to step.
        groups, of_groups = take_apart([optimizer_groups(o) for o in plant.optimizers], first=len(tensors))
        tensors = tensors + of_groups
        second, others = take_apart(
            {
                "tick": plant.tick,
                "parameters": list(parts.parameters),
                "dials": {name: dial.peek() for name, dial in parts.dials.items()},
                "modules": {name: module.get_extra_state() for name, module in parts.stateful.items()},
                "restores": [r.get_state() if isinstance(r, Generator) else r.state_dict() for r in self._restores],
                "random": random_state(),
            },
            first=len(tensors),
        )
        first = {
            "model": model["model"],
            "apart": model["apart"],
            "optimizers": [{"state": s, "groups": g} for s, g in zip(model["states"], groups, strict=True)],
        }
        masks = {first["model"][name].place for name in self._infinite if name in first["model"]}
        unwatched = masks.union(range(len(tensors), len(tensors) + len(others)))
        return Taken({**first, **second}, tensors + others, frozenset(unwatched))

    def refuse_unloadable(self) -> None:
        """Refuse what could be written but not be read again.

        Raises:
            AttachError: something of `restores` has a state of more than numbers, strings, lists, dicts and tensors.
        """
        for found, skeleton in zip(self._restores, self.taken().skeleton["restores"], strict=True):
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

    def rewind(self, skeleton: Mapping[str, Any], storage: list[Tensor], agreed: Callable[[int], int]) -> str:
        """Let the data go back, or say why they do not: it decides on what else there is to put back."""
        saved = [s for r, s in zip(self._restores, skeleton["restores"], strict=True) if gives_data(r)]
        return self.data.rewind(lambda: [rebuilt(state, storage) for state in saved], agreed)

    def put_back(
        self, skeleton: Mapping[str, Any], storage: list[Tensor], *, replay: bool, rewound: bool = False
    ) -> None:
        """Make the run what it was, in place.

        Args:
            skeleton: from `taken`.
            storage: copies of the tensors it came with.
            replay: put back the data, schedules and random generators too.
            rewound: the data are there already.

        Raises:
            StateError: it is of another model, of other optimizers or `restores`; nothing is changed then.
        """
        parts = _Parts(self._plant.model)
        self._refuse_another_run(skeleton, storage, parts)
        back = PutBack(storage)
        with torch.no_grad():
            live = {**parts.parameters, **parts.buffers}
            model = {name: back.merged(live.get(name), saved) for name, saved in skeleton["model"].items()}
            apart = self._apart()
            for name, saved in skeleton["apart"].items():
                back.merged(apart.get(name), saved)
            for optimizer, tree in zip(self._plant.optimizers, skeleton["optimizers"], strict=True):
                optimizer_back(optimizer, tree, back, replay=replay)
            back.copy()
        self._replace({name: tensor for name, tensor in model.items() if tensor is not live.get(name)})
        for name in skeleton["dials"].keys() & parts.dials.keys():
            parts.dials[name].set(skeleton["dials"][name])
        for name in skeleton["modules"].keys() & parts.stateful.keys():
            parts.stateful[name].set_extra_state(rebuilt(skeleton["modules"][name], storage))
        self._restore_others(skeleton, storage, replay=replay, data=replay and not rewound)
        if replay:
            restore_random_state(rebuilt(skeleton["random"], storage))

    def _apart(self) -> dict[str, Tensor]:
        """Return the parameters that an optimizer holds and the model does not, by optimizer and number."""
        known = {id(parameter) for parameter in self._plant.model.parameters()}
        return {
            f"{i}.{j}": parameter
            for i, optimizer in enumerate(self._plant.optimizers)
            for j, parameter in enumerate(parameters_of(optimizer))
            if id(parameter) not in known
        }

    def _replace(self, buffers: Mapping[str, Tensor]) -> None:
        """Put copies where a buffer was replaced by one that cannot take its values."""
        for name, buffer in buffers.items():
            owner, _, leaf = name.rpartition(".")
            setattr(self._plant.model.get_submodule(owner), leaf, buffer)

    def _refuse_another_run(self, skeleton: Mapping[str, Any], storage: list[Tensor], parts: _Parts) -> None:
        live = parts.parameters
        saved = {name: _kind(storage[skeleton["model"][name].place]) for name in skeleton["parameters"]}
        wrong = [f"{n} {kind}" for n, kind in saved.items() if n not in live or _kind(local(live[n].detach())) != kind]
        if wrong:
            msg = (
                f"The model must have the parameters of the snapshot, of the same shape and type; got none like "
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
        for optimizer, tree in zip(self._plant.optimizers, skeleton["optimizers"], strict=True):
            refuse_fewer_groups(optimizer, tree)

    def _restore_others(self, skeleton: Mapping[str, Any], storage: list[Tensor], *, replay: bool, data: bool) -> None:
        for found, saved in zip(self._restores, skeleton["restores"], strict=True):
            if not (data if gives_data(found) else replay or not isinstance(found, (Generator, LRScheduler))):
                continue
            if isinstance(found, Generator):
                found.set_state(rebuilt(saved, storage))
            else:
                found.load_state_dict(rebuilt(saved, storage))


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


class _Parts:
    """What a model consists of, by name, found in one pass; what is shared, once.

    Attributes:
        parameters: all of them.
        buffers: those that can be written; not the dials', which know their value besides.
        dials: all of them.
        stateful: modules that keep something of their own kind.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.dials: dict[str, Dial] = {}
        self.stateful: dict[str, nn.Module] = {}
        seen: set[int] = set()
        for prefix, module in model.named_modules():
            if isinstance(module, Dial):
                self.dials[prefix] = module
                continue
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                self.stateful[prefix] = module
            for found, tensors in ((self.parameters, module._parameters), (self.buffers, module._buffers)):
                for name, tensor in tensors.items():
                    if (
                        tensor is not None
                        and id(tensor) not in seen
                        and not is_lazy(tensor)
                        and _can_be_written(tensor)
                    ):
                        seen.add(id(tensor))
                        found[f"{prefix}.{name}" if prefix else name] = tensor


def _can_be_written(tensor: Tensor) -> bool:
    """Whether each element has a place of its own; an expanded tensor or a sparse one can only be replaced."""
    return tensor.layout is torch.strided and not any(
        s == 0 and n > 1 for s, n in zip(tensor.stride(), tensor.shape, strict=True)
    )
